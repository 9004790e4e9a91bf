// Package server builds one relay out of its parts, runs it and stops it.
//
// New opens the parts from the bottom up, each with those that it needs as
// arguments; Listen opens the doors; Run starts every goroutine and waits for
// all of them before it returns. What was opened is closed in the reverse order,
// also when a later step fails. The package has no locks. Begin reading at New.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
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
	"dawk/relay/postmaster"
	"dawk/relay/sevenbit"
	"dawk/relay/submission"
	"dawk/relay/tlsrpt"
)

// The wiring in six lines: who stands behind the interfaces.
var (
	_ accept.Queue             = (*boltstore.Store)(nil)
	_ submission.Authenticator = (*identity.Users)(nil)
	_ delivery.Queue           = (*boltstore.Store)(nil)
	_ delivery.Transport       = (*mx.Transport)(nil)
	_ admin.Queue              = (*boltstore.Store)(nil)
	_ relay.Observer           = (*metrics.Set)(nil)
)

// A stop takes at most ten seconds in all.
const (
	drainClients  = 6 * time.Second // messages in transfer
	drainAttempts = 6 * time.Second // delivery attempts, at the same time
)

// Server is one relay.
type Server struct {
	cfg   *config.Config
	log   *slog.Logger
	began time.Time

	running   running
	lostLines func() uint64 // that the log could not take; nil: nobody counts

	inherited  *inherited // sockets of systemd
	metrics    *metrics.Set
	devices    *admin.Devices // nil: no listener is for devices
	records    *history.Store // nil: none are kept
	recent     *admin.History
	traffic    *admin.Traffic
	observer   relay.Observers
	signer     dkim.Mail
	converter  sevenbit.Converter // of 8-bit content, for hosts that take none
	resolver   *dns.Resolver
	queue      *boltstore.Store
	distrusted chan error // the queue no longer trusts its disk
	users      *identity.Users
	ledger     *identity.Ledger // what users have sent
	counters   *tlsrpt.Counters // nil: neither DANE nor MTA-STS
	holds      *holds           // of routes
	letters    *postmaster.Holds
	logins     config.Logins // of routes
	transport  *mx.Transport
	dispatcher *delivery.Dispatcher
	acceptor   *accept.Acceptor // the rules for new messages
	backoff    *identity.Backoff
	certs      *submission.Certificates // nil: no listener speaks TLS
	smtp       *submission.Server

	local    localDoor // for programs of this machine
	http     *http.Server
	httpDoor *httpapi.Door // nil: no HTTP
	socket   *http.Server
	socketL  net.Listener

	opened []func() error // what closes the parts; the last goes first
}

