package server

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"time"

	"dawk/cmd/dawk/internal/check"
	"dawk/cmd/dawk/internal/explain"
	"dawk/mx/shaping"
	"dawk/queue"
	"dawk/queue/boltstore"
	"dawk/relay"
	"dawk/relay/admin"
	"dawk/relay/admin/suppressed"
	"dawk/relay/admin/webhooks"
	"dawk/relay/delivery"
	"dawk/relay/webhook"
)

var _ admin.Dispatcher = operated{}

// adminHandler is what the command socket serves.
func (s *Server) adminHandler() http.Handler {
	cfg := admin.Config{
		Queue:      s.queue,
		Dispatcher: s.operator(),
		History:    s.recent,
		MaxAge:     func() time.Duration { return time.Duration(s.now().cfg.Queue.MaxAge) },
		Route:      outward{s}.Destination,
		HeldRoutes: s.heldRoutes,
		Troubles:   s.troubles,

		Audit: s.audit, Kept: s.acts,

		Began: s.began, Traffic: s.traffic, ConfigState: s.configState, Ends: s.ends,
		Routes: func() []string { return slices.Sorted(maps.Keys(s.routesHeld())) },

		Ready:   s.dispatching,
		Store:   s.storeStats,
		Version: Version(),
		Devices: s.devices,
		Explain: s.explain,
		Logins:  func() []admin.LoginStatus { return check.LoginStatuses(s.now().logins) },
		TestLogin: func(ctx context.Context, route string) (admin.LoginTest, error) {
			return check.TestLogin(ctx, s.now().transport, s.now().logins, route)
		},
		Budgets:       func() []shaping.BudgetState { return s.now().transport.Budgets() },
		Reload:        s.Reload,
		Drain:         s.drain,
		Draining:      s.drainsNow,
		Configuration: s.configuration,
		Holds:         s.userHolds,
		ReleaseUser:   s.releaseUser,
		Rates:         &s.rates,
		Events:        s.events,
		Suppressed:    s.suppressed.Entries,
		Identities:    s.identities,
		Check:         s.check,
		Log:           s.log,
	}
	if s.files != nil {
		cfg.Verify = func(ctx context.Context, progress func(done, total int64)) (admin.Report, error) {
			report, err := s.files.Verify(ctx, progress)
			return AdminReport(report), err
		}
		cfg.Compact = func(ctx context.Context) (admin.Report, error) { return Compact(ctx, s.files) }
		cfg.Backup = s.files.Backup
	}
	if q, ok := s.queue.(shared); ok {
		cfg.Cluster = func() *relay.Cluster {
			c := q.Cluster()
			return &c
		}
	}
	desk := suppressed.Desk{List: s.suppressed, Audit: s.audit, Log: s.log, Whose: s.tokens.Read}
	cfg.More = append(cfg.More, desk.Endpoints()...)
	hooks := webhooks.Desk{Hooks: func() *webhook.Hooks { return s.now().hooks }, Audit: s.audit, Log: s.log}
	cfg.More = append(cfg.More, hooks.Endpoints()...)
	if s.records != nil {
		cfg.Past = s.past
	}
	return admin.NewHandler(cfg)
}

// moment is how sentences write a time.
const moment = "2006-01-02 15:04:05 UTC"

var errDraining = errors.New("the relay is draining: it takes no mail, and ends when what is due has been attempted")

// dispatching says why nothing is delivered yet.
func (s *Server) dispatching() error {
	if s.running.draining() {
		return errDraining
	}
	select {
	case <-s.dispatcher.Ready():
		return nil
	default:
		return errors.New("the queue is being loaded")
	}
}

// troubles are of name servers, and of files that were read and are read again when they
// change.
func (s *Server) troubles() (all []admin.Trouble) {
	st := s.now()
	if out, on := st.resolver.Outage(); on {
		all = append(all, admin.Trouble{About: "dns", Text: fmt.Sprintf("no name server has given a useful answer since %s; at %s: %v",
			out.Since.UTC().Format(moment), out.Last.UTC().Format(moment), out.Err),
			Remedy: "see which one is silent: dawk check; then mend it, or correct [dns] servers or /etc/resolv.conf"})
	}
	if st.certs != nil {
		if err := st.certs.Trouble(); err != nil {
			all = append(all, admin.Trouble{About: "certificate", Text: err.Error(), Remedy: "put a valid certificate with its key there; it is taken by itself"})
		}
	}
	if st.authority != nil {
		if a := st.authority.Status(); a.Err != "" {
			all = append(all, admin.Trouble{About: "certificate", Text: "no certificate from the authority: " + a.Err,
				Remedy: "the one in use stays; it is asked again at " + a.Next.Format(time.RFC3339)})
		}
	}
	if st.users != nil {
		if err := st.users.Trouble(); err != nil {
			all = append(all, admin.Trouble{About: "users", Text: relay.Sanitize(err.Error()), Remedy: "mend the file; it is read again by itself"})
		}
	}
	return all
}

func (s *Server) storeStats() admin.StoreStats {
	st, f := s.queue.Stats(), s.fileStats()
	return admin.StoreStats{Messages: st.Messages, FileBytes: f.FileBytes, FreeBytes: f.FreeBytes, DiskFree: f.DiskFree, Room: f.Room, Corrupt: st.Quarantined}
}

// events is how far webhooks have come.
func (s *Server) events() admin.StatusEvents {
	st, now := s.queue.Outbox().OutboxStats(), s.now()
	return admin.StatusEvents{Webhooks: now.hooks.List(), OutboxBytes: st.Bytes, OutboxMax: now.cfg.OutboxLimits().MaxBytes, Lost: st.Lost, LostAt: st.LostAt}
}

// Compact rewrites the queue's file and says what that brought.
func Compact(ctx context.Context, q *boltstore.Store) (admin.Report, error) {
	before, _ := q.FileUse()
	if err := q.Compact(ctx); err != nil {
		return admin.Report{}, err
	}
	after, _ := q.FileUse()
	s := q.Stats()
	return admin.Report{Messages: s.Messages, Deliveries: s.Deliveries, Before: before, After: after}, nil
}

// AdminReport is what a check of the queue found, for the commands.
func AdminReport(r queue.Report) admin.Report {
	out := admin.Report{Messages: r.Messages, Deliveries: r.Deliveries, Problems: r.Problems, More: r.More, Notes: r.Notes}
	for _, s := range r.Quarantined {
		out.SetAside = append(out.SetAside, fmt.Sprint(s))
	}
	return out
}

// operated is the dispatcher with the counts that package admin shows.
type operated struct{ *delivery.Dispatcher }

func (o operated) Stats() admin.Stats {
	s := o.Dispatcher.Stats()
	return admin.Stats{Deliveries: s.Queued, InFlight: s.InFlight, Ready: s.Ready, Deferred: s.Deferred, Held: s.Held, Oldest: s.OldestArrival}
}

// explain answers `dawk explain` as the relay would act now.
func (s *Server) explain(ctx context.Context, from, to, who string) (admin.Explanation, error) {
	q, err := explain.ParseQuestion(from, to, who)
	if err != nil {
		return admin.Explanation{}, err
	}
	st := s.now()
	e := explain.Explainer{Config: st.cfg, Acceptor: st.acceptor, Transport: st.transport, Users: st.users, Ledger: s.ledger,
		Live: true, Toward: s.dispatcher.Toward, Suppressed: s.suppressed.Find}
	return e.Explain(ctx, q)
}
