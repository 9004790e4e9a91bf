package queuecmd

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"dawk/cmd/dawk/internal/explain"
	"dawk/relay"
	"dawk/relay/admin"
)

var update = flag.Bool("update", false, "write the golden files anew")

var printNow = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func mailbox(t *testing.T, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// golden compares what a command prints with testdata/print/name.golden.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "print", name+".golden")
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// printItem is a message with three Deliveries: deferred, held, and by a route.
func printItem(t *testing.T) *relay.Item {
	id, err := relay.ParseQueueID("1RK3ZC8Q9D4-7ABC")
	if err != nil {
		t.Fatal(err)
	}
	m := relay.Message{ID: id, Arrival: printNow.Add(-3*time.Hour - 12*time.Minute), Size: 3<<20 + 500<<10, Identity: "printer",
		Client: "192.0.2.7", Protocol: "ESMTPSA", MessageID: "<1@example.org>"}
	m.From = mailbox(t, "scanner@example.org")
	for _, to := range []string{"ann@example.com", "bob@example.com", "carl@example.net", "dora@example.edu", "eve@example.com"} {
		m.Recipients = append(m.Recipients, relay.Recipient{Path: mailbox(t, to)})
	}
	full := relay.Reply{Code: 452, Status: relay.Status{Class: 4, Subject: 2, Detail: 2}, Text: "Mailbox full", Stage: relay.StageRcpt, MTA: "mx1.example.net", Addr: "192.0.2.25"}
	entry := func(job uint16, destination string, due time.Duration, attempts int) relay.Entry {
		return relay.Entry{ID: id, Job: job, Destination: destination, Arrival: m.Arrival, Due: printNow.Add(due), Attempts: attempts}
	}
	relayed := relay.Reply{Code: 250, Status: relay.Status{Class: 2}, Text: "queued as 4ABC", Stage: relay.StageBody, MTA: "mx1.example.net"}
	return &relay.Item{Message: m, Deliveries: []relay.Delivery{
		{Entry: entry(0, "example.com", 25*time.Minute, 2), Rule: "retry step 2 of 6: 5m ±10 %",
			Open: []relay.Open{{Recipient: 0, Last: full}, {Recipient: 1, Last: full}}},
		{Entry: relay.Entry{ID: id, Job: 1, Destination: "example.net", Due: printNow, Held: true}, HeldAt: printNow.Add(-time.Hour), Open: []relay.Open{{Recipient: 2}}},
		{Entry: entry(2, "route:office", -time.Minute, 0), Open: []relay.Open{{Recipient: 3}}},
	}, Attempts: map[uint16][]relay.Attempt{0: {
		{N: 1, At: m.Arrival, Took: relay.Millis(1200 * time.Millisecond), Route: "mx", Host: "mx1.example.net", Addr: "192.0.2.25", TLS: "TLS1.3", Outcomes: []relay.Outcome{
			{Recipient: 0, Action: relay.ActionDelayed, Reply: full}, {Recipient: 1, Action: relay.ActionDelayed, Reply: full}, {Recipient: 4, Action: relay.ActionRelayed, Reply: relayed}}},
		{N: 2, At: m.Arrival.Add(time.Hour), Took: relay.Millis(30 * time.Second), Route: "mx", Visits: []relay.Visit{
			{Host: "mx1.example.com\x1b[31m", Addr: "192.0.2.1", Reply: relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "no answer within 30s")},
			{Host: "mx2.example.com", Addr: "192.0.2.2", TLS: "TLS1.3", TLSLevel: relay.TLSVerified, TLSPolicy: "dane",
				Reply: relay.Reply{Code: 421, Status: relay.Status{Class: 4, Subject: 3, Detail: 2}, Text: "busy", Stage: relay.StageMail, MTA: "mx2.example.com"}}}, Outcomes: []relay.Outcome{
			{Recipient: 0, Action: relay.ActionDelayed, Reply: relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "no host of example.com answers")}}},
	}}}
}

// plain is a printer as a pipe gets it, in a fixed zone.
func plain(w io.Writer) explain.Printer {
	p := explain.NewPrinter(w, printNow)
	p.Location = time.UTC
	return p
}

