package submission_test

import (
	"encoding/base64"
	"log/slog"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/submission"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

var logins = []struct{ name, script string }{
	{"PLAIN with initial response", `
		-> AUTH PLAIN ` + b64("\x00alice\x00secret") + `
		<- 235 2.7.0`},
	{"PLAIN without", `
		-> auth plain
		<- 334
		-> ` + b64("alice\x00alice\x00secret") + `
		<- 235 2.7.0
		-> AUTH PLAIN ` + b64("\x00alice\x00secret") + `
		<- 503 5.5.1`},
	{"LOGIN", `
		-> AUTH LOGIN
		<- 334 VXNlcm5hbWU6
		-> ` + b64("alice") + `
		<- 334 UGFzc3dvcmQ6
		-> ` + b64("secret") + `
		<- 235 2.7.0`},
	{"LOGIN with initial response", `
		-> AUTH LOGIN ` + b64("alice") + `
		<- 334 UGFzc3dvcmQ6
		-> ` + b64("secret") + `
		<- 235 2.7.0`},
	{"given up", `
		-> AUTH LOGIN
		<- 334
		-> *
		<- 501 5.7.0
		-> NOOP
		<- 250`},
	{"unknown mechanism", `
		-> AUTH CRAM-MD5
		<- 504 5.5.4
		-> AUTH FOO!
		<- 501 5.5.4
		-> AUTH
		<- 501 5.5.4`},
	{"not base64", `
		-> AUTH PLAIN ***
		<- 501 5.5.2
		-> AUTH PLAIN
		<- 334
		-> MAIL FROM:<a@example.org>
		<- 501 5.5.2
		-> AUTH PLAIN a b
		<- 501 5.5.2`},
	{"not the form", `
		-> AUTH PLAIN ` + b64("alice") + `
		<- 501 5.5.2
		-> AUTH PLAIN =
		<- 501 5.5.2`},
	{"for somebody else", `
		-> AUTH PLAIN ` + b64("root\x00alice\x00secret") + `
		<- 535 5.7.8`},
	{"control characters", `
		-> AUTH PLAIN ` + b64("\x00al\nice\x00secret") + `
		<- 535 5.7.8`},
	{"nobody can tell", `
		-> AUTH PLAIN ` + b64("\x00broken\x00secret") + `
		<- 454 4.7.0 logins cannot be checked now, try again later
		-> AUTH PLAIN ` + b64("\x00alice\x00secret") + `
		<- 235`},
	{"a long response", `
		-> AUTH PLAIN
		<- 334
		-> ` + b64("\x00alice\x00"+strings.Repeat("x", 9000)) + `
		<- 535 5.7.8
		-> AUTH PLAIN ` + b64("\x00alice\x00"+strings.Repeat("x", 9000)) + `
		<- 535 5.7.8
		-> NOOP
		<- 250`},
	{"too long a response", `
		-> AUTH PLAIN
		<- 334
		-> ` + strings.Repeat("A", 12400) + `
		<- 500 5.5.2
		-> NOOP
		<- 250`},
	{"inside a transaction", `
		-> AUTH PLAIN ` + b64("\x00alice\x00secret") + `
		<- 235
		-> MAIL FROM:<>
		<- 250
		-> AUTH PLAIN =
		<- 503 5.5.1`},
	{"senders", `
		-> AUTH PLAIN ` + b64("\x00alice\x00secret") + `
		<- 235
		-> MAIL FROM:<a@example.net>
		<- 550 5.7.1
		-> MAIL FROM:<a@EXAMPLE.org> SIZE=1001
		<- 552 5.3.4
		-> MAIL FROM:<a@example.org> SIZE=1000
		<- 250
		-> RSET
		<- 250
		-> MAIL FROM:<>
		<- 250
		-> RCPT TO:<b@example.com>
		<- 250
		-> DATA
		<- 354
		-> ` + strings.Repeat("x", 998) + `
		-> .
		<- 250 2.0.0 queued
		-> MAIL FROM:<>
		<- 250
		-> RCPT TO:<b@example.com>
		<- 250
		-> DATA
		<- 354
		-> ` + strings.Repeat("x", 998) + `
		->
		-> .
		<- 552 5.3.4`},
}

func TestLogins(t *testing.T) {
	for _, l := range logins {
		t.Run(l.name, func(t *testing.T) {
			bubble(t, options{listener: required()}, func(t *testing.T, f *fixture) {
				f.play(hello + l.script)
			})
		})
	}
}

func TestLoginBeforeTLS(t *testing.T) {
	bubble(t, options{listener: submission.Listener{Auth: "required"}}, func(t *testing.T, f *fixture) {
		f.play(hello + `
			-> AUTH PLAIN ` + b64("\x00alice\x00secret") + `
			<- 538 5.7.11
			-> AUTH PLAIN
			<- 538 5.7.11
			-> MAIL FROM:<a@example.org>
			<- 530 5.7.0
			-> STARTTLS
			<- 220 2.0.0
			TLS
			-> MAIL FROM:<a@example.org>
			<- 503 5.5.1
			-> EHLO c
			<- 250
			-> STARTTLS
			<- 503 5.5.1
			-> MAIL FROM:<a@example.org>
			<- 530 5.7.0
			-> AUTH PLAIN ` + b64("\x00alice\x00secret") + `
			<- 235
			` + envel + data + `
			-> .
			<- 250 2.0.0 queued`)
		m := f.q.Messages()[0]
		if m.Identity != "alice" || m.Protocol != "ESMTPSA" {
			t.Errorf("%+v", m.Message)
		}
	})
}

// A client that does not wait for the refusal of its AUTH sends the password as
// if it were a command; that is in no transcript either.
func TestSecretsSentAfterARefusedLoginStaySecret(t *testing.T) {
	var out syncBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l := required()
	l.TLS = "starttls"
	bubble(t, options{listener: l, log: log}, func(t *testing.T, f *fixture) {
		f.play(hello + "-> AUTH LOGIN\n<- 5\n-> " + b64("alice") + "\n<- 500\n-> " + b64("secret") + "\n<- 500")
		for _, s := range []string{b64("alice"), b64("secret")} {
			if strings.Contains(out.String(), s) {
				t.Errorf("%q is in the log:\n%s", s, out.String())
			}
		}
	})
}

// Secrets are in no transcript, event or log line.
func TestSecretsStaySecret(t *testing.T) {
	var out syncBuffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	bubble(t, options{listener: required(), log: log}, func(t *testing.T, f *fixture) {
		f.play(hello + "-> AUTH PLAIN " + b64("\x00alice\x00wrong-one") + "\n<- 535\n-> AUTH LOGIN " + b64("alice") + "\n<- 334\n-> " + b64("secret") +
			"\n<- 235\n-> AUTH PLAIN\n<- 503\n-> MAIL FROM:<a@example.org>\n<- 250")
		for _, s := range []string{"secret", b64("secret"), "wrong-one", b64("\x00alice\x00wrong-one")} {
			if got := strings.ReplaceAll(out.String(), "(secret)", ""); strings.Contains(got, s) {
				t.Errorf("%q is in the log:\n%s", s, got)
			}
		}
		if !strings.Contains(out.String(), "MAIL FROM:<a@example.org>") {
			t.Errorf("no transcript:\n%s", out.String())
		}
		for _, e := range f.seen.Of(relay.EventLogin) {
			if e.Identity != "alice" {
				t.Errorf("%+v", e)
			}
		}
	})
}
