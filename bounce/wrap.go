package bounce

import (
	"bytes"
	"strings"
	"unicode"

	"dawk/relay"
)

// wrap writes text as lines of textWidth columns with an indent. No line is
// longer than RFC 5322 allows, whatever the words.
func wrap(b *bytes.Buffer, indent, text string) {
	column := 0
	place := func(piece string, space bool) {
		w := width(piece)
		gap := 0
		if space {
			gap = 1
		}
		if column > 0 && column+gap+w > textWidth {
			b.WriteString("\r\n")
			column = 0
		}
		for ; len(piece) > maxLine-100; column = 0 {
			cut := relay.CutAt(piece, maxLine-100)
			b.WriteString(indent + piece[:cut] + "\r\n")
			piece = piece[cut:]
		}
		switch {
		case column == 0:
			b.WriteString(indent)
			column = len(indent)
		case space:
			b.WriteByte(' ')
			column++
		}
		b.WriteString(piece)
		column += width(piece)
	}
	for _, word := range strings.Fields(text) {
		space := true
		for word != "" {
			n := breakable(word)
			place(word[:n], space)
			word, space = word[n:], false
		}
	}
	b.WriteString("\r\n")
}

// breakable is the length of the beginning of word after which a line may end:
// scripts without spaces break between their letters, but not before what
// closes a phrase nor after what opens one (UAX #14, in short).
func breakable(word string) int {
	const closing, opening = "，。、：；？！）》」』”’…)", "（《「『“‘("
	var last rune
	for i, r := range word {
		if i > 0 && (wide(last) || wide(r)) && !strings.ContainsRune(closing, r) && !strings.ContainsRune(opening, last) {
			return i
		}
		last = r
	}
	return len(word)
}

// width is the number of columns that s takes on a screen.
func width(s string) int {
	n := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		case wide(r):
			n += 2
		default:
			n++
		}
	}
	return n
}

// wide says whether r takes two columns (UAX #11, in short).
func wide(r rune) bool {
	return r >= 0x2e80 && (unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) ||
		r >= 0x3000 && r <= 0x303f || r >= 0xff01 && r <= 0xff60)
}
