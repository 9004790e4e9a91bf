package mx_test

import (
	"testing"

	"dawk/mx/mxtest"
)

var pipelined = [][]string{{"PIPELINING"}, {}}

// TestEarlierErrors: what a server says of the errors, messages and unknown
// recipients that came before in a session is no verdict on the mail that met it:
// a new connection gives that.
func TestEarlierErrors(t *testing.T) {
	for _, no := range []string{"554 5.7.0 Too many errors in this session", "550 5.7.0 Too many nonmail commands", "550 5.5.1 too many bad commands",
		"554 5.7.1 session timeout, please reconnect", "500 5.5.1 Only one mail per connection", "421 4.7.0 too many errors",
		"550 5.7.1 Maximum number of emails per connection exceeded", "503 5.5.1 say HELO first"} {
		for _, ext := range pipelined {
			w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
			w.deliver(task(t, letter, "a@b.test"))
			w.script("mail", no, 1)
			if r := w.deliver(task(t, letter, "b@b.test")).Replies[0]; !r.Positive() {
				t.Errorf("%s %v: %v", no, ext, r)
			}
		}
	}
}

// TestTooManyUnknownRecipients: who comes after them is offered once more.
func TestTooManyUnknownRecipients(t *testing.T) {
	for _, no := range []string{"550 5.7.1 Too many invalid recipients", "554 5.7.0 Too many errors", "550 Too many unknown users in this session",
		"421 4.7.0 Error: too many errors", "close 554 5.7.0 Too many errors, closing connection"} {
		for _, ext := range pipelined {
			for _, to := range [][]string{{"no@b.test", "good@b.test", "too@b.test"}, {"too@b.test", "no@b.test", "good@b.test"}} {
				w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
				w.script("rcpt:no@b.test", "550 5.1.1 no such user", 0)
				w.script("rcpt:good@b.test", no, 1)
				res := w.deliver(task(t, letter, to...))
				for i, r := range res.Replies {
					if bad := to[i] == "no@b.test"; bad != r.Permanent() || bad == r.Positive() {
						t.Errorf("%s %v: %s: %v", no, ext, to[i], r)
					}
				}
				if n := w.srv.Sessions(); n > 2 {
					t.Errorf("%s %v: %d connections", no, ext, n)
				}
			}
		}
	}
}

// TestAnswersAboutTheDialogue: a server that does not know a command, or minds
// its order, says nothing of the mail, which waits; another says what it means by
// a status or by words.
func TestAnswersAboutTheDialogue(t *testing.T) {
	for _, c := range []struct {
		no      string
		at      []string
		returns bool
	}{
		{"503 5.5.1 bad sequence", []string{"mail", "rcpt", "data", "dot"}, false},
		{"502 5.5.1 not implemented", []string{"mail", "rcpt", "data", "dot"}, false},
		{"500 what?", []string{"mail", "rcpt", "data", "dot"}, false},
		{"503 5.7.0 say HELO first", []string{"mail", "rcpt"}, false},
		{"503 5.0.0 Polite people say HELO first", []string{"mail"}, false},
		{"550 5.7.1 say EHLO first", []string{"mail"}, false},
		{"500 5.1.1 no such user", []string{"rcpt"}, true},
		{"500 User unknown", []string{"rcpt"}, true},
		{"501 malformed address", []string{"rcpt"}, true},
		{"550 5.7.1 HELO name is on a block list", []string{"mail", "rcpt"}, true},
		{"554 5.7.1 spam", []string{"dot"}, true},
	} {
		for _, at := range c.at {
			for _, ext := range pipelined {
				w := newWorld(t, mxtest.Config{Extensions: ext}, nil)
				w.script(at, c.no, 0)
				r := w.deliver(task(t, letter, "a@b.test")).Replies[0]
				n := w.srv.Sessions()
				if r.Positive() || r.Permanent() != c.returns || n > 2 {
					t.Errorf("%s: %s %v: %v, %d connections", at, c.no, ext, r, n)
				}
				if w.deliver(task(t, letter, "b@b.test")); !c.returns && w.srv.Sessions() == n {
					t.Errorf("%s: %s %v: the connection serves the next attempt", at, c.no, ext)
				}
			}
		}
	}
}

// TestRefusedSIZE: however a server words that it does not know SIZE, it gets the
// mail without.
func TestRefusedSIZE(t *testing.T) {
	for _, no := range []string{"500 5.5.2 Syntax error, command unrecognized", "500 Syntax error", "501 5.1.7 Bad sender address syntax",
		"550 5.5.4 Unsupported parameter", "553 5.5.4 SIZE not understood", "503 5.5.4 Unsupported option: SIZE", "501 5.5.4 no", "555 no"} {
		for _, ext := range pipelined {
			w := newWorld(t, mxtest.Config{Extensions: append([]string{"SIZE 50000000"}, ext...)}, nil)
			w.script("mail", no, 1)
			if r := w.deliver(task(t, letter, "a@b.test")).Replies[0]; !r.Positive() {
				t.Errorf("%s %v: %v", no, ext, r)
			}
		}
	}
}

// TestCutOff: a server that closes the connection for the number of recipients,
// without a word or with a 421 at DATA, is given fewer at the next attempts.
func TestCutOff(t *testing.T) {
	for at, do := range map[string]string{"rcpt:r5@b.test": "drop", "data": "drop", "data:": "421 4.5.3 Too many recipients"} {
		w := newWorld(t, mxtest.Config{}, nil)
		w.script(at, do, 1)
		if res := w.deliver(task(t, letter, many(12)...)); !waiting(res.Replies[0]) {
			t.Errorf("%s %s: %v", at, do, res.Replies[0])
		}
		res := w.deliver(task(t, letter, many(12)...))
		most := 0
		for _, m := range w.srv.Messages() {
			most = max(most, len(m.Recipients))
		}
		if !res.Replies[11].Positive() || most == 0 || most > 6 {
			t.Errorf("%s %s: %v, %d in a message", at, do, res.Replies[11], most)
		}
	}
}

// TestWordsForTheNumberOfRecipients: the rest goes in another transaction, whatever
// the words.
func TestWordsForTheNumberOfRecipients(t *testing.T) {
	for _, no := range []string{"550 5.7.1 Maximum recipients (5) exceeded", "554 5.7.1 You can send to at most 5 recipients at once",
		"550 Recipient limit of 5 exceeded", "550 5.7.1 Max message recipients exceeded", "554 more than 5 recipients", "550 cannot exceed 5 recipients",
		"451 4.7.1 Please send to fewer recipients"} {
		w := newWorld(t, mxtest.Config{}, nil)
		w.script("rcpt:r5@b.test", no, 1)
		for i, r := range w.deliver(task(t, letter, many(8)...)).Replies {
			if !r.Positive() {
				t.Errorf("%s: %d: %v", no, i, r)
			}
		}
	}
}
