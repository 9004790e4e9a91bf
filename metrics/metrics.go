// Package metrics counts what happens and reports the state of the relay, for
// Prometheus.
//
// It owns the names (docs/metrics.md, kept in agreement by a test), a registry
// of its own, and the alert rules that are shipped with it ([Alerts]). It does
// not decide what happened: it observes events, and asks for the [State] when
// it is scraped. It has no goroutines; the registry has the only lock.
//
// Rules: base units; every label has a closed set of values, listed in
// labels.go, and every series exists from the first scrape on, so that a rate
// over a counter is right from its first event. No address, no domain, no name
// of a user and no word of a stranger ever becomes a label.
package metrics

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"dawk/relay"
)

// Names are the closed sets of values that come from elsewhere.
type Names struct {
	Version   string   // of the program
	Providers []string // with a rule of their own
	// Classify names the category of a reply that was not positive, one of
	// Categories (package bounce).
	Classify   func(relay.Reply) string
	Categories []string
	// TLSResults are what TLSSession may be told (package mx).
	TLSResults []string
}

// State is how the relay is at one moment.
type State struct {
	Queue             Queue
	Delivery          Delivery
	Accepting         bool                // new mail is taken
	Clients           int                 // connections that are open
	RoutesHeld        map[string]bool     // the routes with a login, and whether each is held
	RoutesDown        map[string]bool     // the routes with a smart host, and whether mail waits since it lets nobody in
	UsersBroken       bool                // the users file cannot be read
	Budgets           map[string]Budget   // of the routes that have one
	Providers         map[string]Provider // that have something to do or were slowed lately, by ProviderLabel
	IdentitiesHeld    int
	CertificateFails  int       // tries to get a certificate from its authority, since the last success
	CertificateExpiry time.Time // of the first of our listeners' certificates that ends; zero: there is none
	ConfigLoaded      time.Time // since when the configuration is in force
	ConfigStale       bool      // the file holds another
	LogLinesLost      uint64    // lines that the reader of the log did not take in time
	HistoryLost       uint64    // events that the history could not keep
	OutboxLost        uint64    // events that the outbox could not keep
	Webhooks          []Webhook
	ClusterNodes      int // that share the queue, with this one; 0: it is in files
	ClusterPartitions int // that are this one's
}

// Webhook is what became of the events of one webhook.
type Webhook struct {
	Name              string
	Delivered, Failed int64 // since it was made
	Pending           int
	Ended             bool
}

// Queue is the state of the store. Sizes in octets.
type Queue struct {
	Messages  int64 // queued
	SetAside  int64 // damaged records, put aside
	FileBytes int64 // of the queue file
	FreeBytes int64 // of its pages that hold nothing
	Journal   int64 // of records that the queue file lacks

	Checkpoints uint64 // since the start
	DiskFree    int64  // of the file system
	Room        int64  // for new mail
	Limit       int64  // room below which new mail is refused
}

// Delivery is the state of the scheduler. The states add up to all Deliveries.
type Delivery struct {
	Ready, Deferred, Future, Held, InFlight int

	Delayed map[string]int // by the reason of the last delay, one of Categories

	Connections   int       // outward
	Waiting       int       // attempts that wait for a slot alone
	GivenUp       uint64    // slots that attempts at silent hosts gave up
	Resting       int       // destinations that are left alone for a while
	OldestArrival time.Time // zero: the queue is empty
	Adrift        int       // Deliveries without exactly one next event
	Corrupt       uint64    // Deliveries whose record turned out damaged, since the start
	Unsaved       uint64    // settlements that had to be tried again, since the start
	Stranded      uint64    // Deliveries that the watchdog had to wake, since the start
}

// Provider is what one of the providers takes now, and what waits for it.
type Provider struct {
	Ready       int // Deliveries that wait for their turn
	Connections int // in use
	Limit       int // of Connections, now
	Slowed      int // it told us to slow down within the last hour: 1, or how many there are under one name
}

// Set is all metrics of a relay. It is a relay.Observer.
type Set struct {
	rules    atomic.Pointer[[]string] // providers with a rule of their own
	registry *prometheus.Registry
	names    Names

	accepted, acceptedBytes, acceptedRecipients prometheus.Counter
	connections, unknown, dropped, suppressed   prometheus.Counter
	refused, logins, attempts, visits, outcomes *prometheus.CounterVec
	notices, holds, identityHolds               *prometheus.CounterVec
	tlsSessions                                 *prometheus.CounterVec
	providerSlowed, providerOutcomes            *prometheus.CounterVec
	commitSeconds, acceptSeconds                prometheus.Histogram
	attemptSeconds                              prometheus.Histogram
	ageSeconds                                  *prometheus.HistogramVec
	lastSuccess                                 prometheus.Gauge
}

