package filter

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
)

// Field is one name of a grammar. Functions make it, one for each kind of value: they take its name,
// examples for the help, what it picks, and where its values are. A thing may have several values of
// a field: each calls a function with them until that says true, and says whether it did.
type Field[T any] struct {
	name    string
	also    []string
	ops     []string
	example string
	help    string
	make    maker[T]
}

// maker makes a term from its comparison and value.
type maker[T any] func(op, value string, now time.Time) (term[T], error)

// values calls a function with each value of a field of a thing until it says true.
type values[T, V any] = func(T, func(V) bool) bool

// One is for a value that every thing has one of.
func One[T, V any](of func(T) V) values[T, V] {
	return func(v T, f func(V) bool) bool { return f(of(v)) }
}

// Or gives a field other names.
func (fd Field[T]) Or(names ...string) Field[T] {
	fd.also = names
	return fd
}

// instance is an example as the shell takes it.
func (fd *Field[T]) instance() string {
	one, _, _ := strings.Cut(fd.example, "  ")
	if strings.ContainsAny(one, "<>") {
		return "'" + one + "'"
	}
	return one
}

var (
	textOps  = []string{"=", "!=", "~", "!~"}
	wordOps  = []string{"~", "!~"}
	orderOps = []string{"=", "!=", ">=", "<=", ">", "<"}
	rangeOps = []string{">=", "<=", ">", "<"}
	truthOps = []string{"=", "!="}
)

// Text compares text.
func Text[T any](name, example, help string, each values[T, string]) Field[T] {
	return textField(name, example, help, each, textOps, nil)
}

// Prose looks for words in long text.
func Prose[T any](name, example, help string, each values[T, string]) Field[T] {
	return textField(name, example, help, each, wordOps, nil)
}

// Choice is text that is one of a few words, which are called what.
func Choice[T any, W ~string](name, example, what, help string, all []W, each values[T, string]) Field[T] {
	return textField(name, example, help, each, truthOps, func(p string) (string, error) {
		if slices.Contains(all, W(p)) {
			return p, nil
		}
		var names []string
		for _, w := range all {
			names = append(names, string(w))
		}
		last := len(names) - 1
		return "", fmt.Errorf("%q is no %s; the %ss are %s and %s", relay.Clip(p), what, what, strings.Join(names[:last], ", "), names[last])
	})
}

// Mailbox compares addresses: "@domain" is a whole domain, "<>" the null reverse-path, and a domain
// may be written in its own script.
func Mailbox[T any](name, example, help string, each values[T, string]) Field[T] {
	fd := textField(name, example, help, each, textOps, mailboxPattern)
	next := fd.make
	fd.make = func(op, value string, now time.Time) (term[T], error) {
		t, err := next(op, value, now)
		t.words = slices.Clone(t.words)
		for i, w := range t.words {
			if at := strings.LastIndexByte(w, '@'); at >= 0 && strings.Contains(w[:at], "*") {
				t.words[i] = w[at:] // any of a domain
			}
		}
		return t, err
	}
	return fd
}

func mailboxPattern(p string) (string, error) {
	switch p {
	case "<>":
		return "", nil
	case "":
		return "", errors.New("the address is missing (the null sender is written <>)")
	}
	p = strings.TrimSuffix(strings.TrimPrefix(p, "<"), ">")
	at := strings.LastIndexByte(p, '@')
	if at < 0 && !strings.Contains(p, "*") && p != "postmaster" {
		return "", fmt.Errorf("%q has no @: a domain is written @%s, a part of an address with ~", relay.Clip(p), relay.Clip(p))
	}
	if domain := p[at+1:]; at >= 0 && !strings.Contains(domain, "*") {
		d, err := relay.NormalizeDomain(domain)
		if err != nil {
			return "", err
		}
		p = p[:at+1] + d
	}
	if at == 0 {
		p = "*" + p
	}
	return p, nil
}

