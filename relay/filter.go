package relay

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
)

// Filter picks Deliveries. It is a list of terms that must all hold, each a
// name, a comparison and a value: to=@example.com age>1h reply~greylist. A
// bare queue ID is a term as well; of several IDs any will do, since no
// Delivery has two. The zero value picks everything.
//
// Commands, socket and pages share this one grammar; FilterHelp describes it.
type Filter struct {
	terms []term
	ids   []QueueID
}

// term is one comparison; holds decides it.
type term struct {
	src   string // as written, in canonical quoting
	holds func(*Message, *Delivery, time.Time) bool
}

// maxFilter bounds the text of a filter, in octets. A list of many IDs is the
// longest that people write.
const maxFilter = 256 << 10

// ParseFilter reads terms separated by white space. A value with spaces
// stands in double quotes: reply~"mailbox full"; within them a backslash
// takes the next character as it is. Values are alternatives where commas
// separate them: dest=example.com,example.net.
//
// An error names the term at fault and suggests what may have been meant.
func ParseFilter(s string) (Filter, error) {
	var f Filter
	if len(s) > maxFilter {
		return f, fmt.Errorf("the filter is longer than %d KiB", maxFilter>>10)
	}
	words, err := splitTerms(s)
	if err != nil {
		return f, err
	}
	for i, w := range words {
		if err := f.add(w); err != nil {
			return Filter{}, fmt.Errorf("filter term %d %q: %w", i+1, Clip(w), err)
		}
	}
	return f, nil
}

// MustParseFilter is ParseFilter for filters that the program itself wrote.
func MustParseFilter(s string) Filter {
	f, err := ParseFilter(s)
	if err != nil {
		panic(err)
	}
	return f
}

// Empty says whether f picks everything because it holds no term.
func (f Filter) Empty() bool { return len(f.terms) == 0 && len(f.ids) == 0 }

// IDs are the only messages that f can pick, in the order given; nil: any. A
// store need not be searched for them.
func (f Filter) IDs() []QueueID { return slices.Clone(f.ids) }

// String is f such that ParseFilter gives it back.
func (f Filter) String() string {
	parts := make([]string, 0, len(f.ids)+len(f.terms))
	for _, id := range f.ids {
		parts = append(parts, id.String())
	}
	for _, t := range f.terms {
		parts = append(parts, t.src)
	}
	return strings.Join(parts, " ")
}

// Match says whether f picks d, a Delivery of m, at the time now. Terms about
// recipients and replies look at the recipients that are still open.
func (f Filter) Match(m *Message, d *Delivery, now time.Time) bool {
	if f.ids != nil && !slices.Contains(f.ids, m.ID) {
		return false
	}
	for _, t := range f.terms {
		if !t.holds(m, d, now) {
			return false
		}
	}
	return true
}

// Recipients are the open recipients of d that f picks one by one, as indexes
// into m.Recipients: those for which every term holds when it is looked at
// alone. An act that ends mail must not hit those who only share its route.
func (f Filter) Recipients(m *Message, d *Delivery, now time.Time) (picked []int) {
	one := *d
	for i, o := range d.Open {
		one.Open = d.Open[i : i+1 : i+1]
		if f.Match(m, &one, now) {
			picked = append(picked, o.Recipient)
		}
	}
	return picked
}

// filterOps in the order in which they are looked for: longer ones first.
var filterOps = []string{"!=", "!~", ">=", "<=", "=", "~", ">", "<"}

