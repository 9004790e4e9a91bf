// Package postgres is the queue in a PostgreSQL database that several relays share. It
// implements queue.Store; what a row holds is package record's, and what settlements do
// is package change's, as for the store in a bbolt file.
//
// Messages are divided into 256 partitions by the low 8 bits of their key. A node owns
// partitions; it takes new mail into them and alone writes what lies in them. Each group
// of operations is one pipeline of statements with one commit at its end, whose first
// statement locks the node's row: see dawk.fence in schema.sql. When the outcome of a
// commit is unknown, the same group is sent again; every statement may run twice.
//
// A node beats every 3 seconds. The others watch its beat by their own clocks: one that
// has not moved for 10 seconds, while the database could be read, is dead, and whoever
// sees it first takes its partitions. Clocks of different machines are never compared.
//
// Goroutines: writer.run commits; keeper.run beats, watches the others and the database.
// Both start in Open and end in Close. Locks: Store.mu guards which partitions are ours.
//
// Begin reading at Open, then writer.group.
package postgres
