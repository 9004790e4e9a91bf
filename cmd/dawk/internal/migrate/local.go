package migrate

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"dawk/relay"
)

// mailOfThisMachine converts what concerns programs of this machine: the domain of
// addresses without one, aliases, and who gets what nobody else can be told.
func (m *migration) mailOfThisMachine() error {
	l := m.section("[sendmail]")
	origin, where, ok := m.written("myorigin")
	if strings.HasPrefix(origin, "/") {
		data, err := m.read(origin)
		if err != nil {
			m.item(where, origin, "the file cannot be read; write the domain of addresses without one as `domain` in [sendmail]")
		}
		origin, _, _ = strings.Cut(strings.TrimSpace(string(data)), "\n")
	}
	if ok && origin != "" && origin != m.get("myhostname") {
		m.domain(l, "domain", origin, where)
	} else {
		origin = m.get("myhostname")
	}
	if err := m.aliases(l, origin); err != nil {
		return err
	}
	if dest, where, written := m.written("mydestination"); dest != "" || !written {
		if !written {
			dest = m.get("mydestination")
		}
		m.item(where, dest, "dawk has no mailboxes: [sendmail] aliases sends mail of this machine's users elsewhere; a [[route]] leads to the host that has mailboxes")
	}
	return nil
}

// aliases converts alias_maps. The file is named as Postfix names it; only its lines
// that run programs or write files are listed.
func (m *migration) aliases(l *section, origin string) error {
	value, where, written := m.written("alias_maps")
	if _, _, ok := m.written("alias_database"); !written && !ok {
		value, where = "hash:/etc/aliases", "alias_maps has its default"
		if _, err := m.read("/etc/aliases"); err != nil || m.dir != "/etc/postfix" && m.place("/etc/aliases") == "/etc/aliases" {
			return nil
		}
	}
	if !written {
		if v, at, ok := m.written("alias_database"); ok {
			value, where = v, at
		}
	}
	for _, spec := range list(value) {
		kind, path, ok := strings.Cut(spec, ":")
		if !ok {
			kind, path = "hash", spec
		}
		switch {
		case kind == "nis":
			continue // the second half of an old default
		case !strings.Contains(" hash lmdb btree cdb dbm texthash ", " "+kind+" "):
			m.item(where, spec, "dawk reads aliases from one text file; write them into one, and name it as `aliases` in [sendmail]")
			continue
		}
		data, err := m.read(path)
		if errors.Is(err, fs.ErrNotExist) {
			m.item(where, path, "the file is missing; write `aliases` in [sendmail] when it is in place")
			continue
		}
		if err != nil {
			return m.unreadable(path, where, err)
		}
		if slices.ContainsFunc(l.keys, func(k string) bool { return strings.HasPrefix(k, "aliases = ") }) {
			m.item(where, path, "dawk reads one file of aliases; write the lines of this one into the first")
			continue
		}
		place, err := filepath.Abs(m.place(path))
		if err != nil {
			return err
		}
		l.set("aliases", place, where)
		m.readAliases(filepath.Base(path), data, origin)
	}
	return nil
}

// readAliases lists what aliases cannot do here, and finds the postmaster.
func (m *migration) readAliases(file string, data []byte, origin string) {
	to := map[string]string{}
	for _, line := range logicalLines(data) {
		name, targets, ok := strings.Cut(line.text, ":")
		if !ok {
			continue
		}
		name = strings.ToLower(strings.Trim(strings.TrimSpace(name), `"`))
		for _, t := range strings.Split(targets, ",") {
			t = strings.Trim(strings.TrimSpace(t), `"`)
			switch {
			case strings.HasPrefix(t, "|"), strings.HasPrefix(t, "/"), strings.HasPrefix(strings.ToLower(t), ":include:"):
				m.item(file, name+": "+t, "dawk's aliases run no programs, write no files and read no other lists; the alias's other targets hold")
			case to[name] == "":
				to[name] = t
			}
		}
	}
	box := "postmaster"
	for range maxDepth {
		next := to[strings.ToLower(strings.TrimSuffix(box, "@"+origin))]
		if next == "" {
			break
		}
		box = next
	}
	if p, err := relay.ParsePath(box); err == nil && p.Domain() != "" && p.ASCII() {
		m.section("").set("postmaster", p.String(), file+": postmaster")
	}
}
