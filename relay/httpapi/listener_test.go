package httpapi

import (
	"bufio"
	"net"
	"net/http"
	"net/netip"
	"testing"

	"dawk/relay"
)

// from is a connection of a client with an address of its own.
type from struct {
	net.Conn
	addr net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.addr }

// clients is a listener whose connections a test makes.
type clients chan net.Conn

func (c clients) Accept() (net.Conn, error) {
	conn, ok := <-c
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (c clients) Close() error   { return nil }
func (c clients) Addr() net.Addr { return &net.TCPAddr{} }

func (c clients) dial(t *testing.T, address string) net.Conn {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close() })
	go func() {
		c <- from{far, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(address), 1024))}
	}()
	return near
}

// A client above the limits is answered and closed, and its place is free
// again when one of its connections ends.
func TestHTTPConnectionLimits(t *testing.T) {
	in := make(clients)
	var refused []relay.Event
	l := newLimitedListener(in, 4, 2, observerFunc(func(e relay.Event) { refused = append(refused, e) }))
	accepted := make(chan net.Conn)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- c
		}
	}()
	turnedAway := func(address string) {
		t.Helper()
		c := in.dial(t, address)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
			t.Fatalf("%s: %v %v", address, resp, err)
		}
		if _, err := c.Read(make([]byte, 100)); err == nil {
			c.Read(make([]byte, 100)) // the body, then the end
		}
	}
	in.dial(t, "2001:db8::1")
	first := <-accepted
	in.dial(t, "2001:db8::2") // of the same /64
	<-accepted
	turnedAway("2001:db8::3")
	in.dial(t, "127.0.0.1")
	<-accepted
	in.dial(t, "127.0.0.1")
	<-accepted
	turnedAway("192.0.2.1") // four in all
	first.Close()
	first.Close() // counts once
	in.dial(t, "2001:db8::4")
	<-accepted
	turnedAway("192.0.2.1")
	close(in)
	<-accepted
	if len(refused) != 3 || refused[0].Reason != "connections" || refused[0].Client != "2001:db8::" {
		t.Errorf("%+v", refused)
	}
}

type observerFunc func(relay.Event)

func (f observerFunc) Observe(e relay.Event) { f(e) }
