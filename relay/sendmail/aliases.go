package sendmail

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/mailtext"
)

// Bounds of a file of aliases, and of what one recipient may become.
const (
	maxAliasFile  = 8 << 20 // octets
	maxAliasDepth = 20      // aliases of aliases
	maxAliasTo    = 1000    // recipients
)

// Aliases is a file of aliases(5), as local mail programs have it: who gets the mail of a user of
// this machine. It is read again when it changes. Targets that are not addresses (programs, files,
// lists in other files) are not followed: the relay does not deliver to a disk. It is safe for
// concurrent use.
type Aliases struct {
	path   string
	domain string // for addresses without one, and of the recipients that have aliases
	log    *slog.Logger

	mu   sync.Mutex
	at   time.Time // of the file that was read
	size int64
	to   map[string][]string // by lower-case name: mailboxes, still to be parsed
}

// OpenAliases reads the file at path. An error means that the file cannot be read now. If it cannot
// be read later, that is logged and the aliases stay as they were.
func OpenAliases(path, domain string, log *slog.Logger) (*Aliases, error) {
	a := &Aliases{path: path, domain: domain, log: log}
	return a, a.read()
}

// Expand gives the recipients that replace p: p itself if it has no alias or is not on this
// machine.
func (a *Aliases) Expand(p relay.Path) []relay.Path {
	if a == nil {
		return []relay.Path{p}
	}
	given := p
	if q, err := p.WithDomain(a.domain); p.Domain() == "" && !p.IsNull() && err == nil { // postmaster
		p = q
	}
	if p.Domain() != a.domain {
		return []relay.Path{given}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.read(); err != nil {
		a.log.Warn("the file of aliases cannot be read again; the aliases read before stay in force", "file", a.path, "err", err)
	}
	x := expansion{Aliases: a, begun: map[string]bool{}, found: map[relay.Path]bool{}}
	x.add(p, 0)
	if len(x.list) == 1 && x.list[0] == p {
		return []relay.Path{given}
	}
	return x.list
}

// Recipients gives the recipients that replace r, with the same DSN parameters. They name the
// address that the sender gave (ORCPT), as RFC 3461 §5.2.7.1 allows for aliases.
func (a *Aliases) Recipients(r relay.Recipient) (list []relay.Recipient) {
	for _, p := range a.Expand(r.Path) {
		to := r
		if to.Path = p; p != r.Path && to.ORcpt.IsZero() && r.Path.ASCII() {
			to.ORcpt = relay.ORcpt{Type: "rfc822", Addr: r.Path.String()}
		}
		list = append(list, to)
	}
	return list
}

// expansion is what one recipient becomes.
type expansion struct {
	*Aliases
	begun map[string]bool // names, true while they are being expanded: an alias may name itself
	found map[relay.Path]bool
	list  []relay.Path
}

func (x *expansion) add(p relay.Path, depth int) {
	name := strings.ToLower(p.Local())
	to := x.to[name]
	expanding, seen := x.begun[name]
	if seen && !expanding && p.Domain() == x.domain && depth < maxAliasDepth {
		return // it is in the list
	}
	if p.Domain() != x.domain || len(to) == 0 || expanding || depth >= maxAliasDepth {
		if !x.found[p] && len(x.list) < maxAliasTo {
			x.found[p] = true
			x.list = append(x.list, p)
		}
		return
	}
	x.begun[name] = true
	for _, t := range to {
		last, asItIs := strings.CutPrefix(t, `\`) // \name: not its alias
		q, err := mailtext.Qualify(last, x.domain)
		if err == nil && q.Domain() == "" { // postmaster
			q, err = q.WithDomain(x.domain)
		}
		switch {
		case err != nil: // logged when the file was read
		case asItIs:
			x.add(q, maxAliasDepth)
		default:
			x.add(q, depth+1)
		}
	}
	x.begun[name] = false
	if len(x.list) == 0 && depth == 0 { // none of its targets can be followed
		x.list = []relay.Path{p}
	}
}

// read reads the file if it has changed.
func (a *Aliases) read() error {
	f, err := os.Open(a.path)
	if err != nil {
		return fmt.Errorf("the file of aliases: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return fmt.Errorf("the file of aliases: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("the file of aliases: %w", &fs.PathError{Op: "read", Path: a.path, Err: errors.New("not a file")})
	case a.to != nil && info.ModTime().Equal(a.at) && info.Size() == a.size:
		return nil
	}
	data, err := io.ReadAll(io.LimitReader(f, maxAliasFile+1))
	if err == nil && len(data) > maxAliasFile {
		err = fmt.Errorf("%s has more than %d octets", a.path, maxAliasFile)
	}
	if err != nil {
		return fmt.Errorf("the file of aliases: %w", err)
	}
	to, faults := parseAliases(data, a.domain)
	a.to, a.at, a.size = to, info.ModTime(), info.Size()
	for _, fault := range faults {
		a.log.Warn("some of the aliases are not followed", "file", a.path, "why", fault)
	}
	return nil
}

// parseAliases reads aliases(5), and says which targets cannot be followed.
func parseAliases(data []byte, domain string) (to map[string][]string, faults []string) {
	to = map[string][]string{}
	fault := func(line int, format string, args ...any) {
		if len(faults) < 100 {
			faults = append(faults, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
		}
	}
	for _, entry := range aliasEntries(data) {
		name, list, ok := cutAlias(entry.text)
		if !ok {
			fault(entry.line, "%q is not an alias: write it like \"root: admin@example.org\"", relay.Clip(entry.text))
			continue
		}
		for _, target := range aliasTargets(list) {
			switch box := strings.TrimPrefix(target, `\`); {
			case strings.HasPrefix(strings.Trim(target, `"`), "|"):
				fault(entry.line, "%s: programs are not run: %q", name, relay.Clip(target))
			case strings.HasPrefix(strings.Trim(target, `"`), "/"):
				fault(entry.line, "%s: files are not written: %q", name, relay.Clip(target))
			case strings.HasPrefix(strings.ToLower(strings.Trim(target, `"`)), ":include:"):
				fault(entry.line, "%s: lists in other files are not read: %q", name, relay.Clip(target))
			default:
				if _, err := mailtext.Qualify(box, domain); err != nil {
					fault(entry.line, "%s: this is not an address: %q", name, relay.Clip(target))
					continue
				}
				to[name] = append(to[name], target)
			}
		}
	}
	return to, faults
}

