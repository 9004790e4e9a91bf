package audit

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Records come back by what was asked, numbers go on after a restart, and what is older
// than a year is forgotten.
func TestAudit(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "audit"), time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	l, err := Open(dir, now)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []Record{
		{Time: now.AddDate(-1, -3, 0), Who: "uid:0", Verb: "delete", Filter: "to=@old.example", Count: 1},
		{Time: now.AddDate(0, -2, 0), Who: "Anna", Verb: "hold", Filter: "to=@b.example", Count: 2},
		{Time: now.Add(-time.Hour), Who: "uid:0", Verb: "delete", Filter: "from=<>", Count: 3},
	} {
		r.Act = l.Next()
		if err := l.Append(r); err != nil {
			t.Fatal(err)
		}
	}
	f, err := os.OpenFile(filepath.Join(dir, "2026-11.jsonl"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString(`{"time":"2026-11-22T11:00`) // a crash cut it
	f.Close()
	if l, err = Open(dir, now); err != nil || l.Next() != "4" {
		t.Errorf("%v: the numbers do not go on", err)
	}
	for query, want := range map[string]string{"": "23", "who=anna": "2", "who!=anna": "3", "verb~del age<2d": "3", `filter=""`: "", "verb=delete,bounce": "3", "act=2": "2", "filter~B.EXAMPLE": "2", "since=2d": "3", "until=2d": "2", "since=2026-11-01 who=uid:0": "3"} {
		q, err := Terms.Parse(query, now)
		if err != nil {
			t.Fatal(err)
		}
		all, err := Read(dir, q)
		got := ""
		for _, r := range all {
			got += r.Act
		}
		if err != nil || got != want {
			t.Errorf("%q: %s, %v", query, got, err)
		}
	}
	for _, bad := range []string{"who", "colour=red", "since=soon", "1RK3ZC8Q9D4-7ABC"} {
		if _, err := Terms.Parse(bad, now); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// A log that cannot be looked at is not an empty one.
func TestReadTellsOfWhatItCannotRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "audit")
	if all, err := Read(dir, Query{}); err != nil || len(all) > 0 {
		t.Errorf("nothing yet: %v, %v", all, err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(dir, Query{}); err == nil {
		t.Error("no directory is an empty log")
	}
}
