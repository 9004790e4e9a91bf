package delivery

import (
	"log/slog"
	"testing"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/delivery/notices"
	"dawk/relay/delivery/schedule"
)

var arrival = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func mustPath(t *testing.T, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// teller is a settler with the notices that follow.
type teller struct {
	settler
	notices *notices.Notices
}

func newTeller() *teller {
	next := uint64(100)
	return &teller{settler{retry: schedule.Retry{Steps: DefaultRetry, Rand: middle}, maxAge: 5 * 24 * time.Hour, delayNotice: 4 * time.Hour},
		notices.New(notices.Config{Bounce: bounce.Config{Hostname: "relay.example.org"}, Span: time.Hour, Log: slog.New(slog.DiscardHandler),
			NextID: func() relay.QueueID { next++; return relay.QueueID{Key: next, Dir: 1} }})}
}

// settled is an attempt's settlement with its notices.
func (t *teller) settled(now time.Time, c *relay.Claim, a attempted) decision {
	dec := t.settle(now, c, a)
	dec.events = append(dec.events, t.notices.Tell(now, c, dec.cause, &dec.settlement)...)
	return dec
}

func claimFor(t *testing.T, from string, notify relay.Notify, to ...string) *relay.Claim {
	t.Helper()
	m := &relay.Message{ID: relay.QueueID{Key: 7, Dir: 1}, Arrival: arrival, Envelope: relay.Envelope{From: mustPath(t, from)}}
	d := &relay.Delivery{Entry: relay.Entry{ID: m.ID, Destination: "dest.test", Arrival: arrival, Due: arrival}}
	for i, r := range to {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: mustPath(t, r), Notify: notify})
		d.Open = append(d.Open, relay.Open{Recipient: i})
	}
	return &relay.Claim{Message: m, Delivery: d}
}

func replied(c *relay.Claim, r relay.Reply) attempted {
	a := attempted{recipients: c.Delivery.Recipients()}
	for range a.recipients {
		a.result.Replies = append(a.result.Replies, r)
	}
	return a
}

var (
	took   = relay.Reply{Code: 250, Stage: relay.StageBody}
	defers = relay.Reply{Code: 451, Stage: relay.StageRcpt, Text: "later"}
	denies = relay.Reply{Code: 550, Stage: relay.StageRcpt, Text: "no such user"}
)

func TestWhoIsTold(t *testing.T) {
	const success, never = relay.NotifySuccess, relay.NotifyNever
	for _, c := range []struct {
		name   string
		from   string
		notify relay.Notify
		reply  relay.Reply
		after  time.Duration
		change func(*relay.Claim, *attempted)
		want   string // kind of the notice, "dropped", or nothing
	}{
		{"failure", "s@example.org", 0, denies, 0, nil, "failed"},
		{"failure, never", "s@example.org", never, denies, 0, nil, ""},
		{"failure, only success asked", "s@example.org", success, denies, 0, nil, ""},
		{"failure of a notice", "", never, denies, 0, func(c *relay.Claim, _ *attempted) { c.Message.Notice = true }, "dropped"},
		{"expiry", "s@example.org", 0, defers, 5 * 24 * time.Hour, nil, "failed"},
		{"expiry by the message's own lifetime", "s@example.org", 0, defers, time.Hour, func(c *relay.Claim, _ *attempted) { c.Message.MaxAge = relay.Millis(time.Hour) }, "failed"},
		{"delay", "s@example.org", 0, defers, 4 * time.Hour, nil, "delayed"},
		{"delay, too early", "s@example.org", 0, defers, 4*time.Hour - 1, nil, ""},
		{"delay, told before", "s@example.org", 0, defers, 4 * time.Hour, func(c *relay.Claim, _ *attempted) { c.Delivery.DelayNoticed = true }, ""},
		{"delay, not wanted", "s@example.org", relay.NotifyFailure, defers, 4 * time.Hour, nil, ""},
		{"delay, identity wants none", "s@example.org", 0, defers, 4 * time.Hour, func(c *relay.Claim, _ *attempted) { c.Message.NoDelayNotes = true }, ""},
		{"success", "s@example.org", success, took, 0, nil, "relayed"},
		{"success, not asked", "s@example.org", 0, took, 0, nil, ""},
		{"success, the next hop reports", "s@example.org", success, took, 0, func(_ *relay.Claim, a *attempted) { a.result.DSN = true }, ""},
	} {
		s := newTeller()
		claim := claimFor(t, c.from, c.notify, "a@dest.test", "b@dest.test")
		a := replied(claim, c.reply)
		if c.change != nil {
			c.change(claim, &a)
		}
		dec := s.settled(arrival.Add(c.after), claim, a)
		got := ""
		for _, e := range dec.events {
			switch e.Kind {
			case relay.EventNotified:
				got += e.NoticeKind
			case relay.EventDropped:
				got = "dropped"
			}
		}
		if got != c.want {
			t.Errorf("%s: told %q, want %q", c.name, got, c.want)
		}
		if n := len(dec.settlement.Notices); (n == 1) != (c.want != "" && c.want != "dropped") {
			t.Errorf("%s: %d notices in the settlement", c.name, n)
		}
		if late := !dec.gone && c.after >= 4*time.Hour; dec.settlement.Next.DelayNoticed != (late || claim.Delivery.DelayNoticed) && !dec.gone {
			t.Errorf("%s: DelayNoticed %v", c.name, dec.settlement.Next.DelayNoticed)
		}
	}
}

