package suppression

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/filter"
)

// What Export writes comes back as it was; a provider's list is read as it gives it out.
func TestFormats(t *testing.T) {
	w := newWorld(t, rules())
	in := []Entry{{Address: `"a, b"@b.test`, Identity: "shop", Reason: "says \"no\"\nand more"}, {Address: "c@xn--bcher-kva.example", Expires: w.at.Add(time.Hour)}}
	if _, err := w.Add(in); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	out := NewWriter(&b)
	if err := w.Each(filter.Of[*Entry]{}, out.Write); err != nil || out.Flush() != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "address,identity,reason,since,expires,queue_id\n") {
		t.Error(b.String())
	}
	back, err := Parse(strings.NewReader(b.String()), "csv", "")
	if err != nil || len(back) != 2 || back[0] != in[0] || back[1] != in[1] {
		t.Errorf("%v: %+v is not %+v", err, back, in)
	}
	for name, c := range map[string]struct{ format, text, want string }{
		"sendgrid bounces":   {"sendgrid", "status,reason,email,created\n5.1.1,550 5.1.1 no such user,a@b.test,1700000000\n", "a@b.test|550 5.1.1 no such user|2023-11-14"},
		"sendgrid, status":   {"sendgrid", "\ufeffEmail,Status,Reason,Created\na@b.test,5.1.1,,2023-11-14 22:13:20\n", "a@b.test|5.1.1|2023-11-14"},
		"sendgrid spam":      {"sendgrid", "email,ip,created\na@b.test,192.0.2.1,1700000000\n", "a@b.test|imported from sendgrid|2023-11-14"},
		"sendgrid json":      {"sendgrid", `[{"created": 1700000000, "email": "a@b.test", "reason": "550 no", "status": "5.1.1"}]`, "a@b.test|550 no|2023-11-14"},
		"mailgun bounces":    {"mailgun", `{"items": [{"address": "a@b.test", "code": "550", "error": "no mailbox", "created_at": "Tue, 14 Nov 2023 22:13:20 GMT"}], "paging": {}}`, "a@b.test|no mailbox|2023-11-14"},
		"mailgun complaints": {"mailgun", ` {"paging": {"next": "x"}, "items": [{"address": "a@b.test", "created_at": "Tue, 14 Nov 2023 22:13:20 UTC"}]}`, "a@b.test|imported from mailgun|2023-11-14"},
		"mailgun csv":        {"mailgun", "address, code, error, created_at\na@b.test, 550, , \"Tue, 14 Nov 2023 22:13:20 UTC\"\n", "a@b.test|550|2023-11-14"},
	} {
		got, err := Parse(strings.NewReader(c.text), c.format, "crm")
		if err != nil || len(got) != 1 || got[0].Identity != "crm" {
			t.Errorf("%s: %v %+v", name, err, got)
			continue
		}
		if s := got[0].Address + "|" + got[0].Reason + "|" + got[0].Since.Format(time.DateOnly); s != c.want {
			t.Errorf("%s: %s", name, s)
		}
	}
}

