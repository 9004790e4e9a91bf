package relay

import (
	"fmt"
	"strings"
)

// XText writes s as xtext (RFC 3461 §4): printable ASCII but "+" and "=", and
// "+" with two hexadecimal digits for each other octet.
func XText(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < '!' || c > '~' || c == '+' || c == '=' {
			fmt.Fprintf(&b, "+%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// UTF8XText writes s as utf-8-addr-xtext (RFC 6533 §3): everything but QCHAR is
// written as \x{HEX}.
func UTF8XText(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r < '!' || r > '~' || r == '+' || r == '=' || r == '\\' {
			fmt.Fprintf(&b, `\x{%02X}`, r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
