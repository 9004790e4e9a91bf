package outbox

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dawk/relay"
)

// writer stands for the store: what it commits is what a start finds.
type writer struct {
	t    *testing.T
	log  *Log
	high uint64
	dir  string
	hook func(string) error
}

func newWriter(t *testing.T, l relay.OutboxLimits) *writer {
	w := &writer{t: t, dir: t.TempDir()}
	w.open()
	w.log.SetLimits(l)
	return w
}

func (w *writer) open() {
	w.t.Helper()
	w.log = New(w.dir, slog.New(slog.DiscardHandler), func(point string) error {
		if w.hook == nil {
			return nil
		}
		return w.hook(point)
	})
	if err := w.log.Load(7, w.high, nil); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { w.log.Close() })
}

func events(n, text int) []relay.Event {
	all := make([]relay.Event, n)
	for i := range all {
		all[i] = relay.Event{Kind: relay.EventFailed, Time: time.Now(), Attempt: i + 1, Rule: strings.Repeat("x", text)}
	}
	return all
}

// group is one group of the store: journal, then a checkpoint.
func (w *writer) group(all []relay.Event, room bool) {
	rows, lost := w.log.Rows(nil, all, room)
	w.log.Stage(rows, lost)
	w.log.Publish()
	w.high = w.log.Flush(room)
	w.log.Committed()
}

func (w *writer) read(after uint64) (all []relay.OutboxEvent) {
	w.t.Helper()
	for e, err := range w.log.Events(after) {
		if err != nil || len(all) > 0 && e.Number <= all[len(all)-1].Number {
			w.t.Fatalf("%v: %v", e, err)
		}
		all = append(all, e)
	}
	return all
}

// What fills the outbox and was told goes first, the oldest before the rest; then
// new events are lost and counted.
func TestFull(t *testing.T) {
	w := newWriter(t, relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 20})
	for range 40 {
		w.group(events(100, 1000), true)
	}
	st := w.log.OutboxStats()
	all := w.read(0)
	if st.Bytes > 1<<20+200<<10 || st.Lost == 0 || uint64(len(all))+st.Lost != 4000 {
		t.Fatalf("%+v, %d events", st, len(all))
	}
	if all[0].Attempt != 1 {
		t.Error("the first event is lost, and nobody was told of it")
	}
	w.log.Told(all[len(all)-1].Number)
	for range 8 {
		w.group(events(100, 1000), true)
	}
	if now := w.log.OutboxStats(); now.Lost != st.Lost || now.Bytes > 1<<20+200<<10 {
		t.Errorf("after all were told: %+v", now)
	}
	last := w.read(all[len(all)-1].Number)
	if len(last) != 800 || w.read(0)[0].Attempt == 1 && w.read(0)[0].Number == all[0].Number {
		t.Errorf("%d events came of 800", len(last))
	}
}

// On a full disk events stay in memory as long as that is bounded, and are written
// when there is room.
func TestFullDisk(t *testing.T) {
	w := newWriter(t, relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 30})
	w.group(events(10, 10), true)
	full := true
	w.hook = func(point string) error {
		if full && point == "outbox" {
			return errors.New("no space left on device")
		}
		return nil
	}
	for range 5 {
		w.group(events(10, 10), true)
	}
	if n := len(w.read(0)); n != 60 || w.log.OutboxStats().Lost != 0 {
		t.Fatalf("%d events of 60", n)
	}
	full = false
	w.group(events(10, 10), true)
	w.open() // as a crash would
	if n := len(w.read(0)); n != 70 {
		t.Fatalf("%d events of 70 after a restart", n)
	}
	full = true
	w.log.SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 30})
	for range 90 {
		w.group(events(100, 1000), true)
	}
	if st := w.log.OutboxStats(); st.Lost == 0 || st.Bytes > waitingBytes+1<<20 {
		t.Errorf("%+v: memory is not bounded", st)
	}
}

