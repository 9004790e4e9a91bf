package guard

import (
	"strings"

	"dawk/relay"
)

// This file cuts command lines into their parts, for all commands alike. Like Postfix it accepts
// any number of spaces and tabs in the place of one, and an address without its angle brackets.
// What could be read in two ways is refused.

const blanks = " \t"

// cutCommand gives the verb of a line in upper case, and what follows it
// without the blanks around it.
func cutCommand(line string) (verb, arg string) {
	line = strings.Trim(line, blanks)
	i := strings.IndexAny(line, blanks)
	if i < 0 {
		return strings.ToUpper(line), ""
	}
	return strings.ToUpper(line[:i]), strings.TrimLeft(line[i:], blanks)
}

// param is one esmtp-param (RFC 5321 §4.1.2).
type param struct {
	key   string // upper case
	value string
	given bool // "KEY=…", not "KEY"
}

// cutPath reads the argument of MAIL and RCPT: the keyword ("FROM" or "TO"), a
// colon, the path and the parameters. With untidy it also takes an address
// with a name before it, and one with only one of its brackets.
func cutPath(keyword, arg string, untidy bool) (path string, params []param, bad *relay.Reply) {
	rest, ok := "", false
	if len(arg) >= len(keyword) && strings.EqualFold(arg[:len(keyword)], keyword) {
		rest, ok = strings.CutPrefix(strings.TrimLeft(arg[len(keyword):], blanks), ":")
	}
	if rest = strings.TrimLeft(rest, blanks); !ok || rest == "" {
		return "", nil, reply(501, "5.5.4", "expected "+keyword+":<address>")
	}
	if path, rest, bad = cutAddress(rest, untidy); bad != nil {
		return "", nil, bad
	}
	params, bad = cutParams(rest)
	return path, params, bad
}

// cutAddress takes the address off the front of s.
func cutAddress(s string, untidy bool) (path, rest string, bad *relay.Reply) {
	if s[0] != '<' {
		path, rest = cutWord(s)
		if !strings.Contains(path, "@") && strings.Contains(path, "=") {
			return "", "", reply(501, "5.5.4", "a parameter is where the address belongs")
		}
		if untidy {
			path = strings.TrimSuffix(path, ">")
		}
		return path, rest, nil
	}
	switch end := closingBracket(s); {
	case end > 0:
		path, rest = s[1:end], s[end+1:]
	case untidy:
		path, rest = cutWord(s[1:])
	default:
		return "", "", reply(501, "5.5.4", "the address has no closing angle bracket")
	}
	if rest != "" && !strings.ContainsRune(blanks, rune(rest[0])) {
		return "", "", reply(501, "5.5.4", "expected a space after the address")
	}
	path = strings.Trim(path, blanks)
	if untidy && strings.Contains(path, "<") {
		if address, ok := relay.OneMailbox(path); ok {
			path = address
		}
	}
	return path, rest, nil
}

// cutParams reads the parameters. A parameter whose value is not used may have any value.
func cutParams(rest string) (params []param, bad *relay.Reply) {
	for {
		var word string
		if word, rest = cutWord(strings.TrimLeft(rest, blanks)); word == "" {
			return params, nil
		}
		p, ok := parseParam(word)
		switch {
		case p.key == "AUTH":
			continue // RFC 4954 §5: who submitted it first. We trust no claim about that
		case word[0] == '<':
			return nil, reply(501, "5.5.4", "expected one address in angle brackets, without a name before it, and parameters KEY=value behind it")
		case !ok && isKey(p.key):
			return nil, reply(501, "5.5.4", "parameter "+p.key+" is not of the form KEY or KEY=value")
		case !ok:
			return nil, reply(501, "5.5.4", "a parameter is not of the form KEY or KEY=value")
		}
		for _, q := range params {
			if q.key == p.key {
				return nil, reply(501, "5.5.4", "parameter "+p.key+" is given twice")
			}
		}
		params = append(params, p)
	}
}

// cutWord takes the octets before the first blank that is not in quotes or angle brackets. A quote
// or bracket that is never closed counts as an ordinary octet.
func cutWord(s string) (word, rest string) {
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case ' ', '\t':
			return s[:i], s[i:]
		case '"':
			i = max(i, i+closingQuote(s[i:]))
		case '<':
			i = max(i, i+closingBracket(s[i:]))
		}
	}
	return s, ""
}

// closingBracket finds the '>' that closes the '<' at the front of s, outside
// quoted strings; -1: there is none.
func closingBracket(s string) int {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '"':
			end := closingQuote(s[i:])
			if end < 0 {
				return -1
			}
			i += end
		case '<':
			depth++
		case '>':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return -1
}

// closingQuote finds the end of the quoted string at the front of s
// (RFC 5321 §4.1.2); -1: there is none.
func closingQuote(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}

// parseParam reads KEY or KEY=value. ok is false where the grammar is broken; the key is returned
// even then.
func parseParam(word string) (p param, ok bool) {
	key, value, given := strings.Cut(word, "=")
	p = param{strings.ToUpper(key), value, given}
	// RFC 5321 §4.1.2 esmtp-value, with UTF-8 by RFC 6531 §3.3. Control
	// characters were refused before.
	return p, isKey(key) && (!given || value != "") && !strings.ContainsAny(value, "= \t")
}

// isKey says whether s is an esmtp-keyword (RFC 5321 §4.1.2) of a sensible length.
func isKey(s string) bool {
	return s != "" && len(s) <= 32 && s[0] != '-' && !strings.ContainsFunc(s, func(r rune) bool {
		return r > '~' || !isAlnum(byte(r)) && r != '-'
	})
}

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
