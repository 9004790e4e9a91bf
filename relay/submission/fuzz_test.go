package submission_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
)

// scripted is a client without a network: what it says comes in the pieces
// given, and then it hangs up. A session costs microseconds, so that a million
// of them can be tried.
type scripted struct {
	pieces [][]byte
	said   bytes.Buffer // by the server
}

func (s *scripted) Read(p []byte) (int, error) {
	if len(s.pieces) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.pieces[0])
	if s.pieces[0] = s.pieces[0][n:]; len(s.pieces[0]) == 0 {
		s.pieces = s.pieces[1:]
	}
	return n, nil
}

func (s *scripted) Write(p []byte) (int, error)      { return s.said.Write(p) }
func (s *scripted) Close() error                     { return nil }
func (s *scripted) LocalAddr() net.Addr              { return (*pipeListener)(nil).Addr() }
func (s *scripted) RemoteAddr() net.Addr             { return (*pipeListener)(nil).Addr() }
func (s *scripted) SetDeadline(time.Time) error      { return nil }
func (s *scripted) SetReadDeadline(time.Time) error  { return nil }
func (s *scripted) SetWriteDeadline(time.Time) error { return nil }

// scriptedResult is result without a network, for a fixture with pipes whose
// recorder tells of connections that are gone.
func (f *fixture) scriptedResult(input []byte, cuts []int) (said, outcome string) {
	f.forget()
	c := &scripted{pieces: pieceUp(input, cuts)}
	f.pipes.conns <- c
	<-f.seen.Gone
	return c.said.String(), f.outcome(c.said.String())
}

// scriptedServer is a server for scripted clients.
func scriptedServer(t testing.TB, o options) *fixture {
	o.pipes = true
	f := start(t, o)
	f.seen.Lock()
	f.seen.Gone = make(chan struct{})
	f.seen.Unlock()
	return f
}

// strictAndMending are two servers, of which the second mends what it can.
func strictAndMending(f *testing.F) map[bool]*fixture {
	servers := map[bool]*fixture{}
	for _, normalize := range []bool{false, true} {
		l := trusted()
		l.BareNewline, l.LongLines = "reject", "reject"
		if normalize {
			l.BareNewline, l.LongLines = "normalize", "fold"
		}
		srv := scriptedServer(f, options{listener: l})
		f.Cleanup(srv.stop)
		servers[normalize] = srv
	}
	return servers
}

var endings = []string{"body", "\r\n.\r\n", "a\r\n.\r\nb\r\n.\r\n", "\n.\n", "\r\n.\r", ".", "..", "\r.\r\n", "\r\r\n.\r\n", "\x00", "a: b\r\n\r\n\xff"}

// FuzzMessages sends any octets as content. The number of messages is the
// number of true ends, and what is stored is strict.
func FuzzMessages(f *testing.F) {
	for _, s := range endings {
		f.Add([]byte(s), uint16(7), false)
		f.Add([]byte(s), uint16(1), true)
	}
	servers := strictAndMending(f)
	f.Fuzz(func(t *testing.T, content []byte, chunk uint16, normalize bool) {
		// What stands behind the first end is read as commands, rightly; it
		// can make a second message only with DATA.
		first, rest, _ := bytes.Cut(append([]byte("\r\n"), content...), []byte("\r\n.\r\n"))
		if bytes.Contains(bytes.ToUpper(rest), []byte("DATA")) {
			return
		}
		srv := servers[normalize]
		input := append([]byte("HELO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"), content...)
		ended := bytes.Contains(append([]byte("\r\n"), content...), []byte("\r\n.\r\n"))
		srv.scriptedResult(input, []int{int(chunk) + 1, int(chunk) + 1})
		got := srv.q.Messages()
		bare := bytes.Count(bytes.ReplaceAll(first, []byte("\r\n"), nil), []byte("\n")) + bytes.Count(bytes.ReplaceAll(first, []byte("\r\n"), nil), []byte("\r"))
		faulty := bytes.IndexByte(first, 0) >= 0 || !normalize && bare > 0
		for line := range bytes.SplitSeq(first, []byte("\r\n")) {
			faulty = faulty || !normalize && len(bytes.TrimPrefix(line, []byte("."))) > 998
		}
		switch {
		case !ended && len(got) != 0:
			t.Fatalf("%d messages without an end: %q", len(got), content)
		case ended && faulty && len(got) != 0:
			t.Fatalf("a faulty message was taken: %q", content)
		}
		for _, m := range got {
			strict(t, m.Content)
		}
		if ended && !faulty && len(got) != 1 && !refusedHeader(srv) {
			t.Fatalf("%d messages from %q", len(got), content)
		}
	})
}

