package bounce_test

import (
	"bytes"
	"errors"
	"flag"
	"mime"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/replies"
)

var update = flag.Bool("update", false, "write the golden notices anew")

var (
	arrival  = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	now      = time.Date(2026, 3, 2, 9, 0, 7, 0, time.UTC)
	original = "From: Alice <alice@example.org>\r\nTo: bob@example.com\r\nSubject: Minutes of the meeting\r\n" +
		"Message-ID: <minutes.1@example.org>\r\nDate: Mon, 2 Mar 2026 09:00:00 +0000\r\n\r\nSee you on Thursday.\r\n"
)

func config(t testing.TB) bounce.Config {
	return bounce.Config{Hostname: "relay.example.org", Postmaster: path(t, "postmaster@example.org")}
}

// report is a failure of one recipient; the cases change what they are about.
func report(t testing.TB) bounce.Report {
	return bounce.Report{
		Kind: bounce.KindFailed,
		ID:   relay.QueueID{Key: 1772442007000000, Dir: 77},
		Message: &relay.Message{
			ID:        relay.QueueID{Key: 1772442000000000, Dir: 77},
			Envelope:  relay.Envelope{From: path(t, "alice@example.org"), Recipients: []relay.Recipient{{Path: path(t, "bob@example.com")}}},
			Arrival:   arrival,
			Size:      int64(len(original)),
			MessageID: "<minutes.1@example.org>",
		},
		Outcomes: []relay.Outcome{{Action: relay.ActionFailed, Reply: relay.Reply{Code: 550, Status: relay.Status{Class: 5, Subject: 1, Detail: 1},
			Text: "<bob@example.com>: Recipient address rejected: User unknown in virtual mailbox table", Stage: relay.StageRcpt, MTA: "mx1.example.com", Addr: "192.0.2.25"}}},
		Attempted: attempted(now),
		Now:       now,
		Content:   contentOf(original),
	}
}

// attempted says that the last attempt for every recipient ended then.
func attempted(at time.Time) map[int]time.Time {
	all := map[int]time.Time{}
	for i := range 10 {
		all[i] = at
	}
	return all
}

