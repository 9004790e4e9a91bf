package config

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode/utf8"

	"dawk/mx/oauth"
	"dawk/relay/durable"
)

// secrets are the contents of the files that a configuration names, read once
// while it is checked.
type secrets struct {
	passwords map[int]string         // of routes, by index
	dsn       string                 // what queue.dsn_file holds
	roots     *x509.CertPool         // of delivery.ca_file; nil: the system's
	clientCAs map[int]*x509.CertPool // of listeners, by index
}

// checkFiles opens the files that the configuration names, as far as they
// belong to it; certificates and users are read by their own packages.
func (c *Config) checkFiles() {
	if c.NeedsUsers() {
		if _, err := os.Stat(c.Users.File); errors.Is(err, fs.ErrNotExist) && c.doc.Clean("users.file") {
			place := "users.file"
			if !c.doc.Has(place) {
				place = c.firstWithUsers()
			}
			c.doc.Fault(place, "users log in here, but the file of users %s does not exist: make it with `dawk user add NAME`", c.Users.File)
		}
	}
	c.checkAdminGroup()
	c.checkCertificate()
	c.checkDSN()
	c.checkWords()
	c.checkSecrets()
	c.secrets.passwords = map[int]string{}
	for i, r := range c.Routes {
		if r.PasswordFile == "" {
			continue
		}
		password, err := readSecret(r.PasswordFile)
		if err != nil {
			c.doc.Fault(fmt.Sprintf("route[%d].password_file", i), "password_file: %v", err)
		}
		c.secrets.passwords[i] = password
	}
	roots, err := readRoots(c.Delivery.CAFile)
	if err != nil {
		c.doc.Fault("delivery.ca_file", "%v", err)
	}
	c.secrets.roots = roots
	c.checkDKIMFiles()
	c.checkClientCAs()
	c.checkClientCertificates()
	c.checkWebhookFiles()
}

// readBounded reads a whole file that ought to be small.
func readBounded(path string, limit int64) ([]byte, error) {
	data, err := readFile(path, limit)
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		err = durable.Unreadable(path, pe)
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

// readSecret is the first line of a file, or of a variable of the environment; its error never holds the content.
func readSecret(path string) (string, error) {
	data, ok, err := oauth.FromEnvironment(path)
	if !ok {
		data, err = readBounded(path, 64<<10)
	}
	if err != nil {
		return "", err
	}
	line, _, _ := bytes.Cut(data, []byte("\n"))
	secret := strings.TrimSuffix(string(line), "\r")
	switch {
	case secret == "":
		return "", fmt.Errorf("the first line of %s is empty; it must be the password", path)
	case !utf8.ValidString(secret) || strings.ContainsFunc(secret, func(r rune) bool { return r < 0x20 || r == 0x7f }):
		return "", fmt.Errorf("the first line of %s holds control characters or is not UTF-8", path)
	}
	return secret, nil
}

// readRoots reads delivery.ca_file; nil, the system's authorities, without one.
func readRoots(file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, nil
	}
	pem, err := readBounded(file, 16<<20)
	if err != nil {
		return nil, fmt.Errorf("delivery.ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("delivery.ca_file: %s holds no certificate in PEM form", file)
	}
	return pool, nil
}

// LoadRoots reads delivery.ca_file. It is for commands, which do not check the
// files that a configuration names.
func (c *Config) LoadRoots() (err error) {
	c.secrets.roots, err = readRoots(c.Delivery.CAFile)
	return err
}
