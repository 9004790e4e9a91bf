package kept

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/admin/bundle"
)

// text is content.
type text struct{ *strings.Reader }

func (text) Close() error { return nil }

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "acts"), "relay.example.org")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// keep makes an act with mail, as old as that.
func keep(t *testing.T, s *Store, act string, age time.Duration) {
	t.Helper()
	a, err := s.Begin(act, "alice", "delete", "to=@example.com", true, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m := bundle.Message{Message: relay.Message{ID: relay.QueueID{Key: 1, Dir: 1}, Size: 4}}
	if err := errors.Join(a.Add(m, text{strings.NewReader("mail")}), a.Sync(), a.Note(Done{ID: m.Message.ID}), a.Close()); err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-age)
	for _, suffix := range []string{mailSuffix, listSuffix} {
		if err := os.Chtimes(s.path(act, suffix), then, then); err != nil {
			t.Fatal(err)
		}
	}
}

// Mail is forgotten after a day, its list after a month; when room is short, the oldest mail
// goes at once, one act at a time, and never a list.
func TestPrune(t *testing.T) {
	s, now := open(t), time.Now()
	keep(t, s, "1", 32*24*time.Hour)
	keep(t, s, "2", 25*time.Hour)
	keep(t, s, "3", 3*time.Hour)
	keep(t, s, "4", 2*time.Hour)
	has := func(want string) {
		t.Helper()
		got := ""
		for n := range 5 {
			act := fmt.Sprint(n)
			if s.Has(act, false) {
				got += " " + act
			}
			if s.Has(act, true) {
				got += "m"
			}
		}
		if got != want {
			t.Errorf("left are%s, want%s", got, want)
		}
	}
	for _, step := range []struct {
		short bool
		left  string
	}{{false, " 2 3m 4m"}, {false, " 2 3m 4m"}, {true, " 2 3 4m"}, {true, " 2 3 4"}, {true, " 2 3 4"}} {
		if err := s.Prune(now, step.short); err != nil {
			t.Fatal(err)
		}
		has(step.left)
	}
	if all, err := s.Acts(); err != nil || fmt.Sprint(all) != "[4 3 2]" {
		t.Errorf("%v %v", all, err)
	}
	if h, err := s.Head("4"); err != nil || h.Who != "alice" || h.Verb != "delete" || h.Filter != "to=@example.com" {
		t.Errorf("%+v %v", h, err)
	}
	for _, act := range []string{"1", "99", "../4", "moved-x", ""} {
		if _, err := s.Head(act); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, io.EOF) {
			t.Errorf("act %q: %v", act, err)
		}
	}
}

// Moves are kept for three months, and together never take more than their bound.
func TestMovesAreBounded(t *testing.T) {
	s, now := open(t), time.Now()
	id := func(n uint64) relay.QueueID { return relay.QueueID{Key: n, Dir: 7} }
	for n, name := range []string{"old", "large", "young"} {
		if err := s.Moved(Move{name, id(uint64(n + 1)), id(uint64(n + 11))}, Move{name, id(uint64(n + 1)), id(uint64(n + 21))}); err != nil {
			t.Fatal(err)
		}
	}
	if came, err := s.Came("old"); err != nil || len(came) != 1 || !came[id(1)] {
		t.Errorf("%v %v", came, err)
	}
	if got := s.Now(id(2)); len(got) != 2 || got[0] != id(12) || got[1] != id(22) {
		t.Errorf("%v", got)
	}
	if err := s.Moved(Move{"again", id(2), id(13)}); err != nil {
		t.Fatal(err)
	}
	if got := s.Now(id(2)); len(got) != 3 || got[1] != id(13) || got[2] != id(22) {
		t.Errorf("of two bundles: %v", got)
	}
	age := func(name string, d time.Duration) {
		t.Helper()
		if err := os.Chtimes(s.movesPath(name), now.Add(-d), now.Add(-d)); err != nil {
			t.Fatal(err)
		}
	}
	age("old", 91*24*time.Hour)
	if err := os.Truncate(s.movesPath("large"), maxMoves); err != nil {
		t.Fatal(err)
	}
	age("large", time.Hour)
	if err := s.Prune(now, false); err != nil {
		t.Fatal(err)
	}
	if s.Now(id(1)) != nil || len(s.Now(id(2))) != 1 || s.Now(id(3)) == nil {
		t.Errorf("left: %v %v %v", s.Now(id(1)), s.Now(id(2)), s.Now(id(3)))
	}
}
