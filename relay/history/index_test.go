package history_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"dawk/relay"
	"dawk/relay/history"
)

// written is how long the messages of fill take to come.
const written = 10 * time.Second

// fill writes n events of n/2 messages to many people, and says when the one in the middle came.
func fill(t testing.TB, store *history.Store, n int) (middle time.Time) {
	t.Helper()
	s := start(t, store)
	first := time.Now().Truncate(time.Millisecond).UTC()
	kinds := [...]relay.EventKind{relay.EventAccepted, relay.EventRelayed, relay.EventAccepted, relay.EventFailed}
	for i := range n {
		m := i / 2
		e := event(t, m, kinds[i%4], fmt.Sprintf("User%d@d%d.example", m%(n/10+1), m%1000))
		e.Time, e.ID = first.Add(written*time.Duration(m)/time.Duration(n/2)), message(m)
		if now := time.Now().Truncate(time.Millisecond).UTC(); now.After(e.Time) { // many take longer
			e.Time = now
		}
		if m == n/4 {
			middle = e.Time
		}
		e.MessageID, e.Identity, e.From = fmt.Sprintf("<M%d@example.org>", m), fmt.Sprintf("app%d", m%50), path(t, fmt.Sprintf("s%d@example.org", m%200))
		if e.Kind == relay.EventRelayed {
			e.Reason, e.Reply.Code, e.Reply.Status.Class, e.Reply.Text = "", 250, 2, "queued as 4Xy7Zq"
		}
		if s.Observe(e); i%4000 == 3999 || n < 1000 && i%10 == 9 {
			s.Flush()
		}
	}
	s.Flush()
	if s.Lost() > 0 {
		t.Fatalf("%d lost", s.Lost())
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return middle
}

// opened is a Store that nobody runs yet.
func opened(t testing.TB, dir string, limit, block int64) *history.Store {
	t.Helper()
	s, err := history.Open(history.Options{Dir: dir, MaxBytes: limit})
	if err != nil {
		t.Fatal(err)
	}
	s.Blocks(block)
	return s
}

func message(m int) relay.QueueID {
	return relay.QueueID{Key: uint64(began.UnixMicro()) + uint64(m), Dir: 7}
}

func find(t testing.TB, dir string, terms ...string) (got []history.Record) {
	t.Helper()
	q, err := history.Terms.Args(terms, began.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := history.Read(dir, q, func(r history.Record) error { got = append(got, r); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

// BenchmarkLookup looks up in as many lines as DAWK_HISTORY_LINES says.
func BenchmarkLookup(b *testing.B) {
	n, _ := strconv.Atoi(os.Getenv("DAWK_HISTORY_LINES"))
	n = max(n, 100_000)
	dir := b.TempDir()
	at := fill(b, opened(b, dir, int64(n)*1000, 1<<20), n)
	m := n / 4
	for _, q := range []string{message(m).String(), fmt.Sprintf("msgid=m%d@example.org", m),
		fmt.Sprintf("to=user%d@d%d.example", m%(n/10+1), m%1000), "to=nobody@d7.example", "identity=app99", "identity=app7", "to=@d7.example", "is=failed",
		fmt.Sprintf("identity=app7 since=%s until=%s", at.Format(time.RFC3339Nano), at.Add(10*time.Millisecond).Format(time.RFC3339Nano))} {
		b.Run(strings.ReplaceAll(q, "/", ""), func(b *testing.B) {
			for b.Loop() {
				q, err := history.Terms.Parse(q, began.Add(time.Hour))
				if err != nil {
					b.Fatal(err)
				}
				list, found, _, err := history.Newest(dir, q, 1000) // as the command does
				if err != nil || len(list) != min(found, 1000) {
					b.Fatal(len(list), err)
				}
				b.ReportMetric(float64(found), "found")
			}
		})
	}
}

// What an index finds is what reading everything finds, also where it is damaged, cut, missing, or
// that of another file.
func TestIndexFindsWhatReadingAllFinds(t *testing.T) {
	dir := t.TempDir()
	fill(t, opened(t, dir, 1<<20, 16<<10), 300)
	indexes, err := filepath.Glob(filepath.Join(dir, "*.index"))
	if err != nil || len(indexes) < 2 {
		t.Fatal(indexes, err)
	}
	good := map[string][]byte{}
	for _, name := range indexes {
		if good[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	all := find(t, dir)
	rapid.Check(t, func(rt *rapid.T) {
		r := rapid.SampledFrom(all).Draw(rt, "of")
		other := rapid.SampledFrom(all).Draw(rt, "or of")
		var terms []string
		for _, term := range []string{r.ID.String(), "msgid=" + r.MessageID + ",nobody@example.org", "to=" + r.Recipient.String() + "," + other.Recipient.String(), "to=@" + r.Recipient.Domain(),
			"from=" + r.From.String(), "from=<>," + r.From.String(), "identity=" + strings.ToUpper(r.Identity), "reason=mailbox_full", "host=mx.example.com", "is=failed",
			"to=*" + r.Recipient.String()[2:] + "," + other.Recipient.String(), "to=u*@*", "msgid=*" + r.MessageID[2:], "identity!=" + r.Identity, "is!=failed", "to~" + r.Recipient.Domain(), "reply~queued",
			"age<" + time.Since(r.Time.Add(-time.Hour)).String(),
			"since=" + r.Time.Format(time.RFC3339Nano), "until=" + r.Time.Add(time.Second).Format(time.RFC3339Nano), "to=nobody@example.com"} {
			if rapid.IntRange(0, 4).Draw(rt, term) == 0 {
				terms = append(terms, term)
			}
		}
		for _, name := range indexes {
			b := slices.Clone(good[name])
			switch rapid.IntRange(0, 5).Draw(rt, "damage") {
			case 0:
				b = nil
			case 1:
				b = b[:rapid.IntRange(0, len(b)).Draw(rt, "cut")]
			case 2:
				clear(b[rapid.IntRange(0, len(b)).Draw(rt, "zeroed"):])
			case 3:
				if len(b) > 0 {
					b[rapid.IntRange(0, len(b)-1).Draw(rt, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(rt, "bit")
				}
			case 4:
				b = good[rapid.SampledFrom(indexes).Draw(rt, "of another")]
			}
			if err := os.WriteFile(name, b, 0o600); err != nil {
				rt.Fatal(err)
			}
		}
		q, err := history.Terms.Args(terms, began.Add(time.Hour))
		if err != nil {
			rt.Fatal(err)
		}
		var want []history.Record
		for _, r := range all {
			if q.Match(&r) {
				want = append(want, r)
			}
		}
		if got := find(t, dir, terms...); !reflect.DeepEqual(got, want) {
			rt.Fatalf("%q: %d records, want %d", terms, len(got), len(want))
		}
		limit := rapid.IntRange(1, 40).Draw(rt, "limit")
		got, found, more, err := history.Newest(dir, q, limit)
		if newest := want[max(0, len(want)-limit):]; err != nil || more || found != len(want) || len(got) != len(newest) || len(got) > 0 && !reflect.DeepEqual(got, newest) {
			rt.Fatalf("%q: the newest %d are %d of %d, want %d of %d: %v", terms, limit, len(got), found, len(newest), len(want), err)
		}
	})
	// The next start completes them, and begins where they are right no more.
	for n, name := range indexes {
		if err := errors.Join(os.WriteFile(name, good[name], 0o600), os.Truncate(name, int64(5000*n))); err != nil {
			t.Fatal(err)
		}
	}
	again := opened(t, dir, 1<<20, 16<<10)
	for name, covered := range again.Complete() {
		if info, err := os.Stat(name); err != nil || info.Size() > covered+2<<10 {
			t.Errorf("the index of %s covers %d octets", name, covered)
		}
	}
	if got := find(t, dir, "identity=app7"); len(got) != 6 {
		t.Errorf("%d records", len(got))
	}
}

// In a long history, what is frequent is not counted to its end, and what is asked for is whole.
func TestNewestDoesNotCountALongHistory(t *testing.T) {
	dir := t.TempDir()
	fill(t, opened(t, dir, 1<<20, 16<<10), 300)
	all := find(t, dir)
	for _, c := range []struct {
		octets  int64
		records int
		more    bool
	}{{0, 1000, true}, {20 << 10, 1000, true}, {1 << 20, 10, true}, {1 << 20, 1000, false}} {
		list, found, more, err := history.NewestWithin(dir, history.Query{}, 10, c.octets, c.records)
		if err != nil || !reflect.DeepEqual(list, all[len(all)-10:]) || more != c.more || more == (found == len(all)) {
			t.Errorf("%+v: %d of %d records, more: %v, %v", c, len(list), found, more, err)
		}
	}
}
