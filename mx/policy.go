package mx

import (
	"context"
	"strings"

	"dawk/mx/hosts"
	"dawk/mx/session"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/tlsrpt"
)

// openPolicies prepares DANE and MTA-STS as far as they are on.
func (t *Transport) openPolicies() (err error) {
	if !t.cfg.DANE && !t.cfg.MTASTS {
		return nil
	}
	secured := t.cfg.Resolver.(tlspolicy.SecuredLookup) // validated
	if t.cfg.DANE {
		t.finder.Secured = secured
	}
	if !t.cfg.MTASTS {
		return nil
	}
	t.sts, err = tlspolicy.NewSTS(secured, t.web, t.cfg.PolicyDir, t.cfg.Log)
	return err
}

// addSTS gives the targets of a plan the recipients' domain and its policy.
func (t *Transport) addSTS(ctx context.Context, p *hosts.Plan, pol session.Policy, domain string) {
	for i := range p.Targets {
		p.Targets[i].Domain = domain
	}
	if t.sts == nil || pol.Lax || pol.Level == tlspolicy.LevelOff || len(p.Targets) == 0 || strings.HasPrefix(domain, "[") {
		return
	}
	v, blocked := t.sts.Policy(ctx, domain)
	if blocked != nil {
		p.Targets = nil
		p.Failures = append(p.Failures, relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0}, "%v", blocked))
		return
	}
	if v.Err != nil {
		t.reportFetch(domain, v.Err)
	}
	if v.Policy == nil || v.Policy.Mode == tlspolicy.ModeNone {
		return
	}
	for i := range p.Targets {
		p.Targets[i].STS = v.Policy
	}
}

// reportFetch tells of a policy that could not be had.
func (t *Transport) reportFetch(domain string, err error) {
	t.cfg.OnTLS(tlsrpt.Session{Domain: domain, Type: "sts", Result: tlspolicy.FetchResult(err), Detail: tlspolicy.Impersonal(err)})
}
