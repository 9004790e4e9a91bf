package submission

import (
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/identity"
	"dawk/relay/submission/guard"
)

// listener is what one configuration says of a port.
type listener struct {
	*terms
	rules      Listener
	tls        *tls.Config                             // nil: off
	local      *Local                                  // nil: a listener of Config
	recipients func(relay.Recipient) []relay.Recipient // see Local; nil: each is delivered to itself
}

// conn is one client. It is the net.Conn that go-smtp serves.
type conn struct {
	*guard.Conn
	server   *Server
	port     *port
	listener *listener // of port; see session.renew
	id       string    // names the connection in events and in the transcript
	client   netip.Addr
	holdings []holding // for which it was counted
	stranger bool      // when it was counted in
	untidy   bool      // a device, or a client known by its address: see guard.Config.Untidy

	identity string         // who may relay, in the form of relay.Message; "" for a stranger
	user     *identity.User // whose rules hold; nil: no rules
	loggedIn bool
	names    []string // of the certificate that it logged in with; nil: by a password
}

// Local is a listener for programs of this machine, usually a unix socket. They need no login: the
// user who runs them is known. They are scripts rather than mail programs, so stray newlines and
// long lines are repaired instead of refused.
type Local struct {
	Listener net.Listener
	Name     string // what logs and events call it
	// Identify names who is at the other end, in the form of relay.Message. An error closes the
	// connection.
	Identify func(net.Conn) (identity string, err error)
	User     func(identity string) *identity.User // what holds for each of them; nil: no rules
	// Recipients gives those in place of one, as aliases do; nil: itself.
	Recipients func(relay.Recipient) []relay.Recipient
}

// AddLocal opens a listener in addition to those of Config, before Serve. Shutdown closes it.
func (s *Server) AddLocal(l Local) {
	rules := Listener{Address: l.Name, TLS: tlsOff, Auth: authOff, BareNewline: newlineNormalize, LongLines: linesFold}.withDefaults()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.locals = append(s.locals, newPort(s, l.Listener, &listener{terms: s.terms.Load(), rules: rules, local: &l, recipients: l.Recipients}))
}

func newListener(t *terms, l Listener) *listener {
	ln := &listener{terms: t, rules: l}
	if l.TLS != tlsOff {
		ln.tls = &tls.Config{GetCertificate: t.cfg.GetCertificate, MinVersion: tlsVersions[l.MinTLS]}
		if t.cfg.Tickets != nil {
			t.cfg.Tickets.use(ln.tls)
		}
		ln.tls.CipherSuites, _ = suites(l.Ciphers, tlsVersions[l.MinTLS]) // valid, says Validate
		if l.ClientCAs != nil {
			// A certificate of another authority is ignored: its owner may log in with a password. See
			// conn.certificate.
			ln.tls.ClientCAs, ln.tls.ClientAuth = l.ClientCAs, tls.RequestClientCert
		}
	}
	return ln
}

// suites are the AEAD suites of Go's default, and those named. CBC suites are offered only if they
// are named (RFC 9325 §4.2) or if the oldest version allowed has nothing else; RC4 is never offered
// (RFC 7465).
func suites(names []string, oldest uint16) (ids []uint16, err error) {
	for _, s := range tls.CipherSuites() {
		if oldest < tls.VersionTLS12 || !strings.Contains(s.Name, "_CBC_") {
			ids = append(ids, s.ID)
		}
	}
	all := slices.Concat(tls.CipherSuites(), tls.InsecureCipherSuites())
	for _, name := range names {
		i := slices.IndexFunc(all, func(s *tls.CipherSuite) bool { return s.Name == name && !strings.Contains(name, "RC4") })
		switch {
		case i < 0:
			return nil, fmt.Errorf("%q is not a suite that dawk can speak; for the oldest devices there are TLS_RSA_WITH_AES_128_CBC_SHA and TLS_RSA_WITH_3DES_EDE_CBC_SHA", name)
		case !slices.Contains(ids, all[i].ID):
			ids = append(ids, all[i].ID)
		}
	}
	return ids, nil
}

// name is what logs and events call the listener.
func (l *listener) name() string { return l.rules.Address }

