package submission_test

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/submission"
)

// device is a listener for devices that trusts loopback.
func device() submission.Listener {
	l := trusted()
	l.Profile = "device"
	return l
}

// What a client hears that is known by its address, and what a device hears
// that is known by nothing but the listener it came to.
func TestUntidyCommands(t *testing.T) {
	strange := device()
	strange.Auth, strange.AuthWithoutTLS, strange.TrustedNetworks = "optional", true, nil
	for name, l := range map[string]submission.Listener{"trusted": trusted(), "device": device(), "a device with a login": strange} {
		login := ""
		if l.TrustedNetworks == nil {
			login = "-> HELO\n<- 250\n-> AUTH\tPLAIN  AGJvYgBzZWNyZXQ=\n<- 235\n-> RSET\n<- 250\n"
		}
		t.Run(name, func(t *testing.T) {
			f := start(t, options{listener: l})
			for _, talk := range []string{
				"-> EHLO\n<- 250\n-> HELO\n<- 250\n-> EHLO two words\n<- 250\n=> \"EHLO dr\\xfccker\\r\\n\"\n<- 250\n",
				"-> MAIL FROM:<root>\n<- 250 2.1.0\n-> RCPT TO: admin\n<- 250 2.1.5\n=> \"DATA\\t\\r\\n\"\n<- 354\n-> .\n<- 250 2.0.0\n",
				"=> \" MAIL\\t FROM : a.@example.org SIZE=9\\t\\r\\n\"\n<- 250\n-> RCPT TO:try..this..0511@example.com NOTIFY=NEVER\n<- 250\n-> RSET\n<- 250\n",
				"-> MAIL FROM:<Scan <a@example.org>> AUTH=<>\n<- 250\n-> RCPT TO:<b@example.com\n<- 250\n-> RCPT TO:<\"\"@example.com>\n<- 250\n-> RSET\n<- 250\n",
				"-> MAIL FROM:a b@example.org\n<- 501\n-> MAIL FROM:\n<- 501\n-> MAIL FROM:<a@b@c>\n<- 501 5.1.3\n-> RCPT TO:<b@example.com>\n<- 503\n",
			} {
				f.more(f.dial(), "<- 220\n"+login+talk+"-> QUIT\n<- 221")
			}
			got := f.q.Messages()
			if len(got) != 1 || got[0].From.String() != "root@relay.example.org" || got[0].Recipients[0].Path.String() != "admin@relay.example.org" {
				t.Errorf("%+v", got)
			}
			if login == "" && !strings.HasPrefix(got[0].Content, "Received: from unknown ([127.0.0.1])") {
				t.Errorf("%.200q", got[0].Content)
			}
		})
	}
}

// MAIL without HELO is refused like another, and the session goes on.
func TestRefusedMailWithoutHelo(t *testing.T) {
	f := start(t, options{listener: trusted()})
	f.play(`
		<- 220
		-> MAIL FROM:<a@example.org> SIZE=1048577
		<- 552 5.3.4
		-> MAIL FROM:<a@example.org>
		<- 250 2.1.0
		-> RCPT TO:<b@example.com>
		<- 250 2.1.5
		-> RSET
		<- 250 2.0.0
		-> EHLO c
		<- 250 LIMITS
		-> QUIT
		<- 221 2.0.0
		<- EOF`)
	required := start(t, options{listener: submission.Listener{TLS: "off", AuthWithoutTLS: true, Profile: "device"}})
	required.play("<- 220\n-> MAIL FROM:<a@example.org>\n<- 530 5.7.0\n-> RCPT TO:<b@example.com>\n<- 503 5.5.1\n-> QUIT\n<- 221")
}

// The address that a user's mail leaves with stands before any complaint about
// the one that the device wrote; without it the complaint is made.
func TestUnreadableSenderOfALogin(t *testing.T) {
	f := start(t, options{listener: submission.Listener{TLS: "off", AuthWithoutTLS: true}})
	const login = "<- 220\n-> EHLO c\n<- 250\n-> AUTH PLAIN "
	f.play(login + `AHNjYW5uZXIAc2VjcmV0
		<- 235
		-> MAIL FROM:<KONICA MINOLTA bizhub>
		<- 250
		-> RCPT TO:<b@example.com>
		<- 250
		-> DATA
		<- 354
		-> .
		<- 250
		-> MAIL FROM:<root>
		<- 250
		-> RCPT TO:<root>
		<- 501 5.1.3
		-> QUIT
		<- 221`)
	if m := f.q.Messages(); len(m) != 1 || m[0].From.String() != "scanner@example.org" {
		t.Errorf("%+v", m)
	}
	f.play(login + "AGJvYgBzZWNyZXQ=\n<- 235\n-> MAIL FROM:<root>\n<- 501 5.1.3\n-> MAIL FROM:<a b@example.org>\n<- 501 5.1.3\n-> QUIT\n<- 221")
	// A short name is completed before senders is asked.
	l := trusted()
	l.Auth, l.AuthWithoutTLS = "optional", true
	g := start(t, options{listener: l})
	g.play(login + "AGFsaWNlAHNlY3JldA==\n<- 235\n-> MAIL FROM:<root>\n<- 550 5.7.1\n-> MAIL FROM:<\"a..b\"@example.net>\n<- 550 5.7.1\n" +
		"-> MAIL FROM:a..b@example.org\n<- 250\n-> QUIT\n<- 221")
}

