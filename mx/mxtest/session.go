package mxtest

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// errLeave ends a session by the script's will.
var errLeave = errors.New("the script ends the session")

// session is one client's connection.
type session struct {
	s      *Server
	raw    net.Conn // as it came
	conn   net.Conn // raw or TLS on it
	r      *bufio.Reader
	number int

	helo, user string
	certified  []string // names in the client's certificate
	tls        bool
	taken      int
	mail       *Message
	left       bool // it is not counted any more
}

func (c *session) run() error {
	c.use(c.raw)
	if c.s.cfg.ImplicitTLS {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	if err := c.answer(EventConnect, "", "220 "+c.s.cfg.Hostname+" ESMTP mxtest"); err != nil {
		return err
	}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		c.s.note(func() { c.s.commands = append(c.s.commands, strconv.Itoa(c.number)+" "+line) })
		verb, args, _ := strings.Cut(line, " ")
		if err := c.command(strings.ToUpper(verb), strings.TrimSpace(args)); err != nil {
			return err
		}
	}
}

func (c *session) use(conn net.Conn) { c.conn, c.r = conn, bufio.NewReader(conn) }

func commandVerb(command string) string {
	_, line, _ := strings.Cut(command, " ")
	verb, _, _ := strings.Cut(line, " ")
	return strings.ToUpper(verb)
}

func (c *session) command(verb, args string) error {
	if lmtp := c.s.cfg.LMTP; verb == "LHLO" != lmtp && (verb == "LHLO" || verb == "EHLO" || verb == "HELO") {
		return c.write("500 5.5.1 not in this protocol\r\n", 0)
	}
	switch verb {
	case "EHLO", "LHLO":
		c.helo, c.mail = args, nil
		return c.answer(EventEHLO, "", c.ehlo())
	case "HELO":
		c.helo, c.mail = args, nil
		return c.answer(EventHELO, "", "250 "+c.s.cfg.Hostname)
	case "STARTTLS":
		return c.startTLS()
	case "AUTH":
		return c.auth(args)
	case "MAIL":
		return c.mailFrom(args)
	case "RCPT":
		return c.rcptTo(args)
	case "DATA":
		return c.data()
	case "RSET":
		c.mail = nil
		return c.answer(EventRSET, "", "250 2.0.0 forgotten")
	case "NOOP":
		return c.write("250 2.0.0 ok\r\n", 0)
	case "QUIT":
		if c.s.peek(EventQUIT, "").verb == "accept" { // else when it has answered, if it ever does
			c.s.note(c.depart)
		}
		if err := c.answer(EventQUIT, "", "221 2.0.0 bye"); err != nil {
			return err
		}
		return errLeave
	}
	return c.write("500 5.5.2 what?\r\n", 0)
}

// depart counts the session as over; the server's lock is held.
func (c *session) depart() {
	if !c.left {
		c.left = true
		c.s.open--
	}
}

// answer does what the script says at an event, or gives the usual reply. It
// returns errNo if the script's reply was a refusal.
func (c *session) answer(e Event, mailbox, usual string) error {
	return unlessNo(c.scripted(e, mailbox, usual))
}

// unlessNo is err where the session ends with it.
func unlessNo(err error) error {
	if errors.Is(err, errNo) {
		return nil
	}
	return err
}

var errNo = errors.New("the script refused")

func (c *session) scripted(e Event, mailbox, usual string) error {
	return c.perform(c.s.act(e, mailbox), usual)
}

