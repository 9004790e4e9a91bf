package submission_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay/accept"
	"dawk/relay/accept/accepttest"
	"dawk/relay/submission"
)

// fixture is a running server on loopback.
type fixture struct {
	t        testing.TB
	q        *accepttest.Queue
	seen     *accepttest.Recorder
	s        *submission.Server
	addr     string
	roots    *x509.CertPool
	pipes    *pipeListener // nil: TCP
	implicit bool
	ended    chan error // what Serve returned
}

type options struct {
	listener submission.Listener
	config   func(*submission.Config)
	accept   func(*accept.Config)
	queue    *accepttest.Queue
	users    *users                   // nil: newUsers
	auth     submission.Authenticator // in place of users
	pipes    bool                     // no sockets: for synctest bubbles, and clients of any address
	log      *slog.Logger
}

const hostname = "relay.example.org"

var trustLoopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// trusted is a listener without TLS whose clients need no login.
func trusted() submission.Listener {
	return submission.Listener{TLS: "off", Auth: "off", TrustedNetworks: trustLoopback}
}

func start(t testing.TB, o options) *fixture {
	t.Helper()
	f := &fixture{t: t, q: o.queue, seen: &accepttest.Recorder{}, roots: x509.NewCertPool()}
	f.implicit = o.listener.TLS == "implicit"
	if f.q == nil {
		f.q = &accepttest.Queue{}
	}
	if o.listener.Address == "" {
		o.listener.Address = "127.0.0.1:0"
	}
	cfg := submission.Config{Hostname: hostname, Listeners: []submission.Listener{o.listener},
		MaxMessageSize: 1 << 20, MaxRecipients: 5, CommandTimeout: time.Minute, DataTimeout: time.Minute}
	if o.listener.TLS != "off" {
		f.certify(&cfg, o.pipes)
	}
	if o.config != nil {
		o.config(&cfg)
	}
	acfg := accept.Config{Hostname: hostname, MaxMessageSize: cfg.MaxMessageSize, MaxRecipients: cfg.MaxRecipients}
	if o.accept != nil {
		o.accept(&acfg)
	}
	acceptor, err := accept.New(acfg, f.q, f.seen)
	check(t, err)
	if o.pipes {
		f.pipes = &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
		cfg.Listen = func(string, string) (net.Listener, error) { return f.pipes, nil }
	}
	cfg.Log = o.log
	if o.users == nil {
		all := newUsers(t)
		o.users = &all
	}
	if o.auth == nil {
		o.auth = *o.users
	}
	f.s, err = submission.NewServer(cfg, acceptor, o.auth, f.seen)
	check(t, err)
	check(t, f.s.Listen())
	f.addr = f.s.Addrs()[0].String()
	f.ended = make(chan error, 1)
	go func() { f.ended <- f.s.Serve() }()
	if !o.pipes {
		t.Cleanup(f.stop)
	}
	return f
}

// certify gives the server a certificate, and its clients the trust.
func (f *fixture) certify(cfg *submission.Config, bubble bool) {
	f.t.Helper()
	cert, key := certificate(f.t, bubble)
	pem, err := os.ReadFile(cert)
	check(f.t, err)
	f.roots.AppendCertsFromPEM(pem)
	certs, err := submission.LoadCertificates(cert, key, nil)
	check(f.t, err)
	cfg.GetCertificate = certs.Get
}

// stop shuts the server down, unless the test did, and looks for what is left.
func (f *fixture) stop() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if f.ended != nil {
		if err := f.s.Shutdown(ctx); err != nil {
			f.t.Errorf("shutdown: %v", err)
		}
		if err := <-f.ended; err != nil {
			f.t.Errorf("serve: %v", err)
		}
	}
	f.ended = nil
	f.q.Lock()
	defer f.q.Unlock()
	if f.q.Open != 0 {
		f.t.Errorf("%d drafts were neither enqueued nor discarded", f.q.Open)
	}
	if n := f.s.Connections(); n != 0 {
		f.t.Errorf("%d connections are left", n)
	}
}

// bubble runs a test with a fake clock and pipes for sockets.
func bubble(t *testing.T, o options, test func(*testing.T, *fixture)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o.pipes = true
		f := start(t, o)
		test(t, f)
		synctest.Wait()
		f.stop()
	})
}

// pipeListener hands out the far ends of pipes.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type pipeConn struct {
	net.Conn
	remote net.Addr
}

