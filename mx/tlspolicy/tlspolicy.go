package tlspolicy

import (
	"fmt"
	"strings"

	"dawk/relay"
)

// Who may set the level of a session: the values of relay.Result.TLSPolicy.
const (
	ByDANE       = "dane"
	BySTS        = "mta-sts"
	bySTSTesting = "mta-sts-testing"
	ByRequireTLS = "requiretls"
)

// Demand is how private a session must be, and who says so.
type Demand struct {
	Level      Level
	RequireTLS bool   // the message is REQUIRETLS (RFC 8689)
	Lax        bool   // the message asks to ignore what domains publish (RFC 8689 §5)
	By         string // who set the level: see relay.Result.TLSPolicy
	DANE       *DANE  // certificates are checked against TLSA records; nil: by PKIX
}

// Published is what a domain and DNS say about one of its hosts.
type Published struct {
	DANE *DANE      // what DNS says about its certificate; nil: nothing
	STS  *STSPolicy // of the recipient's domain; nil: none

	Domain  string // the recipients'; "" with `via`
	Vouched bool   // DNSSEC says that the host is the domain's, or it has the domain's own name
}

var StatusCrypto = relay.Status{Class: 4, Subject: 7, Detail: 5} // cryptographic failure

// Raise gives the demand for a session with one host: what its domain published raises the level,
// and never lowers it. A non-zero Reply says why the host must not be used now.
//
// Usable TLSA records replace MTA-STS, also when they fail (RFC 8461 §2).
func (p Demand) Raise(host string, tg Published) (Demand, relay.Reply) {
	if p.Lax || p.Level == LevelOff {
		return p, relay.Reply{}
	}
	// RFC 8689 §4.2.1: a certificate proves the name of the host, but if the MX record may be forged
	// nothing proves that the host belongs to the domain.
	if p.RequireTLS && !tg.Vouched && (tg.STS == nil || tg.STS.Mode == stsTesting && !tg.STS.Allows(host)) {
		return p, relay.Failure(relay.StageTLS, StatusCrypto,
			"neither DNSSEC nor an MTA-STS policy says that %s takes the mail of %s, and the message requires that (REQUIRETLS)", host, tg.Domain)
	}
	switch d := tg.DANE; {
	case d == nil:
	case d.Err != nil:
		p.By = ByDANE
		return p, d.lookupFailed(host)
	case len(d.Usable) > 0:
		p.Level, p.DANE = LevelVerified, d
		if !p.RequireTLS {
			p.By = ByDANE
		}
		return p, relay.Reply{}
	case p.Level < LevelRequired: // RFC 7672 §2.2: TLS is required, whoever answers
		p.Level, p.By = LevelRequired, ByDANE
	}
	switch s := tg.STS; {
	case s == nil:
	case s.Mode == stsTesting:
		if p.By == "" {
			p.By = bySTSTesting
		}
	case !s.Allows(host):
		p.By = BySTS
		return p, relay.Failure(relay.StageTLS, StatusCrypto, "%s is none of the hosts that the MTA-STS policy of %s names: %s",
			host, s.Domain, strings.Join(s.MX[:min(len(s.MX), 10)], ", "))
	case p.Level < LevelVerified:
		p.Level, p.By = LevelVerified, BySTS
	}
	return p, relay.Reply{}
}

// Why says why there must be TLS, for people.
func (p Demand) Why() string {
	switch p.By {
	case ByDANE:
		return "the TLSA records of the host demand it (DANE)"
	case BySTS:
		return "the MTA-STS policy of the domain demands it"
	}
	return "this relay demands it"
}

// Words says, for people, what a session with tg needs and why.
func (p Demand) Words(host string, tg Published) string {
	level := map[Level]string{
		LevelOff:           "never TLS",
		LevelOpportunistic: "TLS with any certificate if the host offers it, else in the clear",
		LevelRequired:      "TLS with any certificate, else the mail waits",
		LevelVerified:      "TLS with a certificate for " + host + " from an authority we know, else the mail waits",
	}[p.Level]
	if p.DANE != nil {
		level = "TLS with a certificate that a TLSA record names, else the mail waits"
	}
	switch {
	case p.By == ByDANE && tg.DANE != nil && tg.DANE.Err != nil:
		return "the TLSA records cannot be looked up: the host is not used"
	case p.By == ByDANE && p.DANE == nil:
		return level + " (there are TLSA records, none of which can be used)"
	case p.By == ByDANE:
		return level + " (DANE)"
	case p.By == BySTS:
		return level + " (MTA-STS, enforced)"
	case p.By == bySTSTesting:
		return level + " (the MTA-STS policy is in testing mode: it does not delay mail)"
	case p.RequireTLS:
		return level + " (REQUIRETLS)"
	case p.Lax:
		return level + " (TLS-Required: No)"
	}
	return fmt.Sprintf("%s (tls = %q)", level, p.Level)
}
