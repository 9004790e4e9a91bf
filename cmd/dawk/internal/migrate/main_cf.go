package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dawk/relay"
)

// param is one line of main.cf, or one -o of master.cf.
type param struct {
	value string // before its $names are replaced
	where string // file and line
}

// logical is a line of a Postfix file with those that continue it.
type logical struct {
	text string
	line int // number of its first line
}

// logicalLines reads main.cf, master.cf and maps alike (postconf(5)): a line that
// begins with white space continues the last one, past comments and empty lines.
func logicalLines(data []byte) (lines []logical) {
	for i, l := range strings.Split(string(data), "\n") {
		l = strings.TrimRight(l, " \t\r")
		switch trimmed := strings.TrimLeft(l, " \t"); {
		case trimmed == "" || trimmed[0] == '#':
		case trimmed != l && len(lines) > 0:
			lines[len(lines)-1].text += " " + trimmed
		default:
			lines = append(lines, logical{trimmed, i + 1})
		}
	}
	return lines
}

// settings are the parameters that hold for one service.
type settings struct {
	params map[string]param // of main.cf
	over   map[string]param // of -o in master.cf; nil for none
	used   map[string]bool  // names that were asked for or stand in another value; of -o with its place, as in "master.cf:2: NAME"
}

func (m *migration) readMain() error {
	data, err := m.read("main.cf")
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w: try again as root", err)
	}
	if err != nil {
		return fmt.Errorf("%w: name the folder that holds Postfix's main.cf and master.cf (`postconf -h config_directory` prints it)", err)
	}
	m.settings = settings{params: map[string]param{}, used: map[string]bool{}}
	for _, l := range logicalLines(data) {
		name, value, ok := strings.Cut(l.text, "=")
		name = strings.TrimSpace(name)
		if !ok || name == "" || strings.ContainsAny(name, " \t") {
			return fmt.Errorf("main.cf:%d: %q is not of the form NAME = VALUE; mend the line, and try again", l.line, relay.Clip(l.text))
		}
		if _, again := m.params[name]; !again {
			m.order = append(m.order, name)
		}
		m.params[name] = param{strings.TrimSpace(value), fmt.Sprintf("main.cf:%d", l.line)}
	}
	return nil
}

// defaults are those of Postfix that matter here, as of version 3.6; the ones that
// depend on compatibility_level are in defaultOf.
var defaults = map[string]string{
	"myorigin": "$myhostname", "mydestination": "$myhostname, localhost.$mydomain, localhost",
	"inet_interfaces": "all", "inet_protocols": "all", "default_transport": "smtp", "smtp_sasl_auth_enable": "no",
	"smtpd_tls_security_level": "", "relayhost": "", "mail_version": "3.6.0", "maximal_queue_lifetime": "5d", "default_database_type": "hash", "config_directory": "/etc/postfix",
}

// defaultOf is what a parameter is where main.cf does not have it.
func (s settings) defaultOf(name string) string {
	level, _, _ := strings.Cut(s.params["compatibility_level"].value, ".")
	compat, _ := strconv.Atoi(strings.TrimSpace(level))
	switch {
	case name == "mynetworks_style" && compat < 2:
		return "subnet"
	case name == "mynetworks_style":
		return "host"
	case name == "smtpd_relay_restrictions" && s.has("compatibility_level") && compat < 1:
		return "" // then smtpd_recipient_restrictions must end the relay
	case name == "smtpd_relay_restrictions":
		return "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination"
	case name == "myhostname":
		h, _ := os.Hostname()
		return h
	case name == "mydomain":
		if _, domain, ok := strings.Cut(s.get("myhostname"), "."); ok {
			return domain
		}
		return "localdomain"
	}
	return defaults[name]
}

// has says whether a parameter is written, with whatever value.
func (s settings) has(name string) bool {
	_, over := s.over[name]
	_, main := s.params[name]
	return over || main
}

