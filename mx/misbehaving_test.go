package mx_test

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// What an attempt may come to.
const (
	relayed  = "relayed"
	waits    = "waits"
	bounces  = "bounces"
	unknown_ = "unknown" // it waits, and may have arrived (RFC 1047)
)

// receiver is one way to misbehave: what it does, at which moment, what the
// attempt must come to, and how long that may take at most.
type receiver struct {
	name   string
	at, do string // see mxtest.Server.Script; do "" for what it offers alone
	want   string
	within time.Duration

	offers []string // in place of the usual extensions
	level  tlspolicy.Level
	cert   string // for whom: "" none; "good", "expired", "stranger", "unknown authority"
	big    bool   // the content is larger than what a path holds
}

const (
	soon  = 2 * time.Second // of fake time: no limit is waited for
	phase = 5 * time.Minute
)

func lines(n int, s string) string { return `raw "` + strings.Repeat(s, n) }

var x300 = strings.Repeat("x", 300)

// receivers that nobody should have to deal with.
var receivers = []receiver{
	// The banner.
	{name: "says nothing", at: "connect", do: "stall", want: waits, within: phase},
	{name: "hangs up at once", at: "connect", do: "drop", want: waits, within: soon},
	{name: "banner without end", at: "connect", do: "endless", want: waits, within: soon},
	{name: "banner of 100 lines", at: "connect", do: lines(99, `220-hello\r\n`) + `220 hello\r\n"`, want: relayed, within: soon},
	{name: "banner of 101 lines", at: "connect", do: lines(100, `220-hello\r\n`) + `220 hello\r\n"`, want: waits, within: soon},
	{name: "banner an octet a second", at: "connect", do: "slow 1s 220 hello", want: relayed, within: 12 * time.Second},
	{name: "banner an octet a second, for ever", at: "connect", do: "slow 1s 220 " + x300, want: waits, within: phase},
	{name: "banner line of 2 KiB", at: "connect", do: "220 " + strings.Repeat("x", 2042), want: relayed, within: soon},
	{name: "banner line over 2 KiB", at: "connect", do: "220 " + strings.Repeat("x", 2043), want: waits, within: soon},
	{name: "banner cut off", at: "connect", do: `close raw "220 hel"`, want: waits, within: soon},
	{name: "banner that ends in LF", at: "connect", do: `raw "220 hello\n"`, want: relayed, within: soon},
	{name: "banner that ends in CR", at: "connect", do: `raw "220 hello\r"`, want: waits, within: phase},
	{name: "banner with NUL", at: "connect", do: `raw "220 \x00hello\x00\r\n"`, want: relayed, within: soon},
	{name: "banner in Latin-1", at: "connect", do: `raw "220 h\xe9llo\r\n"`, want: relayed, within: soon},
	{name: "banner of a web server", at: "connect", do: `raw "HTTP/1.1 400 Bad Request\r\n\r\n"`, want: waits, within: soon},
	{name: "banner of SSH", at: "connect", do: `raw "SSH-2.0-x\r\n"`, want: waits, within: soon},
	{name: "banner that is a TLS alert", at: "connect", do: `raw "\x15\x03\x01\x00\x02\x02\x28\n"`, want: waits, within: soon},
	{name: "banner 999", at: "connect", do: "999 hello", want: waits, within: soon},
	{name: "banner 2200", at: "connect", do: `raw "2200 hello\r\n"`, want: waits, within: soon},
	{name: "banner of two digits", at: "connect", do: `raw "22\r\n"`, want: waits, within: soon},
	{name: "banner of letters", at: "connect", do: `raw "hello\r\n"`, want: waits, within: soon},
	{name: "banner 250", at: "connect", do: "250 hello", want: relayed, within: soon},
	{name: "banner 354", at: "connect", do: "354 hello", want: waits, within: soon},
	{name: "banner 421", at: "connect", do: "421 4.3.2 too busy", want: waits, within: soon},
	{name: "banner 554", at: "connect", do: "554 5.7.1 you are on a list", want: waits, within: soon},
	{name: "two banners", at: "connect", do: `raw "220 one\r\n220 two\r\n"`, want: waits, within: soon},
	{name: "banner after 4 minutes and 59 seconds", at: "connect", do: "delay 299s 220 sorry", want: relayed, within: phase},

	// EHLO.
	{name: "EHLO without answer", at: "ehlo", do: "stall", want: waits, within: phase},
	{name: "EHLO hangs up", at: "ehlo", do: "drop", want: waits, within: soon},
	{name: "EHLO answered without end", at: "ehlo", do: "endless", want: waits, within: soon},
	{name: "EHLO answered in 64 KiB", at: "ehlo", do: lines(40, `250-`+strings.Repeat("y", 1900)+`\r\n`) + `250 ok\r\n"`, want: waits, within: soon},
	{name: "EHLO answered an octet a second", at: "ehlo", do: "slow 1s 250 " + x300, want: waits, within: phase},
	{name: "EHLO answered with two codes", at: "ehlo", do: `raw "250-mx.test\r\n550 no\r\n"`, want: waits, within: soon},
	{name: "EHLO unknown, HELO known", at: "ehlo", do: "500 what?", want: relayed, within: soon},
	{name: "tabs behind codes", at: "mail", do: `raw "250\tfine\r\n"`, want: relayed, within: soon},
	{name: "CR CR LF behind codes", at: "rcpt", do: `raw "250\r\r\n"`, want: relayed, within: soon},
	{name: "EHLO 421", at: "ehlo", do: "421 4.3.2 later", want: waits, within: soon},
	{name: "EHLO 354", at: "ehlo", do: "354 go on", want: waits, within: soon},
	{name: "EHLO and then gone", at: "ehlo", do: "close 250 mx.test", want: waits, within: soon},
	{name: "EHLO answered twice", at: "ehlo", do: `raw "250 mx.test\r\n250 mx.test\r\n"`, want: waits, within: soon},
	{name: "greets with our name", at: "ehlo", do: "250 relay.example.org", want: bounces, within: soon},
	{name: "offers noise", offers: []string{"\xff\xfe", "", "SIZE xyz", "LIMITS RCPTMAX=x MAILMAX", "AUTH", "=="}, want: relayed, within: soon},
	{name: "SIZE below zero", offers: []string{"SIZE -1"}, want: relayed, within: soon},
	{name: "SIZE beyond 64 bits", offers: []string{"SIZE 99999999999999999999"}, want: relayed, within: soon},
	{name: "SIZE that lies", at: "dot", do: "552 5.3.4 too large after all", offers: []string{"SIZE 1000000"}, want: bounces, within: soon},
	{name: "SIZE of ten octets", offers: []string{"SIZE 10"}, want: bounces, within: soon},
	{name: "LIMITS of nothing", offers: []string{"LIMITS RCPTMAX=0 MAILMAX=0"}, want: relayed, within: soon},
	{name: "LIMITS of one", offers: []string{"LIMITS RCPTMAX=1 MAILMAX=1"}, want: relayed, within: soon},

	// STARTTLS: what any certificate may be better than, the clear is not worse.
	{name: "STARTTLS without answer", at: "starttls", do: "stall", cert: "good", want: relayed, within: phase},
	{name: "STARTTLS hangs up", at: "starttls", do: "drop", cert: "good", want: relayed, within: soon},
	{name: "STARTTLS refused for now", at: "starttls", do: "454 4.7.0 no TLS now", cert: "good", want: relayed, within: soon},
	{name: "STARTTLS answered 250", at: "starttls", do: "250 fine", cert: "good", want: relayed, within: soon},
	{name: "STARTTLS and plain text behind it", at: "starttls", do: `raw "220 go\r\n250 2.1.0 injected\r\n"`, cert: "good", want: waits, within: soon},
	{name: "handshake without answer", at: "tls", do: "stall", cert: "good", want: relayed, within: phase},
	{name: "handshake hangs up", at: "tls", do: "drop", cert: "good", want: relayed, within: soon},
	{name: "handshake in plain text", at: "tls", do: `raw "454 4.7.0 sorry\r\n"`, cert: "good", want: relayed, within: soon},
	{name: "handshake alert", at: "tls", do: `raw "\x15\x03\x03\x00\x02\x02\x28"`, cert: "good", want: relayed, within: soon},
	{name: "certificate of another, nobody minds", cert: "stranger", want: relayed, within: soon},
	{name: "required: refused for now", at: "starttls", do: "454 4.7.0 no TLS now", cert: "good", level: tlspolicy.LevelRequired, want: waits, within: soon},
	{name: "required: refused for ever", at: "starttls", do: "554 5.7.1 never", cert: "good", level: tlspolicy.LevelRequired, want: waits, within: soon},
	{name: "required: not offered", level: tlspolicy.LevelRequired, want: waits, within: soon},
	{name: "required: handshake hangs up", at: "tls", do: "drop", cert: "good", level: tlspolicy.LevelRequired, want: waits, within: soon},
	// These three take a phase for the path, a pipe that holds nothing: we say
	// what is wrong while the server still speaks.
	{name: "verified: certificate has expired", cert: "expired", level: tlspolicy.LevelVerified, want: waits, within: phase},
	{name: "verified: certificate of another", cert: "stranger", level: tlspolicy.LevelVerified, want: waits, within: phase},
	{name: "verified: unknown authority", cert: "unknown authority", level: tlspolicy.LevelVerified, want: waits, within: phase},
	{name: "verified: hangs up inside TLS", at: "mail", do: "drop", cert: "good", level: tlspolicy.LevelVerified, want: waits, within: soon},
	{name: "verified: stops inside TLS", at: "dot", do: "stall", cert: "good", level: tlspolicy.LevelVerified, want: unknown_, within: 10 * time.Minute},

	// MAIL.
	{name: "MAIL without answer", at: "mail", do: "stall", want: waits, within: phase},
	{name: "MAIL hangs up", at: "mail", do: "drop", want: waits, within: soon},
	{name: "MAIL answered without end", at: "mail", do: "endless", want: waits, within: soon},
	{name: "MAIL answered an octet a second", at: "mail", do: "slow 1s 250 " + x300, want: waits, within: phase},
	{name: "MAIL answered with noise", at: "mail", do: `raw "\x00\xff\xfe\r\n"`, want: waits, within: soon},
	{name: "MAIL 421", at: "mail", do: "421 4.3.2 later", want: waits, within: soon},
	{name: "MAIL 150", at: "mail", do: `raw "150 wait\r\n"`, want: waits, within: soon},
	{name: "MAIL 150 and then 250, without PIPELINING", at: "mail", do: `raw "150 wait\r\n250 ok\r\n"`, offers: []string{}, want: relayed, within: soon},
	{name: "MAIL answered in text alone, without PIPELINING", at: "mail", do: `raw "hello\r\n"`, offers: []string{}, want: waits, within: time.Minute},
	{name: "MAIL answered in text for ever, without PIPELINING", at: "mail", do: "slow 9s " + lines(40, `a\r\n`) + `"`, offers: []string{}, want: waits, within: phase},
	{name: "MAIL 250 and text behind it, without PIPELINING", at: "mail", do: `raw "250 ok\r\nsee our page\r\n"`, offers: []string{}, want: relayed, within: soon},
	{name: "MAIL 250 and text behind it", at: "mail", do: `raw "250 ok\r\nsee our page\r\n"`, want: waits, within: soon},
	{name: "MAIL 450 and 451", at: "mail", do: `raw "450-4.7.1 later\r\n451 4.7.1 much later\r\n"`, offers: []string{}, want: waits, within: soon},
	{name: "MAIL 550 and 554", at: "mail", do: `raw "550-5.7.1 no\r\n554 5.7.1 never\r\n"`, offers: []string{}, want: bounces, within: soon},
	{name: "MAIL 450 and 550", at: "mail", do: `raw "450-4.7.1 later\r\n550 5.7.1 never\r\n"`, want: waits, within: soon},
	{name: "MAIL 354", at: "mail", do: "354 go on", want: waits, within: soon},
	{name: "MAIL 650", at: "mail", do: "650 odd", want: waits, within: soon},
	{name: "MAIL 550", at: "mail", do: "550 5.7.1 not from you", want: bounces, within: soon},
	{name: "MAIL 250 without a text", at: "mail", do: "250", want: relayed, within: soon},
	{name: "MAIL answered twice", at: "mail", do: `raw "250 ok\r\n250 ok\r\n"`, want: waits, within: soon},
	{name: "MAIL answered twice, without PIPELINING", at: "mail", do: `raw "250 ok\r\n250 ok\r\n"`, offers: []string{}, want: waits, within: soon},
	{name: "354 before DATA", at: "mail", do: `raw "250 ok\r\n354 go\r\n"`, want: waits, within: soon},
	{name: "all answers ahead of their time", at: "mail", do: `raw "250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n"`, offers: []string{}, want: waits, within: soon},

	// RCPT.
	{name: "RCPT without answer", at: "rcpt", do: "stall", want: waits, within: phase},
	{name: "RCPT hangs up", at: "rcpt", do: "drop", want: waits, within: soon},
	{name: "RCPT answered without end", at: "rcpt", do: "endless", want: waits, within: soon},
	{name: "RCPT answered with noise", at: "rcpt", do: `raw "!!\r\n"`, want: waits, within: soon},
	{name: "RCPT 421", at: "rcpt", do: "421 4.7.0 slow down", want: waits, within: soon},
	{name: "RCPT 251", at: "rcpt", do: "251 will forward", want: relayed, within: soon},
	{name: "RCPT 252", at: "rcpt", do: "252 who knows", want: relayed, within: soon},
	{name: "RCPT 354", at: "rcpt", do: "354 go on", want: waits, within: soon},
	{name: "RCPT 550 with text between its lines", at: "rcpt", do: `raw "550-5.1.1 no\r\nsuch user\r\n550 5.1.1 here\r\n"`, offers: []string{}, want: bounces, within: soon},
	{name: "RCPT 551", at: "rcpt", do: "551 5.1.6 moved", want: bounces, within: soon},
	{name: "RCPT 552, too many of one", at: "rcpt", do: "552 5.5.3 too many recipients", want: waits, within: soon},
	{name: "RCPT 503", at: "rcpt", do: "503 5.5.1 MAIL first", want: waits, within: soon},
	{name: "RCPT 999", at: "rcpt", do: "999 odd", want: waits, within: soon},
	{name: "RCPT answered twice", at: "rcpt", do: `raw "250 ok\r\n250 ok\r\n"`, want: waits, within: soon},

	// DATA.
	{name: "DATA without answer", at: "data", do: "stall", want: waits, within: 2 * time.Minute},
	{name: "DATA hangs up", at: "data", do: "drop", want: waits, within: soon},
	{name: "DATA 250", at: "data", do: `raw "250 fine\r\n"`, want: waits, within: soon},
	{name: "DATA 421", at: "data", do: "421 4.3.2 later", want: waits, within: soon},
	{name: "DATA 554", at: "data", do: "554 5.5.1 no", want: bounces, within: soon},
	{name: "DATA 354 after 119 seconds", at: "data", do: "delay 119s 354 sorry", want: relayed, within: 2 * time.Minute},
	{name: "DATA 354 after 121 seconds", at: "data", do: "delay 121s 354 sorry", want: waits, within: 2 * time.Minute},
	{name: "DATA 354 and at once 250", at: "data", do: `raw "354 go\r\n250 taken\r\n"`, want: waits, within: soon},
	{name: "DATA 354 and at once 554", at: "data", do: `raw "354 go\r\n554 5.6.0 no\r\n"`, want: bounces, within: soon},
	{name: "DATA 354 twice", at: "data", do: `raw "354 go\r\n354 go\r\n"`, want: waits, within: soon},

	// The content.
	{name: "never reads the content", at: "body", do: "noread", big: true, want: waits, within: 4 * time.Minute},
	{name: "hangs up in the content", at: "body", do: "drop", big: true, want: waits, within: soon},
	{name: "has enough in the middle", at: "body", do: "close 552 5.3.4 enough", big: true, want: bounces, within: 4 * time.Minute},
	{name: "reads the content and forgets", at: "body", do: "stall", want: unknown_, within: 10 * time.Minute},

	// The answer to the final dot.
	{name: "final dot without answer", at: "dot", do: "stall", want: unknown_, within: 10 * time.Minute},
	{name: "final dot hangs up", at: "dot", do: "drop", want: unknown_, within: soon},
	{name: "final dot answered without end", at: "dot", do: "endless", want: unknown_, within: soon},
	{name: "final dot answered with noise", at: "dot", do: `raw "\x00\r\n"`, want: unknown_, within: soon},
	{name: "final dot answered an octet at a time", at: "dot", do: "slow 3s 250 " + x300, want: unknown_, within: 10 * time.Minute},
	{name: "final dot answered yes and no", at: "dot", do: `raw "250-taken\r\n550 not\r\n"`, want: unknown_, within: soon},
	{name: "final dot 150", at: "dot", do: `raw "150 wait\r\n"`, want: unknown_, within: 10 * time.Minute},
	{name: "final dot 150 and then 250", at: "dot", do: `raw "150 wait\r\n250 taken\r\n"`, want: relayed, within: soon},
	{name: "final dot 250 and text behind it", at: "dot", do: `raw "250 taken\r\nthank you\r\n"`, want: relayed, within: soon},
	{name: "final dot 354", at: "dot", do: `raw "354 more?\r\n"`, want: unknown_, within: soon},
	{name: "final dot 299", at: "dot", do: "299 fine", want: relayed, within: soon},
	{name: "final dot 421", at: "dot", do: "421 4.3.2 not now", want: waits, within: soon},
	{name: "final dot 554", at: "dot", do: "554 5.7.1 spam", want: bounces, within: soon},
	{name: "final dot 600", at: "dot", do: "600 odd", want: waits, within: soon},
	{name: "yes after 9 minutes and 59 seconds", at: "dot", do: "delay 599s 250 taken", want: relayed, within: 10 * time.Minute},
	{name: "yes after 10 minutes and a second", at: "dot", do: "delay 601s 250 taken", want: unknown_, within: 10 * time.Minute},
	{name: "yes twice", at: "dot", do: `raw "250 taken\r\n250 taken\r\n"`, want: relayed, within: soon},
	{name: "yes and gone", at: "dot", do: "close 250 taken", want: relayed, within: soon},

	// The farewell, which nobody waits for.
	{name: "QUIT without answer", at: "quit", do: "stall", want: relayed, within: soon},
	{name: "QUIT answered without end", at: "quit", do: "endless", want: relayed, within: soon},
	{name: "QUIT hangs up", at: "quit", do: "drop", want: relayed, within: soon},
}