// clientOf is the address at the other end; a program on a unix socket counts as loopback.
func clientOf(raw net.Conn) netip.Addr {
	if a := raw.RemoteAddr(); a.Network() != "unix" {
		return addrPort(a).Addr().WithZone("")
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

// admit counts a client, or turns it away and returns nil.
func (s *Server) admit(p *port, raw net.Conn, client netip.Addr) *conn {
	p = s.portNow(p, raw.LocalAddr())
	l := p.listener.Load()
	if l == nil { // it was closed meanwhile
		turnAway(raw, accept.Refuse(guard.ReasonShutdown, 421, "4.3.2", "mail is not taken at this address any more"))
		return nil
	}
	c := &conn{server: s, port: p, listener: l, id: s.run + "-" + strconv.FormatUint(s.opened.Add(1), 36), client: client}
	if err := c.identify(raw); err != nil { // the program has gone, as a rule
		s.log.Warn("it is unknown who runs a program of this machine; its connection is closed", "err", err, "listener", l.name())
		_ = raw.Close()
		return nil
	}
	c.Conn = guard.New(raw, s.guardConfig(c))
	if c.identity != "" {
		c.trust()
	}
	if r := s.countIn(c); r != nil {
		turnAway(raw, r)
		c.refusedEvent(r.Reason, r.Reply)
		return nil
	}
	s.seen.Observe(c.event(relay.EventConnected))
	return c
}

// identify finds out who the client is before it logs in.
func (c *conn) identify(raw net.Conn) (err error) {
	if local := c.listener.local; local != nil {
		if c.identity, err = local.Identify(raw); err != nil {
			return err
		}
	}
	c.rights()
	c.untidy = c.listener.rules.Profile == profileDevice || c.identity != ""
	return nil
}

// rights are those of a client that has not logged in.
func (c *conn) rights() {
	c.user = nil
	rules := &c.listener.rules
	if local := c.listener.local; local != nil {
		if local.User != nil {
			c.user = local.User(c.identity)
		}
		return
	}
	c.identity = ""
	if network, ok := rules.trusts(c.client); ok {
		c.identity = "network:" + network.String()
		if rules.PerClient.Restricts() {
			c.user = identity.ForClient(c.client, rules.PerClient)
		}
	}
}

// turnAway sends the reason and closes. It runs in the accept loop, so it must not block: a new
// socket has buffer for one line, and if it has none the line is not sent.
func turnAway(raw net.Conn, r *accept.Refusal) {
	_ = raw.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	_, _ = io.WriteString(raw, r.Reply.String()+"\r\n")
	_ = raw.Close()
}

func (s *Server) guardConfig(c *conn) guard.Config {
	l, terms := c.listener.rules, &c.listener.cfg
	cfg := guard.Config{
		Hostname: terms.Hostname, TLS: c.listener.tls, Implicit: l.TLS == tlsImplicit,
		MaxSize: terms.MaxMessageSize, MaxRecipients: terms.MaxRecipients,
		RequireTLS: terms.RequireTLS, MaxHold: terms.MaxHold,
		CommandTimeout: terms.CommandTimeout, DataTimeout: terms.DataTimeout,
		MaxErrors: maxErrors, MaxCommands: maxCommands,
		Normalize: l.BareNewline == newlineNormalize || l.BareNewline == "" && c.identity != "",
		Fold:      l.LongLines == linesFold,
		Stress:    s.stressed,
		Refused:   s.refusedByGuard(c), Closed: func() { s.remove(c) },
	}
	if c.untidy {
		cfg.Untidy, cfg.Domain = true, terms.Domain
	}
	cfg.AnyLineEnd = l.Profile == profileDevice || c.listener.local != nil
	if s.log.Enabled(s.ctx, slog.LevelDebug) {
		cfg.Trace = func(fromClient bool, line string) {
			dir := "->"
			if !fromClient {
				dir = "<-"
			}
			s.log.Debug(dir, "line", line, "session", c.id, "client", c.client)
		}
	}
	return cfg
}

// Read gives go-smtp the next command. A panic in the guard ends only this connection; go-smtp
// handles panics in the session.
func (c *conn) Read(p []byte) (n int, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.server.log.Error("panic in the guard", "session", c.id, "err", relay.Sanitize(fmt.Sprint(v)), "stack", string(debug.Stack()))
			c.Drop()
			n, err = 0, net.ErrClosed
		}
	}()
	return c.Conn.Read(p)
}

// trust says that the client is known now.
func (c *conn) trust() { c.Trust(c.listener.rules.LongLines != linesReject) }

// event makes an event of this connection, to be completed.
func (c *conn) event(kind relay.EventKind) relay.Event {
	s := c.submitter()
	e := s.Event(kind)
	e.Identity = "" // reported with logins and messages only
	return e
}

func (c *conn) refusedEvent(reason accept.Reason, r relay.Reply) {
	e := c.event(relay.EventRefused)
	e.From, e.Reply, e.Reason = c.Mail().From, r, string(reason)
	c.server.seen.Observe(e)
}
