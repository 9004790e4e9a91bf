package smtpclient

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"dawk/relay"
)

func read(s string) (WireReply, error) {
	return readReply(bufio.NewReaderSize(strings.NewReader(s), 2*maxReplyLine))
}

func TestReadReply(t *testing.T) {
	for _, c := range []struct {
		in     string
		code   int
		status string
		text   string
	}{
		{"250 2.1.0 ok\r\n", 250, "2.1.0", "ok"},
		{"250 ok\r\n", 250, "", "ok"},
		{"550\r\n", 550, "", ""},
		{"550 \r\n", 550, "", ""},
		{"550-5.1.1 no\r\n550 5.1.1 such user\r\n", 550, "5.1.1", "no such user"},
		{"550-no\r\n550-\r\n550 5.1.1 such user\r\n", 550, "5.1.1", "no such user"},
		{"550-5.1.1 two\r\n550 5.1.2 statuses\r\n", 550, "5.1.1", "two 5.1.2 statuses"},
		{"450 5.1.1 the class disagrees\r\n", 450, "", "5.1.1 the class disagrees"},
		{"451-4.3.0 x\r\n450 4.3.0 codes of one class\r\n", 450, "4.3.0", "x codes of one class"},
		{"\r\n250-empty lines\r\n \r\n250 between\r\n", 250, "", "empty lines between"},
		{"550-blocked\r\nsee our page\r\n550 end\r\n", 550, "", "blocked see our page end"},
		{"550-5.7.1 blocked\r\n554 5.7.1 for ever\r\n", 554, "5.7.1", "blocked for ever"},
		{"250 bare LF\n", 250, "", "bare LF"},
		{"250 a\rb\x00c\x1b[31m\r\n", 250, "", "a b c [31m"},
		{"250 caf\xe9\r\n", 250, "", "caf\uFFFD"},
		{"421 4.7.0\r\n", 421, "4.7.0", ""},
		{"250 2.1000.0 not a status\r\n", 250, "", "2.1000.0 not a status"},
	} {
		r, err := read(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		got := r.Reply(relay.StageRcpt)
		if got.Code != c.code || got.Status.String() != c.status || got.Text != c.text {
			t.Errorf("%q: %d %q %q", c.in, got.Code, got.Status, got.Text)
		}
	}
}

func TestReadReplyRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"no code":          "hello\r\n",
		"short":            "25\r\n",
		"only empty lines": strings.Repeat("\r\n", maxBlankLines+1),
		"four digits":      "2500 ok\r\n",
		"low code":         "099 ok\r\n",
		"not ASCII digits": "２５０ ok\r\n",
		"two opinions":     "250-yes\r\n550 no\r\n",
		"long line":        "250 " + strings.Repeat("x", maxReplyLine) + "\r\n",
		"endless line":     "250 " + strings.Repeat("x", 1<<20),
		"endless lines":    strings.Repeat("250-x\r\n", 1<<16),
		"101 lines":        strings.Repeat("250-x\r\n", 100) + "250 x\r\n",
		"big":              strings.Repeat("250-"+strings.Repeat("x", 1900)+"\r\n", 50) + "250 ok\r\n",
	} {
		if _, err := read(in); !errors.Is(err, errGarbled) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := read("250-fine\r\n550 but your address is listed\r\n"); err == nil || !strings.Contains(err.Error(), "fine but your address is listed") {
		t.Errorf("two opinions, without their words: %v", err)
	}
	if r, err := read(strings.Repeat("250-x\r\n", 99) + "250 x\r\n"); err != nil || len(r.Lines) != 100 {
		t.Errorf("100 lines: %v", err)
	}
	if _, err := read("250-half\r\n"); !errors.Is(err, io.EOF) {
		t.Errorf("a reply cut short: %v", err)
	}
}

// FuzzReadReply: whatever comes, the reader stays within its bounds and what
// it makes of it fits on one line of a log.
func FuzzReadReply(f *testing.F) {
	for _, s := range []string{"250 ok\r\n", "550-5.1.1 a\r\n550 5.1.1 b\r\n", "250-\r\n250 \r\n", "421\r\n", "2\r\n", "250-a\r\n", "250 \x00\xff\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := readReply(bufio.NewReaderSize(bytes.NewReader(in), 2*maxReplyLine))
		slow, serr := readReply(bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(in)), 2*maxReplyLine))
		if (err == nil) != (serr == nil) || r.Code != slow.Code || !slices.Equal(r.Lines, slow.Lines) {
			t.Fatalf("an octet at a time it reads otherwise: %v %v, %v %v", r, err, slow, serr)
		}
		if err != nil {
			return
		}
		if len(r.Lines) == 0 || len(r.Lines) > maxReplyLines || r.Code < 100 || r.Code > 999 {
			t.Fatalf("out of bounds: %d lines, code %d", len(r.Lines), r.Code)
		}
		got := r.Reply(relay.StageMail)
		if strings.ContainsAny(got.Text, "\r\n\x00\x1b") || len(got.Text) > relay.MaxReplyText {
			t.Fatalf("text not made harmless: %q", got.Text)
		}
		if !got.Status.IsZero() && got.Status.Class != got.Code/100 {
			t.Fatalf("status %v with code %d", got.Status, got.Code)
		}
	})
}

