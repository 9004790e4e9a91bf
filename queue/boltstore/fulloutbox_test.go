package boltstore_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/queue/boltstore"
	"dawk/queue/queuetest"
	"dawk/relay"
)

// telling is a store on a small disk whose webhooks are told nothing.
type telling struct {
	*testing.T
	q       *boltstore.Store
	foreign string
	disk    int64 // octets
	events  uint64
	log     strings.Builder // read after synctest.Wait
}

// onSmallDisk runs f with such a store, in a bubble.
func onSmallDisk(t *testing.T, f func(*telling)) {
	t.Helper()
	dir := queuetest.Disk(t, "tmpfs", 40)
	synctest.Test(t, func(t *testing.T) { f(newTelling(t, dir)) })
}

func newTelling(t *testing.T, dir string) *telling {
	w := &telling{T: t, disk: 40 << 20, foreign: filepath.Join(dir, "foreign")}
	w.q = mustOpen(t, boltstore.Options{Dir: filepath.Join(dir, "data"), MinFree: 4 << 20, MaxMessageSize: 1 << 20,
		Log:   slog.New(slog.NewTextHandler(&w.log, nil)),
		Fatal: func(err error) { t.Errorf("the disk is not trusted any more: %v", err) }})
	w.q.Outbox().SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 30})
	return w
}

// tell settles nothing, with events of about 64 kB.
func (w *telling) tell() {
	w.Helper()
	s := relay.Settlement{}
	for range 64 {
		s.Events = append(s.Events, relay.Event{Kind: relay.EventBounced, Time: time.Now(), Rule: strings.Repeat("x", 1000)})
	}
	if err := settle(w.q, s); err != nil {
		w.Fatal(err)
	}
	w.events += 64
}

// kept counts the events that can be told.
func (w *telling) kept() (n uint64) {
	for _, err := range w.q.Outbox().Events(0) {
		if err != nil {
			w.Fatal(err)
		}
		n++
	}
	return n
}

// An outbox of which nobody was told takes an eighth of a small disk, whatever its
// max_size: what comes then is counted, and the log tells it. Mail fills the rest, all
// of it can be settled without a free block, and mail is taken again.
func TestFullDiskWithFullOutbox(t *testing.T) { onSmallDisk(t, fullOutbox) }

func fullOutbox(w *telling) {
	for w.q.Outbox().OutboxStats().Lost == 0 {
		w.tell()
		if st := w.q.Outbox().OutboxStats(); st.Bytes > w.disk/8+128<<10 {
			w.Fatalf("%+v on a disk of %d octets", st, w.disk)
		}
	}
	if st := w.q.Outbox().OutboxStats(); st.Bytes < w.disk/16 || w.kept()+st.Lost != w.events {
		w.Errorf("%+v, %d events can be told of %d", st, w.kept(), w.events)
	}
	var ids []relay.QueueID
	for {
		id, err := put(w.q, body("x", 200<<10), "a@example.org")
		if err != nil {
			wantErr(w.T, err, relay.ErrNoSpace)
			break
		}
		ids = append(ids, id)
		w.q.LookAtSpace()
	}
	if len(ids) < 50 {
		w.Errorf("%d messages fill the disk", len(ids))
	}
	fillDisk(w.T, w.foreign)
	for _, id := range ids {
		if err := settle(w.q, w.relayed(id)); err != nil {
			w.Fatal(err)
		}
	}
	if st := w.q.Outbox().OutboxStats(); w.kept()+st.Lost != w.events {
		w.Errorf("%+v, %d events can be told of %d", st, w.kept(), w.events)
	}
	os.Remove(w.foreign)
	w.again()
	if !strings.Contains(w.log.String(), "events for webhooks are lost") {
		w.Error("the log does not say that events were lost")
	}
}

// again says that mail is taken again, a minute later.
func (w *telling) again() {
	w.Helper()
	time.Sleep(time.Minute) // of the bubble's clock
	synctest.Wait()
	mustPut(w.T, w.q, body("x", 200<<10), "a@example.org")
	sound(w.T, w.q)
}

// Events that everybody was told of go before mail is refused; what is still to be told
// stays, and then mail is.
func TestOutboxGivesWay(t *testing.T) {
	for _, told := range []bool{true, false} {
		t.Run(fmt.Sprint("told ", told), func(t *testing.T) {
			onSmallDisk(t, func(w *telling) { givesWay(w, told) })
		})
	}
}

func givesWay(w *telling, told bool) {
	for range 60 {
		w.tell()
	}
	w.q.Checkpoint()
	before := w.q.Outbox().OutboxStats().Bytes
	if told {
		w.q.Outbox().Told(w.q.Outbox().Last())
	}
	n, err := queuetest.Fill(w.foreign)
	if err == nil {
		err = os.Truncate(w.foreign, n-2<<20) // with the end of queue.db, too little for mail
	}
	if err != nil {
		w.Fatal(err)
	}
	w.q.LookAtSpace()
	after := w.q.Outbox().OutboxStats().Bytes
	if refused := errors.Is(w.q.Room(), relay.ErrNoSpace); refused == told || told && after > before/2 || !told && after != before {
		w.Errorf("the outbox has %d octets of %d, and mail is refused: %v", after, before, w.q.Room())
	}
	if !told && w.kept() != w.events {
		w.Errorf("%d events of %d", w.kept(), w.events)
	}
}

// A write that found no room costs events only until there is room again, not until
// groups have their full size.
func TestEventsAreKeptAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f faults
		opt := small(t.TempDir())
		opt.Hook, opt.Fatal = f.hook, func(err error) { t.Errorf("the disk is not trusted any more: %v", err) }
		q := mustOpen(t, opt)
		w := &telling{T: t, q: q}
		q.Outbox().SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 20})
		ids := []relay.QueueID{mustPut(t, q, body("x", 300), "a@example.org"), mustPut(t, q, body("x", 300), "a@example.org")}
		f.set("commit", full("write"))
		done := make(chan error, 1)
		q.Settle(w.relayed(ids[0]), func(err error) { done <- err })
		time.Sleep(time.Second) // of the bubble's clock
		f.set("commit", nil)
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if err := q.Room(); err != nil {
			t.Error(err)
		}
		lost := q.Outbox().OutboxStats().Lost
		if err := settle(q, w.relayed(ids[1])); err != nil {
			t.Error(err)
		}
		if now := q.Outbox().OutboxStats().Lost; now != lost || w.kept()+lost != w.events || w.kept() == 0 {
			t.Errorf("%d events were lost while the disk was full and %d after it; %d can be told of %d", lost, now-lost, w.kept(), w.events)
		}
	})
}

// relayed settles a message, with one event.
func (w *telling) relayed(id relay.QueueID) relay.Settlement {
	s := relayed(id, 0, 0)
	s.Events = []relay.Event{{Kind: relay.EventRelayed, Time: time.Now(), ID: id}}
	w.events++
	return s
}
