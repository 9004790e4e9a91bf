package suppression

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dawk/relay"
	"dawk/relay/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a list with a clock of its own.
type world struct {
	*List
	t   *testing.T
	dir string
	at  time.Time
}

func newWorld(t *testing.T, cfg *Config) *world {
	t.Helper()
	return reopen(t, t.TempDir(), cfg, time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC))
}

func reopen(t *testing.T, dir string, cfg *Config, at time.Time) *world {
	t.Helper()
	w := &world{List: New(dir, slog.New(slog.DiscardHandler)), t: t, dir: dir, at: at}
	w.now = func() time.Time { return w.at }
	if err := w.Configure(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func rules() *Config {
	return &Config{After: 2, Expires: 180 * 24 * time.Hour, Scope: ScopeIdentity, Answer: AnswerBounce}
}

func path(t testing.TB, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (w *world) fail(to string, change ...func(*relay.Event)) {
	w.t.Helper()
	e := relay.Event{Kind: relay.EventFailed, Time: w.at, Identity: "shop", Recipient: path(w.t, to), Provider: "p", Reason: "bad_address",
		Reply: relay.Reply{Code: 550, Stage: relay.StageRcpt}, ID: relay.QueueID{Key: 7, Dir: 1}}
	for _, c := range change {
		c(&e)
	}
	w.Observe(e)
	w.settle()
}

func (w *world) settle() {
	w.t.Helper()
	if err := w.Settled(); err != nil {
		w.t.Error(err)
	}
}

func (w *world) good(to string) {
	w.t.Helper()
	w.Observe(relay.Event{Kind: relay.EventRelayed, Time: w.at, Identity: "shop", Recipient: path(w.t, to), Provider: "p"})
	w.settle()
}

func (w *world) on(identity, to string) bool { return w.Find(identity, path(w.t, to)) != nil }

// Failures count when they are a day apart; mail that arrives in between ends the count.
func TestFailuresADayApart(t *testing.T) {
	w := newWorld(t, rules())
	w.fail("a@b.test")
	w.at = w.at.Add(23 * time.Hour)
	w.fail("a@b.test")
	if w.on("shop", "a@b.test") {
		t.Error("two failures within a day are an entry")
	}
	w.at = w.at.Add(time.Hour)
	w.fail("a@B.TEST")
	if !w.on("shop", "a@b.test") {
		t.Fatal("two failures a day apart are none")
	}
	if w.on("crm", "a@b.test") || w.on("shop", "A@b.test") || w.on("shop", "c@b.test") {
		t.Error("others are on the list, too")
	}
	e := w.Find("shop", path(t, "a@b.test"))
	if e.Reason != "bad_address" || !e.Since.Equal(w.at) || e.Expires.Sub(e.Since) != 180*24*time.Hour || e.QueueID.Key != 7 {
		t.Errorf("%+v", e)
	}
	w.fail("d@b.test")
	w.at = w.at.Add(25 * time.Hour)
	w.good("d@b.test")
	w.fail("d@b.test")
	if w.on("shop", "d@b.test") {
		t.Error("mail that arrived did not end the count")
	}
	w.at = e.Expires
	if w.on("shop", "a@b.test") {
		t.Error("it has not expired")
	}
	w.fail("a@b.test")
	if w.on("shop", "a@b.test") {
		t.Error("after its time one failure is enough")
	}
}

// Nothing counts but an answer to RCPT of this category about others' mail.
func TestWhatDoesNotCount(t *testing.T) {
	cfg := rules()
	cfg.After = 1
	w := newWorld(t, cfg)
	for name, change := range map[string]func(*relay.Event){
		"4yz":           func(e *relay.Event) { e.Reply.Code = 450 },
		"expired":       func(e *relay.Event) { e.Kind = relay.EventExpired },
		"MAIL":          func(e *relay.Event) { e.Reply.Stage = relay.StageMail },
		"content":       func(e *relay.Event) { e.Reply.Stage = relay.StageBody },
		"DATA":          func(e *relay.Event) { e.Reply.Stage = relay.StageData },
		"ours":          func(e *relay.Event) { e.Reply.Code = 0 },
		"mailbox full":  func(e *relay.Event) { e.Reason = "mailbox_full" },
		"our notice":    func(e *relay.Event) { e.Identity = "dawk" },
		"remote, full":  func(e *relay.Event) { e.Kind, e.Reason = relay.EventBounced, "mailbox_full" },
		"an attempt":    func(e *relay.Event) { e.Kind = relay.EventAttempted },
		"deleted":       func(e *relay.Event) { e.Kind = relay.EventDeleted },
		"was suppessed": func(e *relay.Event) { e.Kind = relay.EventSuppressed },
	} {
		if w.fail("a@b.test", change); w.on("shop", "a@b.test") || w.on("dawk", "a@b.test") {
			t.Fatalf("%s counts", name)
		}
	}
	w.fail("a@b.test", func(e *relay.Event) { e.Kind = relay.EventBounced; e.Reply = relay.Reply{} })
	w.fail("c@b.test", func(e *relay.Event) { e.Kind, e.Reason = relay.EventComplained, "" })
	if !w.on("shop", "a@b.test") || w.Find("shop", path(t, "c@b.test")).Reason != ReasonComplaint {
		t.Error("a remote bounce or a complaint does not count")
	}
	m := relay.Message{Notice: true, Identity: "dawk", Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: path(t, "a@b.test")}}}}
	asked := false
	w.Screen(relay.Task{Message: &m, Recipients: []int{0}}, func(relay.Task) relay.Result { asked = true; return relay.Result{} })
	if !asked {
		t.Error("a notice of ours was looked up")
	}
}

