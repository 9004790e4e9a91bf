package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"dawk/queue/record"
	"dawk/relay"
)

// readTimeout bounds what one Claim, Item or page of a list may take.
const readTimeout = 30 * time.Second

// itemsAtOnce is how many messages one page of Items has.
const itemsAtOnce = 128

// errUnseen is given where the others may believe that this node is dead.
var errUnseen = errors.New("the database has not been reached for some seconds: another node may have this message")

// Claim gets what an attempt for one Delivery needs; mail that was just accepted comes
// from memory. See queue.Scheduling. No attempt begins while others may take this node
// for dead.
func (q *Store) Claim(id relay.QueueID, job uint16) (*relay.Claim, error) {
	c, err := q.claim(id, job)
	if err != nil {
		err = fmt.Errorf("claim %s/%d: %w", id, job, err)
	}
	return c, err
}

func (q *Store) claim(id relay.QueueID, job uint16) (*relay.Claim, error) {
	if id.Dir != q.dirID {
		return nil, relay.ErrNotFound
	}
	if err := q.closedError(); err != nil {
		return nil, err
	}
	if !q.seen() {
		return nil, errUnseen
	}
	if !q.owns(id.Key) {
		return nil, errElsewhere
	}
	if f, d := q.cache.Get(id.Key, job); f != nil {
		return &relay.Claim{Message: f.Msg, Delivery: d, Content: inMemory(f.Head)}, nil
	}
	ctx, cancel := context.WithTimeout(q.ctx, readTimeout)
	defer cancel()
	var head, row, body []byte
	var large bool
	err := q.pool.QueryRow(ctx, `select j.row, m.head, m.body, m.body is null from dawk.job j left join dawk.msg m using (key) where j.part = $1 and j.key = $2 and j.job = $3`,
		partOf(id.Key), int64(id.Key), int32(job)).Scan(&row, &head, &body, &large)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, relay.ErrNotFound
	} else if err != nil {
		return nil, err
	}
	d, err := record.DecodeDelivery(record.DeliveryKey(id.Key, job), row, q.dirID)
	if err != nil {
		return nil, q.setAside(ctx, ref{id.Key, job}, false)
	}
	m, l, _, err := record.DecodeMessage(record.MessageKey(id.Key), head, q.dirID)
	if err != nil || !within(d, m) {
		return nil, q.setAside(ctx, ref{id.Key, job}, true)
	}
	claim := &relay.Claim{Message: m, Delivery: d}
	claim.Content, err = q.content(ctx, id.Key, l, body, large)
	return claim, err
}

// within says whether every recipient of d is one of m's.
func within(d *relay.Delivery, m *relay.Message) bool {
	for _, o := range d.Open {
		if o.Recipient >= len(m.Recipients) {
			return false
		}
	}
	return true
}

// content is the octets of a message, all of them compared with their checksum before
// one is sent. Those of a large one come into a file of this machine.
func (q *Store) content(ctx context.Context, key uint64, l record.Layout, body []byte, large bool) (relay.Content, error) {
	if !large {
		if crc32.Checksum(body, record.Castagnoli) != l.FileCRC || int64(len(body)) != l.File {
			return inMemory(nil), fmt.Errorf("%w: it has another checksum", relay.ErrContentLost)
		}
		return inMemory(body), nil
	}
	f, err := nameless(q.opt.Dir)
	if err != nil {
		return inMemory(nil), err
	}
	c := &content{ReaderAt: f, file: f}
	for n := 0; c.size < l.File && err == nil; n++ {
		var data []byte
		err = q.pool.QueryRow(ctx, `select data from dawk.chunk where key = $1 and n = $2`, int64(key), n).Scan(&data)
		if err == nil {
			_, err = f.Write(data)
			c.size += int64(len(data))
		}
	}
	if errors.Is(err, pgx.ErrNoRows) {
		err = fmt.Errorf("%w: a part of it is missing", relay.ErrContentLost)
	} else if err == nil {
		var crc uint32
		if crc, err = checksum(c); err == nil && (crc != l.FileCRC || c.size != l.File) {
			err = fmt.Errorf("%w: it has another checksum", relay.ErrContentLost)
		}
	}
	if err != nil {
		f.Close()
		return inMemory(nil), err
	}
	return c, nil
}

