package submission

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pires/go-proxyproto"

	"dawk/relay"
)

const (
	proxyHeaderTime = 5 * time.Second // for the header; proxies send it with the first packet
	proxiesWaiting  = 256             // connections whose header has not come yet
	maxProxyV1      = 107             // octets of a header of version 1
	maxProxyHeader  = 4 << 10         // octets of any header
)

// behind accepts for a listener that stands behind proxies. A proxy begins
// each connection with a PROXY header, version 1 or 2, that names the client;
// from anybody else such a header is a bad command like any other. Waiting for
// a header holds up nobody else.
type behind struct {
	l     *listener
	ready chan arrival
	slots chan struct{}
	ended chan struct{}
	err   error // of the listener, once ended is closed
}

// arrival is a connection whose client is known.
type arrival struct {
	conn   net.Conn
	client netip.Addr
}

func newBehind(l *listener) *behind {
	return &behind{l: l, ready: make(chan arrival), slots: make(chan struct{}, proxiesWaiting), ended: make(chan struct{})}
}

func (b *behind) next() (net.Conn, netip.Addr, error) {
	select {
	case a := <-b.ready:
		return a.conn, a.client, nil
	case <-b.ended:
		return nil, netip.Addr{}, b.err
	}
}

func (b *behind) accept() {
	defer close(b.ended)
	for {
		raw, err := b.l.Listener.Accept()
		if err != nil {
			var t interface{ Temporary() bool }
			if errors.As(err, &t) && t.Temporary() && !errors.Is(err, net.ErrClosed) { // out of files
				time.Sleep(50 * time.Millisecond)
				continue
			}
			b.err = err
			return
		}
		b.slots <- struct{}{}
		go func() {
			defer func() { <-b.slots }()
			b.identify(raw)
		}()
	}
}

// identify finds out who the client is, and hands the connection on.
func (b *behind) identify(raw net.Conn) {
	a := arrival{raw, clientOf(raw)}
	if b.isProxy(a.client) {
		var err error
		if a, err = readProxyHeader(raw); err != nil {
			b.l.server.log.Warn("a proxy sent no PROXY header that can be read; its connection is closed",
				"proxy", clientOf(raw), "listener", b.l.name(), "err", relay.Sanitize(err.Error()))
			_ = raw.Close()
			return
		}
	}
	select {
	case b.ready <- a:
	case <-b.ended:
		_ = raw.Close()
	}
}

func (b *behind) isProxy(a netip.Addr) bool {
	a = a.Unmap()
	return slices.ContainsFunc(b.l.rules.Proxies, func(p netip.Prefix) bool { return unmap(p).Contains(a) })
}

// readProxyHeader takes the header off the connection, in however many pieces
// it comes. Without a client in it (LOCAL, UNKNOWN: the proxy looks whether we
// live) the proxy is the client.
func readProxyHeader(raw net.Conn) (arrival, error) {
	_ = raw.SetReadDeadline(time.Now().Add(proxyHeaderTime))
	br := bufio.NewReaderSize(raw, maxProxyHeader)
	for !wholeProxyHeader(br) {
		if _, err := br.Peek(br.Buffered() + 1); err != nil {
			return arrival{}, fmt.Errorf("no whole header: %w", err)
		}
	}
	header, err := proxyproto.Read(br)
	if err != nil {
		return arrival{}, err
	}
	_ = raw.SetReadDeadline(time.Time{})
	a := arrival{proxied{raw, br}, clientOf(raw)}
	if header.Command == proxyproto.PROXY && !header.TransportProtocol.IsUnspec() {
		client := addrPort(header.SourceAddr).Addr().WithZone("")
		if !client.IsValid() {
			return arrival{}, errors.New("the header names no address")
		}
		a.client = client
	}
	return a, nil
}

// wholeProxyHeader says whether br holds a whole header, or what is none.
func wholeProxyHeader(br *bufio.Reader) bool {
	b, _ := br.Peek(br.Buffered())
	switch {
	case agree(b, proxyproto.SIGV2):
		const fixed = 16 // octets before the addresses; the last two are their length
		return len(b) >= fixed && len(b) >= fixed+int(binary.BigEndian.Uint16(b[fixed-2:]))
	case agree(b, proxyproto.SIGV1):
		return bytes.IndexByte(b, '\n') >= 0 || len(b) > maxProxyV1
	}
	return true
}

// agree says whether a and b are the same as far as both go.
func agree(a, b []byte) bool {
	n := min(len(a), len(b))
	return bytes.Equal(a[:n], b[:n])
}

// proxied is a connection whose header was read. It can be half closed, as a
// socket can: see guard.
type proxied struct {
	net.Conn
	br *bufio.Reader
}

func (p proxied) Read(b []byte) (int, error) {
	if p.br.Buffered() > 0 {
		return p.br.Read(b)
	}
	return p.Conn.Read(b)
}

func (p proxied) CloseWrite() error {
	if t, ok := p.Conn.(*net.TCPConn); ok {
		return t.CloseWrite()
	}
	return errors.ErrUnsupported
}
