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
// A change is in a new file of the same directory, synced, before it takes
// the old one's name; a crash leaves the one or the other. Two editors at
// once wait for each other.
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

// Add appends a user and makes the file if it is missing. ErrExists.
func (e Editor) Add(name, hash string) error {
	if err := CheckName(name); err != nil {
		return err
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
		// Go's quoting is TOML's for what CheckName lets through.
		return fmt.Appendf(data, "\n[[user]]\nname = %s\npassword = %s\n", strconv.Quote(name), strconv.Quote(hash)), nil
	})
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
			return nil, fmt.Errorf("the user %s does not stand under a [[user]] of its own: change the file by hand", name)
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

// change locks, reads, edits, proves that the result says what was meant, and
// writes.
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
		return fmt.Errorf("the file has mistakes; mend them first:\n%w", err)
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
	return replaceFile(dir, path, edited, missing)
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

// replaceFile gives path the content data: a new file beside it, synced,
// renamed, and the directory synced, so that a crash leaves the old or the
// new. Mode and owner of an old file are kept.
func replaceFile(dir *os.File, path string, data []byte, missing bool) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if missing {
		err = takeOwner(f, dir)
	} else {
		err = keepOwner(f, path)
	}
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return dir.Sync()
}

// keepOwner gives f the mode and, where we may, the owner of the file at
// path: root edits for a relay that runs under its own name.
func keepOwner(f *os.File, path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	var own unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &own); err != nil {
		return err
	}
	if own.Uid != st.Uid || own.Gid != st.Gid {
		if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
			return fmt.Errorf("the file belongs to another user, who could not read a new one of yours: %w", err)
		}
	}
	return f.Chmod(fs.FileMode(st.Mode & 0o777))
}

// takeOwner gives a new file that root makes to the owner of its directory,
// who would otherwise not be able to read it. A directory of root's that a
// group may read, as /etc/dawk with the relay's group, means that this group
// is to read what is in it: then the file is 0640.
func takeOwner(f, dir *os.File) error {
	if os.Geteuid() != 0 {
		return nil
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(dir.Fd()), &st); err != nil {
		return err
	}
	if err := f.Chown(int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	const groupReads = 0o050
	if st.Uid == 0 && st.Gid != 0 && st.Mode&groupReads == groupReads {
		return f.Chmod(0o640)
	}
	return nil
}
