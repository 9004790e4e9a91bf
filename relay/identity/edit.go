package identity

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"dawk/relay"
	"dawk/relay/durable"
	"dawk/relay/tomlfile"
)

// Errors of the Editor; test with errors.Is.
var (
	ErrExists  = errors.New("the user exists already")
	ErrUnknown = errors.New("there is no such user")
)

// Editor changes a file of users on behalf of `dawk user`. It changes the
// lines of one user and leaves every other octet of the file, comments
// included, as it is.
//
// A change is written to a new file in the same directory and synced before it takes the old one's
// name; a crash leaves the old file or the new one. Two editors at the same time wait for each
// other.
type Editor struct{ Path string }

const newFileHead = "# The users of dawk. `dawk user` changes this file; so may you. The relay reads it again by itself.\n"

// List is the users in the file, in its order; none when there is no file.
func (e Editor) List() ([]*User, error) {
	data, err := os.ReadFile(e.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	t, err := parse(e.Path, data)
	if err != nil {
		return nil, err
	}
	return t.list, nil
}

// Add appends a user with the rules p, and makes the file if it is missing. The error is ErrExists,
// or says what is wrong with p.
func (e Editor) Add(name, hash string, p Policy) error {
	if err := CheckName(name); err != nil {
		return err
	}
	// Go's quoting is TOML's for what CheckName lets through.
	text := fmt.Appendf(nil, "[[user]]\nname = %s\npassword = %s\n%s", strconv.Quote(name), strconv.Quote(hash), p.toml())
	var faults *tomlfile.Error
	if _, err := parse(e.Path, text); errors.As(err, &faults) {
		return errors.New(faults.Faults[0].Message)
	}
	return e.change(func(data []byte, t *table, _ *tomlfile.Document) ([]byte, error) {
		if t.byName[strings.ToLower(name)] != nil {
			return nil, fmt.Errorf("%w: %s", ErrExists, name)
		}
		if len(data) == 0 {
			data = []byte(newFileHead)
		}
		if data[len(data)-1] != '\n' {
			data = append(data, '\n')
		}
		return slices.Concat(data, []byte("\n"), text), nil
	})
}

// toml are the lines of a [[user]] for p, except for keys that dawk user add does not set.
func (p Policy) toml() []byte {
	var b []byte
	if len(p.Senders) > 0 {
		quoted := p.SenderNames()
		for i, s := range quoted {
			quoted[i] = strconv.Quote(s)
		}
		b = fmt.Appendf(b, "senders = [%s]\n", strings.Join(quoted, ", "))
	}
	if p.Priority != relay.PriorityNormal {
		b = fmt.Appendf(b, "priority = %q\n", p.Priority)
	}
	if p.FromAny {
		b = fmt.Appendf(b, "from = %q\n", fromAny)
	}
	if !p.RewriteFrom.IsNull() {
		b = fmt.Appendf(b, "rewrite_from = %s\n", strconv.Quote(p.RewriteFrom.String()))
	}
	for _, n := range p.numbers() {
		if *n.value != 0 {
			b = fmt.Appendf(b, "%s = %d\n", n.key, *n.value)
		}
	}
	return b
}

// SetPassword replaces the password hash of a user. ErrUnknown.
func (e Editor) SetPassword(name, hash string) error {
	return e.change(func(data []byte, t *table, doc *tomlfile.Document) ([]byte, error) {
		i, err := t.index(name)
		if err != nil {
			return nil, err
		}
		from, to, ok := doc.Span(fmt.Sprintf("user[%d].password", i))
		if !ok {
			return nil, fmt.Errorf("the password of %s is not where an editor finds it: change the file by hand", name)
		}
		return slices.Concat(data[:from], []byte(strconv.Quote(hash)), data[to:]), nil
	})
}

// Remove takes the lines of a user out, and the blank line above them.
// ErrUnknown.
func (e Editor) Remove(name string) error {
	return e.change(func(data []byte, t *table, doc *tomlfile.Document) ([]byte, error) {
		i, err := t.index(name)
		if err != nil {
			return nil, err
		}
		first, last, ok := doc.Lines(fmt.Sprintf("user[%d]", i))
		if !ok {
			return nil, fmt.Errorf("the user %s is not under a [[user]] of its own: change the file by hand", name)
		}
		lines := bytes.SplitAfter(data, []byte("\n"))
		if first >= 2 && len(bytes.TrimSpace(lines[first-2])) == 0 {
			first--
		}
		return slices.Concat(slices.Concat(lines[:first-1]...), slices.Concat(lines[last:]...)), nil
	})
}

func (t *table) index(name string) (int, error) {
	for i, u := range t.list {
		if strings.EqualFold(u.Name, name) {
			return i, nil
		}
	}
	return 0, fmt.Errorf("%w: %s", ErrUnknown, name)
}

// change locks, reads, edits, verifies the result, and writes.
func (e Editor) change(edit func([]byte, *table, *tomlfile.Document) ([]byte, error)) error {
	path := e.Path
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real // the link stays, its target is replaced
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("the directory of the file of users: %w", err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", dir.Name(), err)
	}
	data, err := os.ReadFile(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	before, err := parse(e.Path, data)
	if err != nil {
		return fmt.Errorf("the file has mistakes; correct them first:\n%w", err)
	}
	var scratch usersFile
	doc, err := tomlfile.Parse(e.Path, data, &scratch)
	if err != nil {
		return err
	}
	edited, err := edit(slices.Clone(data), before, doc)
	if err != nil {
		return err
	}
	after, err := parse(e.Path, edited)
	if err != nil || differences(before, after) > 1 || !utf8.Valid(edited) {
		return errors.New("the file is written in a way that cannot be changed safely by a program: change it by hand; nothing was changed")
	}
	return durable.Replace(path, edited)
}

// differences counts the users that were added, removed or got another
// password or other tokens.
func differences(a, b *table) (n int) {
	for name, u := range a.byName {
		if v := b.byName[name]; v == nil || v.password.text != u.password.text || !slices.Equal(v.tokens, u.tokens) {
			n++
		}
	}
	for name := range b.byName {
		if a.byName[name] == nil {
			n++
		}
	}
	return n
}