func (q *Store) name(key uint64) relay.QueueID { return relay.QueueID{Key: key, Dir: q.dirID} }

// Content opens the content of a queued message, whichever node has it.
func (q *Store) Content(id relay.QueueID) (relay.Content, error) {
	c, err := q.contentOf(id)
	if err != nil {
		return nil, fmt.Errorf("content of %s: %w", id, err)
	}
	return c, nil
}

func (q *Store) contentOf(id relay.QueueID) (relay.Content, error) {
	if id.Dir != q.dirID {
		return nil, relay.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(q.ctx, readTimeout)
	defer cancel()
	var head, body []byte
	var large bool
	err := q.pool.QueryRow(ctx, `select head, body, body is null from dawk.msg where key = $1`, int64(id.Key)).Scan(&head, &body, &large)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil, relay.ErrNotFound
	} else if err != nil {
		return nil, err
	}
	_, l, _, err := record.DecodeMessage(record.MessageKey(id.Key), head, q.dirID)
	if err != nil {
		return nil, fmt.Errorf("%w: its row in msg", relay.ErrCorrupt)
	}
	return q.content(ctx, id.Key, l, body, large)
}

// Entries are all Deliveries in our partitions, oldest message first. Rows that cannot
// be read are set aside on the way.
func (q *Store) Entries() iter.Seq2[relay.Entry, error] {
	return func(yield func(relay.Entry, error) bool) {
		if err := q.entries(q.ctx, q.parts(), func(e relay.Entry) bool { return yield(e, nil) }); err != nil {
			yield(relay.Entry{}, fmt.Errorf("read the queue: %w", err))
		}
	}
}

