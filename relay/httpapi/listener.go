package httpapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// Bounds of connections.
const (
	// maxConnections bounds the connections of all HTTP clients together; a program that sends needs
	// one. With TLS, which takes more memory for each, it is half as many.
	maxConnections = 1024
	// spareConnections are for requests that need no token when all other connections are taken: a
	// health check must still get an answer.
	spareConnections = 64
	// strangerTime is how long a connection without a token may last in all.
	strangerTime = 10 * time.Second
	answerTime   = time.Second // of it for the answer
	// freeHeader is how many octets of request line and header fields cost
	// nothing; of those beyond, each costs headerCost: net/http copies them.
	freeHeader = 4 << 10
	headerCost = 4
	// maxLines bounds the header fields of a request: a field of three octets
	// takes a hundred.
	maxLines = 100
)

// Door is a listener that bounds its connections: their number, their time, and how much they send
// before they have shown a token.
type Door struct {
	net.Listener
	config DoorConfig
	shares *shares

	mu    sync.Mutex
	all   int
	perIP map[netip.Addr]int
	spare []*conn // the oldest first
}

// DoorConfig is what a Door needs.
type DoorConfig struct {
	TLS      *tls.Config    // nil: in the clear
	PerIP    int            // connections of one address; 0: no limit
	Observer relay.Observer // is told of clients above the limits; nil: nothing
	most     int            // connections in all
	spare    int
}

// NewDoor bounds the connections that l hands out.
func NewDoor(l net.Listener, c DoorConfig) *Door {
	if c.Observer == nil {
		c.Observer = relay.Observers{}
	}
	c.most, c.spare = maxConnections, spareConnections
	if c.TLS != nil {
		c.most /= 2
	}
	return newDoor(l, c)
}

func newDoor(l net.Listener, c DoorConfig) *Door {
	return &Door{Listener: l, config: c, shares: newShares(memory), perIP: map[netip.Addr]int{}}
}

// Accept waits for the next client. It never refuses one: a client above the limits gets a spare
// connection, which replaces the oldest spare one.
func (d *Door) Accept() (net.Conn, error) {
	raw, err := d.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, raw: raw, door: d, client: limitKey(raw), end: time.Now().Add(strangerTime),
		header: account{of: d.shares}, base: account{of: d.shares}}
	_ = c.SetDeadline(time.Time{}) // so the stranger's
	if oldest := d.countIn(c); oldest != nil {
		oldest.raw.Close() // its reader notices that; closing TLS properly would wait for the client
	}
	if d.config.TLS == nil {
		return c, nil
	}
	c.Conn = tls.Server(raw, d.config.TLS)
	return &tlsConn{c}, nil
}

// Limit changes how many connections one address may have.
func (d *Door) Limit(perIP int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.config.PerIP = perIP
}

func limitKey(c net.Conn) netip.Addr {
	ap, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return identity.LimitKey(ap.Addr())
}

// countIn counts a connection. If it is above the limit it becomes a spare one, and the spare one
// that must end for it is returned. Clients on this machine have no limit by address: behind a
// proxy here every client is one of them.
func (d *Door) countIn(c *conn) (over *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.all >= d.config.most:
		c.over = "too many connections, try again later"
	case d.config.PerIP > 0 && d.perIP[c.client] >= d.config.PerIP && !c.client.IsLoopback():
		c.over = "too many connections from your address, try again later"
	default:
		d.all++
		d.perIP[c.client]++
		return nil
	}
	d.spare = append(d.spare, c)
	if len(d.spare) > d.config.spare {
		over, d.spare = d.spare[0], slices.Delete(d.spare, 0, 1)
	}
	return over
}

func (d *Door) countOut(c *conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c.over != "" {
		d.spare = slices.DeleteFunc(d.spare, func(s *conn) bool { return s == c })
		return
	}
	d.all--
	if d.perIP[c.client]--; d.perIP[c.client] <= 0 {
		delete(d.perIP, c.client)
	}
}

// Serve bounds a server's requests by the door that its connections come from.
func (d *Door) Serve(s *http.Server) error {
	s.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if t, ok := c.(*tlsConn); ok {
			c = t.conn
		}
		return context.WithValue(ctx, connKey{}, c)
	}
	s.ConnState = func(c net.Conn, state http.ConnState) {
		if t, ok := c.(*tlsConn); ok {
			c = t.conn
		}
		if c, ok := c.(*conn); ok && state == http.StateIdle {
			c.beginHeader()
		}
	}
	return s.Serve(d)
}

type connKey struct{}

// connOf is the connection of a request; nil: it did not come through a Door.
func connOf(r *http.Request) *conn {
	c, _ := r.Context().Value(connKey{}).(*conn)
	return c
}

// Spare lets next answer, on spare connections too, and ends the connection after the answer: the
// client has shown no token.
func Spare(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := connOf(r); c != nil {
			c.served()
		}
		w.Header().Set("Connection", "close")
		next.ServeHTTP(w, r)
	})
}

