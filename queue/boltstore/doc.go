// Package boltstore is a queue.Store in files: what it acknowledged is on stable
// storage. It owns the data directory's queue.db, queue.journal, queue.lock,
// spool and suspect; it knows nothing of SMTP or of when a Delivery is
// due.
//
// The main functions are [Open], [Store.Enqueue], [Store.Claim] and
// [Store.Settle]. One goroutine, the writer, owns the write transaction, which
// stays open over many groups: what waits is put into it as one group, made
// durable by one record of the journal (package journal), and committed to queue.db
// with many others by a checkpoint (checkpoint.go). After a crash the records
// that queue.db lacks are replayed (load.go). Package datadir knows the files at
// rest, package space how much room there is.
//
// # Goroutines and locks
//
// The writer (writer.go); the watcher of the disk (package space); and short tasks
// for which Close waits: the sweep of a start, the removal of spool files, the
// check of a large file. Store.gate is held by those who hand something to the
// writer, Store.dbMu by those who read a snapshot, Store.upkeep by the one backup,
// verification or compaction. cache, writer.mu, touched and spoolMu guard small
// maps; nobody takes another lock while holding one of them.
//
// # Buckets
//
//	msg      id (8 octets, big-endian)          the message, which never changes: header,
//	                                            metadata, content up to 256 KiB (package record)
//	sched    id, job (2 octets)                 the mutable state of one Delivery (package record)
//	hist     id, job, number (4 octets)         one attempt of a Delivery
//	         id, 0xffff                         the job number that the next split gets
//	digest   id of the row                      what a later list tells a sender (package datadir)
//	corrupt  'm', 's', 'h' or 'd', key          a row that could not be read: reason, 0, value
//	sys      schema, dir, high, messages,       see datadir; so small that it lives in
//	         deliveries, set aside, clean,      bbolt's root page
//	         journal
//
// An id is a [relay.QueueID]'s Key. Rows of sched, hist and digest, and msg's header
// and metadata, carry a version and a CRC-32C that covers the key as well.
//
// Larger content is in spool/xx/<id, 16 hex digits>, where xx are bits 26 to
// 33 of the id. There is no temporary name and no rename: the record in msg is
// the publication.
//
// Events go into the files of package outbox with the next checkpoint; until then
// they are in the journal. sys says how far these files are true.
//
// # The promise
//
// When Enqueue returns nil: the content is durable (in the same record, or its
// file was synced by the session and the file's name by the writer before), and
// so is the record of the journal; or, where a group is too large for that or
// finds no room, bbolt's data pages were synced, then its meta page. When
// Settle's done is told nil, the same holds for all that it said. A removal is
// durable before the file is unlinked. The journal begins again at its start
// only when queue.db has all that is in it, durably, and says so.
//
// What fails for want of space was not done. What fails in any other way has an
// unknown outcome, and the queue stops (docs/internals/durability.md).
package boltstore
