package mx

import (
	"context"
	"strings"

	"dawk/relay"
)

// Who may set the level of a session: the values of relay.Result.TLSPolicy.
const (
	byDANE       = "dane"
	bySTS        = "mta-sts"
	bySTSTesting = "mta-sts-testing"
	byRequireTLS = "requiretls"
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
	store, err := newSTSStore(t.cfg.PolicyDir)
	if err != nil {
		return err
	}
	t.sts = &sts{lookup: t.secured, web: t.web, log: t.cfg.Log, store: store, failed: map[stsKey]stsFailure{}}
	t.sts.ctx, t.sts.cancel = context.WithCancel(context.Background())
	return nil
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

// raise gives the policy for a session with one host: what its domain
// published raises the level, and never lowers it. A Reply other than zero
// says why the host is not to be used now.
//
// Usable TLSA records replace MTA-STS, also when they fail (RFC 8461 §2).
func (t *Transport) raise(p policy, tg target) (policy, relay.Reply) {
	if !p.mx || p.lax || p.level == LevelOff {
		return p, relay.Reply{}
	}
	// RFC 8689 §4.2.1: a certificate proves the name of the host, and nothing
	// proves that the host is the domain's if its MX record may be forged.
	if p.requireTLS && !tg.vouched && (tg.sts == nil || tg.sts.Mode == stsTesting && !tg.sts.allows(tg.host)) {
		return p, relay.Failure(relay.StageTLS, statusTLS,
			"neither DNSSEC nor an MTA-STS policy says that %s takes the mail of %s, and the message requires that (REQUIRETLS)", tg.host, tg.domain)
	}
	switch d := tg.dane; {
	case d == nil:
	case d.err != nil:
		p.by = byDANE
		return p, d.lookupFailed(tg)
	case len(d.usable) > 0:
		p.level, p.dane = LevelVerified, d
		if !p.requireTLS {
			p.by = byDANE
		}
		return p, relay.Reply{}
	case p.level < LevelRequired: // RFC 7672 §2.2: TLS is a must, whoever answers
		p.level, p.by = LevelRequired, byDANE
	}
	switch s := tg.sts; {
	case s == nil:
	case s.Mode == stsTesting:
		if p.by == "" {
			p.by = bySTSTesting
		}
	case !s.allows(tg.host):
		p.by = bySTS
		return p, relay.Failure(relay.StageTLS, statusTLS, "%s is none of the hosts that the MTA-STS policy of %s names: %s",
			tg.host, s.Domain, strings.Join(s.MX[:min(len(s.MX), 10)], ", "))
	case p.level < LevelVerified:
		p.level, p.by = LevelVerified, bySTS
	}
	return p, relay.Reply{}
}

// reached is how private a session under p is. A connection is shared only
// under one level, so what p demands was looked at when it was opened.
func (c *conn) reached(p policy) relay.TLSLevel {
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

// demand says why there must be TLS, for people.
func (p policy) demand() string {
	switch p.by {
	case byDANE:
		return "the TLSA records of the host demand it (DANE)"
	case bySTS:
		return "the MTA-STS policy of the domain demands it"
	}
	return "this relay demands it"
}
