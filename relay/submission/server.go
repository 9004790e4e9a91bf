// Package submission is the SMTP server: listeners, logins, who may relay, and the replies. The
// rules for messages are in package accept; the octets of a connection are package guard's. Begin
// reading at session.go.
//
// Each connection has one goroutine, which go-smtp starts. Server.mu guards
// the set of connections and their counts by client.
package submission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/emersion/go-smtp"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/identity"
	"dawk/relay/submission/guard"
)

// Server is the SMTP server: listeners, limits and shutdown. What is said on a connection is in
// session.go.
type Server struct {
	listen  func(network, address string) (net.Listener, error)
	seen    relay.Observer
	log     *slog.Logger
	smtp    *smtp.Server
	backoff *identity.Backoff
	terms   atomic.Pointer[terms]

	ctx    context.Context // of all work of connections
	cancel context.CancelFunc

	opened  atomic.Uint64 // connections so far
	leaving atomic.Bool   // Leave was called
	run     string        // differs with each start

	mu        sync.Mutex
	conns     map[*conn]struct{}
	held      map[holder]int // connections, by whom
	strangers int            // connections of clients that were strangers when they connected
	ports     []*port        // of Config.Listeners, in their order
	locals    []*port        // of AddLocal
	serving   int            // ports that are accepted from
	failed    error          // of ports
	draining  chan struct{}  // closed when Shutdown begins
	empty     chan struct{}  // closed when draining and no connection is left
	over      chan struct{}  // closed when no port is accepted from any more
}

// terms are the values of one configuration; Change.Commit replaces them.
type terms struct {
	cfg      Config
	acceptor *accept.Acceptor
	auth     Authenticator // nil: nobody can log in
}

