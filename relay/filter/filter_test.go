package filter_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/filter"
)

var filterNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func parse(t testing.TB, s string) filter.Of[filter.Queued] {
	t.Helper()
	f, err := filter.Queue.Parse(s, filterNow)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func path(t testing.TB, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// filterSample is a message two hours old with one Delivery of two recipients,
// the first of which is done.
func filterSample(t testing.TB) (*relay.Message, *relay.Delivery) {
	id, err := relay.ParseQueueID("1RK3ZC8Q9D4-7ABC")
	if err != nil {
		t.Fatal(err)
	}
	m := &relay.Message{ID: id, Arrival: filterNow.Add(-2 * time.Hour), Size: 3 << 20, Identity: "Printer-2", Client: "192.0.2.7"}
	m.From = path(t, "Scanner@Example.org")
	for _, r := range []string{"done@example.com", "Ann@example.com", "bob@bücher.example"} {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: path(t, r)})
	}
	d := &relay.Delivery{Entry: relay.Entry{ID: id, Destination: "example.com", Arrival: m.Arrival,
		Due: filterNow.Add(5 * time.Minute), Attempts: 3}}
	d.Open = []relay.Open{
		{Recipient: 1, Last: relay.Reply{Code: 450, Status: relay.Status{Class: 4, Subject: 2, Detail: 2},
			Text: "Mailbox full, try later", Stage: relay.StageRcpt, MTA: "mx1.example.net"}, Reason: "mailbox_full"},
		{Recipient: 2},
	}
	d.Activity, m.MessageID = relay.Activity{State: relay.StateDeferred, Provider: "google"}, "<1@example.org>"
	return m, d
}

// What is about to expire: time on hold does not count, and passes for nothing while it lasts.
func TestExpires(t *testing.T) {
	m, d := filterSample(t) // two hours old
	q := filter.Queued{Message: m, Delivery: d, MaxAge: 26 * time.Hour}
	held, late, unknown := *d, *d, q
	held.Held, held.HeldAt = true, filterNow
	late.HeldFor = relay.Millis(time.Hour)
	unknown.MaxAge = 0
	own := *m
	own.MaxAge = relay.Millis(3 * time.Hour)
	for name, c := range map[string]struct {
		q    filter.Queued
		src  string
		want bool
	}{
		"in a day":             {q, "expires<=1d", true},
		"not earlier":          {q, "expires<24h", false},
		"an hour on hold":      {filter.Queued{Message: m, Delivery: &late, MaxAge: q.MaxAge}, "expires<=1d", false},
		"an hour later":        {filter.Queued{Message: m, Delivery: &late, MaxAge: q.MaxAge}, "expires<=25h", true},
		"on hold":              {filter.Queued{Message: m, Delivery: &held, MaxAge: q.MaxAge}, "expires<100d", false},
		"its own lifetime":     {filter.Queued{Message: &own, Delivery: d, MaxAge: q.MaxAge}, "expires<=1h", true},
		"a lifetime not known": {unknown, "expires<100d", false},
	} {
		if got := parse(t, c.src).Match(c.q); got != c.want {
			t.Errorf("%s: %s is %v", name, c.src, got)
		}
		if got := filter.Recipients(parse(t, c.src), c.q); len(got) > 0 != c.want {
			t.Errorf("%s: each recipient: %v", name, got)
		}
	}
}

