package main

import (
	"time"

	"dawk/bounce"
	"dawk/metrics"
	"dawk/mx/tlspolicy"
	"dawk/relay"
)

// newMetrics makes the metrics before anything that they ask exists: they are
// asked when they are scraped, and the door for that opens last.
func (r *instance) newMetrics() *metrics.Set {
	categories := make([]string, 0, len(bounce.Categories()))
	for _, c := range bounce.Categories() {
		categories = append(categories, string(c))
	}
	var names []string
	if rules, err := r.cfg.Shaping(); err == nil { // checked
		names = rules.Names()
	}
	return metrics.New(metrics.Sources{
		Version:  version(),
		Queue:    r.queueMetrics,
		Delivery: r.deliveryMetrics,
		Accepting: func() bool {
			return r.readiness() == nil
		},
		RoutesHeld: r.routesHeld,
		Budgets:    r.budgetMetrics,
		Clients:    func() int { return r.server.Connections() },
		HistoryLost: func() uint64 {
			if r.records == nil {
				return 0
			}
			return r.records.Lost()
		},
		IdentitiesHeld: func() int { return len(r.ledger.Holds()) },
		CertificateExpiry: func() time.Time {
			if r.certs == nil {
				return time.Time{}
			}
			return r.certs.NotAfter()
		},
		Providers:     r.providerMetrics,
		ProviderNames: names,
		Classify:      func(reply relay.Reply) string { return string(bounce.Classify(reply)) },
		Categories:    categories,
		TLSResults:    tlspolicy.Results(),
	})
}

func (r *instance) queueMetrics() metrics.Queue {
	s, f := r.queue.Stats(), r.queue.FileStats()
	return metrics.Queue{Messages: s.Messages, SetAside: s.Quarantined, FileBytes: f.FileBytes, FreeBytes: f.FreeBytes,
		Journal: f.JournalBytes, Checkpoints: uint64(f.Checkpoints),
		DiskFree: f.DiskFree, Room: f.Room, Limit: f.Limit}
}

func (r *instance) deliveryMetrics() metrics.Delivery {
	s := r.dispatcher.Stats()
	delayed := make(map[string]int, len(s.Reasons))
	for _, n := range s.Reasons {
		delayed[n.Name] = n.Count
	}
	return metrics.Delivery{Delayed: delayed, Ready: s.Ready, Deferred: s.Deferred, Future: s.Future, Held: s.Held, InFlight: s.InFlight,
		Connections: s.Connections, Resting: s.Resting, OldestArrival: s.OldestArrival, Adrift: s.Adrift,
		Corrupt: s.Corrupt, Unsaved: s.Unsaved, Stranded: s.Stranded}
}

// providerMetrics sums the providers up by the names that rules give them.
func (r *instance) providerMetrics() map[string]metrics.Provider {
	out := make(map[string]metrics.Provider)
	for _, p := range r.dispatcher.Providers() {
		name := r.metrics.ProviderLabel(p.Name)
		sum := out[name]
		sum.Ready += p.Ready
		sum.Connections += p.Connections
		sum.Limit += p.Limit
		if !p.SlowedAt.IsZero() {
			sum.Slowed++
		}
		out[name] = sum
	}
	return out
}

// tlsSeen hears of each session with an MX host.
func (r *instance) tlsSeen(t tlspolicy.Report) {
	policy := "none"
	switch {
	case t.Type == "tlsa":
		policy = "dane"
	case t.Type == "sts" && t.Testing:
		policy = "mta-sts-testing"
	case t.Type == "sts":
		policy = "mta-sts"
	}
	r.metrics.TLSSession(policy, t.Result)
	r.reports.add(t)
}
