package notice

import (
	"fmt"
	"strings"
	"testing"
)

// Notices in the forms of common programs, in words of our own.
func TestRead(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"free form, quoted reply": {"From: Mail Delivery System <Mailer-Daemon@mx.test>\nSubject: Mail delivery failed: returning message to sender\n\nA message could not be delivered to:\n\n  gone@b.test\n    SMTP error from remote mail server after RCPT TO:<gone@b.test>:\n    host mx.b.test [192.0.2.1]: 550 5.1.1 User unknown\n\n------ This is a copy of the message, including all the headers. ------\n\nTo: other@b.test\n", "failed gone@b.test bad_address"},
		"free form, in brackets":  {"From: MAILER-DAEMON@mx.test\nSubject: failure notice\n\nHi. This is the program at mx.test. It gave up.\n\n<full@b.test>:\n192.0.2.1 failed after I sent the message.\nRemote host said: 552 5.2.2 mailbox is full\n\n--- Below this line is a copy of the message.\n\nReturn-Path: <x@y.test>\n", "failed full@b.test mailbox_full"},
		"named in the header":     {"From: <>\nX-Failed-Recipients: gone@b.test\nSubject: Undeliverable\n\nNo such user here.\n", "failed gone@b.test bad_address"},
		"delay in words":          {"From: MAILER-DAEMON@mx.test\nSubject: Warning: could not send message for past 4 hours\n\nTo slow@b.test. It will be retried for 5 days.\n", "delayed"},
		"HTML alone":              {"From: postmaster@mx.test\nSubject: Undeliverable: hello\nContent-Type: text/html\n\n<html><head><style>p{}</style></head><body><p>Your message to <b>gone@b.test</b><br>could not be delivered: 550 5.1.1 no such user</p></body></html>\n", "failed gone@b.test bad_address"},
		"base64":                  {"From: postmaster@mx.test\nSubject: Undeliverable\nContent-Transfer-Encoding: base64\n\nPGdvbmVAYi50ZXN0PjogNTUwIDUuMS4xIG5vIHN1Y2ggdXNlcgo=\n", "failed gone@b.test bad_address"},
		"international":           {"Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/global-delivery-status\n\nReporting-MTA: dns; mx.test\n\nFinal-Recipient: utf-8; jos\u00e9@b.test\nAction: failed\nStatus: 5.2.2\n\n--x--\n", "failed jos\u00e9@b.test mailbox_full"},
		"no action":               {"Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; <gone@b.test>\nStatus: 5.1.1\n--x--\n", "failed gone@b.test bad_address"},
		"one of two":              {"Content-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; fine@b.test\nAction: delivered\nStatus: 2.0.0\n\nFinal-Recipient: rfc822; gone@b.test\nAction: failed\nStatus: 5.1.1\n--x--\n", "failed gone@b.test bad_address"},
		"header without parts":    {"From: MAILER-DAEMON@mx.test\nSubject: Undelivered Mail\n\nThis is a MIME-encapsulated message.\n\n--b17/mx.test\nContent-Type: text/plain\n\nIt came back.\n--b17/mx.test\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; gone@b.test\nAction: failed\nStatus: 5.1.1\n--b17/mx.test--\n", "failed gone@b.test bad_address"},
		"parts without header":    {"From: MAILER-DAEMON@mx.test\nSubject: Returned mail\nContent-Type: multipart/report; boundary=gone\n\nIt came back.\n\nReporting-MTA: dns; mx.test\n\nFinal-Recipient: rfc822; gone@b.test\nAction: failed\nStatus: 5.1.1\n", "failed gone@b.test bad_address"},
		"parts of what returned":  {"From: MAILER-DAEMON@mx.test\nSubject: failure\n\n<gone@b.test>: no such user\n\nHere is a copy of your mail:\n\nTo: x@y.test\nContent-Type: multipart/mixed; boundary=abcdefg\n\n--abcdefg\nContent-Type: text/plain\n\n<x@y.test>: mailbox is full\n", "failed gone@b.test bad_address"},
		"transcript":              {"From: MDaemon@mx.test\nSubject: Permanent Delivery Failure\n\n> full@b.test\n\n250-8BITMIME\nRCPT To:<full@b.test>\n552 Message for <full@b.test> would exceed mailbox quota\n", "failed full@b.test mailbox_full"},
		"transcript of Sendmail":  {"From: MAILER-DAEMON@mx.test\nSubject: Returned mail\n\n   ----- Transcript of session follows -----\n554 <gone@b.test>... 550 Host unknown\n550 <else@c.test>... User unknown\n", "failed gone@b.test bad_domain"},
		"copy after dashes":       {"From: MAILER-DAEMON@mx.test\nSubject: Delivery Status Notification (Failure)\n\nto the following recipient failed: far@b.test\n\nThe recipient server did not accept our requests to connect.\n\n----- Original message -----\n\nDKIM-Signature: v=1\n", "failed far@b.test connection"},
		"to oneself":              {"From: MAILER-DAEMON@mx.test\nTo: me@b.test\nSubject: failure notice\n\n<me@b.test>:\n552 disk quota exceeded\n", "failed me@b.test mailbox_full"},
		"reason before address":   {"From: postmaster@mx.test\nSubject: Undeliverable Mail\n\nUser mailbox exceeds allowed size: full@b.test\n\nOriginal message follows.\n", "failed full@b.test mailbox_full"},
		"older complaint":         {"From: staff@provider.test\nSubject: complaint about message from 192.0.2.1\nContent-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: message/rfc822\n\nTo: a@b.test\n\nhi\n--x--\n", "complained"},
		"absence":                 {"From: a@b.test\nSubject: Automatic reply: hello\n\nI am away.\n", "automatic"},
		"absence that mentions":   {"From: a@b.test\nSubject: Re: failed order\nAuto-Submitted: auto-replied\nX-Autoreply: yes\n\nAway.\n", "automatic"},
		"person":                  {"From: a@b.test\nSubject: Re: hello\n\nthanks\n", "unknown"},
	} {
		n := Read([]byte(strings.ReplaceAll(c.text, "\n", "\r\n")))
		got := n.Kind.String()
		if n.Kind == Failed {
			r := n.About("")
			got += " " + r.Address + " " + string(r.Category)
		}
		if got != c.want {
			t.Errorf("%s: %q, not %q", name, got, c.want)
		}
	}
}

