package metrics_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http/httptest"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"dawk/metrics"
	"dawk/mx/tlspolicy"
	"dawk/relay"
	"dawk/relay/replies"
)

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// set is the metrics as cmd/dawk makes them, with a fixed state.
// scraped is a set of metrics with the state of its relay.
type scraped struct {
	*metrics.Set
	now func() metrics.State
}

func (s scraped) Gatherer() prometheus.Gatherer { return s.Set.Gatherer(s.now) }

func set() scraped {
	var categories []string
	for _, c := range replies.Categories() {
		categories = append(categories, string(c))
	}
	m := metrics.New(metrics.Names{
		Version:    "test",
		Providers:  []string{"google"},
		Classify:   func(r relay.Reply) string { return string(replies.Classify(r)) },
		Categories: categories,
		TLSResults: tlspolicy.Results(),
	})
	return scraped{m, func() metrics.State {
		return metrics.State{
			Queue:             metrics.Queue{Messages: 3, SetAside: 1, FileBytes: 4096, FreeBytes: 1024, Journal: 512, Checkpoints: 20, DiskFree: 5e9, Room: 4e9, Limit: 1e9},
			Delivery:          metrics.Delivery{Delayed: map[string]int{"greylisted": 18, "odd": 1}, Ready: 1, Deferred: 2, Future: 3, Held: 4, InFlight: 5, Connections: 6, Waiting: 20, GivenUp: 21, Resting: 7, Adrift: 8, Corrupt: 9, Unsaved: 10, Stranded: 11},
			Accepting:         true,
			Clients:           12,
			Webhooks:          []metrics.Webhook{{Name: "crm", Ended: true}},
			RoutesHeld:        map[string]bool{"office": true},
			RoutesDown:        map[string]bool{"office": true},
			UsersBroken:       true,
			Budgets:           map[string]metrics.Budget{"office": {PerMinute: 30, UsedPerMinute: 12, RecipientsPerDay: 10000, UsedRecipientsPerDay: 9990}},
			CertificateExpiry: start,
			HistoryLost:       13,
			LogLinesLost:      14,
			IdentitiesHeld:    14,
			Providers:         map[string]metrics.Provider{"google": {Ready: 15, Connections: 16, Limit: 17, Slowed: 1}},
		}
	}}
}

func TestStatesAreAskedAtTheScrape(t *testing.T) {
	m := set()
	expect(t, m, map[string]float64{
		"dawk_queue_messages": 3, "dawk_corrupt_records": 1, "dawk_queue_file_bytes": 4096, "dawk_queue_free_bytes": 1024,
		"dawk_queue_journal_bytes": 512, "dawk_queue_checkpoints_total": 20,
		"dawk_disk_free_bytes": 5e9, "dawk_queue_room_bytes": 4e9, "dawk_queue_room_limit_bytes": 1e9,
		`dawk_queue_deliveries{state="ready"}`: 1, `dawk_queue_deliveries{state="deferred"}`: 2, `dawk_queue_deliveries{state="future"}`: 3,
		`dawk_queue_deliveries{state="held"}`: 4, `dawk_queue_deliveries{state="in_flight"}`: 5, "dawk_delivery_connections": 6,
		`dawk_delivery_slots{state="used"}`: 6, `dawk_delivery_slots{state="waiting"}`: 20, `dawk_delivery_slots{state="given_up"}`: 21,
		"dawk_destinations_resting": 7, "dawk_deliveries_adrift": 8, "dawk_deliveries_corrupt_total": 9, "dawk_settlements_retried_total": 10,
		"dawk_history_lost_total": 13, "dawk_log_lines_lost_total": 14, "dawk_identities_held": 14, "dawk_deliveries_stranded_total": 11, "dawk_client_connections": 12, "dawk_accepting": 1, "dawk_oldest_message_age_seconds": 0,
		`dawk_queue_delayed{reason="greylisted"}`: 18, `dawk_queue_delayed{reason="connection"}`: 0,
		`dawk_route_held{route="office"}`: 1, `dawk_route_unreachable{route="office"}`: 1, "dawk_users_file_broken": 1,
		`dawk_provider_deliveries_ready{provider="google"}`: 15, `dawk_provider_connections{provider="google"}`: 16,
		`dawk_provider_connections_limit{provider="google"}`: 17, `dawk_provider_slowed{provider="google"}`: 1, `dawk_provider_slowed{provider="other"}`: 0,
		`dawk_route_budget{limit="messages_per_minute",route="office"}`: 30, `dawk_route_budget_used{limit="messages_per_minute",route="office"}`: 12,
		`dawk_route_budget{limit="recipients_per_day",route="office"}`: 10000, `dawk_route_budget_used{limit="recipients_per_day",route="office"}`: 9990,
		`dawk_route_budget_wait_seconds{route="office"}`: 0,
		"dawk_certificate_expiry_timestamp_seconds":      float64(start.Unix()), "dawk_last_success_timestamp_seconds": 0,
	})
	old := scraped{metrics.New(metrics.Names{}), func() metrics.State {
		return metrics.State{Delivery: metrics.Delivery{OldestArrival: time.Now().Add(-time.Hour)}}
	}}
	if got := values(t, old)["dawk_oldest_message_age_seconds"]; got < 3600 || got > 3700 {
		t.Errorf("age of an hour: %v", got)
	}
}

