package boltstore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
)

// TestDeepQueueOnFullDisk settles thousands of small messages on a disk without a
// free block, all of them refused, so that each asks for a notice which is larger
// than the message; and the notices leave only when nothing else can be done. The
// file keeps far less than a page for each Delivery. So many settlements are under
// way at once as the relay has, and what cannot be committed yet holds its place.
func TestDeepQueueOnFullDisk(t *testing.T) {
	const depth, inHand = 6000, 756
	disk := queuetest.Disk(t, "tmpfs", 200)
	synctest.Test(t, func(t *testing.T) {
		opt := boltstore.Options{Dir: filepath.Join(disk, "data"), MinFree: 2 << 20, MaxMessageSize: 1 << 20,
			Fatal: func(err error) { t.Errorf("the disk is not trusted any more: %v", err) }}
		q := mustOpen(t, opt)
		var ids []relay.QueueID
		for range depth {
			ids = append(ids, mustPut(t, q, body("x", 700), "a@example.org"))
		}
		q.Checkpoint()
		if size, _ := q.FileUse(); size > 60<<20 {
			t.Errorf("the file has %d octets for %d messages of 700", size, depth)
		}
		foreign := filepath.Join(disk, "foreign")
		fillDisk(t, foreign)
		var notices, rows []relay.QueueID
		free, done := inHand, make(chan error, depth)
		await := func() {
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
				free++
			case <-time.After(10 * time.Minute): // of the bubble's clock
				t.Fatalf("stuck: %d messages and %d notices, %d rows: %+v", len(ids), len(notices), len(rows), q.FileStats())
			}
		}
		for i, id := range ids {
			s := relayed(id, 0, 0)
			s.Outcomes[0].Action = relay.ActionFailed
			next := q.NextID()
			if i%1000 == 999 {
				q.LookAtSpace()
			}
			if errors.Is(q.Room(), relay.ErrScant) {
				s.Rows, rows = []relay.DigestRow{{ID: next, Data: body("row", 400)}}, append(rows, next)
			} else {
				n := relay.Notice{Message: relay.Message{ID: next, Arrival: time.Now()}, Content: body("n", 3<<10)}
				n.Message.Recipients = []relay.Recipient{{Path: mailbox("sender@example.org")}}
				s.Notices, notices = []relay.Notice{n}, append(notices, next)
			}
			for free == 0 {
				await()
			}
			free--
			q.Settle(s, func(err error) { done <- err })
		}
		for free < inHand {
			await()
		}
		if len(rows) == 0 || len(notices) == 0 {
			t.Errorf("%d notices, %d rows: the room was not scant", len(notices), len(rows))
		}
		for _, id := range notices {
			if err := settle(q, relayed(id, 0, 0)); err != nil {
				t.Fatal(err)
			}
		}
		for len(rows) > 0 { // each list is shorter than its rows
			n := min(len(rows), 100)
			list := relay.Notice{Message: relay.Message{ID: q.NextID(), Arrival: time.Now()}, Content: body("list", 300*n)}
			list.Message.Recipients = []relay.Recipient{{Path: mailbox("sender@example.org")}}
			if err := settle(q, relay.Settlement{Listed: rows[:n], Notices: []relay.Notice{list}}); err != nil {
				t.Fatal(err)
			}
			if err := settle(q, relayed(list.Message.ID, 0, 0)); err != nil {
				t.Fatal(err)
			}
			rows = rows[n:]
		}
		os.Remove(foreign)
		time.Sleep(time.Minute)
		synctest.Wait()
		mustPut(t, q, body("x", 200<<10), "a@example.org")
		sound(t, q)
		if st := q.Stats(); st.Messages != 1 {
			t.Errorf("%+v", st)
		}
	})
}
