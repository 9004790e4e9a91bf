package submission

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	proxyHeaderTime = 5 * time.Second // for the header; proxies send it with the first packet
	proxiesWaiting  = 256             // connections whose header has not come yet
	maxProxyV1      = 107             // octets of a header of version 1
	maxProxyHeader  = 4 << 10         // octets of any header
)

// readProxyHeader takes the header off the connection, in however many pieces it comes. If the
// header names no client (LOCAL, UNKNOWN: a health check), the proxy is the client.
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

// wholeProxyHeader says whether br holds a whole header, or something that cannot be one.
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

// agree says whether one of a and b begins with the other.
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