// perform does a, of which usual is the reply where it accepts.
func (c *session) perform(a action, usual string) error {
	if err := c.pause(a.delay); err != nil {
		return err
	}
	var err error
	switch a.verb {
	case "accept":
		if usual == "" {
			return nil
		}
		if !strings.HasSuffix(usual, "\r\n") {
			usual = formatReply(usual)
		}
		err = c.write(usual, a.slow)
	case "reply":
		err = c.write(a.text, a.slow)
		if err == nil && a.text[0] != '2' && a.text[0] != '3' {
			err = errNo
		}
	case "raw":
		err = c.write(a.text, a.slow)
	case "endless":
		for err == nil {
			err = c.write(strings.Repeat("250-and so on\r\n", 100), 0)
		}
	case "drop":
		return errLeave
	case "reset":
		if t, ok := c.raw.(*net.TCPConn); ok {
			t.SetLinger(0) //nolint:errcheck // then it is an ordinary close
		}
		return errLeave
	case "halfclose":
		if t, ok := c.raw.(interface{ CloseWrite() error }); ok {
			t.CloseWrite() //nolint:errcheck // closed by the client already
		}
		io.Copy(io.Discard, c.conn) //nolint:errcheck // until the client leaves
		return errLeave
	case "stall":
		io.Copy(io.Discard, c.conn) //nolint:errcheck // until the client leaves
		return errLeave
	case "noread":
		<-c.s.ctx.Done()
		return errLeave
	}
	if a.close && (err == nil || errors.Is(err, errNo)) {
		return errLeave
	}
	return err
}

func (c *session) pause(d time.Duration) error {
	if d == 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-c.s.ctx.Done():
		return errLeave
	}
}

func (c *session) write(s string, slow time.Duration) error {
	if slow == 0 {
		_, err := io.WriteString(c.conn, s)
		return err
	}
	for i := range len(s) {
		if _, err := io.WriteString(c.conn, s[i:i+1]); err != nil {
			return err
		}
		if err := c.pause(slow); err != nil {
			return err
		}
	}
	return nil
}

func (c *session) ehlo() string {
	c.s.mu.Lock()
	lines := append([]string{c.s.cfg.Hostname + " greets you"}, c.s.extensions...)
	c.s.mu.Unlock()
	if c.s.cfg.Certificate != nil && !c.tls {
		lines = append(lines, "STARTTLS")
	}
	if c.s.cfg.Users != nil && (c.tls || !c.s.cfg.AuthNeedsTLS) {
		lines = append(lines, "AUTH "+cmp.Or(c.s.cfg.Auth, "PLAIN LOGIN"))
	}
	return "250 " + strings.Join(lines, "\n")
}

func (c *session) startTLS() error {
	if c.s.cfg.Certificate == nil || c.tls {
		return c.write("502 5.5.1 no TLS here\r\n", 0)
	}
	if err := c.scripted(EventSTARTTLS, "", "220 2.0.0 go on"); err != nil {
		if errors.Is(err, errNo) {
			return nil
		}
		return err
	}
	return c.handshake()
}

// buffered is a connection of which the beginning was read already.
type buffered struct {
	net.Conn
	r *bufio.Reader
}

func (b buffered) Read(p []byte) (int, error) { return b.r.Read(p) }

func (c *session) handshake() error {
	// The client's first octet is waited for: what the script sends belongs
	// into the handshake, not into what went before.
	head, err := c.r.Peek(5) // of the record (RFC 8446 §5.1)
	if err != nil {
		return err
	}
	if most := c.s.cfg.MaxHello; most > 0 && int(head[3])<<8+int(head[4]) > most {
		return c.perform(action{verb: "reset"}, "")
	}
	if err := c.scripted(EventTLS, "", ""); err != nil {
		return err
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{*c.s.cfg.Certificate}, ClientCAs: c.s.cfg.ClientCAs}
	if cfg.ClientCAs != nil {
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
	}
	if c.s.cfg.TLS != nil {
		c.s.cfg.TLS(cfg)
	}
	t := tls.Server(buffered{c.raw, c.r}, cfg)
	if err := t.HandshakeContext(c.s.ctx); err != nil {
		return err
	}
	if shown := t.ConnectionState().PeerCertificates; len(shown) > 0 {
		c.certified = append(shown[0].DNSNames, shown[0].EmailAddresses...)
	}
	c.tls, c.helo, c.mail = true, "", nil
	c.use(t)
	return nil
}