// TestMisbehavingReceivers: whatever a receiver does, the attempt ends in time,
// what became of the mail is judged right, and the next attempt, when the
// receiver is well again, brings it there once.
func TestMisbehavingReceivers(t *testing.T) {
	if len(receivers) < 90 {
		t.Errorf("%d rows", len(receivers))
	}
	for _, r := range receivers {
		t.Run(r.name, func(t *testing.T) { r.meet(t) })
	}
}

func (r receiver) meet(t *testing.T) {
	body := letter
	if r.big {
		body = letter + strings.Repeat(strings.Repeat("z", 998)+"\r\n", 300)
	}
	synctest.Test(t, func(t *testing.T) {
		srv, tr := r.world(t)
		w := &world{t: t, srv: srv, tr: tr}
		if r.do != "" {
			w.script(r.at, r.do, 0)
		}
		res, took := w.attempt(body)
		if got := outcome(res); got != r.want {
			t.Errorf("%s, want %s: %+v", got, r.want, res.Replies[0])
		}
		if took > r.within {
			t.Errorf("took %v, want %v at most", took, r.within)
		}
		if text := res.Replies[0].Text; len(text) > relay.MaxReplyText || text != relay.Sanitize(text) {
			t.Errorf("text: %q", text)
		}
		first := len(srv.Messages())
		if r.want == relayed && first != 1 || (r.want == waits || r.want == bounces) && first != 0 {
			t.Errorf("%s, and the receiver has %d messages", r.want, first)
		}
		// A certificate does not heal by itself.
		if (r.want == waits || r.want == unknown_) && (r.level <= tlspolicy.LevelOpportunistic || r.cert == "good") {
			srv.ClearScript()
			if res, _ := w.attempt(body); !res.Replies[0].Positive() || len(srv.Messages()) != first+1 || string(srv.Messages()[first].Data) != body {
				t.Errorf("when it is well again: %+v, %d messages", res.Replies[0], len(srv.Messages()))
			}
		}
		endWorld(srv, tr)
	})
}

