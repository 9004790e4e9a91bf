package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"dawk/relay"
)

// entry is one line of a map.
type entry struct {
	key, value string
	where      string
	regexp     bool // the key is a regular expression, without its slashes
}

// errDatabase: the map is not in a text file.
var errDatabase = errors.New("it is in a database")

// databases are the types of maps whose content is not on this machine as text.
const databases = " mysql pgsql ldap sqlite mongodb memcache socketmap tcp nis nisplus netinfo unix environ fail randmap "

// lookups reads maps, one or several, from their text sources.
func (m *migration) lookups(value, where string) (all []entry, err error) {
	for _, spec := range list(value) {
		e, err := m.lookup(spec, where)
		switch {
		case errors.Is(err, errDatabase):
			m.item(where, spec, "its content is in a database, which is not read here; write what it says into dawk.toml by hand")
		case err != nil:
			return nil, err
		}
		all = append(all, e...)
	}
	return all, nil
}

func (m *migration) lookup(spec, where string) ([]entry, error) {
	kind, rest, ok := strings.Cut(spec, ":")
	for ok && kind == "proxy" {
		kind, rest, ok = strings.Cut(rest, ":")
	}
	if !ok {
		return nil, fmt.Errorf("%s: %q names no type of map; write it as hash:/etc/postfix/…", where, relay.Clip(spec))
	}
	switch kind {
	case "hash", "lmdb", "btree", "cdb", "dbm", "sdbm", "texthash":
		return m.textMap(rest, where, textEntry)
	case "cidr":
		return m.textMap(rest, where, conditional(textEntry))
	case "pcre", "regexp":
		return m.textMap(rest, where, conditional(patternEntry))
	case "static":
		return []entry{{key: "*", value: braced(rest), where: where}}, nil
	case "inline":
		var all []entry
		for _, e := range list(braced(rest)) {
			key, value, _ := strings.Cut(braced(e), "=")
			all = append(all, entry{key: strings.ToLower(strings.TrimSpace(key)), value: strings.TrimSpace(value), where: where})
		}
		return all, nil
	case "unionmap", "pipemap":
		return m.lookups(braced(rest), where)
	}
	if strings.Contains(databases, " "+kind+" ") {
		return nil, errDatabase
	}
	return nil, fmt.Errorf("%s: %q is no type of map that is known here; write the map as text, as in hash:/etc/postfix/NAME, and try again", where, relay.Clip(kind))
}

func braced(s string) string {
	s = strings.TrimSpace(s)
	if strings.HasPrefix(s, "{") && strings.HasSuffix(s, "}") {
		return strings.TrimSpace(s[1 : len(s)-1])
	}
	return s
}

// textMap reads the source of a map.
func (m *migration) textMap(path, where string, parse func(string) (key, value string, regexp bool)) (all []entry, err error) {
	data, err := m.read(path)
	if err != nil {
		return nil, m.unreadable(path, where, err)
	}
	for _, l := range logicalLines(data) {
		if key, value, re := parse(l.text); key != "" {
			all = append(all, entry{key, value, fmt.Sprintf("%s:%d", filepath.Base(path), l.line), re})
		}
	}
	return all, nil
}

// unreadable says what to do about a file that is missing or closed to us.
func (m *migration) unreadable(path, where string, err error) error {
	if _, e := m.read(path + ".db"); errors.Is(err, fs.ErrNotExist) && e == nil {
		return fmt.Errorf("%s: %s is missing, and only its database is there: write its text with `postmap -s %[2]s > %[2]s`, and try again", where, path)
	}
	what := "copy it there"
	if errors.Is(err, fs.ErrPermission) {
		what = "try again as root"
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return fmt.Errorf("%s: %s cannot be read (%w): %s, or remove the line from a copy of the folder", where, path, err, what)
}

func textEntry(line string) (key, value string, re bool) {
	key, value = line, ""
	if strings.HasPrefix(line, `"`) { // a key with spaces
		if k, v, ok := strings.Cut(line[1:], `"`); ok {
			return strings.ToLower(k), strings.TrimSpace(v), false
		}
	}
	if i := strings.IndexAny(line, " \t"); i >= 0 {
		key, value = line[:i], strings.TrimSpace(line[i:])
	}
	return strings.ToLower(key), value, false
}

// conditional reads the lines of tables that have if and endif, and ! before a pattern
// (cidr_table(5), regexp_table(5), pcre_table(5)). What holds under a condition gets a
// key that equals no host, network, address or pattern: no other map can say so, and
// whoever asks lists it.
func conditional(parse func(string) (key, value string, regexp bool)) func(string) (key, value string, regexp bool) {
	depth := 0
	return func(line string) (key, value string, re bool) {
		lower := strings.ToLower(line)
		switch {
		case startsWord(lower, "if"):
			depth++
			return "", "", false
		case startsWord(lower, "endif"):
			depth = max(depth-1, 0)
			return "", "", false
		}
		pattern, negated := strings.CutPrefix(line, "!")
		key, value, re = parse(strings.TrimLeft(pattern, " \t"))
		if negated && key != "" {
			key = "not:" + key
		}
		if depth > 0 && key != "" {
			key = "if:" + key
		}
		return key, value, re
	}
}

// startsWord says whether a line begins with the word.
func startsWord(line, word string) bool {
	rest, ok := strings.CutPrefix(line, word)
	return ok && (rest == "" || !(rest[0] >= 'a' && rest[0] <= 'z' || rest[0] >= '0' && rest[0] <= '9'))
}

// patternEntry reads a line of regexp_table(5) or pcre_table(5): any octet may
// enclose the pattern.
func patternEntry(line string) (key, value string, re bool) {
	if line == "" {
		return "", "", false
	}
	end := strings.IndexByte(line[1:], line[0])
	for end > 0 && line[end] == '\\' {
		next := strings.IndexByte(line[end+2:], line[0])
		if next < 0 {
			break
		}
		end += next + 1
	}
	if end < 0 {
		return "", "", false
	}
	_, value, _ = strings.Cut(strings.ReplaceAll(line[end+2:], "\t", " "), " ") // behind the flags
	return line[1 : end+1], strings.TrimSpace(value), true
}

// everything are the patterns that match any address.
var everything = regexp.MustCompile(`^(\^?[(]?\.[*+][)]?\$?|\*|.)$`)

// literalPattern takes a regular expression apart that means one address, or all
// addresses of one domain.
var literalPattern = regexp.MustCompile(`^(\^\.[*+]|\.[*+]|\^)?((?:[\w+=-]|\\\.)*@(?:[\w-]|\\\.)+)\$?$`)

// plain gives the key as a hash map would have it; ok is false if no such map has it.
func (e entry) plain() (key string, ok bool) {
	switch {
	case !e.regexp:
		return e.key, true
	case everything.MatchString(e.key):
		return "*", true
	}
	if f := literalPattern.FindStringSubmatch(e.key); f != nil && strings.HasSuffix(e.key, "$") {
		key := strings.ToLower(strings.ReplaceAll(f[2], `\.`, "."))
		if strings.HasPrefix(key, "@") == (f[1] != "^") {
			return key, true
		}
	}
	return "", false
}
