package show_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"dawk/cmd/dawk/internal/show"
)

// TestEscaped: nothing that steers a terminal or hides passes, wherever a write
// was cut, and JSON means the same.
func TestEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 漢 🙂\n\ttext\r\n":         "plain ü 漢 🙂\n\ttext\r\n",
		"a\u202eb":                        `a\u202eb`,
		"a\u200b\u2066\ufeff\u00ad\u061c": `a\u200b\u2066\ufeff\u00ad\u061c`,
		"a\x1b[8mb\x1b]0;x\ab\x9bc":       "a\\u001b[8mb\\u001b]0;x\\u0007b\x9bc",
		"a\u009bb\u2028\u3164":            `a\u009bb\u2028\u3164`,
		"\x1b[31mred\x1b[0m":              "\x1b[31mred\x1b[0m",
		"a\U000e0041":                     `a\udb40\udc41`,
		"a\rb":                            `a\u000db`,
	} {
		for size := 1; size <= len(in); size++ {
			var b bytes.Buffer
			w := show.NewEscaped(&b)
			for rest := []byte(in); len(rest) > 0; rest = rest[min(size, len(rest)):] {
				if _, err := w.Write(rest[:min(size, len(rest))]); err != nil {
					t.Fatal(err)
				}
			}
			if b.String() != want {
				t.Errorf("%q in pieces of %d: %q, want %q", in, size, b.String(), want)
			}
			if bytes.ContainsRune(b.Bytes(), 0x202e) {
				t.Errorf("%q in pieces of %d: %q", in, size, b.String())
			}
		}
	}
	text := "\u202e\U000e0041ü"
	line, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	var back string
	if err := json.Unmarshal(show.Escape(line), &back); err != nil || back != text {
		t.Errorf("%q, %v", back, err)
	}
}
