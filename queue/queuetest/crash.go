package queuetest

import (
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"dawk/relay"
)

func (s *run) crash(t *rapid.T) {
	if err := s.h.Crash(); err != nil {
		t.Fatalf("crash: %v", err)
	}
	s.reopened(t)
}

func (s *run) close(t *rapid.T) {
	if err := s.store.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	s.reopened(t)
}

func (s *run) reopened(t *rapid.T) {
	s.open(t)
	if s.h.Check != nil {
		if err := s.h.Check(s.store); err != nil {
			t.Fatalf("after a restart: %v", err)
		}
	}
}

// crashSettling crashes while a settlement waits for its commit: all of it
// happened, or nothing.
func (s *run) crashSettling(t *rapid.T) {
	st := s.drawSettlement(t, s.pick(t))
	after := s.model.clone()
	if _, err := after.Settle(st); err != nil {
		t.Fatalf("the model refuses: %v", err)
	}
	s.store.Settle(st, nil)
	if err := s.h.Crash(); err != nil {
		t.Fatalf("crash: %v", err)
	}
	s.reopened(t)
	var entries []relay.Entry
	for e, err := range s.store.Entries() {
		if err != nil {
			t.Fatalf("entries: %v", err)
		}
		entries = append(entries, e)
	}
	item, _ := s.store.Item(st.ID)
	// A Delivery may look the same before and after; the rows do not.
	var rows []relay.DigestRow
	for r, err := range s.store.DigestRows() {
		if err != nil {
			t.Fatalf("rows: %v", err)
		}
		rows = append(rows, r)
	}
	if cmp.Equal(after.Entries(), entries, compare) && cmp.Equal(after.Rows(), rows, compare) && cmp.Equal(after.events, eventsOf(t, s.store), compare) && cmp.Equal(after.Item(st.ID), item, compare) {
		s.model = after // check compares the rest
	}
}
