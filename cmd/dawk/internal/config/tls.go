package config

import (
	"crypto/tls"
)

// TLSConfig is [tls].
type TLSConfig struct {
	// PEM file with the whole chain, the server's certificate first
	// Default: none
	Certificate string `toml:"certificate"`
	// PEM file with its private key
	// Default: none
	Key string `toml:"key"`
}

func (c *Config) checkTLS() {
	switch {
	case c.TLS.Certificate != "" && c.TLS.Key == "":
		c.doc.Fault("tls.certificate", "tls.certificate needs tls.key: the file with its private key")
	case c.TLS.Certificate == "" && c.TLS.Key != "":
		c.doc.Fault("tls.key", "tls.key needs tls.certificate: the file with the certificate chain")
	}
}

// checkCertificate reads the pair, where anything uses it.
func (c *Config) checkCertificate() {
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