func TestEventsAreCounted(t *testing.T) {
	noUser := relay.Reply{Code: 550, Status: relay.Status{Class: 5, Subject: 1, Detail: 1}, Stage: relay.StageRcpt}
	busy := relay.Reply{Code: 451, Text: "Greylisted", Stage: relay.StageRcpt}
	m := set()
	for _, e := range []relay.Event{
		{Kind: relay.EventConnected}, {Kind: relay.EventGone},
		{Kind: relay.EventAccepted, Size: 100, Count: 3, Took: relay.Millis(3 * time.Millisecond)},
		{Kind: relay.EventRefused, Reason: "relay_denied"},
		{Kind: relay.EventRefused, Reason: "whatever\nhostile=\"1\""},
		{Kind: relay.EventLogin, Reason: "ok", Identity: "printer"},
		{Kind: relay.EventLogin, Reason: "credentials"},
		{Kind: relay.EventAttempted, Host: "mx.example.com", TLS: "TLS1.3", TLSLevel: relay.TLSVerified, Took: relay.Millis(time.Second)},
		{Kind: relay.EventAttempted, Host: "mx.example.com", TLSLevel: relay.TLSFallback, Unknown: true, Visits: []relay.Visit{
			{Host: "mx1.example.com"}, {Host: "mx2.example.com", Reply: relay.Reply{Code: 554, MTA: "mx2.example.com"}},
			{Host: "mx3.example.com", TLS: "TLS1.2", TLSLevel: relay.TLSVerified}, {Host: "mx.example.com", TLSLevel: relay.TLSFallback}}},
		{Kind: relay.EventAttempted, Host: "mx.example.com"},
		{Kind: relay.EventAttempted, Host: "mx.example.com", TLS: "TLS9", TLSLevel: relay.TLSVerified},
		{Kind: relay.EventAttempted},
		{Kind: relay.EventRelayed, Time: start, Age: 2 * time.Second, Destination: "example.com"},
		{Kind: relay.EventDelayed, Reply: busy, Provider: "google"},
		{Kind: relay.EventDelayed, Reply: busy, Provider: "hostile\nexample.net"},
		{Kind: relay.EventProviderSlowed, Provider: "google"}, {Kind: relay.EventProviderSlowed, Provider: "example.net"},
		{Kind: relay.EventProviderSlowed, Provider: "route:office"},
		{Kind: relay.EventFailed, Reply: noUser, Age: time.Minute},
		{Kind: relay.EventExpired, Reply: busy, Age: 5 * 24 * time.Hour},
		{Kind: relay.EventDeleted},
		{Kind: relay.EventNotified, NoticeKind: "failed"},
		{Kind: relay.EventDropped}, {Kind: relay.EventHeld}, {Kind: relay.EventReleased},
		{Kind: "something new"},
	} {
		m.Observe(e)
	}
	m.Commit(3 * time.Millisecond)
	m.TLSSession("dane", "validation-failure")
	m.TLSSession("none", "successful")
	m.TLSSession("mta-sts", "whatever\n")
	expect(t, m, map[string]float64{
		"dawk_connections_total": 1, "dawk_messages_accepted_total": 1, "dawk_accepted_bytes_total": 100, "dawk_recipients_accepted_total": 3,
		`dawk_provider_outcomes_total{action="delayed",provider="google"}`: 1, `dawk_provider_outcomes_total{action="delayed",provider="other"}`: 1,
		`dawk_provider_slowdowns_total{provider="google"}`: 1, `dawk_provider_slowdowns_total{provider="other"}`: 1, `dawk_provider_slowdowns_total{provider="route"}`: 1,
		`dawk_refused_total{reason="relay_denied"}`: 1, `dawk_refused_total{reason="other"}`: 1,
		`dawk_logins_total{result="ok"}`: 1, `dawk_logins_total{result="credentials"}`: 1,
		`dawk_attempts_total{level="verified",tls="TLS1.3"}`: 1, `dawk_attempts_total{level="unverified",tls="TLS1.3"}`: 0,
		`dawk_attempts_total{level="fallback",tls="none"}`: 1, `dawk_attempts_total{level="clear",tls="none"}`: 0, `dawk_attempts_total{level="none",tls="none"}`: 1,
		`dawk_attempts_total{level="none",tls="unreached"}`: 1, `dawk_attempts_total{level="other",tls="other"}`: 1,
		`dawk_delivery_sessions_total{level="none",tls="unreached"}`: 1, `dawk_delivery_sessions_total{level="none",tls="none"}`: 1,
		`dawk_delivery_sessions_total{level="verified",tls="TLS1.2"}`: 1, `dawk_delivery_sessions_total{level="fallback",tls="none"}`: 1,
		"dawk_unknown_outcomes_total":                         1,
		`dawk_outcomes_total{action="relayed",reason="none"}`: 1, `dawk_outcomes_total{action="delayed",reason="greylisted"}`: 2,
		`dawk_outcomes_total{action="failed",reason="bad_address"}`: 1, `dawk_outcomes_total{action="expired",reason="greylisted"}`: 1,
		`dawk_outcomes_total{action="deleted",reason="none"}`: 1, `dawk_notices_total{kind="failed"}`: 1,
		"dawk_double_bounces_dropped_total": 1, `dawk_holds_total{action="held"}`: 1, `dawk_holds_total{action="released"}`: 1,
		`dawk_tls_sessions_total{policy="dane",result="validation-failure"}`: 1, `dawk_tls_sessions_total{policy="none",result="successful"}`: 1,
		`dawk_tls_sessions_total{policy="mta-sts",result="other"}`: 1,
		"dawk_commit_seconds_count":                                1, `dawk_commit_seconds_bucket{le="0.002"}`: 0, `dawk_commit_seconds_bucket{le="0.005"}`: 1,
		"dawk_accept_seconds_count": 1, "dawk_attempt_seconds_count": 5, `dawk_delivery_age_seconds_bucket{action="relayed",le="5"}`: 1,
		`dawk_delivery_age_seconds_count{action="failed"}`: 1, `dawk_delivery_age_seconds_count{action="expired"}`: 1,
		"dawk_last_success_timestamp_seconds": float64(start.Unix()),
	})
}