// find is a parameter as it is written; it is no longer one that nobody asked for.
func (s settings) find(name string) (p param, ok bool) {
	s.used[name] = true
	if p, ok = s.over[name]; ok {
		s.used[p.where+": "+name] = true
		return p, ok
	}
	p, ok = s.params[name]
	return p, ok
}

// written is a parameter as main.cf or -o has it, with $names replaced.
func (s settings) written(name string) (value, where string, ok bool) {
	p, ok := s.find(name)
	if !ok {
		return "", name + " has its default", false
	}
	return s.expand(p.value, 0), p.where + ": " + name, true
}

// get is a parameter, or its default.
func (s settings) get(name string) string {
	if v, _, ok := s.written(name); ok {
		return v
	}
	return s.expand(s.defaultOf(name), 0)
}

func (s settings) yes(name string) bool { return strings.EqualFold(s.get(name), "yes") }

const maxDepth = 20 // of names in the values of names

// expand replaces $name, ${name}, $(name), ${name?text} and ${name:text}, with
// braces around the texts or without (postconf(5)).
func (s settings) expand(text string, depth int) string {
	var b strings.Builder
	for depth < maxDepth {
		i := strings.IndexByte(text, '$')
		if i < 0 || i+1 == len(text) {
			break
		}
		b.WriteString(text[:i])
		text = text[i+1:]
		switch text[0] {
		case '$':
			b.WriteByte('$')
			text = text[1:]
		case '{', '(':
			end := closing(text)
			b.WriteString(s.conditional(text[1:end], depth))
			text = text[min(end+1, len(text)):]
		default:
			n := 0
			for n < len(text) && (text[n] == '_' || text[n] >= '0' && text[n] <= '9' || text[n] >= 'A' && text[n] <= 'z' && (text[n] <= 'Z' || text[n] >= 'a')) {
				n++
			}
			b.WriteString(s.value(text[:n], depth))
			text = text[n:]
		}
	}
	b.WriteString(text)
	return strings.TrimSpace(b.String())
}

