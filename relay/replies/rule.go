package replies

import (
	_ "embed" // table.tsv
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dawk/relay"
)

// Rule is one line of the table: its conditions, and what follows.
type Rule struct {
	provider string // of the account that it is about; "": no account
	stages   []string
	codes    []int    // 5 is any 5yz
	statuses [][3]int // -1: any
	words    []string // lower case
	not      []string

	Category Category
	Cause    relay.Cause
	Pause    time.Duration // CauseThrottle: how long the route rests; 0: the message alone waits
	Remedy   string        // what an administrator can do
	Source   string
}

func (u *Rule) fits(r relay.Reply, text string) bool {
	return (u.stages == nil || slices.Contains(u.stages, string(r.Stage))) &&
		(u.codes == nil || slices.Contains(u.codes, r.Code) || slices.Contains(u.codes, r.Code/100)) &&
		(u.statuses == nil || slices.ContainsFunc(u.statuses, func(p [3]int) bool { return matchStatus(p, r.Status) })) &&
		(u.words == nil || containsAny(text, u.words)) &&
		!containsAny(text, u.not)
}

func matchStatus(p [3]int, s relay.Status) bool {
	return !s.IsZero() && (p[0] < 0 || p[0] == s.Class) && (p[1] < 0 || p[1] == s.Subject) && (p[2] < 0 || p[2] == s.Detail)
}

// containsAny says whether text has one of the parts; "a & b" is a and b.
func containsAny(text string, parts []string) bool {
	for _, p := range parts {
		a, b, both := strings.Cut(p, " & ")
		if contains(text, a) && (!both || contains(text, b)) {
			return true
		}
	}
	return false
}

// contains looks for a part at the beginning of words, so that "rbl" is not
// found in the name of a host or a user.
func contains(text, part string) bool {
	for from := 0; ; {
		i := strings.Index(text[from:], part)
		if i < 0 {
			return false
		}
		at := from + i
		if at == 0 || !isWord(part[0]) || !isWord(text[at-1]) {
			return true
		}
		from = at + 1
	}
}

func isWord(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c >= 0x80 }

//go:embed table.tsv
var tableText string

var table = sync.OnceValue(func() []Rule {
	rules, err := parse(tableText)
	if err != nil {
		panic(err) // a test reads the same table
	}
	return rules
})

// parse reads the table. Its errors tell the line, all of them at once.
func parse(text string) (rules []Rule, err error) {
	for n, line := range strings.Split(text, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		u, wrong := parseRule(line)
		if u.Remedy == "^" && len(rules) > 0 {
			u.Remedy = rules[len(rules)-1].Remedy
		}
		if wrong != nil {
			err = errors.Join(err, fmt.Errorf("table.tsv:%d: %w", n+1, wrong))
		}
		rules = append(rules, u)
	}
	return rules, err
}

func parseRule(line string) (u Rule, err error) {
	col := strings.Split(line, "\t")
	if len(col) != 11 {
		return u, fmt.Errorf("%d columns, want 11", len(col))
	}
	for i := range col {
		if col[i] == "-" {
			col[i] = ""
		}
	}
	u = Rule{provider: col[0], Category: Category(col[6]), Cause: relay.Cause(col[7]), Remedy: col[9], Source: col[10]}
	if col[1] != "" {
		u.stages = strings.Fields(col[1])
	}
	for _, c := range strings.Fields(col[2]) {
		code, wrong := strconv.Atoi(strings.TrimSuffix(c, "xx"))
		u.codes, err = append(u.codes, code), errors.Join(err, wrong)
	}
	for _, s := range strings.Fields(col[3]) {
		p, wrong := parseStatus(s)
		u.statuses, err = append(u.statuses, p), errors.Join(err, wrong)
	}
	if col[4] != "" {
		u.words = strings.Split(col[4], " | ")
	}
	if col[5] != "" {
		u.not = strings.Split(col[5], " | ")
	}
	if col[8] != "" {
		var wrong error
		u.Pause, wrong = time.ParseDuration(col[8])
		err = errors.Join(err, wrong)
	}
	return u, err
}

// parseStatus reads "5.7.1", "x.7.1" or "x.7.x".
func parseStatus(s string) (p [3]int, err error) {
	parts := strings.Split(s, ".")
	if len(parts) != len(p) {
		return p, fmt.Errorf("%q is not a status", s)
	}
	for i, part := range parts {
		p[i] = -1
		if part != "x" {
			if p[i], err = strconv.Atoi(part); err != nil {
				return p, err
			}
		}
	}
	return p, nil
}