// Known says that the sender of a request has identified itself: the limit of strangers no longer
// applies to its connection, which counts for name. The error is for the client: its connection is
// a spare one, or name has too many.
func Known(r *http.Request, name string) error {
	c := connOf(r)
	switch {
	case c == nil:
		return nil
	case c.over != "":
		return errors.New(c.over)
	}
	return c.known(name)
}

// NotSpare refuses requests on a spare connection.
func NotSpare(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if c := connOf(r); c != nil && c.over != "" {
			w.Header().Set("Connection", "close")
			w.Header().Set("Retry-After", "10")
			fail(w, http.StatusServiceUnavailable, c.over)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// conn is a connection of a Door. net/http uses it from two goroutines.
type conn struct {
	net.Conn // raw, or TLS over it
	raw      net.Conn
	door     *Door
	client   netip.Addr
	over     string // why it is a spare one; "": it is not
	gone     sync.Once

	mu     sync.Mutex
	closed bool
	end    time.Time // of a stranger; zero: a token was shown
	quiet  bool      // a spare connection that has answered a permitted request
	header account   // of the strangers, for the header of this request
	base   account   // of the user, for the connection
	octets int       // of the header so far
	lines  int       // of the header so far
	column int       // octets of the line so far
	inBody bool
}

// Read reads, and bounds the header.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.inBody && n > 0 && !c.closed && !c.mayHave(p[:n]) {
		return 0, errHeader
	}
	return n, err
}

// errHeader ends a connection whose header takes too much.
var errHeader = &net.OpError{Op: "read", Net: "tcp", Err: errors.New("the header of the request takes too much memory")}

// mayHave counts a piece of a header.
func (c *conn) mayHave(p []byte) bool {
	c.octets += len(p)
	for len(p) > 0 && !c.inBody {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			c.column += len(p)
			break
		}
		c.inBody = c.column+i <= 1 && c.lines > 0 // an empty line, with CR or without
		c.lines++
		c.column, p = 0, p[i+1:]
	}
	cost := int64(headerCost * (c.octets - freeHeader))
	return c.lines <= maxLines && (cost <= c.header.held || c.header.add(int(cost-c.header.held)) == nil)
}

// beginHeader is called before each request but the first.
func (c *conn) beginHeader() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.header.close()
	c.inBody, c.octets, c.lines, c.column = false, 0, 0, 0
}

// known is called when a user has shown a token: the limit of strangers no longer applies, and the
// connection counts for the user. The error is for the client.
func (c *conn) known(user string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.base.held == 0 || c.base.user != user {
		c.base.close()
		c.base.user = user
		cost := connectionCost
		if c.door.config.TLS != nil {
			cost += tlsCost
		}
		if err := c.base.add(cost); err != nil {
			return err
		}
	}
	c.end = time.Time{}
	return c.Conn.SetDeadline(time.Time{})
}

// served notes that a spare connection has answered a permitted request.
func (c *conn) served() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet = true
}

// before is t, or the end of a stranger's time if that is earlier.
func (c *conn) before(t time.Time, early time.Duration) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if end := c.end.Add(-early); !c.end.IsZero() && (t.IsZero() || end.Before(t)) {
		return end
	}
	return t
}

// SetDeadline, SetReadDeadline and SetWriteDeadline never exceed the time of a stranger.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline: see SetDeadline.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.raw.SetReadDeadline(c.before(t, answerTime))
}

// SetWriteDeadline: see SetDeadline.
func (c *conn) SetWriteDeadline(t time.Time) error { return c.Conn.SetWriteDeadline(c.before(t, 0)) }

// CloseWrite lets net/http end an answer to a client that is still sending.
func (c *conn) CloseWrite() error {
	if t, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return t.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.gone.Do(func() {
		c.door.countOut(c)
		c.mu.Lock()
		quiet := c.quiet
		c.closed = true
		c.header.close()
		c.base.close()
		c.mu.Unlock()
		if c.over != "" && !quiet {
			c.door.config.Observer.Observe(relay.Event{Kind: relay.EventRefused, Time: time.Now(), Client: c.client.String(),
				Listener: c.door.Addr().String(), Reply: relay.Reply{Code: 503, Text: c.over}, Reason: "connections"})
		}
	})
	return c.Conn.Close()
}

// tlsConn is a conn that speaks TLS. net/http asks it for its state before the
// first request.
type tlsConn struct{ *conn }

// ConnectionState does the handshake first.
func (c *tlsConn) ConnectionState() tls.ConnectionState {
	t := c.Conn.(*tls.Conn)
	err := t.Handshake()
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && 'A' <= plain.RecordHeader[0] && plain.RecordHeader[0] <= 'Z' {
		_, _ = io.WriteString(plain.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nThis address speaks TLS: write https://\n")
	}
	return t.ConnectionState()
}
