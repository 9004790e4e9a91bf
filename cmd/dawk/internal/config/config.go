// Package config reads the configuration file: every section with its defaults,
// checks and meaning, and all faults at once with their places. It gives each
// package below its own small Config. It has no goroutines. Begin reading at Load.
package config

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"dawk/bounce"
	"dawk/mx/oauth"
	"dawk/relay"
	"dawk/relay/tomlfile"
)

// DefaultFile is read when -c names no other and it exists.
const DefaultFile = "/etc/dawk/dawk.toml"

// maxConfigSize bounds what is read as a configuration, in octets.
const maxConfigSize = 1 << 20

// Load reads and checks a configuration file. "" stands for
// defaultConfigFile if that exists, else for defaultConfig.
//
// Its error is a *tomlfile.Error with everything that is wrong, the files that
// the configuration names included, each with line and column; or a plain
// error when the file cannot be read.
func Load(path string) (*Config, error) {
	c, err := Read(path)
	if err != nil {
		return nil, err
	}
	if c.Hostname == "" {
		c.Hostname = MachineName()
	}
	if c.doc == nil {
		return c, nil
	}
	c.check()
	c.checkFiles()
	return c, c.doc.Err()
}

// LoadClient is loadConfig for commands that only look for a running
// relay: it does not open the files that the configuration names, which their
// user may not be allowed to read, and it asks no DNS for our hostname.
func LoadClient(path string) (*Config, error) {
	c, err := Read(path)
	if err != nil || c.doc == nil {
		return c, err
	}
	c.check()
	return c, c.doc.Err()
}

// Read reads the file into a Config; unless the syntax is wrong, faults
// wait in c.doc.
func Read(path string) (*Config, error) {
	if path == "" {
		if _, err := os.Stat(DefaultFile); errors.Is(err, fs.ErrNotExist) {
			return Builtin(), nil
		}
		path = DefaultFile
	}
	data, err := readBounded(path, maxConfigSize)
	if err != nil {
		return nil, fmt.Errorf("the configuration cannot be read: %w", err)
	}
	return parseConfig(path, data)
}

// parseConfig decodes a file. Relative paths in it count from its directory.
func parseConfig(path string, data []byte) (*Config, error) {
	c := newConfig()
	doc, err := tomlfile.Parse(path, data, c)
	if err != nil {
		return nil, err
	}
	c.doc, c.file, c.dir = doc, path, filepath.Dir(path)
	if len(c.Listeners) == 0 && !doc.Has("listener") {
		c.Listeners = []ListenerConfig{localListener()}
	}
	c.complete()
	return c, nil
}

// complete puts the hostname into A-labels and makes paths whole.
func (c *Config) complete() {
	if h, err := relay.NormalizeDomain(c.Hostname); err == nil {
		c.Hostname = h // A-labels
	}
	paths := []*string{&c.Sendmail.Socket, &c.Sendmail.Drop, &c.DataDir, &c.TLS.Certificate, &c.TLS.Key, &c.Users.File, &c.Delivery.CAFile, &c.Bounce.Templates}
	for i := range c.Routes {
		r := &c.Routes[i]
		r.complete()
		paths = append(paths, &r.PasswordFile, &r.ClientSecretFile, &r.RefreshTokenFile, &r.ServiceAccountFile, &r.ClientCertificate, &r.ClientKey)
	}
	for i := range c.Listeners {
		paths = append(paths, &c.Listeners[i].ClientCA)
	}
	for i := range c.DKIM {
		paths = append(paths, &c.DKIM[i].Key)
	}
	for _, p := range paths {
		if *p != "" && !filepath.IsAbs(*p) && !strings.HasPrefix(*p, oauth.EnvPrefix) {
			*p = filepath.Join(c.dir, *p)
		}
	}
}

// MachineName is the machine's fully qualified name, or the best at hand.
func MachineName() string {
	name, err := os.Hostname()
	if err != nil {
		return "localhost"
	}
	if !strings.Contains(name, ".") {
		// The resolver knows the rest of it, from /etc/hosts or DNS.
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		if full, err := net.DefaultResolver.LookupCNAME(ctx, name); err == nil && strings.Contains(strings.TrimSuffix(full, "."), ".") {
			name = full
		}
	}
	if name, err = relay.NormalizeDomain(name); err != nil {
		return "localhost"
	}
	return name
}

// readBounded reads a whole file that ought to be small.
func readBounded(path string, limit int64) ([]byte, error) {
	data, err := readFile(path, limit)
	var pe *fs.PathError
	if errors.As(err, &pe) { // without the system call's name
		err = fmt.Errorf("%s: %w", pe.Path, pe.Err)
	}
	return data, err
}

func readFile(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.IsDir() {
		return nil, fmt.Errorf("%s is a directory", path)
	}
	if st.Size() > limit {
		return nil, fmt.Errorf("%s has %d octets; more than %d cannot be meant", path, st.Size(), limit)
	}
	return os.ReadFile(path)
}

// secrets are the contents of the files that a configuration names, read once
// while it is checked.
type secrets struct {
	passwords map[int]string         // of routes, by index
	roots     *x509.CertPool         // of delivery.ca_file; nil: the system's
	clientCAs map[int]*x509.CertPool // of listeners, by index
}

// LoadRoots reads delivery.ca_file. It is for commands, which do not check the
// files that a configuration names.
func (c *Config) LoadRoots() (err error) {
	c.secrets.roots, err = readRoots(c.Delivery.CAFile)
	return err
}

// File is where the configuration was read; "": the built-in defaults.
func (c *Config) File() string { return c.file }

// Dir is the directory that relative paths count from.
func (c *Config) Dir() string { return c.dir }

// Line is the line of a key or section in the file; 0 for one that is not there.
func (c *Config) Line(path string) int {
	if c.doc == nil {
		return 0
	}
	return c.doc.Line(path)
}

// Clean says whether a section has no fault.
func (c *Config) Clean(path string) bool { return c.doc == nil || c.doc.Clean(path) }

// Languages are those of notices.
func (c *Config) Languages() *bounce.Languages { return c.languages }
