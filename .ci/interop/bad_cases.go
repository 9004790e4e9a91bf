package main

import (
	"dawk/.ci/interop/lab"
	"strings"
)

// mistake is a dialogue that dawk must answer rightly, and after which nothing
// with its marker may ever arrive.
type mistake struct {
	name, listener string
	script         string
}

// inTransfer is a dialogue up to the first octet of a message with a marker,
// on the trusted listener.
const inTransfer = lab.Greeted + `
	> MAIL FROM:<alice@sender.test>
	< 250 2.1.0
	> RCPT TO:<someone@sink.test>
	< 250 2.1.5
	> DATA
	< 354
`

// after shows that the session goes on: the next message is taken.
const after = `
	> MAIL FROM:<alice@sender.test>
	< 250 2.1.0
	> RSET
	< 250 2.0.0
	> QUIT
	< 221 2.0.0
	closed`

func mistakes() []mistake {
	return []mistake{
		{"wrong password", lab.Plain, lab.Greeted + "> AUTH PLAIN " + lab.Base64Plain("wrong") + "\n< 535 5.7.8\n> QUIT\n< 221"},
		{"wrong password three times", lab.Plain, lab.Greeted + strings.Repeat("> AUTH PLAIN "+lab.Base64Plain("wrong")+"\n< 535 5.7.8\n", 2) +
			"> AUTH PLAIN " + lab.Base64Plain("wrong") + "\n< 421 4.7.0\nclosed"},
		{"unknown user", lab.Plain, lab.Greeted + "> AUTH PLAIN AG5vYm9keQBub3RoaW5nIGF0IGFsbA==\n< 535 5.7.8"},
		{"unknown mechanism", lab.Plain, lab.Greeted + "> AUTH CRAM-MD5\n< 504 5.5.4 .*PLAIN or LOGIN"},
		{"AUTH not base64", lab.Plain, lab.Greeted + "> AUTH PLAIN !!!\n< 501 5.5.2 .*base64"},
		{"AUTH given up", lab.Plain, lab.Greeted + "> AUTH LOGIN\n< 334 VXNlcm5hbWU6\n> *\n< 501 5.7.0"},
		{"AUTH before STARTTLS", lab.Starttls, lab.Greeted + "> AUTH PLAIN " + lab.Base64Plain(lab.UserPass) + "\n< 538 5.7.11 .*STARTTLS"},
		{"no login where one is required", lab.Plain, lab.Greeted + "> MAIL FROM:<alice@sender.test>\n< 530 5.7.0 .*login is required"},
		{"no login where TLS comes first", lab.Starttls, lab.Greeted + "> MAIL FROM:<alice@sender.test>\n< 530 5.7.0 .*STARTTLS"},
		{"relay denied", lab.Strict, lab.Greeted + "> MAIL FROM:<alice@sender.test>\n< 250\n> RCPT TO:<someone@sink.test>\n< 550 5.7.1 relaying denied\n> DATA\n< 50[13] 5.5.1"},
		{"AUTH where it is off", lab.Trusted, lab.Greeted + "> AUTH PLAIN " + lab.Base64Plain(lab.UserPass) + "\n< 50[23] 5.5.1"},

		{"recipient with a bad domain", lab.Trusted, lab.Greeted + "> MAIL FROM:<>\n< 250\n> RCPT TO:<a@-bad-.test>\n< 501 5.1.3 .*domain"},
		{"empty recipient", lab.Trusted, lab.Greeted + "> MAIL FROM:<>\n< 250\n> RCPT TO:<>\n< 501 5.1.3"},
		{"address outside ASCII without SMTPUTF8", lab.Trusted, lab.Greeted + "> MAIL FROM:<>\n< 250\n> RCPT TO:<用户@sink.test>\n< 553 5.6.7 .*SMTPUTF8"},
		{"DATA without a recipient", lab.Trusted, lab.Greeted + "> MAIL FROM:<>\n< 250\n> DATA\n< 50[13] 5.5.1"},
		{"unknown MAIL parameter", lab.Trusted, lab.Greeted + "> MAIL FROM:<alice@sender.test> FROBNICATE=1\n< 555 5.5.4" + after},
		{"unknown RCPT parameter", lab.Trusted, lab.Greeted + "> MAIL FROM:<alice@sender.test>\n< 250\n> RCPT TO:<a@sink.test> FROBNICATE=1\n< 555 5.5.4"},
		{"parameter given twice", lab.Trusted, lab.Greeted + "> MAIL FROM:<alice@sender.test> SIZE=1 SIZE=2\n< 501 5.5.4 .*twice"},
		{"bad NOTIFY", lab.Trusted, lab.Greeted + "> MAIL FROM:<alice@sender.test>\n< 250\n> RCPT TO:<a@sink.test> NOTIFY=NEVER,SUCCESS\n< 501 5.5.4"},
		{"unknown command", lab.Trusted, lab.Greeted + "> FROBNICATE\n< 500 5.5.[12]" + after},
		{"command line too long", lab.Trusted, lab.Greeted + "raw NOOP 5000*x\\r\\n\n< 500 5.5.2 .*too long" + after},
		{"bare LF in a command", lab.Trusted, lab.Greeted + "raw NOOP\\nMAIL FROM:<>\\r\\n\n< 500 5.5.2 .*CRLF\nclosed"},

		{"announced size over the limit", lab.Trusted, lab.Greeted + "> MAIL FROM:<alice@sender.test> SIZE=52428801\n< 552 5.3.4 .*52428800" + after},
		{"bare LF in a message", lab.Trusted, inTransfer + `raw Subject: MARK\r\n\r\nbare\nline\r\n.\r\n` + "\n< 554 5.6.11 .*CRLF" + after},
		{"bare CR in a message", lab.Trusted, inTransfer + `raw Subject: MARK\r\n\r\nbare\rline\r\n.\r\n` + "\n< 554 5.6.11 .*CR" + after},
		{"smuggled end of message", lab.Trusted, inTransfer + `raw Subject: MARK\r\n\r\none\n.\nMAIL FROM:<x@sender.test>\r\nRCPT TO:<y@sink.test>\r\nDATA\r\nMARK\r\n.\r\n` +
			"\n< 554 5.6.11" + after},
		{"NUL in a message", lab.Trusted, inTransfer + `raw Subject: MARK\r\n\r\nzero\0octet\r\n.\r\n` + "\n< 554 5.6.11 .*NUL" + after},
		{"line of 999 octets", lab.Trusted, inTransfer + `raw Subject: MARK\r\n\r\n999*x\r\n.\r\n` + "\n< 554 5.6.0 .*998" + after},
		{"two From fields", lab.Trusted, inTransfer + `raw From: a@sender.test\r\nFrom: b@sender.test\r\nSubject: MARK\r\n\r\nx\r\n.\r\n` + "\n< 550 5.6.0 .*From" + after},
		{"fifty-one hops", lab.Trusted, inTransfer + "raw " + strings.Repeat(`Received: x\r\n`, 51) + `Subject: MARK\r\n\r\nx\r\n.\r\n` + "\n< 554 5.4.6 .*loop" + after},
		{"STARTTLS on a listener without TLS", lab.Trusted, lab.Greeted + "> STARTTLS\n< 50[02] 5.5.1" + after},
		{"command injected before STARTTLS", lab.Starttls, lab.Greeted + "raw STARTTLS\\r\\nNOOP\\r\\n\n< [45]"},
	}
}

