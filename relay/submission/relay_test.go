package submission_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"dawk/relay/accept"
	"dawk/relay/submission"
)

// TestNeverAnOpenRelay goes through every combination of settings, clients and
// what they do first. Only a client in a trusted network, or one that logged
// in, ever gets a message into the queue; and a login happens only where it
// was offered.
func TestNeverAnOpenRelay(t *testing.T) {
	for _, tlsMode := range []string{"off", "starttls", "implicit"} {
		for _, auth := range []string{"required", "optional", "off"} {
			for bits := range 8 {
				l := submission.Listener{Address: "127.0.0.1:25", TLS: tlsMode, Auth: auth, RequireTLS: bits&1 != 0, AuthWithoutTLS: bits&2 != 0}
				if bits&4 != 0 {
					l.TrustedNetworks = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
				}
				if invalid := l.Validate().Err(); invalid != nil {
					// What is refused must be refused for these reasons only.
					if !(tlsMode == "off" && l.RequireTLS) && !(auth == "off" && l.TrustedNetworks == nil) {
						t.Errorf("%+v: %v", l, invalid)
					}
					continue
				}
				name := fmt.Sprintf("%s %s require_tls=%v auth_without_tls=%v trusted=%v", tlsMode, auth, l.RequireTLS, l.AuthWithoutTLS, bits&4 != 0)
				t.Run(name, func(t *testing.T) {
					bubble(t, options{listener: l}, func(t *testing.T, f *fixture) { everyClient(t, f, l) })
				})
			}
		}
	}
}

func everyClient(t *testing.T, f *fixture, l submission.Listener) {
	// One of each kind: this machine, the trusted network, a stranger. They
	// take turns in the forms that an address may have.
	clients := []string{"127.0.0.1", "192.0.2.7", "198.51.100.7"}
	if l.AuthWithoutTLS {
		clients = []string{"::1", "::ffff:192.0.2.7", "2001:db8::7"}
	}
	for _, from := range clients {
		for _, startTLS := range []bool{false, true} {
			for _, login := range []string{"", "AUTH PLAIN AGFsaWNlAHNlY3JldA=="} {
				if startTLS && l.TLS != "starttls" {
					continue
				}
				overTLS := startTLS || l.TLS == "implicit"
				loopback := from == "127.0.0.1" || from == "::1"
				inTrust := strings.HasSuffix(from, "192.0.2.7") && l.TrustedNetworks != nil
				mayLogIn := l.Auth != "off" && (overTLS || l.AuthWithoutTLS || l.TLS == "off" && loopback)
				want := (inTrust || mayLogIn && login != "") && (overTLS || !l.RequireTLS)

				before := len(f.q.Messages())
				offered, replies := f.tryToRelay(from, startTLS, login)
				got := len(f.q.Messages()) > before
				what := fmt.Sprintf("from %s, TLS %v, login %q", from, overTLS, login)
				if got != want {
					t.Errorf("%s: accepted %v, wanted %v: %q", what, got, want, replies)
				}
				if offered != mayLogIn {
					t.Errorf("%s: AUTH offered %v, wanted %v", what, offered, mayLogIn)
				}
				if want {
					continue
				}
				code := "550 5.7.1" // at RCPT
				if l.RequireTLS && !overTLS || l.Auth == "required" && !inTrust {
					code = "530 5.7.0" // at MAIL
				}
				if !strings.Contains(strings.Join(replies, "\n"), code) {
					t.Errorf("%s: no %s in %q", what, code, replies)
				}
			}
		}
	}
}

// tryToRelay goes through a whole dialogue, whatever the replies.
func (f *fixture) tryToRelay(from string, startTLS bool, login string) (authOffered bool, replies []string) {
	c := f.dialFrom(from)
	if f.implicit {
		c.startTLS(f)
	}
	c.reply()
	ehlo := func() {
		c.send("EHLO c\r\n")
		authOffered = strings.Contains(c.reply(), "AUTH PLAIN LOGIN")
	}
	ehlo()
	if startTLS {
		c.send("STARTTLS\r\n")
		c.reply()
		c.startTLS(f)
		ehlo()
	}
	for _, command := range []string{login, "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", "QUIT"} {
		if command == "" {
			continue
		}
		c.send(command + "\r\n")
		r := c.reply()
		replies = append(replies, r)
		if strings.HasPrefix(r, "354") {
			c.send("Subject: x\r\n\r\nx\r\n.\r\n")
			replies = append(replies, c.reply())
		}
	}
	return authOffered, replies
}

func TestOpenRelaysAreRefused(t *testing.T) {
	for prefix, ok := range map[string]bool{
		"0.0.0.0/0": false, "::/0": false, "10.0.0.0/7": false, "128.0.0.0/1": false, "11.0.0.0/8": false, "198.51.0.0/15": false,
		"2001:db8::/31": false, "::ffff:0:0/96": false, "::ffff:203.0.113.0/104": false, "fc00::/7": false,
		"10.0.0.0/8": true, "192.168.0.0/16": true, "198.51.0.0/16": true, "2001:db8::/32": true, "127.0.0.0/8": true,
		"192.0.2.1/32": true, "fd00::/48": true, "::1/128": true, "::ffff:192.0.2.0/120": true, "100.64.0.0/10": true,
	} {
		l := submission.Listener{Address: ":25", TLS: "off", Auth: "off", TrustedNetworks: []netip.Prefix{netip.MustParsePrefix(prefix)}}
		err := l.Validate().Err()
		if (err == nil) != ok {
			t.Errorf("%s: %v", prefix, err)
		}
		if err != nil && !strings.Contains(err.Error(), "trusted_networks") {
			t.Errorf("%v does not name the key", err)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	c := submission.Config{Hostname: "not a name", MaxRecipients: -1, Listeners: []submission.Listener{
		{Address: "here", TLS: "maybe", Auth: "sometimes", MinTLS: "1.4", BareNewline: "x", LongLines: "y", ReceivedClient: "z"},
		{Address: "127.0.0.1:25", TLS: "off", RequireTLS: true}, {Address: "127.0.0.1:25"}, {Address: "example.org:25", TLS: "off"},
	}}
	err := c.Validate().Err()
	for _, want := range []string{"hostname", "max_recipients", "host:port", `tls = "maybe"`, `auth = "sometimes"`, "min_tls", "bare_newline",
		"long_lines", "received_client", "require_tls", "used twice", "needs a certificate", "not an IP address"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("no %q in %v", want, err)
		}
	}
	if n := strings.Count(fmt.Sprint(err), "\n"); n < 12 {
		t.Errorf("%d errors only:\n%v", n+1, err)
	}
}

func TestListenErrors(t *testing.T) {
	f := start(t, options{listener: trusted()})
	a, err := accept.New(accept.Config{Hostname: hostname}, f.q, nil)
	check(t, err)
	l := trusted()
	l.Address = f.addr
	free := trusted()
	free.Address = "127.0.0.1:0"
	s, err := submission.NewServer(submission.Config{Hostname: hostname, Listeners: []submission.Listener{free, l}}, a, nil, nil)
	check(t, err)
	err = s.Listen()
	if want := "listener " + f.addr + ": address already in use: another program listens there"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("%v", err)
	}
}
