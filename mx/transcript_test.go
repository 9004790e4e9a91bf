package mx_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"dawk/mx"
	"dawk/mx/mxtest"
	"dawk/relay"
)

// words are the lines of a transcript with their speakers.
func words(t relay.Transcript) string {
	var b strings.Builder
	for _, l := range t.Lines {
		fmt.Fprintf(&b, "%s: %s\n", l.By, l.Text)
	}
	return b.String()
}

// What was said is there in order: on a new connection and on an open one.
func TestTranscriptOfARefusal(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	if res := w.deliver(task(t, letter, "b@b.test")); len(res.Transcript.Lines) != 0 {
		t.Errorf("of an attempt that succeeded:\n%s", words(res.Transcript))
	}
	w.script("rcpt", "450 4.7.1 come back later", 1)
	res := w.deliver(task(t, letter, "b@b.test"))
	said := words(res.Transcript)
	rest := said
	for _, want := range []string{"note: on an open connection to mx.b.test at 127.0.0.1\n", "client: MAIL FROM:<a@example.org>", "server: 250 ", "client: RCPT TO:<b@b.test>", "server: 450 4.7.1 come back later\n"} {
		_, after, found := strings.Cut(rest, want)
		if !found {
			t.Fatalf("lacks %q in its place:\n%s", want, said)
		}
		rest = after
	}
	other := newWorld(t, mxtest.Config{}, nil)
	other.script("dot", "554 5.7.1 not this", 1)
	said = words(other.deliver(task(t, letter, "b@b.test")).Transcript)
	for _, want := range []string{"note: connected to mx.b.test", "server: 220 ", "client: EHLO relay.example.org", "server: 250-", "client: DATA", "server: 354 ", fmt.Sprintf("note: the content, %d octets", len(letter)), "server: 554 5.7.1 not this"} {
		if !strings.Contains(said, want) {
			t.Errorf("lacks %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "Subject") || strings.Contains(said, "hello\n") {
		t.Errorf("it has the content:\n%s", said)
	}
}

// A login is there, but none of its secrets, whatever the mechanism.
func TestTranscriptHasNoSecret(t *testing.T) {
	for offer, token := range map[string]bool{"PLAIN": false, "LOGIN": false, "SCRAM-SHA-256": false, "XOAUTH2": true, "OAUTHBEARER": true} {
		const password = "hunter2-hunter2"
		tr, srv, _ := smartHost(t, mxtest.Config{Auth: offer, Good: func(s string) bool { return s == password }, Users: map[string]string{"scanner@example.org": password}},
			mx.Route{Token: token, Credential: &secret{token: password}}, 0)
		if err := srv.Script("mail", "451 4.3.0 not now", 1); err != nil {
			t.Fatal(err)
		}
		said := words(tr.Deliver(t.Context(), task(t, letter, "b@b.test")).Transcript)
		if !strings.Contains(said, "client: AUTH "+offer) || !strings.Contains(said, "server: 235 ") || !strings.Contains(said, "451 4.3.0 not now") {
			t.Errorf("%s:\n%s", offer, said)
		}
		wire := strings.Join(srv.Commands(), "\n")
		for _, line := range strings.Split(said, "\n") { // no word of it is one that only the login has
			for _, word := range strings.Fields(line) {
				plain, err := base64.StdEncoding.DecodeString(word)
				if len(word) > 12 && err == nil {
					t.Errorf("%s: %q, which is %q", offer, line, plain)
				}
			}
		}
		if strings.Contains(said, password) || !strings.Contains(wire, "AUTH "+offer) {
			t.Errorf("%s:\n%s", offer, said)
		}
	}
}

// It has a bound, whoever talks much, and keeps the end.
func TestTranscriptIsBounded(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	var to []string
	for i := range 200 {
		to = append(to, fmt.Sprintf("user%d@b.test", i))
	}
	w.script("rcpt", "450 4.2.2 "+strings.Repeat("long \x1b[31m", 100), 200)
	t0 := w.deliver(task(t, letter, to...)).Transcript
	said := words(t0)
	if t0.Omitted == 0 || len(said) > 6<<10 || len(t0.Lines) < 10 || strings.Contains(said, "\x1b") {
		t.Errorf("%d omitted, %d octets:\n%s", t0.Omitted, len(said), said)
	}
	if last := t0.Lines[len(t0.Lines)-1]; !strings.HasPrefix(last.Text, "450 4.2.2") && !strings.HasPrefix(last.Text, "5") {
		t.Errorf("the last line is %+v", last)
	}
}

// A server that says nothing is told of, with the time that it took.
func TestTranscriptOfSilence(t *testing.T) {
	w := newWorld(t, mxtest.Config{}, nil)
	w.script("mail", "drop", 1)
	said := words(w.deliver(task(t, letter, "b@b.test")).Transcript)
	if !strings.Contains(said, "client: MAIL FROM:<a@example.org>") || !strings.Contains(said, "note: no reply: ") {
		t.Error(said)
	}
}