// While more than a tenth of the recipients that a provider took mail for fail, its
// failures are not believed, and what they led to lately is undone, also after a restart.
func TestProviderInTrouble(t *testing.T) {
	cfg := rules()
	cfg.After = 1
	w := newWorld(t, cfg)
	for i := range 30 {
		w.good(fmt.Sprintf("u%d@b.test", i))
	}
	for i := range 3 {
		w.fail(fmt.Sprintf("u%d@b.test", i))
	}
	if !w.on("shop", "u2@b.test") {
		t.Fatal("three of thirty are not entered")
	}
	w.Close()
	w = reopen(t, w.dir, cfg, w.at)
	w.fail("u3@b.test")
	w.fail("never@b.test")
	for _, a := range []string{"u0", "u2", "u3", "never"} {
		if w.on("shop", a+"@b.test") {
			t.Errorf("%s is on the list though four of thirty fail", a)
		}
	}
	w.fail("x@c.test", func(e *relay.Event) { e.Provider = "q" })
	w.fail("u4@b.test", func(e *relay.Event) { e.Kind = relay.EventComplained })
	if !w.on("shop", "x@c.test") || !w.on("shop", "u4@b.test") {
		t.Error("another provider, or a complaint, does not count")
	}
	w.good("u0@b.test")
	w.good("u1@b.test")
	if w.fail("never@b.test"); !w.on("shop", "never@b.test") {
		t.Error("the trouble does not end")
	}
	w.fail("lone@d.test", func(e *relay.Event) { e.Kind, e.Provider = relay.EventRelayed, "small" })
	w.fail("lone@d.test", func(e *relay.Event) { e.Provider = "small" })
	if !w.on("shop", "lone@d.test") {
		t.Error("the only recipient of a small provider can never be entered")
	}
}

// A result has the servers' replies and those of the list in the order of the recipients.
func TestScreen(t *testing.T) {
	cfg := rules()
	cfg.Scope = ScopeAll
	w := newWorld(t, cfg)
	if _, err := w.Add([]Entry{{Address: "a@b.test"}, {Address: "c@B.Test"}}); err != nil {
		t.Fatal(err)
	}
	m := relay.Message{Identity: "shop"}
	for _, to := range []string{"a@b.test", "x@b.test", "c@b.test", "y@b.test"} {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: path(t, to)})
	}
	r := w.Screen(relay.Task{Message: &m, Recipients: []int{3, 2, 1, 0}}, func(task relay.Task) relay.Result {
		if fmt.Sprint(task.Recipients) != "[3 1]" {
			t.Errorf("asked for %v", task.Recipients)
		}
		return relay.Result{Replies: []relay.Reply{{Code: 250}, {Code: 451}}, Earlier: []relay.Session{{Host: "first"}}, By: []int{0, 1}}
	})
	got := fmt.Sprint(r.Replies[0].Code, r.Replies[1].Status, r.Replies[2].Code, r.Replies[3].Status, r.By)
	if got != "250 5.7.1 451 5.7.1 [0 1 1 1]" {
		t.Error(got)
	}
	if r.Replies[1].Cause != relay.CauseSuppressed || !r.Replies[1].Permanent() || !strings.Contains(r.Replies[1].Text, "suppressed since 2026-11-01 (manual)") {
		t.Errorf("%+v", r.Replies[1])
	}
	r = w.Screen(relay.Task{Message: &m, Recipients: []int{0}}, func(relay.Task) relay.Result { t.Error("asked"); return relay.Result{} })
	if len(r.Replies) != 1 {
		t.Errorf("%+v", r)
	}
}

