package submission_test

import (
	"strings"
	"testing"
)

const (
	hello = "<- 220 relay.example.org ESMTP\n-> EHLO client.example.com\n<- 250 \n"
	envel = "-> MAIL FROM:<a@example.org>\n<- 250 2.1.0\n-> RCPT TO:<b@example.com>\n<- 250 2.1.5\n"
	data  = "-> DATA\n<- 354\n"
)

// Dialogues with a client that needs no login. want is how many messages the
// queue has afterwards.
var dialogues = []struct {
	name, script string
	want         int
}{
	{"one message", hello + envel + data + `
		-> Subject: hi
		->
		-> ..dot
		-> .
		<- 250 2.0.0 queued as 00000000001-0007
		-> QUIT
		<- 221 2.0.0
		<- EOF`, 1},
	{"HELO", `
		<- 220
		-> HELO old.example.com
		<- 250 relay.example.org
		-> MAIL FROM:<>
		<- 250 2.1.0
		-> RCPT TO:<b@example.com>
		<- 250 2.1.5
		-> DATA
		<- 354
		-> .
		<- 250 2.0.0 queued as`, 1},
	{"pipelined in one write", `
		<- 220
		=> "EHLO c\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
		<- 250
		<- 250
		<- 250
		<- 354
		=> "S: 1\r\n\r\n1\r\n.\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
		<- 250 2.0.0 queued
		<- 250
		<- 250
		<- 354
		=> "S: 2\r\n\r\n2\r\n.\r\nQUIT\r\n"
		<- 250 2.0.0 queued
		<- 221`, 2},
	{"sequence", `
		<- 220
		-> AUTH PLAIN =
		<- 503 5.5.1
		-> EHLO c
		<- 250
		-> RCPT TO:<b@example.com>
		<- 503 5.5.1
		-> DATA
		<- 503 5.5.1
		-> MAIL FROM:<a@example.org>
		<- 250
		-> MAIL FROM:<a@example.org>
		<- 503 5.5.1
		-> DATA
		<- 503 5.5.1 no valid recipients
		-> RCPT TO:<b@example.com>
		<- 250
		-> RSET
		<- 250 2.0.0
		-> DATA
		<- 503 5.5.1
		-> MAIL FROM:<a@example.org>
		<- 250
		-> EHLO again
		<- 250
		-> RCPT TO:<b@example.com>
		<- 503 5.5.1`, 0},
	{"commands that change nothing", hello + envel + `
		-> NOOP
		<- 250 2.0.0
		-> noop whatever
		<- 250 2.0.0
		-> VRFY b
		<- 252 2.5.0
		-> VRFY
		<- 501 5.5.4
		-> HELP
		<- 214 2.0.0
		-> EXPN list
		<- 502 5.5.1
		-> FOO
		<- 500 5.5.2
		->
		<- 500 5.5.2
		-> RSET now
		<- 501 5.5.4
		-> QUIT now
		<- 501 5.5.4
		-> DATA now
		<- 501 5.5.4
		-> STARTTLS
		<- 502 5.5.1
		-> DATA
		<- 354
		-> .
		<- 250 2.0.0 queued`, 1},
	{"syntax of MAIL", hello + `
		-> MAIL
		<- 501 5.5.4
		-> MAIL TO:<a@example.org>
		<- 501 5.5.4
		-> MAIL FROM:<a@example.org>SIZE=1
		<- 501 5.5.4
		-> MAIL FROM:<a@b@example.org>
		<- 501 5.1.3
		-> MAIL FROM:<a@ex ample.org>
		<- 501 5.1.3
		-> MAIL FROM:<a@example.org> FOO=1
		<- 555 5.5.4
		-> MAIL FROM:<a@example.org> SIZE=x
		<- 501 5.5.4
		-> MAIL FROM:<a@example.org> SIZE=1 SIZE=2
		<- 501 5.5.4
		-> MAIL FROM:<a@example.org> BODY=BINARYMIME
		<- 501 5.5.4
		-> MAIL FROM:<a@example.org> ENVID=a+0Db
		<- 501 5.5.4
		-> MAIL FROM:<a@example.org> REQUIRETLS
		<- 555 5.5.4
		-> MAIL FROM:<a@example.org> SIZE=1048577
		<- 552 5.3.4
		-> MAIL FROM:<a@example.org> SIZE=99999999999999999999
		<- 552 5.3.4
		-> MAIL FROM:<ü@example.org>
		<- 553 5.6.7
		-> MAIL FROM: <a@example.org> SIZE=1048576 BODY=8bitmime RET=hdrs ENVID=q+2Bq
		<- 250`, 0},
	{"syntax of RCPT", hello + `
		-> MAIL FROM:<a@example.org>
		<- 250
		-> RCPT TO:<>
		<- 501 5.1.3
		-> RCPT TO:<b@example.com> NOTIFY=NEVER,FAILURE
		<- 501 5.5.4
		-> RCPT TO:<b@example.com> ORCPT=rfc822
		<- 501 5.5.4
		-> RCPT TO:<b@example.com> SIZE=1
		<- 555 5.5.4
		-> RCPT TO:<ü@example.com>
		<- 553 5.6.7
		-> RCPT TO:<"b> NOTIFY=NEVER"@example.com> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+2Bc@example.com
		<- 250
		-> RCPT TO:<postmaster>
		<- 250`, 0},
	{"too many recipients", hello + `
		-> MAIL FROM:<a@example.org>
		<- 250
		=> "RCPT TO:<1@x.test>\r\nRCPT TO:<2@x.test>\r\nRCPT TO:<3@x.test>\r\nRCPT TO:<4@x.test>\r\nRCPT TO:<5@x.test>\r\nRCPT TO:<5@x.test>\r\n"
		<- 250
		<- 250
		<- 250
		<- 250
		<- 250
		<- 250
		-> RCPT TO:<6@x.test>
		<- 452 4.5.3
		-> DATA
		<- 354
		-> .
		<- 250 2.0.0 queued`, 1},
	{"BDAT ends it", hello + envel + `
		-> BDAT 10 LAST
		<- 502 5.5.1
		<- EOF`, 0},
	{"a browser", `
		<- 220
		=> "POST / HTTP/1.1\r\nHost: x\r\n\r\nMAIL FROM:<a@example.org>\r\n"
		<- 500 5.5.1
		<- EOF`, 0},
	{"TLS without STARTTLS", `
		<- 220
		=> "\x16\x03\x01\x02\x00\x01\x00"
		<- 500 5.5.1
		<- EOF`, 0},
	{"bare LF in a command", `
		<- 220
		=> "EHLO a\nQUIT\r\n"
		<- 500 5.5.2
		<- EOF`, 0},
	{"bare CR in a command", `
		<- 220
		=> "EHLO a\rQUIT\r\n"
		<- 500 5.5.2
		<- EOF`, 0},
	{"control characters", hello + `
		=> "MAIL FROM:<a\x00@example.org>\r\n"
		<- 500 5.5.2
		=> "NOOP \x1b[31m\r\n"
		<- 500 5.5.2
		=> "MAIL FROM:<\xff\xfe@example.org> SMTPUTF8\r\n"
		<- 501 5.5.2
		-> NOOP
		<- 250`, 0},
	{"a long line", hello + `
		=> "NOOP ` + strings.Repeat("x", 2100) + `\r\nNOOP\r\n"
		<- 500 5.5.2
		<- 250
		=> "NOOP ` + strings.Repeat("x", 30000) + `\r\nNOOP\r\n"
		<- 500 5.5.2
		<- 250
		=> "` + strings.Repeat("x", 80000) + `"
		<- 500 5.5.2
		<- EOF`, 0},
	{"content without waiting for a DATA that is refused", hello + `
		=> "DATA\r\nMAIL FROM:<a@example.org>\r\n.\r\n"
		<- 503 5.5.1
		<- EOF`, 0},
	{"too many errors", `
		<- 220
		-> EHLO c
		<- 250
		` + strings.Repeat("-> FOO\n<- 500 5.5.2\n", 199) + `
		-> FOO
		<- 500 5.5.2
		<- 421 4.7.0
		<- EOF`, 0},
	{"errors are forgiven with each message", hello + strings.Repeat("-> FOO\n<- 500 5.5.2\n", 150) + envel + data + "-> .\n<- 250\n" +
		strings.Repeat("-> FOO\n<- 500 5.5.2\n", 150) + "-> NOOP\n<- 250", 1},
	{"dots", hello + envel + data + `
		=> "S: 1\r\n\r\n.\r.\r\n.\r\n"
		<- 554 5.6.11
		-> MAIL FROM:<a@example.org>
		<- 250`, 0},
	{"NUL", hello + envel + data + `
		=> "S: 1\r\n\r\n\x00\r\n.\r\n"
		<- 554 5.6.11
		` + envel + data + `
		-> .
		<- 250 2.0.0 queued`, 1},
	{"a line of 998 octets, and one of 999", hello + envel + data + `
		=> "S: 1\r\n\r\n` + strings.Repeat("x", 998) + `\r\n..` + strings.Repeat("y", 997) + `\r\n.\r\n"
		<- 250 2.0.0 queued
		` + envel + data + `
		=> "S: 1\r\n\r\n` + strings.Repeat("x", 999) + `\r\n.\r\n"
		<- 554 5.6.0
		` + envel + data + `
		=> "S: 1\r\n\r\n` + strings.Repeat("x", 200000) + `\r\n.\r\n"
		<- 554 5.6.0
		-> NOOP
		<- 250`, 1},
	{"a loop", hello + envel + data + strings.Repeat("-> Received: from a by b; now\n", 50) + `
		->
		-> .
		<- 250 2.0.0 queued
		` + envel + data + strings.Repeat("-> Received: from a by b; now\n", 51) + `
		->
		-> .
		<- 554 5.4.6
		-> NOOP
		<- 250`, 1},
	{"two From fields", hello + envel + data + `
		-> From: a@example.org
		-> FROM : b@example.org
		->
		-> .
		<- 550 5.6.0`, 0},
}

func TestDialogues(t *testing.T) {
	for _, d := range dialogues {
		t.Run(d.name, func(t *testing.T) {
			t.Parallel()
			l := trusted()
			l.BareNewline, l.LongLines = "reject", "reject"
			f := start(t, options{listener: l})
			f.play(d.script)
			if got := f.q.Messages(); len(got) != d.want {
				t.Errorf("%d messages in the queue, wanted %d", len(got), d.want)
			}
		})
	}
}
