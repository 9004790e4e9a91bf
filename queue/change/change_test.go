package change_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dawk/queue/change"
	"dawk/relay"
)

const dir = 7

func id(key uint64) relay.QueueID { return relay.QueueID{Key: key, Dir: dir} }

func path(t *testing.T, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestAccepted: one Delivery for each destination, in the order of the recipients.
func TestAccepted(t *testing.T) {
	msg := &relay.Message{ID: id(1), Hold: "rule"}
	for _, to := range []string{"a@example.org", "b@example.com", "c@example.org", "d@example.net", "e@example.com"} {
		msg.Recipients = append(msg.Recipients, relay.Recipient{Path: path(t, to)})
	}
	m, all, err := change.Accepted(msg, func(_ *relay.Message, p relay.Path) string { return p.Domain() })
	if err != nil || m.Hold != "" || msg.Hold != "rule" {
		t.Fatal(m, err)
	}
	got := map[string][]int{}
	for i, d := range all {
		if int(d.Job) != i || !d.Held || d.Rule != "rule" {
			t.Errorf("%+v", d)
		}
		got[d.Destination] = d.Recipients()
	}
	if diff := cmp.Diff(map[string][]int{"example.org": {0, 2}, "example.com": {1, 4}, "example.net": {3}}, got); diff != "" {
		t.Error(diff)
	}
}

// TestAcceptedAgain: mail that comes back begins as it was, due at once; recipients share a
// Delivery where all of that is the same.
func TestAcceptedAgain(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 8000, time.UTC)
	held := relay.State{Due: at.Add(time.Hour), Attempts: 3, Held: true, HeldAt: at, HeldFor: time.Hour, DelayNoticed: true, Unknown: true, Rule: "rule", Route: "smart"}
	tried := relay.State{Attempts: 1}
	msg := &relay.Message{ID: id(1), Arrival: at}
	for i, state := range []relay.State{tried, held, tried, held} {
		msg.Recipients = append(msg.Recipients, relay.Recipient{Path: path(t, "a@example.org")})
		msg.Begin = append(msg.Begin, relay.Beginning{State: state, Last: relay.Reply{Code: 450 + i}})
	}
	domain := func(_ *relay.Message, p relay.Path) string { return p.Domain() }
	m, all, err := change.Accepted(msg, domain)
	if err != nil || m.Begin != nil || len(all) != 2 {
		t.Fatal(m, all, err)
	}
	held.Due, tried.Due = at, at
	for i, want := range []relay.State{tried, held} {
		open := []relay.Open{{Recipient: i, Last: relay.Reply{Code: 450 + i}}, {Recipient: i + 2, Last: relay.Reply{Code: 452 + i}}}
		if diff := cmp.Diff(want, all[i].State()) + cmp.Diff(open, all[i].Open); diff != "" {
			t.Error(diff)
		}
	}
	msg.Begin = msg.Begin[:1]
	if _, _, err := change.Accepted(msg, domain); err == nil {
		t.Error("a recipient has no beginning, and nothing is said")
	}
}

