package acme

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/crypto/acme"
)

// The proofs that a name is ours (RFC 8555 §8.3 and §8.4, RFC 8737).
const (
	httpProof = "http-01"
	tlsProof  = "tls-alpn-01"
	dnsProof  = "dns-01"
)

// prover shows proofs to the authority while an order is open.
type prover struct {
	client   *acme.Client
	dns      Provider
	resolver *net.Resolver
	kinds    []string // that can be used, the best first

	mu    sync.Mutex
	texts map[string]string // by path, for HTTP-01
	certs map[string]*tls.Certificate

	published bool // a record in DNS
	closers   []func()
}

// prover opens the ports where the authority asks back. One of the two is enough.
// After a failure the other comes first: which of them a firewall lets through is not
// known here.
func (m *Manager) prover(client *acme.Client) (*prover, error) {
	p := &prover{client: client, dns: m.cfg.DNS, resolver: cmp.Or(m.cfg.Resolver, net.DefaultResolver), texts: map[string]string{}, certs: map[string]*tls.Certificate{}}
	if p.dns != nil {
		p.kinds = []string{dnsProof}
		return p, nil
	}
	plain, err1 := net.Listen("tcp", m.cfg.HTTP)
	if err1 == nil {
		p.kinds = append(p.kinds, httpProof)
		p.serveHTTP(plain)
	}
	secure, err2 := net.Listen("tcp", m.cfg.TLS)
	if err2 == nil {
		p.kinds = append(p.kinds, tlsProof)
		p.serveTLS(secure)
	}
	if len(p.kinds) == 0 {
		return nil, fmt.Errorf("the authority asks back on port 80 or 443, and neither can be opened: %w; %w; stop what has them, or set [tls] acme_dns", err1, err2)
	}
	m.mu.Lock()
	if m.state.Failures%2 == 1 {
		slices.Reverse(p.kinds)
	}
	m.mu.Unlock()
	return p, nil
}

func (p *prover) close() {
	for _, f := range p.closers {
		f()
	}
}

func (p *prover) choose(authz *acme.Authorization) (*acme.Challenge, error) {
	for _, kind := range p.kinds {
		for _, c := range authz.Challenges {
			if c.Type == kind {
				return c, nil
			}
		}
	}
	return nil, fmt.Errorf("the authority offers no proof for %s that can be given here (%s); a name with * needs [tls] acme_dns", authz.Identifier.Value, p.kinds)
}

// present makes a proof visible until close.
func (p *prover) present(ctx context.Context, name string, c *acme.Challenge) error {
	switch c.Type {
	case httpProof:
		text, err := p.client.HTTP01ChallengeResponse(c.Token)
		if err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.texts[p.client.HTTP01ChallengePath(c.Token)] = text
	case tlsProof:
		cert, err := p.client.TLSALPN01ChallengeCert(c.Token, name)
		if err != nil {
			return err
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.certs[name] = &cert
	case dnsProof:
		text, err := p.client.DNS01ChallengeRecord(c.Token)
		if err != nil {
			return err
		}
		return p.publish(ctx, name, text)
	}
	return nil
}

func (p *prover) serveHTTP(ln net.Listener) {
	s := &http.Server{ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p.mu.Lock()
			text, ok := p.texts[r.URL.Path]
			p.mu.Unlock()
			if !ok {
				http.NotFound(w, r)
				return
			}
			w.Header().Set("Content-Type", "application/octet-stream")
			fmt.Fprint(w, text) // a client that has gone has gone
		})}
	p.run(func() { s.Serve(ln) }, func() { s.Close() })
}

// serveTLS answers the authority's handshakes (RFC 8737 §3); nobody else gets one.
func (p *prover) serveTLS(ln net.Listener) {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{acme.ALPNProto},
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			p.mu.Lock()
			defer p.mu.Unlock()
			if cert := p.certs[hello.ServerName]; cert != nil && slices.Contains(hello.SupportedProtos, acme.ALPNProto) {
				return cert, nil
			}
			return nil, errors.New("no certificate here but for the proof of a name")
		}}
	s := &http.Server{TLSConfig: cfg, ReadHeaderTimeout: 10 * time.Second, Handler: http.NotFoundHandler(),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){acme.ALPNProto: func(*http.Server, *tls.Conn, http.Handler) {}}}
	p.run(func() { s.ServeTLS(ln, "", "") }, func() { s.Close() })
}

// run serves until close.
func (p *prover) run(serve, end func()) {
	var wg sync.WaitGroup
	wg.Go(serve)
	p.closers = append(p.closers, func() { end(); wg.Wait() })
}
