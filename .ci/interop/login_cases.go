package main

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

var markers atomic.Int64

// newMarker is a word by which one message is found again.
func newMarker() string { return fmt.Sprintf("interop%05d", markers.Add(1)) }

func simpleMessage(marker string) []byte {
	return fmt.Appendf(nil, "From: Alice <%s>\r\nTo: someone@%s\r\nDate: Sun, 22 Nov 2026 12:00:00 +0000\r\n"+
		"Message-ID: <%s@client.test>\r\nSubject: %s\r\n\r\nHello,\r\nthis is %s.\r\n", userName, sinkDomain, marker, marker, marker)
}

// receiver stores mail in files.
type receiver interface {
	arrivals(keep func([]byte) bool) ([]arrival, error)
}

// arrived waits until want messages with marker have arrived at a receiver.
func (w *world) arrived(t *T, from receiver, marker string, want int) []arrival {
	var found []arrival
	var err error
	eventually(w.ctx, patience, func() bool {
		found, err = from.arrivals(contains(marker))
		return err == nil && len(found) >= want
	})
	if err != nil || len(found) != want {
		t.Fatalf("%d messages with %s arrived, want %d (%v); the relay's last lines:\n%s",
			len(found), marker, want, err, w.said())
	}
	return found
}

func contains(marker string) func([]byte) bool {
	return func(raw []byte) bool { return strings.Contains(string(raw), marker) }
}

// loginCases: every client logs in by every mechanism over every kind of
// listener, its TLS library against ours, and its message is relayed.
func loginCases() []testCase {
	var cases []testCase
	clients := append(verbatimClients(), client{"s-nail", func(w *world, e errand) (string, error) {
		return sendMail(w, e, "-s", string(e.input))
	}})
	for _, c := range clients {
		for _, mode := range []string{plain, starttls, implicit} {
			for _, mech := range []string{"PLAIN", "LOGIN"} {
				cases = append(cases, testCase{fmt.Sprintf("%s/%s/%s", c.name, mech, mode),
					func(t *T, w *world) { login(t, w, c, mode, mech) }})
			}
		}
		cases = append(cases, testCase{c.name + "/trusted network",
			func(t *T, w *world) { login(t, w, c, trusted, "") }})
	}
	return append(cases,
		testCase{"openssl/PLAIN/implicit", opensslLogin},
		testCase{"smart host/our own login", smartHostLogin},
		testCase{"smart host/verified TLS", verifiedRoute})
}

// RFC 3848: what the Received field says of each way in.
var protocols = map[string]string{plain: "ESMTPA", starttls: "ESMTPSA", implicit: "ESMTPSA", trusted: "ESMTP"}

func login(t *T, w *world, c client, mode, mech string) {
	marker := newMarker()
	e := errand{addr: w.house.addr(mode), mode: mode, mech: mech, from: userName,
		to: []string{"someone@" + sinkDomain}, input: simpleMessage(marker)}
	if c.name == "s-nail" {
		e.input = []byte(marker)
	}
	out, err := c.send(w, e)
	if err != nil {
		t.Fatalf("%v\n%s", err, lastLines(out, 12))
	}
	got := w.arrived(t, w.sink, marker, 1)[0]
	trace, _, _ := splitMessage(got.content)
	want := protocols[mode]
	if c.name == "net-smtp" {
		want = "UTF8" + strings.TrimPrefix(want, "E") // it asks for SMTPUTF8 wherever that is offered
	}
	if c.name == "s-nail" && mode == trusted {
		want = "SMTP" // it says HELO where it does not log in
	}
	if len(trace) == 0 || !slices.Contains(strings.Fields(trace[0]), want) {
		t.Errorf("the Received field does not say %s: %q", want, trace)
	}
	if mode != trusted && strings.Contains(trace[0], "127.0.0.1") {
		t.Errorf("the Received field tells the address of a user: %q", trace[0])
	}
	if got.from != "<"+userName+">" && !strings.HasPrefix(got.from, "<"+userName+"> ") {
		t.Errorf("reverse-path arrived as %s", got.from)
	}
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func opensslLogin(t *T, w *world) {
	d, p, err := openssl(w, w.house.addr(implicit))
	t.must("openssl s_client", err)
	t.Cleanup(p.kill)
	marker := newMarker()
	err = d.play(`
		< 220 relay.test
		> EHLO client.test
		< 250 .*AUTH PLAIN LOGIN
		> AUTH PLAIN ` + base64Plain(userPass) + `
		< 235 2.7.0
		> MAIL FROM:<` + userName + `>
		< 250 2.1.0
		> RCPT TO:<someone@` + sinkDomain + `>
		< 250 2.1.5
		> DATA
		< 354
		raw Subject: ` + marker + `\r\n\r\n` + marker + `\r\n.\r\n
		< 250 2.0.0 queued as [0-9A-Z]{11}-[0-9A-Z]{4}
		> QUIT
		< 221 2.0.0
		closed`)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.out.tail(5))
	}
	w.arrived(t, w.sink, marker, 1)
}

// smartHostLogin: Postfix writes into its Received field who logged in.
func smartHostLogin(t *T, w *world) {
	marker := newMarker()
	_, err := sendCurl(w, errand{addr: w.house.addr(trusted), mode: trusted, from: userName,
		to: []string{"someone@" + loginDomain}, input: simpleMessage(marker)})
	t.must("curl", err)
	got := w.arrived(t, w.postfix, marker, 1)[0]
	if want := "Authenticated sender: " + accountName; !strings.Contains(string(got.trace), want) {
		t.Errorf("Postfix does not say %q: %q", want, got.trace)
	}
}

// verifiedRoute: Postfix writes into its Received field that the mail came
// over TLS.
func verifiedRoute(t *T, w *world) {
	marker := newMarker()
	_, err := sendCurl(w, errand{addr: w.house.addr(trusted), mode: trusted, from: userName,
		to: []string{"someone@" + verifiedDomain}, input: simpleMessage(marker)})
	t.must("curl", err)
	got := w.arrived(t, w.postfix, marker, 1)[0]
	if !strings.Contains(string(got.trace), "using TLSv1.") {
		t.Errorf("Postfix does not speak of TLS: %q", got.trace)
	}
}