func TestPrintList(t *testing.T) {
	var b bytes.Buffer
	table := newListTable(&b)
	notice := &relay.Item{Message: relay.Message{ID: relay.QueueID{Key: 1 << 50, Dir: 9}, Arrival: printNow.Add(-50 * time.Hour), Size: 900,
		Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: mailbox(t, "অনন্যা@example.org")}}}},
		Deliveries: []relay.Delivery{{Entry: relay.Entry{Due: printNow.Add(90 * time.Second), Attempts: 41}, Open: []relay.Open{{Last: relay.Reply{Text: strings.Repeat("long ", 50)}}}}}}
	for _, i := range []*relay.Item{printItem(t), notice} {
		if err := table.add(i, printNow); err != nil {
			t.Fatal(err)
		}
	}
	if err := table.Flush(); err != nil {
		t.Fatal(err)
	}
	b.WriteString(listSummary(&admin.End{Now: printNow, Messages: 2, Deliveries: 4, Held: 1, Bytes: 4 << 20, Oldest: printNow.Add(-50 * time.Hour), More: true}, true) + "\n")
	b.WriteString(listSummary(&admin.End{}, true) + "\n" + listSummary(&admin.End{}, false) + "\n")
	golden(t, "list", b.String())
}

func TestPrintShow(t *testing.T) {
	var b bytes.Buffer
	if err := plain(&b).Item(printItem(t)); err != nil {
		t.Fatal(err)
	}
	golden(t, "show", b.String())
}

func TestPrintWhy(t *testing.T) {
	i := printItem(t)
	var b bytes.Buffer
	y := &admin.Why{ID: i.Message.ID, Now: printNow, State: "queued", From: i.Message.From, Identity: "printer", Client: "192.0.2.7",
		Protocol: "ESMTPSA", MessageID: "<1@example.org>\x1b[31m", Arrival: i.Message.Arrival, Size: i.Message.Size}
	for _, r := range i.Message.Recipients {
		y.To = append(y.To, r.Path)
	}
	d := &i.Deliveries[0]
	y.Transcripts = []relay.Transcript{{Job: 0, Attempt: 2, At: printNow.Add(-time.Hour), Omitted: 3, Lines: []relay.Spoken{
		{After: relay.Millis(80 * time.Millisecond), By: relay.SpokenNote, Text: "connected to mx1.example.net at 192.0.2.25"},
		{After: relay.Millis(1250 * time.Millisecond), By: relay.SpokenByHost, Text: "220 mx1.example.net\x1b[31m ESMTP"},
		{After: relay.Millis(62 * time.Second), By: relay.SpokenByUs, Text: "EHLO relay.example.org"}}}}
	y.Waiting = []admin.WhyDelivery{
		{Destination: "example.com", Route: "mx", State: relay.StateDeferred, Tried: 2, Next: d.Due, Rule: d.Rule, Expires: i.Message.Arrival.Add(120 * time.Hour),
			Open: []admin.WhyRecipient{{Recipient: y.To[0], Last: d.Open[0].Last}, {Recipient: y.To[1], Last: d.Open[1].Last}}, Attempts: i.Attempts[0],
			Advice: []string{"The recipient's mailbox is full."}},
		{Destination: "example.net", Route: "office", State: relay.StateHeld, HeldSince: printNow.Add(-time.Hour), Open: []admin.WhyRecipient{{Recipient: y.To[2]}},
			Advice: []string{"It is on hold."}},
	}
	y.Ended = []admin.Ended{{Recipient: y.To[4], Action: relay.ActionRelayed, At: i.Message.Arrival.Add(time.Second), Attempt: 1, Host: "mx1.example.net",
		Addr: "192.0.2.25", TLS: "TLS1.3", Reply: i.Attempts[0][0].Outcomes[2].Reply}}
	y.Notices = []admin.Notice{{ID: relay.QueueID{Key: 1 << 50, Dir: 9}, Kind: "delayed", At: printNow.Add(-time.Minute)}}
	if err := plain(&b).Why(y); err != nil {
		t.Fatal(err)
	}
	b.WriteString("----\n")
	if err := plain(&b).Why(&admin.Why{ID: y.ID, State: "finished", From: relay.Path{}, Arrival: y.Arrival}); err != nil {
		t.Fatal(err)
	}
	golden(t, "why", b.String())
	if strings.Contains(b.String(), "\x1b") {
		t.Error("what a stranger wrote reaches the terminal as a control")
	}
}

