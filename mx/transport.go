package mx

import (
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"time"

	"dawk/mx/dial"
	"dawk/mx/hosts"
	"dawk/mx/session"
	"dawk/mx/shaping"
	"dawk/mx/smtpclient"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// RoutePrefix begins the destination of mail that a route with `via` takes.
const RoutePrefix = "route:"

// Transport delivers. It is safe for use by many goroutines.
type Transport struct {
	*Routing
	*lasting
	cfg    Config
	finder hosts.Finder
	opener session.Opener
	sts    *tlspolicy.STS // nil: no MTA-STS
	web    dial.Web
}

// lasting is what a Transport and its successors share: connections, what was
// learned of hosts, and what mailboxes have sent.
type lasting struct {
	shared  *session.Shared
	health  shaping.Health[place]
	domains shaping.Memory
	book    shaping.Book
}

// Routing knows where mail goes.
type Routing struct {
	hostname string
	routes   []*compiled
	notices  noticeWay
}

// NewRouting checks cfg and makes the Routing of a Transport, which opens nothing
// and may be asked before there is one.
func NewRouting(cfg Config) (*Routing, error) {
	if err := cfg.Validate().Err(); err != nil {
		return nil, err
	}
	var way Routing
	way.hostname, _ = relay.NormalizeDomain(cfg.Hostname) // validated
	for i, r := range cfg.Routes {
		r.Name = r.name(i)
		r.TLS = cfg.level(r)
		c, _ := compileRoute(r) // cfg was validated
		way.routes = append(way.routes, c)
	}
	budgets(way.routes)
	return &way, way.notices.Open(way.routes, cfg.NoticeRoute, cfg.level(Route{}))
}

// Successor makes the Transport that replaces t, of way and cfg. t goes on until
// TakeOver. BudgetFile and IdleTimeout stay those of t.
func (t *Transport) Successor(way *Routing, cfg Config) (*Transport, error) {
	return way.transport(cfg, t.lasting)
}

// NewTransport checks cfg and makes a Transport of it.
func NewTransport(cfg Config) (*Transport, error) {
	way, err := NewRouting(cfg)
	if err != nil {
		return nil, err
	}
	return way.Transport(cfg)
}

// Transport makes a Transport that delivers by way, which was made of the same routes.
func (way *Routing) Transport(cfg Config) (*Transport, error) {
	cfg = cfg.WithDefaults()
	t, err := way.transport(cfg, &lasting{shared: session.NewShared(cfg.IdleTimeout)})
	if err != nil {
		return nil, err
	}
	t.book.Open(t.cfg.BudgetFile, t.mailboxes(), t.cfg.Log)
	return t, nil
}

func (way *Routing) transport(cfg Config, l *lasting) (*Transport, error) {
	if cfg.Resolver == nil {
		return nil, errors.New("mx: no resolver")
	}
	t := &Transport{Routing: way, lasting: l, cfg: cfg.WithDefaults()}
	t.cfg.Hostname = way.hostname
	if cfg.Together != nil {
		for _, r := range way.routes {
			if r.first == r {
				r.budget.Share(r.destination, cfg.Together)
			}
		}
	}
	addresses := dial.AddressPolicy{Allow: cfg.AllowNetworks, Own: cfg.Own}
	t.finder = hosts.Finder{Resolver: cfg.Resolver, Hostname: way.hostname, Port: uint16(t.cfg.Port), IP: t.cfg.IP, Addresses: addresses}
	t.opener = session.Opener{Hostname: way.hostname, Timeouts: t.cfg.Timeouts, RootCAs: cfg.RootCAs, Addresses: addresses,
		Dial: t.cfg.Dial, OnTLS: t.cfg.OnTLS, Log: t.cfg.Log, Shared: l.shared}
	t.web = dial.Web{Addrs: cfg.Resolver, Addresses: addresses, Dial: t.cfg.Dial, Ip: t.cfg.IP,
		TLS: &tls.Config{RootCAs: t.cfg.RootCAs, MinVersion: tls.VersionTLS12}}
	return t, t.openPolicies()
}

// Run writes down what mailboxes have sent, until ctx ends.
func (t *Transport) Run(ctx context.Context) { t.book.Run(ctx, t.cfg.Log) }

// Close, which comes after Run, says goodbye on idle connections. Deliveries under way end as they
// would; their connections are not kept.
func (t *Transport) Close() error {
	t.shared.Pool.Close()
	t.Retire()
	t.shared.Bg.Close()
	return t.book.Close()
}

// Retire ends what a successor does not share, once nothing is attempted here.
func (t *Transport) Retire() {
	if t.sts != nil {
		t.sts.Close()
	}
}

// PostReport hands a TLS report, packed, to the https address that a domain
// asks for it at (RFC 8460 §3).
func (t *Transport) PostReport(ctx context.Context, to string, packed []byte) error {
	return t.web.Post(ctx, to, packed)
}

// Destination is what mail for a recipient of m shares with other mail:
// "route:<name>" where a route with `via` takes it, else the domain.
func (way *Routing) Destination(m *relay.Message, to relay.Path) string {
	if r, _ := way.ways(m, to); r != nil && len(r.Via) > 0 {
		return r.destination
	}
	return way.domain(to)
}

// Along is the destination of mail that an operator sends by the named route: "" where
// none of that name has `via`. With relay.RouteMX it is the recipient's domain.
func (way *Routing) Along(route string, m *relay.Message, to relay.Path) string {
	switch r, ok := way.along(route, m, to); {
	case !ok:
		return ""
	case r == nil || len(r.Via) == 0:
		return way.domain(to)
	default:
		return r.destination
	}
}

// along is the route that an operator has named; nil for MX where no route says more.
func (way *Routing) along(route string, m *relay.Message, to relay.Path) (r *compiled, ok bool) {
	if route == relay.RouteMX {
		return way.match(m, to, func(r *compiled) bool { return len(r.Via) == 0 }), true
	}
	r = way.byDestination(RoutePrefix + route)
	return r, r != nil && len(r.Via) > 0
}

// domain is the recipient's; a bare postmaster is ours (RFC 5321 §4.5.1).
func (way *Routing) domain(to relay.Path) string {
	if d := to.Domain(); d != "" {
		return d
	}
	return way.hostname
}

// route is the first that matches, or nil.
func (way *Routing) route(m *relay.Message, to relay.Path) *compiled {
	return way.match(m, to, func(*compiled) bool { return true })
}

// match is the first route that matches and is fit, or nil.
func (way *Routing) match(m *relay.Message, to relay.Path, fit func(*compiled) bool) *compiled {
	for _, r := range way.routes {
		if r.matches(m, to, way.domain(to)) && fit(r) {
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
		use: &session.Use{Claim: smtpclient.Claim{Ctx: ctx, End: began.Add(t.cfg.Timeouts.Session), Progress: task.Progress, Script: smtpclient.NewScript(began)}},
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
	if a.res.Unknown || slices.ContainsFunc(a.res.Replies, func(r relay.Reply) bool { return !r.Positive() }) {
		a.res.Transcript = a.use.Script.Transcript()
	}
	a.use.Script.Close()
	return a.res
}
