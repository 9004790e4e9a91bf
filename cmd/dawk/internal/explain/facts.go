package explain

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"dawk/mx"
	"dawk/mx/survey"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin"
	"dawk/relay/dkim"
	"dawk/relay/identity"
)

// Explain finds everything out. Its error is about the question.
func (e *Explainer) Explain(ctx context.Context, q Question) (admin.Explanation, error) {
	ctx, cancel := context.WithTimeout(ctx, explainTime)
	defer cancel()
	x := admin.Explanation{Now: time.Now(), Live: e.Live, File: e.Config.File(), Stale: e.Live && e.Config.Stale(), Strays: e.strays(), From: q.From, To: q.To, MaxSize: int64(e.Config.Limits.MaxMessageSize), EHLO: e.Config.Hostname}
	user, err := e.who(&x, q)
	if err != nil {
		return x, err
	}
	by := e.submitter(q.identity)
	by.User = user
	m := &relay.Message{Identity: by.Identity, Envelope: relay.Envelope{From: q.From, Recipients: []relay.Recipient{{Path: q.To}}}}
	decision, err := e.Acceptor.Decide(accept.Submission{Submitter: by, Envelope: relay.Envelope{From: q.From}}, 0)
	if err == nil {
		err = decision.Add(relay.Recipient{Path: q.To})
	}
	var no *accept.Refusal
	switch {
	case err == nil:
		decision.Apply(m)
	case !errors.As(err, &no):
		return x, err
	case x.Refused.IsZero():
		x.Refused = no.Reply
	}
	x.SendFrom, x.SendTo = m.From, m.Recipients[0].Path
	if e.Suppressed != nil {
		if on := e.Suppressed(m.Identity, x.SendTo); on != nil {
			x.Suppressed = on.Words(x.SendTo)
		}
	}
	e.schedule(&x, m)
	x.Destination = e.Transport.Explain(ctx, m, x.SendTo)
	x.Route = e.route(&x.Destination)
	e.sign(&x, m)
	e.limits(&x)
	e.now(&x, m)
	e.bounce(ctx, &x)
	conclude(&x)
	return x, nil
}

// strays are the identities that the configuration names and nobody has.
func (e *Explainer) strays() (all []string) {
	var users []string
	if e.usersUnread {
		return nil
	}
	if e.Users != nil {
		for _, u := range e.Users.List() {
			users = append(users, u.Name)
		}
	}
	for _, s := range e.Config.Strays(users) {
		all = append(all, s.String())
	}
	return all
}

// who says what is known of the identity.
func (e *Explainer) who(x *admin.Explanation, q Question) (*identity.User, error) {
	x.Who.Name = q.identity
	switch {
	case q.identity == "":
		x.Who.Note = "no --identity: a client without login, whom no sender rules concern"
		x.Who.Others = e.mayUse(q.From)
		return nil, nil
	case strings.HasPrefix(q.identity, networkPrefix):
		return e.client(x, strings.TrimPrefix(q.identity, networkPrefix)), nil
	case strings.HasPrefix(q.identity, "local:"):
		u := e.Config.Program(q.identity)
		x.Who = admin.ExplainedUser{Name: u.Name, Senders: u.SenderNames(), MayAll: len(u.Senders) == 0, Quotas: e.Ledger.Left(u), Note: "a program of this machine"}
		e.held(x, u)
		return u, nil
	case e.usersUnread:
		return nil, fmt.Errorf("the file of users %s may not be read: run this as the user that the relay runs as, or as root", e.Config.Users.File)
	case e.Users == nil:
		return nil, fmt.Errorf("there is no user %s: nobody can log in with this configuration", relay.Sanitize(q.identity))
	}
	u := e.Users.Lookup(q.identity)
	if u == nil {
		return nil, fmt.Errorf("there is no user %s in %s", relay.Sanitize(q.identity), e.Config.Users.File)
	}
	x.Who = admin.ExplainedUser{Name: u.Name, Known: true, Senders: u.SenderNames(), MayAll: len(u.Senders) == 0, Quotas: e.Ledger.Left(u)}
	if u.MaxMessageSize > 0 && (x.MaxSize == 0 || u.MaxMessageSize < x.MaxSize) {
		x.MaxSize = u.MaxMessageSize
	}
	if u.Hold {
		x.Held = "users.toml says hold for " + u.Name
	}
	e.held(x, u)
	return u, nil
}

