package tlspolicy

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Files of policies that have expired go with the first that is written in a day;
// those that count or cannot be read stay.
func TestExpiredPoliciesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	s, err := newSTSStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().Round(0)
	put := func(domain string, fetched time.Duration) {
		t.Helper()
		if err := s.Put(&STSPolicy{Domain: domain, ID: "1", Mode: "enforce", MX: []string{"mx.test"}, MaxAge: 48 * time.Hour, Fetched: now.Add(-fetched)}); err != nil {
			t.Fatal(err)
		}
	}
	put("old.test", 72*time.Hour)
	put("good.test", 25*time.Hour)
	put("young.test", 72*time.Hour)
	if err := os.WriteFile(filepath.Join(dir, "damaged.test.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old.test", "good.test", "damaged.test"} {
		if err := os.Chtimes(filepath.Join(dir, name+".json"), now, now.Add(-72*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	there := func(domain string, want bool) {
		t.Helper()
		if _, err := os.Stat(s.file(domain)); (err == nil) != want {
			t.Errorf("%s is there: %v", domain, !want)
		}
	}
	put("new.test", 0)
	there("old.test", true) // looked at today already
	s.swept = now.Add(-25 * time.Hour)
	put("new.test", 0)
	there("old.test", false)
	for _, domain := range []string{"good.test", "young.test", "damaged.test", "new.test"} {
		there(domain, true)
	}
	if p, err := s.Get("good.test", now); p == nil || err != nil {
		t.Errorf("%v, %v", p, err)
	}
	if _, err := s.Get("damaged.test", now); err == nil {
		t.Error("a damaged policy counts as none")
	}
}
