package accept_test

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/accept/accepttest"
	"dawk/relay/identity"
)

func path(t testing.TB, s string) relay.Path {
	t.Helper()
	p, err := relay.ParsePath(s)
	check(t, err)
	return p
}

func acceptor(t testing.TB, q *accepttest.Queue, change func(*accept.Config)) (*accept.Acceptor, *accepttest.Recorder) {
	t.Helper()
	cfg := accept.Config{Hostname: hostname, MaxMessageSize: 100000, MaxRecipients: 3}
	if change != nil {
		change(&cfg)
	}
	seen := &accepttest.Recorder{}
	a, err := accept.New(cfg, q, seen)
	check(t, err)
	return a, seen
}

func submit(t testing.TB, content io.WriterTo) accept.Submission {
	return accept.Submission{
		Envelope: relay.Envelope{From: path(t, "a@example.org"), Recipients: []relay.Recipient{{Path: path(t, "b@example.com")}}},
		Content:  content,
		Submitter: accept.Submitter{Identity: "alice", Client: netip.MustParseAddr("192.0.2.9"), Listener: ":587", Helo: "pc.example.org", Protocol: "ESMTPSA",
			TLS: "TLS1.3 TLS_AES_128_GCM_SHA256"},
	}
}

// pieces writes a text in pieces of n octets.
type pieces struct {
	text string
	n    int
}

func (p pieces) WriteTo(w io.Writer) (total int64, err error) {
	for s := p.text; s != ""; {
		n := min(p.n, len(s))
		m, err := io.WriteString(w, s[:n])
		if total += int64(m); err != nil {
			return total, err
		}
		s = s[n:]
	}
	return total, nil
}

const added = "Date: Sat, 01 Jan 2000 00:00:00 +0000\r\nMessage-ID: <00000000001-0007@relay.example.org>\r\n"

