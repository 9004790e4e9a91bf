package mx

import (
	"context"
	"strings"

	"dawk/relay"
)

// openPolicies prepares DANE and MTA-STS as far as they are on.
func (t *Transport) openPolicies() error {
	if !t.cfg.DANE && !t.cfg.MTASTS {
		return nil
	}
	t.secured = t.cfg.Resolver.(SecuredLookup) // validated
	if !t.cfg.MTASTS {
		return nil
	}
	var err error
	t.sts, err = newSTS(t.secured, t.web, t.cfg.PolicyDir, t.cfg.Log)
	return err
}

// addSTS gives the targets of a plan the recipients' domain and its policy.
func (t *Transport) addSTS(ctx context.Context, p *plan, pol policy, domain string) {
	for i := range p.targets {
		p.targets[i].domain = domain
	}
	if t.sts == nil || pol.lax || pol.level == LevelOff || len(p.targets) == 0 || strings.HasPrefix(domain, "[") {
		return
	}
	v, blocked := t.sts.policy(ctx, domain)
	if blocked != nil {
		p.targets = nil
		p.failures = append(p.failures, relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0}, "%v", blocked))
		return
	}
	if v.err != nil {
		t.reportFetch(domain, v.err)
	}
	if v.policy == nil || v.policy.Mode == stsNone {
		return
	}
	for i := range p.targets {
		p.targets[i].sts = v.policy
	}
}

// raise is demand.raise for the hosts that were found by MX.
func (t *Transport) raise(p policy, tg target) (policy, relay.Reply) {
	var bad relay.Reply
	if p.mx {
		p.demand, bad = p.demand.raise(tg.host, tg.published)
	}
	return p, bad
}

// reached is how private a session under p is. A connection is shared only
// under one level, so what p demands was looked at when it was opened.
func (c *link) reached(p policy) relay.TLSLevel {
	switch {
	case c.tls != "" && p.level >= LevelVerified:
		return relay.TLSVerified
	case c.tls != "":
		return relay.TLSUnverified
	case c.target.socket != "":
		return relay.TLSLocal
	case c.noTLS != "":
		return relay.TLSFallback
	}
	return relay.TLSClear
}
