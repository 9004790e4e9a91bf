package queuetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"dawk/queue"
	"dawk/relay"
)

// Harness opens one store again and again.
type Harness struct {
	Open func() (queue.Store, error)
	// Crash ends the store as a crash of the process does: what was not
	// durable is lost, and the Store given before is not used any more.
	Crash func() error
	// Check verifies the open store beyond what its methods show; nil: nothing.
	Check func(queue.Store) error
}

// compare makes Paths comparable and takes a missing slice for an empty one.
var compare = cmp.Options{cmp.Comparer(func(a, b relay.Path) bool { return a == b }), cmpopts.EquateEmpty()}

// differ is cmp.Diff behind a cheaper look: equal is the usual case.
func differ(want, got any) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return cmp.Diff(want, got, compare)
}

// Run runs the suite; fresh makes an empty store.
func Run(t *testing.T, fresh func() Harness) {
	t.Run("model", rapid.MakeCheck(func(rt *rapid.T) {
		s := &run{h: fresh(), model: NewModel()}
		s.open(rt)
		defer func() { s.store.Close() }()
		rt.Repeat(map[string]func(*rapid.T){
			"":               s.check,
			"enqueue":        s.enqueue,
			"enqueue more":   s.enqueue,
			"claim":          s.claim,
			"settle":         s.settle,
			"settle more":    s.settle,
			"settle wrongly": s.settleWrongly,
			"list":           s.list,
			"crash":          s.crash,
			"crash settling": s.crashSettling,
			"close":          s.close,
		})
	}))
	t.Run("order", func(t *testing.T) { testOrder(t, fresh()) })
	t.Run("draft", func(t *testing.T) { testDraft(t, fresh()) })
	t.Run("outbox", func(t *testing.T) { testOutbox(t, fresh()) })
}

// run compares a store with the model, step by step.
type run struct {
	h       Harness
	store   queue.Store
	model   *Model
	told    chan relay.Entry
	settled []relay.Settlement
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func (s *run) open(t fataler) {
	t.Helper()
	var err error
	if s.store, err = s.h.Open(); err != nil {
		t.Fatalf("open: %v", err)
	}
	told := make(chan relay.Entry, 1000)
	s.told = told
	s.store.Outbox().SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 30})
	s.store.Watch(func(all []relay.Entry) {
		for _, e := range all {
			told <- e
		}
	})
}

func entryKey(e relay.Entry) string { return fmt.Sprintf("%s/%d", e.ID, e.Job) }

// hear looks at what Watch has told, exactly these and before the store
// answered whoever caused them: what is missing by now never comes.
func (s *run) hear(t fataler, entries []relay.Entry) {
	t.Helper()
	expect := make(map[string]relay.Entry)
	for _, e := range entries {
		expect[entryKey(e)] = e
	}
	for {
		select {
		case e := <-s.told:
			if d := differ(expect[entryKey(e)], e); d != "" {
				t.Fatalf("Watch told of %s (-want +got):\n%s", entryKey(e), d)
			}
			delete(expect, entryKey(e))
		default:
			if len(expect) > 0 {
				t.Fatalf("the store made %v and answered, but did not tell Watch of them before", slices.Sorted(maps.Keys(expect)))
			}
			return
		}
	}
}