var contents = []struct {
	name, in string
	out      string // without Received
	change   func(*relay.Message)
}{
	{"complete", lines("Date: x", "Message-ID: <1@example.org>", "From: a", "", "body"),
		lines("Date: x", "Message-ID: <1@example.org>", "From: a", "", "body"),
		func(m *relay.Message) { m.MessageID = "<1@example.org>" }},
	{"nothing", "", added, nil},
	{"an empty body", lines("Subject: x", ""), added + lines("Subject: x", ""), nil},
	{"header only", lines("Subject: x"), added + lines("Subject: x"), nil},
	{"body only", lines("", "body"), added + lines("", "body"), nil},
	{"no header at all", lines("Dear Sir,", "", "Bcc: this stays"), added + lines("", "Dear Sir,", "", "Bcc: this stays"), nil},
	{"a header that breaks off", lines("Subject: x", "no field", "Bcc: b@example.com"), added + lines("Subject: x", "", "no field", "Bcc: b@example.com"), nil},
	{"begins with a continuation", lines(" x", "", "body"), added + lines("", " x", "", "body"), nil},
	{"Bcc and Return-Path", lines("Bcc: x@example.com,", "\ty@example.com", " z@example.com", "Subject: 1", " 2", "bcc : q", "RESENT-BCC:", "Return-Path: <r>", "X-Bcc: stays", "", "Bcc: stays"),
		added + lines("Subject: 1", " 2", "X-Bcc: stays", "", "Bcc: stays"), nil},
	{"Bcc at the end", lines("Subject: 1", "Bcc: x", "\ty"), added + lines("Subject: 1"), nil},
	{"a folded Message-ID", lines("message-id:", " <2@example.org>", "date: x", "", ""), lines("message-id:", " <2@example.org>", "date: x", "", ""),
		func(m *relay.Message) { m.MessageID = "<2@example.org>" }},
	{"two Message-IDs", lines("Message-ID: <1@example.org>", "Message-ID: <2@example.org>", "Date: x", "", ""),
		lines("Message-ID: <1@example.org>", "Message-ID: <2@example.org>", "Date: x", "", ""), func(m *relay.Message) { m.MessageID = "<1@example.org>" }},
	{"a Message-ID that is none", lines("Message-ID: me", "Date: x", "", ""), lines("Message-ID: me", "Date: x", "", ""), func(m *relay.Message) { m.MessageID = "" }},
	{"8-bit body", lines("Subject: x", "", "\xff"), added + lines("Subject: x", "", "\xff"), func(m *relay.Message) { m.EightBit = true }},
	{"8-bit header", lines("Subject: ü", "", "x"), added + lines("Subject: ü", "", "x"), func(m *relay.Message) { m.EightBit = true }},
	{"8-bit in what goes", lines("Bcc: ü", "", "x"), added + lines("", "x"), nil},
	{"TLS-Required", lines("tls-required:  no ", "", "x"), added + lines("tls-required:  no ", "", "x"), func(m *relay.Message) { m.TLSOptional = true }},
	{"TLS-Required: yes", lines("TLS-Required: yes", "", "x"), added + lines("TLS-Required: yes", "", "x"), nil},
	{"empty fields", lines("Message-ID: <>", "Date:", " ", "Message-Id:", "From:", "", "x"), added + lines("From:", "", "x"), nil},
	{"mbox lines", lines("From root Sun Nov 22 10:00:00 2026", ">From x", "Subject: x", "", "From x"), added + lines("Subject: x", "", "From x"), nil},
	{"a folded mbox line", lines("From x Mon", " folded", "Subject: x", "", "y"), added + lines("Subject: x", "", "y"), nil},
	{"an mbox line behind Return-Path", lines("Return-Path: <x>", "From x Mon", "\tfolded", "Subject: x", "", "y"), added + lines("Subject: x", "", "y"), nil},
	{"an mbox line behind another field", lines("X: y", "From x Mon", "Subject: x"), added + lines("X: y", "", "From x Mon", "Subject: x"), nil},
	{"a folded text that begins so", lines("From now on", " more"), added + lines("", "From now on", " more"), nil},
	{"text behind Return-Path", lines("Return-Path: <x>", "From now on", "", "more"), added + lines("", "From now on", "", "more"), nil},
	{"text that begins as an mbox line", lines("From now on", ">From me", "more"), added + lines("", "From now on", ">From me", "more"), nil},
	{"text with an empty line", lines("From now on:", "", "more"), added + lines("", "From now on:", "", "more"), nil},
	{"a line of text", lines("From now on"), added + lines("", "From now on"), nil},
	{"the obsolete form of From", lines("From : a@example.org", "", "x"), added + lines("From : a@example.org", "", "x"), nil},
	{"a byte order mark", lines("\ufeffSubject: x", "", "\ufeffx"), added + lines("Subject: x", "", "\ufeffx"), func(m *relay.Message) { m.EightBit = true }},
	{"a long list", lines("To: "+strings.Repeat(`"x, y" <x@y.test>,`, 100)+"z@y.test", "", ""),
		added + lines("To: "+strings.Repeat(`"x, y" <x@y.test>,`, 55), " "+strings.Repeat(`"x, y" <x@y.test>,`, 45)+"z@y.test", "", ""), nil},
	{"a long Bcc", lines("Bcc: "+strings.Repeat("a@b.test, ", 500), "To: x", "", ""), added + lines("To: x", "", ""), nil},
	{"long lines", lines("Subject: "+word(500)+" "+word(600), "", word(998), word(2000), "."), added + lines("Subject: "+word(500), " "+word(600), "", word(998), word(998), " "+word(997), " "+word(5), "."), nil},
	{"bare text at the end", "Subject: x\r\n\r\nend", added + "Subject: x\r\n\r\nend\r\n", nil},
	{"unfinished header line", "Subject: x", added + "Subject: x\r\n", nil},
}

func TestContent(t *testing.T) {
	for _, c := range contents {
		for _, n := range []int{1, 2, 3, 7, 1000} {
			t.Run(fmt.Sprintf("%s by %d", c.name, n), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					q := &accepttest.Queue{}
					a, _ := acceptor(t, q, nil)
					id, err := a.Submit(t.Context(), submit(t, pieces{c.in, n}))
					check(t, err)
					got := q.Messages()[0]
					head, rest, _ := strings.Cut(got.Content, "+0000\r\n")
					if !strings.HasPrefix(head, "Received: from ") || rest != c.out {
						t.Errorf("\ngot  %q\nwant %q", rest, c.out)
					}
					want := relay.Message{ID: id, Envelope: submit(t, nil).Envelope, Arrival: time.Now(), Size: int64(len(got.Content)),
						Identity: "alice", Client: "192.0.2.9", Protocol: "ESMTPSA", MessageID: "<00000000001-0007@relay.example.org>"}
					if c.change != nil {
						c.change(&want)
					}
					if events := got.Message.Events; len(events) != 1 || events[0].Kind != relay.EventAccepted || events[0].ID != id || len(events[0].To) != 1 {
						t.Errorf("events %+v", events)
					}
					got.Message.Events = nil
					if fmt.Sprintf("%+v", want) != fmt.Sprintf("%+v", got.Message) {
						t.Errorf("\ngot  %+v\nwant %+v", got.Message, want)
					}
				})
			})
		}
	}
}