func (c *session) auth(args string) error {
	mech, initial, _ := strings.Cut(args, " ")
	ask := func(prompt string) string {
		if c.write("334 "+base64.StdEncoding.EncodeToString([]byte(prompt))+"\r\n", 0) != nil {
			return ""
		}
		line, _ := c.r.ReadString('\n')
		return strings.TrimSpace(line)
	}
	if busy, err := c.busy(); busy || err != nil {
		return err
	}
	var name, password string
	switch mech := strings.ToUpper(mech); mech {
	case "XOAUTH2", "OAUTHBEARER", "SCRAM-SHA-256":
		var ok bool
		var err error
		if mech == "SCRAM-SHA-256" {
			name, ok, err = c.scram(initial)
		} else {
			name, ok, err = c.bearer(mech, initial)
		}
		if !ok {
			return err
		}
		return c.welcome(name)
	case "EXTERNAL":
		if name = decode64(initial); name == "" && len(c.certified) > 0 {
			name = c.certified[0] // RFC 4422 appendix A.1: whom the certificate stands for
		}
		if c.s.cfg.ClientCAs != nil && !slices.Contains(c.certified, name) {
			return c.write(c.denied(), 0)
		}
		return c.welcome(name)
	case "PLAIN":
		if initial == "" {
			initial = ask("")
		}
		if parts := strings.Split(decode64(initial), "\x00"); len(parts) == 3 {
			name, password = parts[1], parts[2]
		}
	case "LOGIN":
		if initial == "" {
			initial = ask("Username:")
		}
		name, password = decode64(initial), decode64(ask("Password:"))
	default:
		return c.write("504 5.5.4 unknown mechanism\r\n", 0)
	}
	if want, ok := c.s.cfg.Users[name]; !ok || want != password {
		return c.write(c.denied(), 0)
	}
	return c.welcome(name)
}

// welcome lets a user in, unless the script says otherwise.
func (c *session) welcome(name string) error {
	err := c.scripted(EventAUTH, name, "235 2.7.0 welcome")
	if err == nil {
		c.user = name
	}
	if errors.Is(err, errNo) {
		return nil
	}
	return err
}

func (c *session) mailFrom(args string) error {
	from, params, ok := cutPath(args, "FROM:")
	switch {
	case !ok:
		return c.write("501 5.5.4 MAIL FROM:<mailbox>\r\n", 0)
	case c.mail != nil:
		return c.write("503 5.5.1 one transaction at a time\r\n", 0)
	case c.s.cfg.Users != nil && c.user == "":
		return c.write("530 5.7.0 who are you?\r\n", 0)
	}
	err := c.scripted(EventMAIL, from, "250 2.1.0 ok")
	if err == nil {
		c.mail = &Message{Session: c.number, Client: clientOf(c.raw), HELO: c.helo, TLS: c.tls, User: c.user, From: from, MailParams: params}
	}
	if errors.Is(err, errNo) {
		return nil
	}
	return err
}

func clientOf(nc net.Conn) string {
	host, _, err := net.SplitHostPort(nc.RemoteAddr().String())
	if err != nil { // a pipe or a socket
		return ""
	}
	return host
}

func (c *session) rcptTo(args string) error {
	to, params, ok := cutPath(args, "TO:")
	switch {
	case !ok:
		return c.write("501 5.5.4 RCPT TO:<mailbox>\r\n", 0)
	case c.mail == nil:
		return c.write("503 5.5.1 MAIL first\r\n", 0)
	}
	err := c.scripted(EventRCPT, to, "250 2.1.5 ok")
	if err == nil {
		c.mail.Recipients = append(c.mail.Recipients, Recipient{to, params})
	}
	if errors.Is(err, errNo) {
		return nil
	}
	return err
}
