package operator

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dawk/relay/durable"
	"dawk/relay/identity"
	"dawk/relay/tomlfile"
)

// Errors of the Editor; test with errors.Is.
var (
	ErrExists  = errors.New("that name is taken already")
	ErrUnknown = errors.New("there is no such name")
)

// Operator is a person.
type Operator struct {
	Name     string `toml:"name"`
	Role     Role   `toml:"role"`
	Password string `toml:"password"` // its hash; see identity.HashPassword
}

// Token is what a program shows.
type Token struct {
	Name    string    `toml:"name"`
	Role    Role      `toml:"role"`
	Hash    string    `toml:"hash"`    // see identity.NewToken
	Expires time.Time `toml:"expires"` // zero: never
}

// File is the content of the file of operators.
type File struct {
	Operators []Operator `toml:"operator"`
	Tokens    []Token    `toml:"token"`
}

// maxFile bounds the file, in octets.
const maxFile = 1 << 20

// ReadFile reads the file of operators; one that is missing is empty. The error of
// a file with mistakes is a *tomlfile.Error with the place of each.
func ReadFile(path string) (*File, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &File{}, nil
	}
	if err == nil && info.Size() > maxFile {
		err = fmt.Errorf("%s has %d octets; more than %d cannot be meant", path, info.Size(), maxFile)
	}
	if err != nil {
		return nil, err
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parse(path, data)
}

func parse(path string, data []byte) (*File, error) {
	var f File
	doc, err := tomlfile.Parse(path, data, &f)
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	check := func(at, name string, role Role) {
		if err := identity.CheckName(name); err != nil {
			doc.Fault(at+".name", "name: %v", err)
		}
		key := at[:strings.IndexByte(at, '[')] + " " + strings.ToLower(name)
		if names[key] {
			doc.Fault(at+".name", "the name %q is here twice", name)
		}
		names[key] = true
		if role == Nobody {
			doc.Fault(at, `role is missing: write role = "read", "operate" or "admin"`)
		}
	}
	for i, o := range f.Operators {
		at := fmt.Sprintf("operator[%d]", i)
		check(at, o.Name, o.Role)
		if err := identity.CheckHash(o.Password); err != nil {
			doc.Fault(at+".password", "the password of %s: set it with `dawk operator passwd %[1]s`, which keeps only its hash", strconv.Quote(o.Name))
		}
	}
	for i, t := range f.Tokens {
		at := fmt.Sprintf("token[%d]", i)
		check(at, t.Name, t.Role)
		if !hashForm.MatchString(t.Hash) {
			doc.Fault(at+".hash", "the hash of %s is none: make a token with `dawk token add NAME`, which keeps only its hash", strconv.Quote(t.Name))
		}
	}
	return &f, doc.Err()
}

// hashForm is what identity.HashToken makes.
var hashForm = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

const fileHead = "# Who may use the pages and the API of dawk. `dawk operator` and `dawk token` write this file anew, without\n" +
	"# comments of yours. The relay looks at it at each request.\n"

// text is the file as it is written. Go's quoting is TOML's for what a name or a
// hash may hold.
func (f *File) text() []byte {
	b := bytes.NewBufferString(fileHead)
	for _, o := range f.Operators {
		fmt.Fprintf(b, "\n[[operator]]\nname = %q\nrole = %q\npassword = %q\n", o.Name, o.Role, o.Password)
	}
	for _, t := range f.Tokens {
		fmt.Fprintf(b, "\n[[token]]\nname = %q\nrole = %q\nhash = %q\n", t.Name, t.Role, t.Hash)
		if !t.Expires.IsZero() {
			fmt.Fprintf(b, "expires = %q\n", t.Expires.UTC().Format(time.RFC3339))
		}
	}
	return b.Bytes()
}

// Editor changes the file of operators. A crash leaves the old file or the new;
// two editors wait for each other.
type Editor struct{ Path string }

// Add adds a person. ErrExists.
func (e Editor) Add(o Operator) error {
	if err := identity.CheckName(o.Name); err != nil {
		return err
	}
	return e.change(func(f *File) error {
		if f.operator(o.Name) >= 0 {
			return fmt.Errorf("%s: %w", o.Name, ErrExists)
		}
		f.Operators = append(f.Operators, o)
		return nil
	})
}

// SetPassword gives a person another password. ErrUnknown.
func (e Editor) SetPassword(name, hash string) error {
	return e.change(func(f *File) error {
		i := f.operator(name)
		if i < 0 {
			return fmt.Errorf("%s: %w", name, ErrUnknown)
		}
		f.Operators[i].Password = hash
		return nil
	})
}

// Remove takes a person out. ErrUnknown.
func (e Editor) Remove(name string) error {
	return e.change(func(f *File) error {
		i := f.operator(name)
		if i < 0 {
			return fmt.Errorf("%s: %w", name, ErrUnknown)
		}
		f.Operators = slices.Delete(f.Operators, i, i+1)
		return nil
	})
}

// AddToken adds a token. ErrExists.
func (e Editor) AddToken(t Token) error {
	if err := identity.CheckName(t.Name); err != nil {
		return err
	}
	return e.change(func(f *File) error {
		if f.token(t.Name) >= 0 {
			return fmt.Errorf("%s: %w", t.Name, ErrExists)
		}
		f.Tokens = append(f.Tokens, t)
		return nil
	})
}

// RemoveToken takes a token out. ErrUnknown.
func (e Editor) RemoveToken(name string) error {
	return e.change(func(f *File) error {
		i := f.token(name)
		if i < 0 {
			return fmt.Errorf("%s: %w", name, ErrUnknown)
		}
		f.Tokens = slices.Delete(f.Tokens, i, i+1)
		return nil
	})
}

func (f *File) operator(name string) int {
	return slices.IndexFunc(f.Operators, func(o Operator) bool { return strings.EqualFold(o.Name, name) })
}

func (f *File) token(name string) int {
	return slices.IndexFunc(f.Tokens, func(t Token) bool { return strings.EqualFold(t.Name, name) })
}

// change locks, reads, edits and writes.
func (e Editor) change(edit func(*File) error) error {
	dir, err := os.Open(filepath.Dir(e.Path))
	if err != nil {
		return fmt.Errorf("the directory of the file of operators: %w", err)
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking %s: %w", dir.Name(), err)
	}
	f, err := ReadFile(e.Path)
	if err != nil {
		return fmt.Errorf("the file has mistakes; correct them first:\n%w", err)
	}
	if err := edit(f); err != nil {
		return err
	}
	return durable.Replace(e.Path, f.text())
}
