package mailtext

import (
	"regexp"
	"slices"
	"strings"
)

// Address is one entry of a list of addresses.
type Address struct {
	// Text is the mailbox as it was written, without name, comments, white
	// space and angle brackets. It still has to be parsed: what cannot be read
	// is given as it stands.
	Text string

	parts []string // of Text, until it is joined: octet by octet, many would take quadratic time
	begin int      // of it in the list, with its angle bracket
	end   int      // after its last octet in the list
	close int      // after its angle bracket, if it has one
	glued bool     // no comma stands between it and the entry before
	named bool     // it is part of the name of the entry that follows
	inner bool     // it follows other words of a name: a comma after it would turn those into mailboxes
}

// Addresses finds the mailboxes in the value of a To, Cc or Bcc field, or in an
// argument of sendmail, as people and programs write them (RFC 5322 §3.4, and
// what Postfix takes beside it). Names, comments and groups are left out. A
// missing or doubled comma does no harm: two words side by side are two local
// mailboxes. What stands before an angle bracket or a colon is a name, but for
// words with a domain: no mail for them gets lost. A quote that nothing closes
// quotes the rest of the list, as with Postfix: the rest is one entry that cannot
// be read.
func Addresses(value string) []Address {
	r := listReader{value: value}
	r.read()
	return r.found
}

// listReader reads a list of addresses from left to right.
type listReader struct {
	value   string
	found   []Address
	ends    []int     // after each separator
	words   []Address // since the last separator: mailboxes, or the name before an angle bracket
	joins   bool      // the next word continues the last one
	apart   bool      // the next word begins a new entry
	comma   bool      // a separator stands before the next entry
	strayP  bool      // a comment has no end: parentheses mean nothing from here on
	inside  bool      // of angle brackets: others mean nothing here
	lastEnd int       // after the last word
}

func (r *listReader) read() {
	r.comma = true
	for i := 0; i < len(r.value); {
		switch c := r.value[i]; {
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
			i++
		case c == '(':
			i = r.comment(i)
		case c == ',' || c == ';':
			r.flush()
			i++
			r.ends = append(r.ends, i)
		case c == ':':
			r.colon()
			i++
		case c == '<' && !r.inside:
			i = r.angle(i)
		case c == '<' || c == '>': // it encloses nothing
			r.joins, r.apart = false, true
			i++
		default:
			i = r.word(i)
		}
	}
	r.flush()
}

// flush takes the words since the last separator for mailboxes.
func (r *listReader) flush() {
	for _, a := range r.words {
		r.add(a)
	}
	r.words, r.joins, r.comma = nil, false, true
}

func (r *listReader) add(a Address) {
	a = a.joined()
	a.glued = !r.comma
	r.comma = false
	r.found = append(r.found, a)
}

func (a Address) joined() Address {
	if len(a.parts) > 0 {
		a.Text, a.parts = strings.Join(a.parts, ""), nil
	}
	return a
}

// colon ends the name of a group, or the scheme of a URL: neither is an address.
func (r *listReader) colon() {
	if n := len(r.words) - 1; n >= 0 && slices.ContainsFunc(r.words[n].parts, func(s string) bool { return strings.Contains(s, "@") }) {
		r.flush()
	}
	r.name(nil)
}

// name takes the words since the last separator for a name, but for those that
// are addresses that lack a comma. Some programs repeat a mailbox as its own name:
// that is not a second mailbox.
func (r *listReader) name(own []Address) {
	dropped := false
	for _, a := range r.words {
		a = a.joined()
		// "Sales @ Example" and "@sales" are names.
		whole := strings.HasSuffix(r.value[:a.end], a.Text) && a.Text[0] != '@'
		same := len(own) == 1 && strings.EqualFold(own[0].Text, strings.Trim(a.Text, "'[]"))
		if whole && !same && hasDomain(a.Text) && !encodedWord.MatchString(a.Text) {
			a.named, a.inner = len(own) > 0, dropped
			r.add(a)
		} else {
			dropped = true
		}
	}
	r.words, r.joins = nil, false
}