func TestFilterMatches(t *testing.T) {
	m, d := filterSample(t)
	for _, c := range []struct {
		filter string
		want   bool
	}{
		{"", true},
		{"1RK3ZC8Q9D4-7ABC", true},
		{"1rk3zc8q9d4-7abc", true},
		{"1RK3ZC8Q9D4-7ABD", false},
		{"1RK3ZC8Q9D4-7ABD 1RK3ZC8Q9D4-7ABC", true}, // any of several IDs
		{"id=1RK3ZC8Q9D4-7ABD,1RK3ZC8Q9D4-7ABC", true},
		{"1RK3ZC8Q9D4-7ABC held=true", false},
		{"to=ann@EXAMPLE.com", true},
		{"to=done@example.com", false}, // not open any more
		{"to=@example.com", true},
		{"to=@example.net", false},
		{"to=@example.net,@example.com", true},
		{"to=@ample.com", false},
		{"to=@bücher.example", true},
		{"to=@xn--bcher-kva.example", true},
		{"to=a*@*.com", true},
		{"to!=@example.com", false},
		{"to!=@example.net", true},
		{"to~NN@", true},
		{"rcpt=ann@example.com", true},
		{"from=scanner@example.org", true},
		{"from=<scanner@example.org>", true},
		{"from=<>", false},
		{"from!=<>", true},
		{"identity=printer*", true},
		{"identity=printer", false},
		{"user=PRINTER-2", true},
		{"client=192.0.2.*", true},
		{"dest=Example.COM", true},
		{"dest=@example.com", true},
		{"dest=*.com", true},
		{"dest=com", false},
		{"route=mx", true},
		{"domain=example.com", true},
		{"domain=@bücher.example", true},
		{"domain=example.net", false},
		{"provider=google", true},
		{"provider=microsoft*", false},
		{"state=deferred", true},
		{"state=held,ready", false},
		{"state!=held", true},
		{"reason=mailbox_full", true},
		{"reason=greylisted", false},
		{"msgid=1@example.org", true},
		{"msgid=<1@example.org>", true},
		{"msgid=2@example.org", false},
		{"route=office", false},
		{"age>1h", true},
		{"age<1h", false},
		{"age>=2h age<=2h", true},
		{"age<1d12h", true},
		{"due<10m", true},
		{"due<1m", false},
		{"due>=0s", true},
		{"size>=3MiB", true},
		{"size>3mib", false},
		{"size<4000000", true},
		{"attempts>=3", true},
		{"attempts!=3", false},
		{"tries=3", true},
		{"code=450", true},
		{"code=4xx", true},
		{"code=5xx", false},
		{"code!=4xx", false},
		{"code>=400", true},
		{"code=0", false}, // no reply yet is no code
		{"status=4.2.2", true},
		{"status=4.2.*", true},
		{"status=4.2", false},
		{`reply~"mailbox FULL"`, true},
		{"reply~450", true},
		{"reply!~full", false},
		{"mta=mx*.example.net", true},
		{"held=true", false},
		{"held=no", true},
		{"held!=true", true},
		{"notice=false", true},
		{"to=@example.com age>1h attempts>=3", true},
		{"to=@example.com age>1h attempts>=4", false},
	} {
		f, err := filter.Queue.Parse(c.filter, filterNow)
		if err != nil {
			t.Errorf("%s: %v", c.filter, err)
		} else if got := f.Match(filter.Queued{Message: m, Delivery: d}); got != c.want {
			t.Errorf("%s: got %v", c.filter, got)
		}
	}
}

func TestFilterOfRoutesAndNullSender(t *testing.T) {
	m, d := filterSample(t)
	d.Destination, m.From, d.Held = "route:office", relay.Path{}, true
	for src, want := range map[string]bool{
		"route=office": true, "route=mx": false, "dest=route:office": true,
		"from=<>": true, "from=@example.org": false, "held=true": true,
	} {
		if got := parse(t, src).Match(filter.Queued{Message: m, Delivery: d}); got != want {
			t.Errorf("%s: got %v", src, got)
		}
	}
}

func TestFilterErrorsHelp(t *testing.T) {
	for src, want := range map[string]string{
		"to=@example.com agee>1h": `filter term 2 "agee>1h": there is no term "agee"; did you mean "age"?`,
		"colour=red":              "the terms are id, to, from,",
		"age":                     "write for instance 'age>1h'",
		"age=1h":                  "age does not go with =",
		"age>soon":                "write for instance 'age>1h'",
		"size>1MB":                "write for instance 'size>1MiB'",
		"user@example.com":        "from=user@example.com or to=user@example.com",
		"to=example.com":          "a domain is written @example.com",
		"full":                    "neither a queue ID",
		`reply~"mailbox full`:     "the closing quote is missing",
		`reply~"a"b`:              "goes on after its closing quote",
		"reply=x":                 "reply does not go with =",
		"state=stuck":             "the states are held, active, suspended, deferred and ready",
		"held=perhaps":            "neither true nor false",
		"code=4x":                 "not a reply code",
		"code>4xx":                "not a reply code",
		"id=1RK":                  "not a queue ID",
		"to!x":                    "did you mean to!=x?",
		"to=":                     "the address is missing",
		"from~":                   "the text to look for is missing",
		"age>999999999999d":       "not a value",
		"size>99999999999GiB":     "not a value",
		"to=@exa mple":            "term 2",
	} {
		_, err := filter.Queue.Parse(src, filterNow)
		if err == nil {
			t.Errorf("%s: accepted", src)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q lacks %q", src, err, want)
		}
	}
}

