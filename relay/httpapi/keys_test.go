package httpapi

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dawk/relay"
)

func TestKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	noon := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	k, err := OpenKeys(path, noon)
	if err != nil {
		t.Fatal(err)
	}
	expect := func(user, key string, now time.Time, want keyState) use {
		t.Helper()
		u, got, _ := k.begin(user, key, now)
		if got != want {
			t.Errorf("%s %s is %v, not %v", user, key, got, want)
		}
		return u
	}
	expect("a", "1", noon, keyNew)
	expect("a", "1", noon, keyBusy)
	expect("b", "1", noon, keyNew)
	k.abandon("b", "1")
	expect("b", "1", noon, keyNew)
	if err := k.finish("a", "1", use{Digest: [32]byte{7}, ID: relay.QueueID{Key: 9}, At: noon}); err != nil {
		t.Fatal(err)
	}
	if u := expect("a", "1", noon.Add(time.Hour), keyDone); u.ID.Key != 9 || u.Digest[0] != 7 {
		t.Errorf("%+v", u)
	}
	// A crash in the middle of a line, then a start.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"user":"a","key":"2","dig`); err != nil {
		t.Fatal(err)
	}
	f.Close()
	k.Close()
	if k, err = OpenKeys(path, noon.Add(23*time.Hour)); err != nil {
		t.Fatal(err)
	}
	expect("a", "1", noon.Add(23*time.Hour), keyDone)
	expect("a", "2", noon.Add(23*time.Hour), keyNew)
	expect("a", "1", noon.Add(25*time.Hour), keyNew) // a day is over
	k.Close()
}

// The memory for keys is bounded: whoever has most of them loses the oldest, and
// nobody else.
func TestKeysBounded(t *testing.T) {
	k := NewKeys()
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	use1 := func(user, key string) {
		k.begin(user, key, now)
		if err := k.finish(user, key, use{At: now}); err != nil {
			t.Fatal(err)
		}
	}
	name := func(i int) string { return now.Add(time.Duration(i)).Format(time.RFC3339Nano) }
	use1("b", "old")
	for i := range maxKeys + 100 {
		use1("a", name(i))
	}
	use1("b", "new")
	for _, c := range []struct {
		user, key string
		want      keyState
	}{{"a", name(0), keyNew}, {"a", name(maxKeys + 99), keyDone}, {"b", "old", keyDone}, {"b", "new", keyDone}} {
		if _, s, _ := k.begin(c.user, c.key, now); s != c.want {
			t.Errorf("%s %s is %v, not %v", c.user, c.key, s, c.want)
		}
	}
	if k.all != maxKeys || len(k.users["a"].byKey) != maxKeys-2+1 { // the first is worked on
		t.Errorf("%d keys, %d of a", k.all, len(k.users["a"].byKey))
	}
}

// together is the keys of several relays.
type together struct {
	by  map[string][]byte // nil: claimed
	err error
}

func (s *together) ClaimKey(user, key string) ([]byte, bool, error) {
	value, known := s.by[user+" "+key]
	if !known && s.err == nil {
		s.by[user+" "+key] = nil
	}
	return value, !known && s.err == nil, s.err
}

func (s *together) FinishKey(user, key string, value []byte) error {
	s.by[user+" "+key] = value
	return s.err
}

func (s *together) AbandonKey(user, key string) error {
	delete(s.by, user+" "+key)
	return s.err
}

// A key that one relay has used is used for all, and a relay that cannot ask the others takes
// nothing under it.
func TestKeysOfSeveralRelays(t *testing.T) {
	s, now := &together{by: map[string][]byte{}}, time.Unix(1_000_000, 0)
	a, b := NewKeys(), NewKeys()
	a.Together(s)
	b.Together(s)
	want := func(k *Keys, key string, state keyState) use {
		t.Helper()
		u, got, err := k.begin("shop", key, now)
		if got != state || err != nil {
			t.Fatalf("%q: %v, %v; want %v", key, got, err, state)
		}
		return u
	}
	want(a, "x", keyNew)
	want(a, "x", keyBusy)
	want(b, "x", keyBusy)
	did := use{Digest: [32]byte{1, 2}, ID: relay.QueueID{Key: 77, Dir: 1}, At: now}
	if err := a.finish("shop", "x", did); err != nil {
		t.Fatal(err)
	}
	for _, k := range []*Keys{a, b, a} {
		if got := want(k, "x", keyDone); got.Digest != did.Digest || got.ID != did.ID {
			t.Errorf("%+v", got)
		}
	}
	want(b, "y", keyNew)
	if err := b.abandon("shop", "y"); err != nil {
		t.Fatal(err)
	}
	want(a, "y", keyNew)
	s.err = errors.New("no database")
	for range 2 {
		if _, got, err := b.begin("shop", "z", now); !errors.Is(err, s.err) || got == keyNew {
			t.Errorf("%v, %v", got, err)
		}
	}
}