// No event makes a series that was not there: a rate over it is right from the
// first event, and a stranger cannot make the server remember his words.
func TestSeriesAreThereFromTheFirstScrapeAndStay(t *testing.T) {
	m := set()
	before := dawkSeries(values(t, m))
	kinds := []relay.EventKind{"", relay.EventAccepted, relay.EventRefused, relay.EventLogin, relay.EventAttempted, relay.EventRelayed, relay.EventDelivered,
		relay.EventDelayed, relay.EventFailed, relay.EventExpired, relay.EventDeleted, relay.EventNotified, relay.EventDropped, relay.EventHeld, relay.EventReleased}
	var wg sync.WaitGroup
	for i := range 50 {
		word := fmt.Sprintf("word-%d", i)
		wg.Go(func() {
			for _, k := range kinds {
				m.Observe(relay.Event{Kind: k, Reason: word, NoticeKind: word, Host: word, TLS: word, Destination: word, Identity: word, Size: -1, Count: -1,
					Route: word, Reply: relay.Reply{Code: 500 + i, Text: word, Status: relay.Status{Class: 5, Subject: i, Detail: i}}})
			}
		})
	}
	wg.Wait()
	if after := dawkSeries(values(t, m)); !reflect.DeepEqual(before, after) {
		t.Errorf("%d series became %d", len(before), len(after))
	}
	if n := len(before); n > 400 {
		t.Errorf("%d series: somebody pays for each", n)
	}
}

func TestLint(t *testing.T) {
	m := set()
	problems, err := testutil.GatherAndLint(m.Gatherer())
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", err, []promlint.Problem(problems))
	}
	promtool(t, scrape(t, m), "check", "metrics")
	promtool(t, nil, "check", "rules", "alerts.yml")
	promtool(t, nil, "test", "rules", "alerts_test.yml", "alerts_days_test.yml")
}

// promtool runs Prometheus's own checks where they are installed.
func promtool(t *testing.T, in []byte, args ...string) {
	t.Helper()
	file, err := exec.LookPath("promtool")
	if err != nil {
		t.Log("promtool is not installed: Debian's package prometheus has it")
		return
	}
	cmd := exec.CommandContext(t.Context(), file, args...)
	cmd.Stdin = bytes.NewReader(in)
	if out, err := cmd.CombinedOutput(); err != nil || bytes.Contains(out, []byte("FAILED")) {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func scrape(t testing.TB, m scraped) []byte {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler(m.now).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("status %d, %v\n%s", w.Code, err, body)
	}
	return body
}

// values reads a scrape: series and value.
func values(t testing.TB, m scraped) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for line := range strings.Lines(string(scrape(t, m))) {
		i := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || i < 0 {
			continue
		}
		var v float64
		if _, err := fmt.Sscan(line[i:], &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		out[line[:i]] = v
	}
	return out
}

func dawkSeries(values map[string]float64) map[string]bool {
	out := map[string]bool{}
	for name := range values {
		if strings.HasPrefix(name, "dawk_") {
			out[name] = true
		}
	}
	return out
}

func expect(t *testing.T, m scraped, want map[string]float64) {
	t.Helper()
	got := values(t, m)
	for name, v := range want {
		if g, ok := got[name]; !ok || g != v {
			t.Errorf("%s = %v (there: %v), want %v", name, g, ok, v)
		}
	}
}

func BenchmarkObserve(b *testing.B) {
	m := set()
	e := relay.Event{Kind: relay.EventRelayed, Time: start, Age: time.Second}
	b.ReportAllocs()
	for b.Loop() {
		m.Observe(e)
	}
}
