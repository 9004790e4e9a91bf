// Package server builds one relay out of its parts, runs it, changes its
// configuration, and stops it.
//
// New opens the parts from the bottom up, each with those that it needs as
// arguments; Listen opens the doors; Run starts every goroutine and waits for
// all of them before it returns. What was opened is closed in the reverse order,
// also when a later step fails. All that follows from the configuration is a
// setup, which Reload makes anew and swaps. Server.swap guards the swap,
// running.reload a whole reload, running.mu what is told of it. Begin reading at
// New, then setup.
package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/metrics"
	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/queue/common"
	"dawk/queue/postgres/wish"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin"
	"dawk/relay/admin/acts"
	"dawk/relay/admin/audit"
	"dawk/relay/admin/door"
	"dawk/relay/admin/kept"
	"dawk/relay/admin/past"
	"dawk/relay/admin/traffic"
	"dawk/relay/delivery"
	"dawk/relay/history"
	"dawk/relay/httpapi"
	"dawk/relay/identity"
	"dawk/relay/limits/share"
	"dawk/relay/postmaster"
	"dawk/relay/submission"
	"dawk/relay/suppression"
	"dawk/relay/tlsrpt"
	"dawk/relay/unsubscribe"
)

// The wiring in six lines: who stands behind the interfaces.
var (
	_ accept.Queue             = (*boltstore.Store)(nil)
	_ submission.Authenticator = (*identity.Users)(nil)
	_ delivery.Queue           = (*boltstore.Store)(nil)
	_ delivery.Transport       = outward{}
	_ admin.Queue              = (*boltstore.Store)(nil)
	_ relay.Observer           = (*metrics.Set)(nil)
)

// A stop takes at most ten seconds in all.
const (
	drainClients  = 6 * time.Second // messages in transfer
	drainAttempts = 6 * time.Second // delivery attempts, at the same time
	leaveClients  = 2 * time.Second // before that, sessions that end by themselves in a hand-over
)

// Host is what the process around a relay gives it.
type Host struct {
	Log       *slog.Logger
	Configure func(config.LogConfig) // makes the log what a reload says; nil: it stays
	LostLines func() uint64          // that the log could not take; nil: nobody counts
}

// Server is one relay.
type Server struct {
	host  Host
	log   *slog.Logger
	began time.Time

	setup   atomic.Pointer[setup] // what a reload replaces
	swap    sync.RWMutex          // held while it is replaced, and while an attempt takes it
	running *running

	inherited  *inherited // sockets of systemd, or of the process before
	metrics    *metrics.Set
	devices    *admin.Devices
	records    *history.Store // nil: none are kept
	recent     *past.History
	traffic    *admin.Traffic
	rates      traffic.RateCounter
	senders    traffic.Senders
	audit      *audit.Log  // who did what
	acts       *kept.Store // what acts leave behind
	observer   relay.Observers
	queue      queue.Store
	desk       *wish.Desk       // acts on mail of other nodes; nil: there are none
	files      *boltstore.Store // it; nil where the queue is in a database
	distrusted chan error       // the queue no longer trusts its disk
	shares     *share.Shares    // of limits; nil: they are all ours
	purses     *common.Purses   // of what machines count together; nil: nobody else counts
	adopted    chan struct{}    // the queue has rows of lists that were another machine's
	ledger     *identity.Ledger // what users have sent
	counters   *tlsrpt.Counters
	tickets    *submission.Tickets
	holds      *holds // of routes
	letters    *postmaster.Holds
	suppressed *suppression.List // who gets no mail any more
	returns    *returned         // nil: no signed return addresses
	tokens     *unsubscribe.Tokens
	dispatcher *delivery.Dispatcher
	backoff    *identity.Backoff // counts failed logins, at all doors together
	keys       *httpapi.Keys     // of idempotency; nil: not opened yet
	smtp       *submission.Server

	local    localDoor // for programs of this machine
	http     *httpDoor // nil: no HTTP
	sockets  []commandSocket
	sessions *door.Sessions // of people who have logged in over HTTP

	kept   []*os.File     // sockets that outlast the relay: see HandOver
	opened []func() error // what closes the parts; the last goes first
}

