package mailtext

import "strings"

// Addresses finds the mailboxes in the value of a To, Cc or Bcc field as
// people and programs write it: names, comments, groups and bare local parts
// included (RFC 5322 §3.4, and what is common beside it). The mailboxes are as
// written, without angle brackets; they still have to be parsed.
func Addresses(value string) []string {
	var found []string
	var plain, angle strings.Builder
	inAngle, hadAngle := false, false
	flush := func() {
		s := strings.TrimSpace(plain.String())
		if hadAngle {
			s = strings.TrimSpace(angle.String())
		}
		if s != "" {
			found = append(found, s)
		}
		plain.Reset()
		angle.Reset()
		inAngle, hadAngle = false, false
	}
	put := func(s string) {
		if inAngle {
			angle.WriteString(s)
		} else {
			plain.WriteString(s)
		}
	}
	for i := 0; i < len(value); i++ {
		switch c := value[i]; {
		case c == '"':
			end := quotedEnd(value, i)
			put(value[i:end])
			i = end - 1
		case c == '(':
			i = commentEnd(value, i) - 1
		case c == '<' && !inAngle:
			inAngle, hadAngle = true, true
			angle.Reset()
		case c == '>' && inAngle:
			inAngle = false
		case c == ':' && !inAngle: // the name of a group ends here
			plain.Reset()
		case c == ',' && !inAngle, c == ';' && !inAngle:
			flush()
		case c == '\r' || c == '\n':
		default:
			put(value[i : i+1])
		}
	}
	flush()
	return found
}

// quotedEnd is behind the quoted string that begins at i.
func quotedEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// commentEnd is behind the comment that begins at i; comments nest.
func commentEnd(s string, i int) int {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}
