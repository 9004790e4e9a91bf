package migrate

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay"
	"dawk/relay/durable"
)

// section is one of the file that is written.
type section struct {
	header string
	keys   []string // each with its value and a comment, or a comment alone
}

// set writes a key, once: a second call replaces the first.
func (l *section) set(key string, value any, where string) {
	line := key + " = " + literal(value)
	if where != "" {
		line += "  # " + relay.Sanitize(where)
	}
	for i, k := range l.keys {
		if strings.HasPrefix(k, key+" = ") {
			l.keys[i] = line
			return
		}
	}
	l.keys = append(l.keys, line)
}

func (l *section) comment(text string) { l.keys = append(l.keys, "# "+relay.Sanitize(text)) }

// literal writes a value in TOML, whose strings are those of JSON here.
func literal(value any) string {
	switch v := value.(type) {
	case string:
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return `""`
		}
		return strings.TrimSuffix(b.String(), "\n")
	case []string:
		words := make([]string, len(v))
		for i, w := range v {
			words[i] = literal(w)
		}
		return "[" + strings.Join(words, ", ") + "]"
	}
	return fmt.Sprint(value)
}

// section begins a section, or goes on with one that may stand only once.
func (m *migration) section(header string) *section {
	for _, s := range m.sections {
		if s.header == header && !strings.HasPrefix(header, "[[") {
			return s
		}
	}
	s := &section{header: header}
	m.sections = append(m.sections, s)
	return s
}

// sectionOrder is the order of the sections in the file.
var sectionOrder = []string{"", "[[listener]]", "[tls]", "[limits]", "[queue]", "[delivery]", "[delivery.timeouts]", "[[source]]", "[[route]]", "[[provider]]", "[sendmail]"}

// toml is the configuration file.
func (m *migration) toml() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Written by `dawk migrate postfix` from main.cf and master.cf in %s.\n# Each line says where it comes from. Try it with `dawk check -c FILE`.\n", relay.Sanitize(m.dir))
	slices.SortStableFunc(m.sections, func(x, y *section) int {
		return slices.Index(sectionOrder, x.header) - slices.Index(sectionOrder, y.header)
	})
	for _, s := range m.sections {
		if len(s.keys) == 0 {
			continue
		}
		b.WriteString("\n")
		if s.header != "" {
			b.WriteString(s.header + "\n")
		}
		for _, k := range s.keys {
			b.WriteString(k + "\n")
		}
	}
	if len(m.items) > 0 {
		b.WriteString("\n# This has no counterpart:\n")
		for _, i := range m.items {
			fmt.Fprintf(&b, "# - %s\n", i)
		}
	}
	return b.Bytes()
}

// write makes the files in the folder to, all of them or none: it looks for names
// that are taken first, and loads the configuration from a folder beside them.
func (m *migration) write(to string) (names []string, err error) {
	names = []string{"dawk.toml", "users.toml"}
	for name := range m.files {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names[2:])
	for _, name := range names {
		if _, err := os.Lstat(filepath.Join(to, name)); !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%s is there already, and nothing is overwritten: name an empty folder with --to", filepath.Join(to, name))
		}
	}
	if err := m.try(to, names); err != nil {
		return nil, err
	}
	for i, name := range names {
		if err := durable.New(filepath.Join(to, name), m.files[name]); err != nil {
			for _, done := range names[:i] {
				err = errors.Join(err, os.Remove(filepath.Join(to, done)))
			}
			return nil, fmt.Errorf("nothing is written: %w", err)
		}
	}
	return names, nil
}

// try loads what would be written.
func (m *migration) try(to string, names []string) (err error) {
	dir, err := os.MkdirTemp(to, durable.TempPrefix+"migrate-*")
	if err != nil {
		return fmt.Errorf("nothing can be written into %s (%w): make the folder first, try again as root, or name another with --to", to, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), m.files[name], 0o600); err != nil {
			return err
		}
	}
	if _, err := config.Load(filepath.Join(dir, "dawk.toml")); err != nil {
		text := strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")
		return fmt.Errorf("what would be written is not a valid configuration, so nothing is: %s", text)
	}
	return nil
}
