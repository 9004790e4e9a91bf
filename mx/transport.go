package mx

import (
	"context"
	"crypto/tls"
	"errors"
	"time"

	"dawk/mx/connpool"
	"dawk/mx/dial"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// RoutePrefix begins the destination of mail that a route with `via` takes.
const RoutePrefix = "route:"

// Transport delivers. It is safe for use by many goroutines.
type Transport struct {
	cfg       Config
	routes    []*compiled
	addresses dial.AddressPolicy
	pool      *connpool.Pool
	bg        connpool.Background
	sessions  tls.ClientSessionCache
	health    shaping.Health[place]
	domains   shaping.Memory
	hosts     shaping.Hosts
	notices   noticeWay
	book      shaping.Book
	secured   tlspolicy.SecuredLookup // nil: neither DANE nor MTA-STS
	sts       *tlspolicy.STS          // nil: no MTA-STS
	web       dial.Web
}

// NewTransport checks cfg and makes a Transport of it.
func NewTransport(cfg Config) (*Transport, error) {
	if err := cfg.Validate().Err(); err != nil {
		return nil, err
	}
	if cfg.Resolver == nil {
		return nil, errors.New("mx: no resolver")
	}
	t := &Transport{cfg: cfg.WithDefaults(), sessions: tls.NewLRUClientSessionCache(256)}
	t.cfg.Hostname, _ = relay.NormalizeDomain(cfg.Hostname) // validated
	t.addresses = dial.AddressPolicy{Allow: cfg.AllowNetworks, Own: cfg.Own}
	t.web = dial.Web{Addrs: cfg.Resolver, Addresses: t.addresses, Dial: t.cfg.Dial, Ip: t.cfg.IP,
		TLS: &tls.Config{RootCAs: t.cfg.RootCAs, MinVersion: tls.VersionTLS12}}
	t.pool = connpool.New(t.cfg.IdleTimeout, &t.bg)
	for i, r := range cfg.Routes {
		r.Name = r.name(i)
		r.TLS = cfg.level(r)
		c, _ := compileRoute(r) // cfg was validated
		t.routes = append(t.routes, c)
	}
	if err := t.notices.Open(t.routes, cfg.NoticeRoute, t.cfg.TLS); err != nil {
		return nil, err
	}
	budgets(t.routes)
	if err := t.openPolicies(); err != nil {
		return nil, err
	}
	t.openBudgets()
	return t, nil
}

// Run writes down what mailboxes have sent, until ctx ends.
func (t *Transport) Run(ctx context.Context) { t.book.Run(ctx, t.cfg.Log) }

// Close, which comes after Run, says goodbye on idle connections. Deliveries under way end as they
// would; their connections are not kept.
func (t *Transport) Close() error {
	t.pool.Close()
	if t.sts != nil {
		t.sts.Close()
	}
	t.bg.Close()
	return t.book.Close()
}

// PostReport hands a TLS report, packed, to the https address that a domain
// asks for it at (RFC 8460 §3).
func (t *Transport) PostReport(ctx context.Context, to string, packed []byte) error {
	return t.web.Post(ctx, to, packed)
}

// Destination is what mail for a recipient of m shares with other mail:
// "route:<name>" where a route with `via` takes it, else the domain.
func (t *Transport) Destination(m *relay.Message, to relay.Path) string {
	if r, _ := t.ways(m, to); r != nil && len(r.Via) > 0 {
		return r.destination
	}
	return t.domain(to)
}

// domain is the recipient's; a bare postmaster is ours (RFC 5321 §4.5.1).
func (t *Transport) domain(to relay.Path) string {
	if d := to.Domain(); d != "" {
		return d
	}
	return t.cfg.Hostname
}

// route is the first that matches, or nil.
func (t *Transport) route(m *relay.Message, to relay.Path) *compiled {
	return t.match(m, to, func(*compiled) bool { return true })
}

// match is the first route that matches and is fit, or nil.
func (t *Transport) match(m *relay.Message, to relay.Path, fit func(*compiled) bool) *compiled {
	for _, r := range t.routes {
		if r.matches(m, to, t.domain(to)) && fit(r) {
			return r
		}
	}
	return nil
}

// Deliver makes one attempt for all recipients of the task and judges each of
// them. It returns when all are judged; the end of ctx cuts it short, and the
// recipients not judged by then are deferred.
func (t *Transport) Deliver(ctx context.Context, task relay.Task) relay.Result {
	began := time.Now()
	a := &attempt{
		t: t, task: task, msg: task.Message, content: task.Content,
		use: &use{Claim: smtpclient.Claim{Ctx: ctx, End: began.Add(t.cfg.Timeouts.Session), Progress: task.Progress}},
		res: relay.Result{Replies: make([]relay.Reply, len(task.Recipients)), Began: began},
		dsn: true,
	}
	task.Progress.At("", relay.StageDNS)
	// Routes are looked up again at each attempt. All recipients of a task
	// share one, unless routes have changed since it was cut out.
	for rest := a.all(); len(rest) > 0; {
		var group []int
		group, rest = a.sameDestination(rest)
		a.res.Session = relay.Session{Route: "mx", Provider: a.res.Provider} // the connection that was admitted stays so
		a.deliver(group)
	}
	a.seven.Close()
	a.turn()
	a.res.DSN = a.relayed && a.dsn
	a.res.Delivered = a.relayed && !a.onward
	a.res.Took = time.Since(began)
	return a.res
}
