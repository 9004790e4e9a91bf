package session

import (
	"crypto/tls"

	"dawk/mx/connpool"
	"dawk/mx/dial"
	"dawk/mx/hosts"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// Policy is what a session must fulfil before MAIL is said.
type Policy struct {
	tlspolicy.Demand
	smtpclient.Login
	MX         bool   // found by MX: refused addresses and loops are looked for
	Route      string // name of the route with `via`; "" by MX
	Account    string // with `via`: the first route to the same mailbox, whose connections serve all of them
	Credential smtpclient.Credential
	Source     *dial.Source // nil: what the system chooses

	Certificate func() (*tls.Certificate, error) // ours; nil: none
}

// Raise is Demand.Raise for the hosts that were found by MX.
func (p Policy) Raise(tg hosts.Target) (Policy, relay.Reply) {
	var bad relay.Reply
	if p.MX {
		p.Demand, bad = p.Demand.Raise(tg.Host, tg.Published)
	}
	return p, bad
}

// Reached is how private a session under p is. A connection is shared only
// under one level, so what p demands was looked at when it was opened.
func (p Policy) Reached(c *connpool.Conn) relay.TLSLevel {
	switch {
	case c.TLS != "" && p.Level >= tlspolicy.LevelVerified:
		return relay.TLSVerified
	case c.TLS != "":
		return relay.TLSUnverified
	case c.Peer.Socket != "":
		return relay.TLSLocal
	case c.NoTLS != "":
		return relay.TLSFallback
	}
	return relay.TLSClear
}

// Key is what a connection must agree in to serve the mail of another.
func (p Policy) Key(tg hosts.Target) connpool.Key {
	return connpool.Key{Host: tg.Host, Addr: tg.Addr, Socket: tg.Socket, Source: p.Source.Label(), Implicit: tg.Implicit, LMTP: tg.LMTP,
		Level: p.Level, RequireTLS: p.RequireTLS, DANE: p.DANE.Fingerprint(), Account: p.Account}
}