// The log says what there was no room in: who is told that the outbox is full looks for a
// receiver that is away, and finds none.
func TestWhyEventsAreLost(t *testing.T) {
	for _, c := range []struct {
		most int64
		room bool
		want string
	}{
		{1 << 30, false, noRoom},
		{1, true, "the outbox is full"},
	} {
		var text strings.Builder
		w := newWriter(t, relay.OutboxLimits{MaxBytes: c.most})
		w.log.log = slog.New(slog.NewTextHandler(&text, nil))
		w.group(events(1, 10), true) // the first fits
		w.group(events(1, 10), c.room)
		if !strings.Contains(text.String(), c.want) {
			t.Errorf("at most %d, room %v: %s", c.most, c.room, text.String())
		}
	}
}

// What was flushed for a commit that failed never happened, also after a restart.
func TestFailedCommit(t *testing.T) {
	w := newWriter(t, relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 30})
	w.group(events(3, 10), true)
	rows, _ := w.log.Rows(nil, events(5, 10), true)
	w.log.Stage(rows, 0)
	w.log.Flush(true)
	w.log.Drop()
	if n := len(w.read(0)); n != 3 {
		t.Fatalf("%d events of 3", n)
	}
	rows, _ = w.log.Rows(nil, events(5, 10), true)
	w.log.Stage(rows, 0)
	w.log.Flush(true) // and a crash before the commit
	w.open()
	w.log.SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 30})
	if n := len(w.read(0)); n != 3 {
		t.Fatalf("%d events of 3 after a restart", n)
	}
	last := w.log.Last()
	w.group(events(2, 10), true)
	if all := w.read(last); len(all) != 2 || len(w.read(0)) != 5 {
		t.Fatalf("%v", all)
	}
	// The journal has what the files lack.
	w.log.Load(7, w.high, []Row{rows[0]})
}

// Old files go once everybody was told of them, and a damaged one hides no other.
func TestKeepAndDamage(t *testing.T) {
	w := newWriter(t, relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 20})
	for range 5 {
		w.group(events(100, 1000), true)
	}
	files, err := filepath.Glob(filepath.Join(w.dir, Dir, "*"+suffix))
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	b, err := os.ReadFile(files[1])
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(files[1], b, 0o600); err != nil {
		t.Fatal(err)
	}
	w.open()
	if n := len(w.read(0)); n < 300 || n >= 500 {
		t.Errorf("%d events of 500 are left by a damaged file of 100 or so", n)
	}
	for _, f := range files {
		if err := os.Chtimes(f, time.Now(), time.Now().Add(-2*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	w.open()
	w.log.SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 20})
	if n := len(w.read(0)); n < 300 {
		t.Errorf("%d events: what nobody was told of went", n)
	}
	w.log.Told(w.log.Last())
	w.log.SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 20})
	if n := len(w.read(0)); n != 0 {
		t.Errorf("%d events are kept beyond their time", n)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(nil, Row{7, []byte("row")}))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		for r := range frames(strings.NewReader(string(b)), 0, int64(len(b))) {
			n += frameHead + len(r.Value)
		}
		if n > len(b) {
			t.Fatalf("%d octets of %d", n, len(b))
		}
	})
}

// BenchmarkEvent is what an event costs beside the journal and its flush: encoded,
// written with a thousand others, and read once.
func BenchmarkEvent(b *testing.B) {
	log := New(b.TempDir(), slog.New(slog.DiscardHandler), func(string) error { return nil })
	if err := log.Load(7, 0, nil); err != nil {
		b.Fatal(err)
	}
	log.SetLimits(relay.OutboxLimits{Keep: time.Hour, MaxBytes: 1 << 40})
	one, after := events(1, 20), uint64(0)
	var rows []Row
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		rows, _ = log.Rows(rows, one, true)
		if i%1000 == 999 {
			log.Stage(rows, 0)
			log.Publish()
			log.Flush(true)
			log.Committed()
			rows = nil
			for e := range log.Events(after) {
				after = e.Number
			}
			log.Told(after)
		}
	}
}