// aliasEntry is a line with its continuation lines.
type aliasEntry struct {
	line int
	text string
}

func aliasEntries(data []byte) (list []aliasEntry) {
	n := 0
	for line := range bytes.Lines(data) {
		n++
		text := strings.TrimRight(string(line), " \t\r\n")
		switch {
		case strings.Trim(text, " \t") == "", text[0] == '#':
		case (text[0] == ' ' || text[0] == '\t') && len(list) > 0:
			list[len(list)-1].text += text
		default:
			list = append(list, aliasEntry{n, text})
		}
	}
	return list
}

// cutAlias cuts the lower-case name, with or without quotes, off an entry.
func cutAlias(text string) (name, list string, ok bool) {
	if rest, quoted := strings.CutPrefix(text, `"`); quoted {
		if name, list, ok = strings.Cut(rest, `"`); ok {
			list, ok = strings.CutPrefix(strings.TrimLeft(list, " \t"), ":")
		}
	} else {
		name, list, ok = strings.Cut(text, ":")
	}
	name = strings.ToLower(strings.TrimSpace(name))
	return name, list, ok && name != ""
}

// aliasTargets splits the right side of an alias at commas outside quotes. A
// comment may follow.
func aliasTargets(list string) (targets []string) {
	begin, quoted := 0, false
	add := func(end int) {
		if t := strings.TrimSpace(list[begin:end]); t != "" {
			targets = append(targets, t)
		}
		begin = end + 1
	}
	for i := 0; i < len(list); i++ {
		switch c := list[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case c == ',' && !quoted:
			add(i)
		case c == '#' && !quoted && i > 0 && (list[i-1] == ' ' || list[i-1] == '\t'):
			add(i)
			return targets
		}
	}
	if begin <= len(list) {
		add(len(list))
	}
	return targets
}