// cases are the golden notices: testdata/NAME.eml.
func cases(t testing.TB) map[string]bounce.Report {
	all := map[string]bounce.Report{}
	add := func(name string, change func(r *bounce.Report)) {
		r := report(t)
		change(&r)
		all[name] = r
	}
	tempfail := relay.Reply{Status: relay.Status{Class: 4, Subject: 4, Detail: 1}, Text: "no answer from 192.0.2.25:25 within 30s", Stage: relay.StageConnect, Addr: "192.0.2.25"}
	add("failed", func(*bounce.Report) {})
	add("failed_several", func(r *bounce.Report) {
		r.Message.Recipients = append(r.Message.Recipients, relay.Recipient{Path: path(t, "carol@example.com")}, relay.Recipient{Path: path(t, "dan@example.net")})
		carol := r.Outcomes[0]
		carol.Recipient, carol.Reply.Text = 1, "<carol@example.com>: Recipient address rejected: User unknown in virtual mailbox table"
		r.Outcomes = append(r.Outcomes, carol, relay.Outcome{Recipient: 2, Action: relay.ActionFailed, Reply: relay.Reply{Code: 552,
			Status: relay.Status{Class: 5, Subject: 2, Detail: 2}, Text: "mailbox full", Stage: relay.StageBody, MTA: "mx.example.net"}})
	})
	add("failed_dsn_parameters", func(r *bounce.Report) {
		r.Message.EnvID, r.Message.Ret = "batch 7+a=b", relay.RetHdrs
		r.Message.Recipients[0].ORcpt = relay.ORcpt{Type: "rfc822", Addr: "bob+list@old.example.com"}
	})
	add("expired", func(r *bounce.Report) {
		r.Now, r.Attempted = arrival.Add(5*24*time.Hour+time.Minute), attempted(arrival.Add(5*24*time.Hour))
		r.Outcomes = []relay.Outcome{{Action: relay.ActionExpired, Reply: tempfail}}
	})
	add("delayed", func(r *bounce.Report) {
		r.Kind, r.Until = bounce.KindDelayed, arrival.Add(5*24*time.Hour)
		r.Now, r.Attempted = arrival.Add(4*time.Hour+time.Minute), attempted(arrival.Add(4*time.Hour))
		r.Outcomes = []relay.Outcome{{Action: relay.ActionDelayed, Reply: tempfail}}
	})
	add("relayed", func(r *bounce.Report) {
		r.Kind, r.Message.Recipients[0].Notify = bounce.KindRelayed, relay.NotifySuccess
		r.Outcomes = []relay.Outcome{{Action: relay.ActionRelayed, Reply: relay.Reply{Code: 250, Status: relay.Status{Class: 2}, Text: "queued as 4F2", Stage: relay.StageBody, MTA: "mx1.example.com"}}}
	})
	add("late", func(r *bounce.Report) {
		r.Kind, r.Now, r.Attempted = bounce.KindLate, arrival.Add(7*time.Hour), attempted(arrival.Add(7*time.Hour))
		r.Outcomes = []relay.Outcome{{Action: relay.ActionRelayed, Reply: relay.Reply{Code: 250, Status: relay.Status{Class: 2}, Text: "queued as 4F2", Stage: relay.StageBody, MTA: "mx1.example.com"}}}
	})
	for tag, subject := range map[string]string{"de": "Protokoll der Sitzung", "fr": "Compte rendu de la réunion", "es": "Acta de la reunión",
		"zh": "会议记录", "bn": "সভার কার্যবিবরণী"} {
		add("language_"+tag, func(r *bounce.Report) {
			said := ""
			if tag == "de" || tag == "fr" || tag == "es" { // the others are seen by their script
				said = "Content-Language: " + tag + "-419, en\r\n"
			}
			r.Content = contentOf("From: alice@example.org\r\nSubject: " + mime.BEncoding.Encode("utf-8", subject) + "\r\n" + said + "\r\nx\r\n")
			r.Message.Recipients = append(r.Message.Recipients, relay.Recipient{Path: path(t, "carol@example.com")}, relay.Recipient{Path: path(t, "dan@example.net")})
			carol, dan := r.Outcomes[0], r.Outcomes[0]
			carol.Recipient, dan.Recipient = 1, 2
			dan.Action, dan.Reply = relay.ActionExpired, tempfail
			r.Now = arrival.Add(5*24*time.Hour + time.Minute)
			r.Outcomes = append(r.Outcomes, carol, dan)
		})
	}
	add("no_such_domain", func(r *bounce.Report) {
		r.Outcomes[0].Reply = relay.Failure(relay.StageDNS, relay.Status{Class: 5, Subject: 1, Detail: 2}, "there is no domain example.com")
	})
	add("double_bounce", func(r *bounce.Report) {
		n, err := bounce.Compose(config(t), report(t))
		if err != nil {
			t.Fatal(err)
		}
		r.Kind, r.Message, r.Content = bounce.KindDoubleBounce, &n.Message, contentOf(string(n.Content))
		r.ID.Key, r.Outcomes[0].Reply.Text = r.ID.Key+1, "<alice@example.org>: Recipient address rejected: User unknown"
	})
	add("utf8_sender", func(r *bounce.Report) {
		r.Message.From, r.Message.SMTPUTF8, r.Message.UTF8Header = path(t, "আলিস@example.org"), true, true
		r.Message.Recipients[0] = relay.Recipient{Path: path(t, "用户@例子.example"), ORcpt: relay.ORcpt{Type: "utf-8", Addr: "用户@例子.example"}}
		r.Outcomes[0].Reply.Text = "没有此用户 no such user"
		r.Content = contentOf("From: <আলিস@example.org>\r\nSubject: 会议记录\r\n\r\n星期四见。\r\n")
	})
	add("utf8_recipient_ascii_sender", func(r *bounce.Report) {
		r.Message.SMTPUTF8, r.Message.UTF8Header = true, true
		r.Message.Recipients[0] = relay.Recipient{Path: path(t, "用户@例子.example"), ORcpt: relay.ORcpt{Type: "utf-8", Addr: "用户+a@例子.example"}}
		r.Outcomes[0].Reply.Text = "没有此用户 no such user"
		r.Content = contentOf("From: <alice@example.org>\r\nTo: <用户@例子.example>\r\nSubject: 会议记录\r\n\r\n星期四见。\r\n")
	})
	add("utf8_sender_ascii_recipient", func(r *bounce.Report) {
		r.Message.From, r.Message.SMTPUTF8 = path(t, "আলিস@example.org"), true
		r.Outcomes[0].Reply.Text = "没有此用户 no such user"
	})
	add("damaged", func(r *bounce.Report) {
		r.Outcomes[0].Reply = relay.Decision(relay.CauseDamage, relay.Status{Class: 4, Subject: 3}, "the disk of this relay damaged the message after it was accepted")
		r.Content = nil
	})
	add("returns_no_report", func(r *bounce.Report) {
		r.Content = contentOf("From: alice@example.org\r\nSubject: Fwd: it came back\r\nMIME-Version: 1.0\r\n" +
			"Content-Type: multipart/report; report-type=Delivery-Status; boundary=b\r\n\r\n--b\r\n\r\nsee below\r\n--b\r\n" +
			"Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; mx.example.net\r\n\r\n" +
			"Final-Recipient: rfc822; victim@example.net\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n--b--\r\n")
	})
	add("eight_bit_body", func(r *bounce.Report) {
		r.Message.EightBit = true
		r.Content = contentOf("From: alice@example.org\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nMIME-Version: 1.0\r\n" +
			"Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: 8bit\r\n\r\nGr\xfc\xdfe\r\n")
	})
	return all
}