// comment gives the place after the comment that begins at i. A comment without an end is
// taken as a word that cannot be read.
func (r *listReader) comment(i int) int {
	if !r.strayP {
		if end := commentEnd(r.value, i); end > 0 {
			return end
		}
	}
	r.strayP = true
	return r.word(i)
}

// angle reads the address in the angle brackets that open at i. What stood
// before it was its name.
func (r *listReader) angle(i int) int {
	end := r.angleEnd(i + 1)
	if end < 0 { // as if it were not there
		r.name(nil)
		return i + 1
	}
	inside := r.value[i+1 : end]
	within := listReader{value: inside, inside: true}
	if strings.HasPrefix(strings.TrimLeft(inside, " \t\r\n"), "@") { // a source route, with commas and a colon (RFC 5321 §4.1.2)
		within.found = []Address{{Text: spaces.Replace(inside), end: len(inside)}}
	} else {
		within.read()
	}
	r.name(within.found)
	for n, a := range within.found {
		a.begin, a.end, a.close = i, a.end+i+1, end+1
		r.comma = r.comma || n > 0
		r.add(a)
	}
	return end + 1
}

// angleEnd is the angle bracket that closes the one before i; -1: none does.
func (r *listReader) angleEnd(i int) int {
	for i < len(r.value) {
		switch r.value[i] {
		case '>':
			return i
		case '<':
			return -1
		case '"':
			if end := quotedEnd(r.value, i); end > 0 {
				i = end
				continue
			}
		}
		i++
	}
	return -1
}

// word reads a word, or a part of one, and joins it to what it belongs to.
func (r *listReader) word(i int) int {
	end := r.wordEnd(i)
	text := r.value[i:end]
	touches := len(r.words) > 0 && i == r.lastEnd
	joining := strings.HasPrefix(text, "@") || strings.HasPrefix(text, ".")
	if n := len(r.words) - 1; n >= 0 && !r.apart && (r.joins || touches || joining) {
		r.words[n].parts = append(r.words[n].parts, text)
		r.words[n].end = end
	} else {
		r.words = append(r.words, Address{parts: []string{text}, begin: i, end: end})
	}
	r.joins = strings.HasSuffix(text, "@") || strings.HasSuffix(text, ".")
	r.lastEnd, r.apart = end, false
	return end
}

var spaces = strings.NewReplacer(" ", "", "\t", "", "\r", "", "\n", "")

// encodedWord matches an encoded word (RFC 2047 §2), which may contain characters that
// otherwise end a word. It is part of a name.
var encodedWord = regexp.MustCompile(`^=\?[\w*-]+\?[bBqQ]\?[!->@-~]*\?=`)

// wordEnd is the place after the word that begins at i.
func (r *listReader) wordEnd(i int) int {
	switch r.value[i] {
	case '"':
		if end := quotedEnd(r.value, i); end > 0 {
			return end
		}
		return len(r.value)
	case '[': // RFC 5321 §4.1.3: an IPv6 literal holds colons
		if n := strings.IndexAny(r.value[i+1:], "] \t\r\n,;<>[\""); n >= 0 && r.value[i+1+n] == ']' {
			return i + n + 2
		}
	case '=':
		if n := len(encodedWord.FindString(r.value[i:min(len(r.value), i+256)])); n > 0 {
			return i + n
		}
	}
	for i++; i < len(r.value); i++ {
		switch c := r.value[i]; c {
		case ' ', '\t', '\r', '\n', ',', ';', ':', '<', '>', '[':
			return i
		case '"':
			return i
		case '(':
			if !r.strayP {
				return i
			}
		case '\\':
			if i++; i == len(r.value) {
				return i
			}
		}
	}
	return i
}

// quotedEnd is the place after the quoted string that begins at i; 0: it has no end.
func quotedEnd(s string, i int) int {
	for i++; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return 0
}

// commentEnd is the place after the comment that begins at i; comments nest. 0: it has
// no end.
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
	return 0
}