// closing is the place of what closes the brace or parenthesis that begins text.
func closing(text string) int {
	depth := 0
	for i := range len(text) {
		switch text[i] {
		case '{', '(':
			depth++
		case '}', ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(text)
}

func (s settings) value(name string, depth int) string {
	p, ok := s.find(name)
	if !ok {
		p.value = s.defaultOf(name)
	}
	return s.expand(p.value, depth+1)
}

// conditional is what stands between ${ and }.
func (s settings) conditional(inside string, depth int) string {
	if inside = strings.TrimSpace(inside); strings.HasPrefix(inside, "{") {
		return s.compared(inside, depth)
	}
	i := strings.IndexAny(inside, "?:")
	if i < 0 {
		return s.value(strings.TrimSpace(inside), depth)
	}
	set := s.value(strings.TrimSpace(inside[:i]), depth) != ""
	if inside[i] == ':' {
		set = !set
	}
	return s.choose(set, inside[i+1:], depth)
}

// choose is the first of the texts {yes}:{no} where holds is true, else the second;
// the braces may be left out where there is one text.
func (s settings) choose(holds bool, texts string, depth int) string {
	yes, no := strings.TrimSpace(texts), ""
	if strings.HasPrefix(yes, "{") {
		end := min(closing(yes)+1, len(yes))
		yes, no = yes[:end], strings.TrimPrefix(strings.TrimSpace(yes[end:]), ":")
	}
	if !holds {
		yes = no
	}
	yes = strings.TrimSpace(yes)
	if strings.HasPrefix(yes, "{") {
		yes = strings.TrimSuffix(yes[1:], "}")
	}
	return s.expand(yes, depth+1)
}

// compared is {left} OPERATOR {right} ? {yes} : {no}. Numbers are compared as numbers,
// other texts by their octets; an operator that ends in "level" compares versions
// (postconf(5), COMPATIBILITY LEVEL).
func (s settings) compared(inside string, depth int) string {
	left, rest := braces(inside)
	i := strings.IndexByte(rest, '{')
	if i < 0 {
		return ""
	}
	right, texts := braces(rest[i:])
	operator, level := strings.CutSuffix(strings.TrimSpace(rest[:i]), "level")
	order := compareValues(s.expand(left, depth+1), s.expand(right, depth+1), level)
	holds := map[string]bool{"==": order == 0, "!=": order != 0, "<": order < 0, "<=": order <= 0, ">": order > 0, ">=": order >= 0}[strings.TrimSpace(operator)]
	return s.choose(holds, strings.TrimPrefix(strings.TrimSpace(texts), "?"), depth)
}

// braces takes the braces off the text that begins with them, and gives what follows.
func braces(text string) (inside, rest string) {
	end := closing(text)
	return strings.TrimSpace(text[1:max(end, 1)]), text[min(end+1, len(text)):]
}

func compareValues(a, b string, level bool) int {
	as, bs := []string{a}, []string{b}
	if level {
		as, bs = strings.Split(a, "."), strings.Split(b, ".")
		for len(as) < len(bs) {
			as = append(as, "0")
		}
		for len(bs) < len(as) {
			bs = append(bs, "0")
		}
	}
	return slices.CompareFunc(as, bs, func(a, b string) int {
		x, errX := strconv.Atoi(strings.TrimSpace(a))
		y, errY := strconv.Atoi(strings.TrimSpace(b))
		if errX == nil && errY == nil {
			return cmp.Compare(x, y)
		}
		return cmp.Compare(a, b)
	})
}

// list splits a value at white space and commas, but not inside braces.
func list(value string) (words []string) {
	begin, depth := -1, 0
	for i := 0; i <= len(value); i++ {
		if i == len(value) || depth == 0 && strings.IndexByte(" \t,\r\n", value[i]) >= 0 {
			if begin >= 0 {
				words = append(words, value[begin:i])
			}
			begin = -1
			continue
		}
		if begin < 0 {
			begin = i
		}
		switch value[i] {
		case '{':
			depth++
		case '}':
			depth = max(0, depth-1)
		}
	}
	return words
}

// read reads a file of Postfix, of at most 16 MiB. What stands below /etc/postfix, or
// where another system has that folder, is looked for in the folder first, and so are
// /etc/aliases and /etc/mailname.
func (m *migration) read(path string) ([]byte, error) {
	at := m.place(path)
	info, err := os.Stat(at)
	if err == nil && (info.IsDir() || info.Size() > maxFile) {
		return nil, fmt.Errorf("%s is not a file of at most 16 MiB", at)
	}
	if err != nil {
		return nil, err
	}
	return os.ReadFile(at)
}

const maxFile = 16 << 20 // octets

func (m *migration) place(path string) string {
	home := cmp.Or(m.params["config_directory"].value, "/etc/postfix")
	for _, other := range []string{"/etc/postfix", "/usr/local/etc/postfix", "/usr/pkg/etc/postfix", "/opt/homebrew/etc/postfix"} {
		if strings.HasPrefix(path, other+"/") {
			home = other
		}
	}
	rest, below := strings.CutPrefix(path, home+"/")
	var copies []string
	switch {
	case !filepath.IsAbs(path):
		return filepath.Join(m.dir, path)
	case below:
		copies = []string{filepath.Join(m.dir, rest), filepath.Join(m.dir, path)}
	case path == "/etc/aliases" || path == "/etc/mailname":
		copies = []string{filepath.Join(m.dir, filepath.Base(path)), filepath.Join(m.dir, path)}
		if filepath.Base(m.dir) == "postfix" { // a copy of /etc
			copies = append(copies, filepath.Join(filepath.Dir(m.dir), filepath.Base(path)))
		}
	}
	for _, at := range copies {
		if _, err := os.Stat(at); err == nil {
			return at
		}
	}
	return path
}