// badCases: each mistake gets the right reply, and half-finished mail is no
// mail.
func badCases() []lab.TestCase {
	var cases []lab.TestCase
	markersUsed := map[string]string{}
	for _, m := range mistakes() {
		marker := newMarker()
		markersUsed[marker] = m.name
		cases = append(cases, lab.TestCase{Name: m.name, Run: func(t *lab.T, w *lab.World) {
			d, err := lab.DialPlain(w.House.Addr(m.listener))
			t.Must("connect", err)
			defer d.Close()
			if err := d.Play(strings.ReplaceAll(m.script, "MARK", marker)); err != nil {
				t.Fatalf("%v", err)
			}
		}})
	}
	cases = append(cases,
		lab.TestCase{Name: "message one octet over the limit", Run: func(t *lab.T, w *lab.World) { oversize(t, w, 50<<20, "552 5.3.4 .*52428800") }},
		lab.TestCase{Name: "login by clients with a wrong password", Run: wrongPassword})
	for _, cut := range []string{"in the header", "in the body", "before the final CRLF"} {
		marker := newMarker()
		markersUsed[marker] = "connection cut " + cut
		cases = append(cases, lab.TestCase{Name: "connection cut " + cut, Run: func(t *lab.T, w *lab.World) { cutOff(t, w, cut, marker) }})
	}
	return append(cases, lab.TestCase{Name: "nothing of it arrived", Run: func(t *lab.T, w *lab.World) { nothingArrived(t, w, markersUsed) }})
}

