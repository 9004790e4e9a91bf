package mailtext_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"

	"dawk/relay/mailtext"
)

func lines(t *testing.T, in string, mend bool, step int) (string, error) {
	t.Helper()
	var b bytes.Buffer
	l := mailtext.NewLines(&b, mend)
	for rest := []byte(in); len(rest) > 0; {
		n := min(step, len(rest))
		if _, err := l.Write(rest[:n]); err != nil {
			return b.String(), err
		}
		rest = rest[n:]
	}
	err := l.Close()
	return b.String(), err
}

func TestLines(t *testing.T) {
	long := strings.Repeat("ü", 499) + "x" // 999 octets
	for _, c := range []struct {
		in, mended string
		strict     error
	}{
		{"", "", nil},
		{"a", "a\r\n", nil},
		{"a\nb\r\nc\n", "a\r\nb\r\nc\r\n", nil},
		{"a\r\r\nb\n", "a\r\nb\r\n", mailtext.ErrBareCR},
		{"10%\r20%\n", "10% 20%\r\n", mailtext.ErrBareCR},
		{"Subject: x\rBcc: a@b.test\n\n", "Subject: x Bcc: a@b.test\r\n\r\n", mailtext.ErrBareCR},
		{"a\x00b\n", "ab\r\n", mailtext.ErrNUL},
		{strings.Repeat("x", 998) + "\n", strings.Repeat("x", 998) + "\r\n", nil},
		{long + "\n", long + "\r\n", nil},
		{"a\n\r", "a\r\n\r\n", nil},
	} {
		for _, step := range []int{1, 7, 1 << 20} {
			if got, err := lines(t, c.in, true, step); err != nil || got != c.mended {
				t.Errorf("mended in steps of %d: %q became %q, %v", step, c.in, got, err)
			}
			if _, err := lines(t, c.in, false, step); !errors.Is(err, c.strict) {
				t.Errorf("strict in steps of %d: %q: %v", step, c.in, err)
			}
		}
	}
}

// FuzzLines: however the text is cut, what comes out is strict, and the same;
// text that is strict already comes out as it was.
func FuzzLines(f *testing.F) {
	f.Add("a\r\n.\n\rb\x00", 1)
	f.Add(strings.Repeat("üx\r", 4000), 900)
	f.Add(strings.Repeat("x", 10000)+"\ny", 4096)
	f.Fuzz(func(t *testing.T, in string, step int) {
		if step < 1 {
			step = 1
		}
		out, err := lines(t, in, true, step)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSuffix(out, "\r\n"), "\r\n") {
			if strings.ContainsAny(line, "\r\n\x00") {
				t.Fatalf("not a line of mail: %q", line)
			}
		}
		again, err := lines(t, out, false, 1<<20)
		if err != nil || again != out {
			t.Fatalf("what was mended is not strict: %v", err)
		}
	})
}

func TestTokensFold(t *testing.T) {
	got, err := mailtext.Tokens("References", strings.Repeat("<0123456789@example.org> ", 10))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(got, "\r\n") {
		if len(line) > 78 {
			t.Errorf("%d octets: %q", len(line), line)
		}
	}
	if strings.Count(got, "<0123456789@example.org>") != 10 {
		t.Errorf("%q", got)
	}
	for _, value := range []string{"", "ü", "a\nb", strings.Repeat("x", 1000)} {
		if _, err := mailtext.Tokens("References", value); err == nil {
			t.Errorf("%q was taken", value)
		}
	}
}

func TestAtLineStart(t *testing.T) {
	for _, c := range []struct {
		text, prefix string
		want         int
	}{
		{"", ".", -1}, {".", ".", -1}, {"a.\r\nb", ".", -1}, {"a\r\n.b\r\n", ".", 3}, {"...\r\n..\r\n", ".", 5},
		{"a\n.", ".", 2}, {"--x\r\n-y\r\n--z\r\n", "--", 9}, {"a\r\n-", "--", -1}, {"-----\r\na-\n-----", "--", 10},
	} {
		if got := mailtext.AtLineStart([]byte(c.text), c.prefix); got != c.want {
			t.Errorf("%q, %q: %d, want %d", c.text, c.prefix, got, c.want)
		}
	}
	// It agrees with a plain search.
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10_000 {
		b := make([]byte, rng.IntN(40))
		for i := range b {
			b[i] = "a\n.-"[rng.IntN(4)]
		}
		for _, prefix := range []string{".", "--"} {
			want := bytes.Index(b, []byte("\n"+prefix))
			if want >= 0 {
				want++
			}
			if got := mailtext.AtLineStart(b, prefix); got != want {
				t.Fatalf("%q, %q: %d, want %d", b, prefix, got, want)
			}
		}
	}
}
