package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/metrics"
	"dawk/mx"
	"dawk/mx/dns"
	"dawk/queue/boltstore"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin"
	"dawk/relay/delivery"
	"dawk/relay/dkim"
	"dawk/relay/history"
	"dawk/relay/httpapi"
	"dawk/relay/identity"
	"dawk/relay/sevenbit"
	"dawk/relay/submission"
)

// The wiring, in six lines: who stands behind the interfaces.
var (
	_ accept.Queue             = (*boltstore.Store)(nil)
	_ submission.Authenticator = (*identity.Users)(nil)
	_ delivery.Queue           = (*boltstore.Store)(nil)
	_ delivery.Transport       = (*mx.Transport)(nil)
	_ admin.Queue              = (*boltstore.Store)(nil)
	_ relay.Observer           = (*metrics.Set)(nil)
)

// How long a stop may take: R20 of the project's promises is ten seconds.
const (
	drainClients  = 6 * time.Second // messages in transfer
	drainAttempts = 6 * time.Second // delivery attempts, at the same time
)

// instance is one running relay. newInstance opens what it needs and delivers
// nothing yet; listen opens its doors; run serves until its context ends and
// closes it all again.
type instance struct {
	cfg *config.Config
	log *slog.Logger

	queue      *boltstore.Store
	resolver   *dns.Resolver
	transport  *mx.Transport
	logins     config.Logins // of routes
	heldRoutes *heldNotices
	signer     *dkim.Signer
	reports    *tlsReports       // nil: neither DANE nor MTA-STS
	users      *identity.Users   // nil: nobody can log in
	ledger     *ledger           // what users have sent
	backoff    *identity.Backoff // counts failed logins, at all doors together
	devices    *admin.Devices    // nil: no listener is for devices
	inherited  *inherited        // sockets of systemd
	dispatcher *delivery.Dispatcher
	certs      *submission.Certificates // nil: no listener speaks TLS
	server     *submission.Server
	metrics    *metrics.Set
	history    *admin.History
	records    *history.Store // nil: none are kept
	observer   relay.Observers
	began      time.Time

	http       *http.Server
	httpL      net.Listener
	socket     *http.Server
	socketL    net.Listener
	distrusted chan error // the queue no longer trusts its disk

	local    localDoor        // for programs of this machine
	acceptor *accept.Acceptor // the rules for new messages
	keys     *httpapi.Keys    // nil: mail is not taken over HTTP
}

// newInstance builds a relay from the bottom up: store, transport, scheduler,
// front door. observers see every event, after the log and the metrics.
func newInstance(cfg *config.Config, log *slog.Logger, observers ...relay.Observer) (*instance, error) {
	r := &instance{cfg: cfg, log: log, began: time.Now(), history: admin.NewHistory(admin.DefaultHistory), distrusted: make(chan error, 1)}
	var err error
	if r.inherited, err = inheritSockets(); err != nil {
		return nil, err
	}
	r.metrics = r.newMetrics()
	// The log comes after the counts: what a line tells has been counted by then.
	seen := relay.Observers{r.metrics, r.history, delivery.NewLogObserver(log)}
	if r.devices = newDevices(cfg.Listeners); r.devices != nil {
		seen = append(relay.Observers{r.devices}, seen...)
	}
	r.observer = append(seen, observers...)
	r.heldRoutes = r.newHeldNotices()
	if err := r.openQueue(); err != nil {
		return nil, err
	}
	r.openHistory()
	for _, step := range []func() error{r.openTransport, r.openTLSReports, r.openSigner, r.openUsers, r.openLedger, r.openDispatcher, r.openServer} {
		if err := step(); err != nil {
			return nil, errors.Join(err, r.Close())
		}
	}
	return r, nil
}

func (r *instance) openQueue() (err error) {
	opt := r.cfg.QueueOptions(r.log)
	opt.Destination = func(m *relay.Message, to relay.Path) string {
		return r.transport.Destination(m, to)
	}
	opt.CommitSeconds = r.metrics.Commit
	opt.Fatal = func(err error) { r.distrusted <- err }
	r.queue, err = boltstore.Open(opt)
	return err
}

// openHistory never fails: mail goes on without a history.
func (r *instance) openHistory() {
	if r.cfg.History.Keep == 0 {
		return
	}
	records, err := history.Open(r.cfg.HistoryOptions(r.log))
	if err != nil {
		r.log.Warn("no history is kept; mail is not affected", "error", err)
		return
	}
	r.records = records
	r.history.Behind(records)
	r.observer = append(relay.Observers{records}, r.observer...)
}

