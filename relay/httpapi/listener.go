package httpapi

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"

	"dawk/relay"
	"dawk/relay/identity"
)

// maxConnections bounds what HTTP clients take of us together; a program that
// sends needs one.
const maxConnections = 1024

// limitedListener hands out connections within the limits. A client above them
// is told so and its connection closed. It does not wait: somebody may want to
// know at this moment whether the relay is healthy.
type limitedListener struct {
	net.Listener
	most, mostPerIP int // 0: no limit
	observer        relay.Observer

	mu    sync.Mutex
	all   int
	perIP map[netip.Addr]int
}

// Limit bounds the connections that l hands out: all together, and to one
// address mostPerIP (0: no limit).
func Limit(l net.Listener, mostPerIP int, seen relay.Observer) net.Listener {
	return newLimitedListener(l, maxConnections, mostPerIP, seen)
}

func newLimitedListener(l net.Listener, most, mostPerIP int, seen relay.Observer) *limitedListener {
	return &limitedListener{Listener: l, most: most, mostPerIP: mostPerIP, observer: seen, perIP: map[netip.Addr]int{}}
}

// Accept waits for the next client that may come in.
func (l *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		client := limitKey(c)
		if why := l.countIn(client); why != "" {
			l.turnAway(c, client, why)
			continue
		}
		return &countedConn{Conn: c, gone: sync.OnceFunc(func() { l.countOut(client) })}, nil
	}
}

func limitKey(c net.Conn) netip.Addr {
	ap, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return identity.LimitKey(ap.Addr())
}

// countIn counts a client, or says why not. Clients on this machine have no
// limit by address: behind a proxy here every client is one of them.
func (l *limitedListener) countIn(client netip.Addr) (why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.most > 0 && l.all >= l.most:
		return "too many connections, try again later"
	case l.mostPerIP > 0 && l.perIP[client] >= l.mostPerIP && !client.IsLoopback():
		return "too many connections from your address, try again later"
	}
	l.all++
	l.perIP[client]++
	return ""
}

func (l *limitedListener) countOut(client netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.perIP[client]--; l.perIP[client] <= 0 {
		delete(l.perIP, client)
	}
}

// turnAway answers and closes. The send buffer of a new connection has room for
// the answer. A client that speaks TLS cannot read it and sees the end.
func (l *limitedListener) turnAway(c net.Conn, client netip.Addr, why string) {
	_ = c.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
	_, _ = io.WriteString(c, "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n{\"error\":\""+why+"\"}\n")
	_ = c.Close()
	l.observer.Observe(relay.Event{Kind: relay.EventRefused, Time: time.Now(), Client: client.String(), Listener: l.Addr().String(),
		Reply: relay.Reply{Code: 503, Text: why}, Reason: "connections"})
}

// countedConn is counted out when it closes.
type countedConn struct {
	net.Conn
	gone func()
}

// CloseWrite lets net/http end an answer to a client that is still sending.
func (c *countedConn) CloseWrite() error {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return errors.ErrUnsupported
}

// Close implements net.Conn.
func (c *countedConn) Close() error {
	c.gone()
	return c.Conn.Close()
}