func (c pipeConn) RemoteAddr() net.Addr { return c.remote }

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 25} }

var certificates struct {
	sync.Mutex
	dirs [2]string
}

// certificate gives the files of a certificate, made once for all bubbles,
// which begin at the same time, and once for the time outside.
func certificate(t testing.TB, bubble bool) (cert, key string) {
	t.Helper()
	certificates.Lock()
	defer certificates.Unlock()
	dir := &certificates.dirs[0]
	if bubble {
		dir = &certificates.dirs[1]
	}
	if *dir == "" {
		var err error
		*dir, err = os.MkdirTemp(scratch, "")
		check(t, err)
	}
	cert, key, _, err := submission.SelfSigned(*dir, hostname)
	check(t, err)
	return cert, key
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client speaks raw SMTP.
type client struct {
	t   testing.TB
	c   net.Conn
	br  *bufio.Reader
	log bytes.Buffer
}

func (f *fixture) dial() *client { f.t.Helper(); return f.dialFrom("127.0.0.1") }

func (f *fixture) dialFrom(address string) *client {
	f.t.Helper()
	var c net.Conn
	var err error
	if f.pipes != nil {
		near, far := net.Pipe()
		c = near
		f.pipes.conns <- pipeConn{far, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1024))}
	} else {
		c, err = net.Dial("tcp", f.addr)
		check(f.t, err)
		check(f.t, c.SetDeadline(time.Now().Add(2*time.Minute)))
	}
	f.t.Cleanup(func() { c.Close() })
	return &client{t: f.t, c: c, br: bufio.NewReader(c)}
}

func (c *client) halfClose() {
	if t, ok := c.c.(*net.TCPConn); ok {
		t.CloseWrite()
	}
}

func (c *client) startTLS(f *fixture) {
	c.t.Helper()
	tc := tls.Client(c.c, &tls.Config{RootCAs: f.roots, ServerName: hostname})
	check(c.t, tc.Handshake())
	c.c, c.br = tc, bufio.NewReader(tc)
}

func (c *client) send(raw string) {
	c.t.Helper()
	fmt.Fprintf(&c.log, "-> %.200q\n", raw)
	if _, err := io.WriteString(c.c, raw); err != nil {
		c.t.Fatalf("write: %v\n%s", err, &c.log)
	}
}

// reply reads one reply, of all its lines; "EOF" when the server closed.
func (c *client) reply() string {
	c.t.Helper()
	var all []string
	for {
		line, err := c.br.ReadString('\n')
		if err != nil && line == "" && len(all) == 0 {
			fmt.Fprintf(&c.log, "<- EOF (%v)\n", err)
			return "EOF"
		}
		if err != nil || !strings.HasSuffix(line, "\r\n") || len(line) < 6 {
			c.t.Fatalf("bad reply line %q: %v\n%s", line, err, &c.log)
		}
		line = strings.TrimSuffix(line, "\r\n")
		fmt.Fprintf(&c.log, "<- %s\n", line)
		all = append(all, line)
		if line[3] == ' ' {
			return strings.Join(all, "\n")
		}
	}
}

// play runs a dialogue:
//
//	-> line sent with CRLF
//	=> "Go string sent as it is"
//	<- beginning of the expected reply (its last line)
//	<- EOF
//	TLS      make a TLS handshake
//	CUT      close our side
func (f *fixture) play(script string) *client {
	f.t.Helper()
	c := f.dial()
	f.more(c, script)
	return c
}

func (f *fixture) more(c *client, script string) {
	f.t.Helper()
	for line := range strings.SplitSeq(strings.TrimSpace(script), "\n") {
		line = strings.TrimLeft(line, "\t ")
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case line == "->" || strings.HasPrefix(line, "-> "):
			c.send(strings.TrimPrefix(line[2:], " ") + "\r\n")
		case strings.HasPrefix(line, "=> "):
			raw, err := strconv.Unquote(line[3:])
			check(f.t, err)
			c.send(raw)
		case strings.HasPrefix(line, "<- "):
			got := c.reply()
			last := got[strings.LastIndexByte(got, '\n')+1:]
			if !strings.HasPrefix(last, line[3:]) || line == "<- EOF" && got != "EOF" {
				f.t.Fatalf("wanted %q, got %q\n%s", line[3:], got, &c.log)
			}
		case line == "TLS":
			c.startTLS(f)
		case line == "CUT":
			c.c.Close()
		default:
			f.t.Fatalf("bad script line %q", line)
		}
	}
}
