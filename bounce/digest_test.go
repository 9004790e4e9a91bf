package bounce_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"dawk/bounce"
	"dawk/relay"
)

// rows are those in the place of the notices that the reports ask for.
func rows(t interface{ Fatal(...any) }, c bounce.Config, reports ...bounce.Report) (all []bounce.Row) {
	for _, r := range reports {
		row, err := bounce.Summarize(c, r)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, row)
	}
	return all
}

func TestGoldenDigest(t *testing.T) {
	all := cases(t)
	c := config(t)
	n, err := bounce.Digest(c, bounce.DigestReport{ID: relay.QueueID{Key: 1772445600000000, Dir: 77}, To: path(t, "alice@example.org"), Limit: 100, Now: now,
		Rows: rows(t, c, all["failed"], all["failed_several"], all["expired"], all["language_zh"])})
	if err != nil {
		t.Fatal(err)
	}
	const file = "testdata/digest.eml"
	if *update {
		if err := os.WriteFile(file, n.Content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(n.Content, want) {
		t.Errorf("differs from %s (go test ./bounce -update writes it anew):\n%s", file, n.Content)
	}
	p, err := parse(n)
	if err != nil || len(p.types) != 2 || len(p.recipients) != 8 {
		t.Fatalf("%v, parts %q, %d recipients", err, p.types, len(p.recipients))
	}
	if p.header.Get("Auto-Submitted") != "auto-replied" || p.header.Get("Subject") != "4 notices about your messages" {
		t.Errorf("%v", p.header)
	}
	if g := p.recipients[0]; g.Get("X-Original-Message-Id") != "<minutes.1@example.org>" || g.Get("X-Arrival-Date") == "" || p.perMessage.Get("X-Dawk-Digest") != "4" {
		t.Errorf("%v\n%v", p.perMessage, g)
	}
	text := strings.Join(strings.Fields(p.text), " ")
	for _, says := range []string{"alice@example.org than 100 notices", "The 4 that were held back", "1. Not delivered: Minutes of the meeting bob@example.com: 550 5.1.1",
		"dan@example.net: 552 5.2.2 mailbox full", "3. Not delivered: Minutes", "4. 未送达：会议记录"} {
		if !strings.Contains(text, says) {
			t.Errorf("it does not say %q:\n%s", says, text)
		}
	}
	if order := regexp.MustCompile(`(?m)^\d+\. `).FindAllString(p.text, -1); !slices.Equal(order, []string{"1. ", "2. ", "3. ", "4. "}) {
		t.Errorf("the notices stand in the order %q", order)
	}
	m := n.Message
	if !m.From.IsNull() || !m.Notice || m.Recipients[0].Path.String() != "alice@example.org" || !m.NotBefore.IsZero() || m.Size != int64(len(n.Content)) {
		t.Errorf("envelope %+v", m)
	}
}

// A list says why its notices did not come one by one: there were too many, the disk
// was full, or both.
func TestDigestSaysWhy(t *testing.T) {
	c, all := config(t), cases(t)
	both := rows(t, c, all["failed"], all["expired"], all["failed"])
	both[0].Full = true
	full := rows(t, c, all["failed"], all["failed"])
	full[0].Full, full[1].Full = true, true
	for name, say := range map[string]struct {
		rows     []bounce.Row
		has, not string
	}{
		"limit": {rows(t, c, all["failed"]), "than 100 notices, the most that are sent one by one. The 1 that were held back", "disk"},
		"full":  {full, "While the disk of this mail system was full, notices to alice@example.org were held back to save room. The 2 that were", "the most that are sent"},
		"both":  {both, "The 2 that were held back are listed here; each tells of another message. While the disk of this mail system was full, notices to alice@example.org were held back to save room. The 1 that", "The 3"},
	} {
		n, err := bounce.Digest(c, bounce.DigestReport{ID: all["failed"].ID, To: path(t, "alice@example.org"), Limit: 100, Now: now, Rows: say.rows})
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(n)
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(strings.Fields(p.text), " "); !strings.Contains(text, say.has) || strings.Contains(text, say.not) {
			t.Errorf("%s:\n%s", name, text)
		}
	}
}

// Whatever strangers wrote into the notices, the digest names each recipient
// once, in fields that we wrote.
func TestNothingBreaksOutOfADigest(t *testing.T) {
	c := config(t)
	rapid.Check(t, func(t *rapid.T) {
		var reports []bounce.Report
		recipients := 0
		to := hostilePath().Draw(t, "mailbox")
		for range rapid.IntRange(1, 4).Draw(t, "notices") {
			r := hostileReport(t)
			r.Message.From = to
			if r.Kind == bounce.KindDoubleBounce { // the postmaster's
				continue
			}
			reports, recipients = append(reports, r), recipients+len(r.Outcomes)
		}
		if len(reports) == 0 {
			return
		}
		n, err := bounce.Digest(c, bounce.DigestReport{ID: reports[0].ID, To: to, Limit: 1, Now: now, Rows: rows(t, c, reports...)})
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(n)
		if err != nil || len(p.recipients) != recipients {
			t.Fatalf("%v, %d recipients, want %d\n%s", err, len(p.recipients), recipients, n.Content)
		}
	})
}

func TestDigestThatCannotBeWritten(t *testing.T) {
	c := config(t)
	for name, change := range map[string]func(*bounce.DigestReport){
		"no ID":           func(r *bounce.DigestReport) { r.ID = relay.QueueID{} },
		"no mailbox":      func(r *bounce.DigestReport) { r.To = relay.Path{} },
		"no row":          func(r *bounce.DigestReport) { r.Rows = nil },
		"another mailbox": func(r *bounce.DigestReport) { r.Rows[0].Status = "\r\nFinal-Recipient: utf-8; ü@example.org\r\n" },
	} {
		r := bounce.DigestReport{ID: relay.QueueID{Key: 1, Dir: 1}, To: path(t, "alice@example.org"), Now: now, Rows: rows(t, c, report(t))}
		change(&r)
		if _, err := bounce.Digest(c, r); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	r := report(t)
	r.Outcomes = nil
	if _, err := bounce.Summarize(c, r); err == nil {
		t.Error("a row without a recipient")
	}
}

// A digest that does not reach its mailbox is as large as it is: the postmaster
// still learns of every message that nobody was told about.
func TestDoubleBounceOfALargeDigestNamesEveryMessage(t *testing.T) {
	c := config(t)
	var reports []bounce.Report
	for i := range 600 {
		r := report(t)
		r.Message.Recipients[0].Path = path(t, fmt.Sprintf("user%d@example.com", i))
		reports = append(reports, r)
	}
	digest, err := bounce.Digest(c, bounce.DigestReport{ID: reports[0].ID, To: path(t, "alice@example.org"), Limit: 100, Now: now, Rows: rows(t, c, reports...)})
	if err != nil {
		t.Fatal(err)
	}
	r := report(t)
	r.Kind, r.Message, r.Content = bounce.KindDoubleBounce, &digest.Message, contentOf(string(digest.Content))
	_, p := mustCompose(t, r)
	for i := range 600 {
		if !strings.Contains(p.text, fmt.Sprintf(" user%d@example.com: 550 5.1.1", i)) {
			t.Fatalf("user%d is not named in %d octets", i, len(p.text))
		}
	}
	if len(digest.Content) < 200<<10 || p.types[2] != "text/rfc822-headers" || !strings.Contains(p.text, "What the notice said:\r\n\r\n    There was more to tell") {
		t.Errorf("%d octets, %q\n%.1000s", len(digest.Content), p.types, p.text)
	}
}

// What is quoted of a notice is bounded, and no notice of ours may stop a
// double bounce.
func TestDoubleBounceOfAnyNotice(t *testing.T) {
	head := "From: x\r\nContent-Type: multipart/report; boundary=b\r\n\r\n--b\r\n\r\n"
	for name, c := range map[string]struct {
		content relay.Content
		want    string
	}{
		"too long":      {contentOf(head + strings.Repeat("a line of a text that has no end\r\n", 100_000) + "--b--\r\n"), "The rest is too long to be shown here"},
		"plain":         {contentOf("From: x\r\nContent-Type: text/plain\r\n\r\nb@example.com: failed\r\n"), "    b@example.com: failed"},
		"cut":           {contentOf(head + "as far as it goes"), "    as far as it goes"},
		"no parts":      {contentOf("From: x\r\nContent-Type: multipart/report; boundary=b\r\n\r\nnone\r\n"), ""},
		"no type":       {contentOf("From: x\r\n\r\nnone\r\n"), ""},
		"nothing":       {contentOf(""), ""},
		"unreadable":    {failing{}, ""},
		"gone":          {nil, ""},
		"hostile words": {contentOf(head + "--=_dawk_\r\n\x00\xff\u202eevil\r\n.\r\nFinal-Recipient: rfc822; victim@example.net\r\n--b--\r\n"), "    Final-Recipient: rfc822; victim@example.net"},
	} {
		r := report(t)
		r.Kind, r.Message.From, r.Message.Notice, r.Content = bounce.KindDoubleBounce, relay.Path{}, true, c.content
		n, p := mustCompose(t, r)
		if !strings.Contains(p.text, c.want) || c.want == "" && strings.Contains(p.text, "What the notice said") || len(n.Content) > 3<<20 || len(p.recipients) != 1 {
			t.Errorf("%s: %d octets, want %q in\n%.600s", name, len(n.Content), c.want, p.text)
		}
	}
}

// A row names twenty recipients in words; programs find all of them.
func TestRowOfManyRecipients(t *testing.T) {
	c, r := config(t), report(t)
	one, rcpt := r.Outcomes[0], r.Message.Recipients[0]
	r.Outcomes, r.Message.Recipients = nil, nil
	for i := range 50 {
		one.Recipient, rcpt.Path = i, path(t, fmt.Sprintf("user%d@example.com", i))
		r.Outcomes, r.Message.Recipients = append(r.Outcomes, one), append(r.Message.Recipients, rcpt)
	}
	row := rows(t, c, r)[0]
	if row.Recipients != 50 || strings.Count(row.Status, "Final-Recipient: ") != 50 || len(row.Lines) != 23 || !strings.Contains(row.Lines[20], "and 30 more") {
		t.Errorf("%+v", row)
	}
}