// NewServer makes a server; Listen and Serve start it.
func NewServer(cfg Config, a *accept.Acceptor, auth Authenticator, seen relay.Observer) (*Server, error) {
	t, err := newTerms(cfg, a, auth)
	if err != nil {
		return nil, err
	}
	if cfg.Listen == nil {
		cfg.Listen = net.Listen
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if seen == nil {
		seen = relay.Observers{}
	}
	if cfg.Backoff == nil {
		cfg.Backoff = identity.NewBackoff(cfg.AuthFailuresPerIP)
	}
	s := &Server{listen: cfg.Listen, seen: seen, log: cfg.Log,
		backoff: cfg.Backoff, conns: map[*conn]struct{}{}, held: map[holder]int{},
		draining: make(chan struct{}), empty: make(chan struct{}), over: make(chan struct{})}
	s.terms.Store(t)
	s.run = strconv.FormatInt(time.Now().Unix(), 36)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.smtp = smtp.NewServer(smtp.BackendFunc(s.newSession))
	s.smtp.AllowInsecureAuth = true // go-smtp sees no TLS: the session decides
	s.smtp.MaxLineLength = 0        // the guard decides
	s.smtp.EnableSMTPUTF8, s.smtp.EnableDSN = true, true
	s.smtp.ErrorLog = errorLog{s.log}
	return s, nil
}

func newTerms(cfg Config, a *accept.Acceptor, auth Authenticator) (*terms, error) {
	if err := cfg.Validate().Err(); err != nil {
		return nil, err
	}
	cfg.Hostname, _ = relay.NormalizeDomain(cfg.Hostname) // valid, says Validate; in A-labels, as the wire wants it
	if cfg.Domain == "" {
		cfg.Domain = cfg.Hostname
	}
	if cfg.CommandTimeout == 0 {
		cfg.CommandTimeout = defaultCommandTimeout
	}
	if cfg.DataTimeout == 0 {
		cfg.DataTimeout = defaultDataTimeout
	}
	cfg.Listeners = slices.Clone(cfg.Listeners)
	for i, l := range cfg.Listeners {
		cfg.Listeners[i] = l.withDefaults()
	}
	return &terms{cfg, a, auth}, nil
}

// Listen opens all listeners, or none.
func (s *Server) Listen() error {
	c, err := s.prepare(s.terms.Load())
	if err != nil {
		return err
	}
	c.Commit()
	return nil
}

func (s *Server) open(l Listener) (net.Listener, error) {
	path, ok := strings.CutPrefix(l.Address, unixPrefix)
	if !ok {
		return s.listen("tcp", l.Address)
	}
	return listenUnix(s.listen, path, l.SocketMode)
}

func listenError(address string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("listener %s: address already in use: another program listens there (`ss -ltnp` names it): %w", address, err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("listener %s: permission denied: ports below 1024 need root or CAP_NET_BIND_SERVICE: %w", address, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("listener %s: this machine does not have that address: %w", address, err)
	}
	return fmt.Errorf("listener %s: %w", address, err)
}

// Addrs are the addresses listened on, in the order of Config.Listeners.
func (s *Server) Addrs() []netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	var addrs []netip.AddrPort
	for _, p := range s.ports {
		addrs = append(addrs, addrPort(p.Addr()))
	}
	return addrs
}

// Sockets gives each open socket by its address in the configuration.
func (s *Server) Sockets(each func(address string, l net.Listener)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.ports {
		each(strings.TrimPrefix(p.address(), unixPrefix), p.Listener)
	}
}

// Serve accepts connections until Shutdown.
func (s *Server) Serve() error {
	s.mu.Lock()
	for _, p := range slices.Concat(s.ports, s.locals) {
		s.accept(p)
	}
	s.mu.Unlock()
	<-s.over
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failed
}

// accept admits clients of a port until it is closed. The caller holds s.mu.
func (s *Server) accept(p *port) {
	s.serving++
	go p.accept()
	go func() {
		err := s.smtp.Serve(p)
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil && !errors.Is(err, net.ErrClosed) {
			err = fmt.Errorf("listener %s: %w", p.address(), err)
			s.log.Error("a listener has stopped accepting connections", "err", err) // the others go on
			s.failed = errors.Join(s.failed, err)
		}
		if s.serving--; s.serving == 0 {
			close(s.over)
		}
	}()
}

// Connections is how many clients are connected.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// stressed says whether four fifths of all connections are in use.
func (s *Server) stressed() bool {
	most := s.terms.Load().cfg.MaxConnections
	return most > 0 && s.Connections() > most*4/5
}

// Leave closes the listeners, whose sockets another process continues to use, and waits until
// clients have ended or ctx ends. A client that has sent no message yet may send one, since it was
// admitted before.
func (s *Server) Leave(ctx context.Context) {
	s.mu.Lock()
	for _, p := range slices.Concat(s.ports, s.locals) {
		_ = p.Close()
	}
	s.mu.Unlock()
	s.leaving.Store(true)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for s.Connections() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Shutdown closes the listeners, sends 421 to clients between commands, and
// waits for messages in transfer to be taken and answered. When ctx ends
// before that, the connections left are cut; their messages were not
// acknowledged.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	for _, p := range slices.Concat(s.ports, s.locals) {
		_ = p.Close()
	}
	if !s.isDraining() {
		close(s.draining)
		if len(s.conns) == 0 {
			close(s.empty)
		}
	}
	for c := range s.conns {
		c.Shutdown()
	}
	s.mu.Unlock()
	defer s.cancel()
	select {
	case <-s.empty:
		return nil
	case <-ctx.Done():
	}
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.conns)
	for c := range s.conns {
		c.Abort()
	}
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d connections were cut: %w", n, ctx.Err())
}

func (s *Server) isDraining() bool {
	select {
	case <-s.draining:
		return true
	default:
		return false
	}
}

// remove forgets a connection that has ended.
func (s *Server) remove(c *conn) {
	s.mu.Lock()
	s.countOut(c)
	if len(s.conns) == 0 && s.isDraining() {
		close(s.empty)
	}
	s.mu.Unlock()
	s.seen.Observe(c.event(relay.EventGone))
}

func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}

// errorLog takes the messages of go-smtp: panics in a session, and failures to accept. They may
// contain client data.
type errorLog struct{ log *slog.Logger }

func (l errorLog) Printf(format string, v ...any) { l.print(fmt.Sprintf(format, v...)) }
func (l errorLog) Println(v ...any)               { l.print(fmt.Sprintln(v...)) }

func (l errorLog) print(s string) {
	first, stack, _ := strings.Cut(s, "\n")
	l.log.Error("smtp server", "err", relay.Sanitize(first), "stack", stack)
}

var _ smtp.Logger = errorLog{}

// reasons of the guard are reasons of ours.
func (s *Server) refusedByGuard(c *conn) func(string, relay.Reply) {
	return func(reason string, r relay.Reply) {
		if reason == guard.ReasonShutdown {
			return
		}
		c.refusedEvent(accept.Reason(reason), r)
	}
}
