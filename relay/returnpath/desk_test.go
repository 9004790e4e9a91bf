package returnpath

import (
	"context"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dawk/relay"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// queue keeps what is forwarded, and an outbox.
type queue struct {
	sent   []*relay.Message
	events []relay.OutboxEvent
	before error // why the next commit is not made
	after  error // what is said of the next one, which is made
}

func (q *queue) commit(events []relay.Event) error {
	if err := q.before; err != nil {
		q.before = nil
		return err
	}
	for _, e := range events {
		n := uint64(len(q.events) + 1)
		q.events = append(q.events, relay.OutboxEvent{Number: n, ID: fmt.Sprint("evt_", n), Event: e})
	}
	err := q.after
	q.after = nil
	return err
}

func (q *queue) Settle(s relay.Settlement, done func(error)) { done(q.commit(s.Events)) }
func (q *queue) Last() uint64                                { return uint64(len(q.events)) }
func (q *queue) Events(after uint64) iter.Seq2[relay.OutboxEvent, error] {
	return func(yield func(relay.OutboxEvent, error) bool) {
		for _, e := range q.events[after:] {
			if !yield(e, nil) {
				return
			}
		}
	}
}

func (q *queue) NewDraft() (relay.Draft, error) {
	return &draft{id: relay.QueueID{Key: 9, Dir: 9}}, nil
}
func (q *queue) Room() error { return nil }
func (q *queue) Enqueue(_ context.Context, _ relay.Draft, m *relay.Message) error {
	if q.before == nil {
		q.sent = append(q.sent, m)
	}
	return q.commit(m.Events)
}

type draft struct {
	id relay.QueueID
	strings.Builder
}

func (d *draft) ID() relay.QueueID      { return d.id }
func (d *draft) Prepend([]byte)         {}
func (d *draft) Size() int64            { return int64(d.Len()) }
func (d *draft) Discard()               {}
func (d *draft) Close() error           { return nil }
func (d *draft) Content() relay.Content { return d }
func (d *draft) ReadAt(b []byte, at int64) (int, error) {
	return strings.NewReader(d.String()).ReadAt(b, at)
}

// world is a desk with a clock of its own, whose events are kept.
type world struct {
	*Desk
	t      *testing.T
	dir    string
	at     time.Time
	events []relay.Event
	queue  *queue
	lost   error // why what was observed is not on disk, once
}

func (w *world) Observe(e relay.Event) { w.events = append(w.events, e) }

func newWorld(t *testing.T, dir string, at time.Time) *world {
	t.Helper()
	return reopen(t, dir, at, &queue{})
}

func reopen(t *testing.T, dir string, at time.Time, q *queue) *world {
	t.Helper()
	w := &world{t: t, dir: dir, at: at, queue: q}
	kept := func() error {
		err := w.lost
		w.lost = nil
		return err
	}
	var err error
	w.Desk, err = Open(dir, Config{Domain: "bounces.example.org", Complaints: path(t, "fbl@bounces.example.org"), Valid: 30 * 24 * time.Hour, Forward: true, Hostname: "relay.example.org"},
		Around{Queue: q, Outbox: q, Seen: w, Kept: kept, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w.now = func() time.Time { return w.at }
	t.Cleanup(func() { w.Close() })
	return w
}

func path(t *testing.T, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) message(at time.Time) *relay.Message {
	return &relay.Message{ID: relay.QueueID{Key: uint64(at.UnixMicro()), Dir: 77}, Identity: "shop", MessageID: "<1@example.org>",
		Envelope: relay.Envelope{From: path(w.t, "shop@example.org"), Recipients: []relay.Recipient{{Path: path(w.t, "a@b.test")}, {Path: path(w.t, "c@d.test")}}}}
}

func (w *world) send(m *relay.Message, recipient int) relay.Path {
	w.t.Helper()
	p, err := w.For(m, recipient)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func (w *world) comes(to relay.Path, text string) {
	w.t.Helper()
	if err := w.came(to, text); err != nil {
		w.t.Fatal(err)
	}
}

// came is what a server that brings a notice hears.
func (w *world) came(to relay.Path, text string) error {
	d := &draft{id: relay.QueueID{Key: 8, Dir: 9}}
	io.WriteString(d, strings.ReplaceAll(text, "\n", "\r\n"))
	return w.Enqueue(context.Background(), d, &relay.Message{Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: to}, {Path: to}}}})
}

const bounced = `From: MAILER-DAEMON@b.test
Content-Type: multipart/report; report-type=delivery-status; boundary=x

--x
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.b.test

Final-Recipient: rfc822; other@b.test
Action: failed
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 no such user

--x--
`

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// An address is stable, differs for each recipient, and is short enough; a notice to it
// speaks for its own recipient alone, whomever it names, and counts once, also after a
// restart.
func TestBounce(t *testing.T) {
	w := newWorld(t, t.TempDir(), start)
	m := w.message(start)
	a, c := w.send(m, 0), w.send(m, 1)
	if a == c || a != w.send(m, 0) || len(a.Local()) > 64 || strings.ToLower(a.Local()) != a.Local() || w.Refuses(a) != "" {
		t.Fatalf("%s %s", a, c)
	}
	upper, err := relay.NewPath(strings.ToUpper(a.Local()), "Bounces.Example.ORG")
	if err != nil || w.Refuses(upper) != "" {
		t.Errorf("a host that changes letters is refused: %v %s", err, w.Refuses(upper))
	}
	w.at = w.at.Add(time.Hour)
	w.comes(upper, bounced)
	if len(w.events) != 1 || len(w.queue.sent) != 1 {
		t.Fatalf("%v %v", w.events, w.queue.sent)
	}
	e := w.events[0]
	if e.Kind != relay.EventBounced || e.ID != m.ID || e.Recipient.String() != "a@b.test" || e.Identity != "shop" || e.Reason != "bad_address" || e.Reply.Code != 550 || e.MessageID != "<1@example.org>" || e.From != m.From {
		t.Errorf("%+v", e)
	}
	on := w.queue.sent[0]
	if !on.From.IsNull() || !on.Notice || on.Recipients[0].Path != m.From {
		t.Errorf("%+v", on)
	}
	w.comes(a, bounced)
	w.Close()
	w2 := newWorld(t, w.dir, w.at)
	w2.comes(a, bounced)
	if len(w.events)+len(w2.events) != 1 || len(w2.queue.sent) != 0 {
		t.Error("a replayed notice makes another event")
	}
	w2.comes(c, bounced)
	if len(w2.events) != 1 || w2.events[0].Recipient.String() != "c@d.test" {
		t.Errorf("%+v", w2.events)
	}
}

// Forged, foreign and expired addresses are refused; so is everybody else's mail.
func TestWhatIsRefused(t *testing.T) {
	w := newWorld(t, t.TempDir(), start)
	a := w.send(w.message(start), 0)
	for i := len(prefix); i < len(a.Local()); i++ {
		b := []byte(a.Local())
		b[i] = "ab"[map[bool]int{true: 1}[b[i] == 'a']]
		if p, err := relay.NewPath(string(b), "bounces.example.org"); err != nil || w.Refuses(p) == "" {
			t.Fatalf("%s is taken", p)
		}
	}
	other := newWorld(t, t.TempDir(), start)
	for _, to := range []string{other.send(other.message(start), 0).String(), "postmaster@bounces.example.org", "bounces+@bounces.example.org", "bounces@bounces.example.org",
		a.Local() + "@example.org", "x" + a.String(), a.Local() + "a@bounces.example.org", "fbl@example.org"} {
		if w.Refuses(path(t, to)) == "" {
			t.Errorf("%s is taken", to)
		}
	}
	if w.Refuses(path(t, "FBL@bounces.example.org")) != "" {
		t.Error("the address for complaints is refused")
	}
	w.at = start.Add(30 * 24 * time.Hour)
	if w.Refuses(a) != "" {
		t.Error("it is refused too soon")
	}
	if w.at = w.at.Add(time.Second); w.Refuses(a) == "" {
		t.Error("an expired address is taken")
	}
}

// What is no failure makes no event, and does not use the address up.
func TestWhatIsIgnored(t *testing.T) {
	w := newWorld(t, t.TempDir(), start)
	a := w.send(w.message(start), 0)
	deep := bounced
	for range 50 {
		deep = "Content-Type: message/rfc822\n\n" + deep
	}
	for name, text := range map[string]string{
		"delay":     strings.NewReplacer("failed", "delayed", "5.1.1", "4.4.1", "550", "450").Replace(bounced),
		"delivered": strings.NewReplacer("failed", "delivered", "5.1.1", "2.0.0").Replace(bounced),
		"vacation":  "From: a@b.test\nSubject: Out of office: hello\nAuto-Submitted: auto-replied\n\nI am away until Monday.\n",
		"challenge": "From: a@b.test\nSubject: Please confirm your message\n\nClick here to deliver it.\n",
		"person":    "From: a@b.test\nSubject: Re: hello\n\nThank you, this did not fail at all.\n",
		"nothing":   "",
		"no header": "\n\n\n",
		"nested":    deep,
	} {
		if w.comes(a, text); len(w.events)+len(w.queue.sent) > 0 {
			t.Fatalf("%s: %+v", name, w.events)
		}
	}
	w.comes(path(t, "fbl@bounces.example.org"), bounced)
	w.comes(path(t, "fbl@bounces.example.org"), "Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nOriginal-Mail-From: <bounces+aaaa@bounces.example.org>\n\n--x--\n")
	if len(w.events) > 0 {
		t.Fatalf("%+v", w.events)
	}
	w.comes(a, bounced)
	if len(w.events) != 1 {
		t.Error("the address is used up")
	}
}

// A complaint is matched by an address in what it encloses; it is not forwarded.
func TestComplaint(t *testing.T) {
	w := newWorld(t, t.TempDir(), start)
	m := w.message(start)
	a, c := w.send(m, 0), w.send(m, 1)
	report := "Content-Type: multipart/report; report-type=feedback-report; boundary=x\n\n--x\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nUser-Agent: x\n%s\n--x\nContent-Type: message/rfc822\n\nReturn-Path: <%s>\nSubject: news\n\nbody\n--x--\n"
	fbl := path(t, "fbl@bounces.example.org")
	w.comes(fbl, fmt.Sprintf(report, "Original-Mail-From: <"+a.String()+">\n", "x@example.org"))
	w.comes(fbl, fmt.Sprintf(report, "", c))
	w.comes(fbl, fmt.Sprintf(report, "", c))
	w.comes(fbl, strings.Replace(fmt.Sprintf(report, "", c), "abuse", "not-spam", 1))
	if len(w.events) != 2 || len(w.queue.sent) != 0 {
		t.Fatalf("%+v", w.events)
	}
	for i, to := range []string{"a@b.test", "c@d.test"} {
		if e := w.events[i]; e.Kind != relay.EventComplained || e.Recipient.String() != to {
			t.Errorf("%+v", e)
		}
	}
}

// An enormous notice is looked at as far as the bound, and odd charsets do not hide what
// stands in ASCII.
func TestEnormousAndOdd(t *testing.T) {
	w := newWorld(t, t.TempDir(), start)
	m := w.message(start)
	w.comes(w.send(m, 0), strings.TrimSuffix(bounced, "--x--\n")+"--x\nContent-Type: message/rfc822\n\n"+strings.Repeat("a long line of what came back\n", 200000)+"--x--\n")
	var wide strings.Builder
	for _, r := range "The address c@d.test: 550 5.1.1 User unknown\n" {
		wide.WriteString(string(r) + "\x00")
	}
	w.comes(w.send(m, 1), "From: postmaster@d.test\nSubject: =?x-unknown?q?undeliverable?=\nContent-Type: text/plain; charset=utf-16le\n\n"+wide.String())
	if len(w.events) != 2 || w.events[0].Reason != "bad_address" || w.events[1].Reason != "bad_address" {
		t.Fatalf("%+v", w.events)
	}
}

// Too many notices at a time wait at their senders; addresses that are out of date are
// forgotten, and a line that a crash cut short costs itself alone.
func TestBounds(t *testing.T) {
	w := newWorld(t, t.TempDir(), start)
	a := w.send(w.message(start), 0)
	w.Close()
	file := w.ledger.path(hourOf(w.message(start).ID))
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(f, `{"id":"1K1G`)
	f.Close()
	w = newWorld(t, w.dir, start)
	c := w.send(w.message(start), 1)
	w.comes(a, bounced)
	w.comes(c, bounced)
	if len(w.events) != 2 {
		t.Fatalf("%+v", w.events)
	}
	for range maxPerMinute {
		w.comes(a, "")
	}
	if w.Room() == nil {
		t.Error("there is no bound")
	}
	if w.at = w.at.Add(time.Minute); w.Room() != nil {
		t.Error("it does not end")
	}
	w.at = start.Add(31 * 24 * time.Hour)
	w.send(w.message(w.at), 0)
	if err := w.ledger.prune(w.at, w.cfg.Valid); err != nil {
		t.Fatal(err)
	}
	left, _ := os.ReadDir(filepath.Join(w.dir, "return-path"))
	if len(left) != 1 {
		t.Errorf("%v", left)
	}
	if info, err := os.Stat(filepath.Join(w.dir, "return-path.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Error("the key is not private", err)
	}
}