// Each fault of a file is told with its line, and one is enough for nothing to be taken.
func TestFaultsOfFiles(t *testing.T) {
	for text, want := range map[string]string{
		"address\na@b.test\nnobody\n\"x\ny\"@c.test\nd@e.test,more\n": `line 3: "nobody" is not an address` + "\nline 4: ",
		"mail\na@b.test\n": "line 1: the first line must name the columns",
		"address,since\na@b.test,soon\nb@b.test,2026-01-01\n": `line 2: "soon" is not a time`,
		"address,queue_id\na@b.test,17\n":                     `line 2: "17" is not a queue ID`,
		"address\n" + strings.Repeat("x\n", 100):              "and 80 more",
		"":                                                    "the file is empty",
		"[\n{\"email\": \"a@b.test\"},\n{\"email\": \"b\"},\n7\n]": "line 3: \"b\" is not an address\nline 4: it is not an entry",
		"{\"items\": [\n{\"email\": \"a@b.test\"}":                 "line 2: the list is not whole",
		"{\"item\": []}": `there is no list "items"`,
	} {
		format := "csv"
		if strings.HasPrefix(text, "[") || strings.HasPrefix(text, "{") {
			format = "sendgrid"
		}
		_, err := Parse(strings.NewReader(text), format, "")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", text, err)
		}
	}
	if _, err := Parse(strings.NewReader("address\n"), "excel", ""); err == nil {
		t.Error("an unknown format is taken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add("address\na@b.test\n", "csv")
	f.Add(`{"items": [{"address": "a@b.test"}]}`, "mailgun")
	f.Add("[{\"email\": \"a@b.test\", \"created\": 1}]", "sendgrid")
	f.Fuzz(func(t *testing.T, text, format string) {
		entries, err := Parse(strings.NewReader(text), format, "x")
		if err != nil {
			return
		}
		for _, e := range entries {
			if _, err := relay.ParsePath(e.Address); err != nil {
				t.Error(err)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	r := record{identity: "shop", address: "a@b.test", reason: "x", strikes: 2, last: 5, since: 6, expires: 7, id: relay.QueueID{Key: 8, Dir: 9}}
	f.Add(r.encode(nil)[headerSize:])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decode(b)
		if err != nil {
			return
		}
		again, err := decode(r.encode(nil)[headerSize:])
		if err != nil || again != r {
			t.Errorf("%+v became %+v, %v", r, again, err)
		}
	})
}

// Filters of the queue's grammar pick entries, and removing is the undo.
func TestFilters(t *testing.T) {
	w := newWorld(t, rules())
	id := relay.QueueID{Key: 1 << 50, Dir: 3}
	all := []Entry{{Address: "a@b.test", Identity: "shop", Reason: "bad_address", Since: w.at.Add(-48 * time.Hour), QueueID: id},
		{Address: "c@b.test", Reason: ReasonComplaint}, {Address: "d@e.test", Identity: "crm"}}
	if n, err := w.Add(all); err != nil || n != 3 {
		t.Fatal(n, err)
	}
	for terms, want := range map[string]string{"": "acd", "to=@b.test": "ac", "identity=crm": "d", "reason=complaint": "c", "age>1d": "a", "age<1d": "cd",
		id.String(): "a", "to=a@B.TEST identity=shop": "a", "domain=e.test": "d", `identity=""`: "c"} {
		f, err := Terms.Parse(terms, w.at)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		w.Each(f, func(e Entry) error { got += e.Address[:1]; return nil })
		if got != want {
			t.Errorf("%q picks %q, not %q", terms, got, want)
		}
	}
	f, _ := Terms.Parse("to=@b.test", w.at)
	if gone, err := w.Remove(f, true); err != nil || len(gone) != 2 || !w.on("shop", "a@b.test") {
		t.Error("a dry run does something", err)
	}
	if gone, err := w.Remove(f, false); err != nil || len(gone) != 2 || w.on("shop", "a@b.test") || !w.on("crm", "d@e.test") {
		t.Error("removing does not", err)
	}
	w.Close()
	w = reopen(t, w.dir, rules(), w.at)
	if w.on("shop", "a@b.test") || !w.on("crm", "d@e.test") {
		t.Error("nor after a restart")
	}
	if _, err := w.Add([]Entry{{Address: "x@b.test"}, {Address: "nobody"}}); err == nil || w.on("", "x@b.test") {
		t.Error("half of what was asked for is done")
	}
}

// million is a list with a million entries.
func million(tb testing.TB, n int) *List {
	l := New(tb.TempDir(), nil)
	if err := l.Configure(rules()); err != nil {
		tb.Fatal(err)
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	now := time.Now()
	for from := 0; from < n; from += 10000 {
		var batch []record
		for i := from; i < from+10000; i++ {
			batch = append(batch, record{identity: "shop", address: fmt.Sprintf("somebody.%d@example-%d.test", i, i%1000), reason: "bad_address",
				since: now.Unix(), expires: now.Add(time.Hour).Unix(), id: relay.QueueID{Key: uint64(now.UnixMicro()) + uint64(i), Dir: 1}})
		}
		if err := l.write(batch, false); err != nil {
			tb.Fatal(err)
		}
	}
	return l
}

// Memory is for where entries stand: a tenth of a million stays below a tenth of 100 MB.
func TestMemory(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	l := million(t, 100000)
	took := int64(heap()) - int64(before)
	if took > 10<<20 {
		t.Errorf("100,000 entries take %d octets", took)
	}
	l.Close()
}

func BenchmarkFind(b *testing.B) {
	l := million(b, 1000000)
	defer l.Close()
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	hit, miss := path(b, "somebody.500000@example-0.test"), path(b, "else@example.test")
	for name, to := range map[string]relay.Path{"listed": hit, "not listed": miss} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if (l.Find("shop", to) != nil) != (to == hit) {
					b.Fatal("wrong")
				}
			}
			b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB") // b.Loop forgets what was said before it
		})
	}
}