func TestPrintShape(t *testing.T) {
	s := &admin.Shape{By: "dest", Bounds: []relay.Millis{relay.Millis(5 * time.Minute), relay.Millis(time.Hour), relay.Millis(48 * time.Hour)},
		Rows:   []admin.ShapeRow{{Name: "example.com", Total: 1200, Held: 3, Ages: []int{0, 200, 1000, 0}}, {Name: "", Total: 1, Ages: []int{1, 0, 0, 0}}},
		Others: 7, Rest: admin.ShapeRow{Total: 7, Ages: []int{0, 0, 0, 7}}, Total: admin.ShapeRow{Name: "TOTAL", Total: 1208, Held: 3, Ages: []int{1, 200, 1000, 7}}}
	var b bytes.Buffer
	if err := errors.Join(printShape(&b, s), printAges(&b, s), printShape(&b, &admin.Shape{})); err != nil {
		t.Fatal(err)
	}
	golden(t, "shape", b.String())
}

func TestActSummary(t *testing.T) {
	for _, x := range []struct {
		verb relay.Verb
		end  admin.End
		want string
	}{
		{relay.VerbHold, admin.End{Deliveries: 3, Messages: 2}, "Held: 3 deliveries of 2 messages."},
		{relay.VerbRetry, admin.End{Deliveries: 1, Messages: 1, Skipped: 2, Gone: 1, Failed: 4}, "Due now: 1 delivery of 1 message; 2 on hold (dawk queue release ends a hold); 1 delivery ended meanwhile without it; 4 failed."},
		{relay.VerbRelease, admin.End{Skipped: 2}, "Nothing was done: 2 not on hold."},
		{relay.VerbDelete, admin.End{}, "Nothing in the queue matches; nothing was done."},
	} {
		if got := actSummary(admin.ActRequest{Verb: x.verb}, &x.end); got != x.want {
			t.Errorf("%q", got)
		}
	}
}

// Tables fit into the terminal, and keep what says which message it is and when it goes.
func TestTablesFitTheTerminal(t *testing.T) {
	for _, columns := range []int{60, 80, 120} {
		t.Setenv("COLUMNS", strconv.Itoa(columns))
		var b bytes.Buffer
		table := newListTable(&b)
		if err := errors.Join(table.add(printItem(t), printNow), table.Flush()); err != nil {
			t.Fatal(err)
		}
		shape := &admin.Shape{By: "domain", Total: admin.ShapeRow{Total: 12345, Ages: make([]int, 9)}, Bounds: make([]relay.Millis, 8)}
		for i := range shape.Bounds {
			shape.Bounds[i] = relay.Millis(i+1) * relay.Millis(12*time.Hour)
		}
		shape.Rows = append(shape.Rows, admin.ShapeRow{Name: "a-domain-with-a-long-name.example.com", Total: 12345, Ages: []int{1, 2, 3, 4, 5, 6, 7, 8, 99999}})
		if err := printShape(&b, shape); err != nil {
			t.Fatal(err)
		}
		load := relay.ProviderLoad{Name: "route:a-smart-host-with-a-long-name", Ready: 120, State: relay.LoadSuspended, Said: strings.Repeat("its servers let nobody in ", 9)}
		if err := printProviders(&b, admin.Providers{Providers: []relay.ProviderLoad{load}}); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(b.String()) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > columns {
				t.Errorf("%d columns: a line of %d: %s", columns, n, line)
			}
		}
		for _, want := range []string{"1RK3ZC8Q9D4-7ABC", "in 25m", "held", "carl@example.ne", "suspended", "route:a-smart-host-", "12345", "99999", "a-domain-with-a-"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%d columns: without %q:\n%s", columns, want, b.String())
			}
		}
	}
}

func TestPrintVerified(t *testing.T) {
	var b strings.Builder
	if err := printVerified(&b, &admin.Report{Messages: 1, More: 1, Problems: []string{"x"}, SetAside: []string{"y"}}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2 problems found", "… and 1 more", "1 record", "  y"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q lacks %q", b.String(), want)
		}
	}
}
