package postgres

import (
	"context"
	"fmt"
	"hash/crc32"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"dawk/queue/record"
	"dawk/relay"
)

// send makes g durable in one pipeline, which is one transaction. again says that it
// may have been done already: then nothing of it may count as a conflict.
func (w *writer) send(g *group, again bool) error {
	ctx, cancel := context.WithTimeout(w.q.ctx, sendTimeout+time.Duration(g.octets()>>20)*time.Second)
	defer cancel()
	c, err := w.connected(ctx)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	// For this transaction only, so that nothing leaks through a pooler. A server that was
	// just promoted may have no standby: the keeper would see it some seconds later.
	b.Queue(`select set_config('synchronous_commit', $4, true), dawk.fence($1, $2),
		1 / case when $3 then length(current_setting('synchronous_standby_names')) else 1 end`, w.q.node, w.q.epoch, g.mail && !w.q.opt.AllowAsync, w.q.synchronous())
	if err := g.inserts(b, again); err != nil {
		return err
	}
	gone := g.changes(b)
	w.alone = false
	r := c.SendBatch(ctx, b)
	var ended int64
	for i := range b.Len() {
		tag, err := r.Exec()
		if err != nil {
			r.Close()
			return err
		}
		if i == gone {
			ended = tag.RowsAffected()
		}
	}
	if err := r.Close(); err != nil {
		return err
	}
	if w.alone {
		return errAlone
	}
	g.messages -= ended
	w.abandoned = nil
	return nil
}

// synchronous is what a commit waits for: a standby, also a missing one, unless one server is enough.
func (q *Store) synchronous() string {
	if st := q.state.Load(); q.opt.AllowAsync && len(st.synced) == 0 && !st.blind {
		return "local"
	}
	return "on"
}

// octets are those of new content: a slow line may have a second for each MiB.
func (g *group) octets() (n int64) {
	for _, in := range g.in {
		n += in.msg.Size
	}
	return n
}

// orPass is what an insertion says of a row that is there.
func orPass(again bool) string {
	if again {
		return " on conflict do nothing"
	}
	return ""
}

// inserts adds what is new: messages and their large bodies.
func (g *group) inserts(b *pgx.Batch, again bool) error {
	if len(g.undo) > 0 {
		var keys, events []int64
		for _, o := range g.undo {
			keys = append(keys, int64(o.in.msg.ID.Key))
			for _, e := range o.events {
				events = append(events, int64(e.n))
			}
		}
		b.Queue(`delete from dawk.job where part = any(array(select k & 255 from unnest($1::bigint[]) k)) and key = any($1)`, keys)
		b.Queue(`delete from dawk.msg where key = any($1)`, keys)
		b.Queue(`delete from dawk.chunk where key = any($1)`, keys)
		b.Queue(`delete from dawk.event where node = $2 and n = any($1)`, events, g.q.node)
	}
	if len(g.in) == 0 {
		return nil
	}
	var keys []int64
	var heads, bodies [][]byte
	for _, in := range g.in {
		keys, heads, bodies = append(keys, int64(in.msg.ID.Key)), append(heads, in.head), append(bodies, in.body)
	}
	b.Queue(`insert into dawk.msg (key, head, body) select * from unnest($1::bigint[], $2::bytea[], $3::bytea[])`+orPass(again), keys, heads, bodies)
	for _, in := range g.in {
		if in.large == nil {
			continue
		}
		for n, at := 0, int64(0); at < in.large.Size(); n, at = n+1, at+chunkSize {
			data := make([]byte, min(chunkSize, in.large.Size()-at))
			if _, err := io.ReadFull(io.NewSectionReader(in.large, at, int64(len(data))), data); err != nil {
				return fmt.Errorf("read a large message: %v", err) // not wrapped: it says nothing of the database
			}
			b.Queue(`insert into dawk.chunk (key, n, data) values ($1, $2, $3)`+orPass(again), int64(in.msg.ID.Key), n, data)
		}
	}
	return nil
}

