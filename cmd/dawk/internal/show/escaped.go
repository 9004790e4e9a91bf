package show

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf8"

	"dawk/relay"
)

// escaped writes what strangers wrote so that it does not steer the terminal:
// hidden characters (relay.Hidden) become their escapes as JSON has them, which
// mean the same in JSON and are seen everywhere else. Line ends, tabs and our
// colours pass.
type escaped struct {
	w    io.Writer
	part []byte // what of the last write is understood with the next
}

// NewEscaped is for everything that commands print.
func NewEscaped(w io.Writer) io.Writer { return &escaped{w: w} }

func (e *escaped) Write(p []byte) (int, error) {
	text := append(e.part, p...)
	e.part = nil
	if n := unfinished(text); n > 0 {
		e.part = bytes.Clone(text[len(text)-n:])
		text = text[:len(text)-n]
	}
	if _, err := e.w.Write(Escape(text)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// unfinished is how many octets at the end of b need what follows to be
// understood: half a character, a CR, half a colour.
func unfinished(b []byte) int {
	if i := bytes.LastIndexByte(b, 0x1b); i >= 0 && len(b)-i < longestColour && colour(b[i:]) == 0 {
		return len(b) - i
	}
	if bytes.HasSuffix(b, []byte("\r")) {
		return 1
	}
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		if c := b[len(b)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(b[len(b)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// Escape is text as NewEscaped writes it.
func Escape(text []byte) []byte {
	var out []byte
	done := 0
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRune(text[i:])
		switch {
		case r == '\n' || r == '\t' || r == '\r' && bytes.HasPrefix(text[i+1:], []byte("\n")):
		case r == 0x1b && colour(text[i:]) > 0:
			n = colour(text[i:])
		case relay.Hidden(r):
			out = append(out, text[done:i]...)
			if r > 0xffff { // JSON has these as two
				hi, lo := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
				out = fmt.Appendf(out, "\\u%04x\\u%04x", hi, lo)
			} else {
				out = fmt.Appendf(out, "\\u%04x", r)
			}
			done = i + n
		}
		i += n
	}
	if done == 0 {
		return text
	}
	return append(out, text[done:]...)
}

const longestColour = len("\x1b[31m")

// colour is the length of the colour of ours that begins b; 0: none does.
func colour(b []byte) int {
	for _, code := range []string{"0", Bold, Red, Green, Yellow} {
		if c := "\x1b[" + code + "m"; bytes.HasPrefix(b, []byte(c)) {
			return len(c)
		}
	}
	return 0
}
