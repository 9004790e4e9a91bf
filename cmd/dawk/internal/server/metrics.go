package server

import (
	"bytes"
	"context"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/metrics"
	"dawk/mx/dns"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/replies"
	"dawk/relay/tlsrpt"
	"dawk/relay/webhook"
)

// newMetrics makes the metrics.
func newMetrics(cfg *config.Config) *metrics.Set {
	categories := make([]string, 0, len(replies.Categories()))
	for _, c := range replies.Categories() {
		categories = append(categories, string(c))
	}
	return metrics.New(metrics.Names{Version: Version(), Providers: providers(cfg), Categories: categories, TLSResults: tlspolicy.Results(),
		Classify: func(reply relay.Reply) string { return string(replies.Classify(reply)) }})
}

// providers are those with a rule of their own.
func providers(cfg *config.Config) []string {
	rules, err := cfg.Shaping()
	if err != nil { // it was checked
		return nil
	}
	return rules.Names()
}

// state is how the relay is at this moment.
func (s *Server) state() metrics.State {
	now := metrics.State{Queue: s.queueMetrics(), Delivery: s.deliveryMetrics(), Accepting: s.readiness() == nil, Clients: s.smtp.Connections(),
		RoutesHeld: s.routesHeld(), RoutesDown: s.routesDown(), Budgets: s.budgetMetrics(), Providers: s.providerMetrics(), IdentitiesHeld: len(s.ledger.Holds())}
	now.ConfigLoaded, now.ConfigStale = s.running.state(s.now().cfg)
	if users := s.now().users; users != nil {
		now.UsersBroken = users.Trouble() != nil
	}
	if certs := s.now().certs; certs != nil {
		now.CertificateExpiry = certs.NotAfter()
	}
	if a := s.now().authority; a != nil {
		now.CertificateFails = a.Status().Failures
	}
	if s.host.LostLines != nil {
		now.LogLinesLost = s.host.LostLines()
	}
	if s.records != nil {
		now.HistoryLost = s.records.Lost()
	}
	if q, ok := s.queue.(shared); ok {
		c := q.Cluster()
		now.ClusterNodes, now.ClusterPartitions = c.Working()
	}
	now.OutboxLost = s.queue.Outbox().OutboxStats().Lost
	for _, h := range s.now().hooks.List() {
		now.Webhooks = append(now.Webhooks, metrics.Webhook{Name: h.Name, Delivered: h.Delivered, Failed: h.Failed, Pending: h.Pending, Ended: h.State == webhook.Ended})
	}
	return now
}

func (s *Server) queueMetrics() metrics.Queue {
	st, f := s.queue.Stats(), s.fileStats()
	return metrics.Queue{Messages: st.Messages, SetAside: st.Quarantined, FileBytes: f.FileBytes, FreeBytes: f.FreeBytes,
		Journal: f.JournalBytes, Checkpoints: uint64(f.Checkpoints),
		DiskFree: f.DiskFree, Room: f.Room, Limit: f.Limit}
}

func (s *Server) deliveryMetrics() metrics.Delivery {
	st := s.dispatcher.Stats()
	delayed := make(map[string]int, len(st.Reasons))
	for _, n := range st.Reasons {
		delayed[n.Name] = n.Count
	}
	return metrics.Delivery{Delayed: delayed, Ready: st.Ready, Deferred: st.Deferred, Future: st.Future, Held: st.Held, InFlight: st.InFlight,
		Connections: st.Connections, Waiting: st.Waiting, GivenUp: st.GivenUp, Resting: st.Resting, OldestArrival: st.OldestArrival, Adrift: st.Adrift,
		Corrupt: st.Corrupt, Unsaved: st.Unsaved, Stranded: st.Stranded}
}

// providerMetrics sums the providers up by the names that rules give them.
func (s *Server) providerMetrics() map[string]metrics.Provider {
	out := make(map[string]metrics.Provider)
	for _, p := range s.dispatcher.Providers() {
		name := s.metrics.ProviderLabel(p.Name)
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

// newTLSCount counts each session with an MX host, for the metrics and for the
// reports to its owner.
func newTLSCount(m *metrics.Set, counters *tlsrpt.Counters) func(tlsrpt.Session) {
	return func(t tlsrpt.Session) {
		policy := "none"
		switch {
		case t.Type == "tlsa":
			policy = "dane"
		case t.Type == "sts" && t.Testing:
			policy = "mta-sts-testing"
		case t.Type == "sts":
			policy = "mta-sts"
		}
		m.TLSSession(policy, t.Result)
		if counters != nil {
			counters.Add(time.Now(), t)
		}
	}
}

// reportWay is how TLS reports leave.
type reportWay struct{ s *Server }

func (w reportWay) Record(ctx context.Context, name string) (records []string, temporary bool, err error) {
	answer, err := w.s.now().resolver.LookupTXT(ctx, name)
	return answer.Records, dns.Temporary(err), err
}

func (w reportWay) Post(ctx context.Context, to string, packed []byte) error {
	return w.s.now().transport.PostReport(ctx, to, packed)
}

// Mail uses the null reverse-path and NOTIFY=NEVER: nobody hears of a report
// that cannot be delivered.
func (w reportWay) Mail(ctx context.Context, to relay.Path, message []byte) error {
	_, err := w.s.now().acceptor.Submit(ctx, accept.Submission{Submitter: accept.Submitter{Identity: "dawk", Listener: "tlsrpt", Protocol: "ESMTP"},
		Envelope: relay.Envelope{Recipients: []relay.Recipient{{Path: to, Notify: relay.NotifyNever}}}, Content: bytes.NewReader(message)})
	return err
}

func (s *Server) budgetMetrics() map[string]metrics.Budget {
	all := map[string]metrics.Budget{}
	for _, b := range s.now().transport.Budgets() {
		all[b.Route] = metrics.Budget{
			PerMinute: b.Limit.PerMinute, MessagesPerDay: b.Limit.MessagesPerDay, RecipientsPerDay: b.Limit.RecipientsPerDay,
			UsedPerMinute: b.Used.PerMinute, UsedMessagesPerDay: b.Used.MessagesPerDay, UsedRecipientsPerDay: b.Used.RecipientsPerDay,
			Until: b.Until,
		}
	}
	return all
}