func TestReceived(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*accept.Submission)
		want   string
	}{
		{"one recipient", nil, "from pc.example.org ([192.0.2.9])\r\n\tby relay.example.org (dawk) with ESMTPSA (TLS1.3 TLS_AES_128_GCM_SHA256)\r\n\tid 00000000001-0007\r\n\tfor <b@example.com>; Sat, 01 Jan 2000 00:00:00 +0000\r\n"},
		{"two recipients, in the clear, IPv6", func(s *accept.Submission) {
			s.Recipients = append(s.Recipients, relay.Recipient{Path: path(t, "c@example.com")})
			s.TLS, s.Protocol, s.Client, s.Helo = "", "SMTP", netip.MustParseAddr("2001:db8::1"), "[IPv6:2001:DB8::1]"
		}, "from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n\tby relay.example.org (dawk) with SMTP\r\n\tid 00000000001-0007; Sat, 01 Jan 2000 00:00:00 +0000\r\n"},
		{"hidden", func(s *accept.Submission) { s.HideClient = true },
			"from hidden.invalid\r\n\tby relay.example.org (dawk) with ESMTPSA (TLS1.3 TLS_AES_128_GCM_SHA256)\r\n\tid 00000000001-0007\r\n\tfor <b@example.com>; Sat, 01 Jan 2000 00:00:00 +0000\r\n"},
		{"a name that is none, v4-mapped", func(s *accept.Submission) { s.Helo, s.Client = "my(pc)", netip.MustParseAddr("::ffff:192.0.2.9") },
			"from unknown ([192.0.2.9])\r\n\tby relay.example.org (dawk) with ESMTPSA (TLS1.3 TLS_AES_128_GCM_SHA256)\r\n\tid 00000000001-0007\r\n\tfor <b@example.com>; Sat, 01 Jan 2000 00:00:00 +0000\r\n"},
		{"a recipient outside ASCII", func(s *accept.Submission) { s.Recipients[0].Path = path(t, "ü@example.com") },
			"from pc.example.org ([192.0.2.9])\r\n\tby relay.example.org (dawk) with ESMTPSA (TLS1.3 TLS_AES_128_GCM_SHA256)\r\n\tid 00000000001-0007; Sat, 01 Jan 2000 00:00:00 +0000\r\n"},
		{"a quoted recipient", func(s *accept.Submission) { s.Recipients[0].Path = path(t, `"a>; b"@example.com`) },
			"from pc.example.org ([192.0.2.9])\r\n\tby relay.example.org (dawk) with ESMTPSA (TLS1.3 TLS_AES_128_GCM_SHA256)\r\n\tid 00000000001-0007\r\n\tfor <\"a>; b\"@example.com>; Sat, 01 Jan 2000 00:00:00 +0000\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				q := &accepttest.Queue{}
				a, _ := acceptor(t, q, nil)
				s := submit(t, pieces{"\r\n", 9})
				if c.change != nil {
					c.change(&s)
				}
				_, err := a.Submit(t.Context(), s)
				check(t, err)
				if got := q.Messages()[0].Content; !strings.HasPrefix(got, "Received: "+c.want+"Date:") {
					t.Errorf("\ngot  %q\nwant %q", got, c.want)
				}
			})
		})
	}
}

func TestPostmaster(t *testing.T) {
	for configured, want := range map[string]string{"": "postmaster@relay.example.org", "admin@example.org": "admin@example.org"} {
		q := &accepttest.Queue{}
		a, _ := acceptor(t, q, func(c *accept.Config) { c.Postmaster = path(t, configured) })
		s := submit(t, pieces{"\r\n", 9})
		s.From, s.Recipients[0].Path = path(t, "postmaster"), path(t, "PostMaster")
		_, err := a.Submit(t.Context(), s)
		check(t, err)
		if m := q.Messages()[0]; m.Recipients[0].Path.String() != want || m.From.String() != want {
			t.Errorf("%+v", m.Message)
		}
	}
}

