package sevenbit

import (
	"bytes"
	"fmt"
	"mime"
	"strings"
	"unicode/utf8"

	"dawk/relay"
)

// Programs that rely on 8BITMIME write the file names of parts without any
// encoding. RFC 2231 has a form in ASCII for the values of parameters, RFC
// 2047 one for Content-Description; readers decode both to the same text.

// asciiHeader is the header of a body part without octets above 127; false
// where they stand in places that have no such form.
func asciiHeader(head []byte) ([]byte, bool) {
	out := make([]byte, 0, len(head)+256)
	end := 0
	for name, f := range relay.Fields(head) {
		end += len(f)
		ok := true
		if !relay.ASCII(f) {
			switch name {
			case "content-type", "content-disposition":
				f, ok = asciiParameters(f)
			case "content-description":
				f, ok = asciiText(f)
			default:
				ok = false
			}
		}
		if !ok {
			return nil, false
		}
		out = append(out, f...)
	}
	return append(out, head[end:]...), relay.ASCII(head[end:])
}

// asciiText writes an unstructured field with encoded-words (RFC 2047 §5).
func asciiText(f []byte) ([]byte, bool) {
	name, _, _ := bytes.Cut(f, []byte(":"))
	value := relay.FieldValue(f)
	if !utf8.ValidString(value) || strings.Contains(value, "=?") || !relay.ASCII(name) {
		return nil, false
	}
	words := strings.ReplaceAll(mime.QEncoding.Encode("utf-8", value), "?= =?", "?=\r\n =?")
	return fmt.Appendf(nil, "%s: %s\r\n", name, words), true
}

// asciiParameters writes those parameters of a field that have octets above 127
// in the extended form, and leaves all else as it is. Where the extended form
// stands beside the plain one, it is what readers take, and the plain one for
// the oldest of them gets "_" in place of those octets.
func asciiParameters(f []byte) ([]byte, bool) {
	body := bytes.IndexByte(f, ':') + 1
	extendedToo := map[string]bool{}
	for s := (scanner{in: f, at: body}); s.next(';'); {
		name, _, _, _ := s.parameter()
		if base, _, ok := strings.Cut(name, "*"); ok {
			extendedToo[strings.ToLower(base)] = true
		}
	}
	s := scanner{in: f, at: body}
	var out []byte
	keep := 0 // what stands before it has been written
	for s.next(';') {
		name, value, from, ok := s.parameter()
		switch {
		case !ok:
			return nil, false
		case relay.ASCII(value):
			continue
		case strings.Contains(name, "*"), strings.EqualFold(name, "boundary"), strings.EqualFold(name, "charset"), len(name) > maxName:
			return nil, false
		}
		out = append(out, f[keep:from]...)
		if extendedToo[strings.ToLower(name)] {
			out = append(out, masked(f[from:s.at], '_')...)
		} else {
			out = append(out, extended(name, value)...)
		}
		keep = s.at
	}
	out = append(out, f[keep:]...)
	return out, relay.ASCII(out)
}

// masked is b with another octet in the place of those above 127.
func masked(b []byte, with byte) []byte {
	if relay.ASCII(b) {
		return b
	}
	b = bytes.Clone(b)
	for i, c := range b {
		if c > 127 {
			b[i] = with
		}
	}
	return b
}

// maxSegment bounds the octets of one line of an extended parameter, maxName
// those of its name, which stands in each line.
const (
	maxSegment = 70
	maxName    = 40
)

// extended is a parameter in the form of RFC 2231 §4, in numbered pieces where
// it is long (§3). What is not UTF-8 names no charset, which §4 allows: we were
// not told which it is.
func extended(name, value string) string {
	charset := ""
	if utf8.ValidString(value) {
		charset = "utf-8"
	}
	pieces := []string{charset + "''"}
	for i := range len(value) {
		c, word := value[i], value[i:i+1]
		if !isAttributeChar(c) {
			word = "%" + string([]byte{hex[c>>4], hex[c&15]})
		}
		if last := len(pieces) - 1; len(name)+len(pieces[last])+len(word)+6 <= maxSegment {
			pieces[last] += word
		} else {
			pieces = append(pieces, word)
		}
	}
	if len(pieces) == 1 {
		return name + "*=" + pieces[0]
	}
	for i := range pieces {
		pieces[i] = fmt.Sprintf("%s*%d*=%s", name, i, pieces[i])
	}
	return strings.Join(pieces, ";\r\n\t")
}

// isAttributeChar follows RFC 2231 §7.
func isAttributeChar(c byte) bool {
	return isTokenChar(c) && c != '*' && c != '\'' && c != '%'
}

// isTokenChar follows RFC 2045 §5.1.
func isTokenChar(c byte) bool {
	return c > ' ' && c < 0x7f && !strings.ContainsRune(`()<>@,;:\"/[]?=`, rune(c))
}

// scanner reads the parameters of a field.
type scanner struct {
	in []byte
	at int
}

// next moves past the next c that is outside comments and quoted strings.
func (s *scanner) next(c byte) bool {
	depth, quoted := 0, false
	for ; s.at < len(s.in); s.at++ {
		switch b := s.in[s.at]; {
		case b == '\\' && (quoted || depth > 0):
			s.at++
		case quoted:
			quoted = b != '"'
		case b == '(':
			depth++
		case b == ')' && depth > 0:
			depth--
		case depth > 0:
		case b == '"':
			quoted = true
		case b == c:
			s.at++
			return true
		}
	}
	return false
}

func (s *scanner) blanks() {
	for s.at < len(s.in) && strings.IndexByte(" \t\r\n", s.in[s.at]) >= 0 {
		s.at++
	}
}

// parameter reads NAME=VALUE; from is where it begins. An empty one, as after
// a semicolon at the end, has no name.
func (s *scanner) parameter() (name, value string, from int, ok bool) {
	s.blanks()
	from = s.at
	for s.at < len(s.in) && isTokenChar(s.in[s.at]) {
		s.at++
	}
	name = string(s.in[from:s.at])
	s.blanks()
	if name == "" || s.at == len(s.in) || s.in[s.at] != '=' {
		return name, "", from, name == "" && (s.at == len(s.in) || s.in[s.at] == ';')
	}
	s.at++
	s.blanks()
	var v []byte
	if s.at < len(s.in) && s.in[s.at] == '"' {
		for s.at++; s.at < len(s.in) && s.in[s.at] != '"'; s.at++ {
			if s.in[s.at] == '\\' && s.at+1 < len(s.in) {
				s.at++
			} else if s.in[s.at] == '\r' || s.in[s.at] == '\n' {
				continue // folded within the quotation marks
			}
			v = append(v, s.in[s.at])
		}
		if s.at == len(s.in) {
			return name, "", from, false
		}
		s.at++
	} else {
		for s.at < len(s.in) && (isTokenChar(s.in[s.at]) || s.in[s.at] > 127) {
			v = append(v, s.in[s.at])
			s.at++
		}
	}
	// What follows a value is the next parameter, or a comment.
	end := s.at
	s.blanks()
	ok = s.at == len(s.in) || s.in[s.at] == ';' || s.in[s.at] == '('
	s.at = end
	return name, string(v), from, ok
}
