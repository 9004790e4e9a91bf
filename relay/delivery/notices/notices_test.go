package notices

import (
	"bytes"
	"encoding/json"
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

// testNotices write to a log, and know no history.
func testNotices(t *testing.T) (*Notices, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	next := uint64(100)
	return New(Config{Bounce: bounce.Config{Hostname: "relay.example.org"}, Span: time.Hour,
		NextID: func() relay.QueueID { next++; return relay.QueueID{Key: next, Dir: 1} },
		Log:    slog.New(slog.NewTextHandler(&log, nil))}), &log
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

var denies = relay.Reply{Code: 550, Stage: relay.StageRcpt, Text: "no such user"}

// failed is the settlement of a Delivery whose recipients all failed.
func failed(n *Notices, c *relay.Claim, r relay.Reply) (s relay.Settlement) {
	var cause Cause
	for _, i := range c.Delivery.Recipients() {
		cause.Outcomes = append(cause.Outcomes, relay.Outcome{Recipient: i, Action: relay.ActionFailed, Reply: r})
	}
	n.Tell(arrival, c, cause, &s)
	return s
}

// A notice that cannot be composed is replaced by a plain one in the same
// settlement: the mail is not dropped in silence.
func TestNoticeThatCannotBeComposed(t *testing.T) {
	for name, compose := range map[string]func(bounce.Config, bounce.Report) (relay.Notice, error){
		"error":      func(bounce.Config, bounce.Report) (relay.Notice, error) { return relay.Notice{}, errors.New("no") },
		"panic":      func(bounce.Config, bounce.Report) (relay.Notice, error) { panic("index out of range") },
		"incomplete": func(bounce.Config, bounce.Report) (relay.Notice, error) { return relay.Notice{}, nil },
	} {
		n, log := testNotices(t)
		n.compose = compose
		n.Bounce.Hostname = "bad host\r\nBcc: x@example.org"
		claim := claimFor(t, "s@example.org", 0, "müller@dest.test", "b@dest.test")
		reply := denies
		reply.Text = strings.Repeat("no such user ✉ ", 80)
		s := failed(n, claim, reply)
		if len(s.Notices) != 1 || !strings.Contains(log.String(), "could not be composed") {
			t.Fatalf("%s: %d notices; log %q", name, len(s.Notices), log)
		}
		notice := s.Notices[0]
		msg, err := mail.ReadMessage(bytes.NewReader(notice.Content))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if msg.Header.Get("To") != "<s@example.org>" || msg.Header.Get("Bcc") != "" || !notice.Message.Notice || !notice.Message.From.IsNull() ||
			notice.Message.Recipients[0].Path != claim.Message.From || notice.Message.Size != int64(len(notice.Content)) {
			t.Errorf("%s: %+v\n%s", name, notice.Message, notice.Content)
		}
		for _, line := range strings.Split(string(notice.Content), "\r\n") {
			if len(line) > 998 || strings.ContainsAny(line, "\r\n") || strings.ContainsFunc(line, func(r rune) bool { return r > '~' }) {
				t.Errorf("%s: bad line of %d octets: %.60q", name, len(line), line)
			}
		}
	}
}

// What cannot be told as it should be in a row, or in a list, is told plainly.
func TestListThatCannotBeComposed(t *testing.T) {
	n, log := testNotices(t)
	n.Limit = 1
	n.summarize = func(bounce.Config, bounce.Report) (bounce.Row, error) { panic("index out of range") }
	n.digest = func(bounce.Config, bounce.DigestReport) (relay.Notice, error) { panic("index out of range") }
	var rows []relay.DigestRow
	for range 3 {
		s := failed(n, claimFor(t, "s@example.org", 0, "a@dest.test", "b@dest.test"), denies)
		rows = append(rows, s.Rows...)
	}
	n.Kept(arrival, rows...)
	var lists []List
	for l, err := range n.Lists(arrival.Add(time.Hour), read(rows)) {
		if err != nil {
			t.Fatal(err)
		}
		lists = append(lists, l)
	}
	if len(lists) != 1 || len(lists[0].Settlement.Listed) != 2 || strings.Count(log.String(), "could not be composed") != 3 {
		t.Fatalf("%+v\n%s", lists, log)
	}
	if text := string(lists[0].Settlement.Notices[0].Content); strings.Count(text, "<b@dest.test>: failed: 550 no such user") != 2 &&
		strings.Count(text, "b@dest.test: failed: 550 no such user") != 2 {
		t.Errorf("%s", text)
	}
}

func read(rows []relay.DigestRow) func(func(relay.DigestRow, error) bool) {
	return func(yield func(relay.DigestRow, error) bool) {
		for _, r := range rows {
			if !yield(r, nil) {
				return
			}
		}
	}
}

// A list that is not taken, or rows that cannot be read, come again.
func TestListsComeAgain(t *testing.T) {
	n, _ := testNotices(t)
	n.Limit = 1
	failed(n, claimFor(t, "s@example.org", 0, "a@dest.test"), denies)
	rows := failed(n, claimFor(t, "s@example.org", 0, "b@dest.test"), denies).Rows
	rows = append(rows, relay.DigestRow{ID: relay.QueueID{Key: 5, Dir: 1}, Data: []byte("{")}) // of which nothing can be made
	n.Kept(arrival, rows...)
	due := arrival.Add(time.Hour)
	for pass, broken := range []bool{true, false, false} {
		if at := n.Next(due.Add(-time.Minute)); !at.Equal(due) {
			t.Fatalf("pass %d: the next list is due at %v, want %v", pass, at, due)
		}
		given := 0
		all := read(rows)
		if broken {
			all = func(yield func(relay.DigestRow, error) bool) {
				yield(relay.DigestRow{}, errors.New("input/output error"))
			}
		}
		for l, err := range n.Lists(due, all) {
			if (err != nil) != broken || !broken && (len(l.Settlement.Listed) != 1 || !l.Settlement.ID.IsZero()) {
				t.Errorf("pass %d: %+v, %v", pass, l, err)
			}
			if given++; pass < 2 {
				break // it could not be committed
			}
		}
		if given != 1 {
			t.Errorf("pass %d: %d lists", pass, given)
		}
		due = due.Add(retryList)
	}
	if at := n.Next(due); !at.IsZero() {
		t.Errorf("after the last list another is due at %v", at)
	}
}

// A settlement of very many recipients is several rows, and a row is what JSON
// says it is: versions to come read it back.
func TestRow(t *testing.T) {
	n, _ := testNotices(t)
	n.Limit = 1
	failed(n, claimFor(t, "s@example.org", 0, "a@dest.test"), denies)
	var to []string
	for range 2*maxRow + 1 {
		to = append(to, "b@dest.test")
	}
	rows := failed(n, claimFor(t, "s@example.org", 0, to...), denies).Rows
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	var row map[string]any
	if err := json.Unmarshal(rows[2].Data, &row); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"to", "until", "language", "subject", "lines", "status", "recipients"} {
		if row[key] == nil {
			t.Errorf("a row has no %q: %s", key, rows[2].Data)
		}
	}
}

// While room is scant each recipient has a row, which is short whatever was replied.
func TestScantRowsAreShort(t *testing.T) {
	n, _ := testNotices(t)
	n.Room = func() error { return relay.ErrScant }
	said := denies
	said.Text = strings.Repeat("so much to say ", 1000)
	rows := failed(n, claimFor(t, "s@example.org", 0, "a@dest.test", "b@dest.test", "c@dest.test"), said).Rows
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	for _, r := range rows {
		if len(r.Data) > 1200 || !bytes.Contains(r.Data, []byte("so much to say")) {
			t.Errorf("%d octets: %s", len(r.Data), r.Data)
		}
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
		all, log := testNotices(t)
		all.Sign = c.sign
		s := failed(all, claimFor(t, "s@example.org", 0, "b@dest.test"), denies)
		if len(s.Notices) != 1 {
			t.Fatalf("%s: %d notices", name, len(s.Notices))
		}
		n := s.Notices[0]
		if !strings.HasPrefix(string(n.Content), c.want) || n.Message.Size != int64(len(n.Content)) ||
			strings.Contains(log.String(), "could not be signed") != (name != "signed") {
			t.Errorf("%s: %.40q, size %d of %d; log %s", name, n.Content, n.Message.Size, len(n.Content), log)
		}
	}
}