// world is the receiver and a Transport that knows only it.
func (r receiver) world(t *testing.T) (*mxtest.Server, *mx.Transport) {
	t.Helper()
	ca, err := mxtest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	cfg := mxtest.Config{Extensions: r.offers}
	trusted := ca
	switch r.cert {
	case "good":
		cfg.Certificate = certificate(t, ca, 100*time.Hour, "mx.b.test")
	case "expired":
		cfg.Certificate = certificate(t, ca, -time.Hour, "mx.b.test")
	case "stranger":
		cfg.Certificate = certificate(t, ca, 100*time.Hour, "other.test")
	case "unknown authority":
		cfg.Certificate = certificate(t, ca, 100*time.Hour, "mx.b.test")
		if trusted, err = mxtest.NewCA(); err != nil {
			t.Fatal(err)
		}
	}
	srv := mxtest.Unlistened(cfg)
	tr, err := mx.NewTransport(mx.Config{Hostname: "relay.example.org", Resolver: oneHost{}, TLS: r.level, RootCAs: trusted.Pool(),
		Dial: func(context.Context, string, string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go srv.ServeConn(theirs)
			return ours, nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	return srv, tr
}

// TestPipeliningThatLies: servers that offer PIPELINING and cannot do it. No
// reply is taken for another's, and nobody waits longer than for one of them.
func TestPipeliningThatLies(t *testing.T) {
	for name, answers := range map[string]string{
		"forgets what came with MAIL":        "250 ok\r\n",
		"answers but the last":               "250 ok\r\n250 ok\r\n",
		"answers all in one":                 "250-ok\r\n250-ok\r\n354 go\r\n",
		"refuses what it had not waited for": "250 ok\r\n503 5.5.1 not so fast\r\n503 5.5.1 not so fast\r\n",
		"answers one too many":               "250 ok\r\n250 ok\r\n354 go\r\n250 and more\r\n",
		"answers as if to two":               "250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, mxtest.Config{}, func(c *mx.Config) {
				c.Dial = func(context.Context, string, string) (net.Conn, error) {
					ours, theirs := net.Pipe()
					go func() {
						defer theirs.Close()
						buf := make([]byte, 4096)
						for _, reply := range []string{"220 hi\r\n", "250-hi\r\n250 PIPELINING\r\n"} {
							io.WriteString(theirs, reply) //nolint:errcheck // seen at the read
							theirs.Read(buf)              //nolint:errcheck // EHLO, then the envelope
						}
						io.WriteString(theirs, answers) //nolint:errcheck // seen by the client
						if rest, _ := io.ReadAll(theirs); strings.Contains(string(rest), "hello") {
							t.Errorf("content was sent: %q", rest)
						}
					}()
					return ours, nil
				}
			}, func(w *world) {
				res, took := w.attempt(letter)
				if got := outcome(res); got != waits || took > phase {
					t.Errorf("%s after %v: %+v", got, took, res.Replies[0])
				}
			})
		})
	}
}

func endWorld(srv *mxtest.Server, tr *mx.Transport) {
	tr.Close()
	srv.Close()
	time.Sleep(2 * time.Hour) // lets servers wake that sleep, and see that we are gone
}

func outcome(res relay.Result) string {
	switch r := res.Replies[0]; {
	case r.Positive():
		return relayed
	case r.Permanent():
		return bounces
	case res.Unknown:
		return unknown_
	}
	return waits
}
