package mailtext

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"dawk/relay"
)

// Sizes of header lines in octets (RFC 5322 §2.1.1, RFC 2047 §2).
const (
	foldAt    = 78
	wordBytes = 45 // in an encoded word: 60 characters of base64
)

// Mailbox is an address with the name that people read.
type Mailbox struct {
	Name string
	Path relay.Path
}

// CheckValue gives an error for a value that must not become part of a header.
func CheckValue(s string) error {
	switch {
	case !utf8.ValidString(s):
		return errors.New("is not UTF-8 text")
	case strings.ContainsAny(s, "\r\n"):
		return errors.New("holds a line end")
	case strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) || r == 0x2028 || r == 0x2029 }):
		return errors.New("holds a control character")
	}
	return nil
}

// Text writes a field of free text, such as Subject. What is not plain ASCII,
// or does not fit on one line as it stands, goes in encoded words (RFC 2047).
func Text(name, value string) (string, error) {
	if err := CheckValue(value); err != nil {
		return "", fmt.Errorf("%s %w", name, err)
	}
	if plain(value) && len(name)+2+len(value) <= foldAt {
		return name + ": " + value + "\r\n", nil
	}
	return name + ": " + strings.Join(words(value), "\r\n ") + "\r\n", nil
}

// Tokens writes a field whose value is structured, such as References: ASCII,
// folded where it has spaces.
func Tokens(name, value string) (string, error) {
	if err := CheckValue(value); err != nil {
		return "", fmt.Errorf("%s %w", name, err)
	}
	if !relay.ASCII(value) {
		return "", fmt.Errorf("%s may hold ASCII only", name)
	}
	parts := strings.Fields(value)
	if len(parts) == 0 {
		return "", fmt.Errorf("%s is empty", name)
	}
	for _, p := range parts {
		if len(name)+2+len(p) > MaxLine {
			return "", fmt.Errorf("%s holds a word that is too long for a line of mail", name)
		}
	}
	return fold(name, parts, " "), nil
}

// List writes a field of addresses, such as To.
func List(name string, boxes []Mailbox) (string, error) {
	parts := make([]string, len(boxes))
	for i, b := range boxes {
		if err := CheckValue(b.Name); err != nil {
			return "", fmt.Errorf("a name in %s %w", name, err)
		}
		parts[i] = b.String()
	}
	return fold(name, parts, ", "), nil
}

// String is the mailbox as it stands in a header. The name must have passed
// CheckValue.
func (b Mailbox) String() string {
	switch {
	case b.Name == "":
		return b.Path.String()
	case !plain(b.Name) || len(b.Name) > foldAt-8:
		return strings.Join(words(b.Name), "\r\n ") + " " + b.Path.Wire()
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(b.Name) + `" ` + b.Path.Wire()
}

// fold joins parts, on a new line where the old one would grow too long.
func fold(name string, parts []string, sep string) string {
	var b strings.Builder
	b.WriteString(name + ":")
	col := b.Len()
	for i, p := range parts {
		if i < len(parts)-1 {
			p += strings.TrimRight(sep, " ")
		}
		if i > 0 && col+1+len(p) > foldAt {
			b.WriteString("\r\n")
			col = 0
		}
		b.WriteString(" " + p)
		col += 1 + len(p) - (strings.LastIndexByte(p, '\n') + 1)
	}
	b.WriteString("\r\n")
	return b.String()
}

// plain says whether a reader sees s as it is written.
func plain(s string) bool {
	return relay.ASCII(s) && !strings.Contains(s, "=?") && s == strings.TrimSpace(s) && s != ""
}

// words writes s as encoded words, each of which holds whole characters.
func words(s string) []string {
	var out []string
	for {
		n := min(len(s), wordBytes)
		for n < len(s) && !utf8.RuneStart(s[n]) {
			n--
		}
		out = append(out, "=?utf-8?b?"+base64.StdEncoding.EncodeToString([]byte(s[:n]))+"?=")
		if s = s[n:]; s == "" {
			return out
		}
	}
}

// SplitField splits the first line of a header field, with or without its line
// end, into name and value. Spaces before the colon are obsolete syntax that
// must be understood (RFC 5322 §4.5).
func SplitField(line []byte) (name string, value []byte, ok bool) {
	i := bytes.IndexByte(line, ':')
	if i <= 0 {
		return "", nil, false
	}
	name = string(bytes.TrimRight(line[:i], " \t"))
	return name, line[i+1:], FieldName(name)
}

// FieldName says whether s can name a header field (RFC 5322 §3.6.8).
func FieldName(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] > '~' || s[i] == ':' {
			return false
		}
	}
	return s != ""
}
