package smtpclient

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func FuzzServerFirst(f *testing.F) {
	for _, s := range []string{"r=abcdef,s=c2FsdA==,i=4096", "r=abc,s=,i=1", "m=x,r=abcd", "i=99999999999999999999", ",,,=", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		theirs, salt, n, err := parseServerFirst(s, "abc")
		if err == nil && (!strings.HasPrefix(theirs, "abc") || len(salt) == 0 || n < minIterations || n > maxIterations) {
			t.Errorf("%q gave %q, %d octets, %d", s, theirs, len(salt), n)
		}
	})
}

func FuzzBlob(f *testing.F) {
	for _, s := range []string{`{"status":"400","schemes":"Bearer","scope":"https://mail.google.com/"}`, `{"status":"4\r\n250 ok"}`, `{`, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if got := describeBlob(s); len(got) > 210 || strings.ContainsAny(got, "\r\n\x00") {
			t.Errorf("%q gave %q", s, got)
		}
	})
}

// TestUntidyChallenges: what a server asks with is not what it should be, and what
// it means is clear all the same.
func TestUntidyChallenges(t *testing.T) {
	const plain, login = "AHUAc2VjcmV0", "dQ=="
	for _, c := range []struct {
		name, auth string
		server     []string // what it says, and is to hear then
		ok         bool
	}{
		{"LOGIN with prompts in clear text", AuthLogin, []string{"AUTH LOGIN", "334 Username:", login, "334 Password:", "c2VjcmV0", "235 ok"}, true},
		{"PLAIN, the initial response not heeded", AuthPlain, []string{"AUTH PLAIN " + plain, "334 ", plain, "235 ok"}, true},
		{"PLAIN, the initial response not heeded, with a prompt", AuthPlain, []string{"AUTH PLAIN " + plain, "334 go on", plain, "235 ok"}, true},
		{"PLAIN, never content", AuthPlain, []string{"AUTH PLAIN " + plain, "334 ", plain, "334 "}, false},
		{"XOAUTH2, the initial response not heeded", AuthXOAuth2, []string{"AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHNlY3JldAEB", "334",
			"dXNlcj11AWF1dGg9QmVhcmVyIHNlY3JldAEB", "235 ok"}, true},
		{"XOAUTH2 refused", AuthXOAuth2, []string{"AUTH XOAUTH2 dXNlcj11AWF1dGg9QmVhcmVyIHNlY3JldAEB", "334 eyJzdGF0dXMiOiI0MDAifQ==", "", "535 5.7.8 no"}, false},
		{"PLAIN offered and not known", AuthAuto, []string{"AUTH PLAIN " + plain, "504 5.5.4 unrecognized", "AUTH LOGIN", "334 VXNlcm5hbWU6", login, "334 ", "c2VjcmV0", "235 ok"}, true},
		{"nothing that is offered is known", AuthAuto, []string{"AUTH PLAIN " + plain, "504 5.5.4 unrecognized", "AUTH LOGIN", "504 no"}, false},
		{"PLAIN is set, and not known", AuthPlain, []string{"AUTH PLAIN " + plain, "504 5.5.4 unrecognized"}, false},
		{"SCRAM with a challenge that is none", AuthSCRAM, []string{"AUTH SCRAM-SHA-256 *", "334 hello"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, theirs := net.Pipe()
			defer ours.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer theirs.Close()
				in := bufio.NewReader(theirs)
				for i := 0; i+1 < len(c.server); i += 2 {
					line, err := in.ReadString('\n')
					want, any := strings.CutSuffix(c.server[i], "*")
					if line = strings.TrimSuffix(line, "\r\n"); err != nil || line != want && !(any && strings.HasPrefix(line, want)) {
						t.Errorf("heard %q, %v, want %q", line, err, c.server[i])
						return
					}
					io.WriteString(theirs, c.server[i+1]+"\r\n") //nolint:errcheck // the client hangs up
				}
			}()
			conn := NewConn(ours, Peer{Host: "mx.test", Addr: netip.MustParseAddrPort("127.0.0.1:25")}, Timeouts{}.WithDefaults())
			conn.Attach(&Claim{Ctx: context.Background(), End: time.Now().Add(time.Minute)})
			defer conn.Detach()
			conn.greeted = true
			conn.Ext.auth = []string{"LOGIN", "PLAIN"}
			if c.auth != AuthAuto {
				conn.Ext.auth = []string{strings.ToUpper(c.auth)}
			}
			r := conn.LogIn(Login{User: "u", Password: "secret", Auth: c.auth}, true)
			ours.Close()
			<-done
			if r.IsZero() != c.ok {
				t.Errorf("%+v", r)
			}
		})
	}
}