// The recipients that part are told of the delay by the settlement that parts
// them: their new Delivery inherits that it was sent.
func TestDelayNoticeSpeaksForThoseThatPart(t *testing.T) {
	s := newTeller()
	claim := claimFor(t, "s@example.org", 0, "a@dest.test", "b@dest.test")
	a := replied(claim, defers)
	a.recipients, a.result.Replies = a.recipients[:1], a.result.Replies[:1]
	a.split = []relay.Split{{Destination: "route:x", Recipients: []int{1}}}
	dec := s.settled(arrival.Add(5*time.Hour), claim, a)
	for _, e := range dec.events {
		if e.Kind == relay.EventNotified && e.Count == 2 {
			return
		}
	}
	t.Errorf("no delay notice for both: %+v", dec.events)
}

func TestAttemptIsRecorded(t *testing.T) {
	s := newTeller()
	claim := claimFor(t, "s@example.org", 0, "a@dest.test")
	claim.Delivery.Attempts = 2
	a := replied(claim, defers)
	a.result.Route, a.result.Host, a.result.Addr, a.result.TLS = "mx", "mx.dest.test", "192.0.2.1", "TLS1.3"
	a.result.Began, a.result.Took = arrival, 3*time.Second
	at := s.settled(arrival.Add(3*time.Second), claim, a).settlement.Attempt
	if at.N != 3 || !at.At.Equal(arrival) || at.Took.Duration() != 3*time.Second || at.Host != "mx.dest.test" || at.TLS != "TLS1.3" ||
		!at.Next.Equal(arrival.Add(3*time.Second+15*time.Minute)) || at.Rule != "retry step 3 of 6: 15m ±10 %" || at.Outcomes[0].Reply != defers {
		t.Errorf("%+v", at)
	}
	if a.result.Visits = make([]relay.Visit, 1); s.settled(arrival, claim, a).settlement.Attempt.Visits != nil {
		t.Error("one host is told of twice")
	}
	a.result.Visits = make([]relay.Visit, 20)
	a.result.Visits[19].Host = "mx.dest.test"
	if v := s.settled(arrival, claim, a).settlement.Attempt.Visits; len(v) != relay.MaxVisits || v[len(v)-1].Host != "mx.dest.test" {
		t.Errorf("%d of 20 hosts are kept: %+v", len(v), v)
	}
}
