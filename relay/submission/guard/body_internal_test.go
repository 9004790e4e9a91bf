package guard

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"testing"
)

// taken is what one call of take makes of a buffer.
func taken(buffer string, size int, take func(*bodyState, *Conn, *bytes.Buffer)) (content string, left string, b bodyState) {
	g := &Conn{in: make([]byte, max(size, len(buffer)))}
	g.w = copy(g.in, buffer)
	var dst bytes.Buffer
	take(&b, g, &dst)
	return dst.String(), string(g.in[g.r:g.w]), b
}

// TestUsualLines: what is taken at once comes out as when each line is looked at.
func TestUsualLines(t *testing.T) {
	both := func(buffer string) (atOnce int) {
		t.Helper()
		size := len(buffer) + 1
		got, left, b := taken(buffer, size, func(b *bodyState, g *Conn, dst *bytes.Buffer) {
			b.takeUsual(g, dst)
			if atOnce = g.r; !b.ended {
				b.takeAny(g, dst)
			}
		})
		want, wantLeft, c := taken(buffer, size, func(b *bodyState, g *Conn, dst *bytes.Buffer) { b.takeAny(g, dst) })
		b.col, c.col = 0, 0 // of lines that are complete
		if got != want || left != wantLeft || b != c {
			t.Errorf("%.200q: %.200q, %.200q, %+v; want %.200q, %.200q, %+v", buffer, got, left, b, want, wantLeft, c)
		}
		return atOnce
	}
	long := strings.Repeat("x", maxTextLine)
	for _, usual := range []string{
		"", ".\r\n", ".\r\nQUIT\r\n", "a\r\n.\r\n", "..a\r\n.b\r\n...\r\n.\r\n", long + "\r\n.\r\n", strings.Repeat("..\r\n", 500) + ".\r\n",
	} {
		end := strings.LastIndex("\r\n"+usual, "\r\n.\r\n") + len(".\r\n")
		if n := both(usual); usual != "" && n != end {
			t.Errorf("%.200q: %d octets at once, want %d", usual, n, end)
		}
	}
	for _, other := range []string{
		"a\n", "a\n.\r\n", "a\r\n.\n", "\r\n.\r\r\n", "a\rb\r\n\n.\r\n", "a\x00b\r\n.\r\n", long + "x\r\n.\r\n", "." + long + "\r\n.\r\n",
		strings.Repeat("..\r\n", 600) + ".\r\n", "a\r\n.", "a\r\n.\r", "a\r\n\r",
	} {
		both(other)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		var s strings.Builder
		for range rng.IntN(12) {
			s.WriteString([]string{"a", ".", "\r\n", "\r\n", "\r\n.", "\n", "\r", "\x00", "bc"}[rng.IntN(7+2*rng.IntN(2))])
		}
		both(s.String())
	}
}