// New makes the metrics, with a registry of their own.
func New(n Names) *Set {
	m := &Set{registry: prometheus.NewRegistry(), names: n}
	m.makeCounters()
	m.makeHistograms()
	m.zero()
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "dawk_build_info", Help: "Always 1; the labels tell which program runs.",
		ConstLabels: prometheus.Labels{"version": n.Version, "goversion": runtime.Version()}})
	build.Set(1)
	m.registry.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Set) makeCounters() {
	m.accepted = m.counter("dawk_messages_accepted_total", "Messages accepted: on stable storage, and answered with 250.")
	m.acceptedBytes = m.counter("dawk_accepted_bytes_total", "Octets of the messages accepted.")
	m.acceptedRecipients = m.counter("dawk_recipients_accepted_total", "Recipients of the messages accepted.")
	m.refused = m.counters("dawk_refused_total", "What clients were refused, by reason: connections, commands, recipients, messages.", "reason")
	m.logins = m.counters("dawk_logins_total", "Logins of clients, by result.", "result")
	m.connections = m.counter("dawk_connections_total", "Client connections accepted.")
	m.visits = m.counters("dawk_delivery_sessions_total",
		"Hosts that delivery attempts turned to, several an attempt where one was given up, by the same as dawk_attempts_total.", "tls", "level")
	m.attempts = m.counters("dawk_attempts_total",
		"Delivery attempts that ended, by the TLS version spoken (unreached: no server spoke), and by the level reached with the last host (none: no session came about).", "tls", "level")
	m.outcomes = m.counters("dawk_outcomes_total",
		"Outcomes of recipients. A delayed recipient counts at each attempt. reason: the category of the reply (docs/bounces.md), none where there was no trouble.", "action", "reason")
	m.tlsSessions = m.counters("dawk_tls_sessions_total",
		"Sessions with MX hosts, by the policy of the other side that was looked at, and by the result in the words of RFC 8460.", "policy", "result")
	m.unknown = m.counter("dawk_unknown_outcomes_total",
		"Attempts without an answer to the final dot: their recipients may get the message twice (RFC 1047).")
	m.providerSlowed = m.counters("dawk_provider_slowdowns_total", "Times that a provider said that we send too much at a time, and got fewer connections.", "provider")
	m.providerOutcomes = m.counters("dawk_provider_outcomes_total", "What became of recipients by MX, once a recipient and attempt, by who runs the MX hosts.", "provider", "action")
	m.notices = m.counters("dawk_notices_total", "Notices put into the queue, by kind.", "kind")
	m.suppressed = m.counter("dawk_suppressed_total", "Recipients that nothing was sent to, since they are on the suppression list.")
	m.dropped = m.counter("dawk_double_bounces_dropped_total", "Failures that nobody was told: no postmaster, or not reachable.")
	m.holds = m.counters("dawk_holds_total", "Deliveries put on hold and released.", "action")
	m.identityHolds = m.counters("dawk_identity_holds_total", "Users put on hold because their mail looked like that of a thief, by reason.", "reason")
	m.lastSuccess = prometheus.NewGauge(prometheus.GaugeOpts{Name: "dawk_last_success_timestamp_seconds",
		Help: "When a recipient was last relayed or delivered; 0: not since the start."})
	m.registry.MustRegister(m.lastSuccess)
}

func (m *Set) makeHistograms() {
	const minute, hour, day = 60, 3600, 86400
	m.commitSeconds = m.histogram("dawk_commit_seconds", "Duration of the queue's commits.",
		.0005, .001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5)
	m.acceptSeconds = m.histogram("dawk_accept_seconds", "Duration of acceptance, from the end of the content to the 250.",
		.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 15)
	m.attemptSeconds = m.histogram("dawk_attempt_seconds", "Duration of delivery attempts.",
		.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, minute, 2*minute, 5*minute, 10*minute, 30*minute)
	m.ageSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "dawk_delivery_age_seconds",
		Help:    "Time from the arrival of a message to the final outcome of each recipient.",
		Buckets: []float64{1, 5, 15, minute, 5 * minute, 15 * minute, hour, 4 * hour, 12 * hour, day, 2 * day, 5 * day}}, []string{"action"})
	m.registry.MustRegister(m.ageSeconds)
}

func (m *Set) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Set) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

func (m *Set) histogram(name, help string, buckets ...float64) prometheus.Histogram {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets})
	m.registry.MustRegister(h)
	return h
}

// Handler answers a scrape.
func (m *Set) Handler(now func() State) http.Handler {
	return promhttp.HandlerFor(m.Gatherer(now), promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// Gatherer gives what was counted, and the state that now tells. It is asked once
// a scrape, so that the numbers of one scrape belong together; it must be cheap,
// and safe to call at any time.
func (m *Set) Gatherer(now func() State) prometheus.Gatherer {
	states := prometheus.NewRegistry()
	states.MustRegister(collector{m, now})
	return prometheus.Gatherers{m.registry, states}
}

// Commit counts one commit of the queue.
func (m *Set) Commit(d time.Duration) { m.commitSeconds.Observe(d.Seconds()) }