// A listener for devices takes LF as line end in the clear, from the first
// command on.
func TestLFOnly(t *testing.T) {
	const talk = "HELO upscard\nMAIL FROM:<ups@example.org>\nRCPT TO:<b@example.com>\nDATA\n"
	const text = "Subject: On battery\n\n..UPS\non battery\n.\n"
	f := start(t, options{listener: device()})
	c := f.dial()
	c.send(talk + text + "QUIT\n") // in one piece
	f.more(c, "<- 220\n<- 250\n<- 250\n<- 250\n<- 354\n<- 250 2.0.0 queued\n<- 221\n<- EOF")
	c = f.play("<- 220\n")
	for line := range strings.SplitSeq(strings.TrimSuffix(talk, "\n"), "\n") {
		c.send(line + "\n")
		c.reply()
	}
	c.send(text)
	f.more(c, "<- 250 2.0.0 queued\n=> \"QUIT\\n\"\n<- 221")
	for _, m := range f.q.Messages() {
		if m.Body() != ".UPS\r\non battery\r\n" || !strings.Contains(m.Header(), "\r\nSubject: On battery") {
			t.Errorf("%q", m.Content)
		}
	}
	if n := len(f.q.Messages()); n != 2 {
		t.Errorf("%d messages", n)
	}
	// Elsewhere the first line is refused at once, with a reply.
	normalize := trusted()
	normalize.BareNewline = "normalize"
	for _, l := range []submission.Listener{trusted(), normalize, {TLS: "off", AuthWithoutTLS: true}} {
		f := start(t, options{listener: l})
		c := f.play("<- 220\n")
		c.send(talk + text)
		f.more(c, "<- 500 5.5.2 a line must end in CRLF\n<- EOF")
		if e := f.seen.Wait(relay.EventRefused, 1); e[0].Reason != "line_end" {
			t.Errorf("%+v", e[0])
		}
	}
	// So it is inside TLS.
	l := device()
	l.TLS = "implicit"
	g := start(t, options{listener: l})
	c = g.dial()
	c.startTLS(g)
	g.more(c, "<- 220\n=> \"HELO c\\n\"\n<- 500 5.5.2\n<- EOF")
	l.TLS = "starttls"
	h := start(t, options{listener: l})
	c = h.play("<- 220\n=> \"EHLO c\\n\"\n<- 250\n=> \"STARTTLS\\n\"\n<- 220\nTLS\n=> \"EHLO c\\n\"\n<- 500 5.5.2\n<- EOF")
}

