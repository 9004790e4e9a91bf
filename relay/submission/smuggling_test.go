package submission_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"dawk/relay"
	"dawk/relay/submission"
)

// Only CRLF.CRLF ends a message (RFC 5321 §4.1.1.4). Everything else that some
// program somewhere takes for its end is content and, unless it is mended, a
// fault: what follows it is never read as commands.
func TestEndOfData(t *testing.T) {
	const evil = "MAIL FROM:<evil@example.org>\r\nRCPT TO:<v@example.com>\r\nDATA\r\nevil\r\n.\r\n"
	variants := []struct {
		end    string
		ends   bool   // this is a true end
		mended string // the content before what follows, where it is mended
	}{
		{"\r\n.\r\n", true, "body\r\n"},
		{"\n.\n", false, "body\r\n.\r\n"},
		{"\n.\r\n", false, "body\r\n.\r\n"},
		{"\r\n.\n", false, "body\r\n\r\n"},
		{"\r.\r", false, "body . "},
		{"\r.\r\n", false, "body .\r\n"},
		{"\r\n.\r", false, "body\r\n "},
		{"\r\r\n.\r\n", true, "body\r\n"},
		{"\r\n.\r\r\n", false, "body\r\n\r\n"},
		{"\n..\r\n", false, "body\r\n.\r\n"},
		{"\r\n..\r\n", false, "body\r\n.\r\n"},
		{"\r\n\x00.\r\n", false, ""}, // NUL is never mended
	}
	for _, v := range variants {
		for _, policy := range []string{"reject", "normalize"} {
			t.Run(fmt.Sprintf("%q %s", v.end, policy), func(t *testing.T) {
				t.Parallel()
				l := trusted()
				l.BareNewline = policy
				f := start(t, options{listener: l})
				c := f.play(hello + envel + data)
				c.send("S: 1\r\n\r\nbody" + v.end + evil)
				first := c.reply()
				if v.ends { // what follows are commands indeed
					f.more(c, "<- 250\n<- 250\n<- 354\n<- 250 2.0.0 queued")
				}
				got := f.q.Messages()
				clean := v.end == "\r\n.\r\n" || v.end == "\r\n..\r\n"
				if v.mended == "" || policy == "reject" && !clean {
					if !strings.HasPrefix(first, "554 5.6.11") {
						t.Errorf("answered %q", first)
					}
					if v.ends {
						got = got[1:] // the second, which was meant
					}
					if len(got) > 0 && !v.ends {
						t.Errorf("%d messages: %q", len(got), got[0].Content)
					}
					return
				}
				want := v.mended
				if !v.ends {
					want += strings.TrimSuffix(evil, ".\r\n")
				}
				if !strings.HasPrefix(first, "250 2.0.0 queued") || got[0].Body() != want {
					t.Errorf("answered %q, body %q, wanted %q", first, got[0].Body(), want)
				}
			})
		}
	}
}

func TestFold(t *testing.T) {
	l := trusted()
	l.LongLines = "fold"
	f := start(t, options{listener: l})
	c := f.play(hello + envel + data)
	long := strings.Repeat("x", 996) + "ü" + strings.Repeat("y", 100000)
	edge := strings.Repeat("z", 64<<10-1) // its CR is the last octet of a full buffer
	c.send("S: 1\r\n\r\n." + "." + long + "\r\nend\r\n" + edge + "\r\n.\r\n")
	f.more(c, "<- 250 2.0.0 queued")
	body := f.q.Messages()[0].Body()
	for line := range strings.SplitSeq(body, "\r\n") {
		if len(line) > 998 {
			t.Errorf("a line of %d octets", len(line))
		}
	}
	if strings.ReplaceAll(body, "\r\n ", "") != "."+long+"\r\nend\r\n"+edge+"\r\n" {
		t.Error("folding changed more than it may")
	}
	if !strings.Contains(body, "ü") {
		t.Error("a UTF-8 sequence was torn")
	}
}

// Content past the limit is read, so that the client hears why, but not for ever.
func TestEndless(t *testing.T) {
	f := start(t, options{listener: trusted(), config: func(c *submission.Config) { c.MaxMessageSize = 1000 }})
	c := f.play(hello + envel + data)
	for range 1 << 10 {
		c.send(strings.Repeat("x", 70) + "\r\n")
	}
	f.more(c, "-> .\n<- 552 5.3.4\n"+envel+data)
	sent := make(chan int)
	go func() {
		line, n := bytes.Repeat([]byte(strings.Repeat("x", 70)+"\r\n"), 1000), 0
		for ; n < 1<<30; n += len(line) {
			if _, err := c.c.Write(line); err != nil {
				break
			}
		}
		sent <- n
	}()
	if n := <-sent; n > 64<<20 {
		t.Errorf("%d octets were taken", n)
	}
	if e := f.seen.Wait(relay.EventRefused, 2); len(e) != 2 || e[1].Reason != "size" {
		t.Errorf("%+v", e)
	}
}

