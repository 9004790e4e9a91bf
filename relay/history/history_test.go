package history_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"dawk/relay"
	"dawk/relay/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func path(t testing.TB, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// running is a Store with its goroutine.
type running struct {
	*history.Store
	Close func() error
}

func open(t testing.TB, o history.Options) running {
	t.Helper()
	s, err := history.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return start(t, s)
}

func start(t testing.TB, s *history.Store) running {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	r := running{s, sync.OnceValue(func() error { cancel(); return <-ended })}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

var began = time.Now().Add(-time.Hour).Truncate(time.Millisecond).UTC()

func idOf(n int) relay.QueueID {
	return relay.QueueID{Key: uint64(began.UnixMicro()) + uint64(n), Dir: 7}
}

func event(t testing.TB, n int, kind relay.EventKind, to string) relay.Event {
	return relay.Event{Kind: kind, Time: began.Add(time.Duration(n) * time.Second), ID: idOf(n), From: path(t, "alice@example.org"), Recipient: path(t, to),
		Identity: "app", MessageID: "<1@example.org>", Size: 4096, Destination: "example.com", Route: "mx", Host: "mx.example.com", Addr: "192.0.2.1:25",
		TLS: "TLS1.3", Attempt: 2, Took: relay.Millis(300 * time.Millisecond), Age: time.Minute, Reason: "mailbox_full",
		Reply: relay.Reply{Code: 552, Status: relay.Status{Class: 5, Subject: 2, Detail: 2}, Text: "full <&>", Stage: relay.StageRcpt, MTA: "mx.example.com"}}
}

func read(t testing.TB, dir string, terms ...string) (got []string) {
	t.Helper()
	q, err := history.Terms.Args(terms, began.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := history.Read(dir, q, func(r history.Record) error {
		got = append(got, string(r.Kind)+" "+r.Recipient.String())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestWhatIsWrittenIsReadBack(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	want := event(t, 1, relay.EventFailed, "bob@example.com")
	s.Observe(want)
	s.Observe(relay.Event{Kind: relay.EventAttempted, ID: want.ID, Time: want.Time}) // nothing of a recipient
	s.Observe(event(t, 2, relay.EventFailed, "other@example.com"))
	got, err := s.Of(want.ID)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) {
		t.Errorf("%v\n%+v, want\n%+v", err, got, want)
	}
	null := event(t, 3, relay.EventRelayed, "bob@example.com")
	null.From = relay.Path{}
	s.Observe(null)
	if got, err := s.Of(null.ID); err != nil || len(got) != 1 || !got[0].From.IsNull() {
		t.Errorf("the null reverse-path: %v %+v", err, got)
	}
}

// What was written before replies had a cause still says whose trouble it was:
// that decides what a sender may hear of it.
func TestRepliesWithoutCause(t *testing.T) {
	s := open(t, history.Options{Dir: t.TempDir()})
	e := event(t, 1, relay.EventExpired, "bob@example.com")
	e.Reply = relay.Reply{Status: relay.Status{Class: 4, Subject: 7}, Stage: relay.StageAuth, Text: "no token → log in again"}
	s.Observe(e)
	got, err := s.Of(e.ID)
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if r := got[0].Reply; r.Cause != relay.CauseLogin || r.Text != "no token" || r.Remedy != "log in again" {
		t.Errorf("%+v", r)
	}
}

func TestQueries(t *testing.T) {
	dir := t.TempDir()
	s := open(t, history.Options{Dir: dir})
	s.Observe(event(t, 1, relay.EventDelayed, "bob@example.com"))
	s.Observe(event(t, 2, relay.EventFailed, "Carol@example.com"))
	s.Observe(event(t, 3, relay.EventRelayed, "dan@例子.example"))
	notice := event(t, 4, relay.EventNotified, "alice@example.org")
	notice.NoticeID, notice.From = idOf(99), relay.Path{}
	s.Observe(notice)
	s.Flush()
	for _, c := range []struct {
		terms string
		want  int
	}{
		{"", 4}, {"to=bob@example.com", 1}, {"to=BOB@EXAMPLE.COM", 1}, {"to=carol@example.com", 1}, {"to=@example.com", 2},
		{"to=@xample.com", 0}, {"to=@例子.example", 1}, {"from=alice@example.org", 3}, {"from=<>", 1}, {"from=@example.org to=@example.com", 2},
		{"is=failed", 1}, {"is=failed,relayed", 2}, {"identity=APP", 4}, {"reason=mailbox_full host=mx.example.com", 4}, {"host=mx", 0},
		{idOf(2).String(), 1}, {idOf(99).String(), 1}, {idOf(1).String() + " " + idOf(3).String(), 2},
		{"since=90m", 4}, {"since=10m", 0}, {"until=" + time.Now().Add(time.Hour).Format(time.RFC3339), 4}, {"until=90m", 0}, {"since=" + began.Add(2500*time.Millisecond).Format(time.RFC3339Nano), 2},
		{"since=2d", 4}, {"since=2001-01-01 until=2001-01-02", 0},
	} {
		if got := read(t, dir, strings.Fields(c.terms)...); len(got) != c.want {
			t.Errorf("%q gives %q, want %d", c.terms, got, c.want)
		}
	}
	for _, bad := range []string{"bob", "to=bob", "to=", "is=lost", "since=yesterday", "since=-1h", "colour=red", "to=bob@a..b"} {
		if _, err := history.Terms.Parse(bad, began); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	stop := errors.New("enough")
	if err := history.Read(dir, history.Query{}, func(history.Record) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("reading went on: %v", err)
	}
	if got := read(t, filepath.Join(dir, "missing")); got != nil {
		t.Errorf("%q in a folder that is missing", got)
	}
}

// The oldest goes first, by size and by age; what is left is whole.
func TestBounds(t *testing.T) {
	dir := t.TempDir()
	const limit = 64 << 10
	s := open(t, history.Options{Dir: dir, MaxBytes: limit})
	for i := range 1000 {
		s.Observe(event(t, i, relay.EventRelayed, fmt.Sprintf("user%d@example.com", i)))
		if i%10 == 0 {
			s.Flush()
		}
	}
	s.Flush()
	var size int64
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		st, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		size += st.Size()
	}
	got := read(t, dir)
	// The file that is being written may exceed its share by what came at once.
	if size > limit+limit/8 || size < limit/2 || len(got) < 50 || got[len(got)-1] != "relayed user999@example.com" {
		t.Errorf("%d octets in %d files, %d records", size, len(files), len(got))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	old := time.Now().Add(-31 * 24 * time.Hour)
	for _, f := range files[:len(files)-1] {
		if err := os.Chtimes(f, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	again := open(t, history.Options{Dir: dir, MaxBytes: limit})
	again.Flush()
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 3 { // the newest file with its index, and what is not ours
		t.Errorf("%q left, %v", left, err)
	}
}

// A line that a crash cut, and what others wrote, hide nothing else.
func TestDamagedLines(t *testing.T) {
	dir := t.TempDir()
	s := open(t, history.Options{Dir: dir})
	s.Observe(event(t, 1, relay.EventRelayed, "one@example.com"))
	s.Flush()
	files, err := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(f, "%s\n{\"id\":\"nonsense\"}\n\x00\xff\n{\"at\":\"2026", strings.Repeat("x", 200<<10))
	f.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again := open(t, history.Options{Dir: dir})
	again.Observe(event(t, 2, relay.EventRelayed, "two@example.com"))
	again.Flush()
	if got := read(t, dir); len(got) != 2 {
		t.Errorf("%q", got)
	}
}

// A disk that takes nothing loses history and nothing else: nobody waits, and
// it is counted.
func TestNobodyWaitsForTheDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	s := open(t, history.Options{Dir: dir})
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // as root, permissions forbid nothing
		t.Fatal(err)
	}
	for i := range 20_000 {
		s.Observe(event(t, i, relay.EventRelayed, "one@example.com"))
	}
	s.Flush()
	if s.Lost() != 20_000 {
		t.Errorf("%d are said to be lost", s.Lost())
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	s.Observe(event(t, 1, relay.EventRelayed, "one@example.com"))
	if got, err := s.Of(idOf(1)); err != nil || len(got) != 1 {
		t.Errorf("it does not write again: %v %v", got, err)
	}
}

// A full disk does not fill with empty files: of those it may have room for
// many, and each would be looked at again and again.
func TestAFullDiskLeavesNoFiles(t *testing.T) {
	dir := t.TempDir()
	s := open(t, history.Options{Dir: dir})
	s.DiskFull()
	for i := range 50 {
		s.Observe(event(t, i, relay.EventRelayed, "one@example.com"))
		s.Flush()
	}
	if s.Lost() != 50 {
		t.Errorf("%d are said to be lost", s.Lost())
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("%d files are left, %v", len(left), err)
	}
}

// Only ASCII letters change, wherever in a line they stand.
func TestLowered(t *testing.T) {
	var all []byte
	for c := range 256 {
		all = append(all, byte(c))
	}
	for from := range 17 {
		want := slices.Clone(all[from:])
		for i, c := range want {
			if c >= 'A' && c <= 'Z' {
				want[i] = c + 32
			}
		}
		if got := history.Lowered([]byte("X"), all[from:]); string(got) != "X"+string(want) {
			t.Errorf("from %d: %q", from, got)
		}
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"to=@a.test", "since=2d", "is=failed,expired", "x", "to=@", "from=<>,a@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q, err := history.Terms.Parse(s, began)
		if err != nil {
			return
		}
		r := history.Record{Event: relay.Event{Time: began, Recipient: path(t, "bob@example.com")}}
		q.Match(&r)
	})
}

func BenchmarkObserve(b *testing.B) {
	s := open(b, history.Options{Dir: b.TempDir()})
	e := event(b, 1, relay.EventRelayed, "bob@example.com")
	b.ReportAllocs()
	for b.Loop() {
		s.Observe(e)
	}
	s.Flush()
	b.ReportMetric(float64(s.Lost())/float64(b.N), "lost/op")
}

func sinceOf(q history.Query) time.Time {
	since, _ := q.Span()
	return since
}

// since= reads what the commands and the log print.
func TestSinceReadsWhatIsPrinted(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for _, written := range []string{"2026-03-01 09:30:00 UTC", "2026-03-01 09:30:00", "2026-03-01 09:30", "2026-03-01T09:30:00Z", "2026-03-01T09:30:00.000Z", "2026-03-01T09:30"} {
		q, err := history.Terms.Args([]string{"since=" + written}, now)
		if want := time.Date(2026, 3, 1, 9, 30, 0, 0, time.UTC); err != nil || !sinceOf(q).Equal(want) {
			t.Errorf("%s: %v, %v", written, sinceOf(q), err)
		}
	}
}

// A message has its whole life in the history: taken, held, what became of it, and what was heard later.
func TestWholeLife(t *testing.T) {
	dir := t.TempDir()
	s := open(t, history.Options{Dir: dir})
	path := func(s string) relay.Path {
		p, err := relay.ParsePath(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	e := relay.Event{Kind: relay.EventAccepted, Time: time.Now(), ID: relay.QueueID{Key: uint64(time.Now().UnixMicro()), Dir: 1}, MessageID: "<1@example.org>",
		To: []relay.Path{path("a@example.com"), path("b@example.com")}}
	s.Observe(e)
	e.To = nil
	for _, k := range []relay.EventKind{relay.EventHeld, relay.EventReleased, relay.EventRelayed, relay.EventBounced, relay.EventComplained, relay.EventSuppressed} {
		e.Kind, e.Recipient = k, path("b@example.com")
		s.Observe(e)
	}
	s.Flush()
	for terms, want := range map[string]int{"to=a@example.com": 1, "to=@example.com": 8, "is=accepted": 2, "is=bounced,complained,held,released": 4,
		"msgid=1@example.org": 8, "msgid=<1@example.org>": 8, "msgid=2@example.org": 0, e.ID.String(): 8} {
		q, err := history.Terms.Parse(terms, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if list, found, more, err := history.Newest(dir, q, 100); err != nil || more || found != want || len(list) != want {
			t.Errorf("%s: %d records, want %d: %v", terms, found, want, err)
		}
	}
}

// On a small file system, which is for mail, the history takes an eighth of it at most.
func TestSmallDisk(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16m"); err != nil {
		t.Skipf("nothing can be mounted here: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH) //nolint:errcheck // it is gone with the test
	s := open(t, history.Options{Dir: dir})
	for i := range 20_000 {
		s.Observe(relay.Event{Kind: relay.EventRelayed, ID: idOf(i), Time: began, Recipient: path(t, "somebody@example.com"), Reply: relay.Reply{Code: 250, Text: strings.Repeat("x", 300)}})
		if i%1000 == 999 {
			s.Flush()
		}
	}
	s.Flush()
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	var size int64
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			size += info.Size()
		}
	}
	if size > 2<<20 || size < 1<<20 {
		t.Errorf("%d octets in %d files", size, len(files))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
