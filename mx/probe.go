package mx

import (
	"context"
	"slices"
	"sync"
	"time"

	"dawk/mx/session"
	"dawk/mx/smtpclient"
	"dawk/relay"
)

// Probed is what a host of a route said to Probe.
type Probed struct {
	Route  string
	Host   string      // "smtp.example.net [192.0.2.1]:587"; "" when none was found
	TLS    string      // "TLS1.3" …; "" in the clear
	Login  string      // the user who was let in, or "our certificate"; "" where the route has none
	Reply  relay.Reply // why mail could not be sent there; zero when it could
	Silent relay.Reply // why it said nothing to the beginning of a message; zero when it did, or was not asked
	Null   relay.Reply // why mail of ours without a sender could not; zero when it could, or needs a sender of the route anyway
}

// maxProbe is how long a host may take until mail may begin: somebody waits for the answer. A
// delivery waits as long as the time-outs say.
const maxProbe = 12 * time.Second

// Probe opens a session to the hosts of each route with `via`, as a delivery would, up to the
// envelope of a notice to Config.OwnAddress. It sends no mail and says QUIT. Only the first address
// of a route that works is told, or every one that failed. Routes are probed at the same time, and
// the hosts of a route share what is left of ctx: a silent host takes no time from the others, and
// each has maxProbe.
func (t *Transport) Probe(ctx context.Context) []Probed {
	told := make([][]Probed, len(t.routes))
	var wg sync.WaitGroup
	for i, r := range t.routes {
		if len(r.Via) > 0 {
			wg.Go(func() { told[i] = t.probeRoute(ctx, r) })
		}
	}
	wg.Wait()
	return slices.Concat(told...)
}

// ProbeRoute is Probe for one route; ok is false when there is none of that
// name with `via`. Success frees a route that is held.
func (t *Transport) ProbeRoute(ctx context.Context, name string) (told []Probed, ok bool) {
	i := slices.IndexFunc(t.routes, func(r *compiled) bool { return r.Name == name && len(r.Via) > 0 })
	if i < 0 {
		return nil, false
	}
	return t.probeRoute(ctx, t.routes[i]), true
}

func (t *Transport) probeRoute(ctx context.Context, r *compiled) []Probed {
	pol := t.policy(new(relay.Message), r)
	p := t.planVia(ctx, r)
	if sources := t.sources(new(relay.Message), r, p.Targets); len(sources) > 0 {
		pol.Source = sources[0]
	}
	var failed []Probed
	for _, f := range p.Failures {
		failed = append(failed, Probed{Route: r.Name, Reply: f})
	}
	for i, tg := range p.Targets {
		share := maxProbe
		if end, ok := ctx.Deadline(); ok {
			share = min(share, time.Until(end)/time.Duration(len(p.Targets)-i))
		}
		part, cancel := context.WithTimeout(ctx, share)
		defer cancel()
		c, bad := t.opener.Open(&session.Use{Claim: smtpclient.Claim{Ctx: part, End: time.Now().Add(t.cfg.Timeouts.Session)}}, tg, pol)
		if c == nil {
			told := Probed{Route: r.Name, Reply: bad}
			if bad.Stage != relay.StageAuth || bad.MTA != "" { // else no token: the host was not even asked
				told.Host = tg.String()
			}
			failed = append(failed, told)
			if hopeless(bad) {
				break // as in a delivery: repeated failures can lock the account
			}
			continue
		}
		ok := Probed{Route: r.Name, Host: tg.String(), TLS: c.TLS, Login: pol.User}
		if pol.User == "" && pol.LogsIn() {
			ok.Login = "our certificate"
		}
		if !tg.LMTP && !t.notices.named(r) {
			if ok.Null, ok.Silent = c.TryNull(t.cfg.OwnAddress); !ok.Null.IsZero() {
				t.notices.refusedBy(r)
			}
		}
		c.Detach()
		t.shared.Bg.Quit(c.Conn)
		if pol.LogsIn() {
			t.free(r)
		}
		return []Probed{ok}
	}
	return failed
}
