package oauth

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"dawk/relay/durable"
)

// maxFile is the largest file of a secret, in octets.
const maxFile = 64 << 10

// EnvPrefix begins the name of an environment variable in place of a file.
const EnvPrefix = "env:"

// FromEnvironment reads a secret from the variable that path names; ok is false
// where path is a file.
func FromEnvironment(path string) (data []byte, ok bool, err error) {
	name, ok := strings.CutPrefix(path, EnvPrefix)
	if !ok {
		return nil, false, nil
	}
	value, set := os.LookupEnv(name)
	switch {
	case !set || value == "":
		return nil, true, fmt.Errorf("the environment variable %s is not set: dawk, and commands that read its secrets, need it", name)
	case len(value) > maxFile:
		return nil, true, fmt.Errorf("the environment variable %s has more than %d octets, which no secret has", name, maxFile)
	}
	return []byte(value), true, nil
}

// readFile is os.ReadFile with a bound, and errors for people; or a variable of
// the environment.
func readFile(path string) ([]byte, error) {
	if data, ok, err := FromEnvironment(path); ok {
		return data, err
	}
	f, err := os.Open(path)
	if err == nil {
		defer f.Close()
		var data []byte
		if data, err = io.ReadAll(io.LimitReader(f, maxFile+1)); err == nil && len(data) > maxFile {
			return nil, fmt.Errorf("%s is larger than %d octets, which no secret is", path, maxFile)
		} else if err == nil {
			return data, nil
		}
	}
	return nil, durable.Unreadable(path, err)
}

// firstLine is the secret in a file; its error never holds the content.
func firstLine(path string) (string, error) {
	data, err := readFile(path)
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf")), []byte("\n")) // a BOM comes from Windows editors
	secret := strings.TrimSpace(string(line))
	switch {
	case secret == "":
		return "", fmt.Errorf("the first line of %s is empty", path)
	case !utf8.ValidString(secret) || strings.ContainsFunc(secret, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "", fmt.Errorf("the first line of %s holds control characters or is not UTF-8", path)
	}
	return secret, nil
}

// files notices that one of several files has changed: the stamp is read often, the content only
// when the stamp has changed.
type files struct {
	mu  *sync.Mutex
	all []*watched
}

type watched struct {
	path string
	mod  time.Time
	size int64
	sum  [sha256.Size]byte
}

func (s *Source) watchedFiles() files {
	f := files{mu: new(sync.Mutex)}
	paths := []string{s.cfg.SecretFile, s.cfg.RefreshTokenFile, s.cfg.ServiceAccountFile}
	if s.store != nil {
		paths = append(paths, s.store.path) // `dawk oauth login` writes it beside a relay that runs
	}
	for _, p := range paths {
		if p != "" {
			f.all = append(f.all, &watched{path: p})
		}
	}
	return f
}

// changed says whether a content differs from that at the last call.
func (f files) changed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	any := false
	for _, w := range f.all {
		any = w.look() || any
	}
	return any
}

func (w *watched) look() bool {
	var mod time.Time
	size := int64(-1)
	if st, err := os.Stat(w.path); err == nil {
		mod, size = st.ModTime(), st.Size()
	}
	if mod.Equal(w.mod) && size == w.size {
		return false
	}
	w.mod, w.size = mod, size
	data, _ := readFile(w.path) // a missing file counts as empty: its user reports that
	sum := sha256.Sum256(data)
	if sum == w.sum {
		return false
	}
	w.sum = sum
	return true
}

// ours changes the file at path by write, and marks its content as known: our own change is not
// reported.
func (f files) ours(path string, write func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := write()
	for _, w := range f.all {
		if w.path == path {
			w.look()
		}
	}
	return err
}
