package past

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
)

// gone is a queue that has nothing any more.
type gone struct{}

func (gone) Item(relay.QueueID) (*relay.Item, error) { return nil, relay.ErrNotFound }

// Between the commit that ends a message and the moment when the history hears of it, both
// know the whole of it, however long that takes; what nobody works on is unknown at once.
func TestMessageThatLeavesIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, id := NewHistory(10, nil), relay.QueueID{Key: uint64(time.Now().UnixMicro()), Dir: 1}
		h.Observe(relay.Event{Kind: relay.EventRelayed, ID: id, Time: time.Now()}) // of its first recipient
		ends := time.Now().Add(3 * time.Second)
		go func() {
			time.Sleep(time.Until(ends))
			h.Observe(relay.Event{Kind: relay.EventFailed, ID: id, Time: time.Now()})
		}()
		held := func() bool { return time.Now().Before(ends.Add(time.Millisecond)) }
		if st, err := MessageStatus(gone{}, h, id, held); err != nil || len(st.Recipients) != 2 || st.Recipients[1].State != string(relay.ActionFailed) {
			t.Errorf("%+v, %v", st, err)
		}
		began := time.Now()
		if _, err := MessageStatus(gone{}, h, relay.QueueID{Key: 1}, func() bool { return false }); !errors.Is(err, relay.ErrNotFound) || time.Since(began) > 0 {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		if _, err := MessageStatus(gone{}, h, relay.QueueID{Key: 1}, func() bool { return true }); !errors.Is(err, relay.ErrNotFound) {
			t.Error(err) // somebody hangs
		}
	})
}

// records are what is on disk.
type records []relay.Event

func (r records) Of(relay.QueueID) ([]relay.Event, error) { return r, nil }

func (r records) Since(at time.Time, kinds []relay.EventKind, each func(relay.Event)) error {
	for _, e := range r {
		if slices.Contains(kinds, e.Kind) && !e.Time.Before(at) {
			each(e)
		}
	}
	return nil
}

// Whether a sender was told is known of what has failed since then, with and without a disk; a
// delay is no end, and what nobody knows is not there.
func TestNotified(t *testing.T) {
	now := time.Now()
	id := func(n uint64) relay.QueueID { return relay.QueueID{Key: uint64(now.UnixMicro()) + n, Dir: 1} }
	all := records{
		{Kind: relay.EventFailed, ID: id(1), Time: now}, {Kind: relay.EventNotified, ID: id(1), NoticeID: id(9), NoticeKind: "failed", Time: now},
		{Kind: relay.EventFailed, ID: id(2), Time: now}, {Kind: relay.EventNotified, ID: id(2), NoticeID: id(8), NoticeKind: "delayed", Time: now},
	}
	memory := NewHistory(10, nil)
	for _, e := range all {
		memory.Observe(e)
	}
	for name, h := range map[string]*History{"disk": NewHistory(10, all), "memory": memory} {
		got, err := h.Notified(now)
		_, unknown := got[id(3)]
		if two, known := got[id(2)]; err != nil || len(got[id(1)]) != 1 || got[id(1)][0].ID != id(9) || !known || len(two) > 0 || unknown {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
	if got, err := NewHistory(10, all).Notified(now.Add(time.Second)); err != nil || len(got) > 0 {
		t.Errorf("of an earlier act: %v %v", got, err)
	}
}

// The lines of how a message ended may be lost in a crash. What else is recorded of it is told, and
// nothing is made up.
func TestMessageWhoseEndWasLost(t *testing.T) {
	id := relay.QueueID{Key: uint64(time.Now().UnixMicro()), Dir: 1}
	for _, kind := range []relay.EventKind{relay.EventAccepted, relay.EventBounced, relay.EventDelayed} {
		h := NewHistory(10, records{{Kind: kind, ID: id, Time: time.Now(), Identity: "shop"}})
		if p, ok := h.Get(id); !ok || p.ID != id || p.Identity != "shop" || len(p.Ended) > 0 {
			t.Errorf("%s: %+v, %v", kind, p, ok)
		}
		if st, err := MessageStatus(gone{}, h, id, func() bool { return false }); err != nil || st.Recipients == nil || len(st.Recipients) > 0 {
			t.Errorf("%s: %+v, %v", kind, st, err)
		}
	}
	if _, ok := NewHistory(10, records{}).Get(id); ok {
		t.Error("a message that nobody knows")
	}
}

// After a message has left, its past has every kind of event that the history keeps of it, for every
// recipient.
func TestPastHasWhatTheHistoryHas(t *testing.T) {
	id, now := relay.QueueID{Key: 1_700_000_000_000_000, Dir: 1}, time.Now()
	var all records
	for _, k := range []relay.EventKind{relay.EventHeld, relay.EventReleased, relay.EventDelayed, relay.EventBounced, relay.EventComplained, relay.EventDropped, relay.EventNotified} {
		now = now.Add(time.Second)
		all = append(all, relay.Event{Kind: k, ID: id, Time: now})
	}
	const recipients = 200
	for range recipients {
		all = append(all, relay.Event{Kind: relay.EventRelayed, ID: id, Time: now})
	}
	p, ok := NewHistory(1, all).Get(id)
	if !ok || len(p.Delayed) != 1 || len(p.Notices) != 1 || len(p.Ended) != recipients || p.MoreEnded > 0 || len(p.Events) != 5 || p.Events[4].Action != relay.Action(relay.EventDropped) {
		t.Errorf("%d delayed, %d notices, %d ended, %d more, %+v", len(p.Delayed), len(p.Notices), len(p.Ended), p.MoreEnded, p.Events)
	}
}
