package relay

import (
	"crypto/tls"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ASCII says whether s has no octet above 127.
func ASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// FirstInvalid is where b stops to be UTF-8; its length if it is.
func FirstInvalid(b []byte) int {
	for i := 0; i < len(b); {
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return len(b)
}

// Hidden says whether a character is not seen, or moves what stands around it:
// controls, line separators, format characters such as those that turn the
// direction of text around (U+202E) and those without width, and fillers.
func Hidden(r rune) bool {
	if r < 0x7f {
		return r < ' '
	}
	return isControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r)
}

// Clip bounds foreign text for a message, where %q escapes it.
func Clip(s string) string { return ClipTo(s, 80) }

// ClipTo is s if it has at most so many characters, else its beginning with an
// ellipsis in the place of the last.
func ClipTo(s string, most int) string {
	if len(s) <= most {
		return s
	}
	n, cut := 0, 0
	for i := range s {
		if n++; n == most {
			cut = i
		} else if n > most {
			return s[:cut] + "…"
		}
	}
	return s
}

// CutAt is the last beginning of a character of s at or before its octet n.
func CutAt(s string, n int) int {
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return n
}

// TLSVersion is how we write a version of TLS: "TLS1.3".
func TLSVersion(version uint16) string {
	return strings.ReplaceAll(tls.VersionName(version), " ", "")
}

// TLSText is version and cipher of a session, for logs and trace fields; "" for
// none.
func TLSText(s *tls.ConnectionState) string {
	if s == nil {
		return ""
	}
	return TLSVersion(s.Version) + " " + tls.CipherSuiteName(s.CipherSuite)
}

// Glob matches s against a pattern in which * stands for any text. It takes
// the leftmost match of each piece, so its time is bounded by len(p)×len(s).
func Glob(p, s string) bool {
	first, rest, star := strings.Cut(p, "*")
	if !star {
		return p == s
	}
	s, ok := strings.CutPrefix(s, first)
	for ok {
		var piece string
		if piece, rest, star = strings.Cut(rest, "*"); !star {
			return strings.HasSuffix(s, piece)
		}
		_, s, ok = strings.Cut(s, piece)
	}
	return false
}

// Nearest is the name that word was probably meant to be, "" when none is
// close: another case, hyphens for underscores, a third of it mistyped, or cut
// short.
func Nearest(word string, names []string) string {
	if len(word) > 64 {
		return ""
	}
	norm := strings.ReplaceAll(strings.ToLower(word), "-", "_")
	best, least := "", max(1, len(norm)/3)+1
	for _, name := range names {
		if n := distance(norm, name); n < least {
			best, least = name, n
		}
	}
	if best != "" {
		return best
	}
	longest := max(3, len(norm)*2/3) - 1
	for _, name := range names {
		if n := commonPrefix(norm, name); n > longest {
			best, longest = name, n
		}
	}
	return best
}

func commonPrefix(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

// distance counts the insertions, deletions, replacements and swaps of
// neighbours that make b of a.
func distance(a, b string) int {
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row := rows[(i-1)%3], rows[i%3], rows[(i+1)%3]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