// held says that the ledger holds all mail of u, if it does.
func (e *Explainer) held(x *admin.Explanation, u *identity.User) {
	for _, h := range e.Ledger.Holds() {
		if strings.EqualFold(h.Name, u.Name) {
			x.Held = "all mail of " + u.Name + " is on hold: " + h.Rule + "; see `dawk user release`"
		}
	}
}

const networkPrefix = "network:"

// submitter is who submits as an identity, as listeners name it: a client without
// login by the network that is trusted, beside which its own address stands.
func (e *Explainer) submitter(name string) accept.Submitter {
	by := accept.Submitter{Identity: name}
	addr, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(name, networkPrefix), "/64"))
	if err != nil || !strings.HasPrefix(name, networkPrefix) {
		return by
	}
	by.Client = addr
	for i := range e.Config.Listeners {
		for _, n := range e.Config.Listeners[i].TrustedNetworks {
			if n.Prefix().Contains(addr.Unmap()) {
				by.Identity = networkPrefix + n.String()
				return by
			}
		}
	}
	return by
}

// client is who stands for a client without login, by the first listener that
// trusts its address and has rules for it; nil: there are none, or a whole network
// was asked for, whose addresses have quotas each of their own. Every listener
// that trusts it is named: which one it comes to is its own choice.
func (e *Explainer) client(x *admin.Explanation, network string) *identity.User {
	addr, err := netip.ParseAddr(strings.TrimSuffix(network, "/64"))
	if err != nil {
		x.Who.Note = "a client without login; quotas go by address: ask for one, as in network:192.0.2.7"
		return nil
	}
	var limited *identity.User
	for i := range e.Config.Listeners {
		l := &e.Config.Listeners[i]
		if !slices.ContainsFunc(relay.Prefixes(l.TrustedNetworks), func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) }) {
			continue
		}
		at := admin.ExplainedListener{Address: l.Address}
		if policy := l.Policy(); policy.Restricts() {
			u := identity.ForClient(addr, policy)
			at.Quotas = e.Ledger.Left(u)
			if limited == nil {
				limited, x.Who.Quotas, x.Who.Senders = u, at.Quotas, u.SenderNames()
				e.held(x, u)
			}
		}
		x.Who.Listeners = append(x.Who.Listeners, at)
	}
	x.Who.Note = "a client without login, which may send as anybody, without quotas"
	switch {
	case len(x.Who.Listeners) == 0:
		x.Who.Note = "a client without login"
		x.Refused = relay.Reply{Code: 550, Status: relay.Status{Class: 5, Subject: 7, Detail: 1},
			Text: "no listener has this address in its trusted_networks"}
	case limited != nil && len(x.Who.Listeners) == 1:
		x.Who.Note = "a client without login, at listener " + x.Who.Listeners[0].Address
	case limited != nil:
		x.Who.Note = "a client without login; the verdict is that of the first listener with rules for it"
	}
	return limited
}

const maxOthers = 10

// mayUse names users who may send as from because their list says so.
func (e *Explainer) mayUse(from relay.Path) (names []string) {
	if e.Users == nil || from.IsNull() {
		return nil
	}
	for _, u := range e.Users.List() {
		if len(u.Senders) > 0 && u.MaySend(from) && len(names) < maxOthers {
			names = append(names, u.Name)
		}
	}
	return names
}

// schedule is what happens to mail that does not go at once.
func (e *Explainer) schedule(x *admin.Explanation, m *relay.Message) {
	for _, d := range e.Config.Queue.Retry {
		x.Retry = append(x.Retry, relay.Millis(d))
	}
	x.MaxAge = relay.Millis(m.Lifetime(time.Duration(e.Config.Queue.MaxAge)))
	if d := e.Config.Queue.DelayNotice; d > 0 && !m.NoDelayNotes && !m.From.IsNull() {
		x.DelayNotice = relay.Millis(d)
	}
}

// route is the [[route]] of a destination as the file has it.
func (e *Explainer) route(d *survey.Destination) admin.ExplainedRoute {
	out := admin.ExplainedRoute{Routes: len(e.Config.Routes)}
	if d.Route < 0 || d.Route >= len(e.Config.Routes) {
		return out
	}
	r := &e.Config.Routes[d.Route]
	out.Name, out.Via, out.User = d.RouteName, r.Via, r.User
	out.Line = e.Config.Line(fmt.Sprintf("route[%d]", d.Route))
	for _, h := range e.Transport.HeldRoutes() {
		if h.Route == d.RouteName {
			out.HeldSince, out.HeldBy = h.Since, h.Reply
		}
	}
	return out
}

