package main

import (
	"dawk/.ci/interop/lab"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
)

var markers atomic.Int64

// newMarker is a word by which one message is found again.
func newMarker() string { return fmt.Sprintf("interop%05d", markers.Add(1)) }

// loginCases: every client logs in by every mechanism over every kind of
// listener, its TLS library against ours, and its message is relayed.
func loginCases() []lab.TestCase {
	var cases []lab.TestCase
	clients := append(lab.VerbatimClients(), lab.Client{Name: "s-nail", Send: func(w *lab.World, e lab.Errand) (string, error) {
		return lab.SendMail(w, e, "-s", string(e.Input))
	}})
	for _, c := range clients {
		for _, mode := range []string{lab.Plain, lab.Starttls, lab.Implicit} {
			for _, mech := range []string{"PLAIN", "LOGIN"} {
				cases = append(cases, lab.TestCase{Name: fmt.Sprintf("%s/%s/%s", c.Name, mech, mode),
					Run: func(t *lab.T, w *lab.World) { login(t, w, c, mode, mech) }})
			}
		}
		cases = append(cases, lab.TestCase{Name: c.Name + "/trusted network",
			Run: func(t *lab.T, w *lab.World) { login(t, w, c, lab.Trusted, "") }})
	}
	return append(cases,
		lab.TestCase{Name: "openssl/PLAIN/implicit", Run: opensslLogin},
		lab.TestCase{Name: "smart host/our own login", Run: smartHostLogin},
		lab.TestCase{Name: "smart host/verified TLS", Run: verifiedRoute})
}

// RFC 3848: what the Received field says of each way in.
var protocols = map[string]string{lab.Plain: "ESMTPA", lab.Starttls: "ESMTPSA", lab.Implicit: "ESMTPSA", lab.Trusted: "ESMTP"}

func login(t *lab.T, w *lab.World, c lab.Client, mode, mech string) {
	marker := newMarker()
	e := lab.Errand{Addr: w.House.Addr(mode), Mode: mode, Mech: mech, From: lab.UserName,
		To: []string{"someone@" + lab.SinkDomain}, Input: lab.SimpleMessage(marker)}
	if c.Name == "s-nail" {
		e.Input = []byte(marker)
	}
	out, err := c.Send(w, e)
	if err != nil {
		t.Fatalf("%v\n%s", err, lab.LastLines(out, 12))
	}
	got := w.Arrived(t, w.Sink, marker, 1)[0]
	trace, _, _ := lab.SplitMessage(got.Content)
	want := protocols[mode]
	if c.Name == "net-smtp" {
		want = "UTF8" + strings.TrimPrefix(want, "E") // it asks for SMTPUTF8 wherever that is offered
	}
	if c.Name == "s-nail" && mode == lab.Trusted {
		want = "SMTP" // it says HELO where it does not log in
	}
	if len(trace) == 0 || !slices.Contains(strings.Fields(trace[0]), want) {
		t.Errorf("the Received field does not say %s: %q", want, trace)
	}
	if mode != lab.Trusted && strings.Contains(trace[0], "127.0.0.1") {
		t.Errorf("the Received field tells the address of a user: %q", trace[0])
	}
	if got.From != "<"+lab.UserName+">" && !strings.HasPrefix(got.From, "<"+lab.UserName+"> ") {
		t.Errorf("reverse-path arrived as %s", got.From)
	}
}

func opensslLogin(t *lab.T, w *lab.World) {
	d, p, err := lab.Openssl(w, w.House.Addr(lab.Implicit))
	t.Must("openssl s_client", err)
	t.Cleanup(p.Kill)
	marker := newMarker()
	err = d.Play(`
		< 220 relay.test
		> EHLO client.test
		< 250 .*AUTH PLAIN LOGIN
		> AUTH PLAIN ` + lab.Base64Plain(lab.UserPass) + `
		< 235 2.7.0
		> MAIL FROM:<` + lab.UserName + `>
		< 250 2.1.0
		> RCPT TO:<someone@` + lab.SinkDomain + `>
		< 250 2.1.5
		> DATA
		< 354
		raw Subject: ` + marker + `\r\n\r\n` + marker + `\r\n.\r\n
		< 250 2.0.0 queued as [0-9A-Z]{11}-[0-9A-Z]{4}
		> QUIT
		< 221 2.0.0
		closed`)
	if err != nil {
		t.Fatalf("%v\n%s", err, p.Out.Tail(5))
	}
	w.Arrived(t, w.Sink, marker, 1)
}

// smartHostLogin: Postfix writes into its Received field who logged in.
func smartHostLogin(t *lab.T, w *lab.World) {
	marker := newMarker()
	_, err := lab.SendCurl(w, lab.Errand{Addr: w.House.Addr(lab.Trusted), Mode: lab.Trusted, From: lab.UserName,
		To: []string{"someone@" + lab.LoginDomain}, Input: lab.SimpleMessage(marker)})
	t.Must("curl", err)
	got := w.Arrived(t, w.Postfix, marker, 1)[0]
	if want := "Authenticated sender: " + lab.AccountName; !strings.Contains(string(got.Trace), want) {
		t.Errorf("Postfix does not say %q: %q", want, got.Trace)
	}
}

// verifiedRoute: Postfix writes into its Received field that the mail came
// over TLS.
func verifiedRoute(t *lab.T, w *lab.World) {
	marker := newMarker()
	_, err := lab.SendCurl(w, lab.Errand{Addr: w.House.Addr(lab.Trusted), Mode: lab.Trusted, From: lab.UserName,
		To: []string{"someone@" + lab.VerifiedDomain}, Input: lab.SimpleMessage(marker)})
	t.Must("curl", err)
	got := w.Arrived(t, w.Postfix, marker, 1)[0]
	if !strings.Contains(string(got.Trace), "using TLSv1.") {
		t.Errorf("Postfix does not speak of TLS: %q", got.Trace)
	}
}