// check compares everything that can be read.
func (s *run) check(t *rapid.T) {
	var entries []relay.Entry
	for e, err := range s.store.Entries() {
		if err != nil {
			t.Fatalf("entries: %v", err)
		}
		entries = append(entries, e)
	}
	if d := differ(s.model.Entries(), entries); d != "" {
		t.Fatalf("entries (-want +got):\n%s", d)
	}
	s.checkRows(t)
	s.checkEvents(t)
	if want, got := s.model.Stats(), s.store.Stats(); got.Messages != want.Messages || got.Deliveries != want.Deliveries || got.Quarantined != 0 {
		t.Fatalf("the store counts %+v, and has %+v", got, want)
	}
	if err := s.store.Room(); err != nil {
		t.Fatalf("no room on a disk that has some: %v", err)
	}
	want := s.model.Items()
	i := 0
	for item, err := range s.store.Items(context.Background(), relay.QueueID{}) {
		if err != nil || i >= len(want) {
			t.Fatalf("items: %v; %d were expected", err, len(want))
		}
		w := *want[i]
		w.Attempts = nil
		if d := differ(&w, item); d != "" {
			t.Fatalf("item (-want +got):\n%s", d)
		}
		i++
	}
	if i != len(want) {
		t.Fatalf("%d items, want %d", i, len(want))
	}
	for i, w := range want {
		n := 0
		for item, err := range s.store.Items(context.Background(), w.Message.ID) {
			if n++; n == 1 && (err != nil || i+1 == len(want) || item.Message.ID != want[i+1].Message.ID) {
				t.Fatalf("after item %d of %d: %v", i+1, len(want), err)
			}
		}
		if n != len(want)-i-1 {
			t.Fatalf("%d items after item %d of %d", n, i+1, len(want))
		}
	}
	for _, w := range want {
		item, err := s.store.Item(w.Message.ID)
		if err != nil {
			t.Fatalf("item: %v", err)
		}
		if d := differ(w, item); d != "" {
			t.Fatalf("item with its history (-want +got):\n%s", d)
		}
	}
}

func (s *run) enqueue(t *rapid.T) {
	d, err := s.store.NewDraft()
	if err != nil {
		t.Fatalf("draft: %v", err)
	}
	msg, content := drawMessage(t, d.ID())
	cut := rapid.IntRange(0, len(content)).Draw(t, "prepended")
	for body := content[cut:]; len(body) > 0; {
		n := min(len(body), 700)
		if _, err := d.Write(body[:n]); err != nil {
			t.Fatalf("write: %v", err)
		}
		body = body[n:]
	}
	d.Prepend(content[:cut])
	if got := read(t, d.Content()); !bytes.Equal(got, content) {
		t.Fatalf("the draft holds %d octets that differ from the %d written", len(got), len(content))
	}
	own := msg
	if err := s.store.Enqueue(context.Background(), d, &own); err != nil {
		t.Fatalf("enqueue: %v", err)
	}
	s.hear(t, s.model.Accept(msg, content))
}

func read(t fataler, c relay.Content) []byte {
	b, err := io.ReadAll(io.NewSectionReader(c, 0, c.Size()))
	if err != nil {
		t.Fatalf("read content: %v", err)
	}
	return b
}

// pick draws a random Delivery, or skips the step.
func (s *run) pick(t *rapid.T) relay.Delivery {
	all := s.model.Entries()
	if len(all) == 0 {
		t.Skip("nothing is queued")
	}
	e := rapid.SampledFrom(all).Draw(t, "delivery")
	return *s.model.delivery(e.ID, e.Job)
}

func (s *run) claim(t *rapid.T) {
	want := s.pick(t)
	c, err := s.store.Claim(want.ID, want.Job)
	if err != nil {
		t.Fatalf("claim: %v", err)
	}
	defer c.Content.Close()
	if d := differ(&want, c.Delivery); d != "" {
		t.Fatalf("claimed Delivery (-want +got):\n%s", d)
	}
	if d := differ(&s.model.Item(want.ID).Message, c.Message); d != "" {
		t.Fatalf("claimed message (-want +got):\n%s", d)
	}
	if got, want := read(t, c.Content), s.model.Content(want.ID); !bytes.Equal(got, want) {
		t.Fatalf("claimed content has %d octets that differ from the %d accepted", len(got), len(want))
	}
}

func (s *run) settle(t *rapid.T) {
	st := s.drawSettlement(t, s.pick(t))
	want, err := s.model.Settle(st)
	if err != nil {
		t.Fatalf("the model refuses: %v", err)
	}
	if err := await(s.store, st); err != nil {
		t.Fatalf("settle: %v", err)
	}
	s.hear(t, want)
	s.settled = append(s.settled, st)
}