// entries gives the Deliveries of some partitions to f, until it wants no more.
func (q *Store) entries(ctx context.Context, parts []int16, f func(relay.Entry) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := q.pool.Query(ctx, `select key, job, row from dawk.job where part = any($1) order by key, job`, parts)
	if err != nil {
		return err
	}
	defer rows.Close()
	seen := make(map[string]string)
	text := func(b []byte) string {
		s, ok := seen[string(b)]
		if !ok {
			s = string(b)
			seen[s] = s
		}
		return s
	}
	var damaged []ref
	for rows.Next() {
		var key int64
		var job int32
		var row []byte
		if err := rows.Scan(&key, &job, &row); err != nil {
			return err
		}
		e, _, _, err := record.DecodeEntry(record.DeliveryKey(uint64(key), uint16(job)), row, q.dirID, text)
		if err != nil {
			damaged = append(damaged, ref{uint64(key), uint16(job)})
		} else if !f(e) {
			return nil
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	rows.Close()
	for _, id := range damaged {
		if err := q.setAside(ctx, id, false); !errors.Is(err, relay.ErrCorrupt) {
			return err
		}
	}
	return nil
}

// DigestRows are the rows in our partitions that wait to be listed, oldest first.
func (q *Store) DigestRows() iter.Seq2[relay.DigestRow, error] {
	return func(yield func(relay.DigestRow, error) bool) {
		rows, err := q.pool.Query(q.ctx, `select key, row from dawk.digest where part = any($1) order by key`, q.parts())
		var all []relay.DigestRow
		if err == nil {
			var key int64
			var row []byte
			_, err = pgx.ForEachRow(rows, []any{&key, &row}, func() error {
				r, err := record.DecodeDigest(record.MessageKey(uint64(key)), row, q.dirID)
				if err != nil {
					q.log.Error("what a sender was still to be told cannot be read", "id", q.name(uint64(key)))
					return nil
				}
				all = append(all, r)
				return nil
			})
		}
		for _, r := range all {
			if !yield(r, nil) {
				return
			}
		}
		if err != nil {
			yield(relay.DigestRow{}, fmt.Errorf("read what senders are still to be told: %w", err))
		}
	}
}

// Item is one message with its Deliveries and its history, whichever node has it.
func (q *Store) Item(id relay.QueueID) (*relay.Item, error) {
	ctx, cancel := context.WithTimeout(q.ctx, readTimeout)
	defer cancel()
	all, err := q.items(ctx, int64(id.Key), int64(id.Key), 1)
	if err == nil && (len(all) == 0 || id.Dir != q.dirID) {
		err = relay.ErrNotFound
	} else if err == nil {
		err = all[0].err
	}
	if err != nil {
		return nil, fmt.Errorf("message %s: %w", id, err)
	}
	item := all[0].item
	item.Attempts = make(map[uint16][]relay.Attempt)
	rows, err := q.pool.Query(ctx, `select job, n, row from dawk.hist where key = $1 and job < 65535 order by job, n`, int64(id.Key))
	if err != nil {
		return nil, err
	}
	var job int32
	var n int64
	var row []byte
	_, err = pgx.ForEachRow(rows, []any{&job, &n, &row}, func() error {
		// N is 0 where the operator acted: no attempt.
		if a, err := record.DecodeAttempt(record.AttemptKey(id.Key, uint16(job), uint32(n)), row); err == nil && a.N > 0 {
			item.Attempts[uint16(job)] = append(item.Attempts[uint16(job)], *a)
		}
		return nil
	})
	return item, err
}

type itemOrError struct {
	key  uint64
	item *relay.Item
	err  error
}

// items reads up to limit messages with keys in a range, without their history.
func (q *Store) items(ctx context.Context, from, to int64, limit int) ([]itemOrError, error) {
	rows, err := q.pool.Query(ctx, `select m.key, m.head, j.job, j.row from (select key, head from dawk.msg where key between $1 and $2 order by key limit $3) m
		left join dawk.job j on j.part = m.key & 255 and j.key = m.key order by m.key, j.job`, from, to, limit)
	if err != nil {
		return nil, err
	}
	var all []itemOrError
	var key int64
	var head, row []byte
	var job *int32
	_, err = pgx.ForEachRow(rows, []any{&key, &head, &job, &row}, func() error {
		if len(all) == 0 || all[len(all)-1].key != uint64(key) {
			next := itemOrError{key: uint64(key)}
			m, _, _, err := record.DecodeMessage(record.MessageKey(next.key), bytes.Clone(head), q.dirID)
			if err != nil {
				next.err = fmt.Errorf("%w: %w", relay.ErrCorrupt, err)
			} else {
				next.item = &relay.Item{Message: *m}
			}
			all = append(all, next)
		}
		last := &all[len(all)-1]
		if job == nil || last.err != nil {
			return nil
		}
		d, err := record.DecodeDelivery(record.DeliveryKey(uint64(key), uint16(*job)), row, q.dirID)
		if err != nil {
			last.err = fmt.Errorf("%w: a Delivery: %w", relay.ErrCorrupt, err)
		} else {
			last.item.Deliveries = append(last.item.Deliveries, *d)
		}
		return nil
	})
	return all, err
}

// Items are all messages of all nodes after one, oldest first, without history.
func (q *Store) Items(ctx context.Context, after relay.QueueID) iter.Seq2[*relay.Item, error] {
	return func(yield func(*relay.Item, error) bool) {
		for from := int64(after.Key) + 1; ; {
			page, cancel := context.WithTimeout(ctx, readTimeout)
			batch, err := q.items(page, from, 1<<62, itemsAtOnce)
			cancel()
			if err != nil {
				yield(nil, fmt.Errorf("list the queue: %w", err))
				return
			}
			for _, r := range batch {
				err := r.err
				if err != nil {
					err = fmt.Errorf("message %s: %w", q.name(r.key), err)
				}
				if !yield(r.item, err) {
					return
				}
				from = int64(r.key) + 1
			}
			if len(batch) < itemsAtOnce {
				return
			}
		}
	}
}
