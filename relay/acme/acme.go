// Package acme gets the relay's certificate from a certificate authority (RFC 8555)
// and renews it: a file with key and chain in one directory, beside the account's key
// and what came of the last try. Whoever uses the file reads it again when it changes.
//
// It owns that directory. Run is its one goroutine; while an order is open there are
// those that answer the authority. Lock: Manager.mu, for the state. Begin reading at
// Manager.Run.
package acme

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme"

	"dawk/relay"
	"dawk/relay/durable"
)

// Directories of authorities that have a name.
var Directories = map[string]string{
	"letsencrypt":         "https://acme-v02.api.letsencrypt.org/directory",
	"letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}

// Config says whom to ask for what.
type Config struct {
	Directory string         // URL of the authority
	Names     []string       // of the certificate
	Email     string         // where the authority may write to; "": nowhere
	Dir       string         // where all is kept; made if missing
	Roots     *x509.CertPool // for the authority's own certificate; nil: the system's
	DNS       Provider       // proves the names by DNS; nil: by HTTP-01 and TLS-ALPN-01
	Resolver  *net.Resolver  // finds the zones of names for DNS; nil: the system's
	Log       *slog.Logger

	// The addresses where the authority asks back; "": ":80" and ":443" (RFC 8555
	// §8.3, RFC 8737 §3).
	HTTP, TLS string
}

// Status is how things are.
type Status struct {
	Names    []string
	NotAfter time.Time // of the authority's certificate; zero: there is none yet
	Next     time.Time // when it is asked again, for a renewal or after a failure
	Failures int       // since the last success
	Err      string    // of the last try; "": it went well
}

// Manager keeps one certificate.
type Manager struct {
	cfg Config

	mu    sync.Mutex
	state state
}

// state is kept in a file: an authority counts failures, and must not be asked again
// at once because the relay was restarted.
type state struct {
	Directory string    `json:"directory"`
	Names     []string  `json:"names"`
	Next      time.Time `json:"next,omitzero"`
	Failures  int       `json:"failures,omitempty"`
	Err       string    `json:"error,omitempty"`
}

// New reads what is kept in cfg.Dir.
func New(cfg Config) (*Manager, error) {
	if cfg.HTTP == "" {
		cfg.HTTP = ":80"
	}
	if cfg.TLS == "" {
		cfg.TLS = ":443"
	}
	if err := durable.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("directory for the certificate: %w", err)
	}
	m := &Manager{cfg: cfg}
	data, err := os.ReadFile(m.path("state.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state of the certificate: %w", err)
	}
	// A state that cannot be read, or of another question, is none.
	if json.Unmarshal(data, &m.state) != nil || m.state.Directory != cfg.Directory || !slices.Equal(m.state.Names, cfg.Names) {
		m.state = state{}
	}
	m.state.Directory, m.state.Names = cfg.Directory, cfg.Names
	return m, nil
}

func (m *Manager) path(name string) string { return filepath.Join(m.cfg.Dir, name) }

// File is where certificate and key are, or will be.
func (m *Manager) File() string { return File(m.cfg.Dir) }

// File is where a Manager of that directory keeps certificate and key.
func File(dir string) string { return filepath.Join(dir, "certificate.pem") }

// leaf is the authority's certificate; nil where there is none for all names. A
// placeholder that signed itself is none.
func (m *Manager) leaf() *x509.Certificate {
	pair, err := tls.LoadX509KeyPair(m.File(), m.File())
	if err != nil || bytes.Equal(pair.Leaf.RawIssuer, pair.Leaf.RawSubject) {
		return nil
	}
	for _, name := range m.cfg.Names {
		if pair.Leaf.VerifyHostname(name) != nil && !slices.Contains(pair.Leaf.DNSNames, name) { // a wildcard is no host name
			return nil
		}
	}
	return pair.Leaf
}

// due is when the authority is asked next. A certificate is renewed when two thirds
// of its time have passed, as authorities advise for any lifetime, or up to a
// thirtieth of it before: relays that began together do not renew together. The
// certificate's own number, which is drawn by chance, decides.
func (m *Manager) due() time.Time {
	m.mu.Lock()
	next := m.state.Next
	m.mu.Unlock()
	if leaf := m.leaf(); leaf != nil {
		life := leaf.NotAfter.Sub(leaf.NotBefore)
		share := new(big.Int).Mod(leaf.SerialNumber, big.NewInt(1000)).Int64()
		renew := leaf.NotBefore.Add(life*2/3 - life/30_000*time.Duration(share))
		if renew.After(next) {
			return renew
		}
	}
	return next
}

// Status says how things are.
func (m *Manager) Status() Status {
	s := Status{Names: m.cfg.Names, Next: m.due()}
	if leaf := m.leaf(); leaf != nil {
		s.NotAfter = leaf.NotAfter
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	s.Failures, s.Err = m.state.Failures, m.state.Err
	return s
}

// Run gets a certificate and renews it, until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	for {
		// The clock may be set, and files may be removed: look again each hour.
		wait := min(time.Until(m.due()), time.Hour)
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, 0)):
		}
		if time.Until(m.due()) > 0 {
			continue
		}
		err := m.obtain(ctx)
		if ctx.Err() != nil {
			return // a stop is no failure
		}
		m.settle(err)
	}
}

// obtainTime is what one order may take.
const obtainTime = 10 * time.Minute

// Failures are tried again after 5 minutes, then after twice the time, at most a day.
// Let's Encrypt allows five failures an hour.
const firstRetry, lastRetry = 5 * time.Minute, 24 * time.Hour

// settle keeps what came of a try.
func (m *Manager) settle(err error) {
	m.mu.Lock()
	s := &m.state
	if err == nil {
		s.Next, s.Failures, s.Err = time.Time{}, 0, ""
	} else {
		wait := lastRetry
		if s.Failures < 9 {
			wait = min(firstRetry<<s.Failures, lastRetry)
		}
		if e, ok := errors.AsType[*acme.Error](err); ok {
			if asked, ok := acme.RateLimit(e); ok {
				wait = max(wait, asked)
			}
		}
		s.Failures++
		s.Next, s.Err = time.Now().Add(wait), relay.Sanitize(relay.ClipTo(err.Error(), 500))
	}
	kept, next := *s, s.Next
	m.mu.Unlock()
	if err != nil {
		m.cfg.Log.Error("no certificate from the authority; the one in use stays", "names", m.cfg.Names, "err", kept.Err, "next", next)
	} else {
		m.cfg.Log.Info("certificate from the authority", "names", m.cfg.Names, "file", m.File())
	}
	data, err := json.Marshal(kept)
	if err == nil {
		err = durable.Write(m.path("state.json"), data, 0o600)
	}
	if err != nil {
		m.cfg.Log.Error("what came of asking for a certificate cannot be kept", "err", err)
	}
}
