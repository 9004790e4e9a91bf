package mx

import (
	"context"
	"strings"

	"dawk/mx/connpool"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// openPolicies prepares DANE and MTA-STS as far as they are on.
func (t *Transport) openPolicies() (err error) {
	if !t.cfg.DANE && !t.cfg.MTASTS {
		return nil
	}
	t.secured = t.cfg.Resolver.(tlspolicy.SecuredLookup) // validated
	if !t.cfg.MTASTS {
		return nil
	}
	t.sts, err = tlspolicy.NewSTS(t.secured, t.web, t.cfg.PolicyDir, t.cfg.Log)
	return err
}

// addSTS gives the targets of a plan the recipients' domain and its policy.
func (t *Transport) addSTS(ctx context.Context, p *plan, pol policy, domain string) {
	for i := range p.targets {
		p.targets[i].Domain = domain
	}
	if t.sts == nil || pol.Lax || pol.Level == tlspolicy.LevelOff || len(p.targets) == 0 || strings.HasPrefix(domain, "[") {
		return
	}
	v, blocked := t.sts.Policy(ctx, domain)
	if blocked != nil {
		p.targets = nil
		p.failures = append(p.failures, relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0}, "%v", blocked))
		return
	}
	if v.Err != nil {
		t.reportFetch(domain, v.Err)
	}
	if v.Policy == nil || v.Policy.Mode == tlspolicy.ModeNone {
		return
	}
	for i := range p.targets {
		p.targets[i].STS = v.Policy
	}
}

// raise is demand.raise for the hosts that were found by MX.
func (t *Transport) raise(p policy, tg target) (policy, relay.Reply) {
	var bad relay.Reply
	if p.mx {
		p.Demand, bad = p.Demand.Raise(tg.Host, tg.Published)
	}
	return p, bad
}

// reached is how private a session under p is. A connection is shared only
// under one level, so what p demands was looked at when it was opened.
func reached(c *connpool.Conn, p policy) relay.TLSLevel {
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
