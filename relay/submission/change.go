package submission

import (
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"dawk/relay/accept"
)

// Change is a configuration whose ports are open, ready to take the place of the
// one in force.
type Change struct {
	server *Server
	terms  *terms
	ports  []*port // in the order of its listeners
	opened []*port // of those, the new ones
}

// Prepare opens the ports that cfg has and s does not. Call Commit or Discard next. Backoff, Listen
// and Log of cfg are ignored: those that NewServer was given stay.
func (s *Server) Prepare(cfg Config, a *accept.Acceptor, auth Authenticator) (*Change, error) {
	t, err := newTerms(cfg, a, auth)
	if err != nil {
		return nil, err
	}
	return s.prepare(t)
}

func (s *Server) prepare(t *terms) (*Change, error) {
	s.mu.Lock()
	left := slices.Clone(s.ports)
	s.mu.Unlock()
	c := &Change{server: s, terms: t}
	for _, l := range t.cfg.Listeners {
		if i := slices.IndexFunc(left, func(p *port) bool { return p.address() == l.Address }); i >= 0 {
			c.ports = append(c.ports, left[i])
			left = slices.Delete(left, i, i+1)
			continue
		}
		ln, err := s.open(l)
		if err != nil {
			c.Discard()
			return nil, listenError(l.Address, err)
		}
		p := newPort(s, ln, nil)
		c.ports, c.opened = append(c.ports, p), append(c.opened, p)
	}
	return c, nil
}

// Discard closes what Prepare has opened.
func (c *Change) Discard() {
	for _, p := range c.opened {
		_ = p.Close()
	}
}

// Commit puts the configuration in force, for new sessions at once and for others with their next
// transaction. Ports that are not in it are closed.
func (c *Change) Commit() {
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.terms.Store(c.terms)
	for i, p := range c.ports {
		rules := c.terms.cfg.Listeners[i]
		if old := p.listener.Load(); old != nil && old.rules.SocketMode != rules.SocketMode {
			chmod(rules)
		}
		p.listener.Store(newListener(c.terms, rules))
	}
	for _, p := range s.locals {
		l := *p.listener.Load()
		l.terms = c.terms
		p.listener.Store(&l)
	}
	if s.serving > 0 { // otherwise Serve starts all of them
		for _, p := range c.opened {
			s.accept(p)
		}
	}
	for _, p := range s.ports {
		if !slices.Contains(c.ports, p) {
			p.listener.Store(nil)
			_ = p.Close()
		}
	}
	s.ports = c.ports
}

// chmod gives a unix socket the mode that its listener has now.
func chmod(l Listener) {
	if path, ok := strings.CutPrefix(l.Address, unixPrefix); ok {
		if mode, err := strconv.ParseUint(l.SocketMode, 8, 32); err == nil {
			_ = os.Chmod(path, fs.FileMode(mode)) // only the owner of the socket may
		}
	}
}
