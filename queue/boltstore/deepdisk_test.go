package boltstore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
)

// TestDeepQueueOnFullDisk settles thousands of Deliveries on a disk without a free
// block, all of them refused, so that each asks for a notice: of small messages, whose
// notices are larger than they, or of messages with very many recipients, which free
// nothing before the last of them. Notices leave only when nothing else can be done.
// So many settlements are under way at once as the relay has, and what cannot be
// committed yet holds its place. DAWK_FULL_DISKS=all has a hundred thousand
// messages.
func TestDeepQueueOnFullDisk(t *testing.T) {
	messages, disk := 9000, int64(100)
	if os.Getenv("DAWK_FULL_DISKS") == "all" {
		messages, disk = 100_000, 500
	}
	for _, c := range []struct {
		name       string
		messages   int
		deliveries int   // of each
		body       int   // octets of each
		row        int   // octets of what a list says of it
		disk, file int64 // size of the disk and, at most, of the file before it is full, in MiB
	}{
		{"small mail", messages, 1, 700, 400, disk, 60 + int64(messages)/350},
		{"rows longer than their mail", 2 * messages, 1, 50, 1000, disk - 20, disk - 20},
		{"many recipients", 24, 1000, 700, 900, 200, 100},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := queuetest.Disk(t, "tmpfs", c.disk)
			synctest.Test(t, func(t *testing.T) {
				d := &deepDisk{T: t, row: c.row, body: c.body, foreign: filepath.Join(dir, "foreign"), free: 756, done: make(chan error, 756)}
				d.q = mustOpen(t, boltstore.Options{Dir: filepath.Join(dir, "data"), MinFree: 2 << 20, MaxMessageSize: 1 << 20,
					Fatal: func(err error) { t.Errorf("the disk is not trusted any more: %v", err) }})
				d.run(c.messages, c.deliveries, c.file<<20)
			})
		})
	}
}

type deepDisk struct {
	*testing.T
	q       *boltstore.Store
	foreign string
	body    int        // octets of a message
	row     int        // octets of a row
	free    int        // how many more settlements may be under way
	done    chan error // those that were committed
	notices []relay.QueueID
	rows    []relay.QueueID
}

func (d *deepDisk) run(messages, deliveries int, file int64) {
	var to []string
	for i := range deliveries {
		to = append(to, fmt.Sprintf("a@%d.example.org", i))
	}
	var ids []relay.QueueID
	for len(ids) < messages {
		id, err := put(d.q, body("x", d.body), to...)
		if errors.Is(err, relay.ErrNoSpace) && len(ids) >= messages/4 {
			break // the disk has no room for telling of more
		}
		if err != nil {
			d.Fatal(err)
		}
		if ids = append(ids, id); len(ids)%1000 == 0 {
			d.q.LookAtSpace()
		}
	}
	d.q.Checkpoint()
	if size, _ := d.q.FileUse(); size > file {
		d.Errorf("the file has %d octets for %d messages of %d", size, len(ids), d.body)
	}
	fillDisk(d.T, d.foreign)
	for i, id := range ids {
		if i%1000 == 999 || deliveries > 1 {
			d.q.LookAtSpace()
		}
		for job := range deliveries {
			for d.free == 0 {
				d.await()
			}
			d.free--
			d.fails(id, job)
		}
	}
	for d.free < cap(d.done) {
		d.await()
	}
	if len(d.rows) == 0 || len(d.notices) == 0 {
		d.Errorf("%d notices, %d rows: the room was not scant", len(d.notices), len(d.rows))
	}
	d.Logf("%d messages, %d notices and %d rows", len(ids), len(d.notices), len(d.rows))
	d.tell()
	os.Remove(d.foreign)
	time.Sleep(time.Minute) // of the bubble's clock
	synctest.Wait()
	mustPut(d.T, d.q, body("x", 200<<10), "a@example.org")
	sound(d.T, d.q)
	if st := d.q.Stats(); st.Messages != 1 {
		d.Errorf("%+v", st)
	}
}

// await ends when one settlement is committed.
func (d *deepDisk) await() {
	select {
	case err := <-d.done:
		if err != nil {
			d.Error(err)
		}
		d.free++
	case <-time.After(10 * time.Minute): // of the bubble's clock
		d.Fatalf("stuck with %d notices and %d rows: %+v", len(d.notices), len(d.rows), d.q.FileStats())
	}
}

// fails settles a Delivery of one recipient, who is refused.
func (d *deepDisk) fails(id relay.QueueID, job int) {
	s := relayed(id, uint16(job), job)
	s.Outcomes[0] = relay.Outcome{Recipient: job, Action: relay.ActionFailed, Reply: relay.Reply{Code: 550, Text: "there is no such mailbox here"}}
	next := d.q.NextID()
	if errors.Is(d.q.Room(), relay.ErrScant) {
		s.Rows, d.rows = []relay.DigestRow{{ID: next, Data: body("row", d.row)}}, append(d.rows, next)
	} else {
		n := relay.Notice{Message: relay.Message{ID: next, Arrival: time.Now()}, Content: body("n", 3<<10)}
		n.Message.Recipients = []relay.Recipient{{Path: mailbox("sender@example.org")}}
		s.Notices, d.notices = []relay.Notice{n}, append(d.notices, next)
	}
	d.q.Settle(s, func(err error) { d.done <- err })
}

// tell lets the notices go, and then the lists.
func (d *deepDisk) tell() {
	for _, id := range d.notices {
		if err := settle(d.q, relayed(id, 0, 0)); err != nil {
			d.Fatal(err)
		}
	}
	for len(d.rows) > 0 { // each list is shorter than its rows
		n := min(len(d.rows), 100)
		list := relay.Notice{Message: relay.Message{ID: d.q.NextID(), Arrival: time.Now()}, Content: body("list", 300*n)}
		list.Message.Recipients = []relay.Recipient{{Path: mailbox("sender@example.org")}}
		if err := settle(d.q, relay.Settlement{Listed: d.rows[:n], Notices: []relay.Notice{list}}); err != nil {
			d.Fatal(err)
		}
		if err := settle(d.q, relayed(list.Message.ID, 0, 0)); err != nil {
			d.Fatal(err)
		}
		d.rows = d.rows[n:]
	}
}