// Domain compares domains, which may be written in their own script and with the @ that other terms
// want.
func Domain[T any](name, example, help string, each values[T, string]) Field[T] {
	return textField(name, example, help, each, textOps, func(p string) (string, error) {
		p = strings.TrimPrefix(p, "@")
		if a, err := relay.NormalizeDomain(p); err == nil {
			p = a
		}
		return p, nil
	})
}

// MessageID compares Message-IDs, without regard to their angle brackets.
func MessageID[T any](each values[T, string]) Field[T] {
	return textField("msgid", "msgid=<1@example.org>", "its Message-ID, with or without the brackets", func(v T, f func(string) bool) bool {
		return each(v, func(id string) bool { return f(Bare(id)) })
	}, textOps, func(p string) (string, error) { return Bare(p), nil }).Or("message_id", "message-id")
}

// Bare is a Message-ID without angle brackets.
func Bare(id string) string { return strings.TrimSuffix(strings.TrimPrefix(id, "<"), ">") }

// textField compares text with patterns in which * stands for anything. read gives a pattern the
// form of the values, or says what is wrong with it.
func textField[T any](name, example, help string, each values[T, string], ops []string, read func(p string) (string, error)) Field[T] {
	return Field[T]{name: name, example: example, help: help, ops: ops, make: func(op, value string, _ time.Time) (t term[T], err error) {
		patterns, part := strings.Split(strings.ToLower(value), ","), strings.HasSuffix(op, "~")
		for i, p := range patterns {
			if part && p == "" {
				return t, errors.New("the text to look for is missing")
			}
			if read != nil && !part {
				if patterns[i], err = read(p); err != nil {
					return t, err
				}
			}
		}
		fits := relay.Glob
		if part {
			fits = func(p, s string) bool { return strings.Contains(s, p) }
		}
		if op == "=" {
			t.words = patterns
		}
		not := op[0] == '!'
		t.holds = func(v T) bool {
			return each(v, func(s string) bool {
				s = strings.ToLower(s)
				return slices.ContainsFunc(patterns, func(p string) bool { return fits(p, s) })
			}) != not
		}
		return t, nil
	}}
}

// Number compares what parse reads.
func Number[T any, N cmp.Ordered](name, example, help string, parse func(string) (N, error), each values[T, N]) Field[T] {
	ops := rangeOps
	if _, whole := any(parse).(func(string) (int, error)); whole {
		ops = orderOps
	}
	return numbers(name, example, help, ops, parse, func(time.Time) values[T, N] { return each })
}

// numbers is Number with values that are counted from now.
func numbers[T any, N cmp.Ordered](name, example, help string, ops []string, parse func(string) (N, error), since func(now time.Time) values[T, N]) Field[T] {
	return Field[T]{name: name, example: example, help: help, ops: ops, make: func(op, value string, now time.Time) (t term[T], err error) {
		want, err := parse(value)
		if err != nil {
			return t, fmt.Errorf("%q is not a value for it", relay.Clip(value))
		}
		each := since(now)
		t.holds = func(v T) bool { return each(v, func(n N) bool { return ordered(op, n, want) }) }
		return t, nil
	}}
}

func ordered[N cmp.Ordered](op string, a, b N) bool {
	switch op {
	case "=":
		return a == b
	case "!=":
		return a != b
	case ">=":
		return a >= b
	case "<=":
		return a <= b
	case ">":
		return a > b
	default:
		return a < b
	}
}

// Ahead compares the time until something; what has none (zero) is never picked.
func Ahead[T any](name, example, help string, of func(T) time.Time) Field[T] {
	return numbers(name, example, help, rangeOps, relay.ParseDuration, func(now time.Time) values[T, relay.Duration] {
		return func(v T, f func(relay.Duration) bool) bool {
			at := of(v)
			return !at.IsZero() && f(relay.Duration(max(0, at.Sub(now))))
		}
	})
}