func (f *Filter) add(word string) error {
	i := strings.IndexAny(word, "=!~<>")
	if i < 0 {
		return f.addBare(word)
	}
	name, rest := strings.ToLower(word[:i]), word[i:]
	op := ""
	for _, o := range filterOps {
		if strings.HasPrefix(rest, o) {
			op = o
			break
		}
	}
	if op == "" {
		return fmt.Errorf("a single ! is not a comparison; did you mean %s!=%s?", Clip(name), Clip(rest[1:]))
	}
	value, err := unquote(rest[len(op):])
	if err != nil {
		return err
	}
	if name == "id" {
		return f.addIDs(op, value)
	}
	fd := findField(name)
	if fd == nil {
		return fmt.Errorf("there is no term %q; %s", Clip(name), suggest(name))
	}
	if !slices.Contains(fd.ops, op) {
		return fmt.Errorf("%s does not go with %s; write for instance %s", fd.name, op, fd.example)
	}
	holds, err := fd.make(op, value)
	if err != nil {
		return fmt.Errorf("%w; write for instance %s", err, fd.example)
	}
	f.terms = append(f.terms, term{src: fd.name + op + quote(value), holds: holds})
	return nil
}

// addBare reads a word without a comparison: a queue ID. A name alone is what
// remains of age>1h when the shell took the rest for a redirection.
func (f *Filter) addBare(word string) error {
	if id, err := ParseQueueID(word); err == nil {
		f.addID(id)
		return nil
	}
	if fd := findField(strings.ToLower(word)); fd != nil {
		return fmt.Errorf("the comparison is missing; write for instance %s, and put it in single quotes, since the shell keeps < and > for itself", fd.example)
	}
	if strings.Contains(word, "@") {
		return fmt.Errorf("is it the sender or a recipient? Write from=%s or to=%s", Clip(word), Clip(word))
	}
	return fmt.Errorf("this is neither a queue ID (such as 1RK3ZC8Q9D4-7ABC) nor a comparison (such as to=@example.com); a value with spaces needs double quotes: reply~\"mailbox full\"")
}

func (f *Filter) addIDs(op, value string) error {
	if op != "=" {
		return fmt.Errorf("id does not go with %s; write for instance id=1RK3ZC8Q9D4-7ABC", op)
	}
	for part := range strings.SplitSeq(value, ",") {
		id, err := ParseQueueID(part)
		if err != nil {
			return err
		}
		f.addID(id)
	}
	return nil
}

func (f *Filter) addID(id QueueID) {
	if !slices.Contains(f.ids, id) {
		f.ids = append(f.ids, id)
	}
}

// splitTerms cuts s at white space outside double quotes; quotes and
// backslashes stay for unquote.
func splitTerms(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	quoted, escaped := false, false
	for _, r := range s {
		switch {
		case escaped:
			escaped = false
		case r == '\\' && quoted:
			escaped = true
		case r == '"':
			quoted = !quoted
		case unicode.IsSpace(r) && !quoted:
			if word.Len() > 0 {
				words = append(words, word.String())
				word.Reset()
			}
			continue
		}
		word.WriteRune(r)
	}
	if quoted {
		return nil, fmt.Errorf("filter term %d %q: the closing quote is missing", len(words)+1, Clip(word.String()))
	}
	if word.Len() > 0 {
		words = append(words, word.String())
	}
	return words, nil
}

// unquote takes the double quotes off a value, if it stands in them as a whole.
func unquote(s string) (string, error) {
	if !strings.HasPrefix(s, `"`) {
		return s, nil // a quote further in is part of an address: "a b"@example.com is written to="\"a b\"@example.com"
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '"':
			if i+1 < len(s) {
				return "", fmt.Errorf("the value goes on after its closing quote")
			}
			return b.String(), nil
		case '\\':
			if i++; i == len(s) {
				return "", fmt.Errorf("the closing quote is missing")
			}
		}
		b.WriteByte(s[i])
	}
	return "", fmt.Errorf("the closing quote is missing")
}

// quote is the reverse of unquote.
func quote(s string) string {
	if !strings.ContainsFunc(s, unicode.IsSpace) && !strings.Contains(s, `"`) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

func findField(name string) *filterField {
	for i, fd := range filterFields {
		if fd.name == name || slices.Contains(fd.also, name) {
			return &filterFields[i]
		}
	}
	return nil
}

// suggest finds the name that was probably meant, or lists all.
func suggest(name string) string {
	all := []string{"id"}
	for _, fd := range filterFields {
		all = append(all, fd.name)
	}
	if best := Nearest(name, all); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "the terms are " + strings.Join(all, ", ")
}