func TestGoldenNotices(t *testing.T) {
	for name, r := range cases(t) {
		t.Run(name, func(t *testing.T) {
			n, err := bounce.Compose(config(t), r)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parse(n); err != nil {
				t.Errorf("not readable: %v", err)
			}
			file := filepath.Join("testdata", name+".eml")
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
		})
	}
}

func mustCompose(t *testing.T, r bounce.Report) (relay.Notice, *parsed) {
	t.Helper()
	n, err := bounce.Compose(config(t), r)
	if err != nil {
		t.Fatal(err)
	}
	p, err := parse(n)
	if err != nil {
		t.Fatalf("%v\n%s", err, n.Content)
	}
	return n, p
}

// What programs rely on, field by field.
func TestFailedNoticeSaysWhatRFC3464Wants(t *testing.T) {
	n, p := mustCompose(t, cases(t)["failed"])
	m := n.Message
	if !m.From.IsNull() || !m.Notice || len(m.Recipients) != 1 || m.Recipients[0].Path.String() != "alice@example.org" || m.Identity != bounce.Identity {
		t.Errorf("envelope %+v", m)
	}
	for field, want := range map[string]string{
		"From": "Mail Delivery System <postmaster@relay.example.org>", "To": "alice@example.org", "Reply-To": "postmaster@example.org",
		"Subject": "Not delivered: Minutes of the meeting", "Date": "Mon, 2 Mar 2026 09:00:07 +0000",
		"Message-Id": "<" + m.ID.String() + ".dsn@relay.example.org>", "In-Reply-To": "<minutes.1@example.org>",
		"References": "<minutes.1@example.org>", "Auto-Submitted": "auto-replied", "Mime-Version": "1.0",
	} {
		if got := p.header.Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	if got := p.perMessage.Get("Reporting-MTA"); got != "dns; relay.example.org" {
		t.Errorf("Reporting-MTA: %q", got)
	}
	if p.perMessage.Get("Last-Attempt-Date") != "" {
		t.Error("Last-Attempt-Date belongs to the recipient (RFC 3464 §2.3.7)")
	}
	for field, want := range map[string]string{
		"Final-Recipient": "rfc822; bob@example.com", "Action": "failed", "Status": "5.1.1", "Remote-MTA": "dns; mx1.example.com",
		"Diagnostic-Code":   "smtp; 550 5.1.1 <bob@example.com>: Recipient address rejected: User unknown in virtual mailbox table",
		"Last-Attempt-Date": "Mon, 2 Mar 2026 09:00:07 +0000", "Original-Recipient": "", "Will-Retry-Until": "",
	} {
		if got := p.recipients[0].Get(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
	first, _, _ := strings.Cut(p.text, "\r\n\r\n")
	for _, want := range []string{"Minutes of the meeting", "bob@example.com", "no such mailbox", "Check the address"} {
		if !strings.Contains(strings.ReplaceAll(first, "\r\n", " "), want) {
			t.Errorf("first paragraph does not say %q:\n%s", want, first)
		}
	}
}

// The first paragraph has words for every category and action.
func TestWordsForEveryCategory(t *testing.T) {
	seen := map[string]replies.Category{}
	for _, c := range replies.Categories() {
		w := bounce.WordsFor(c)
		if w.Why == "" || w.Do == "" || strings.HasSuffix(w.Why, ".") || !strings.HasSuffix(w.Do, ".") {
			t.Errorf("%s: %+v", c, w)
		}
		if other, ok := seen[w.Why]; ok {
			t.Errorf("%s and %s have the same words", c, other)
		}
		seen[w.Why] = c
	}
}

func TestStatusByAction(t *testing.T) {
	perm := relay.Reply{Code: 550, Stage: relay.StageRcpt}
	temp := relay.Reply{Code: 451, Status: relay.Status{Class: 4, Subject: 3}, Stage: relay.StageRcpt}
	for _, c := range []struct {
		kind         bounce.Kind
		action       relay.Action
		reply        relay.Reply
		says, status string
	}{
		{bounce.KindFailed, relay.ActionFailed, perm, "failed", "5.0.0"},
		{bounce.KindFailed, relay.ActionFailed, temp, "failed", "4.3.0"},
		{bounce.KindFailed, relay.ActionFailed, relay.Reply{}, "failed", "5.0.0"},
		{bounce.KindFailed, relay.ActionExpired, temp, "failed", "4.4.7"},
		{bounce.KindDelayed, relay.ActionDelayed, temp, "delayed", "4.3.0"},
		{bounce.KindDelayed, relay.ActionDelayed, relay.Reply{}, "delayed", "4.0.0"},
		{bounce.KindRelayed, relay.ActionRelayed, relay.Reply{Code: 250}, "relayed", "2.0.0"},
		{bounce.KindRelayed, relay.ActionDelivered, relay.Reply{Code: 250, Status: relay.Status{Class: 2, Subject: 1, Detail: 5}}, "delivered", "2.1.5"},
	} {
		r := report(t)
		r.Kind, r.Outcomes = c.kind, []relay.Outcome{{Action: c.action, Reply: c.reply}}
		_, p := mustCompose(t, r)
		if got := p.recipients[0]; got.Get("Action") != c.says || got.Get("Status") != c.status {
			t.Errorf("%s %v: %v", c.action, c.reply, got)
		}
	}
}

func TestReturnedPart(t *testing.T) {
	body := func(n int) string { return "Subject: x\r\n\r\n" + strings.Repeat(strings.Repeat("a", 62)+"\r\n", n/64) }
	set := func(kind bounce.Kind, ret relay.Ret, content string) bounce.Report {
		r := report(t)
		r.Kind, r.Message.Ret, r.Content = kind, ret, contentOf(content)
		return r
	}
	broken := set(bounce.KindFailed, "", body(1000))
	broken.Content = failing{}
	for name, c := range map[string]struct {
		r    bounce.Report
		want string
	}{
		"small":               {set(bounce.KindFailed, "", body(40<<10)), "message/rfc822"},
		"large":               {set(bounce.KindFailed, "", body(60<<10)), "text/rfc822-headers"},
		"RET=FULL":            {set(bounce.KindFailed, relay.RetFull, body(1000<<10)), "message/rfc822"},
		"RET=FULL, too large": {set(bounce.KindFailed, relay.RetFull, body(1100<<10)), "text/rfc822-headers"},
		"RET=HDRS":            {set(bounce.KindFailed, relay.RetHdrs, body(1000)), "text/rfc822-headers"},
		"delay":               {set(bounce.KindDelayed, relay.RetFull, body(1000)), "text/rfc822-headers"},
		"long line":           {set(bounce.KindFailed, "", "Subject: x\r\n\r\n"+strings.Repeat("a", 2000)+"\r\n"), "text/rfc822-headers"},
		"header without end":  {set(bounce.KindFailed, relay.RetHdrs, "Subject: x\r\n"), "text/rfc822-headers"},
		"no header":           {set(bounce.KindFailed, relay.RetHdrs, "\r\nbody\r\n"), ""},
		"unreadable":          {broken, ""},
		"empty":               {set(bounce.KindFailed, "", ""), ""},
		"raw 8-bit header":    {set(bounce.KindFailed, relay.RetHdrs, "Subject: Gr\xfc\xdfe\r\n\r\n"), "text/rfc822-headers"},
		"raw 8-bit, whole":    {set(bounce.KindFailed, "", "Subject: Gr\xfc\xdfe\r\n\r\nGr\xfc\xdfe\r\n"), "message/rfc822"},
		"UTF-8 header":        {set(bounce.KindFailed, relay.RetHdrs, "Subject: Grüße\r\n\r\n"), "message/global-headers"},
		"UTF-8, whole":        {set(bounce.KindFailed, "", "Subject: Grüße\r\n\r\nx\r\n"), "message/global"},
	} {
		t.Run(name, func(t *testing.T) {
			_, p := mustCompose(t, c.r)
			got := ""
			if len(p.types) == 3 {
				got = p.types[2]
			}
			if got != c.want {
				t.Errorf("returned %q, want %q", got, c.want)
			}
			if strings.HasPrefix(got, "message/rfc822") || got == "message/global" {
				whole := make([]byte, c.r.Content.Size())
				c.r.Content.ReadAt(whole, 0)
				if !bytes.Equal(p.bodies[2], whole) {
					t.Error("the returned message is not the original")
				}
			} else if got != "" && !bytes.HasPrefix(p.bodies[2], []byte("Subject: ")) || bytes.Contains(slices.Concat(p.bodies...), []byte("aaaa")) {
				t.Errorf("returned %q", p.bodies[2])
			}
		})
	}
}

// What cannot be made 7-bit comes back so that a host without 8BITMIME takes the
// notice: one that it refused would be lost.
func TestWhatCannotBeMadeSevenBit(t *testing.T) {
	for _, c := range []struct{ name, sender, content, want string }{
		{"ASCII", "office@example.org", "Subject: x\r\n\r\nx\r\n", "message/rfc822"},
		{"UTF-8 body", "office@example.org", "Subject: x\r\n\r\nGrüße\r\n", "message/global"},
		{"8-bit body", "office@example.org", "Subject: x\r\n\r\nGr\xfc\xdfe\r\n", "text/rfc822-headers"},
		{"8-bit header", "office@example.org", "Subject: Gr\xfc\xdfe\r\n\r\nx\r\n", "text/rfc822-headers"},
		{"UTF-8 header", "office@example.org", "Subject: Grüße\r\n\r\nx\r\n", "message/global"},
		{"its host has 8BITMIME", "用户@example.org", "Subject: x\r\n\r\nGr\xfc\xdfe\r\n", "message/rfc822"},
	} {
		r := report(t)
		r.Message.From, r.Content = path(t, c.sender), contentOf(c.content)
		cfg := config(t)
		cfg.SevenBit = func(relay.Content) bool { return false }
		n, err := bounce.Compose(cfg, r)
		if err != nil {
			t.Fatal(err)
		}
		p, err := parse(n)
		if err != nil {
			t.Fatal(err)
		}
		if p.types[2] != c.want || n.Message.EightBit != strings.HasPrefix(c.sender, "用") {
			t.Errorf("%s: returned as %q, 8-bit: %v", c.name, p.types[2], n.Message.EightBit)
		}
		if c.want != "text/rfc822-headers" && string(p.bodies[2]) != c.content {
			t.Errorf("%s: returned %q", c.name, p.bodies[2])
		}
	}
}

// A large header comes back in part, in whole lines.
func TestEnormousHeaderIsBounded(t *testing.T) {
	r := report(t)
	r.Content = contentOf("Subject: x\r\n" + strings.Repeat("X-Field: "+strings.Repeat("v", 60)+"\r\n", 100_000) + "\r\n")
	n, p := mustCompose(t, r)
	if len(n.Content) > 60<<10 || !bytes.HasSuffix(p.bodies[2], []byte("v\r\n")) {
		t.Errorf("%d octets, ends in %q", len(n.Content), p.bodies[2][len(p.bodies[2])-20:])
	}
}

func TestManyRecipientsAreAllInTheStatus(t *testing.T) {
	r := report(t)
	first := r.Outcomes[0]
	r.Message.Recipients, r.Outcomes = nil, nil
	for i := range 1000 {
		r.Message.Recipients = append(r.Message.Recipients, relay.Recipient{Path: path(t, "user"+strings.Repeat("x", i%30)+"@example.com")})
		first.Recipient = i
		r.Outcomes = append(r.Outcomes, first)
	}
	_, p := mustCompose(t, r)
	p.text = strings.Join(strings.Fields(p.text), " ")
	if len(p.recipients) != 1000 || !strings.Contains(p.text, "1000 recipients") || !strings.Contains(p.text, "and 980 more") {
		t.Errorf("%d recipients\n%s", len(p.recipients), p.text)
	}
}

func TestComposeRefusesFaultsOfTheCaller(t *testing.T) {
	for name, change := range map[string]func(*bounce.Config, *bounce.Report){
		"no hostname":        func(c *bounce.Config, r *bounce.Report) { c.Hostname = "" },
		"no ID":              func(c *bounce.Config, r *bounce.Report) { r.ID = relay.QueueID{} },
		"no message":         func(c *bounce.Config, r *bounce.Report) { r.Message = nil },
		"no outcome":         func(c *bounce.Config, r *bounce.Report) { r.Outcomes = nil },
		"unknown kind":       func(c *bounce.Config, r *bounce.Report) { r.Kind = "" },
		"unknown recipient":  func(c *bounce.Config, r *bounce.Report) { r.Outcomes[0].Recipient = 1 },
		"null sender":        func(c *bounce.Config, r *bounce.Report) { r.Message.From = relay.Path{} },
		"notice of a notice": func(c *bounce.Config, r *bounce.Report) { r.Message.Notice = true },
		"no postmaster": func(c *bounce.Config, r *bounce.Report) {
			r.Kind, r.Message.Notice, c.Postmaster = bounce.KindDoubleBounce, true, relay.Path{}
		},
	} {
		c, r := config(t), report(t)
		change(&c, &r)
		if _, err := bounce.Compose(c, r); err == nil || name != "no hostname" && !errors.Is(err, bounce.ErrReport) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A reply of 2 MiB, as no server should send it, makes no large notice, in any
// language.
func TestEnormousReplyIsBounded(t *testing.T) {
	for _, language := range bounce.Shipped().Tags() {
		r := report(t)
		r.Outcomes[0].Reply.Text = strings.Repeat("no\r\nAction: delivered\x00\xff--=_dawk_ ", 2<<20/32)
		r.Outcomes[0].Reply.MTA = strings.Repeat("m", 2<<20)
		r.Content = contentOf("Content-Language: " + language + "\r\nSubject: " + strings.Repeat("s", 2<<20) + "\r\n\r\n")
		n, p := mustCompose(t, r)
		if len(n.Content) > 120<<10 || len(p.recipients) != 1 {
			t.Errorf("%s: %d octets, %d recipients", language, len(n.Content), len(p.recipients))
		}
	}
}

// failing is a Content that cannot be read.
type failing struct{}

func (failing) ReadAt([]byte, int64) (int, error) { return 0, errors.New("input/output error") }
func (failing) Size() int64                       { return 1000 }
func (failing) Close() error                      { return nil }

// The original's Subject is shown decoded, once, and bounded.
func TestSubjectOfTheNotice(t *testing.T) {
	for in, want := range map[string]string{
		"Subject: Minutes":                                 "Not delivered: Minutes",
		"subject:\r\n\tfolded\r\n  twice":                  "Not delivered: folded twice",
		"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=":             "Not delivered: =?utf-8?q?Gr=C3=BC=C3=9Fe?=",
		"Subject: =?utf-8?q?=3D=3Futf-8=3Fq=3F=0D=3F=3D?=": "Not delivered: = ?utf-8?q? ?=",
		"Subject: =?utf-8?q?a=0D=0AX-Evil:_1?=":            "Not delivered: a X-Evil: 1",
		"Subject: " + strings.Repeat("long ", 60):          "Not delivered: " + strings.TrimSpace(strings.Repeat("long ", 24)) + "...",
		"Subject: =?koi8-r?q?=F2?=":                        "Not delivered: Р",
		"Subject: =?EUC-KR?q?=BE=C8=B3=E7?=":               "Not delivered: 안녕",
		"Subject: =?x-unknown?q?=F2?=":                     "Not delivered: your message of 2026-03-02",
		"Subject: =?iso-2022-kr?q?x?=":                     "Not delivered: your message of 2026-03-02",
		"Subject: =?Windows-1252?q?5_=80_=96_x?=":          "Not delivered: 5 € – x",
		"X-Subject: no":                                    "Not delivered: your message of 2026-03-02",
	} {
		r := report(t)
		r.Content = contentOf(in + "\r\n\r\n")
		_, p := mustCompose(t, r)
		got := p.header.Get("Subject")
		if !strings.HasPrefix(got, "Not") { // encoded as a whole
			dec, err := new(mime.WordDecoder).DecodeHeader(got)
			if got, want = dec, strings.Replace(want, "=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße", 1); err != nil {
				t.Errorf("%q: %q, %v", in, got, err)
			}
		}
		if got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// What a sender wanted protected stays out of a notice that goes like other
// mail (RFC 8689 §5).
func TestNoticeOfRequireTLSIsRedacted(t *testing.T) {
	r := report(t)
	r.Message.RequireTLS, r.Message.Ret = true, relay.RetFull
	n, p := mustCompose(t, r)
	if bytes.Contains(n.Content, []byte("Minutes")) || bytes.Contains(n.Content, []byte("Thursday")) || n.Message.RequireTLS {
		t.Errorf("%s", n.Content)
	}
	if !strings.Contains(string(p.bodies[2]), "Message-ID: <minutes.1@example.org>\r\n") {
		t.Errorf("nobody knows which message it was: %s", p.bodies[2])
	}
}
