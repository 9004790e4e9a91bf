package tlspolicy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"slices"
)

// Try is how TLS is begun with a host. The zero value is what is tried first.
// Every try asks for at least TLS 1.2 and verifies what the Demand verifies.
type Try struct {
	// Classical leaves out the hybrid key shares. With them the ClientHello has nearly 1,500 octets,
	// which some receivers, and devices in front of them, refuse.
	Classical bool
	// Lenient sends no server name (SNI) and offers RSA key exchange; it is only used if no name is
	// verified.
	Lenient bool
	TLS12   bool // nothing newer: TLS 1.3 failed after its handshake
}

// Which try a session came from, if it was not the first: the values of relay.Session.TLSTry.
const (
	TrySecond = "second"
	TryClear  = "clear" // no try of TLS succeeded
)

var (
	classicalGroups = []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384, tls.CurveP521}
	// lenientSuites are the suites of TLS 1.2, best first, with RSA key exchange last. They do not
	// apply to TLS 1.3.
	lenientSuites = append(ecdheSuites, rsaSuites...)
	ecdheSuites   = []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, tls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	}
	rsaSuites = []uint16{
		tls.TLS_RSA_WITH_AES_128_GCM_SHA256, tls.TLS_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_RSA_WITH_AES_128_CBC_SHA256, tls.TLS_RSA_WITH_AES_128_CBC_SHA, tls.TLS_RSA_WITH_AES_256_CBC_SHA,
	}
)

// Config is for one session with a host. At the levels opportunistic and required certificates are
// not checked: without DANE or MTA-STS nothing proves the name of an MX host.
func (p Demand) Config(host string, roots *x509.CertPool, sessions tls.ClientSessionCache, try Try) *tls.Config {
	cfg := &tls.Config{
		ServerName:         host, // also the SNI; an address is checked and not sent
		MinVersion:         tls.VersionTLS12,
		RootCAs:            roots,
		InsecureSkipVerify: !p.verifies(),
		ClientSessionCache: sessions,
	}
	if d := p.DANE; d != nil {
		// RFC 7672 §8.1: the TLSA base domain is the SNI. VerifyConnection is
		// called for resumed sessions, too.
		cfg.ServerName, cfg.InsecureSkipVerify, cfg.VerifyConnection = d.Base, true, d.Verify
	}
	if try.Classical {
		cfg.CurvePreferences = classicalGroups
	}
	if try.Lenient && !p.verifies() {
		cfg.ServerName, cfg.CipherSuites = "", lenientSuites
		if try.TLS12 {
			cfg.MaxVersion = tls.VersionTLS12
		}
	}
	if try != (Try{}) {
		cfg.ClientSessionCache = nil // resuming a session of another try could bring the fault back
	}
	return cfg
}

// verifies says whether the certificate must be valid for the host.
func (p Demand) verifies() bool { return p.Level >= LevelVerified || p.DANE != nil }

// Again is the try after a failed one, on a new connection; false: another would not help, or there
// was a second one already.
func (p Demand) Again(failed Try, why error, version uint16) (Try, bool) {
	if !worthAgain(why) {
		return Try{}, false
	}
	again := Try{Classical: true}
	if !p.verifies() {
		again.Lenient, again.TLS12 = true, version >= tls.VersionTLS13
	}
	return again, again != failed
}

// worthAgain says whether a failure may come from how TLS was begun. A failed certificate check
// does not: the certificate stays the same.
func worthAgain(err error) bool {
	var cert *tls.CertificateVerificationError
	return err != nil && !errors.As(err, &cert) && !errors.Is(err, ErrNoTLSA) && !errors.Is(err, ErrOwnCertificate) && !errors.Is(err, ErrInjected)
}

var (
	// ErrOwnCertificate: our own certificate for the host cannot be loaded.
	ErrOwnCertificate = errors.New("client_certificate")
	// ErrInjected: plain text came between STARTTLS and the handshake.
	ErrInjected = errors.New("the server sent plain text after its answer to STARTTLS")
)

// Alerts of a server that has read the ClientHello and rejects a part of it: the name, or the way
// to agree on a key (RFC 8446 §6.2, RFC 6066 §3). The texts are those of crypto/tls, which exports
// no type for alerts.
var telling = []string{"tls: unrecognized name", "tls: handshake failure", "tls: protocol version not supported", "tls: insufficient security level"}

// ClassicalHelped says whether a second try succeeded for its classical groups: no other difference
// explains the failure of the first. The argument is the version of TLS that the first try agreed
// on, 0 for none: a server that chose a version had accepted the ClientHello.
func ClassicalHelped(first error, version uint16, second tls.ConnectionState) bool {
	var op *net.OpError
	told := errors.As(first, &op) && op.Op == "remote error" && slices.Contains(telling, op.Err.Error())
	return version == 0 && !told && !slices.Contains(rsaSuites, second.CipherSuite)
}
