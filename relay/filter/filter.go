// Package filter is the grammar by which people pick things: queued mail, lines of the history,
// entries of the suppression list, acts in the audit log. A filter is a list of terms that must all
// hold, each a name, a comparison and a value: to=@example.com age>1h reply~greylist.
//
// It owns the syntax, the kinds of values (text, addresses, times, numbers, …), the faults and the
// help; whoever has things to pick gives a table of its Fields, a Grammar. Queue is the table of
// queued mail. Begin reading at Grammar.Parse. There are no goroutines and no locks.
package filter

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"dawk/relay"
)

// Grammar is what a filter may say of things of one type.
type Grammar[T any] struct {
	HasID  func(T, relay.QueueID) bool // for terms that are queue IDs; nil: there are none
	Fields []Field[T]
}

// Of is a filter of things of one type. Its zero value picks all of them.
type Of[T any] struct {
	terms []term[T]
	ids   []relay.QueueID
	hasID func(T, relay.QueueID) bool
}

// term is one comparison; holds decides it.
type term[T any] struct {
	name         string
	src          string // as written, in canonical quoting
	holds        func(T) bool
	words        []string  // one of which fits the value where the term holds, in lower case; nil: any may
	since, until time.Time // the time is between them where the term holds; zero: any
}

// longest bounds the text of a filter, in octets. A list of many IDs is the longest that people
// write.
const longest = 256 << 10

// Parse reads terms separated by white space. A value with spaces stands in double quotes:
// reply~"mailbox full"; within them a backslash takes the next character as it is. Values are
// alternatives where commas separate them: dest=example.com,example.net. A queue ID is a term as
// well; of several IDs any will do, since nothing has two. Ages count from now, and a time without
// a zone is one of now's.
//
// An error names the term at fault and suggests what may have been meant.
func (g *Grammar[T]) Parse(s string, now time.Time) (Of[T], error) {
	f := Of[T]{hasID: g.HasID}
	if len(s) > longest {
		return f, fmt.Errorf("the filter is longer than %d KiB", longest>>10)
	}
	words, err := splitTerms(s)
	if err != nil {
		return f, err
	}
	for i, w := range words {
		if err := g.add(&f, w, now); err != nil {
			return Of[T]{}, fmt.Errorf("filter term %d %q: %w", i+1, relay.Clip(w), err)
		}
	}
	return f, nil
}

// Args is Parse for the arguments of a command.
func (g *Grammar[T]) Args(args []string, now time.Time) (Of[T], error) {
	return g.Parse(Join(args), now)
}

// Join makes a filter of the arguments of a command. A time may have spaces there without quotes of
// its own, since the shell's have kept it together: "since=2026-03-02 09:00".
func Join(args []string) string {
	words := slices.Clone(args)
	for i, a := range words {
		if name, value, _ := strings.Cut(a, "="); strings.Contains(value, " ") {
			if _, err := moment(value, time.Time{}); err == nil {
				words[i] = name + "=" + quote(value)
			}
		}
	}
	return strings.Join(words, " ")
}

// Empty says whether f picks everything because it holds no term.
func (f Of[T]) Empty() bool { return len(f.terms) == 0 && len(f.ids) == 0 }

// IDs are the only messages that f can pick, in the order given; nil: any. A
// store need not be searched for them.
func (f Of[T]) IDs() []relay.QueueID { return slices.Clone(f.ids) }

// Words gives, for each term that says what the value of a field is, the values of which it is one,
// in lower case; a domain of addresses is written @example.com.
func (f Of[T]) Words(field string) (all [][]string) {
	for _, t := range f.terms {
		if t.name == field && t.words != nil && !slices.ContainsFunc(t.words, func(w string) bool { return strings.Contains(w, "*") }) {
			all = append(all, t.words)
		}
	}
	return all
}

// Span says between which times the things lie that f picks; zero: there is no bound.
func (f Of[T]) Span() (since, until time.Time) {
	for _, t := range f.terms {
		if t.since.After(since) {
			since = t.since
		}
		if !t.until.IsZero() && (until.IsZero() || t.until.Before(until)) {
			until = t.until
		}
	}
	return since, until
}

// String is f such that Parse gives it back.
func (f Of[T]) String() string {
	parts := make([]string, 0, len(f.ids)+len(f.terms))
	for _, id := range f.ids {
		parts = append(parts, id.String())
	}
	for _, t := range f.terms {
		parts = append(parts, t.src)
	}
	return strings.Join(parts, " ")
}

// Match says whether f picks v.
func (f Of[T]) Match(v T) bool {
	return (f.ids == nil || slices.ContainsFunc(f.ids, func(id relay.QueueID) bool { return f.hasID(v, id) })) &&
		!slices.ContainsFunc(f.terms, func(t term[T]) bool { return !t.holds(v) })
}

