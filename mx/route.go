package mx

import (
	"cmp"
	"context"
	"fmt"

	"dawk/mx/hosts"
	"dawk/mx/match"
	"dawk/mx/shaping"
	"dawk/relay"
)

// Bounds of one attempt.
const (
	maxDials    = 10 // that end without a greeting
	maxSessions = 3  // that end before the recipients were judged, or bring none of them through
	maxRepeated = 20 // connections after which the same host gets another
)

// compiled is a Route with its patterns in normal form.
type compiled struct {
	Route
	destination string // of its mail, with `via`
	to, from    []match.Pattern
	sendAs      []match.Pattern
	mailbox     relay.Path // that its user is; null: its user is no address
	gate        *shaping.Gate
	budget      *shaping.Meter // never nil in a Transport
	first       *compiled      // of all routes to its mailbox; never nil in a Transport
	takes       shaping.Rule   // of the first one: the limits of all of them
}

func compileRoute(r Route) (c *compiled, faults relay.Faults) {
	c = &compiled{Route: r, destination: RoutePrefix + r.Name, mailbox: mailboxOf(r.User), gate: new(shaping.Gate)}
	for _, set := range []struct {
		key  string
		in   []string
		into *[]match.Pattern
	}{{"to", r.To, &c.to}, {"from", r.From, &c.from}, {"send_as", r.SendAs, &c.sendAs}} {
		for i, s := range set.in {
			p, err := match.Parse(s)
			if err != nil {
				faults.Add(fmt.Sprintf("%s[%d]", set.key, i), "%s: %v", set.key, err)
			}
			*set.into = append(*set.into, p)
		}
	}
	return c, faults
}

// matches says whether a recipient of m takes this route. domain is the
// recipient's, with our own for a bare postmaster.
func (c *compiled) matches(m *relay.Message, to relay.Path, domain string) bool {
	return match.Any(c.to, to, domain) && match.Any(c.from, m.From, m.From.Domain()) && m.SubmittedBy(c.Identity)
}

// family restricts the addresses that mail goes to by r: see Config.IP.
func (t *Transport) family(r *compiled) string {
	if r == nil {
		return t.cfg.IP
	}
	return cmp.Or(r.IP, t.cfg.IP)
}

// planVia lists the addresses of a route's hosts.
func (t *Transport) planVia(ctx context.Context, r *compiled) hosts.Plan {
	p := t.finder.PlanVia(ctx, r.Via, t.family(r), r.Name)
	for i := range p.Targets {
		tg := &p.Targets[i]
		tg.Recipients = r.RecipientsPerMessage
		tg.Account, tg.Rule = r.first.destination, t.Allowance(r.first.destination)
	}
	return p
}
