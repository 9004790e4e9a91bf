package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"sync"

	"dawk/cmd/dawk/internal/config"
	"dawk/mx"
	"dawk/mx/dial"
	"dawk/mx/dns"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/acme"
	"dawk/relay/dkim"
	"dawk/relay/identity"
	"dawk/relay/sendmail"
	"dawk/relay/sevenbit"
	"dawk/relay/submission"
	"dawk/relay/webhook"
)

// setup is everything that is made of one configuration. A reload makes another
// beside it, and puts that in its place in one step; what lasts is in Server.
type setup struct {
	cfg       *config.Config
	resolver  *dns.Resolver
	logins    config.Logins // of routes
	mx        mx.Config
	routing   *mx.Routing
	signer    dkim.Mail
	converter sevenbit.Converter       // of 8-bit content, for hosts that take none
	users     *identity.Users          // nil: nobody can log in
	certs     *submission.Certificates // nil: nothing speaks TLS
	authority *acme.Manager            // who renews them; nil: nobody is asked
	aliases   *sendmail.Aliases        // nil: none
	transport *mx.Transport
	hooks     *webhook.Hooks
	acceptor  *accept.Acceptor // the rules for new messages
	handler   http.Handler     // of HTTP; nil: no HTTP

	attempts sync.WaitGroup     // that use it
	stop     context.CancelFunc // of its goroutines: see startSetup
	stopped  chan struct{}
}

// now is the setup in force.
func (s *Server) now() *setup { return s.setup.Load() }

// newSetup makes the resolver, the logins of routes, and of them the routing.
// None of it opens a file. before is the setup in force; nil: this is the first.
func (s *Server) newSetup(cfg *config.Config, before *setup) (st *setup, err error) {
	st = &setup{cfg: cfg, stopped: make(chan struct{})}
	rc := cfg.ResolverConfig()
	rc.Log = s.log
	if st.resolver, err = dns.NewResolver(rc); err != nil {
		return nil, fmt.Errorf("dns: %w", err)
	}
	if st.mx, err = cfg.MXConfig(s.log); err != nil {
		return nil, err
	}
	st.mx.Resolver = st.resolver
	if before == nil {
		st.logins, err = cfg.Logins(&st.mx, s.log, nil, nil)
	} else {
		st.logins, err = cfg.Logins(&st.mx, s.log, before.cfg, before.logins)
	}
	if err == nil {
		st.routing, err = mx.NewRouting(st.mx)
	}
	return st, err
}

// complete makes the parts of a setup that open files.
func (s *Server) complete(st, before *setup) (err error) {
	cfg := st.cfg
	keys, err := dkim.Open(cfg.DKIMKeys(), s.log)
	if err != nil {
		return err
	}
	st.signer = dkim.Mail{Keys: keys, Destination: st.routing.Destination, Unsigned: cfg.Unsigned}
	st.converter = sevenbit.Converter{Dir: cfg.DataDir, Owns: keys.Owns, Sign: keys.Sign}
	switch {
	case !cfg.WantsUsers():
	case before != nil && before.users != nil && before.cfg.Users.File == cfg.Users.File:
		st.users = before.users // it reads the file again by itself
	default:
		if st.users, err = identity.Open(cfg.Users.File, s.log); err != nil {
			return err
		}
	}
	if cfg.NeedsTLS() {
		var inUse *submission.Certificates
		if before != nil {
			inUse = before.certs
		}
		if st.certs, st.authority, err = certificates(cfg, inUse, s.log); err != nil {
			return err
		}
	}
	if path := cfg.Sendmail.Aliases; path != "" {
		if st.aliases, err = sendmail.OpenAliases(path, localDomain(cfg), s.log); err != nil {
			return fmt.Errorf("sendmail.aliases: %w", err)
		}
	}
	if err := s.makeTransport(st, before); err != nil {
		return err
	}
	if st.hooks, err = webhook.New(webhook.Options{Dir: filepath.Join(cfg.DataDir, "webhooks"), Outbox: s.queue.Outbox(), Log: s.log},
		cfg.WebhookConfigs(webOf(st))); err != nil {
		return err
	}
	rules := cfg.AcceptorConfig(s.log)
	rules.Sign, rules.Ledger, rules.Refuses = st.signer.Sign, s.ledger, st.transport.Refuses
	rules.Recipient = func(identity string, to relay.Path) *accept.Refusal {
		return accept.Suppressed(s.suppressed.Refuses(identity, to))
	}
	if cfg.OutboxLimits().MaxBytes > 0 {
		rules.Tell = s.tell
	}
	rules.Unsubscribe = func(identity string, to relay.Path) string { return s.tokens.Make(identity, to.String()) }
	st.acceptor, err = accept.New(rules, s.queue, s.observer)
	return err
}