// sign says which keys would sign, by the domain of From. A message without
// From field of the same domain is signed otherwise.
func (e *Explainer) sign(x *admin.Explanation, m *relay.Message) {
	others := false
	domain := m.From.Domain()
	if domain == "" {
		domain = e.Config.Hostname
	}
	if x.Route.Name != "" && e.Config.Unsigned(mx.RoutePrefix+x.Route.Name) {
		x.Unsigned = "the route takes its mail unsigned (dkim)"
		return
	}
	for _, k := range e.Config.DKIMKeys() {
		k, err := k.Normalize()
		if err != nil || k.Domain != domain {
			continue
		}
		if !k.Signs(m) {
			others = true
			continue
		}
		x.Signed = append(x.Signed, admin.SignedBy{Record: k.RecordName(), Kind: keyKind(k)})
	}
	switch {
	case x.Signed != nil:
	case others:
		x.Unsigned = "the identities of every [[dkim]] section for " + domain + " leave it out"
	default:
		x.Unsigned = "no [[dkim]] section is for " + domain
	}
}

func keyKind(k dkim.Key) string {
	private, err := dkim.LoadKey(k.File)
	if err != nil {
		return "unknown"
	}
	if _, ok := private.Public().(ed25519.PublicKey); ok {
		return "ed25519"
	}
	return "rsa"
}

// bounce says who would be told of a failure, and how.
func (e *Explainer) bounce(ctx context.Context, x *admin.Explanation) {
	to := x.SendFrom
	if to.IsNull() {
		if to = e.Config.PostmasterPath(); to.IsNull() {
			x.Bounce.Note = "nobody is told: the reverse-path is null, and no postmaster is set"
			return
		}
		x.Bounce.Note = "the reverse-path is null: only the postmaster is told"
	}
	m := &relay.Message{Identity: "dawk", Notice: true, Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: to}}}}
	d := e.Transport.Explain(ctx, m, to)
	x.Bounce.To, x.Bounce.Route, x.Bounce.Otherwise = to, e.route(&d), d.Otherwise
	for i := range d.Hosts {
		if d.Hosts[i].Trouble.IsZero() {
			x.Bounce.Hosts = append(x.Bounce.Hosts, d.Hosts[i].String())
		}
	}
	if bad := d.Reply(); !bad.IsZero() {
		x.Bounce.Note = strings.TrimPrefix(x.Bounce.Note+"; it would not arrive: "+bad.String(), "; ")
	}
}

// conclude is the last sentence.
func conclude(x *admin.Explanation) {
	hosts := x.Destination.Reply()
	switch {
	case !x.Refused.IsZero():
		x.Verdict = "It would be refused: " + x.Refused.String()
	case x.Held != "":
		x.Verdict = "It would be accepted and wait for the administrator: " + x.Held + "."
	case x.Suppressed != "":
		x.Verdict = "It would be accepted and come back to its sender: " + x.Suppressed + "."
	case !hosts.IsZero() && hosts.Permanent():
		x.Verdict = "It would be accepted and come back to its sender: " + hosts.String()
	case !hosts.IsZero():
		x.Verdict = "It would be accepted, wait, and be tried again: " + hosts.String()
	case !x.Route.HeldSince.IsZero():
		x.Verdict = "It would be accepted and wait until the login of route " + x.Route.Name + " works again: " + x.Route.HeldBy.String()
	case x.Provider != nil && slices.Contains([]relay.LoadState{relay.LoadSuspended, relay.LoadProbing, relay.LoadDown}, x.Provider.State):
		x.Verdict = "It would be accepted and wait for " + x.Waiting + "."
	default:
		x.OK = true
		x.Verdict = "It would be accepted and offered to " + firstHost(x) + "."
		if x.Waiting != "" {
			x.Verdict += " It may have to wait for " + x.Waiting + "."
		}
	}
	x.Verdict = relay.Sanitize(x.Verdict)
}

func firstHost(x *admin.Explanation) string {
	for i := range x.Destination.Hosts {
		h := &x.Destination.Hosts[i]
		if h.Trouble.IsZero() {
			return fmt.Sprintf("%s: %s", h.String(), h.TLS.Why)
		}
	}
	return "nobody"
}
