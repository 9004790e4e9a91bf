package mx

import (
	"context"
	"time"

	"dawk/mx/smtpclient"
	"dawk/relay"
)

// Probed is what a host of a route said to Probe.
type Probed struct {
	Route string
	Host  string      // "smtp.example.net [192.0.2.1]:587"; "" when none was found
	TLS   string      // "TLS1.3" …; "" in the clear
	Login string      // the user who was let in, or "our certificate"; "" where the route has none
	Reply relay.Reply // why mail could not be sent there; zero when it could
	Null  relay.Reply // why mail of ours without a sender could not; zero when it could, or needs a sender of the route anyway
}

// Probe opens a session to the hosts of each route with `via`, as a delivery
// would: address, greeting, TLS and certificate, login, and the envelope of a
// notice to Config.OwnAddress. It sends no mail and says QUIT. Only the first address of a route that works is told, or every
// one that failed. It uses fresh connections, and ends with ctx.
func (t *Transport) Probe(ctx context.Context) []Probed {
	var all []Probed
	for _, r := range t.routes {
		if len(r.Via) > 0 {
			all = append(all, t.probeRoute(ctx, r)...)
		}
	}
	return all
}

// ProbeRoute is Probe for one route; ok is false when there is none of that
// name with `via`. Success frees a route that is held.
func (t *Transport) ProbeRoute(ctx context.Context, name string) (told []Probed, ok bool) {
	for _, r := range t.routes {
		if r.Name == name && len(r.Via) > 0 {
			return t.probeRoute(ctx, r), true
		}
	}
	return nil, false
}

func (t *Transport) probeRoute(ctx context.Context, r *compiled) []Probed {
	pol := t.policy(new(relay.Message), r)
	u := &use{Claim: smtpclient.Claim{Ctx: ctx, End: time.Now().Add(t.cfg.Timeouts.Session)}}
	p := t.planVia(ctx, r)
	if sources := t.sources(new(relay.Message), r, p.targets); len(sources) > 0 {
		pol.source = sources[0]
	}
	var failed []Probed
	for _, f := range p.failures {
		failed = append(failed, Probed{Route: r.Name, Reply: f})
	}
	for _, tg := range p.targets {
		c, bad := t.open(u, tg, pol)
		if c == nil {
			at := tg.String()
			if bad.Stage == relay.StageAuth && bad.MTA == "" {
				at = "" // no token: the host was not even asked
			}
			failed = append(failed, Probed{Route: r.Name, Host: at, Reply: bad})
			if hopeless(bad) {
				break // as in a delivery: accounts get locked for less
			}
			continue
		}
		ok := Probed{Route: r.Name, Host: tg.String(), TLS: c.TLS, Login: pol.User}
		if pol.User == "" && pol.LogsIn() {
			ok.Login = "our certificate"
		}
		if !tg.LMTP && !t.notices.named(r) {
			if ok.Null = c.TryNull(t.cfg.OwnAddress); !ok.Null.IsZero() {
				t.notices.refusedBy(r)
			}
		}
		c.Detach()
		t.bg.Quit(c.Conn)
		if pol.LogsIn() {
			t.free(r)
		}
		return []Probed{ok}
	}
	return failed
}