// comparisons in the order in which they are looked for: longer ones first.
var comparisons = []string{"!=", "!~", ">=", "<=", "=", "~", ">", "<"}

func (g *Grammar[T]) add(f *Of[T], word string, now time.Time) error {
	i := strings.IndexAny(word, "=!~<>")
	if i < 0 {
		return g.addBare(f, word)
	}
	name, rest := strings.ToLower(word[:i]), word[i:]
	op := ""
	for _, o := range comparisons {
		if strings.HasPrefix(rest, o) {
			op = o
			break
		}
	}
	if op == "" {
		return fmt.Errorf("a single ! is not a comparison; did you mean %s!=%s?", relay.Clip(name), relay.Clip(rest[1:]))
	}
	value, err := unquote(rest[len(op):])
	if err != nil {
		return err
	}
	if name == "id" && g.HasID != nil {
		return f.addIDs(op, value)
	}
	fd := g.field(name)
	if fd == nil {
		return fmt.Errorf("there is no term %q; %s", relay.Clip(name), g.suggest(name))
	}
	if !slices.Contains(fd.ops, op) {
		return fmt.Errorf("%s does not go with %s; write for instance %s", fd.name, op, fd.instance())
	}
	t, err := fd.make(op, value, now)
	if err != nil {
		return fmt.Errorf("%w; write for instance %s", err, fd.instance())
	}
	t.name, t.src = fd.name, fd.name+op+quote(value)
	f.terms = append(f.terms, t)
	return nil
}

// addBare reads a word without a comparison: a queue ID. A name alone is what
// remains of age>1h when the shell took the rest for a redirection.
func (g *Grammar[T]) addBare(f *Of[T], word string) error {
	if id, err := relay.ParseQueueID(word); err == nil && g.HasID != nil {
		f.addID(id)
		return nil
	}
	fd, what := g.field(strings.ToLower(word)), "not"
	if g.HasID != nil {
		what = "neither a queue ID (such as 1RK3ZC8Q9D4-7ABC) nor"
	}
	switch {
	case fd != nil:
		return fmt.Errorf("the comparison is missing; write for instance %s, and put it in single quotes, since the shell keeps < and > for itself", fd.instance())
	case strings.Contains(word, "@") && g.field("from") != nil:
		return fmt.Errorf("is it the sender or a recipient? Write from=%s or to=%s", relay.Clip(word), relay.Clip(word))
	}
	return fmt.Errorf("this is %s a comparison (such as %s); a value with spaces needs double quotes: reply~\"mailbox full\"", what, g.Fields[0].instance())
}

func (f *Of[T]) addIDs(op, value string) error {
	if op != "=" {
		return fmt.Errorf("id does not go with %s; write for instance id=1RK3ZC8Q9D4-7ABC", op)
	}
	for part := range strings.SplitSeq(value, ",") {
		id, err := relay.ParseQueueID(part)
		if err != nil {
			return err
		}
		f.addID(id)
	}
	return nil
}

func (f *Of[T]) addID(id relay.QueueID) {
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
		return nil, fmt.Errorf("filter term %d %q: the closing quote is missing", len(words)+1, relay.Clip(word.String()))
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

func (g *Grammar[T]) field(name string) *Field[T] {
	for i, fd := range g.Fields {
		if fd.name == name || slices.Contains(fd.also, name) {
			return &g.Fields[i]
		}
	}
	return nil
}

// suggest finds the name that was probably meant, or lists all.
func (g *Grammar[T]) suggest(name string) string {
	var all []string
	if g.HasID != nil {
		all = append(all, "id")
	}
	for _, fd := range g.Fields {
		all = append(all, fd.name)
	}
	if best := relay.Nearest(name, all); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "the terms are " + strings.Join(all, ", ")
}

// Help describes the grammar, as the commands print it.
func (g *Grammar[T]) Help() string {
	return `A filter is one or more terms; all of them must hold. Put terms with < or > in
single quotes, and give values with spaces double quotes as well.

` + g.Terms() + `
Comparisons: = is, ~ contains (both ignore case; * in a value stands for
anything; a,b means either), != and !~ their opposites, and < <= > >= for
ages, sizes and numbers.`
}

// Terms are lines of the help, one for each field.
func (g *Grammar[T]) Terms() string {
	var b strings.Builder
	row := func(example, help string) {
		fmt.Fprintf(&b, "  %-22s %s\n", example, strings.ReplaceAll(help, "\n", "\n"+strings.Repeat(" ", 25)))
	}
	if g.HasID != nil {
		row("1RK3ZC8Q9D4-7ABC", "this message; of several IDs, any (also id=…)")
	}
	for _, fd := range g.Fields {
		row(fd.example, fd.help)
	}
	return b.String()
}
