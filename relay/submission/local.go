package submission

import (
	"net"
	"net/netip"

	"dawk/relay/identity"
)

// Local is a door for programs of this machine, a unix socket as a rule. They
// need no login: whoever runs them is known. They are no mail programs but
// scripts, so stray newlines and long lines are mended, not refused.
type Local struct {
	Listener net.Listener
	Name     string // what logs and events call it
	// Identify names who is at the other end, as relay.Message wants it. An
	// error closes the connection.
	Identify func(net.Conn) (identity string, err error)
	PerUser  identity.Policy // quotas and anomaly holds of each of them
}

// AddLocal opens a door beside those of Config, before Serve. Shutdown closes
// it.
func (s *Server) AddLocal(l Local) {
	rules := Listener{Address: l.Name, TLS: tlsOff, Auth: authOff, BareNewline: newlineNormalize, LongLines: linesFold, PerClient: l.PerUser}.withDefaults()
	s.locals = append(s.locals, &listener{Listener: l.Listener, rules: rules, server: s, identify: l.Identify})
}

// clientKey is what limits count by.
type clientKey struct {
	addr  netip.Addr // see identity.LimitKey; zero for programs of this machine
	local string     // their identity
}

func (c *conn) limitKey() clientKey {
	if c.local != "" {
		return clientKey{local: c.local}
	}
	return clientKey{addr: identity.LimitKey(c.client)}
}