// TestCheck: what contradicts itself is refused before anything is read.
func TestCheck(t *testing.T) {
	final := relay.Outcome{Action: relay.ActionRelayed}
	for name, s := range map[string]relay.Settlement{
		"a recipient twice":           {ID: id(1), Outcomes: []relay.Outcome{final, final}},
		"no action":                   {ID: id(1), Outcomes: []relay.Outcome{{}}},
		"a recipient below zero":      {ID: id(1), Outcomes: []relay.Outcome{{Recipient: -1, Action: relay.ActionFailed}}},
		"a split of nobody":           {ID: id(1), Split: []relay.Split{{Destination: "route:a"}}},
		"a split to nowhere":          {ID: id(1), Split: []relay.Split{{Recipients: []int{0}}}},
		"one in two splits":           {ID: id(1), Split: []relay.Split{{Destination: "a", Recipients: []int{0}}, {Destination: "b", Recipients: []int{0}}}},
		"attempts below zero":         {ID: id(1), Next: relay.State{Attempts: -1}},
		"a notice of another queue":   {ID: id(1), Notices: []relay.Notice{{Message: relay.Message{ID: relay.QueueID{Key: 1, Dir: dir + 1}}}}},
		"a row without an ID":         {ID: id(1), Rows: []relay.DigestRow{{}}},
		"outcomes without a Delivery": {Outcomes: []relay.Outcome{final}},
	} {
		if err := change.Check(&s, dir); !errors.Is(err, change.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := change.Check(&relay.Settlement{ID: id(1), Outcomes: []relay.Outcome{final}}, dir); err != nil {
		t.Error(err)
	}
}

// TestAdvance: outcomes end recipients, a split takes others away, and the rest stay
// with their last reply.
func TestAdvance(t *testing.T) {
	delivery := func() *relay.Delivery {
		d := &relay.Delivery{Entry: relay.Entry{ID: id(1), Destination: "example.org"}}
		for i := range 5 {
			d.Open = append(d.Open, relay.Open{Recipient: i})
		}
		return d
	}
	later := relay.Reply{Code: 451}
	s := &relay.Settlement{ID: id(1), Next: relay.State{Attempts: 3},
		Outcomes: []relay.Outcome{{Recipient: 0, Action: relay.ActionRelayed}, {Recipient: 1, Action: relay.ActionDelayed, Reply: later}},
		Split:    []relay.Split{{Destination: "route:a", Recipients: []int{3}}, {Destination: "route:b", Recipients: []int{4}}}}
	d := delivery()
	asked := 0
	parted, err := change.Advance(d, s, func() int { asked++; return 9 })
	if err != nil || asked != 1 || len(parted) != 2 {
		t.Fatal(parted, err, asked)
	}
	if diff := cmp.Diff([]relay.Open{{Recipient: 1, Last: later}, {Recipient: 2}}, d.Open); diff != "" || d.Attempts != 3 {
		t.Error(diff, d.Attempts)
	}
	for i, want := range []struct {
		job  uint16
		dest string
	}{{9, "route:a"}, {10, "route:b"}} {
		if p := parted[i]; p.Job != want.job || p.Destination != want.dest || len(p.Open) != 1 || p.Open[0].Recipient != 3+i || p.Attempts != 3 {
			t.Errorf("%+v", p)
		}
	}
	for name, s := range map[string]*relay.Settlement{
		"an outcome for nobody":        {Outcomes: []relay.Outcome{{Recipient: 9, Action: relay.ActionFailed}}},
		"a split of one who has ended": {Outcomes: []relay.Outcome{{Action: relay.ActionFailed}}, Split: []relay.Split{{Destination: "a", Recipients: []int{0}}}},
	} {
		if _, err := change.Advance(delivery(), s, func() int { return 1 }); !errors.Is(err, change.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHistory: a recipient is final in the history exactly when it was closed.
func TestHistory(t *testing.T) {
	if _, ok := change.History(&relay.Settlement{}); ok {
		t.Error("an act that decided nothing is in the history")
	}
	relayed, failed := relay.Outcome{Action: relay.ActionRelayed}, relay.Outcome{Recipient: 1, Action: relay.ActionFailed}
	a, ok := change.History(&relay.Settlement{Attempt: &relay.Attempt{N: 1, Outcomes: []relay.Outcome{relayed, failed}},
		Outcomes: []relay.Outcome{failed, {Recipient: 2, Action: relay.ActionDeleted}}})
	want := []relay.Outcome{{Action: relay.ActionDelayed}, failed, {Recipient: 2, Action: relay.ActionDeleted}}
	if diff := cmp.Diff(want, a.Outcomes); !ok || diff != "" {
		t.Error(ok, diff)
	}
}
