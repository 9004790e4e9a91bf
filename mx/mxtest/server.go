package mxtest

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Config configures a Server; the zero value is useful.
type Config struct {
	Addr     string // "": a free port of 127.0.0.1; "unix:/path": a socket
	LMTP     bool   // LHLO, and an answer for each recipient (RFC 2033)
	Hostname string // in the greeting and the reply to EHLO; "": mx.example.test
	// Extensions are the EHLO lines besides STARTTLS and AUTH; nil: PIPELINING,
	// SIZE, 8BITMIME, SMTPUTF8, DSN and ENHANCEDSTATUSCODES.
	Extensions []string
	// Certificate turns STARTTLS on.
	Certificate *tls.Certificate
	TLS         func(*tls.Config) // has the last word on the server's side of TLS; nil: nobody
	MaxHello    int               // octets of a TLS record in a ClientHello; beyond: RST; 0: no limit
	ImplicitTLS bool              // TLS from the first octet
	ClientCAs   *x509.CertPool    // clients must show a certificate of these; EXTERNAL lets in as a name in it
	Users       map[string]string // name and password; turns AUTH on, and MAIL needs it
	Auth        string            // mechanisms offered with Users; "": PLAIN LOGIN

	AuthNeedsTLS   bool
	Good           func(token string) bool // access tokens that are good; MAIL needs a login
	Provider       string                  // "microsoft365", "gmail": whose words are used
	MaxConnections int                     // at once, then a login gets 432; 0: no limit
	PerMinute      int                     // messages, then the final dot gets 432; 0: no limit
}

// DefaultExtensions are offered unless Config says otherwise.
var DefaultExtensions = []string{"PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"}

// Message is one that a Server took.
type Message struct {
	Time       time.Time
	Session    int    // 1 for the server's first connection
	Client     string // the address that it came from, without its port
	Number     int    // within the session, from 1
	HELO       string // the client's name
	TLS        bool
	User       string // who logged in
	From       string // without angle brackets
	MailParams string // as sent: "SIZE=12 BODY=8BITMIME"
	Recipients []Recipient
	Data       []byte // the content, unstuffed
}

// Recipient is one that a Server accepted.
type Recipient struct {
	Path   string // without angle brackets
	Params string // as sent: "NOTIFY=NEVER"
}

// Server is an SMTP server that takes everything and remembers it, but for
// what its script says.
type Server struct {
	cfg    Config
	listen net.Listener
	claim  io.Closer // of the port; nil: somebody else's
	wg     sync.WaitGroup

	mu         sync.Mutex
	closed     bool
	conns      map[net.Conn]bool
	sessions   int
	open, most int // sessions now, and at once so far
	rules      []*rule
	extensions []string
	messages   []Message
	commands   []string
	exceeded   int           // how often a limit was
	changed    chan struct{} // closed and replaced at each change
	ctx        context.Context
	cancel     context.CancelFunc
}

// NewServer starts a server.
func NewServer(cfg Config) (*Server, error) {
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	s := Unlistened(cfg)
	if err := s.listenOn(cfg.Addr); err != nil {
		return nil, fmt.Errorf("SMTP server: %w", err)
	}
	l := s.listen
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.ServeConn(c) })
		}
	})
	return s, nil
}

// listenOn listens. Tests listen on the same port of other addresses, as MX hosts
// do, and on the same one again: so port 0 means one that stays theirs.
func (s *Server) listenOn(addr string) (err error) {
	if path, ok := strings.CutPrefix(addr, "unix:"); ok {
		s.listen, err = net.Listen("unix", path)
		return err
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return err
	}
	if port == "0" {
		var free int
		if free, s.claim, err = FreePort(); err != nil {
			return err
		}
		addr = net.JoinHostPort(host, strconv.Itoa(free))
	}
	if s.listen, err = listen(addr); err != nil && s.claim != nil {
		s.claim.Close()
	}
	return err
}

