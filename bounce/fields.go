package bounce

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	"dawk/relay"
)

// Lengths of a line without CRLF (RFC 5322 §2.1.1), in octets.
const (
	foldAt  = 78
	maxLine = 998
)

// oneLine makes hostile text fit for one field: valid UTF-8 on one line,
// bounded, and nothing in it that turns the reading direction of what follows.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069, r == 0x200e, r == 0x200f, r == 0xfeff:
			return -1 // bidirectional controls (UAX #9) and the byte order mark; joiners stay, Bengali needs them
		}
		return r
	}, relay.Sanitize(s))
}

// clean is oneLine with runs of spaces taken as one, so that it can be folded.
func clean(s string) string { return strings.Join(strings.Fields(oneLine(s)), " ") }

// writeRaw writes "name: value" CRLF with every space of value in its place,
// for addresses and identifiers, where a quoted string may hold several. Only
// what is longer than a line is folded.
func writeRaw(b *bytes.Buffer, name, value string) {
	if len(name)+2+len(value) > maxLine {
		writeField(b, name, value)
		return
	}
	b.WriteString(name + ": " + value + "\r\n")
}

// writeField writes "name: value" CRLF, folded at spaces to foldAt where it
// can be and in any case below maxLine. value has been cleaned. Unfolding
// (RFC 5322 §2.2.3) gives value back; only a word longer than a line gets a
// space inside.
func writeField(b *bytes.Buffer, name, value string) {
	b.WriteString(name)
	b.WriteByte(':')
	column := len(name) + 1
	for i, word := range strings.Fields(value) {
		if i > 0 && column+1+len(word) > foldAt {
			b.WriteString("\r\n")
			column = 0
		}
		// A word alone on its line may be long; 100 octets are room for the name.
		for ; len(word) > maxLine-100; column = 0 {
			cut := relay.CutAt(word, maxLine-100)
			b.WriteString(" " + word[:cut] + "\r\n")
			word = word[cut:]
		}
		b.WriteString(" " + word)
		column += 1 + len(word)
	}
	b.WriteString("\r\n")
}

// toASCII writes what is not ASCII as \x{HEX}, the form that RFC 6533 §3 has
// for addresses: readable, and nothing is lost.
func toASCII(s string) string {
	if relay.ASCII(s) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if r < utf8.RuneSelf {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, `\x{%X}`, r)
		}
	}
	return b.String()
}

// messageIDOf gives a Message-ID that may stand in In-Reply-To, or "": the
// original's was written by a stranger (RFC 5322 §3.6.4).
func messageIDOf(s string) string {
	if len(s) < 5 || len(s) > 500 || s[0] != '<' || s[len(s)-1] != '>' {
		return ""
	}
	inner := s[1 : len(s)-1]
	if !strings.Contains(inner, "@") || strings.ContainsFunc(inner, func(c rune) bool { return c <= ' ' || c >= 0x7f || c == '<' || c == '>' }) {
		return ""
	}
	return s
}