// Times are the fields of the time of a thing: its age, since when, and until when. What they pick
// by is said in words: "it was accepted".
func Times[T any](what string, of func(T) time.Time) []Field[T] {
	age := numbers("age", "age>1h  age<5d", "time since "+what+": s, m, h, d", rangeOps, relay.ParseDuration, func(now time.Time) values[T, relay.Duration] {
		return One(func(v T) relay.Duration { return relay.Duration(now.Sub(of(v))) })
	})
	bound := func(name, example, help string, make func(at time.Time) term[T]) Field[T] {
		return Field[T]{name: name, example: example, help: help, ops: []string{"="}, make: func(_, value string, now time.Time) (term[T], error) {
			at, err := moment(value, now)
			return make(at), err
		}}
	}
	return []Field[T]{age,
		bound("since", "since=2d", "not before: an age, or a time: 2026-03-02,\n2026-03-02T09:00:00Z or \"2026-03-02 09:00:00 UTC\"", func(at time.Time) term[T] {
			return term[T]{since: at, holds: func(v T) bool { return !of(v).Before(at) }}
		}),
		bound("until", "until=1h", "before: as since", func(at time.Time) term[T] {
			return term[T]{until: at, holds: func(v T) bool { return of(v).Before(at) }}
		})}
}

// moment is an age ("2d", "90m") or a time.
func moment(s string, now time.Time) (time.Time, error) {
	if age, err := relay.ParseDuration(s); err == nil {
		return now.Add(-time.Duration(age)), nil
	}
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339,
		"2006-01-02 15:04", time.DateTime, "2006-01-02 15:04:05 MST"} { // the last as the history prints it
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither an age as 2d or 90m nor a time as 2026-03-02 or 2026-03-02T09:00:00Z", relay.Clip(s))
}

// Replies are the fields of what servers said.
func Replies[T any](each values[T, relay.Reply]) []Field[T] {
	said := func(of func(relay.Reply) string) values[T, string] {
		return func(v T, f func(string) bool) bool {
			return each(v, func(r relay.Reply) bool { return !r.IsZero() && f(of(r)) })
		}
	}
	return []Field[T]{
		codes(each),
		Text("status", "status=4.2.2", "enhanced status of the last attempt, also 4.2.*", said(func(r relay.Reply) string { return r.Enhanced().String() })),
		Prose("reply", "reply~greylist", "words in the last reply", said(relay.Reply.String)),
	}
}

// codes compares reply codes: code=450, code=4xx and code>=500. Where there is no reply yet there is
// no code, not even 0.
func codes[T any](each values[T, relay.Reply]) Field[T] {
	return Field[T]{name: "code", example: "code=450  code=4xx", help: "reply code of the last attempt; 0: no server spoke", ops: orderOps, make: func(op, value string, _ time.Time) (t term[T], err error) {
		low, err1 := strconv.ParseUint(strings.ReplaceAll(strings.ToLower(value), "x", "0"), 10, 16)
		high, err2 := strconv.ParseUint(strings.ReplaceAll(strings.ToLower(value), "x", "9"), 10, 16)
		class := low != high
		if err1 != nil || err2 != nil || high > 999 || class && (len(value) != 3 || op != "=" && op != "!=") {
			return t, fmt.Errorf("%q is not a reply code such as 450 or 4xx", relay.Clip(value))
		}
		t.holds = func(v T) bool {
			return each(v, func(r relay.Reply) bool {
				switch {
				case r.IsZero():
					return false
				case op == "=" || op == "!=":
					return r.Code >= int(low) && r.Code <= int(high)
				}
				return ordered(op, r.Code, int(low))
			}) != (op == "!=")
		}
		return t, nil
	}}
}

// Truth is for what is so or not.
func Truth[T any](name, example, help string, of func(T) bool) Field[T] {
	return Field[T]{name: name, example: example, help: help, ops: truthOps, make: func(op, value string, _ time.Time) (t term[T], err error) {
		want := op == "="
		switch strings.ToLower(value) {
		case "true", "yes":
		case "false", "no":
			want = !want
		default:
			return t, fmt.Errorf("%q is neither true nor false", relay.Clip(value))
		}
		t.holds = func(v T) bool { return of(v) == want }
		return t, nil
	}}
}