func TestParseEHLO(t *testing.T) {
	e := parseEHLO([]string{"MX.Example.Test. hello", "pipelining", "Size 1000", "8bitmime", "SmtpUtf8", "dsn", "starttls",
		"REQUIRETLS", "AUTH PLAIN login", "auth=CRAM-MD5", "LIMITS RCPTMAX=50 mailmax=5 OTHER=x", "", "XUNKNOWN", "OK"})
	if e.Name != "mx.example.test" || !e.pipelining || !e.EightBitMIME || !e.SMTPUTF8 || !e.DSN || !e.OffersTLS || !e.RequireTLS {
		t.Errorf("keywords: %+v", e)
	}
	if !e.hasSize || e.Size != 1000 || e.RcptMax != 50 || e.MailMax != 5 || !slices.Equal(e.auth, []string{"PLAIN", "LOGIN", "CRAM-MD5"}) {
		t.Errorf("parameters: %+v", e)
	}
	e = parseEHLO([]string{"x", "SIZE -5", "LIMITS RCPTMAX=0 MAILMAX=99999999999999999999", "PIPELININGX", "X-STARTTLS"})
	if e.Size != 0 || !e.hasSize || e.RcptMax != 0 || e.MailMax != 0 || e.pipelining || e.OffersTLS {
		t.Errorf("nonsense was believed: %+v", e)
	}
}

func FuzzParseEHLO(f *testing.F) {
	f.Add("mx.test\nPIPELINING\nSIZE 10\nLIMITS RCPTMAX=1\nAUTH=PLAIN")
	f.Fuzz(func(t *testing.T, in string) {
		e := parseEHLO(strings.Split(in, "\n"))
		if e.Size < 0 || e.RcptMax < 0 || e.MailMax < 0 {
			t.Fatalf("negative limits: %+v", e)
		}
	})
}

// text is a Content in memory.
type text struct{ *strings.Reader }

func (text) Close() error { return nil }

func content(s string) text { return text{strings.NewReader(s)} }

// wire is what leaves of c, sent in blocks of so many octets, two at least.
func wire(c relay.Content, block int) (string, error) {
	var b bytes.Buffer
	bufs := blocks{size: block}
	err := bufs.write(c, block, func(p []byte) error { b.Write(p); return nil }, func() error { return nil })
	return b.String(), err
}

// memory is a text that is handed over as it is, with more behind it.
type memory struct {
	text
	octets []byte
}

func (m memory) Memory() []byte { return m.octets }

func TestWriteBody(t *testing.T) {
	for in, want := range map[string]string{
		"":                       ".\r\n",
		"\r\n":                   "\r\n.\r\n",
		".\r\n":                  "..\r\n.\r\n",
		"..a\r\n.b\r\n\r\n.\r\n": "...a\r\n..b\r\n\r\n..\r\n.\r\n",
		"a.\r\nb\r\n":            "a.\r\nb\r\n.\r\n",
	} {
		for piece := 2; piece < 7; piece++ {
			behind := []byte(in + "others")
			for _, c := range []relay.Content{content(in), memory{content(in), behind[:len(in)]}} {
				if got, err := wire(c, piece); got != want || err != nil {
					t.Errorf("%q in pieces of %d: %q, %v", in, piece, got, err)
				}
			}
			if string(behind) != in+"others" {
				t.Errorf("%q: what stood in memory was changed to %q", in, behind)
			}
		}
	}
	big := strings.Repeat(strings.Repeat("x", 997)+"\r\n."+strings.Repeat("y", 70)+"\r\n", 100)
	if got, err := wire(content(big), 1<<14); err != nil || got != strings.ReplaceAll(big, "\n.", "\n..")+".\r\n" {
		t.Errorf("a big body: %d octets, %v", len(got), err)
	}
}

// TestWriteBodyRefuses: the variants of SMTP smuggling never leave, and no
// final dot follows what was refused.
func TestWriteBodyRefuses(t *testing.T) {
	for _, in := range []string{
		"a\n", "a\r", "a", "\n.\n", "a\r\n.\nb\r\n", "a\n.\r\nb\r\n", "a\r.\r\nb\r\n", "a\r.\rb\r\n", "a\r\n.\rb\r\n",
		"a\r\r\n.\r\nb\r\n", "a\r\r\n", "\r\r\n", "a\nb\r\n", "a\rb\r\n", "\n", "\r", "a\r\n\r", "a\r\n\n",
	} {
		for piece := 2; piece < 9; piece++ {
			got, err := wire(content(in), piece)
			if !errors.Is(err, errContent) {
				t.Errorf("%q in pieces of %d: sent as %q, %v", in, piece, got, err)
			}
			if strings.HasSuffix(got, "\r\n.\r\n") {
				t.Errorf("%q in pieces of %d: ended as a message: %q", in, piece, got)
			}
		}
	}
}

// cut claims more octets than it has.
type cut struct{ text }

func (c cut) Size() int64 { return c.text.Size() + 10 }