// New builds a relay that does nothing yet. observers see every event, after the
// log and the metrics. It returns at once, but where the queue is in a database that
// cannot be reached, or that another machine works with: then ctx ends the wait.
func New(ctx context.Context, cfg *config.Config, host Host, observers ...relay.Observer) (*Server, error) {
	if host.Configure == nil {
		host.Configure = func(config.LogConfig) {}
	}
	s := &Server{host: host, log: host.Log, began: time.Now(), distrusted: make(chan error, 1), adopted: make(chan struct{}, 1), sessions: door.NewSessions()}
	s.running = newRunning(s.began)
	warnOfHostname(cfg, s.log)
	if err := s.open(ctx, cfg, observers); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func warnOfHostname(cfg *config.Config, log *slog.Logger) {
	if !strings.Contains(cfg.Hostname, ".") {
		log.Warn("hostname is not a full name, and receivers refuse mail from such a host: set it to this machine's full name in DNS", "hostname", cfg.Hostname)
	}
}

// open makes the parts, each out of those before it.
func (s *Server) open(ctx context.Context, cfg *config.Config, observers []relay.Observer) (err error) {
	if s.inherited, err = inheritSockets(); err != nil {
		return err
	}
	s.closeLater(func() error { s.inherited.Close(); return nil })
	s.metrics = newMetrics(cfg)
	st, err := s.newSetup(cfg, nil)
	if err != nil {
		return err
	}
	s.setup.Store(st)
	s.closeLater(func() error { s.now().logins.Close(); return nil })
	// The queue comes before everything else on disk: it locks the directory.
	if err = s.openQueue(ctx, cfg); err != nil {
		return err
	}
	var records past.Records // nil, and no nil *history.Store, where none are kept
	if s.records = openHistory(cfg, s.log); s.records != nil {
		records = s.records
	}
	s.traffic = new(admin.Traffic)
	if s.audit, err = audit.Open(cfg.AuditDir(), s.began); err != nil {
		return err
	}
	if s.acts, err = kept.Open(filepath.Join(cfg.DataDir, "acts"), cfg.Hostname); err != nil {
		return err
	}
	if err = acts.Recover(s.acts, s.audit); err != nil {
		return err
	}
	s.recent = past.NewHistory(past.DefaultHistory, records)
	s.devices = admin.NewDevices(devices(cfg))
	s.letters = postmaster.NewHolds(letters(cfg), time.Duration(cfg.Bounce.HeldNotice), s.log)
	s.observer = s.observers(observers)
	s.suppressed = suppression.New(cfg.DataDir, s.log)
	s.observer = append(s.observer, s.suppressed)
	if err := s.suppressed.Configure(cfg.SuppressionRules()); err != nil {
		return err
	}
	s.closeLater(s.suppressed.Close)
	if s.tokens, err = unsubscribe.Open(cfg.DataDir); err != nil {
		return err
	}
	if err := s.openReturns(st); err != nil {
		return err
	}
	if s.ledger, err = identity.OpenLedger(cfg.LedgerFile(), s.log); err != nil {
		return err
	}
	if s.purses != nil {
		s.ledger.Together(s.purses.Counts())
	}
	s.tickets = submission.OpenTickets(filepath.Join(cfg.DataDir, "tls-tickets.json"), s.log)
	if s.counters, err = tlsrpt.Open(filepath.Join(cfg.DataDir, "tlsrpt"), time.Now()); err != nil { // mail goes on without them
		s.log.Error("TLS reports: counters are missing", "err", err)
	}
	for _, h := range s.ledger.Holds() {
		s.letters.Observe(relay.Event{Kind: relay.EventIdentityHeld, Time: h.Since, Identity: h.Name, Rule: h.Rule})
	}
	s.holds = newHolds(s.observer)
	if err := s.complete(st, nil); err != nil {
		return err
	}
	s.queue.Outbox().SetLimits(cfg.OutboxLimits())
	s.closeLater(func() error { return s.now().transport.Close() })
	s.closeLater(s.closeKeys)
	s.dispatcher = delivery.New(s.deliveryConfig(cfg), s.queue, outward{s}, s.observer)
	s.backoff = identity.NewBackoff(cfg.Limits.AuthFailuresPerIP)
	smtp, auth := s.submissionConfig(st)
	if s.smtp, err = submission.NewServer(smtp, st.acceptor, auth, s.observer); err != nil {
		return err
	}
	return s.openReturnDoor(st)
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
	all = append(all, s.devices, s.letters, s.metrics, s.recent, s.traffic, &s.rates, &s.senders, delivery.NewLogObserver(s.log))
	return append(all, others...)
}

func letters(cfg *config.Config) postmaster.Letters {
	return postmaster.Letters{Hostname: cfg.Hostname, To: cfg.PostmasterPath()}
}

func (s *Server) closeKeys() error {
	if s.keys != nil {
		s.keys.Close()
	}
	return nil
}

func (s *Server) canConvert(c relay.Content) bool { return s.now().converter.Can(c) }

// deliveryConfig is what c says about deliveries.
func (s *Server) deliveryConfig(c *config.Config) delivery.Config {
	cfg := c.DeliveryConfig(s.log)
	cfg.Grace = drainAttempts
	cfg.Limits = delivery.Limits{
		Reserve:  func(destination string) time.Time { return s.now().transport.Reserve(destination) },
		Provider: func(destination string) string { return s.now().transport.Provider(destination) },
		Allowance: func(provider string) delivery.Allowance {
			rule := s.now().transport.Allowance(provider)
			return delivery.Allowance{Connections: cmp.Or(rule.Connections, -1), Rate: rule.Rate, RecipientRate: rule.RecipientRate, Recipients: rule.Recipients}
		},
		Spend: s.spend,
		Priority: func(identity string) relay.Priority {
			if users := s.now().users; users != nil {
				return users.Priority(identity)
			}
			return relay.PriorityNormal
		}}
	cfg.Notices.Sign = func(m *relay.Message, content relay.Content) ([]byte, error) { return s.now().signer.Sign(m, content) }
	cfg.Notices.Bounce.SevenBit = s.canConvert
	cfg.Notices.Room = s.queue.Room
	return cfg
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
	return s.now().acceptor.Submit(context.WithoutCancel(ctx), m)
}