func TestFilterHelpNamesEveryTerm(t *testing.T) {
	_, err := filter.Queue.Parse("nonesuchatall=1", filterNow)
	_, names, ok := strings.Cut(err.Error(), "the terms are ")
	if !ok {
		t.Fatal(err)
	}
	for name := range strings.SplitSeq(names, ", ") {
		if name != "id" && !strings.Contains(filter.Queue.Help(), "  "+name) {
			t.Errorf("FilterHelp does not explain %q", name)
		}
	}
}

func TestEmptyFilter(t *testing.T) {
	for s, want := range map[string]bool{"": true, " \t ": true, "held=true": false, "1RK3ZC8Q9D4-7ABC": false} {
		if got := parse(t, s).Empty(); got != want {
			t.Errorf("%q: Empty is %v", s, got)
		}
	}
}

// A filter that parses has a canonical form which means the same.
func FuzzFilter(f *testing.F) {
	for _, s := range []string{"to=@example.com age>1h", `reply~"a \"b\" \\c" id=1RK3ZC8Q9D4-7ABC`, "code=4xx size>=1MiB held=true",
		`to="\"a b\"@example.com"`, "dest=*a*b* due<1d2h", "1RK3ZC8Q9D4-7ABC", "status=4.2.* from!=<>", "=!~", "a\x00=\xff", "to=\"*\u2028\"@a"} {
		f.Add(s)
	}
	m, d := filterSample(f)
	f.Fuzz(func(t *testing.T, s string) {
		one, err := filter.Queue.Parse(s, filterNow)
		if err != nil {
			return
		}
		two, err := filter.Queue.Parse(one.String(), filterNow)
		if err != nil {
			t.Fatalf("%q became %q, which is refused: %v", s, one.String(), err)
		}
		if one.String() != two.String() {
			t.Fatalf("%q became %q, then %q", s, one.String(), two.String())
		}
		if one.Empty() != two.Empty() || one.Match(filter.Queued{Message: m, Delivery: d}) != two.Match(filter.Queued{Message: m, Delivery: d}) {
			t.Fatalf("%q and %q differ", s, one.String())
		}
	})
}

// Of recipients that share a route, each is looked at alone: its address and
// the last reply that it got.
func TestFilterPicksRecipients(t *testing.T) {
	m, d := filterSample(t)
	for src, want := range map[string][]int{
		"":                                  {1, 2},
		"1RK3ZC8Q9D4-7ABC":                  {1, 2},
		"reason=mailbox_full":               {1},
		"domain=example.com":                {1},
		"to=ann@example.com":                {1},
		"to=@bücher.example":                {2},
		"to=done@example.com":               nil,
		"to!=ann@example.com":               {2},
		"reply~full":                        {1},
		"code=4xx to=bob@*":                 nil, // each holds for somebody, both for nobody
		"to=ann@example.com from=<>":        nil,
		"to=ann@example.com dest=*.com":     {1},
		"age>1h to=@bücher.example,x@y.com": {2},
	} {
		if got := filter.Recipients(parse(t, src), filter.Queued{Message: m, Delivery: d}); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", src, got, want)
		}
	}
	if len(d.Open) != 2 {
		t.Error("the Delivery was changed")
	}
}

// What is on hold has no next try: due= never picks it, for delete neither.
func TestDuePicksNothingOnHold(t *testing.T) {
	m, now := &relay.Message{}, filterNow
	d := &relay.Delivery{Entry: relay.Entry{Due: now, Held: true}, Open: []relay.Open{{}}}
	for _, term := range []string{"due<10m", "due>=0s"} {
		f := parse(t, term)
		if q := (filter.Queued{Message: m, Delivery: d}); f.Match(q) || len(filter.Recipients(f, q)) > 0 {
			t.Errorf("%s picks what is on hold", term)
		}
	}
}