// oversize sends a message of the limit, which is taken, and one octet more,
// which is refused after its end; the session goes on (design §9).
func oversize(t *lab.T, w *lab.World, limit int, refusal string) {
	d, err := lab.DialPlain(w.House.Addr(lab.Trusted))
	t.Must("connect", err)
	defer d.Close()
	marker := newMarker()
	for _, c := range []struct {
		size int
		want string
	}{{limit + 1, refusal}, {limit, "250 2.0.0 queued as"}} {
		m := "Subject: " + marker + "\r\n\r\n"
		line := strings.Repeat("x", 72) + "\r\n"
		m += strings.Repeat(line, (c.size-len(m))/len(line)-1)
		m += strings.Repeat("y", c.size-len(m)-2) + "\r\n"
		script := inTransfer
		if c.size == limit {
			script = strings.TrimPrefix(script, lab.Greeted)
		}
		t.Must("dialogue", d.Play(script))
		t.Must("body", d.Send(m+".\r\n"))
		if err := d.Play("< " + c.want); err != nil {
			t.Fatalf("%d octets: %v", c.size, err)
		}
	}
	w.Arrived(t, w.Sink, marker, 1)
}

func wrongPassword(t *lab.T, w *lab.World) {
	for _, c := range lab.VerbatimClients() {
		// Each has a name of its own: on this machine failed logins slow a name down.
		out, err := c.Send(w, lab.Errand{Addr: w.House.Addr(lab.Starttls), Mode: lab.Starttls, Mech: "PLAIN", Account: c.Name + "@sender.test", Pass: "wrong password",
			From: lab.UserName, To: []string{"someone@" + lab.SinkDomain}, Input: lab.SimpleMessage(newMarker())})
		if err == nil {
			t.Errorf("%s thinks that it sent mail with a wrong password", c.Name)
		}
		if !strings.Contains(out, "5.7.8") {
			t.Errorf("%s was not told 5.7.8:\n%s", c.Name, lab.LastLines(out, 6))
		}
	}
}

// cutOff breaks the connection in the middle of a message.
func cutOff(t *lab.T, w *lab.World, where, marker string) {
	d, err := lab.DialPlain(w.House.Addr(lab.Trusted))
	t.Must("connect", err)
	t.Must("dialogue", d.Play(inTransfer))
	text := "Subject: " + marker + "\r\n"
	if where != "in the header" {
		text += "\r\n" + strings.Repeat("half of the body "+marker+"\r\n", 1000)
	}
	if where == "before the final CRLF" {
		text += "."
	}
	t.Must("send", d.Send(text))
	d.Close()
}

// nothingArrived: a message sent after all of the above has arrived and the
// queue is empty, so nothing of the above is still on its way.
func nothingArrived(t *lab.T, w *lab.World, used map[string]string) {
	marker := newMarker()
	_, err := lab.SendCurl(w, lab.Errand{Addr: w.House.Addr(lab.Trusted), Mode: lab.Trusted, From: lab.UserName,
		To: []string{"last@" + lab.SinkDomain}, Input: lab.SimpleMessage(marker)})
	t.Must("curl", err)
	w.Arrived(t, w.Sink, marker, 1)
	w.EmptyQueue(t, w.House)
	for m, name := range used {
		found, err := w.Sink.Arrivals(lab.Contains(m))
		t.Must("sink", err)
		if len(found) > 0 {
			t.Errorf("%s: its message arrived: %q", name, lab.Clip(string(found[0].Content)))
		}
	}
	t.Notef("%d dialogues", len(used))
}