func (r *instance) openTransport() (err error) {
	if r.resolver, err = dns.NewResolver(r.cfg.ResolverConfig()); err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	cfg, err := r.cfg.MxConfig(r.log)
	if err != nil {
		return err
	}
	cfg.Resolver, cfg.Own, cfg.OnHold = r.resolver, r.cfg.OwnAddresses(), r.onHold
	cfg.BudgetFile, cfg.Sign = filepath.Join(r.cfg.DataDir, "budgets.json"), r.signAnew
	cfg.SevenBit = r.sevenBit
	cfg.PolicyDir, cfg.OnTLS = filepath.Join(r.cfg.DataDir, "mta-sts"), r.tlsSeen
	if r.logins, err = r.cfg.Logins(&cfg, r.log); err != nil {
		return err
	}
	if r.transport, err = mx.NewTransport(cfg); err != nil {
		return err
	}
	for route, s := range r.logins {
		s.OnChange(func() { r.transport.Release(route) })
	}
	return nil
}

func (r *instance) openSigner() (err error) {
	r.signer, err = dkim.Open(r.cfg.DkimKeys(), r.log)
	return err
}

// sevenBit converts 8-bit content for a host that takes none, and signs it
// again if it was signed by us: the old signature does not survive.
func (r *instance) sevenBit(content relay.Content) (relay.Content, error) {
	return sevenbit.Converter{Dir: r.cfg.DataDir, Owns: r.signer.Owns, Sign: r.signer.Sign}.Convert(content)
}

// hasSevenBit says whether sevenBit can convert it.
func (r *instance) hasSevenBit(content relay.Content) bool {
	out, err := sevenbit.Converter{Dir: r.cfg.DataDir}.Convert(content)
	if err == nil {
		out.Close()
	}
	return !errors.Is(err, relay.ErrNotSevenBit)
}

// sign makes the DKIM signatures of a message, unless all its recipients go by
// routes whose provider signs itself.
func (r *instance) sign(m *relay.Message, content relay.Content) ([]byte, error) {
	for _, rcpt := range m.Recipients {
		if !r.cfg.Unsigned(r.transport.Destination(m, rcpt.Path)) {
			return r.signer.Sign(content)
		}
	}
	return nil, nil
}

func (r *instance) openUsers() (err error) {
	if r.cfg.WantsUsers() {
		r.users, err = identity.Open(r.cfg.Users.File, r.log)
	}
	return err
}

func (r *instance) openDispatcher() (err error) {
	cfg := r.cfg.DeliveryConfig(r.log)
	cfg.Grace = drainAttempts
	cfg.Limits = delivery.Limits{Reserve: r.transport.Reserve, Provider: r.transport.Provider,
		Allowance: func(provider string) delivery.Allowance {
			rule := r.transport.Allowance(provider)
			return delivery.Allowance{Connections: rule.Connections, Rate: rule.Rate, RecipientRate: rule.RecipientRate}
		}}
	cfg.Sign, cfg.SevenBit = r.sign, r.hasSevenBit
	r.dispatcher, err = delivery.New(cfg, r.queue, r.transport, r.observer)
	return err
}

func (r *instance) openServer() error {
	cfg := r.cfg.SubmissionConfig(r.log)
	r.backoff = identity.NewBackoff(cfg.AuthFailuresPerIP)
	cfg.Listen, cfg.Backoff = r.inherited.listen, r.backoff
	if r.cfg.NeedsTLS() {
		certs, err := r.certificates()
		if err != nil {
			return err
		}
		r.certs, cfg.GetCertificate = certs, certs.Get
	}
	rules := r.cfg.AcceptorConfig(r.log)
	rules.Sign, rules.Ledger, rules.Refuses = r.sign, r.ledger.Ledger, r.transport.Refuses
	acceptor, err := accept.New(rules, r.queue, r.observer)
	if err != nil {
		return err
	}
	r.acceptor = acceptor
	var auth submission.Authenticator
	if r.users != nil {
		auth = r.users
	}
	r.server, err = submission.NewServer(cfg, acceptor, auth, r.observer)
	return err
}

