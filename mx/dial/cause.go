package dial

import (
	"errors"
	"net"
	"net/netip"
	"os"

	"dawk/relay"
)

// Cause is the innermost reason of a network error, without the addresses and operations, which are
// reported elsewhere.
func Cause(err error) string {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		err = sys.Err
	}
	return err.Error()
}

// Refusal is the verdict on mail for a host whose address is refused.
func Refusal(host string, err error) relay.Reply {
	status := relay.Status{Class: 5, Subject: 4, Detail: 4}
	var e *RefusedError
	if errors.As(err, &e) && e.Self {
		status.Detail = 6 // RFC 3463: routing loop detected
	}
	r := relay.Decision(relay.CausePolicy, status, "%s: %v", host, err)
	r.Remedy = relay.RemedyOf(err)
	return r
}

// Local is our address on a connection, for strangers: "" if there is none or if it is private,
// which would tell them nothing.
func Local(nc net.Conn) string {
	if nc == nil {
		return ""
	}
	a, err := netip.ParseAddrPort(nc.LocalAddr().String())
	if addr := a.Addr().Unmap(); err == nil && !addr.IsPrivate() && !addr.IsLinkLocalUnicast() {
		return addr.WithZone("").String()
	}
	return ""
}