// A list that is off learns nothing, finds nothing and makes no file.
func TestOff(t *testing.T) {
	w := newWorld(t, nil)
	w.fail("a@b.test", func(e *relay.Event) { e.Kind = relay.EventComplained })
	if w.on("shop", "a@b.test") {
		t.Error("it is on")
	}
	if files, _ := os.ReadDir(w.dir); len(files) != 0 {
		t.Errorf("%v", files)
	}
	if _, err := w.Add([]Entry{{Address: "a@b.test"}}); err != ErrOff {
		t.Error(err)
	}
}

// Run writes what is observed; Settled waits for it.
func TestRun(t *testing.T) {
	cfg := rules()
	w := newWorld(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	for i := range 100 {
		w.Observe(relay.Event{Kind: relay.EventComplained, Time: w.at, Identity: "shop", Recipient: path(t, fmt.Sprintf("u%d@b.test", i))})
	}
	w.settle()
	for i := range 100 {
		if !w.on("shop", fmt.Sprintf("u%d@b.test", i)) {
			t.Fatalf("u%d is missing", i)
		}
	}
	cancel()
	<-done
}

// What is on the list is there after a restart; a cut record costs itself alone, and
// damage in the middle costs what is damaged, with the file kept.
func TestCrash(t *testing.T) {
	cfg := rules()
	w := newWorld(t, cfg)
	for i := range 50 {
		if _, err := w.Add([]Entry{{Address: fmt.Sprintf("u%d@b.test", i)}}); err != nil {
			t.Fatal(err)
		}
	}
	w.Close()
	whole, err := os.ReadFile(Path(w.dir))
	if err != nil {
		t.Fatal(err)
	}
	count := func(content []byte) int {
		t.Helper()
		dir := t.TempDir()
		if err := os.WriteFile(Path(dir), content, 0o600); err != nil {
			t.Fatal(err)
		}
		w := reopen(t, dir, cfg, w.at)
		n := 0
		if err := w.Each(filter.Of[*Entry]{}, func(Entry) error { n++; return nil }); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Add([]Entry{{Address: "more@b.test"}}); err != nil || !w.on("", "more@b.test") {
			t.Fatal(err)
		}
		w.Close()
		if w = reopen(t, dir, cfg, w.at); !w.on("", "more@b.test") {
			t.Fatal("what was added after the damage is lost")
		}
		return n
	}
	each := (len(whole) - len(title)) / 50
	for cut := range each + 3 {
		want := 50 - (cut+each-3)/each // records differ by an octet or two
		if got := count(whole[:len(whole)-cut]); got < want-1 || got > 50 || cut == 0 && got != 50 || cut > 2 && got > 49 {
			t.Fatalf("%d octets less: %d entries", cut, got)
		}
	}
	hurt := append([]byte(nil), whole...)
	hurt[len(title)+10*each+headerSize+20] ^= 0xff
	if got := count(hurt); got != 49 {
		t.Errorf("%d entries of 49 are left", got)
	}
	if got := count(append(append([]byte(nil), whole...), make([]byte, 3*longest)...)); got != 50 {
		t.Errorf("with zeros behind it: %d", got)
	}
	dir := t.TempDir()
	os.WriteFile(Path(dir), []byte("something else"), 0o600)
	if err := New(dir, slog.New(slog.DiscardHandler)).Configure(cfg); err == nil {
		t.Error("another file is taken")
	}
	if _, err := os.Stat(filepath.Join(dir, "suppression")); err != nil {
		t.Error("and it is gone")
	}
}

// The file stays in proportion to what is on the list.
func TestCompaction(t *testing.T) {
	w := newWorld(t, rules())
	reason := strings.Repeat("x", maxReason)
	var last int64
	for i := range 20000 {
		if err := w.write([]record{{address: fmt.Sprintf("u%d@b.test", i%10), reason: reason, since: 1, expires: 1 << 40}}, false); err != nil {
			t.Fatal(err)
		}
		last = max(last, w.file.size)
	}
	if last > wastefulFrom+4096 {
		t.Errorf("ten entries take up to %d octets", last)
	}
	n := 0
	w.Each(filter.Of[*Entry]{}, func(Entry) error { n++; return nil })
	if n != 10 || len(w.file.index) != 10 {
		t.Errorf("%d entries", n)
	}
}