// Every trouble has its reply, nothing of our insides is told, and the draft
// ends.
func TestRefusals(t *testing.T) {
	secret := errors.New("open /var/lib/dawk/queue.db: input/output error")
	full := fmt.Errorf("%w: 12 MiB free of /var/lib/dawk", relay.ErrNoSpace)
	simple := pieces{"\r\nbody\r\n", 100}
	for _, c := range []struct {
		name   string
		q      *accepttest.Queue
		change func(*accept.Submission)
		in     io.WriterTo
		reply  string
		reason accept.Reason
	}{
		{"no draft for want of room", &accepttest.Queue{NoDraft: full}, nil, simple, "452 4.3.1", accept.ReasonNoSpace},
		{"no draft", &accepttest.Queue{NoDraft: secret}, nil, simple, "451 4.3.0", accept.ReasonInternal},
		{"closed", &accepttest.Queue{NoDraft: relay.ErrClosed}, nil, simple, "451 4.3.0", accept.ReasonInternal},
		{"full while writing", &accepttest.Queue{NoWrite: full}, nil, simple, "452 4.3.1", accept.ReasonNoSpace},
		{"broken while writing", &accepttest.Queue{NoWrite: secret}, nil, simple, "451 4.3.0", accept.ReasonInternal},
		{"full at the commit", &accepttest.Queue{NoEnqueue: full}, nil, simple, "452 4.3.1", accept.ReasonNoSpace},
		{"broken at the commit", &accepttest.Queue{NoEnqueue: secret}, nil, simple, "451 4.3.0", accept.ReasonInternal},
		{"too big", &accepttest.Queue{}, nil, pieces{strings.Repeat("x", 100001), 1000}, "552 5.3.4", accept.ReasonSize},
		{"too big for the login", &accepttest.Queue{}, func(s *accept.Submission) { s.User = &identity.User{Name: "a", MaxMessageSize: 10} }, pieces{strings.Repeat("x", 11), 1000}, "552 5.3.4", accept.ReasonSize},
		{"a big header", &accepttest.Queue{}, func(s *accept.Submission) {}, pieces{strings.Repeat("X: y\r\n", 300<<10/6), 1000}, "552 5.3.4", accept.ReasonSize},
		{"nobody to send to", &accepttest.Queue{}, func(s *accept.Submission) { s.Recipients = nil }, simple, "554 5.5.1", accept.ReasonRecipients},
		{"too many to send to", &accepttest.Queue{}, func(s *accept.Submission) { s.Recipients = make([]relay.Recipient, 4) }, simple, "452 4.5.3", accept.ReasonRecipients},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, seen := acceptor(t, c.q, nil)
			s := submit(t, c.in)
			if c.change != nil {
				c.change(&s)
			}
			_, err := a.Submit(t.Context(), s)
			var r *accept.Refusal
			if !errors.As(err, &r) || !strings.HasPrefix(r.Reply.String(), c.reply) || r.Reason != c.reason {
				t.Fatalf("%#v", err)
			}
			if strings.Contains(r.Reply.String(), "/") {
				t.Errorf("the reply tells of our insides: %v", r.Reply)
			}
			if c.q.Open != 0 || len(c.q.Taken) != 0 {
				t.Errorf("%d drafts open, %d messages", c.q.Open, len(c.q.Taken))
			}
			if e := seen.Of(relay.EventRefused); len(e) != 1 || e[0].Reason != string(c.reason) || e[0].Reply != r.Reply {
				t.Errorf("events %+v", e)
			}
		})
	}
}

// The header has a limit of its own, whatever a message may have.
func TestHeaderLimit(t *testing.T) {
	for _, in := range []string{strings.Repeat("X: y\r\n", 300<<10/6), "X: " + strings.Repeat("y", 300<<10)} {
		q := &accepttest.Queue{}
		a, _ := acceptor(t, q, func(c *accept.Config) { c.MaxMessageSize = 0 })
		_, err := a.Submit(t.Context(), submit(t, pieces{in, 1000}))
		var r *accept.Refusal
		if !errors.As(err, &r) || r.Reason != accept.ReasonHeader {
			t.Errorf("%v", err)
		}
	}
}

