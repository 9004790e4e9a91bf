package mailtext

import (
	"bytes"
	"strings"

	"dawk/relay"
)

// Qualify parses a mailbox and adds our domain to one that has none. "postmaster"
// alone stays as it is (RFC 5321 §4.5.1).
func Qualify(s, domain string) (relay.Path, error) {
	p, err := relay.ParsePath(s)
	if err == nil && (p.IsNull() || p.Domain() != "" || strings.EqualFold(p.Local(), "postmaster")) {
		return p, nil
	}
	if !hasDomain(s) {
		if q, qerr := relay.ParsePath(s + "@" + domain); qerr == nil {
			return q, nil
		}
	}
	return p, err
}

// hasDomain says whether a mailbox, readable or not, has a domain or the
// beginning of one.
func hasDomain(s string) bool {
	if strings.HasPrefix(s, `"`) {
		if end := quotedEnd(s, 0); end > 0 {
			s = s[end:]
		}
	}
	return strings.Contains(s, "@")
}

// authorFields are those that say whom a message is from, in lower case.
var authorFields = map[string]bool{"from": true, "sender": true, "resent-from": true, "resent-sender": true}

// HasAuthor says whether the value of a From field has an address, or a mailbox
// that lacks only its domain. Several words are a name, with a comma between them
// or without, and so are a quoted string, encoded words and words outside ASCII.
func HasAuthor(value string) bool { return len(authors(Addresses(value))) > 0 }

// authors are the mailboxes of a list of authors. If one of them has a domain or angle
// brackets, the words beside it are a name: devices write names without quotes.
func authors(list []Address) (found []Address) {
	for _, a := range list {
		if hasDomain(a.Text) && !a.named {
			found = append(found, a)
		}
	}
	if len(found) > 0 {
		return found
	}
	for _, a := range list {
		if p, err := relay.ParsePath(a.Text + "@a.invalid"); err != nil || !p.ASCII() || encodedWord.MatchString(a.Text) {
			continue
		}
		if a.close > 0 || len(list) == 1 && a.Text[0] != '"' {
			found = append(found, a)
		}
	}
	return found
}

// IsAddressField says whether a field of this name holds a list of addresses.
func IsAddressField(name string) bool {
	switch strings.ToLower(name) {
	case "from", "sender", "reply-to", "to", "cc", "bcc",
		"resent-from", "resent-sender", "resent-reply-to", "resent-to", "resent-cc", "resent-bcc",
		"errors-to", "return-receipt-to", "disposition-notification-to", "mail-followup-to", "apparently-to":
		return true
	}
	return false
}

// Complete adds our domain to each mailbox without one in the value of an address
// field, and adds missing commas. Names, comments and everything that cannot be read
// stay as they are. So does a field of authors that holds only a name: Complete makes
// up no author. A field with one author keeps one, and everything else in it becomes
// the author's name. Complete is only for mail from our own programs and devices: what
// a stranger calls root is not our root.
func Complete(name string, value []byte, domain string) []byte {
	if isComplete(value) {
		return value
	}
	list := Addresses(string(value))
	if authorFields[strings.ToLower(name)] {
		switch from := authors(list); {
		case len(from) == 0:
			return value
		case len(from) == 1 && len(list) > 1:
			return named(value, from[0], domain)
		}
	}
	out, copied := []byte(nil), 0
	insert := func(at int, text string) {
		out = append(append(out, value[copied:at]...), text...)
		copied = at
	}
	for i, a := range list {
		if i > 0 && a.glued && !list[i-1].inner {
			insert(max(list[i-1].end, list[i-1].close, copied), ",")
		}
		if box := qualified(a, domain); box != a.Text {
			insert(a.end, box[len(a.Text):])
		}
	}
	if out == nil {
		return value
	}
	return append(out, value[copied:]...)
}

// qualified is the mailbox with a domain: with ours if it has none and can be read.
func qualified(a Address, domain string) string {
	if !hasDomain(a.Text) && !encodedWord.MatchString(a.Text) {
		if p, err := relay.ParsePath(a.Text + "@" + domain); err == nil && p.ASCII() {
			return a.Text + "@" + domain
		}
	}
	return a.Text
}

// named writes a field with one author: its mailbox in angle brackets, and before
// it, as its name, everything else. Where this cannot be done the value stays.
func named(value []byte, author Address, domain string) []byte {
	rest := string(value[:author.begin]) + " " + string(value[max(author.end, author.close):])
	name := strings.Trim(strings.Join(strings.Fields(rest), " "), " ,;:")
	box := qualified(author, domain)
	if _, err := relay.ParsePath(box); err != nil {
		return value
	}
	special, encoded := false, false
	for word := range strings.FieldsSeq(name) {
		whole := encodedWord.FindString(word) == word
		encoded = encoded || whole
		special = special || !whole && strings.ContainsAny(word, `()<>[]:;@\,."`)
	}
	switch quoted := strings.HasPrefix(name, `"`) && quotedEnd(name, 0) == len(name); {
	case quoted || !special:
	case encoded: // it would mean nothing in quotes (RFC 2047 §5)
		return value
	default:
		name = `"` + strings.NewReplacer(`"`, "", `\`, "").Replace(name) + `"`
	}
	end := value[len(bytes.TrimRight(value, "\r\n")):]
	return append([]byte(" "+name+" <"+box+">"), end...)
}

// isComplete says whether a value is one mailbox that has a domain, with a name or
// without. Most values are, and need no completion.
func isComplete(value []byte) bool {
	v := bytes.TrimSpace(value)
	if bytes.ContainsAny(v, ",;:\"()\\=[]\r\n") || bytes.Count(v, []byte("@")) != 1 {
		return false
	}
	if i := bytes.IndexByte(v, '<'); i >= 0 && v[len(v)-1] == '>' {
		v = v[i+1 : len(v)-1]
	}
	return bytes.IndexByte(v, '@') >= 0 && !bytes.ContainsAny(v, " \t<>")
}

// IsMboxLine says whether a line before a header is the separator line of an mbox
// file, which programs that read such files pass on. The obsolete form of a From field, "From :" (RFC 5322 §4.5.2), is a field.
func IsMboxLine(line []byte) bool {
	rest, ok := bytes.CutPrefix(bytes.TrimLeft(line, ">"), []byte("From "))
	return ok && !bytes.HasPrefix(bytes.TrimLeft(rest, " \t"), []byte(":"))
}
