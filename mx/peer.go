package mx

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
)

// peer is one address of a server, under the name that led to it.
type peer struct {
	host     string
	addr     netip.AddrPort
	socket   string // path of a unix socket, then addr is not valid
	implicit bool   // TLS from the first octet
	lmtp     bool   // it speaks LMTP (RFC 2033)
}

// where is the address for people: "192.0.2.1", "unix:/run/lmtp.sock".
func (p peer) where() string {
	if p.socket != "" {
		return "unix:" + p.socket
	}
	return p.addr.Addr().String()
}

// local says whether what goes there stays on this machine.
func (p peer) local() bool { return p.socket != "" || p.addr.Addr().Unmap().IsLoopback() }

// String is "mx.example.org [192.0.2.1]:25".
func (p peer) String() string {
	if p.socket != "" {
		return p.where()
	}
	a := p.addr.Addr().String()
	if p.host == a {
		return net.JoinHostPort(a, strconv.Itoa(int(p.addr.Port())))
	}
	return fmt.Sprintf("%s [%s]:%d", p.host, a, p.addr.Port())
}
