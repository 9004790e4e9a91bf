package server

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/relay/acme"
	"dawk/relay/durable"
	"dawk/relay/submission"
)

// certificates are the configured pair, that of an authority, or a self-signed one
// that is made at the first start and kept in the data directory. One that is not valid
// now does not take the place of before, if that is; nil: there was none.
func certificates(cfg *config.Config, before *submission.Certificates, log *slog.Logger) (*submission.Certificates, *acme.Manager, error) {
	cert, key := cfg.TLS.Certificate, cfg.TLS.Key
	var authority *acme.Manager
	ask, asked, err := cfg.ACME(log)
	if asked && err == nil {
		authority, err = acme.New(ask)
	}
	switch {
	case err != nil:
		return nil, nil, err
	case asked:
		cert, key = authority.File(), authority.File()
		if err := placeholder(cfg, cert); err != nil {
			return nil, nil, err
		}
	case cert == "":
		if cert, key, _, err = submission.SelfSigned(cfg.DataDir, cfg.Hostname); err != nil {
			return nil, nil, err
		}
		log.Warn("no certificate is configured: TLS uses a self-signed one, which clients will not trust; set [tls] acme, or certificate and key", "certificate", cert)
	}
	certs, err := submission.LoadCertificates(cert, key, log)
	if err == nil && before != nil && before.Valid() && !certs.Valid() {
		err = fmt.Errorf("%w; the one in use stays until %s", certs.Trouble(), before.NotAfter().UTC().Format(time.DateOnly))
	}
	return certs, authority, err
}

// placeholder makes a file for the certificate of an authority that has not given one
// yet: mail is taken meanwhile. What is in the file already is kept.
func placeholder(cfg *config.Config, file string) error {
	if _, err := tls.LoadX509KeyPair(file, file); err == nil {
		return nil
	}
	cert, key, _, err := submission.SelfSigned(cfg.DataDir, cfg.Hostname)
	if err != nil {
		return err
	}
	var both []byte
	for _, name := range []string{cert, key} {
		data, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		both = append(both, data...)
	}
	return durable.Write(file, both, 0o600)
}