// Unlistened is a server without a listener, for ServeConn.
func Unlistened(cfg Config) *Server {
	if cfg.Hostname == "" {
		cfg.Hostname = "mx.example.test"
	}
	s := &Server{cfg: cfg, conns: make(map[net.Conn]bool), changed: make(chan struct{})}
	if s.extensions = cfg.Extensions; s.extensions == nil {
		s.extensions = DefaultExtensions
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Addr is "127.0.0.1:port".
func (s *Server) Addr() string { return s.listen.Addr().String() }

// Port is the port of Addr.
func (s *Server) Port() int { return s.listen.Addr().(*net.TCPAddr).Port }

// Close stops listening and cuts all connections.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.cancel()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	var err error
	if s.listen != nil {
		err = s.listen.Close()
	}
	if s.claim != nil {
		s.claim.Close()
	}
	s.wg.Wait()
	return err
}

// Disconnect cuts all connections, and goes on listening.
func (s *Server) Disconnect() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

// Script makes the server act at an event: match is an [Event], for mail and
// rcpt with an optional pattern of the mailbox ("rcpt:deferred@b.test",
// "rcpt:@b.test", "mail:*", "mail:<>"); times is how often, 0 for always. Of several
// that match the first that was given counts. The action is one of
//
//	450 4.2.1 try later        a reply; \n in it makes several lines; 421 closes
//	accept                     as without a script
//	drop, reset, halfclose     close, with RST, or only our side
//	stall                      say nothing till the client leaves
//	noread                     at "body": never read the content
//	endless                    a reply that never ends
//	raw "250 ok\r\n250 ..."    these octets
//
// With LMTP, "dot:x@b.test" is the answer for one recipient. An action may
// follow on "delay 2s", "slow 10ms" (between the octets of the reply)
// and "close" (after the reply).
func (s *Server) Script(match, action string, times int) error {
	r, err := parseRule(match, action, times)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = append(s.rules, &r)
	return nil
}

// ClearScript ends all scripts.
func (s *Server) ClearScript() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rules = nil
}

// SetExtensions changes what is offered from the next EHLO on.
func (s *Server) SetExtensions(lines ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extensions = lines
}

// Messages are those taken so far.
func (s *Server) Messages() []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.messages)
}

// Commands are the command lines received so far, in order, each with the
// number of its session: "1 MAIL FROM:<a@example.org>".
func (s *Server) Commands() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.commands)
}

// Exceeded is how often a client went beyond a limit.
func (s *Server) Exceeded() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.exceeded
}

// Sessions is how many clients came so far.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// MostAtOnce is how many clients were there at once so far. One that says QUIT
// has left.
func (s *Server) MostAtOnce() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

// Wait waits until n messages were taken in all.
func (s *Server) Wait(ctx context.Context, n int) ([]Message, error) {
	err := s.WaitUntil(ctx, func() bool { return len(s.messages) >= n })
	if err != nil {
		return s.Messages(), fmt.Errorf("waiting for %d messages, have %d: %w", n, len(s.Messages()), err)
	}
	return s.Messages(), nil
}

// WaitCommand waits until a command was received in all n times, by its first
// word: "QUIT".
func (s *Server) WaitCommand(ctx context.Context, verb string, n int) error {
	return s.WaitUntil(ctx, func() bool {
		count := 0
		for _, c := range s.commands {
			if commandVerb(c) == verb {
				count++
			}
		}
		return count >= n
	})
}

// WaitUntil waits for a condition, which is looked at under the server's lock
// at each change and must not call the server.
func (s *Server) WaitUntil(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// note records something under the lock and wakes who waits.
func (s *Server) note(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

// act finds the rule for an event and uses it up.
func (s *Server) act(e Event, mailbox string) action {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.matches(e, mailbox) {
			if r.times > 0 {
				r.times--
			}
			return r.action
		}
	}
	return action{verb: "accept"}
}

// peek is act without using the rule up.
func (s *Server) peek(e Event, mailbox string) action {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rules {
		if r.matches(e, mailbox) {
			return r.action
		}
	}
	return action{verb: "accept"}
}

// ServeConn serves one client on any connection, and closes it.
func (s *Server) ServeConn(nc net.Conn) {
	defer nc.Close()
	sess := &session{s: s, raw: nc}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.conns[nc] = true
	s.sessions++
	sess.number = s.sessions
	s.open++
	s.most = max(s.most, s.open)
	close(s.changed)
	s.changed = make(chan struct{})
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, nc)
		sess.depart()
	}()
	_ = sess.run() // it ends when we have said good-bye, or when the client goes away, which clients do
}
