package mx

import (
	"fmt"
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

// demand is how private a session must be, and who says so.
type demand struct {
	level      Level
	requireTLS bool   // the message is REQUIRETLS (RFC 8689)
	lax        bool   // the message renounces what domains publish (RFC 8689 §5)
	by         string // who set the level: see relay.Result.TLSPolicy
	dane       *dane  // certificates are held against TLSA records; nil: against PKIX
}

// published is what a domain and DNS say of one of its hosts.
type published struct {
	dane *dane      // what DNS says of its certificate; nil: nothing
	sts  *stsPolicy // of the recipient's domain; nil: none

	domain  string // the recipients'; "" with `via`
	vouched bool   // DNSSEC says that the host is the domain's, or it has the domain's own name
}

var statusTLS = relay.Status{Class: 4, Subject: 7, Detail: 5} // cryptographic failure

// raise gives the demand for a session with one host: what its domain
// published raises the level, and never lowers it. A Reply other than zero
// says why the host is not to be used now.
//
// Usable TLSA records replace MTA-STS, also when they fail (RFC 8461 §2).
func (p demand) raise(host string, tg published) (demand, relay.Reply) {
	if p.lax || p.level == LevelOff {
		return p, relay.Reply{}
	}
	// RFC 8689 §4.2.1: a certificate proves the name of the host, and nothing
	// proves that the host is the domain's if its MX record may be forged.
	if p.requireTLS && !tg.vouched && (tg.sts == nil || tg.sts.Mode == stsTesting && !tg.sts.allows(host)) {
		return p, relay.Failure(relay.StageTLS, statusTLS,
			"neither DNSSEC nor an MTA-STS policy says that %s takes the mail of %s, and the message requires that (REQUIRETLS)", host, tg.domain)
	}
	switch d := tg.dane; {
	case d == nil:
	case d.err != nil:
		p.by = byDANE
		return p, d.lookupFailed(host)
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
	case !s.allows(host):
		p.by = bySTS
		return p, relay.Failure(relay.StageTLS, statusTLS, "%s is none of the hosts that the MTA-STS policy of %s names: %s",
			host, s.Domain, strings.Join(s.MX[:min(len(s.MX), 10)], ", "))
	case p.level < LevelVerified:
		p.level, p.by = LevelVerified, bySTS
	}
	return p, relay.Reply{}
}

// why says why there must be TLS, for people.
func (p demand) why() string {
	switch p.by {
	case byDANE:
		return "the TLSA records of the host demand it (DANE)"
	case bySTS:
		return "the MTA-STS policy of the domain demands it"
	}
	return "this relay demands it"
}

// words is why a session with tg needs what it needs.
func (p demand) words(host string, tg published) string {
	level := map[Level]string{
		LevelOff:           "never TLS",
		LevelOpportunistic: "TLS with any certificate if the host offers it, else in the clear",
		LevelRequired:      "TLS with any certificate, else the mail waits",
		LevelVerified:      "TLS with a certificate for " + host + " from an authority we know, else the mail waits",
	}[p.level]
	if p.dane != nil {
		level = "TLS with a certificate that a TLSA record names, else the mail waits"
	}
	switch {
	case p.by == byDANE && tg.dane != nil && tg.dane.err != nil:
		return "the TLSA records cannot be had: the host is not used"
	case p.by == byDANE && p.dane == nil:
		return level + " (there are TLSA records, none of which can be used)"
	case p.by == byDANE:
		return level + " (DANE)"
	case p.by == bySTS:
		return level + " (MTA-STS, enforced)"
	case p.by == bySTSTesting:
		return level + " (the MTA-STS policy is in testing: it holds nothing up)"
	case p.requireTLS:
		return level + " (REQUIRETLS)"
	case p.lax:
		return level + " (TLS-Required: No)"
	}
	return fmt.Sprintf("%s (tls = %q)", level, p.level)
}