// One line end for all of a dialogue: what a client hides behind the other one
// is never a command, and never a message of its own.
func TestSmugglingByLineEnds(t *testing.T) {
	hide := func(eol string) string {
		return strings.Join([]string{"MAIL FROM:<evil@example.org>", "RCPT TO:<v@example.com>", "DATA", "evil", ".", ""}, eol)
	}
	talk := []string{"EHLO c", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA"}
	ends := []string{"\n.\n", "\n.\r\n", "\r\n.\n", "\r.\r", "\r.\r\n", "\r\n.\r", "\r\n.\r\n", "\n.\r", "\r.\n", "\r\r\n.\r\r\n", "\n\x00.\n"}
	f := start(t, options{listener: device()})
	for _, eol := range []string{"\r\n", "\n"} {
		for _, end := range ends {
			for _, inside := range []string{"\r\n", "\n"} {
				for _, pipelined := range []bool{true, false} {
					f.forget()
					c := f.dial()
					input := "Subject: x" + eol + eol + "body" + end + hide(inside)
					name := fmt.Sprintf("lines end in %q, %q before lines in %q, pipelined: %v", eol, end, inside, pipelined)
					if pipelined {
						c.send(strings.Join(talk, eol) + eol + input + eol + "." + eol)
					} else {
						c.reply()
						for _, line := range talk {
							c.send(line + eol)
							c.reply()
						}
						c.send(input + eol + "." + eol)
					}
					c.halfClose()
					_, _ = io.ReadAll(c.br)
					// The end of this mode is a true one, and the commands behind it
					// are commands if they are of this mode.
					most := 1
					if strings.Contains("body"+end, eol+"."+eol) && (eol == "\r\n" || !strings.Contains(end, "\r")) && inside == eol {
						most = 2
					}
					got := f.q.Messages()
					if len(got) > most {
						t.Errorf("%s: %d messages", name, len(got))
					}
					for _, m := range got {
						if m.From.String() == "evil@example.org" && most == 1 {
							t.Errorf("%s: a hidden message was taken", name)
						}
					}
					// A CR ends a dialogue in LF, and with it the message.
					if eol == "\n" && strings.Contains(end, "\r") && len(got) > 0 {
						t.Errorf("%s: a message with CR was taken", name)
					}
				}
			}
		}
	}
	// A dialogue does not change its mode.
	f.more(f.play("<- 220\n=> \"EHLO c\\r\\n\"\n<- 250\n=> \"NOOP\\n\"\n<- 500 5.5.2\n<- EOF"), "")
	f.more(f.play("<- 220\n=> \"EHLO c\\n\"\n<- 250\n=> \"NOOP\\r\\n\"\n<- 500 5.5.2\n<- EOF"), "")
	f.more(f.play("<- 220\n=> \"EHLO c\\n\"\n<- 250\n=> \"NO\\rOP\\n\"\n<- 500 5.5.2\n<- EOF"), "")
	f.more(f.play("<- 220\n=> \""+strings.Repeat("x", 20000)+"\\r\\n\"\n<- 500 5.5.2\n<- EOF"), "")
}

// A client that speaks CRLF and ends its message by LF.LF hears so, long before
// the timeout of a message; what only looks like it is content.
func TestLFDotIsToldSoon(t *testing.T) {
	for _, normalize := range []string{"reject", "normalize"} {
		l := trusted()
		l.BareNewline = normalize
		bubble(t, options{listener: l}, func(t *testing.T, f *fixture) {
			c := f.play(hello + envel + data)
			c.send("Subject: x\n\nbody\n.\n")
			f.more(c, "<- 554 5.6.11 the end of the message\n<- EOF")
			c = f.play(hello + envel + data)
			c.send("Subject: x\n\nbody\n.\nQUIT\n")
			f.more(c, "<- 554 5.6.11 the end of the message\n<- EOF")
			if len(f.q.Messages()) != 0 {
				t.Errorf("%d messages", len(f.q.Messages()))
			}
			if e := f.seen.Wait(relay.EventRefused, 1); e[0].Reason != "line_end" { // bare_newline would not help
				t.Errorf("%+v", e[0])
			}
			c = f.play(hello + envel + data)
			c.send("Subject: x\n\nbody\n.\nand much more text\n")
			c.send("\r\n.\r\n")
			if want := map[string]string{"reject": "554 5.6.11", "normalize": "250"}[normalize]; !strings.HasPrefix(c.reply(), want) {
				t.Errorf("%s\n%s", normalize, &c.log)
			}
		})
	}
}

// Long lines are folded for clients that are known, where a reader may see it;
// a signed message is refused instead.
func TestLongLinesOfKnownClients(t *testing.T) {
	login := "<- 220\n-> EHLO c\n<- 250\n-> AUTH PLAIN AGJvYgBzZWNyZXQ=\n<- 235\n"
	plain := submission.Listener{TLS: "off", AuthWithoutTLS: true}
	strict := plain
	strict.LongLines = "reject"
	long := "<p>" + strings.Repeat("word ", 300) + strings.Repeat("x", 3000) + "</p>"
	for _, c := range []struct {
		name, hello, text, reply string
		l                        submission.Listener
	}{
		{"a trusted network", hello, "Subject: x\r\n\r\n" + long, "250", trusted()},
		{"a login", login, "Subject: x\r\n\r\n" + long, "250", plain},
		{"a login where it is refused", login, "Subject: x\r\n\r\n" + long, "554 5.6.0", strict},
		{"S/MIME", login, "Content-Type:\r\n multipart/Signed; protocol=x\r\n\r\n" + long, "554 5.6.0 the message is signed", plain},
		{"a long field that is signed", login, "DKIM-Signature: v=1\r\nSubject: " + long + "\r\n\r\nx", "554 5.6.0 the message is signed", plain},
		{"DKIM", login, "DKIM-Signature: v=1\r\nSubject: x\r\n\r\n" + long, "554 5.6.0 the message is signed", plain},
		{"S/MIME in a mailing list's message", login, "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/plain\r\n\r\nhi\r\n--a\r\nX: y\r\ncontent-type :\r\n\tMultipart/SIGNED; boundary=b\r\n\r\n--b\r\n\r\n" + long + "\r\n--b--\r\n--a--", "554 5.6.0 the message is signed", plain},
		{"S/MIME in a message that is forwarded", login, "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + long, "554 5.6.0 the message is signed", plain},
		{"a forwarded message as the whole", login, "Content-Type: message/rfc822\r\n\r\nSubject: x\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n" + long, "554 5.6.0 the message is signed", plain},
		{"a part that is not signed", login, "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: text/html\r\n\r\nContent-Type: multipart/signed\r\n" + long, "250", plain},
		{"a text about signatures", login, "Subject: x\r\n\r\n--a\r\nContent-Type: multipart/signed\r\n\r\n" + long, "250", plain},
		{"PGP in the text", login, "Subject: x\r\n\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\nHash: SHA512\r\n\r\n" + long, "554 5.6.0 the message is signed", plain},
		{"signed, with short lines", login, "DKIM-Signature: v=1\r\nSubject: x\r\n\r\nx", "250", plain},
		{"addresses", login, "To: " + strings.Repeat("a@example.com,", 200) + "b@example.com\r\n\r\nx", "250", plain},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, options{listener: c.l})
			talk := f.play(c.hello + envel + data)
			talk.send(c.text + "\r\n.\r\n")
			f.more(talk, "<- "+c.reply+"\n-> NOOP\n<- 250")
			for _, m := range f.q.Messages() {
				strict998(t, m.Content)
				if !strings.Contains(strings.NewReplacer("\r\n", "", " ", "").Replace(m.Content), strings.NewReplacer("\r\n", "", " ", "").Replace(c.text)) {
					t.Errorf("more than blanks and line ends was changed: %.300q", m.Content)
				}
				if strings.Contains(m.Content, "example\r\n") {
					t.Errorf("an address was broken: %q", m.Content)
				}
			}
		})
	}
}