// changes adds the rest, and says which statement tells how many messages have ended; -1:
// none does. An insertion always writes something, also when it is sent again: a commit
// that wrote nothing would not wait for the standby.
func (g *group) changes(b *pgx.Batch) (gone int) {
	var parts, endedParts []int16
	var keys, endedKeys []int64
	var jobs, endedJobs []int32
	var rows [][]byte
	for r, d := range g.put {
		if d == nil {
			endedParts, endedKeys, endedJobs = append(endedParts, partOf(r.key)), append(endedKeys, int64(r.key)), append(endedJobs, int32(r.job))
			continue
		}
		parts, keys, jobs = append(parts, partOf(r.key)), append(keys, int64(r.key)), append(jobs, int32(r.job))
		rows = append(rows, record.EncodeDelivery(record.DeliveryKey(r.key, r.job), d))
	}
	if len(keys) > 0 {
		b.Queue(`insert into dawk.job (part, key, job, row) select * from unnest($1::smallint[], $2::bigint[], $3::int[], $4::bytea[])
			on conflict (part, key, job) do update set row = excluded.row`, parts, keys, jobs, rows)
	}
	g.histories(b)
	gone = -1
	if len(endedKeys) > 0 {
		b.Queue(`delete from dawk.job j using unnest($1::smallint[], $2::bigint[], $3::int[]) as u(part, key, job)
			where j.part = u.part and j.key = u.key and j.job = u.job`, endedParts, endedKeys, endedJobs)
		gone = b.Len()
		b.Queue(`delete from dawk.msg m where key = any($1) and not exists (select from dawk.job j where j.part = m.key & 255 and j.key = m.key)`, endedKeys)
		b.Queue(`delete from dawk.hist h where key = any($1) and not exists (select from dawk.msg m where m.key = h.key)`, endedKeys)
		b.Queue(`delete from dawk.chunk c where key = any($1) and not exists (select from dawk.msg m where m.key = c.key)`, endedKeys)
	}
	g.digests(b)
	g.tells(b)
	return gone
}

// histories adds what the histories of messages gain.
func (g *group) histories(b *pgx.Batch) {
	if len(g.history)+len(g.parted) == 0 {
		return
	}
	var keys, ns []int64
	var jobs []int32
	var rows [][]byte
	for _, h := range g.history {
		keys, jobs, ns, rows = append(keys, int64(h.key)), append(jobs, int32(h.job)), append(ns, int64(h.n)), append(rows, h.row)
	}
	for key, next := range g.parted {
		keys, jobs, ns, rows = append(keys, int64(key)), append(jobs, record.NoDelivery), append(ns, int64(next)), append(rows, []byte{})
	}
	b.Queue(`insert into dawk.hist (key, job, n, row) select * from unnest($1::bigint[], $2::int[], $3::bigint[], $4::bytea[]) on conflict do nothing`, keys, jobs, ns, rows)
}

// tells adds the events.
func (g *group) tells(b *pgx.Batch) {
	if len(g.events) == 0 {
		return
	}
	var ns []int64
	var rows [][]byte
	for _, e := range g.events {
		ns, rows = append(ns, int64(e.n)), append(rows, e.row)
	}
	b.Queue(`insert into dawk.event (node, n, row) select $1, * from unnest($2::bigint[], $3::bytea[]) on conflict do nothing`, g.q.node, ns, rows)
}

// digests adds rows of lists, and takes out those that were listed.
func (g *group) digests(b *pgx.Batch) {
	if len(g.rows) > 0 {
		var parts []int16
		var keys []int64
		var rows [][]byte
		for i := range g.rows {
			key := g.rows[i].ID.Key
			parts, keys = append(parts, partOf(key)), append(keys, int64(key))
			rows = append(rows, record.EncodeDigest(record.MessageKey(key), &g.rows[i]))
		}
		b.Queue(`insert into dawk.digest (part, key, row) select * from unnest($1::smallint[], $2::bigint[], $3::bytea[])
			on conflict (part, key) do update set row = excluded.row`, parts, keys, rows)
	}
	if len(g.listed) > 0 {
		var parts []int16
		for _, key := range g.listed {
			parts = append(parts, partOf(key))
		}
		b.Queue(`delete from dawk.digest d using unnest($1::smallint[], $2::bigint[]) as u(part, key) where d.part = u.part and d.key = u.key`, parts, signed(g.listed))
	}
}

func signed(keys []uint64) []int64 {
	all := make([]int64, len(keys))
	for i, k := range keys {
		all[i] = int64(k)
	}
	return all
}

func checksum(c relay.Content) (uint32, error) {
	h := crc32.New(record.Castagnoli)
	_, err := io.Copy(h, io.NewSectionReader(c, 0, c.Size()))
	return h.Sum32(), err
}
