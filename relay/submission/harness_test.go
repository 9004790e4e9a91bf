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
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/submission"
)

// stored is a message that the fake queue took.
type stored struct {
	relay.Message
	content string
}

// header and body of the content.
func (s stored) header() string { h, _, _ := strings.Cut(s.content, "\r\n\r\n"); return h }
func (s stored) body() string   { _, b, _ := strings.Cut(s.content, "\r\n\r\n"); return b }

// memQueue is a queue in memory with faults on demand.
type memQueue struct {
	mu      sync.Mutex
	last    uint64
	taken   []stored
	open    int  // drafts that have not ended
	forget  bool // contents go nowhere
	panics  bool // Enqueue does
	room    error
	draft   error
	write   error
	enqueue error
	gate    chan struct{} // Enqueue waits for it, if set
	entered chan struct{} // Enqueue tells that it waits
}

type memDraft struct {
	q       *memQueue
	id      relay.QueueID
	content []byte
	ended   bool
}

func (q *memQueue) Room() error { q.mu.Lock(); defer q.mu.Unlock(); return q.room }

func (q *memQueue) NewDraft() (relay.Draft, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.draft != nil {
		return nil, q.draft
	}
	q.last++
	q.open++
	return &memDraft{q: q, id: relay.QueueID{Key: q.last, Dir: 7}}, nil
}

func (q *memQueue) Enqueue(_ context.Context, d relay.Draft, m *relay.Message) error {
	q.mu.Lock()
	gate, err, panics := q.gate, q.enqueue, q.panics
	q.mu.Unlock()
	if panics {
		panic("as asked")
	}
	if gate != nil {
		close(q.entered)
		<-gate
	}
	md := d.(*memDraft)
	md.Discard()
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.forget {
		q.taken = append(q.taken, stored{*m, string(md.content)})
	}
	return nil
}

func (q *memQueue) messages() []stored {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.Clone(q.taken)
}

type memContent struct{ *bytes.Reader }

func (memContent) Close() error { return nil }

func (d *memDraft) ID() relay.QueueID { return d.id }
func (d *memDraft) Write(p []byte) (int, error) {
	if d.q.write != nil {
		return 0, d.q.write
	}
	if !d.q.forget {
		d.content = append(d.content, p...)
	}
	return len(p), nil
}
func (d *memDraft) Prepend(h []byte)       { d.content = append(slices.Clone(h), d.content...) }
func (d *memDraft) Size() int64            { return int64(len(d.content)) }
func (d *memDraft) Content() relay.Content { return memContent{bytes.NewReader(d.content)} }
func (d *memDraft) Discard() {
	d.q.mu.Lock()
	defer d.q.mu.Unlock()
	if !d.ended {
		d.ended = true
		d.q.open--
	}
}

// recorder keeps the events.
type recorder struct {
	mu     sync.Mutex
	events []relay.Event
	more   chan struct{} // closed and made anew with each event
	gone   chan struct{} // gets one for each connection that is gone; nil: nobody waits
}

func (r *recorder) Observe(e relay.Event) {
	if gone := r.observe(e); gone != nil && e.Kind == relay.EventGone {
		gone <- struct{}{}
	}
}

func (r *recorder) observe(e relay.Event) (gone chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, e)
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return r.gone
}

// wait waits for n events of a kind.
func (r *recorder) wait(kind relay.EventKind, n int) []relay.Event {
	for {
		r.mu.Lock()
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		if e := r.of(kind); len(e) >= n {
			return e
		}
		<-more
	}
}

func (r *recorder) of(kind relay.EventKind) (found []relay.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// fixture is a running server on loopback.
type fixture struct {
	t        testing.TB
	q        *memQueue
	seen     *recorder
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
	queue    *memQueue
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
	f := &fixture{t: t, q: o.queue, seen: &recorder{}, roots: x509.NewCertPool()}
	f.implicit = o.listener.TLS == "implicit"
	if f.q == nil {
		f.q = &memQueue{}
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
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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
	f.q.mu.Lock()
	defer f.q.mu.Unlock()
	if f.q.open != 0 {
		f.t.Errorf("%d drafts were neither enqueued nor discarded", f.q.open)
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
		check(f.t, c.SetDeadline(time.Now().Add(30*time.Second)))
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