// Whatever is nested, long or oddly coded is read within bounds.
func TestHostile(t *testing.T) {
	status := "Final-Recipient: rfc822; gone@b.test\r\nAction: failed\r\nStatus: 5.1.1\r\n"
	deep := ""
	for i := range 500 {
		deep += fmt.Sprintf("Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
	}
	for name, text := range map[string]string{
		"deep":             deep + status,
		"messages in each": strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 1000),
		"many parts":       "Content-Type: multipart/report; boundary=x\r\n\r\n" + strings.Repeat("--x\r\nContent-Type: message/delivery-status\r\n\r\n\r\n", 5_000),
		"many recipients":  "Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n" + strings.Repeat(status+"\r\n", 2_000),
		"many addresses":   "From: MAILER-DAEMON@b.test\r\nSubject: failure\r\n\r\n" + strings.Repeat("<a@b.test>: no such user\r\n", 5_000),
		"one line":         "From: MAILER-DAEMON@b.test\r\nSubject: failure\r\n\r\n" + strings.Repeat("a@b.test no such user ", 10_000),
		"folded":           "From: MAILER-DAEMON@b.test\r\nSubject: failure" + strings.Repeat("\r\n a@b.test", 20_000) + "\r\n\r\n",
		"UTF-16":           "From: MAILER-DAEMON@b.test\r\nSubject: failure\r\nContent-Type: text/plain; charset=utf-16\r\n\r\n" + strings.Join(strings.Split("<gone@b.test>: no such user", ""), "\x00"),
		"unknown charset":  "From: MAILER-DAEMON@b.test\r\nSubject: =?x-none?Q?failure?=\r\nContent-Type: text/plain; charset=\"x-none\r\n\r\n\x80\xff<gone@b.test>: no such user\r\n",
	} {
		n := Read([]byte(text))
		total := 0
		for i := range n.Recipients {
			total += len(n.Recipients[i].Reply.Text)
		}
		if len(n.Recipients) > maxRecipients || total > maxRecipients*8<<10 {
			t.Errorf("%s: %d recipients with %d octets", name, len(n.Recipients), total)
		}
		if r := n.About(""); (name == "UTF-16" || name == "many recipients") && r.Address != "gone@b.test" {
			t.Errorf("%s: %+v", name, n)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add([]byte("From: MAILER-DAEMON\nContent-Type: multipart/report; boundary=x\n\n--x\nContent-Type: message/delivery-status\n\nFinal-Recipient: rfc822; a@b\nAction: failed\n--x--\n"))
	f.Add([]byte("Subject: failure\nContent-Type: text/html\n\n<style><p>550 5.1.1 <a@b.test>"))
	f.Add([]byte("Content-Type: message/rfc822\n\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\n"))
	f.Add([]byte("Content-Transfer-Encoding: base64\nX-Failed-Recipients: a@b.test\n\n####"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := Read(b)
		if len(n.Recipients) > maxRecipients {
			t.Errorf("%d recipients", len(n.Recipients))
		}
		for _, r := range n.Recipients {
			if len(r.Address) > 1000 || strings.ContainsAny(r.Reply.Text, "\r\n") {
				t.Errorf("%+v", r)
			}
		}
		n.About("a@b.test")
	})
}
