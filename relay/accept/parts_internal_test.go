package accept

import (
	"bytes"
	"strings"
	"testing"
)

// TestSignedPartsInAnyPieces: what is signed is found however the body is cut.
func TestSignedPartsInAnyPieces(t *testing.T) {
	deep := "--a\r\nContent-Type: message/rfc822; x=\r\n y\r\n\r\nSubject: x\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\nX-Long: " +
		strings.Repeat("z", 3*partLine) + "\r\nContent-Type:\r\n multipart/signed\r\n\r\n"
	for name, c := range map[string]struct {
		kind, body string
		want       bool
	}{
		"deep":             {"multipart/mixed", deep, true},
		"no parts":         {"text/plain", deep, false},
		"not a header":     {"multipart/mixed", strings.Replace(deep, "--c", "- c", 1), false},
		"another field":    {"multipart/mixed", "--a\r\nX-Content-Type: multipart/signed\r\n\r\n", false},
		"behind a text":    {"multipart/mixed", "--a\r\nno field\r\nContent-Type: multipart/signed\r\n\r\n", false},
		"PGP":              {"text/plain", "hello\r\n-----BEGIN PGP SIGNED MESSAGE-----\r\n", true},
		"PGP in a line":    {"text/plain", "hello -----BEGIN PGP SIGNED MESSAGE-----\r\n", false},
		"a line of a dash": {"multipart/mixed", "-\r\n\r\n-\r\nContent-Type: multipart/signed\r\n", false},
	} {
		for size := 1; size < 80; size++ {
			p := parts{}
			got := p.atTop([]byte(c.kind))
			for rest := []byte(c.body); len(rest) > 0; {
				n := min(size, len(rest))
				if i := bytes.IndexByte(rest[:n], '\n'); i >= 0 {
					n = i + 1
				}
				got = p.see(rest[:n]) || got
				rest = rest[n:]
			}
			if got != c.want || cap(p.line) > 2*partLine {
				t.Fatalf("%s in pieces of %d: %v", name, size, got)
			}
		}
	}
}
