package queuetest

import (
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dawk/queue"
	"dawk/relay"
)

// told is what an outbox keeps of events.
func told(events []relay.Event) (all []relay.Event) {
	for _, e := range events {
		if slices.Contains(relay.OutboxKinds(), e.Kind) {
			e.Time, e.Next = micro(e.Time), micro(e.Next)
			all = append(all, e)
		}
	}
	return all
}

// memoryOutbox is the outbox of a Memory, which loses nothing.
type memoryOutbox struct {
	*Memory
	on    bool
	base  int // events of the model before it was on
	watch atomic.Pointer[func()]
}

// Outbox implements queue.Store.
func (m *Memory) Outbox() queue.Outbox { return &m.outbox }

func (o *memoryOutbox) SetLimits(l relay.OutboxLimits) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.on = l.MaxBytes > 0; !o.on {
		o.base = len(o.model.events)
	}
}

func (o *memoryOutbox) Watch(f func()) { o.watch.Store(&f) }

func (o *memoryOutbox) woken() {
	if f := o.watch.Load(); f != nil {
		(*f)()
	}
}

func (o *memoryOutbox) Last() uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return uint64(len(o.model.events))
}

func (o *memoryOutbox) Told(uint64) {}

func (o *memoryOutbox) OutboxStats() queue.OutboxStats { return queue.OutboxStats{} }

func (o *memoryOutbox) Events(after uint64) iter.Seq2[relay.OutboxEvent, error] {
	return func(yield func(relay.OutboxEvent, error) bool) {
		o.mu.Lock()
		all, on, base := o.model.events, o.on, o.base // events are only appended
		o.mu.Unlock()
		for i := max(int(after), base); on && i < len(all); i++ {
			if !yield(relay.OutboxEvent{Number: uint64(i + 1), ID: fmt.Sprintf("evt_%d", i+1), Event: all[i]}, nil) {
				return
			}
		}
	}
}

func drawEvents(t *rapid.T, msg relay.Message) (all []relay.Event) {
	for i := range rapid.IntRange(0, 3).Draw(t, "events") {
		e := relay.Event{Kind: rapid.SampledFrom(append(relay.OutboxKinds(), relay.EventAttempted)).Draw(t, "kind"), Time: time.Now(),
			ID: msg.ID, From: msg.From, Identity: msg.Identity, MessageID: "<1@example.org>", Size: msg.Size, Attempt: i, Reason: "other",
			Host: "mx.example.com", Reply: relay.Reply{Code: 250, Status: relay.Status{Class: 2}, Text: "taken", Cause: relay.CauseThrottle}}
		if e.Kind == relay.EventAccepted {
			for _, r := range msg.Recipients {
				e.To = append(e.To, r.Path)
			}
			e.Count = len(e.To)
		} else if len(msg.Recipients) > 0 {
			e.Recipient, e.Next = msg.Recipients[0].Path, time.Now().Add(time.Minute)
		}
		all = append(all, e)
	}
	return all
}

// eventsOf are all events in the outbox; their numbers grow.
func eventsOf(t fataler, s queue.Store) (all []relay.Event) {
	t.Helper()
	var last uint64
	ids := make(map[string]bool)
	for e, err := range s.Outbox().Events(0) {
		if err != nil || e.Number <= last || e.ID == "" || ids[e.ID] {
			t.Fatalf("event %d (%s) after %d: %v", e.Number, e.ID, last, err)
		}
		ids[e.ID], last = true, e.Number
		all = append(all, e.Event)
	}
	if got := s.Outbox().Last(); got < last {
		t.Fatalf("the last event is %d, and there is %d", got, last)
	}
	return all
}

func (s *run) checkEvents(t fataler) {
	t.Helper()
	if d := differ(s.model.events, eventsOf(t, s.store)); d != "" {
		t.Fatalf("events (-want +got):\n%s", d)
	}
}

// testOutbox: an event has the same ID whenever it is read, also after a crash; what
// comes after a number is what was not read; where nothing is kept, nothing is.
func testOutbox(t *testing.T, h Harness) {
	s := &run{h: h, model: NewModel()}
	s.open(t)
	defer func() { s.store.Close() }()
	woken := make(chan struct{}, 100)
	s.store.Outbox().Watch(func() { woken <- struct{}{} })
	var ids []string
	var cursor uint64
	for i := range 20 {
		st := relay.Settlement{Events: []relay.Event{{Kind: relay.EventBounced, Time: time.Now(), Attempt: i}}}
		if err := await(s.store, st); err != nil {
			t.Fatal(err)
		}
		<-woken
		n := 0
		for e, err := range s.store.Outbox().Events(cursor) {
			if n++; err != nil || e.Attempt != i {
				t.Fatalf("event %d: %v, %v", i, e, err)
			}
			ids, cursor = append(ids, e.ID), e.Number
		}
		if n != 1 {
			t.Fatalf("%d events after number %d", n, cursor)
		}
		if i%7 == 6 {
			if err := h.Crash(); err != nil {
				t.Fatal(err)
			}
			s.open(t)
			s.store.Outbox().Watch(func() { woken <- struct{}{} })
		}
	}
	i := 0
	for e, err := range s.store.Outbox().Events(0) {
		if err != nil || e.ID != ids[i] {
			t.Fatalf("event %d has the ID %s, and had %s: %v", i, e.ID, ids[i], err)
		}
		i++
	}
	s.store.Outbox().SetLimits(relay.OutboxLimits{})
	if err := await(s.store, relay.Settlement{Events: []relay.Event{{Kind: relay.EventBounced, Time: time.Now()}}}); err != nil {
		t.Fatal(err)
	}
	for e := range s.store.Outbox().Events(cursor) {
		t.Fatalf("an event was kept where none should be: %v", e)
	}
}
