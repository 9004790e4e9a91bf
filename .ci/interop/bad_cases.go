package main

import (
	"strings"
)

// mistake is a dialogue that dawk must answer rightly, and after which nothing
// with its marker may ever arrive.
type mistake struct {
	name, listener string
	script         string
}

const greeted = "< 220 relay.test\n> EHLO client.test\n< 250 \n"

// inTransfer is a dialogue up to the first octet of a message with a marker,
// on the trusted listener.
const inTransfer = greeted + `
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
		{"wrong password", plain, greeted + "> AUTH PLAIN " + base64Plain("wrong") + "\n< 535 5.7.8\n> QUIT\n< 221"},
		{"wrong password three times", plain, greeted + strings.Repeat("> AUTH PLAIN "+base64Plain("wrong")+"\n< 535 5.7.8\n", 2) +
			"> AUTH PLAIN " + base64Plain("wrong") + "\n< 421 4.7.0\nclosed"},
		{"unknown user", plain, greeted + "> AUTH PLAIN AG5vYm9keQBub3RoaW5nIGF0IGFsbA==\n< 535 5.7.8"},
		{"unknown mechanism", plain, greeted + "> AUTH CRAM-MD5\n< 504 5.5.4 .*PLAIN or LOGIN"},
		{"AUTH not base64", plain, greeted + "> AUTH PLAIN !!!\n< 501 5.5.2 .*base64"},
		{"AUTH given up", plain, greeted + "> AUTH LOGIN\n< 334 VXNlcm5hbWU6\n> *\n< 501 5.7.0"},
		{"AUTH before STARTTLS", starttls, greeted + "> AUTH PLAIN " + base64Plain(userPass) + "\n< 538 5.7.11 .*STARTTLS"},
		{"no login where one is required", plain, greeted + "> MAIL FROM:<alice@sender.test>\n< 530 5.7.0 .*login is required"},
		{"no login where TLS comes first", starttls, greeted + "> MAIL FROM:<alice@sender.test>\n< 530 5.7.0 .*STARTTLS"},
		{"relay denied", strict, greeted + "> MAIL FROM:<alice@sender.test>\n< 250\n> RCPT TO:<someone@sink.test>\n< 550 5.7.1 relaying denied\n> DATA\n< 50[13] 5.5.1"},
		{"AUTH where it is off", trusted, greeted + "> AUTH PLAIN " + base64Plain(userPass) + "\n< 50[23] 5.5.1"},

		{"recipient with a bad domain", trusted, greeted + "> MAIL FROM:<>\n< 250\n> RCPT TO:<a@-bad-.test>\n< 501 5.1.3 .*domain"},
		{"empty recipient", trusted, greeted + "> MAIL FROM:<>\n< 250\n> RCPT TO:<>\n< 501 5.1.3"},
		{"address outside ASCII without SMTPUTF8", trusted, greeted + "> MAIL FROM:<>\n< 250\n> RCPT TO:<用户@sink.test>\n< 553 5.6.7 .*SMTPUTF8"},
		{"DATA without a recipient", trusted, greeted + "> MAIL FROM:<>\n< 250\n> DATA\n< 50[13] 5.5.1"},
		{"unknown MAIL parameter", trusted, greeted + "> MAIL FROM:<alice@sender.test> FROBNICATE=1\n< 555 5.5.4" + after},
		{"unknown RCPT parameter", trusted, greeted + "> MAIL FROM:<alice@sender.test>\n< 250\n> RCPT TO:<a@sink.test> FROBNICATE=1\n< 555 5.5.4"},
		{"parameter given twice", trusted, greeted + "> MAIL FROM:<alice@sender.test> SIZE=1 SIZE=2\n< 501 5.5.4 .*twice"},
		{"bad NOTIFY", trusted, greeted + "> MAIL FROM:<alice@sender.test>\n< 250\n> RCPT TO:<a@sink.test> NOTIFY=NEVER,SUCCESS\n< 501 5.5.4"},
		{"unknown command", trusted, greeted + "> FROBNICATE\n< 500 5.5.[12]" + after},
		{"command line too long", trusted, greeted + "raw NOOP 5000*x\\r\\n\n< 500 5.5.2 .*too long" + after},
		{"bare LF in a command", trusted, greeted + "raw NOOP\\nMAIL FROM:<>\\r\\n\n< 500 5.5.2 .*CRLF\nclosed"},

		{"announced size over the limit", trusted, greeted + "> MAIL FROM:<alice@sender.test> SIZE=52428801\n< 552 5.3.4 .*52428800" + after},
		{"bare LF in a message", trusted, inTransfer + `raw Subject: MARK\r\n\r\nbare\nline\r\n.\r\n` + "\n< 554 5.6.11 .*CRLF" + after},
		{"bare CR in a message", trusted, inTransfer + `raw Subject: MARK\r\n\r\nbare\rline\r\n.\r\n` + "\n< 554 5.6.11 .*CR" + after},
		{"smuggled end of message", trusted, inTransfer + `raw Subject: MARK\r\n\r\none\n.\nMAIL FROM:<x@sender.test>\r\nRCPT TO:<y@sink.test>\r\nDATA\r\nMARK\r\n.\r\n` +
			"\n< 554 5.6.11" + after},
		{"NUL in a message", trusted, inTransfer + `raw Subject: MARK\r\n\r\nzero\0octet\r\n.\r\n` + "\n< 554 5.6.11 .*NUL" + after},
		{"line of 999 octets", trusted, inTransfer + `raw Subject: MARK\r\n\r\n999*x\r\n.\r\n` + "\n< 554 5.6.0 .*998" + after},
		{"two From fields", trusted, inTransfer + `raw From: a@sender.test\r\nFrom: b@sender.test\r\nSubject: MARK\r\n\r\nx\r\n.\r\n` + "\n< 550 5.6.0 .*From" + after},
		{"fifty-one hops", trusted, inTransfer + "raw " + strings.Repeat(`Received: x\r\n`, 51) + `Subject: MARK\r\n\r\nx\r\n.\r\n` + "\n< 554 5.4.6 .*loop" + after},
		{"STARTTLS on a listener without TLS", trusted, greeted + "> STARTTLS\n< 50[02] 5.5.1" + after},
		{"command injected before STARTTLS", starttls, greeted + "raw STARTTLS\\r\\nNOOP\\r\\n\n< [45]"},
	}
}

// badCases: each mistake gets the right reply, and half-finished mail is no
// mail.
func badCases() []testCase {
	var cases []testCase
	markersUsed := map[string]string{}
	for _, m := range mistakes() {
		marker := newMarker()
		markersUsed[marker] = m.name
		cases = append(cases, testCase{m.name, func(t *T, w *world) {
			d, err := dialPlain(w.house.addr(m.listener))
			t.must("connect", err)
			defer d.close()
			if err := d.play(strings.ReplaceAll(m.script, "MARK", marker)); err != nil {
				t.Fatalf("%v", err)
			}
		}})
	}
	cases = append(cases,
		testCase{"message one octet over the limit", func(t *T, w *world) { oversize(t, w, 50<<20, "552 5.3.4 .*52428800") }},
		testCase{"login by clients with a wrong password", wrongPassword})
	for _, cut := range []string{"in the header", "in the body", "before the final CRLF"} {
		marker := newMarker()
		markersUsed[marker] = "connection cut " + cut
		cases = append(cases, testCase{"connection cut " + cut, func(t *T, w *world) { cutOff(t, w, cut, marker) }})
	}
	return append(cases, testCase{"nothing of it arrived", func(t *T, w *world) { nothingArrived(t, w, markersUsed) }})
}

// oversize sends a message of the limit, which is taken, and one octet more,
// which is refused after its end; the session goes on (design §9).
func oversize(t *T, w *world, limit int, refusal string) {
	d, err := dialPlain(w.house.addr(trusted))
	t.must("connect", err)
	defer d.close()
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
			script = strings.TrimPrefix(script, greeted)
		}
		t.must("dialogue", d.play(script))
		t.must("body", d.send(m+".\r\n"))
		if err := d.play("< " + c.want); err != nil {
			t.Fatalf("%d octets: %v", c.size, err)
		}
	}
	w.arrived(t, w.sink, marker, 1)
}

func wrongPassword(t *T, w *world) {
	for _, c := range verbatimClients() {
		// Each has a name of its own: on this machine failed logins slow a name down.
		out, err := c.send(w, errand{addr: w.house.addr(starttls), mode: starttls, mech: "PLAIN", account: c.name + "@sender.test", pass: "wrong password",
			from: userName, to: []string{"someone@" + sinkDomain}, input: simpleMessage(newMarker())})
		if err == nil {
			t.Errorf("%s thinks that it sent mail with a wrong password", c.name)
		}
		if !strings.Contains(out, "5.7.8") {
			t.Errorf("%s was not told 5.7.8:\n%s", c.name, lastLines(out, 6))
		}
	}
}

// cutOff breaks the connection in the middle of a message.
func cutOff(t *T, w *world, where, marker string) {
	d, err := dialPlain(w.house.addr(trusted))
	t.must("connect", err)
	t.must("dialogue", d.play(inTransfer))
	text := "Subject: " + marker + "\r\n"
	if where != "in the header" {
		text += "\r\n" + strings.Repeat("half of the body "+marker+"\r\n", 1000)
	}
	if where == "before the final CRLF" {
		text += "."
	}
	t.must("send", d.send(text))
	d.close()
}

// nothingArrived: a message sent after all of the above has arrived and the
// queue is empty, so nothing of the above is still on its way.
func nothingArrived(t *T, w *world, used map[string]string) {
	marker := newMarker()
	_, err := sendCurl(w, errand{addr: w.house.addr(trusted), mode: trusted, from: userName,
		to: []string{"last@" + sinkDomain}, input: simpleMessage(marker)})
	t.must("curl", err)
	w.arrived(t, w.sink, marker, 1)
	w.emptyQueue(t, w.house)
	for m, name := range used {
		found, err := w.sink.arrivals(contains(m))
		t.must("sink", err)
		if len(found) > 0 {
			t.Errorf("%s: its message arrived: %q", name, clip(string(found[0].content)))
		}
	}
	t.Notef("%d dialogues", len(used))
}

// emptyQueue waits until `dawk queue list` has nothing to show.
func (w *world) emptyQueue(t *T, r *relay) {
	var out string
	var err error
	if !eventually(w.ctx, patience, func() bool {
		out, err = r.command("", "queue", "list", "--json")
		return err == nil && countItems(out) == 0
	}) {
		t.Fatalf("the queue does not get empty: %v\n%s", err, lastLines(out, 10))
	}
}

// countItems counts the messages of `queue list --json`.
func countItems(out string) int {
	var n int
	for line := range strings.Lines(out) {
		if s := strings.TrimSpace(line); s != "" && s != "[]" && s != "[" && s != "]" {
			n++
		}
	}
	return n
}
