package config

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"strings"

	"dawk/relay"
	"dawk/relay/acme"
)

// TLSConfig is [tls].
type TLSConfig struct {
	// PEM file with the whole chain, the server's certificate first
	// Default: none
	Certificate string `toml:"certificate"`
	// PEM file with its private key
	// Default: none
	Key string `toml:"key"`
	// who gives and renews the certificate, instead of `certificate` and `key`: `"letsencrypt"`,
	// `"letsencrypt-staging"`, or the URL of another authority's ACME directory: [certificate.md](certificate.md)
	// Default: none
	ACME string `toml:"acme"`
	// names that the certificate is for
	// Default: `hostname`
	Names []string `toml:"names"`
	// where the authority writes to if something is wrong with the certificate
	// Default: none
	Email string `toml:"email"`
	// the DNS provider of the zone: `"cloudflare"`, `"rfc2136"`. The names are proved by records in it, and no port
	// need be open
	// Default: by HTTP-01 on port 80 or TLS-ALPN-01 on port 443
	ACMEDNS string `toml:"acme_dns"`
	// file with its credentials: a token, or a JSON object; readable by the relay's user alone
	// Default: none
	ACMEDNSSecretFile string `toml:"acme_dns_secret_file"`
}

func (c *Config) checkTLS() {
	switch {
	case c.TLS.Certificate != "" && c.TLS.Key == "":
		c.doc.Fault("tls.certificate", "tls.certificate needs tls.key: the file with its private key")
	case c.TLS.Certificate == "" && c.TLS.Key != "":
		c.doc.Fault("tls.key", "tls.key needs tls.certificate: the file with the certificate chain")
	}
	c.checkACME()
}

func (c *Config) checkACME() {
	if c.TLS.ACME == "" {
		for _, key := range []string{"names", "email", "acme_dns", "acme_dns_secret_file"} {
			if at := "tls." + key; c.doc.Has(at) {
				c.doc.Fault(at, `%s needs tls.acme: who gives the certificate, as in acme = "letsencrypt"`, at)
			}
		}
		return
	}
	if c.TLS.Certificate != "" || c.TLS.Key != "" {
		c.doc.Fault("tls.acme", "tls.acme and tls.certificate exclude each other: the authority's certificate is kept in data_dir")
	}
	if u, err := url.Parse(c.directory()); err != nil || u.Scheme != "https" && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1" || u.Host == "" {
		c.doc.Fault("tls.acme", `tls.acme = %q is neither "letsencrypt", "letsencrypt-staging" nor an https URL`, relay.Clip(c.TLS.ACME))
	}
	for i, name := range c.TLS.Names {
		at, host := fmt.Sprintf("tls.names[%d]", i), strings.TrimPrefix(name, "*.")
		plain, err := relay.NormalizeDomain(host)
		switch {
		case err != nil || strings.HasPrefix(plain, "[") || !strings.Contains(plain, "."):
			c.doc.Fault(at, "tls.names: %q is not a full host name: write it like \"relay.example.org\"", relay.Clip(name))
		case host != name && c.TLS.ACMEDNS == "":
			c.doc.Fault(at, "tls.names: %q can be proved by DNS only: set acme_dns", relay.Clip(name))
		}
	}
	if len(c.TLS.Names) == 0 && c.Hostname != "" && !strings.Contains(c.Hostname, ".") {
		c.doc.Fault("tls.acme", "tls.acme needs a full host name, and hostname is %q: set names", relay.Clip(c.Hostname))
	}
	if _, err := relay.ParsePath(c.TLS.Email); c.TLS.Email != "" && err != nil {
		c.doc.Fault("tls.email", "tls.email: %v", err)
	}
	if c.TLS.ACMEDNS != "" {
		c.oneOf("tls.acme_dns", c.TLS.ACMEDNS, acme.Providers...)
	}
	if (c.TLS.ACMEDNS == "") != (c.TLS.ACMEDNSSecretFile == "") {
		c.doc.Fault("tls.acme", "tls.acme_dns and tls.acme_dns_secret_file belong together: write both, or neither")
	}
}

func (c *Config) directory() string { return cmp.Or(acme.Directories[c.TLS.ACME], c.TLS.ACME) }

// acmeProvider is the provider of [tls] acme_dns; nil without one.
func (c *Config) acmeProvider() (acme.Provider, error) {
	if c.TLS.ACMEDNS == "" {
		return nil, nil
	}
	secret, err := readSecret(c.TLS.ACMEDNSSecretFile)
	if err != nil {
		return nil, err
	}
	return acme.NewProvider(c.TLS.ACMEDNS, secret)
}

// ACME is how the certificate is got; ok is false where nobody is asked for one.
func (c *Config) ACME(log *slog.Logger) (cfg acme.Config, ok bool, err error) {
	if c.TLS.ACME == "" || !c.NeedsTLS() {
		return cfg, false, nil
	}
	cfg = acme.Config{Directory: c.directory(), Email: c.TLS.Email, Dir: filepath.Join(c.DataDir, "acme"), Roots: c.secrets.roots, Log: log}
	for _, name := range c.TLS.Names {
		if plain, err := relay.NormalizeDomain(strings.TrimPrefix(name, "*.")); err == nil {
			cfg.Names = append(cfg.Names, name[:len(name)-len(strings.TrimPrefix(name, "*."))]+plain)
		}
	}
	if len(cfg.Names) == 0 {
		cfg.Names = []string{c.Hostname}
	}
	slices.Sort(cfg.Names)
	cfg.Names = slices.Compact(cfg.Names)
	cfg.DNS, err = c.acmeProvider()
	return cfg, true, err
}

// checkCertificate reads the pair, where anything uses it.
func (c *Config) checkCertificate() {
	if c.TLS.ACMEDNS != "" && c.TLS.ACMEDNSSecretFile != "" && c.doc.Clean("tls") {
		if _, err := c.acmeProvider(); err != nil {
			c.doc.Fault("tls.acme_dns_secret_file", "acme_dns_secret_file: %v", err)
		}
	}
	if c.TLS.Certificate == "" || c.TLS.Key == "" || !c.NeedsTLS() {
		return
	}
	for key, file := range map[string]string{"tls.certificate": c.TLS.Certificate, "tls.key": c.TLS.Key} {
		if _, err := readBounded(file, 1<<20); err != nil {
			c.doc.Fault(key, "%s: %v", key, err)
		}
	}
	if _, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key); err != nil && c.doc.Clean("tls") {
		c.doc.Fault("tls.certificate", "tls.certificate %s and tls.key %s do not serve: %v; they are PEM files that belong together", c.TLS.Certificate, c.TLS.Key, err)
	}
}