// webOf reaches what webhooks are at. Their certificates are those of the system's
// authorities, or of delivery.ca_file.
func webOf(st *setup) dial.Web {
	return dial.Web{Addrs: st.resolver, Dial: (&net.Dialer{}).DialContext, TLS: &tls.Config{RootCAs: st.mx.RootCAs, MinVersion: tls.VersionTLS12}, Ip: st.mx.IP}
}

// makeTransport makes what delivers.
func (s *Server) makeTransport(st, before *setup) (err error) {
	cfg := st.mx
	if s.returns != nil {
		cfg.ReturnPath = s.returnPath
	}
	cfg.Own, cfg.OnHold = st.cfg.OwnAddresses(), s.holds.note
	cfg.BudgetFile, cfg.Sign = filepath.Join(st.cfg.DataDir, "budgets.json"), st.signAnew
	cfg.SevenBit = st.converter.Convert
	if s.shares != nil {
		cfg.Share = s.shares.Of
	}
	if s.purses != nil {
		cfg.Together = s.purses
	}
	cfg.PolicyDir, cfg.OnTLS = filepath.Join(st.cfg.DataDir, "mta-sts"), newTLSCount(s.metrics, s.counters)
	if before == nil {
		st.transport, err = st.routing.Transport(cfg)
	} else {
		st.transport, err = before.transport.Successor(st.routing, cfg)
	}
	return err
}

// signAnew signs a message whose content was changed for a route.
func (st *setup) signAnew(route string, m *relay.Message, content relay.Content) ([]byte, error) {
	return st.signer.SignFor(mx.RoutePrefix+route, m, content)
}

// submissionConfig is for the SMTP server, with who may log in.
func (s *Server) submissionConfig(st *setup) (submission.Config, submission.Authenticator) {
	cfg := st.cfg.SubmissionConfig(s.log)
	cfg.Listen, cfg.Backoff, cfg.Tickets = s.inherited.listen, s.backoff, s.tickets
	if st.certs != nil {
		cfg.GetCertificate = st.certs.Get
	}
	if st.users == nil {
		return cfg, nil
	}
	return cfg, st.users
}

// startSetup starts what runs for a setup, once that of the setup before has
// ended. It lasts until the next reload, or until ctx ends.
func (s *Server) startSetup(ctx context.Context, running *sync.WaitGroup, st, before *setup) {
	ctx, st.stop = context.WithCancel(ctx)
	running.Go(func() {
		defer close(st.stopped)
		if before != nil {
			before.stop()
			<-before.stopped
		}
		var helpers sync.WaitGroup
		if st.authority != nil {
			helpers.Go(func() { st.authority.Run(ctx) })
		}
		helpers.Go(func() { st.hooks.Run(ctx) })
		for route, login := range st.logins {
			helpers.Go(func() { login.Run(ctx, func() { st.transport.Release(route) }) })
		}
		if s.local.collector != nil {
			s.local.collector.Most, s.local.collector.Aliases, s.local.collector.Tell = s.collects(st)
			helpers.Go(func() { s.local.collector.Run(ctx) })
		}
		if s.counters != nil {
			helpers.Go(func() { s.reporter(st).Run(ctx) })
		}
		helpers.Wait()
	})
}

// retire ends what only before used, once its attempts have ended.
func (s *Server) retire(running *sync.WaitGroup, st, before *setup) {
	running.Go(func() {
		before.attempts.Wait()
		before.transport.Retire()
		before.logins.CloseBut(st.logins)
	})
}

// outward is the transport in force, for the dispatcher: each attempt ends under
// the setup that it began with.
type outward struct{ s *Server }

func (o outward) Deliver(ctx context.Context, task relay.Task) relay.Result {
	o.s.swap.RLock()
	st := o.s.now()
	st.attempts.Add(1)
	o.s.swap.RUnlock()
	defer st.attempts.Done()
	return o.s.suppressed.Screen(task, func(task relay.Task) relay.Result { return st.transport.Deliver(ctx, task) })
}

func (o outward) Destination(m *relay.Message, to relay.Path) string {
	return o.s.now().routing.Destination(m, to)
}

func (o outward) Along(route string, m *relay.Message, to relay.Path) string {
	return o.s.now().routing.Along(route, m, to)
}