// FuzzSplit sends any octets as content twice: at once, and cut at random
// points. The client hears the same, and the queue gets the same.
func FuzzSplit(f *testing.F) {
	for i, s := range endings {
		f.Add([]byte(s), uint64(i), i%2 == 0)
	}
	for i, s := range splitInputs() {
		if len(s) < 2000 {
			f.Add([]byte(s), uint64(i), i%2 == 0)
		}
	}
	servers := strictAndMending(f)
	f.Fuzz(func(t *testing.T, content []byte, seed uint64, normalize bool) {
		// Behind the end come commands; a client that sends those before it may,
		// and one that is refused DATA, are rightly treated by what has arrived.
		content, _, _ = bytes.Cut(append([]byte("\r\n"), content...), []byte("\r\n.\r\n"))
		input := "EHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.com>\r\nDATA" + string(content) + "\r\n.\r\nNOOP\r\nQUIT\r\n"
		srv, r := servers[normalize], rand.New(rand.NewPCG(seed, 1))
		_, want := srv.scriptedResult([]byte(input), nil)
		var cuts []int
		for range 1 + r.IntN(len(input)) {
			cuts = append(cuts, 1+r.IntN(1+r.IntN(len(input))))
		}
		if _, got := srv.scriptedResult([]byte(input), cuts); got != want {
			t.Fatalf("cut at %v:\ngot  %q\nwant %q", cuts, got, want)
		}
	})
}

// FuzzSession sends any octets as a whole dialogue. Every reply is well formed,
// and no message comes from nowhere. Each has a server and a clock of its own:
// a wrong password costs no second.
func FuzzSession(f *testing.F) {
	for _, s := range splitInputs() {
		if len(s) < 2000 {
			f.Add([]byte(s), uint16(5))
		}
	}
	f.Add([]byte("EHLO c\r\nAUTH LOGIN\r\n*\r\nAUTH PLAIN AGFsaWNlAHNlY3JldA==\r\nMAIL FROM:<> SIZE=1\r\nVRFY x\r\nHELP\r\nBDAT 1\r\n"), uint16(9))
	f.Add([]byte("HELO c\r\nSTARTTLS\r\n\x16\x03\x01"), uint16(100))
	reply := regexp.MustCompile(`^([2345]\d\d[ -][ -~]*\r\n)*$`)
	l := trusted()
	l.Auth = "optional"
	users := newUsers(f)
	f.Fuzz(func(t *testing.T, input []byte, chunk uint16) {
		synctest.Test(t, func(t *testing.T) {
			srv := scriptedServer(t, options{listener: l, users: &users})
			defer srv.stop()
			said, _ := srv.scriptedResult(input, []int{int(chunk) + 1})
			if !reply.MatchString(said) {
				t.Fatalf("%q answered with %q", input, said)
			}
			if ends := strings.Count("\r\n"+string(input), "\r\n.\r\n"); len(srv.q.Messages()) > ends {
				t.Fatalf("%d messages from %d ends: %q", len(srv.q.Messages()), ends, input)
			}
			for _, m := range srv.q.Messages() {
				strict(t, m.Content)
			}
		})
	})
}

// refusedHeader says whether a message was refused for its header.
func refusedHeader(f *fixture) bool {
	for _, e := range f.seen.Of(relay.EventRefused) {
		if e.Reason == string(accept.ReasonHeader) || e.Reason == string(accept.ReasonLoop) {
			return true
		}
	}
	return false
}

// strict checks what may be in the queue: CRLF lines of at most 998 octets.
func strict(t *testing.T, content string) {
	t.Helper()
	left := strings.ReplaceAll(content, "\r\n", "")
	if strings.ContainsAny(left, "\r\n\x00") || !strings.HasSuffix(content, "\r\n") {
		t.Fatalf("stored: %q", content)
	}
	for line := range strings.SplitSeq(content, "\r\n") {
		if len(line) > 998 {
			t.Fatalf("stored a line of %d octets", len(line))
		}
	}
}
