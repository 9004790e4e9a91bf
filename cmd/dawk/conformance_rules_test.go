package main_test

import "strings"

const (
	known = "<- 220 relay.test ESMTP\n-> EHLO client.test\n<- 250 \n"
	ehlo  = known + "-> AUTH PLAIN AGJvYgBzZWNyZXQ=\n<- 235 2.7.0\n"
	mail  = "-> MAIL FROM:<a@example.org>\n<- 250 2.1.0\n"
	rcpt  = "-> RCPT TO:<b@example.com>\n<- 250 2.1.5\n"
	body  = "-> DATA\n<- 354 \n"
	taken = "<- 250 2.0.0 queued as \n"
	// What somebody hides behind a false end of data: read as commands it
	// would be a second message.
	hidden = `MAIL FROM:<evil@example.org>\r\nRCPT TO:<v@example.com>\r\nDATA\r\nevil\r\n.\r\n`
)

// The listeners of conformanceConfig: two ordinary ones, whose clients are known
// by their login, one that trusts their address, and one for devices.
const strictLines, mendedLines, byAddress, forDevices = 0, 1, 2, 3

// conformance is what RFC 5321 demands, section by section, and what is taken
// beside it: rows of the latter kind say so.
var conformance = []conformanceRule{
	{"2.3.8", "a bare LF ends no command", 0, `<- 220
		=> "EHLO c\n"
		<- 500 5.5.2
		<- EOF`},
	{"2.3.8", "a bare CR ends no command", 0, `<- 220
		=> "EHLO c\rNOOP\r\n"
		<- 500 5.5.2
		<- EOF`},
	{"2.4", "verbs and keywords in any case", 0, `<- 220
		-> eHlO client.test
		<- 250
		-> aUtH pLaIn AGJvYgBzZWNyZXQ=
		<- 235
		-> mAiL fRoM:<a@example.org> sIzE=10 bOdY=8bitmime
		<- 250
		-> rCpT tO:<b@example.com> nOtIfY=nEvEr
		<- 250
		-> rSeT
		<- 250
		-> qUiT
		<- 221
		<- EOF`},
	{"3.1", "the greeting comes first and names the host", 0, "<- 220 relay.test ESMTP"},
	{"3.3", "a message", 0, ehlo + mail + rcpt + body + `=> "Subject: x\r\n\r\nx\r\n.\r\n"` + "\n" + taken},
	{"3.3", "a refused recipient leaves the others", 0, ehlo + mail + "-> RCPT TO:<nobody>\n<- 501 5.1.3\n" + rcpt + body + "-> .\n" + taken},
	{"3.3", "no recipient was accepted: no DATA", 0, ehlo + mail + "-> RCPT TO:<nobody>\n<- 501\n-> DATA\n<- 503 5.5.1\n-> RSET\n<- 250"},
	{"3.8", "QUIT in the middle of a transaction", 0, ehlo + mail + rcpt + "-> QUIT\n<- 221 2.0.0\n<- EOF"},
	{"4.1.1", "white space at the end of a command", 0, "<- 220\n=> \"NOOP \\r\\nNOOP \\t \\r\\nEHLO client.test \\t\\r\\n\"\n<- 250\n<- 250\n<- 250"},
	{"4.1.1", "taken: white space before a command, and any amount of it inside", 0, ehlo + `=> " \t NOOP\r\nMAIL \t FROM : \t<a@example.org> \t SIZE=1\r\nRCPT\tTO:\t<b@example.com>\r\n"
		<- 250
		<- 250 2.1.0
		<- 250 2.1.5`},
	{"4.1.1", "an empty line", 0, "<- 220\n->\n<- 500 5.5.2"},
	{"4.1.1.1", "EHLO without a name", 0, "<- 220\n-> EHLO\n<- 501 5.5.4"},
	{"4.1.1.1", "HELO without a name", 0, "<- 220\n-> HELO\n<- 501 5.5.4"},
	{"4.1.1.1", "taken: EHLO with two names, or with one that is none", 0, "<- 220\n-> EHLO one two\n<- 250\n=> \"HELO dr\\xfccker_2\\r\\n\"\n<- 250"},
	{"4.1.1.1", "EHLO with an address literal", 0, "<- 220\n-> EHLO [192.0.2.1]\n<- 250\n-> EHLO [IPv6:2001:db8::1]\n<- 250"},
	{"4.1.1.1", "HELO is answered in one line", 0, "<- 220\n-> HELO client.test\n<- 250 relay.test\n-> AUTH PLAIN AGJvYgBzZWNyZXQ=\n<- 235\n-> MAIL FROM:<>\n<- 250"},
	{"4.1.1.2", "MAIL before EHLO", 0, "<- 220\n-> MAIL FROM:<a@example.org>\n<- 503 5.5.1"},
	{"4.1.1.2", "MAIL without an argument", 0, ehlo + "-> MAIL\n<- 501\n-> MAIL FROM\n<- 501\n-> MAIL FROM:\n<- 501"},
	{"4.1.1.2", "MAIL twice", 0, ehlo + mail + "-> MAIL FROM:<c@example.org>\n<- 503\n" + rcpt},
	{"4.1.1.2", "the null reverse-path", 0, ehlo + "-> MAIL FROM:<>\n<- 250\n" + rcpt + body + "-> .\n" + taken},
	{"4.1.1.2", "text behind the path", 0, ehlo + "-> MAIL FROM:<a@example.org>b\n<- 501\n-> MAIL FROM:<a@example.org> <b@example.org>\n<- 501"},
	{"4.1.1.3", "RCPT before MAIL", 0, ehlo + "-> RCPT TO:<b@example.com>\n<- 503 5.5.1"},
	{"4.1.1.3", "the null forward-path", 0, ehlo + mail + "-> RCPT TO:<>\n<- 501 5.1.3"},
	{"4.1.1.3", "postmaster in any case, without a domain and with ours", 0, ehlo + mail +
		"-> RCPT TO:<Postmaster>\n<- 250\n-> RCPT TO:<POSTMASTER@relay.test>\n<- 250"},
	{"4.1.1.3", "source routes", 0, ehlo + mail + `-> RCPT TO:<@one.example,@two.example:b@example.com>
		<- 250
		-> RCPT TO:<@:b@example.com>
		<- 501 5.1.3
		-> RCPT TO:<@one.example,two.example:b@example.com>
		<- 501
		-> RCPT TO:<@one.example b@example.com>
		<- 501
		-> RCPT TO:<@one.example:>
		<- 501`},
	{"4.1.1.4", "DATA before MAIL, and before RCPT", 0, ehlo + "-> DATA\n<- 503\n" + mail + "-> DATA\n<- 503"},
	{"4.1.1.4", "DATA with an argument", 0, ehlo + mail + rcpt + "-> DATA x\n<- 501\n" + body + "-> .\n" + taken},
	{"4.1.1.4", "the buffers are empty after the end", 0, ehlo + mail + rcpt + body + "-> .\n" + taken + "-> RCPT TO:<b@example.com>\n<- 503\n-> DATA\n<- 503\n" + mail},
	{"4.1.1.4", "a refused message ends the transaction too", 0, ehlo + mail + rcpt + body + "=> \"x\\x00\\r\\n.\\r\\n\"\n<- 554\n-> RCPT TO:<b@example.com>\n<- 503\n" + mail},
	{"4.1.1.4", "an empty message", 0, ehlo + mail + rcpt + body + "=> \".\\r\\n\"\n" + taken},
	{"4.1.1.4", "commands right behind the end", 0, ehlo + mail + rcpt + body + "=> \"x\\r\\n.\\r\\nNOOP\\r\\nQUIT\\r\\n\"\n" + taken + "<- 250\n<- 221\n<- EOF"},
	{"4.1.1.4", "a message that is cut off is none", 0, ehlo + mail + rcpt + body + `=> "Subject: x\r\n\r\nx\r\n."`},
	{"4.1.1.5", "RSET at any time, and twice", 0, "<- 220\n-> RSET\n<- 250 2.0.0\n-> EHLO c\n<- 250\n-> AUTH PLAIN AGJvYgBzZWNyZXQ=\n<- 235\n" + mail + rcpt + "-> RSET\n<- 250\n-> RSET\n<- 250\n-> DATA\n<- 503"},
	{"4.1.1.5", "RSET with an argument", 0, ehlo + "-> RSET x\n<- 501"},
	{"4.1.1.6", "VRFY at any time", 0, "<- 220\n-> VRFY someone\n<- 252\n-> VRFY\n<- 501"},
	{"4.1.1.7", "EXPN at any time", 0, "<- 220\n-> EXPN list\n<- 502"},
	{"4.1.1.8", "HELP at any time", 0, "<- 220\n-> HELP\n<- 214 2.0.0\n-> HELP DATA\n<- 214"},
	{"4.1.1.9", "NOOP at any time, with a string", 0, "<- 220\n-> NOOP\n<- 250 2.0.0\n-> NOOP anything at all\n<- 250"},
	{"4.1.1.9", "NOOP in a transaction changes nothing", 0, ehlo + mail + "-> NOOP\n<- 250\n" + rcpt + "-> NOOP\n<- 250\n" + body + "-> .\n" + taken},
	{"4.1.1.10", "QUIT before EHLO", 0, "<- 220\n-> QUIT\n<- 221 2.0.0\n<- EOF"},
	{"4.1.1.11", "parameters unknown, doubled, and where they do not belong", 0, ehlo + `-> MAIL FROM:<a@example.org> X-NEW=1
		<- 555 5.5.4
		-> MAIL FROM:<a@example.org> SIZE=1 SIZE=1
		<- 501 5.5.4
		-> MAIL FROM:<a@example.org> NOTIFY=NEVER
		<- 555
		-> MAIL FROM:<a@example.org> =1
		<- 501
		-> MAIL FROM:<a@example.org> BODY=
		<- 501` + "\n" + mail + `-> RCPT TO:<b@example.com> SIZE=1
		<- 555`},
	{"4.1.2", "local parts", 0, ehlo + mail + `-> RCPT TO:<!#$%&'*+-/=?^_{|}~@example.com>
		<- 250
		-> RCPT TO:<"quoted > string"@example.com>
		<- 250
		-> RCPT TO:<"a\"b\\c"@example.com>
		<- 250
		-> RCPT TO:<""@example.com>
		<- 250
		-> RCPT TO:<b c@example.com>
		<- 501
		-> RCPT TO:<b@c@example.com>
		<- 501
		-> RCPT TO:<"b@example.com>
		<- 501
		-> RCPT TO:<@example.com>
		<- 501
		-> RCPT TO:<b(c)@example.com>
		<- 501
		-> RCPT TO:b@example.com>
		<- 501
		-> RCPT TO:<b@example.com
		<- 501`},
	{"4.1.2", "taken: dots anywhere in a local part", 0, ehlo + mail + "-> RCPT TO:<b..c@example.com>\n<- 250\n-> RCPT TO:<.b@example.com>\n<- 250\n-> RCPT TO:<b.@example.com>\n<- 250"},
	{"4.1.2", "taken: an address without angle brackets", 0, ehlo + "-> MAIL FROM:a@example.org SIZE=9\n<- 250\n-> RCPT TO: b@example.com NOTIFY=NEVER\n<- 250"},
	{"4.1.2", "domains", 0, ehlo + mail + `-> RCPT TO:<b@-example.com>
		<- 501 5.1.3
		-> RCPT TO:<b@example-.com>
		<- 501
		-> RCPT TO:<b@example..com>
		<- 501
		-> RCPT TO:<b@.example.com>
		<- 501
		-> RCPT TO:<b@exa$mple.com>
		<- 501
		-> RCPT TO:<b@>
		<- 501
		-> RCPT TO:<b@xn--bcher-kva.example>
		<- 250
		-> RCPT TO:<b@com>
		<- 250`},
	{"4.1.3", "address literals", 0, ehlo + mail + `-> RCPT TO:<b@[192.0.2.1]>
		<- 250
		-> RCPT TO:<b@[IPv6:2001:db8::1]>
		<- 250
		-> RCPT TO:<b@[192.0.2.256]>
		<- 501
		-> RCPT TO:<b@[192.0.2]>
		<- 501
		-> RCPT TO:<b@[2001:db8::1]>
		<- 501
		-> RCPT TO:<b@[192.0.2.1>
		<- 501`},
	{"4.1.4", "EHLO again is as good as RSET", 0, ehlo + mail + rcpt + "-> EHLO again.test\n<- 250\n-> DATA\n<- 503\n-> RCPT TO:<b@example.com>\n<- 503\n" + mail},
	{"4.1.4", "an EHLO that is refused changes nothing", 0, ehlo + mail + "-> EHLO\n<- 501\n" + rcpt + body + "-> .\n" + taken},
	{"4.1.4", "HELO after EHLO, and EHLO after HELO", 0, ehlo + "-> HELO client.test\n<- 250 relay.test\n-> EHLO client.test\n<- 250\n" + mail},
	{"4.1.4", "an error in a command changes nothing", 0, ehlo + mail + "-> FROB\n<- 500\n-> MAIL FROM:<x\n<- 503\n" + rcpt + "-> RCPT TO:<x\n<- 501\n" + body + "-> .\n" + taken},
	{"4.1.5", "commands for private use", 0, ehlo + "-> XFROB\n<- 500 5.5.2\n-> SEND FROM:<a@example.org>\n<- 502\n-> TURN\n<- 502"},
	{"4.2.4", "STARTTLS, AUTH and BDAT where they are not offered", 0, ehlo + "-> STARTTLS\n<- 502 5.5.1\n-> AUTH PLAIN\n<- 503\n-> BDAT 1 LAST\n<- 502\n<- EOF"},
	{"4.5.2", "dots are stuffed", 0, ehlo + mail + rcpt + body + `=> "..\r\n...\r\n.x\r\n.\r\n"` + "\n" + taken},
	{"4.5.2", "octets above 127 pass", 0, ehlo + mail + rcpt + body + `=> "Subject: x\r\n\r\n\xff\xfe\r\n.\r\n"` + "\n" + taken},
	{"4.5.3.1.1", "64 octets of local part", 0, ehlo + mail + "-> RCPT TO:<" + strings.Repeat("x", 64) + "@example.com>\n<- 250"},
	{"4.5.3.1.1", "taken: 65 octets of local part, and more", 0, ehlo + mail + "-> RCPT TO:<" + strings.Repeat("x", 65) + "@example.com>\n<- 250\n-> RCPT TO:<" + strings.Repeat("x", 900) + "@example.com>\n<- 250"},
	{"4.5.3.1.2", "a domain of 255 octets, and of 256", 0, ehlo + mail +
		"-> RCPT TO:<b@" + strings.Repeat(strings.Repeat("d", 62)+".", 4) + "com>\n<- 250\n" +
		"-> RCPT TO:<b@" + strings.Repeat(strings.Repeat("d", 62)+".", 4) + "comm>\n<- 501"},
	{"4.5.3.1.3", "taken: a path of 998 octets, but not one more", 0, ehlo + mail + "-> RCPT TO:<" + strings.Repeat("x", 986) + "@example.com>\n<- 250\n-> RCPT TO:<" + strings.Repeat("x", 987) + "@example.com>\n<- 501 5.1.3"},
	{"4.5.3.1.4", "a command line of 512 octets", 0, ehlo + "-> NOOP " + strings.Repeat("x", 505) + "\n<- 250"},
	{"4.5.3.1.4", "a command line that is far too long has one answer", 0, ehlo + "-> NOOP " + strings.Repeat("x", 9000) + "\n<- 500 5.5.2\n-> NOOP\n<- 250"},
	{"4.5.3.1.6", "a text line of 1000 octets, its CRLF included", 0, ehlo + mail + rcpt + body + "-> " + strings.Repeat("x", 998) + "\n-> .\n" + taken},
	{"4.5.3.1.6", "taken: a text line of one octet more, which is folded, but not in a signed message", 0, ehlo + mail + rcpt + body + "-> " + strings.Repeat("x", 999) + "\n-> .\n" + taken +
		mail + rcpt + body + "-> DKIM-Signature: v=1\n->\n-> " + strings.Repeat("x", 999) + "\n-> .\n<- 554 5.6.0\n" + mail},
	{"RFC 4954 5", "taken: AUTH on MAIL in any form", 0, ehlo + "-> MAIL FROM:<a@example.org> AUTH=<> SIZE=9\n<- 250\n-> RSET\n<- 250\n-> MAIL FROM:<a@example.org> AUTH=Jane+4 AUTH=\n<- 250"},
	{"4.5.3.1.6", "a stuffed dot does not count", 0, ehlo + mail + rcpt + body + "-> .." + strings.Repeat("x", 997) + "\n-> .\n" + taken},
	{"4.5.3.1.7", "64 KiB of content, and one octet more", 0, ehlo + mail + rcpt + body + "=> \"" + strings.Repeat(strings.Repeat("x", 62)+"\\r\\n", 1024) + ".\\r\\n\"\n" + taken +
		mail + rcpt + body + "=> \"" + strings.Repeat(strings.Repeat("x", 62)+"\\r\\n", 1023) + strings.Repeat("x", 63) + "\\r\\n.\\r\\n\"\n<- 552 5.3.4\n" + mail},
	{"4.5.3.1.8", "a hundred recipients, and one more", 0, ehlo + mail + "=> \"" + manyRecipients(101) + "\"\n" + strings.Repeat("<- 250 2.1.5\n", 100) + "<- 452 4.5.3\n" + body + "-> .\n" + taken},

	// RFC 2920: what is sent together is answered in order.
	{"RFC 2920 3.1", "a whole group at once", 0, ehlo + `=> "RSET\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nRCPT TO:<nobody>\r\nDATA\r\n"
		<- 250
		<- 250
		<- 250
		<- 501
		<- 354
		=> "x\r\n.\r\nMAIL FROM:<a@example.org>\r\nQUIT\r\n"
		` + taken + `<- 250
		<- 221
		<- EOF`},
	{"RFC 2920 3.1", "a group all of whose recipients fail", 0, ehlo + `=> "MAIL FROM:<a@example.org>\r\nRCPT TO:<nobody>\r\nDATA\r\n"
		<- 250
		<- 501
		<- 503
		-> RSET
		<- 250`},
	{"RFC 2920 3.1", "content behind a DATA that is refused is never read as commands", 0, ehlo + `=> "MAIL FROM:<a@example.org>\r\nRCPT TO:<nobody>\r\nDATA\r\nMAIL FROM:<evil@example.org>\r\n.\r\n"
		<- 250
		<- 501
		<- 503
		<- EOF`},
	{"RFC 2920 3.1", "content behind a DATA that is not refused is content", 0, ehlo + `=> "MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.com>\r\nDATA\r\nRSET\r\n.\r\n"
		<- 250
		<- 250
		<- 354
		` + taken},

	// False ends of data (SMTP smuggling). Strictly: one refusal, and the hidden
	// commands were never read; what follows the true end is in step again.
	{"4.1.1.4", `\n.\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\n.\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\n.\r\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\n.\r\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\r\n.\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r\n.\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\r.\r ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r.\r` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\r.\r\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r.\r\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\r\n.\r ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r\n.\r` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\r\n\x00.\r\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r\n\x00.\r\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\r\n.\x00\r\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r\n.\x00\r\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\r\n.\r\x00\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r\n.\r\x00\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"4.1.1.4", `\r\n. \r\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r\n. \r\n` + hidden + `"` + "\n" + taken + mail},
	{"4.1.1.4", `\r\n..\r\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r\n..\r\n` + hidden + `"` + "\n" + taken + mail},
	{"4.1.1.4", `\r\r\n.\r\r\n ends nothing`, strictLines, ehlo + mail + rcpt + body + `=> "x\r\r\n.\r\r\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	// U+0085 and U+2028 are line ends to some, as are the octets 0x85, VT and FF.
	{"4.1.1.4", "line ends of other standards end nothing", strictLines, ehlo + mail + rcpt + body + `=> "x\u0085.\u0085\u2028.\u2028\x85.\x85\v.\v\f.\f\r\n` + hidden + `"` + "\n" + taken + mail},
	// Where lines are mended there is one message, and the same commands in it.
	{"4.1.1.4", `mended, \n.\n ends nothing`, mendedLines, ehlo + mail + rcpt + body + `=> "x\n.\n` + hidden + `"` + "\n" + taken + mail},
	{"4.1.1.4", `mended, \n.\r\n ends nothing`, mendedLines, ehlo + mail + rcpt + body + `=> "x\n.\r\n` + hidden + `"` + "\n" + taken + mail},
	{"4.1.1.4", `mended, \r\n.\n ends nothing`, mendedLines, ehlo + mail + rcpt + body + `=> "x\r\n.\n` + hidden + `"` + "\n" + taken + mail},
	{"4.1.1.4", `mended, \r.\r ends nothing`, mendedLines, ehlo + mail + rcpt + body + `=> "x\r.\r` + hidden + `"` + "\n" + taken + mail},
	{"4.1.1.4", `mended, \r\n.\r ends nothing`, mendedLines, ehlo + mail + rcpt + body + `=> "x\r\n.\r` + hidden + `"` + "\n" + taken + mail},
	{"4.1.1.4", `mended, NUL is refused`, mendedLines, ehlo + mail + rcpt + body + `=> "x\r\n\x00.\r\n` + hidden + `"` + "\n<- 554 5.6.11\n" + mail},
	{"RFC 3030 2", "BDAT is not offered, and its chunk is never read as commands", 0, ehlo + mail + rcpt + `=> "BDAT 30\r\nMAIL FROM:<evil@example.org>\r\nRSET\r\n"
		<- 502 5.5.1
		<- EOF`},
	{"RFC 3030 2", "BODY=BINARYMIME is not offered", 0, ehlo + "-> MAIL FROM:<a@example.org> BODY=BINARYMIME\n<- 501"},
	{"4.1.2", "no line end gets into an argument", 0, ehlo + `=> "MAIL FROM:<a@example.org\x0d> SIZE=1\r\n"
		<- 500
		<- EOF`},
	{"4.1.2", "no NUL and no control character in a command", 0, ehlo + `=> "MAIL FROM:<a\x00@example.org>\r\n"
		<- 500 5.5.2
		=> "MAIL FROM:<\"a\x07b\"@example.org>\r\n"
		<- 500
		=> "NOOP \x7f\r\n"
		<- 500
		=> "RCPT\x00 TO:<b@example.com>\r\n"
		<- 500`},
}

// forgiven is what is taken from clients that are known by their address, and
// from devices, and from nobody else.
var forgiven = []conformanceRule{
	{"4.1.1.1", "HELO without a name", byAddress, "<- 220\n-> HELO\n<- 250\n-> EHLO\n<- 250"},
	{"4.1.1.2", "MAIL before EHLO", byAddress, "<- 220\n" + mail + rcpt + body + "-> .\n" + taken},
	{"4.1.2", "no domain", byAddress, known + "-> MAIL FROM:<root>\n<- 250\n-> RCPT TO:admin\n<- 250\n" + body + "-> .\n" + taken},
	{"4.1.2", "one bracket, and a name", byAddress, known + "-> MAIL FROM:<Scan <a@example.org>>\n<- 250\n-> RCPT TO:<b@example.com\n<- 250\n-> RCPT TO:b@example.com>\n<- 250"},
	{"4.1.2", "what can be read in two ways is refused all the same", byAddress, known + "-> MAIL FROM:<a@example.org>b\n<- 501\n-> MAIL FROM:<a@example.org> <b@example.org>\n<- 501\n-> MAIL FROM:a b@example.org\n<- 501\n-> MAIL FROM:<a@b@c>\n<- 501"},
	{"2.3.8", "bare newlines in a message", byAddress, known + mail + rcpt + body + `=> "Subject: x\n\nx\n.\n` + hidden + `"` + "\n" + taken + mail},
	{"2.3.8", "a bare LF ends no command", byAddress, "<- 220\n=> \"EHLO c\\n\"\n<- 500 5.5.2\n<- EOF"},
	{"2.3.8", "LF from the first command to the last", forDevices, `<- 220
		=> "HELO c\nMAIL FROM:<a@example.org>\nRCPT TO:<b@example.com>\nDATA\nSubject: x\n\nx\n.\nQUIT\n"
		<- 250
		<- 250
		<- 250
		<- 354
		` + taken + `<- 221
		<- EOF`},
	{"2.3.8", "CRLF after LF", forDevices, "<- 220\n=> \"HELO c\\n\"\n<- 250\n-> NOOP\n<- 500 5.5.2\n<- EOF"},
	{"2.3.8", "LF after CRLF", forDevices, "<- 220\n-> HELO c\n<- 250\n=> \"NOOP\\n\"\n<- 500 5.5.2\n<- EOF"},
	{"4.1.1.4", `in LF, \r\n.\r\n ends the connection`, forDevices, "<- 220\n=> \"HELO c\\nMAIL FROM:<a@example.org>\\nRCPT TO:<b@example.com>\\nDATA\\n\"\n<- 250\n<- 250\n<- 250\n<- 354\n" + `=> "x\r\n.\r\n` + hidden + `"` + "\n<- 554 5.6.11\n<- EOF"},
	{"4.1.1.4", `in CRLF, \n.\n ends nothing`, forDevices, known + mail + rcpt + body + `=> "x\n.\n` + hidden + `"` + "\n" + taken + mail},
}

func manyRecipients(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(`RCPT TO:<r` + strings.Repeat("x", i%60) + string(rune('a'+i%26)) + string(rune('a'+i/26)) + `@example.com>\r\n`)
	}
	return b.String()
}
