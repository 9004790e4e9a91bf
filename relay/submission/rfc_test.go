package submission_test

import (
	"strings"
	"testing"
	"time"

	"dawk/relay/submission"
)

// One table for each RFC of the front door: what a client says that is known by
// its login only, and the reply that the section demands. Each line begins after
// EHLO and, where it has no word of AUTH or STARTTLS, after a login; a case of
// several commands stands in one string, and its last reply counts. What is
// taken that the section does not demand is marked.
type rule struct {
	section, say, reply string
}

const (
	mailFrom = "MAIL FROM:<a@example.org>\r\n"
	rcptTo   = "RCPT TO:<b@example.com>\r\n"
	xx64     = "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
)

var rules = []struct {
	rfc   string
	rules []rule
}{
	{"RFC 5321", []rule{
		{"2.4 commands in any case", "mAiL fRoM:<a@example.org>\r\n", "250"},
		{"2.4 the local part keeps its case", "MAIL FROM:<A@Example.ORG>\r\n", "250"},
		{"3.3 source routes are read", mailFrom + "RCPT TO:<@one.example,@two.example:b@example.com>\r\n", "250"},
		{"3.5.3 VRFY", "VRFY someone\r\n", "252"},
		{"3.5.2 EXPN is not offered", "EXPN list\r\n", "502"},
		{"3.6.2 null reverse-path", "MAIL FROM:<>\r\n", "250"},
		{"4.1.1.1 EHLO needs a name", "EHLO\r\n", "501"},
		{"4.1.1.1 and may have any (taken)", "HELO KM C450i_\xe9\r\nNOOP\r\n", "250"},
		{"4.1.1.1 EHLO again resets", mailFrom + "EHLO again\r\n" + rcptTo, "503"},
		{"4.1.1.2 MAIL twice", mailFrom + mailFrom, "503"},
		{"4.1.1.2 without brackets (taken)", "MAIL FROM:a@example.org\r\n", "250"},
		{"4.1.1.2 with one bracket", "MAIL FROM:<a@example.org\r\n", "501"},
		{"4.1.1.2 blanks of any kind (taken)", "\t MAIL \t FROM : \t<a@example.org>\t SIZE=1\r\n", "250"},
		{"4.1.1.2 without FROM", "MAIL <a@example.org>\r\n", "501"},
		{"4.1.1.3 RCPT before MAIL", rcptTo, "503"},
		{"4.1.1.3 null forward-path", mailFrom + "RCPT TO:<>\r\n", "501"},
		{"4.1.1.3 postmaster without domain", mailFrom + "RCPT TO:<Postmaster>\r\n", "250"},
		{"4.1.1.3 another without domain", mailFrom + "RCPT TO:<root>\r\n", "501"},
		{"4.1.1.4 DATA before RCPT", mailFrom + "DATA\r\n", "503"},
		{"4.1.1.4 DATA takes no argument", mailFrom + rcptTo + "DATA now\r\n", "501"},
		{"4.1.1.4 DATA", mailFrom + rcptTo + "DATA\r\n", "354"},
		{"4.1.1.5 RSET", mailFrom + "RSET\r\n", "250"},
		{"4.1.1.5 RSET drops", mailFrom + "RSET\r\n" + rcptTo, "503"},
		{"4.1.1.5 RSET takes no argument", "RSET it\r\n", "501"},
		{"4.1.1.8 HELP", "HELP\r\n", "214"},
		{"4.1.1.8 HELP of a command", "HELP MAIL\r\n", "214"},
		{"4.1.1.9 NOOP", "NOOP\r\n", "250"},
		{"4.1.1.9 NOOP ignores a string", "NOOP what ever\r\n", "250"},
		{"4.1.1.10 QUIT", "QUIT\r\n", "221"},
		{"4.1.1.11 unknown parameter", "MAIL FROM:<a@example.org> COLOUR=red\r\n", "555"},
		{"4.1.1.11 unknown parameter of RCPT", mailFrom + "RCPT TO:<b@example.com> COLOUR\r\n", "555"},
		{"4.1.1.11 a parameter twice", "MAIL FROM:<a@example.org> SIZE=1 SIZE=1\r\n", "501"},
		{"4.1.2 quoted local part", mailFrom + "RCPT TO:<\"b > c\"@example.com>\r\n", "250"},
		{"4.1.2 dots anywhere (taken)", mailFrom + "RCPT TO:<.b..c.@example.com>\r\n", "250"},
		{"4.1.2 an empty quoted local part", mailFrom + "RCPT TO:<\"\"@example.com>\r\n", "250"},
		{"4.1.2 an empty local part", mailFrom + "RCPT TO:<@example.com>\r\n", "501"},
		{"4.1.2 two at signs", mailFrom + "RCPT TO:<b@c@example.com>\r\n", "501"},
		{"4.1.2 esmtp-value without equals", "MAIL FROM:<a@example.org> SIZE=1=2\r\n", "501"},
		{"4.1.2 empty esmtp-value", "MAIL FROM:<a@example.org> BODY=\r\n", "501"},
		{"4.1.3 address literal", mailFrom + "RCPT TO:<b@[192.0.2.1]>\r\n", "250"},
		{"4.1.3 IPv6 address literal", mailFrom + "RCPT TO:<b@[IPv6:2001:db8::1]>\r\n", "250"},
		{"4.1.3 no literal", mailFrom + "RCPT TO:<b@[192.0.2.256]>\r\n", "501"},
		{"4.2.4 unknown command", "FROBNICATE\r\n", "500"},
		{"4.5.3.1.1 local part of 64", mailFrom + "RCPT TO:<" + xx64 + "@example.com>\r\n", "250"},
		{"4.5.3.1.1 local part of 65 (taken)", mailFrom + "RCPT TO:<x" + xx64 + "@example.com>\r\n", "250"},
		{"4.5.3.1.3 a path of 998 (taken)", mailFrom + "RCPT TO:<" + strings.Repeat("x", 986) + "@example.com>\r\n", "250"},
		{"4.5.3.1.3 and one more", mailFrom + "RCPT TO:<" + strings.Repeat("x", 987) + "@example.com>\r\n", "501"},
		{"4.5.3.1.2 a domain too long", mailFrom + "RCPT TO:<b@" + strings.Repeat("abcdefg.", 32) + "example>\r\n", "501"},
		{"4.5.3.1.4 a line too long", "NOOP " + strings.Repeat("x", 5000) + "\r\n", "500"},
		{"4.5.3.1.8 more recipients than we take", mailFrom + strings.Repeat("RCPT TO:<%@example.com>\r\n", 6), "452"},
		{"2.3.8 a bare LF ends no command", "NOOP\nNOOP\r\n", "500"},
		{"4.1.2 NUL in a command", "NOOP \x00\r\n", "500"},
	}},
	{"RFC 1870", []rule{
		{"3 SIZE", "MAIL FROM:<a@example.org> SIZE=1048576\r\n", "250"},
		{"6.1 over the limit", "MAIL FROM:<a@example.org> SIZE=1048577\r\n", "552"},
		{"4 twenty digits", "MAIL FROM:<a@example.org> SIZE=99999999999999999999\r\n", "552"},
		{"4 twenty-one digits", "MAIL FROM:<a@example.org> SIZE=100000000000000000000\r\n", "501"},
		{"4 no digits", "MAIL FROM:<a@example.org> SIZE=1k\r\n", "501"},
		{"4 without a value", "MAIL FROM:<a@example.org> SIZE\r\n", "501"},
	}},
	{"RFC 2920", []rule{
		{"3.1 a group", mailFrom + rcptTo + rcptTo + "DATA\r\n.\r\n", "250 2.0.0 queued"},
		{"3.1 a group whose MAIL fails", "MAIL FROM:<bad\r\n" + rcptTo + "NOOP\r\n", "250"},
	}},
	{"RFC 6409", []rule{
		{"4.1 syntax of addresses is enforced", "MAIL FROM:<a>\r\n", "501 5.1.3"},
		{"5.1 the domain of a recipient must stand there", mailFrom + "RCPT TO:<b>\r\n", "501 5.1.3"},
		{"6.1 a login sends as itself", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<a@example.net>\r\n", "550 5.7.1"},
		{"7 SIZE, of the login", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<a@example.org> SIZE=1001\r\n", "552 5.3.4"},
		{"3.2 the null reverse-path of a DSN", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<>\r\n", "250"},
	}},
	{"RFC 6152", []rule{
		{"2 8BITMIME", "MAIL FROM:<a@example.org> BODY=8BITMIME\r\n", "250"},
		{"2 7BIT", "MAIL FROM:<a@example.org> body=7bit\r\n", "250"},
		{"2 another", "MAIL FROM:<a@example.org> BODY=9BIT\r\n", "501"},
		{"RFC 3030 BINARYMIME is not offered", "MAIL FROM:<a@example.org> BODY=BINARYMIME\r\n", "501"},
	}},
	{"RFC 6531", []rule{
		{"3.4 SMTPUTF8", "MAIL FROM:<ä@exämple.org> SMTPUTF8\r\n", "250"},
		{"3.4 takes no value", "MAIL FROM:<a@example.org> SMTPUTF8=1\r\n", "501"},
		{"3.5 without it", "MAIL FROM:<ä@example.org>\r\n", "553"},
		{"3.5 without it, a recipient", mailFrom + "RCPT TO:<ä@example.com>\r\n", "553"},
		{"3.7.4.2 with it", "MAIL FROM:<a@example.org> SMTPUTF8\r\nRCPT TO:<ä@example.com>\r\n", "250"},
		{"3.3 not UTF-8", "MAIL FROM:<\xff@example.org> SMTPUTF8\r\n", "501"},
	}},
	{"RFC 3461", []rule{
		{"4.1 NOTIFY", mailFrom + "RCPT TO:<b@example.com> NOTIFY=SUCCESS,FAILURE,DELAY\r\n", "250"},
		{"4.1 NEVER alone", mailFrom + "RCPT TO:<b@example.com> NOTIFY=NEVER,DELAY\r\n", "501"},
		{"4.1 another word", mailFrom + "RCPT TO:<b@example.com> NOTIFY=SOMETIMES\r\n", "501"},
		{"4.1 on MAIL", "MAIL FROM:<a@example.org> NOTIFY=NEVER\r\n", "555"},
		{"4.2 ORCPT", mailFrom + "RCPT TO:<b@example.com> ORCPT=rfc822;Bob+2Bx@example.org\r\n", "250"},
		{"4.2 without a type", mailFrom + "RCPT TO:<b@example.com> ORCPT=bob@example.org\r\n", "501"},
		{"4.2 bad xtext", mailFrom + "RCPT TO:<b@example.com> ORCPT=rfc822;bob+2b@example.org\r\n", "501"},
		{"4.2 no line break in xtext", mailFrom + "RCPT TO:<b@example.com> ORCPT=rfc822;bob+0D+0A@example.org\r\n", "501"},
		{"RFC 6533 3 utf-8 type", mailFrom + "RCPT TO:<b@example.com> ORCPT=utf-8;b\\x{F6}b@example.org\r\n", "250"},
		{"4.3 RET", "MAIL FROM:<a@example.org> RET=HDRS\r\n", "250"},
		{"4.3 another", "MAIL FROM:<a@example.org> RET=SOME\r\n", "501"},
		{"4.3 on RCPT", mailFrom + "RCPT TO:<b@example.com> RET=FULL\r\n", "555"},
		{"4.4 ENVID", "MAIL FROM:<a@example.org> ENVID=QQ314159\r\n", "250"},
		{"4.4 too long", "MAIL FROM:<a@example.org> ENVID=" + strings.Repeat("x", 101) + "\r\n", "501"},
		{"4.4 a hundred octets", "MAIL FROM:<a@example.org> ENVID=" + strings.Repeat("x", 100) + "\r\n", "250"},
		{"4.4 empty", "MAIL FROM:<a@example.org> ENVID=\r\n", "501"},
		{"4.4 twice", "MAIL FROM:<a@example.org> ENVID=a ENVID=b\r\n", "501"},
		{"4.4 on RCPT", mailFrom + "RCPT TO:<b@example.com> ENVID=a\r\n", "555"},
		{"4.3 twice", "MAIL FROM:<a@example.org> RET=FULL RET=HDRS\r\n", "501"},
		{"4.3 without a value", "MAIL FROM:<a@example.org> RET\r\n", "501"},
		{"4.1 NEVER", mailFrom + "RCPT TO:<b@example.com> NOTIFY=never\r\n", "250"},
		{"4.1 without a value", mailFrom + "RCPT TO:<b@example.com> NOTIFY\r\n", "501"},
		{"4.1 a word twice is said once", mailFrom + "RCPT TO:<b@example.com> NOTIFY=DELAY,DELAY\r\n", "250"},
		{"4.2 on MAIL", "MAIL FROM:<a@example.org> ORCPT=rfc822;a@example.org\r\n", "555"},
		{"4.2 five hundred octets", mailFrom + "RCPT TO:<b@example.com> ORCPT=rfc822;" + strings.Repeat("x", 493) + "\r\n", "250"},
		{"4.2 and one more", mailFrom + "RCPT TO:<b@example.com> ORCPT=rfc822;" + strings.Repeat("x", 494) + "\r\n", "501"},
		{"4.2 half an escape", mailFrom + "RCPT TO:<b@example.com> ORCPT=rfc822;bob+2\r\n", "501"},
		{"4.4 control characters", "MAIL FROM:<a@example.org> ENVID=a+0D+0Ab\r\n", "501"},
	}},
	{"RFC 4865", []rule{
		{"4 HOLDFOR", "MAIL FROM:<a@example.org> HOLDFOR=3600\r\n", "250"},
		{"4 longer than offered", "MAIL FROM:<a@example.org> HOLDFOR=3601\r\n", "501"},
		{"4 HOLDUNTIL", "MAIL FROM:<a@example.org> HOLDUNTIL=2000-01-01T00:30:00Z\r\n", "250"},
		{"4 HOLDUNTIL in a zone", "MAIL FROM:<a@example.org> HOLDUNTIL=2000-01-01T01:30:00+01:00\r\n", "250"},
		{"4 later than offered", "MAIL FROM:<a@example.org> HOLDUNTIL=2000-01-01T02:00:00Z\r\n", "501"},
		{"4 both", "MAIL FROM:<a@example.org> HOLDFOR=1 HOLDUNTIL=2000-01-01T00:30:00Z\r\n", "501"},
		{"4 no number", "MAIL FROM:<a@example.org> HOLDFOR=soon\r\n", "501"},
		{"4 not at all", "MAIL FROM:<a@example.org> HOLDFOR=0\r\n", "501"},
		{"4 more than nine digits", "MAIL FROM:<a@example.org> HOLDFOR=0000000001\r\n", "501"},
		{"4 without a value", "MAIL FROM:<a@example.org> HOLDFOR\r\n", "501"},
		{"4 no date", "MAIL FROM:<a@example.org> HOLDUNTIL=tomorrow\r\n", "501"},
		{"4 a date without a zone", "MAIL FROM:<a@example.org> HOLDUNTIL=2000-01-01T00:30:00\r\n", "501"},
		{"4 a time that has passed is now", "MAIL FROM:<a@example.org> HOLDUNTIL=1999-01-01T00:30:00Z\r\n", "250"},
		{"4 on RCPT", mailFrom + "RCPT TO:<b@example.com> HOLDFOR=1\r\n", "555"},
	}},
	{"RFC 9422", []rule{
		{"4 RCPTMAX is what it says: the last that is taken", mailFrom + strings.Repeat("RCPT TO:<%@example.com>\r\n", 5), "250"},
		{"4 and the first that is not", mailFrom + strings.Repeat("RCPT TO:<%@example.com>\r\n", 6), "452 4.5.3"},
	}},
	{"RFC 8689", []rule{
		{"2 only over TLS", "MAIL FROM:<a@example.org> REQUIRETLS\r\n", "530"},
		{"2 takes no value", "MAIL FROM:<a@example.org> REQUIRETLS=yes\r\n", "501"},
	}},
	{"RFC 4954", []rule{
		{"4 unknown mechanism", "AUTH CRAM-MD5\r\n", "504"},
		{"4 no mechanism", "AUTH\r\n", "501"},
		{"4 not base64", "AUTH PLAIN *\r\n", "501"},
		{"4 inside a transaction", mailFrom + "AUTH PLAIN =\r\n", "503"},
		{"4 given up", "AUTH PLAIN\r\n*\r\n", "501"},
		{"4 a challenge for the response", "AUTH PLAIN\r\n", "334"},
		{"4 right", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", "235 2.7.0"},
		{"4 twice", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", "503"},
		{"6 wrong", "AUTH PLAIN AGFsaWNlAHdyb25n\r\n", "535 5.7.8"},
		{"5 AUTH on MAIL", "MAIL FROM:<a@example.org> AUTH=a+2Bb@example.org\r\n", "250"},
		{"5 AUTH=<>", "MAIL FROM:<a@example.org> AUTH=<>\r\n", "250"},
		{"5 AUTH=<> after HELO, which offers nothing (taken)", "HELO c\r\nMAIL FROM:<a@example.org> AUTH=<>\r\n", "250"},
		{"5 AUTH=<> when logged in", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nEHLO c\r\nMAIL FROM:<a@example.org> AUTH=<>\r\n", "250"},
		{"5 bad xtext, of which nobody makes use (taken)", "MAIL FROM:<a@example.org> AUTH=a+b@example.org\r\n", "250"},
		{"5 no address (taken)", "MAIL FROM:<a@example.org> BODY=7BIT AUTH=<Jane Doe> AUTH=\r\n", "250"},
		{"4 blanks of any kind (taken)", "AUTH \t PLAIN\t AGFsaWNlAHNlY3JldA==\t\r\n", "235 2.7.0"},
		{"4 RFC 4616 an authorization identity in another case", "AUTH PLAIN QUxJQ0UAYWxpY2UAc2VjcmV0\r\n", "235 2.7.0"},
	}},
	{"RFC 3207", []rule{
		{"4 takes no argument", "STARTTLS now\r\n", "501"},
		{"4 ready", "STARTTLS\r\n", "220"},
		{"5 input behind it", "STARTTLS\r\nNOOP\r\n", "503"},
		{"4 inside a transaction", mailFrom + "STARTTLS\r\n", "503"},
	}},
	{"RFC 3030", []rule{
		{"2 BDAT is not offered", mailFrom + rcptTo + "BDAT 4 LAST\r\n", "502"},
	}},
}

// RFC 2034 §3 and 3463: each of these replies has an enhanced code whose class
// is that of the reply, but for those that may have none.
func TestRulesOfTheRFCs(t *testing.T) {
	l := submission.Listener{TLS: "starttls", Auth: "optional", AuthWithoutTLS: true}
	for _, table := range rules {
		t.Run(table.rfc, func(t *testing.T) {
			for _, r := range table.rules {
				bubble(t, options{listener: l, config: func(c *submission.Config) { c.RequireTLS, c.MaxHold = true, time.Hour }}, func(t *testing.T, f *fixture) {
					if got := lastReply(f, r.say); !strings.HasPrefix(got, r.reply) {
						t.Errorf("%s §%s: %.80q gives %q, want %s", table.rfc, r.section, r.say, got, r.reply)
					} else if !hasEnhanced(got) {
						t.Errorf("%s §%s: %q has no enhanced code", table.rfc, r.section, got)
					}
				})
			}
		})
	}
}

// overTLS is for a listener of implicit TLS, whose clients must log in: what
// differs there.
var overTLS = []rule{
	{"RFC 8314 3.3 TLS is there already", "STARTTLS\r\n", "502 5.5.1"},
	{"RFC 6409 4.3 no mail without a login", mailFrom, "530 5.7.0"},
	{"RFC 8314 4.1 a login by password", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\n", "235 2.7.0"},
	{"RFC 8689 2 REQUIRETLS", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<a@example.org> REQUIRETLS\r\n", "250 2.1.0"},
	{"RFC 8689 2 in any case", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<a@example.org> requiretls\r\n", "250"},
	{"RFC 8689 2 takes no value", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<a@example.org> REQUIRETLS=1\r\n", "501 5.5.4"},
	{"RFC 8689 2 not twice", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<a@example.org> REQUIRETLS REQUIRETLS\r\n", "501"},
	{"RFC 8689 2 on RCPT", "AUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com> REQUIRETLS\r\n", "555"},
}

func TestRulesOverTLS(t *testing.T) {
	for _, r := range overTLS {
		bubble(t, options{listener: submission.Listener{TLS: "implicit"}, config: func(c *submission.Config) { c.RequireTLS = true }}, func(t *testing.T, f *fixture) {
			if got := lastReply(f, r.say); !strings.HasPrefix(got, r.reply) {
				t.Errorf("%s: %.80q gives %q, want %s", r.section, r.say, got, r.reply)
			} else if !hasEnhanced(got) {
				t.Errorf("%s: %q has no enhanced code", r.section, got)
			}
		})
	}
}

// A listener that offers neither tells nobody of REQUIRETLS or FUTURERELEASE,
// nor of a limit that it does not have, and does not know their parameters.
func TestRulesWhereNothingIsOffered(t *testing.T) {
	bubble(t, options{listener: trusted(), config: func(c *submission.Config) { c.MaxRecipients = 0 }}, func(t *testing.T, f *fixture) {
		c := f.dial()
		f.more(c, "<- 220")
		c.send("EHLO c\r\n")
		if said := c.reply(); strings.Contains(said, "REQUIRETLS") || strings.Contains(said, "FUTURERELEASE") || strings.Contains(said, "LIMITS") ||
			strings.Contains(said, "STARTTLS") || strings.Contains(said, "AUTH") || strings.Contains(said, "CHUNKING") {
			t.Errorf("offered: %q", said)
		}
		f.more(c, `
			-> MAIL FROM:<a@example.org> REQUIRETLS
			<- 555 5.5.4
			-> MAIL FROM:<a@example.org> HOLDFOR=60
			<- 555 5.5.4
			-> MAIL FROM:<a@example.org> AUTH=<>
			<- 250 2.1.0
			-> QUIT
			<- 221`)
	})
}

// lastReply says the lines of say one by one, each after the reply to the one
// before but for groups that must come in one piece, and gives the last reply.
func lastReply(f *fixture, say string) (last string) {
	c := f.dialFrom("192.0.2.1")
	defer c.c.Close()
	if f.implicit {
		c.startTLS(f)
	}
	f.more(c, "<- 220\n-> EHLO client.example.com\n<- 250 ")
	if !f.implicit && !strings.Contains(say, "AUTH") && !strings.Contains(say, "STARTTLS") {
		f.more(c, "-> AUTH PLAIN AGJvYgBzZWNyZXQ=\n<- 235")
	}
	if strings.HasPrefix(say, "STARTTLS\r\nN") || strings.HasPrefix(say, "NOOP\n") {
		c.send(say) // in one piece
		return c.reply()
	}
	n := 0
	for line := range strings.SplitAfterSeq(say, "\r\n") {
		if line == "" {
			break
		}
		n++
		c.send(strings.ReplaceAll(line, "%", string(rune('a'+n))))
		last = c.reply()
	}
	return last
}

// hasEnhanced says whether a reply has an enhanced code of its class, or may
// do without (RFC 2034 §3: the greeting, EHLO, and 3yz).
func hasEnhanced(reply string) bool {
	last := reply[strings.LastIndexByte(reply, '\n')+1:]
	if last[0] == '3' || len(last) > 4 && last[:4] == "250-" {
		return true
	}
	f := strings.Fields(last)
	return len(f) > 1 && len(f[1]) >= 5 && f[1][0] == last[0] && f[1][1] == '.'
}
