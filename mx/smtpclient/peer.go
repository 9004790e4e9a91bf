package smtpclient

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// Peer is one address of a server, under the name that led to it.
type Peer struct {
	Host     string
	Addr     netip.AddrPort
	Socket   string // path of a unix socket, then addr is not valid
	Implicit bool   // TLS from the first octet
	LMTP     bool   // it speaks LMTP (RFC 2033)
}

// Where is the address for people: "192.0.2.1", "unix:/run/lmtp.sock".
func (p Peer) Where() string {
	if p.Socket != "" {
		return "unix:" + p.Socket
	}
	return p.Addr.Addr().String()
}

// local says whether the connection stays on this machine.
func (p Peer) local() bool { return p.Socket != "" || p.Addr.Addr().Unmap().IsLoopback() }

// String is "mx.example.org [192.0.2.1]:25".
func (p Peer) String() string {
	if p.Socket != "" {
		return p.Where()
	}
	a := p.Addr.Addr().String()
	if p.Host == a {
		return net.JoinHostPort(a, strconv.Itoa(int(p.Addr.Port())))
	}
	return fmt.Sprintf("%s [%s]:%d", p.Host, a, p.Addr.Port())
}