func strict998(t *testing.T, content string) {
	t.Helper()
	for line := range strings.SplitSeq(content, "\r\n") {
		if len(line) > 998 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
}

// The separator line of a mailbox file stays out of the header; a text that
// begins like one stays whole.
func TestMailboxLine(t *testing.T) {
	f := start(t, options{listener: trusted()})
	for _, c := range []struct{ text, header, body string }{
		{"From 0a0ae3e Mon Sep 17 00:00:00 2001\r\nSubject: x\r\nFrom: a@example.org\r\n\r\nb\r\n", "Subject: x\r\nFrom: a@example.org", "b\r\n"},
		{">From a@example.org Mon\r\nSubject: x\r\n\r\nb\r\n", "Subject: x", "b\r\n"},
		{"From : a@example.org\r\n\r\nb\r\n", "From : a@example.org", "b\r\n"},
		{"From here we go:\r\non and on\r\n", "", "From here we go:\r\non and on\r\n"},
		{"From here\r\n\r\non\r\n", "", "From here\r\n\r\non\r\n"},
		{"From here\r\n", "", "From here\r\n"},
		{"Subject: x\r\nFrom here\r\n", "Subject: x", "From here\r\n"},
	} {
		f.forget()
		talk := f.play(hello + envel + data)
		talk.send(c.text + ".\r\n")
		f.more(talk, "<- 250 2.0.0\n-> QUIT\n<- 221")
		m := f.q.Messages()[0]
		if m.Body() != c.body || !strings.Contains(m.Header()+"\r\n", "\r\n"+c.header+"\r\n") && c.header != "" || strings.Contains(m.Header(), "\r\nFrom 0a0") {
			t.Errorf("%q:\n%q", c.text, m.Content)
		}
	}
}

// A PROXY header may come in any number of pieces.
func TestProxyHeaderInPieces(t *testing.T) {
	l := trusted()
	l.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	l.Proxies = trustLoopback
	f := start(t, options{listener: l})
	v2 := "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x07\xc0\x00\x02\x01\x04\x00\x00\x19"
	for _, header := range []string{"PROXY TCP4 192.0.2.7 192.0.2.1 1024 25\r\n", v2} {
		for cut := 1; cut < len(header); cut++ {
			c := f.dial()
			check(t, c.c.(*net.TCPConn).SetNoDelay(true))
			c.send(header[:cut])
			other := f.dial() // a step in time: the header of this one comes whole
			other.send(header)
			f.more(other, "<- 220\n-> QUIT\n<- 221")
			c.send(header[cut:] + "EHLO c\r\n")
			f.more(c, "<- 220\n<- 250\n-> MAIL FROM:<a@example.org>\n<- 250\n-> QUIT\n<- 221")
		}
	}
	for _, e := range f.seen.Of(relay.EventConnected) {
		if e.Client != "192.0.2.7" {
			t.Errorf("%+v", e)
		}
	}
	f.play("=> \"PROXY TCP4 192.0.2.7 192.0.2.1 1024 " + strings.Repeat("2", 200) + "\"\n<- EOF")
}

// A device that breaks the connection before its message was taken is told
// apart from one that goes away silently.
func TestReset(t *testing.T) {
	f := start(t, options{listener: device()})
	for _, talk := range []string{"<- 220\n-> EHLO c\n<- 250\n", hello + envel, hello + envel + data + "-> Subject: x\n"} {
		f.forget()
		c := f.play(talk)
		check(t, c.c.(*net.TCPConn).SetLinger(0))
		check(t, c.c.Close())
		if e := f.seen.Wait(relay.EventRefused, 1); e[0].Reason != "reset" {
			t.Errorf("%q: %+v", talk, e[0])
		}
	}
	for _, talk := range []string{"<- 220\n", hello + envel + data + "-> .\n<- 250\n"} {
		f.forget()
		c := f.play(talk)
		check(t, c.c.(*net.TCPConn).SetLinger(0))
		check(t, c.c.Close())
		f.seen.Wait(relay.EventGone, 1)
		if e := f.seen.Of(relay.EventRefused); len(e) > 0 {
			t.Errorf("%q: %+v", talk, e)
		}
	}
}

// The longest path passes, and no line that we write grows too long by it.
func TestLongestPath(t *testing.T) {
	f := start(t, options{listener: device()})
	long := strings.Repeat("x", 986) + "@example.com"
	c := f.play(hello + "-> MAIL FROM:<" + long + ">\n<- 250\n-> RCPT TO:<" + long + ">\n<- 250\n" + data + "-> Subject: x\n->\n-> .\n<- 250\n")
	f.more(c, "-> QUIT\n<- 221")
	m := f.q.Messages()[0]
	if m.From.String() != long || m.Recipients[0].Path.String() != long || strings.Contains(m.Content, "xxx") {
		t.Errorf("%.300q", m.Content)
	}
	strict998(t, m.Content)
	g := start(t, options{listener: submission.Listener{TLS: "off", AuthWithoutTLS: true}})
	c = g.play("<- 220\n-> EHLO c\n<- 250\n-> AUTH PLAIN AGFsaWNlAHNlY3JldA==\n<- 235\n")
	c.send("MAIL FROM:<" + long + ">\r\n")
	if said := c.reply(); !strings.HasPrefix(said, "550 5.7.1") || len(said) > 510 {
		t.Errorf("%d octets: %s", len(said), said)
	}
}

// Addresses of the header get our domain where those of the envelope do, unless
// the listener says otherwise.
func TestCompleteHeaderOverSMTP(t *testing.T) {
	yes, no := true, false
	login := "<- 220\n-> EHLO c\n<- 250\n-> AUTH PLAIN AGJvYgBzZWNyZXQ=\n<- 235\n"
	plain := submission.Listener{TLS: "off", AuthWithoutTLS: true}
	for _, c := range []struct {
		name, hello string
		l           submission.Listener
		key         *bool
		want        string
	}{
		{"a trusted network", hello, trusted(), nil, "From: root@relay.example.org (Cron Daemon)"},
		{"a device", hello, device(), nil, "From: root@relay.example.org (Cron Daemon)"},
		{"a trusted network, not", hello, trusted(), &no, "From: root (Cron Daemon)"},
		{"a login", login, plain, nil, "From: root (Cron Daemon)"},
		{"a login too", login, plain, &yes, "From: root@relay.example.org (Cron Daemon)"},
	} {
		c.l.CompleteHeader = c.key
		f := start(t, options{listener: c.l})
		f.more(f.play(c.hello+envel+data), "-> From: root (Cron Daemon)\n->\n-> .\n<- 250\n-> QUIT\n<- 221")
		if m := f.q.Messages()[0]; !strings.Contains(m.Header(), "\r\n"+c.want) {
			t.Errorf("%s: %q", c.name, m.Header())
		}
	}
}