// FuzzContent: whatever the content and however it is cut, the outcome is the
// same, the body is unchanged, and no Bcc is in the header.
func FuzzContent(f *testing.F) {
	for _, c := range contents {
		f.Add(c.in, uint16(3))
	}
	bcc := regexp.MustCompile(`(?mi)^(bcc|return-path|resent-bcc)[ \t]*:`)
	f.Fuzz(func(t *testing.T, in string, n uint16) {
		in = strings.ReplaceAll(strings.ReplaceAll(in, "\r", ""), "\n", "\r\n") // what Submission asks for
		run := func(n int) (accepttest.Stored, error) {
			q := &accepttest.Queue{}
			a, _ := acceptor(t, q, nil)
			s := submit(t, pieces{in, n})
			s.HideClient = true
			_, err := a.Submit(t.Context(), s)
			if err != nil {
				return accepttest.Stored{}, err
			}
			return q.Messages()[0], nil
		}
		whole, err1 := run(len(in) + 1)
		cut, err2 := run(int(n) + 1)
		if fmt.Sprint(err1) != fmt.Sprint(err2) || cutTimes(whole.Content) != cutTimes(cut.Content) {
			t.Fatalf("%v %v\n%q\n%q", err1, err2, whole.Content, cut.Content)
		}
		if err1 != nil {
			return
		}
		if bcc.MatchString(whole.Header()) {
			t.Fatalf("%q", whole.Header())
		}
		for line := range strings.SplitSeq(strings.TrimSuffix(whole.Content, "\r\n"), "\r\n") {
			if len(line) > 998 {
				t.Fatalf("a line of %d octets", len(line))
			}
		}
		if _, body, ok := strings.Cut(in, "\r\n\r\n"); ok && !longLine(body) && !strings.HasSuffix(strings.TrimSuffix(whole.Content, "\r\n"), strings.TrimSuffix(body, "\r\n")) {
			t.Fatalf("body changed: %q", whole.Content)
		}
	})
}

// longLine says whether a line has more octets than RFC 5321 §4.5.3.1.6 allows.
func longLine(body string) bool {
	return slices.ContainsFunc(strings.Split(body, "\n"), func(line string) bool { return len(strings.TrimSuffix(line, "\r")) > 998 })
}

var times = regexp.MustCompile(`(; |Date: )\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}`)

func cutTimes(s string) string { return times.ReplaceAllString(s, "") }

// What programs of our own write without a domain gets ours, before anybody
// judges it; what they leave empty is added.
func TestCompleteHeader(t *testing.T) {
	for in, want := range map[string]string{
		lines("From: root (Cron Daemon)", "To: admin, b@example.com", "", "To: x"): lines("From: root@relay.example.org (Cron Daemon)", "To: admin@relay.example.org, b@example.com", "", "To: x"),
		lines("from:", " Anacron <root>", "Subject: root", "", ""):                 lines("from:", " Anacron <root@relay.example.org>", "Subject: root", "", ""),
		lines("From:", "", ""):                     lines("From: <a@example.org>", "", ""),
		lines("From: =?utf-8?q?Scanner?=", "", ""): lines("From: <a@example.org>", "X-Original-From: =?utf-8?q?Scanner?=", "", ""),
		lines("From: B\xfcro", "", ""):             lines("From: <a@example.org>", "X-Original-From: B\xfcro", "", ""),
		lines("From: HP LaserJet", "", ""):         lines("From: <a@example.org>", "X-Original-From: HP LaserJet", "", ""),
		lines("From: \"HP Scanner\" <>", "", ""):   lines("From: <a@example.org>", "X-Original-From: \"HP Scanner\" <>", "", ""),
	} {
		q := &accepttest.Queue{}
		a, _ := acceptor(t, q, nil)
		s := submit(t, pieces{in, 5})
		s.AddFrom, s.CompleteHeader = true, "relay.example.org"
		_, err := a.Submit(t.Context(), s)
		check(t, err)
		got := q.Messages()[0].Content
		for _, field := range []string{"Received", "Date", "Message-ID"} {
			got = regexp.MustCompile(`(?m)^`+field+`:.*\r\n(\t.*\r\n)*`).ReplaceAllString(got, "")
		}
		if got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
	}
}