// result is everything that a client and the queue can see.
func (f *fixture) result(t testing.TB, input []byte, cuts []int) string {
	t.Helper()
	f.forget()
	c := f.dial()
	var out bytes.Buffer
	done := make(chan struct{})
	go func() { defer close(done); out.ReadFrom(c.c) }()
	for _, piece := range pieceUp(input, cuts) {
		if _, err := c.c.Write(piece); err != nil {
			break
		}
	}
	c.halfClose()
	<-done
	return f.outcome(out.String())
}

// forget begins anew with an empty queue and no events.
func (f *fixture) forget() {
	f.q.Lock()
	f.q.Taken, f.q.Last = nil, 0
	f.q.Unlock()
	f.seen.Lock()
	f.seen.Events = nil
	f.seen.Unlock()
}

// pieceUp cuts input into pieces of these sizes; what is left is the last one.
func pieceUp(input []byte, cuts []int) (pieces [][]byte) {
	for _, n := range cuts {
		if n = min(n, len(input)); n > 0 {
			pieces, input = append(pieces, input[:n]), input[n:]
		}
	}
	if len(input) > 0 {
		pieces = append(pieces, input)
	}
	return pieces
}

// outcome is what the server said and what the queue holds, but for the times
// that stand in it.
func (f *fixture) outcome(said string) string {
	var b strings.Builder
	b.WriteString(said)
	for _, m := range f.q.Messages() {
		_, rest, _ := strings.Cut(m.Content, "; ") // of Received
		_, rest, _ = strings.Cut(rest, "\r\n")
		if i := strings.Index(rest, "Date: "); i == 0 {
			_, rest, _ = strings.Cut(rest, "\r\n")
		}
		fmt.Fprintf(&b, "\n%s %v %q", m.From, m.Recipients, rest)
	}
	return b.String()
}

func splitInputs() []string {
	pre := "EHLO c\r\nMAIL FROM:<a@example.org> BODY=8BITMIME\r\nRCPT TO:<b@example.com>\r\nDATA\r\n"
	long := strings.Repeat(strings.Repeat("x", 70)+"\r\n..\r\n", 2000)
	return []string{
		pre + "S: 1\r\n\r\nbody\r\n..\r\n...\r\n.x\r\n.\r\nMAIL FROM:<c@example.org>\r\nQUIT\r\n",
		pre + "\r\n.\r\nRSET\r\nNOOP\r\nQUIT\r\n",
		pre + ".\r\nFOO\r\nQUIT\r\n",
		pre + "S: 1\r\nBcc: x@example.com\r\n\ty@example.com\r\nReceived: from x\r\n\r\n" + long + ".\r\nQUIT\r\n",
		pre + "S: 1\r\n\r\nbare\nlf and\rcr \r\r\n.\n\n..\n.\r\n.\r\nQUIT\r\n",
		pre + "S: 1\r\n\r\n" + strings.Repeat("y", 150000) + "\r\n.\r\nQUIT\r\n",
		pre + "S: 1\r\n\r\n" + strings.Repeat("\r", 150000) + "\r\n.\r\nQUIT\r\n",
		pre + "S: 1\r\n\r\n" + strings.Repeat("y", 64<<10+300) + "\r\nend\r\n.\r\nQUIT\r\n",
		pre + "no header\r\n.\r\nQUIT\r\n",
	}
}

// However the network cuts the input, the outcome is the same.
func TestSplitInput(t *testing.T) {
	for _, policy := range []string{"reject", "normalize"} {
		l := trusted()
		l.BareNewline, l.LongLines = policy, map[string]string{"reject": "reject", "normalize": "fold"}[policy]
		f := start(t, options{listener: l})
		for i, input := range splitInputs() {
			want := f.result(t, []byte(input), nil)
			if !strings.Contains(want, "221 2.0.0") {
				t.Errorf("input %d: no end of the session in %q", i, want)
			}
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 8 {
				var cuts []int
				for range 40 {
					cuts = append(cuts, 1+r.IntN(1+r.IntN(min(len(input)/10, 3000))))
				}
				if got := f.result(t, []byte(input), cuts); got != want {
					t.Fatalf("input %d cut at %v:\ngot  %.2000q\nwant %.2000q", i, cuts, got, want)
				}
			}
		}
	}
}