// certificates are the configured pair, or a self-signed one that is made at
// the first start and kept in the data directory.
func (r *instance) certificates() (*submission.Certificates, error) {
	cert, key := r.cfg.TLS.Certificate, r.cfg.TLS.Key
	if cert == "" {
		var err error
		if cert, key, _, err = submission.SelfSigned(r.cfg.DataDir, r.cfg.Hostname); err != nil {
			return nil, err
		}
		r.log.Warn("no certificate is configured: TLS uses a self-signed one, which clients will not trust; set [tls] certificate and key", "certificate", cert)
	}
	return submission.LoadCertificates(cert, key, r.log)
}

// listen opens every door, so that a port that is taken is told before
// anything is delivered.
func (r *instance) listen() (err error) {
	if err := r.server.Listen(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.inherited.rest()) }()
	if err := r.listenLocal(); err != nil {
		return err
	}
	if r.cfg.HTTP.Address != "" {
		if r.httpL, err = r.inherited.listen("tcp", r.cfg.HTTP.Address); err != nil {
			return fmt.Errorf("http.address %s: %w", r.cfg.HTTP.Address, err)
		}
		r.httpL = r.httpListener(r.httpL)
		r.http = r.newHTTPServer()
	}
	if r.socketL, err = admin.Listen(filepath.Join(r.cfg.DataDir, admin.SocketName)); err != nil {
		return err
	}
	r.socket = &http.Server{Handler: r.explainHandler(r.loginHandler(r.adminHandler())), ReadHeaderTimeout: 10 * time.Second}
	return nil
}

// run serves until ctx ends or the disk cannot be trusted any more, then stops
// in the reverse order of the mail: front door, scheduler, store.
func (r *instance) run(ctx context.Context) error {
	dispatching, stopDispatching := context.WithCancel(context.Background())
	defer stopDispatching()
	dispatched := make(chan error, 1)
	go r.boundHeap(dispatching)
	go func() { dispatched <- r.dispatcher.Run(dispatching) }()
	go r.runLogins(dispatching)
	go r.socket.Serve(r.socketL)
	if r.http != nil {
		go r.http.Serve(r.httpL)
	}
	served := make(chan error, 1)
	select {
	case <-r.dispatcher.Ready(): // accepting before the queue is loaded would let mail wait unscheduled
		go func() { served <- r.server.Serve() }()
		r.local.collect(dispatching)
		r.reports.start(r.acceptor)
		r.log.Info("ready", "deliveries", r.dispatcher.Stats().Queued, "start_took", time.Since(r.began).Round(time.Millisecond))
	case err := <-dispatched:
		return errors.Join(err, r.Close())
	case <-ctx.Done():
	}

	var failed error
	select {
	case <-ctx.Done():
	case failed = <-r.distrusted:
	case err := <-served:
		failed = fmt.Errorf("accepting connections ended: %w", err)
	case err := <-dispatched:
		failed = fmt.Errorf("the dispatcher ended: %w", err)
		dispatched <- nil
	}
	stopDispatching() // both drain at the same time
	drain, cancel := context.WithTimeout(context.Background(), drainClients)
	defer cancel()
	if err := r.server.Shutdown(drain); err != nil {
		r.log.Warn("clients were cut off; what they were sending was not acknowledged", "err", err)
	}
	failed = errors.Join(failed, <-dispatched, r.Close())
	if failed == nil {
		r.log.Info("stopped; the queue is closed")
	}
	return failed
}

// Close closes what newInstance and listen opened, except connections and
// attempts, which run has ended.
func (r *instance) Close() error {
	if r.http != nil {
		r.http.Close()
	} else if r.httpL != nil {
		r.httpL.Close()
	}
	if r.socket != nil {
		r.socket.Close()
	}
	if r.socketL != nil {
		r.socketL.Close()
	}
	r.local.Close()
	if r.keys != nil {
		r.keys.Close()
	}
	r.ledger.Close()
	r.heldRoutes.Close()
	r.reports.Close()
	var errs []error
	r.logins.Close()
	if r.transport != nil {
		errs = append(errs, r.transport.Close())
	}
	if err := r.queue.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close the queue: %w", err))
	}
	if r.records != nil {
		if err := r.records.Close(); err != nil {
			r.log.Warn("the end of the history may be missing", "error", err)
		}
	}
	return errors.Join(errs...)
}

// signAnew signs content that was changed for a route.
func (r *instance) signAnew(route string, content relay.Content) ([]byte, error) {
	if r.cfg.Unsigned(mx.RoutePrefix + route) {
		return nil, nil
	}
	return r.signer.Sign(content)
}