func TestWriteBodyShort(t *testing.T) {
	if got, err := wire(cut{content("a\r\n")}, 100); !errors.Is(err, errRead) || strings.Contains(got, ".\r\n") {
		t.Errorf("%q, %v", got, err)
	}
}

// FuzzWriteBody: a strict receiver reads back exactly what was stored, or
// nothing was ended.
func FuzzWriteBody(f *testing.F) {
	f.Add("a\r\n.b\r\n", 3)
	f.Add("a\r\n.\r\nMAIL FROM:<>\r\n", 1)
	f.Add("a\n.\r\n", 2)
	f.Fuzz(func(t *testing.T, in string, piece int) {
		if piece < 2 || piece > 1<<16 {
			piece = 2
		}
		got, err := wire(content(in), piece)
		strict := in == "" || strings.HasSuffix(in, "\r\n") &&
			!strings.ContainsAny(strings.ReplaceAll(in, "\r\n", ""), "\r\n")
		if strict != (err == nil) {
			t.Fatalf("strict CRLF %v, but: %v", strict, err)
		}
		if err != nil {
			return
		}
		lines := strings.SplitAfter(got, "\r\n")
		var back strings.Builder
		for i, line := range lines {
			if line == ".\r\n" {
				if i != len(lines)-2 {
					t.Fatalf("the message ends early in %q", got)
				}
				break
			}
			back.WriteString(strings.TrimPrefix(line, "."))
		}
		if back.String() != in {
			t.Fatalf("%q came back as %q", in, back.String())
		}
	})
}

func TestParamEncoding(t *testing.T) {
	for in, want := range map[string]string{"plain": "plain", "a+b=c d": "a+2Bb+3Dc+20d", "x\r\ny": "x+0D+0Ay", "é": "+C3+A9"} {
		if got := relay.XText(in); got != want {
			t.Errorf("relay.XText(%q) = %q", in, got)
		}
	}
	for _, c := range []struct{ typ, addr, want string }{
		{"rfc822", "a+b@example.org", "rfc822;a+2Bb@example.org"},
		{"utf-8", "é=\\@example.org", `utf-8;\x{E9}\x{3D}\x{5C}@example.org`},
		{"utf-8", "x NOTIFY=NEVER", `utf-8;x\x{20}NOTIFY\x{3D}NEVER`},
	} {
		if got := orcpt(relay.ORcpt{Type: c.typ, Addr: c.addr}); got != c.want {
			t.Errorf("orcpt(%s, %q) = %q", c.typ, c.addr, got)
		}
	}
}

// FuzzCommands: whatever a client managed to get into an envelope, MAIL and
// RCPT are one line each, and no parameter appears that we did not put there.
func FuzzCommands(f *testing.F) {
	f.Add("a@example.org", "b@b.test", "env", "rfc822", "old@example.org")
	f.Add(`"b> NOTIFY=NEVER ORCPT=rfc822;q"@y.test`, `"a\"b"@b.test`, "x\r\nDATA", "utf-8", "é=\\x SIZE=1")
	f.Fuzz(func(t *testing.T, from, to, envid, typ, orig string) {
		m := &relay.Message{}
		var err error
		if m.From, err = relay.ParsePath(from); err != nil {
			return
		}
		r := &relay.Recipient{Notify: relay.NotifyNever, ORcpt: relay.ORcpt{Type: typ, Addr: orig}}
		if r.Path, err = relay.ParsePath(to); err != nil || r.Path.IsNull() {
			return
		}
		m.EnvID, m.Ret = envid, relay.RetHdrs
		o := Options{DSN: true, SMTPUTF8: true}
		for _, c := range []struct {
			line   []byte
			prefix string
			params int
		}{
			{mailCommand(nil, m, 5, Extensions{hasSize: true}, o), "MAIL FROM:" + m.From.Wire(), 3 + len(envid[:min(1, len(envid))])},
			{rcptCommand(nil, r, o), "RCPT TO:" + r.Path.Wire(), 1 + len((typ + orig)[:min(1, len(typ+orig))])},
		} {
			line, ok := strings.CutSuffix(string(c.line), "\r\n")
			if !ok || strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("more than a line: %q", c.line)
			}
			rest, ok := strings.CutPrefix(line, c.prefix)
			if !ok || len(strings.Fields(rest)) != c.params || strings.Count(rest, " ") != c.params {
				t.Fatalf("%q: parameters %q", line, rest)
			}
		}
	})
}

// TestPasswordStays: whatever the configuration let through, a password does
// not go to a host elsewhere whose certificate nobody looked at.
func TestPasswordStays(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	c := NewConn(ours, Peer{Host: "hub.test", Addr: netip.MustParseAddrPort("192.0.2.1:587")}, Timeouts{}.WithDefaults())
	defer ours.Close()
	c.Attach(&Claim{Ctx: t.Context(), End: time.Now().Add(50 * time.Millisecond)})
	c.Ext.auth = []string{"PLAIN"}
	r := c.LogIn(Login{User: "u", Password: "p"}, false)
	if r.Stage != relay.StageAuth || r.Permanent() || !strings.Contains(r.Text, "not sent") {
		t.Errorf("%+v", r)
	}
}
