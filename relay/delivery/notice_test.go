package delivery

import (
	"bytes"
	"errors"
	"log/slog"
	"net/mail"
	"strings"
	"testing"
	"time"

	"dawk/bounce"
	"dawk/relay"
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

func testSettler(compose func(bounce.Config, bounce.Report) (relay.Notice, error)) (*settler, *bytes.Buffer) {
	var log bytes.Buffer
	next := uint64(100)
	return &settler{schedule: schedule{steps: DefaultRetry, rand: middle}, maxAge: 5 * 24 * time.Hour, delayNotice: 4 * time.Hour,
		bounce: bounce.Config{Hostname: "relay.example.org"}, compose: compose,
		nextID: func() relay.QueueID { next++; return relay.QueueID{Key: next, Dir: 1} },
		log:    slog.New(slog.NewTextHandler(&log, nil))}, &log
}

// settled is an attempt's settlement with its notices.
func settled(s *settler, now time.Time, c *relay.Claim, a attempted) decision {
	dec := s.settle(now, c, a)
	s.write(c, &dec, nil)
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
		{"expiry by the message's own lifetime", "s@example.org", 0, defers, time.Hour, func(c *relay.Claim, _ *attempted) { c.Message.MaxAge = time.Hour }, "failed"},
		{"delay", "s@example.org", 0, defers, 4 * time.Hour, nil, "delayed"},
		{"delay, too early", "s@example.org", 0, defers, 4*time.Hour - 1, nil, ""},
		{"delay, told before", "s@example.org", 0, defers, 4 * time.Hour, func(c *relay.Claim, _ *attempted) { c.Delivery.DelayNoticed = true }, ""},
		{"delay, not wanted", "s@example.org", relay.NotifyFailure, defers, 4 * time.Hour, nil, ""},
		{"delay, identity wants none", "s@example.org", 0, defers, 4 * time.Hour, func(c *relay.Claim, _ *attempted) { c.Message.NoDelayNotes = true }, ""},
		{"success", "s@example.org", success, took, 0, nil, "relayed"},
		{"success, not asked", "s@example.org", 0, took, 0, nil, ""},
		{"success, the next hop reports", "s@example.org", success, took, 0, func(_ *relay.Claim, a *attempted) { a.result.DSN = true }, ""},
	} {
		s, _ := testSettler(bounce.Compose)
		claim := claimFor(t, c.from, c.notify, "a@dest.test", "b@dest.test")
		a := replied(claim, c.reply)
		if c.change != nil {
			c.change(claim, &a)
		}
		dec := settled(s, arrival.Add(c.after), claim, a)
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

// A notice that cannot be composed is replaced by a plain one in the same
// settlement: the mail is not dropped in silence.
func TestNoticeThatCannotBeComposed(t *testing.T) {
	for name, compose := range map[string]func(bounce.Config, bounce.Report) (relay.Notice, error){
		"error":      func(bounce.Config, bounce.Report) (relay.Notice, error) { return relay.Notice{}, errors.New("no") },
		"panic":      func(bounce.Config, bounce.Report) (relay.Notice, error) { panic("index out of range") },
		"incomplete": func(bounce.Config, bounce.Report) (relay.Notice, error) { return relay.Notice{}, nil },
	} {
		s, log := testSettler(compose)
		s.bounce.Hostname = "bad host\r\nBcc: x@example.org"
		claim := claimFor(t, "s@example.org", 0, "müller@dest.test", "b@dest.test")
		reply := denies
		reply.Text = strings.Repeat("no such user ✉ ", 80)
		dec := settled(s, arrival, claim, replied(claim, reply))
		if len(dec.settlement.Notices) != 1 || len(dec.settlement.Outcomes) != 2 || !strings.Contains(log.String(), "could not be composed") {
			t.Fatalf("%s: %d notices; log %q", name, len(dec.settlement.Notices), log)
		}
		n := dec.settlement.Notices[0]
		msg, err := mail.ReadMessage(bytes.NewReader(n.Content))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if msg.Header.Get("To") != "<s@example.org>" || msg.Header.Get("Bcc") != "" || !n.Message.Notice || !n.Message.From.IsNull() ||
			n.Message.Recipients[0].Path != claim.Message.From || n.Message.Size != int64(len(n.Content)) {
			t.Errorf("%s: %+v\n%s", name, n.Message, n.Content)
		}
		for _, line := range strings.Split(string(n.Content), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
				t.Errorf("%s: bad line of %d octets: %.60q", name, len(line), line)
			}
		}
	}
}

// The recipients that part are told of the delay by the settlement that parts
// them: their new Delivery inherits that it was sent.
func TestDelayNoticeSpeaksForThoseThatPart(t *testing.T) {
	s, _ := testSettler(bounce.Compose)
	claim := claimFor(t, "s@example.org", 0, "a@dest.test", "b@dest.test")
	a := replied(claim, defers)
	a.recipients, a.result.Replies = a.recipients[:1], a.result.Replies[:1]
	a.split = []relay.Split{{Destination: "route:x", Recipients: []int{1}}}
	dec := settled(s, arrival.Add(5*time.Hour), claim, a)
	for _, e := range dec.events {
		if e.Kind == relay.EventNotified && e.Count == 2 {
			return
		}
	}
	t.Errorf("no delay notice for both: %+v", dec.events)
}

func TestAttemptIsRecorded(t *testing.T) {
	s, _ := testSettler(bounce.Compose)
	claim := claimFor(t, "s@example.org", 0, "a@dest.test")
	claim.Delivery.Attempts = 2
	a := replied(claim, defers)
	a.result.Route, a.result.Host, a.result.Addr, a.result.TLS = "mx", "mx.dest.test", "192.0.2.1", "TLS1.3"
	a.result.Began, a.result.Took = arrival, 3*time.Second
	at := settled(s, arrival.Add(3*time.Second), claim, a).settlement.Attempt
	if at.N != 3 || !at.At.Equal(arrival) || at.Took != 3*time.Second || at.Host != "mx.dest.test" || at.TLS != "TLS1.3" ||
		!at.Next.Equal(arrival.Add(3*time.Second+15*time.Minute)) || at.Rule != "retry step 3 of 6: 15m ±10 %" || at.Outcomes[0].Reply != defers {
		t.Errorf("%+v", at)
	}
	if a.result.Visits = make([]relay.Visit, 1); settled(s, arrival, claim, a).settlement.Attempt.Visits != nil {
		t.Error("one host is told of twice")
	}
	a.result.Visits = make([]relay.Visit, 20)
	a.result.Visits[19].Host = "mx.dest.test"
	if v := settled(s, arrival, claim, a).settlement.Attempt.Visits; len(v) != relay.MaxVisits || v[len(v)-1].Host != "mx.dest.test" {
		t.Errorf("%d of 20 hosts are kept: %+v", len(v), v)
	}
}

// Notices are signed; one that cannot be is sent all the same.
func TestNoticesAreSigned(t *testing.T) {
	for name, c := range map[string]struct {
		sign func(*relay.Message, relay.Content) ([]byte, error)
		want string
	}{
		"signed": {func(m *relay.Message, content relay.Content) ([]byte, error) {
			if content.Size() != m.Size || !m.Notice {
				t.Errorf("signing %+v of %d octets", m, content.Size())
			}
			return []byte("DKIM-Signature: x\r\n"), nil
		}, "DKIM-Signature: x\r\nFrom: "},
		"error": {func(*relay.Message, relay.Content) ([]byte, error) { return nil, errors.New("no") }, "From: "},
		"panic": {func(*relay.Message, relay.Content) ([]byte, error) { panic("oh") }, "From: "},
	} {
		s, log := testSettler(bounce.Compose)
		s.sign = c.sign
		claim := claimFor(t, "s@example.org", 0, "b@dest.test")
		dec := settled(s, arrival, claim, replied(claim, denies))
		if len(dec.settlement.Notices) != 1 {
			t.Fatalf("%s: %d notices", name, len(dec.settlement.Notices))
		}
		n := dec.settlement.Notices[0]
		if !strings.HasPrefix(string(n.Content), c.want) || n.Message.Size != int64(len(n.Content)) ||
			strings.Contains(log.String(), "could not be signed") != (name != "signed") {
			t.Errorf("%s: %.40q, size %d of %d; log %s", name, n.Content, n.Message.Size, len(n.Content), log)
		}
	}
}