// New builds a relay that does nothing yet. lostLines counts the lines that the
// log could not take, for the metrics; nil: nobody counts. observers see every
// event, after the log and the metrics.
func New(cfg *config.Config, log *slog.Logger, lostLines func() uint64, observers ...relay.Observer) (*Server, error) {
	s := &Server{cfg: cfg, log: log, lostLines: lostLines, began: time.Now(), distrusted: make(chan error, 1)}
	s.running.cfg, s.running.loaded = cfg, s.began
	if !strings.Contains(cfg.Hostname, ".") {
		log.Warn("hostname is not a full name, and receivers refuse mail from such a host: set it to this machine's full name in DNS", "hostname", cfg.Hostname)
	}
	if err := s.open(observers); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// open makes the parts, each out of those before it.
func (s *Server) open(observers []relay.Observer) (err error) {
	if s.inherited, err = inheritSockets(); err != nil {
		return err
	}
	s.closeLater(func() error { s.inherited.Close(); return nil })
	s.metrics = newMetrics(s.cfg)
	way, err := s.openRouting()
	if err != nil {
		return err
	}
	// The queue comes before everything else on disk: it locks the directory.
	if s.queue, err = openQueue(s.cfg, s.log, way.routing, s.metrics, s.distrusted); err != nil {
		return err
	}
	s.closeLater(s.closeQueue)
	var records admin.Records // nil, and no nil *history.Store, where none are kept
	if s.records = openHistory(s.cfg, s.log); s.records != nil {
		records = s.records
	}
	s.traffic = new(admin.Traffic)
	s.recent = admin.NewHistory(admin.DefaultHistory, records)
	s.devices = newDevices(s.cfg.Listeners)
	s.letters = postmaster.NewHolds(s.postmaster(), time.Duration(s.cfg.Bounce.HeldNotice), s.log)
	s.observer = s.observers(observers)
	keys, err := dkim.Open(s.cfg.DKIMKeys(), s.log)
	if err != nil {
		return err
	}
	s.signer = dkim.Mail{Keys: keys, Destination: way.routing.Destination, Unsigned: s.cfg.Unsigned}
	s.converter = sevenbit.Converter{Dir: s.cfg.DataDir, Owns: keys.Owns, Sign: keys.Sign}
	if s.cfg.WantsUsers() {
		if s.users, err = identity.Open(s.cfg.Users.File, s.log); err != nil {
			return err
		}
	}
	if s.ledger, err = identity.OpenLedger(s.cfg.LedgerFile(), s.log); err != nil {
		return err
	}
	s.counters = openCounters(s.cfg, s.log)
	for _, h := range s.ledger.Holds() {
		s.letters.Observe(relay.Event{Kind: relay.EventIdentityHeld, Time: h.Since, Identity: h.Name, Rule: h.Rule})
	}
	s.holds = newHolds(s.observer)
	if err := s.openTransport(way); err != nil {
		return err
	}
	s.openDispatcher()
	return s.openSMTP()
}

func (s *Server) closeLater(f func() error) { s.opened = append(s.opened, f) }

// Close closes a relay that does not run. Run does it by itself.
func (s *Server) Close() (err error) {
	for len(s.opened) > 0 {
		last := len(s.opened) - 1
		err = errors.Join(err, s.opened[last]())
		s.opened = s.opened[:last]
	}
	return err
}

// way is where mail goes, and what is known so far of the transport that will
// take it there.
type way struct {
	routing *mx.Routing
	cfg     mx.Config
}

// openRouting makes the resolver, the logins of routes, and of them the routing.
// None of it opens a file.
func (s *Server) openRouting() (w way, err error) {
	rc := s.cfg.ResolverConfig()
	rc.Log = s.log
	if s.resolver, err = dns.NewResolver(rc); err != nil {
		return w, fmt.Errorf("dns: %w", err)
	}
	if w.cfg, err = s.cfg.MXConfig(s.log); err != nil {
		return w, err
	}
	w.cfg.Resolver = s.resolver
	if s.logins, err = s.cfg.Logins(&w.cfg, s.log); err != nil {
		return w, err
	}
	s.closeLater(func() error { s.logins.Close(); return nil })
	w.routing, err = mx.NewRouting(w.cfg)
	return w, err
}

func openQueue(cfg *config.Config, log *slog.Logger, routing *mx.Routing, m *metrics.Set, distrusted chan<- error) (*boltstore.Store, error) {
	opt := cfg.QueueOptions(log)
	opt.Destination, opt.CommitSeconds = routing.Destination, m.Commit
	opt.Fatal = func(err error) { distrusted <- err }
	return boltstore.Open(opt)
}

func (s *Server) closeQueue() error {
	if err := s.queue.Close(); err != nil {
		return fmt.Errorf("close the queue: %w", err)
	}
	return nil
}

// openHistory never fails: mail goes on without a history.
func openHistory(cfg *config.Config, log *slog.Logger) *history.Store {
	if cfg.History.Keep == 0 {
		return nil
	}
	records, err := history.Open(cfg.HistoryOptions(log))
	if err != nil {
		log.Warn("no history is kept; mail is not affected", "error", err)
		return nil
	}
	return records
}

// observers are all who see events, in order. The log comes after the counts:
// what a line tells has been counted by then.
func (s *Server) observers(others []relay.Observer) (all relay.Observers) {
	if s.records != nil {
		all = append(all, s.records)
	}
	if s.devices != nil {
		all = append(all, s.devices)
	}
	all = append(all, s.letters, s.metrics, s.recent, s.traffic, delivery.NewLogObserver(s.log))
	return append(all, others...)
}

// signAnew signs a message whose content was changed for a route.
func (s *Server) signAnew(route string, m *relay.Message, content relay.Content) ([]byte, error) {
	return s.signer.SignFor(mx.RoutePrefix+route, m, content)
}

func (s *Server) postmaster() postmaster.Letters {
	return postmaster.Letters{Hostname: s.cfg.Hostname, To: s.cfg.PostmasterPath()}
}

// openTransport makes what delivers.
func (s *Server) openTransport(w way) (err error) {
	cfg := w.cfg
	cfg.Own, cfg.OnHold = s.cfg.OwnAddresses(), s.holds.note
	cfg.BudgetFile, cfg.Sign = filepath.Join(s.cfg.DataDir, "budgets.json"), s.signAnew
	cfg.SevenBit = s.converter.Convert
	cfg.PolicyDir, cfg.OnTLS = filepath.Join(s.cfg.DataDir, "mta-sts"), newTLSCount(s.metrics, s.counters)
	if s.transport, err = w.routing.Transport(cfg); err != nil {
		return err
	}
	s.closeLater(s.transport.Close)
	return nil
}

func (s *Server) openDispatcher() {
	s.dispatcher = delivery.New(s.deliveryConfig(s.cfg), s.queue, s.transport, s.observer)
}

// deliveryConfig is what c says about deliveries.
func (s *Server) deliveryConfig(c *config.Config) delivery.Config {
	cfg := c.DeliveryConfig(s.log)
	cfg.Grace = drainAttempts
	cfg.Limits = delivery.Limits{Reserve: s.transport.Reserve, Provider: s.transport.Provider,
		Allowance: func(provider string) delivery.Allowance {
			rule := s.transport.Allowance(provider)
			return delivery.Allowance{Connections: rule.Connections, Rate: rule.Rate, RecipientRate: rule.RecipientRate, Recipients: rule.Recipients}
		}}
	if s.users != nil {
		cfg.Limits.Priority = s.users.Priority
	}
	cfg.Notices.Sign, cfg.Notices.Bounce.SevenBit = s.signer.Sign, s.converter.Can
	cfg.Notices.Room = s.queue.Room
	return cfg
}

// openSMTP makes the rules of acceptance and the SMTP server.
func (s *Server) openSMTP() (err error) {
	rules := s.cfg.AcceptorConfig(s.log)
	rules.Sign, rules.Ledger, rules.Refuses = s.signer.Sign, s.ledger, s.transport.Refuses
	if s.acceptor, err = accept.New(rules, s.queue, s.observer); err != nil {
		return err
	}
	cfg := s.cfg.SubmissionConfig(s.log)
	s.backoff = identity.NewBackoff(cfg.AuthFailuresPerIP) // counts failed logins, at all doors together
	cfg.Listen, cfg.Backoff = s.inherited.listen, s.backoff
	if s.cfg.NeedsTLS() {
		if s.certs, err = certificates(s.cfg, s.log); err != nil {
			return err
		}
		cfg.GetCertificate = s.certs.Get
	}
	var auth submission.Authenticator
	if s.users != nil {
		auth = s.users
	}
	if s.smtp, err = submission.NewServer(cfg, s.acceptor, auth, s.observer); err != nil {
		return err
	}
	return nil
}

// certificates are the configured pair, or a self-signed one that is made at
// the first start and kept in the data directory.
func certificates(cfg *config.Config, log *slog.Logger) (*submission.Certificates, error) {
	cert, key := cfg.TLS.Certificate, cfg.TLS.Key
	if cert == "" {
		var err error
		if cert, key, _, err = submission.SelfSigned(cfg.DataDir, cfg.Hostname); err != nil {
			return nil, err
		}
		log.Warn("no certificate is configured: TLS uses a self-signed one, which clients will not trust; set [tls] certificate and key", "certificate", cert)
	}
	return submission.LoadCertificates(cert, key, log)
}

// Ready is closed when the queue is loaded.
func (s *Server) Ready() <-chan struct{} { return s.dispatcher.Ready() }

// Addrs are the addresses of the SMTP listeners, in the order of the configuration.
func (s *Server) Addrs() []netip.AddrPort { return s.smtp.Addrs() }

// Commits is how many commits the queue has made.
func (s *Server) Commits() uint64 { return uint64(s.queue.Stats().Commits) }

// submit queues a message of the relay itself. A commit that is under way is
// waited for, whatever becomes of ctx.
func (s *Server) submit(ctx context.Context, m accept.Submission) (relay.QueueID, error) {
	return s.acceptor.Submit(context.WithoutCancel(ctx), m)
}