// list tells of the rows, all or some, in a settlement of no Delivery.
func (s *run) list(t *rapid.T) {
	msg, content := drawMessage(t, s.store.NextID())
	st := relay.Settlement{Listed: s.drawListed(t), Events: drawEvents(t, msg), Notices: []relay.Notice{{Message: msg, Content: content}}}
	want, err := s.model.Settle(st)
	if err != nil {
		t.Fatalf("the model refuses: %v", err)
	}
	if err := await(s.store, st); err != nil {
		t.Fatalf("settle without a Delivery: %v", err)
	}
	s.hear(t, want)
}

// checkRows compares what senders are still to be told.
func (s *run) checkRows(t fataler) {
	var rows []relay.DigestRow
	for r, err := range s.store.DigestRows() {
		if err != nil {
			t.Fatalf("rows: %v", err)
		}
		rows = append(rows, r)
	}
	if d := differ(s.model.Rows(), rows); d != "" {
		t.Fatalf("rows (-want +got):\n%s", d)
	}
}

func await(store queue.Store, st relay.Settlement) error {
	done := make(chan error, 1)
	store.Settle(st, func(err error) { done <- err })
	return <-done
}

// settleWrongly tries settlements that must be refused.
func (s *run) settleWrongly(t *rapid.T) {
	d := s.pick(t)
	switch rapid.IntRange(0, 2).Draw(t, "wrong") {
	case 1:
		st := s.drawSettlement(t, d)
		st.ID = relay.QueueID{}
		if st.Outcomes = append(st.Outcomes, relay.Outcome{Action: relay.ActionRelayed}); await(s.store, st) == nil {
			t.Fatalf("a settlement of a Delivery that it does not name was taken")
		}
		return
	case 0:
		st := s.drawSettlement(t, d)
		st.Outcomes = append(st.Outcomes, relay.Outcome{Recipient: 77, Action: relay.ActionRelayed})
		if await(s.store, st) == nil {
			t.Fatalf("a settlement for a recipient that does not exist was taken")
		}
		return
	}
	for _, st := range s.settled {
		if s.model.delivery(st.ID, st.Job) == nil {
			if err := await(s.store, st); !errors.Is(err, relay.ErrNotFound) {
				t.Fatalf("a settlement for a Delivery that has ended: %v", err)
			}
			return
		}
	}
}

// testOrder: IDs only grow, over restarts too, and belong to one directory.
func testOrder(t *testing.T, h Harness) {
	s := &run{h: h, model: NewModel()}
	s.open(t)
	var last relay.QueueID
	for i := range 60 {
		id := s.store.NextID()
		if id.Key <= last.Key || id.Key >= 1<<55 || last.Dir != 0 && id.Dir != last.Dir {
			t.Fatalf("ID %v came after %v", id, last)
		}
		if last = id; i%20 == 19 {
			if err := s.store.Close(); err != nil {
				t.Fatal(err)
			}
			s.open(t)
		}
	}
	s.store.Close()
}

// testDraft: what is discarded or refused leaves nothing behind.
func testDraft(t *testing.T, h Harness) {
	s := &run{h: h, model: NewModel()}
	s.open(t)
	defer func() { s.store.Close() }()
	d, err := s.store.NewDraft()
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(d, strings.NewReader(strings.Repeat("0123456789", 1000)))
	d.Prepend([]byte("header\r\n"))
	if d.Size() != 10008 {
		t.Fatalf("size %d", d.Size())
	}
	d.Discard()
	d.Discard()
	d, _ = s.store.NewDraft()
	if err := s.store.Enqueue(context.Background(), d, &relay.Message{ID: d.ID()}); err == nil {
		t.Fatal("a message without recipients was accepted")
	}
	if _, err := s.store.Claim(d.ID(), 0); !errors.Is(err, relay.ErrNotFound) {
		t.Fatalf("claim of what was refused: %v", err)
	}
	if _, err := s.store.Item(d.ID()); !errors.Is(err, relay.ErrNotFound) {
		t.Fatalf("item of what was refused: %v", err)
	}
	if _, err := s.store.Content(d.ID()); !errors.Is(err, relay.ErrNotFound) {
		t.Fatalf("content of what was refused: %v", err)
	}
	if h.Check != nil {
		if err := h.Check(s.store); err != nil {
			t.Fatal(err)
		}
	}
}
