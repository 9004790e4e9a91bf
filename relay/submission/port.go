package submission

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"dawk/relay"
)

// port is a socket that clients come to, for as long as a configuration has a listener of its
// address. go-smtp accepts from it, and gets only connections that are within the limits and
// wrapped in a guard.
//
// A proxy begins each connection with a PROXY header, version 1 or 2, that names
// the client; from anybody else such a header is a bad command like any other.
// Waiting for a header holds up nobody else.
type port struct {
	net.Listener
	server   *Server
	listener atomic.Pointer[listener] // nil: the port is closed

	ready chan arrival
	slots chan struct{} // of connections whose header has not come yet
	ended chan struct{}
	err   error // of the socket, once ended is closed
}

// arrival is a connection whose client is known.
type arrival struct {
	conn   net.Conn
	client netip.Addr
}

func newPort(s *Server, ln net.Listener, l *listener) *port {
	p := &port{Listener: ln, server: s, ready: make(chan arrival), slots: make(chan struct{}, proxiesWaiting), ended: make(chan struct{})}
	p.listener.Store(l)
	return p
}

// address is what logs call the port.
func (p *port) address() string {
	if l := p.listener.Load(); l != nil {
		return l.name()
	}
	return p.Addr().String()
}

// portNow is where a connection of p to the address local belongs now: p, or the port that has
// taken its address over, as when a listener is put from one address on all of them. If nobody has,
// it is p, which has no listener any more.
func (s *Server) portNow(p *port, local net.Addr) *port {
	if p.listener.Load() != nil {
		return p
	}
	s.mu.Lock() // Commit changes all ports at once
	defer s.mu.Unlock()
	for _, other := range s.ports {
		if other.listener.Load() != nil && covers(other.Addr(), local) {
			return other
		}
	}
	return p
}

// covers says whether a socket at the address own would take connections to local.
func covers(own, local net.Addr) bool {
	if own.Network() != "tcp" || local.Network() != "tcp" {
		return false
	}
	o, l := addrPort(own), addrPort(local)
	all := o.Addr().IsUnspecified() && (o.Addr().Is6() || l.Addr().Is4())
	return o.Port() == l.Port() && (all || o.Addr() == l.Addr())
}

// Accept waits for the next client that may come in. Those that may not are
// told so before any work for TLS is done.
func (p *port) Accept() (net.Conn, error) {
	for {
		select {
		case a := <-p.ready:
			if c := p.server.admit(p, a.conn, a.client); c != nil {
				return c, nil
			}
		case <-p.ended:
			return nil, p.err
		}
	}
}

// accept takes connections from the socket until it is closed.
func (p *port) accept() {
	defer close(p.ended)
	for {
		raw, err := p.Listener.Accept()
		if err != nil {
			var t interface{ Temporary() bool }
			if errors.As(err, &t) && t.Temporary() && !errors.Is(err, net.ErrClosed) { // out of files
				time.Sleep(50 * time.Millisecond)
				continue
			}
			p.err = err
			return
		}
		a := arrival{raw, clientOf(raw)}
		if !p.isProxy(a.client) {
			p.ready <- a
			continue
		}
		p.slots <- struct{}{}
		go func() {
			defer func() { <-p.slots }()
			p.identify(a)
		}()
	}
}

// identify finds out for which client a proxy has connected, and hands the connection on.
func (p *port) identify(a arrival) {
	named, err := readProxyHeader(a.conn)
	if err != nil {
		p.server.log.Warn("a proxy sent no PROXY header that can be read; its connection is closed",
			"proxy", a.client, "listener", p.address(), "err", relay.Sanitize(err.Error()))
		_ = a.conn.Close()
		return
	}
	select {
	case p.ready <- named:
	case <-p.ended:
		_ = named.conn.Close()
	}
}

func (p *port) isProxy(a netip.Addr) bool {
	l := p.listener.Load()
	a = a.Unmap()
	return l != nil && slices.ContainsFunc(l.rules.Proxies, func(n netip.Prefix) bool { return unmap(n).Contains(a) })
}
