// Package nexthop knows the forms of `via`: a host, or a socket of this machine,
// and what is spoken there. It is pure. Begin reading at [Parse].
package nexthop

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"

	"dawk/relay"
)

// Hop is a next hop of `via`: a host, or a unix socket.
type Hop struct {
	Host        string // a name in A-labels, or an IP address without brackets; "" with Socket
	Port        uint16
	Socket      string // absolute path of a unix socket; TLS is not spoken there
	ImplicitTLS bool   // TLS from the first octet ("smtps://", RFC 8314 §3.3)
	LMTP        bool   // RFC 2033: the server delivers, and answers for each recipient
}

// The schemes of `via`; without one it is SMTP.
const (
	schemeSMTPS    = "smtps://"
	schemeLMTP     = "lmtp://"
	schemeSMTPUnix = "smtp+unix:"
	schemeLMTPUnix = "lmtp+unix:"
)

const hopForms = "host, host:port, smtps://host:port, lmtp://host:port, lmtp+unix:/path or smtp+unix:/path"

// String is the form that Parse reads.
func (h Hop) String() string {
	hostPort := net.JoinHostPort(h.Host, strconv.Itoa(int(h.Port)))
	switch {
	case h.Socket != "" && h.LMTP:
		return schemeLMTPUnix + h.Socket
	case h.Socket != "":
		return schemeSMTPUnix + h.Socket
	case h.LMTP:
		return schemeLMTP + hostPort
	case h.ImplicitTLS:
		return schemeSMTPS + hostPort
	}
	return hostPort
}

// Loopback says whether the hop is surely this machine.
func (h Hop) Loopback() bool {
	a, err := netip.ParseAddr(h.Host)
	return h.Socket != "" || h.Host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

// Parse reads "host[:port]", "smtps://host[:port]", "lmtp://host[:port]",
// "lmtp+unix:/path" or "smtp+unix:/path". The default port is 465 with smtps,
// 24 with lmtp, 587 with a login, else 25.
func Parse(s string, login bool) (Hop, error) {
	if p, ok := strings.CutPrefix(s, schemeLMTPUnix); ok {
		return socketHop(s, p, true)
	}
	if p, ok := strings.CutPrefix(s, schemeSMTPUnix); ok {
		return socketHop(s, p, false)
	}
	h := Hop{Port: 25}
	if login {
		h.Port = 587
	}
	host := s
	if rest, ok := strings.CutPrefix(s, schemeSMTPS); ok {
		host, h.ImplicitTLS, h.Port = rest, true, 465
	} else if rest, ok := strings.CutPrefix(s, schemeLMTP); ok {
		host, h.LMTP, h.Port = rest, true, 24
	}
	if a, p, err := net.SplitHostPort(host); err == nil {
		n, err := strconv.ParseUint(p, 10, 16)
		if err != nil || n == 0 {
			return Hop{}, fmt.Errorf("via %q: %q is not a port", s, p)
		}
		host, h.Port = a, uint16(n)
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if a, err := netip.ParseAddr(bare); err == nil && a.Zone() == "" {
		h.Host = a.Unmap().String()
		return h, nil
	}
	name, err := relay.NormalizeDomain(host)
	if err != nil || strings.HasPrefix(name, "[") {
		return Hop{}, fmt.Errorf("via %q: write %s", s, hopForms)
	}
	h.Host = name
	return h, nil
}

// maxSocketPath is what a sockaddr_un of Linux holds, less its NUL.
const maxSocketPath = 107

func socketHop(s, p string, lmtp bool) (Hop, error) {
	switch {
	case !path.IsAbs(p) || relay.Sanitize(p) != p:
		return Hop{}, fmt.Errorf("via %q: the socket needs its whole path, as in lmtp+unix:/run/dovecot/lmtp", s)
	case len(p) > maxSocketPath:
		return Hop{}, fmt.Errorf("via %q: the path of a socket has at most %d octets", s, maxSocketPath)
	}
	return Hop{Socket: path.Clean(p), LMTP: lmtp}, nil
}
