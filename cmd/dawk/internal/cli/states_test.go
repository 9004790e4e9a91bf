package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/cmd/dawk/internal/config"
	"dawk/cmd/dawk/internal/explain"
	"dawk/mx/oauth"
	"dawk/relay"
	"dawk/relay/accept"
	"dawk/relay/admin"
	"dawk/relay/admin/operator"
	"dawk/relay/identity"
)

// stuck is a queue with one message, whose provider and whose Delivery are in given
// states.
type stuck struct {
	item  *relay.Item
	load  relay.ProviderLoad
	state relay.DeliveryState
}

func (s *stuck) Item(relay.QueueID) (*relay.Item, error) { return s.copy(), nil }

func (s *stuck) copy() *relay.Item {
	c := *s.item
	c.Deliveries = append([]relay.Delivery{}, c.Deliveries...)
	return &c
}

func (s *stuck) Items(context.Context, relay.QueueID) iter.Seq2[*relay.Item, error] {
	return func(yield func(*relay.Item, error) bool) { yield(s.copy(), nil) }
}

func (s *stuck) Entries() iter.Seq2[relay.Entry, error] {
	return func(yield func(relay.Entry, error) bool) { yield(s.item.Deliveries[0].Entry, nil) }
}
func (s *stuck) Content(relay.QueueID) (relay.Content, error)               { return nil, relay.ErrNotFound }
func (s *stuck) Room() error                                                { return nil }
func (s *stuck) Act(context.Context, relay.QueueID, relay.Verb) error       { return nil }
func (s *stuck) Queued(string) int                                          { return s.load.Queued }
func (s *stuck) Toward(string) relay.ProviderLoad                           { return s.load }
func (s *stuck) Providers() []relay.ProviderLoad                            { return []relay.ProviderLoad{s.load} }
func (s *stuck) NewDraft() (relay.Draft, error)                             { return nil, relay.ErrClosed }
func (s *stuck) Enqueue(context.Context, relay.Draft, *relay.Message) error { return relay.ErrClosed }
func (s *stuck) Backlog() relay.Backlog                                     { return relay.Backlog{Total: 1} }
func (*stuck) Transcripts(relay.QueueID) []relay.Transcript                 { return nil }
func (s *stuck) Unlisted(context.Context) (map[relay.QueueID][]relay.QueueID, func(), error) {
	return nil, func() {}, nil
}
func (s *stuck) Withdraw([]relay.QueueID) error                                      { return nil }
func (s *stuck) Underway() []relay.Underway                                          { return nil }
func (s *stuck) Stats() admin.Stats                                                  { return admin.Stats{} }
func (s *stuck) Turn(relay.QueueID, uint16) relay.Turn                               { return relay.Turn{Place: 2, Of: 3} }
func (s *stuck) Reroute(context.Context, relay.QueueID, uint16, []int, string) error { return nil }

func (s *stuck) ActOn(context.Context, relay.QueueID, uint16, []int, relay.Verb) error {
	return nil
}

func (s *stuck) Where(relay.QueueID) []relay.Where {
	load := s.load
	return []relay.Where{{Destination: "route:office", Due: s.item.Deliveries[0].Due, Load: &load, Activity: relay.Activity{State: s.state}}}
}

// explainer answers `dawk explain` for a smart host, with the load of s.
func explainer(t *testing.T, s *stuck) func(ctx context.Context, from, to, who string) (admin.Explanation, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "dawk.toml")
	text := fmt.Sprintf("hostname = \"relay.example.org\"\ndata_dir = %q\n[delivery]\nallow_networks = [\"127.0.0.0/8\"]\n[[route]]\nname = \"office\"\nto = [\"*\"]\nvia = [\"127.0.0.1:2525\"]\ntls = \"off\"\n", t.TempDir())
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.LoadClient(file)
	if err != nil {
		t.Fatal(err)
	}
	e := explain.Explainer{Config: cfg, Live: true, Ledger: identity.NewLedger(), Toward: s.Toward}
	if e.Transport, err = explain.NewTransport(cfg); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Transport.Close() })
	if e.Acceptor, err = accept.New(cfg.AcceptorConfig(slog.New(slog.DiscardHandler)), nil, nil); err != nil {
		t.Fatal(err)
	}
	return func(ctx context.Context, from, to, who string) (admin.Explanation, error) {
		q, err := explain.ParseQuestion(from, to, who)
		if err != nil {
			return admin.Explanation{}, err
		}
		return e.Explain(ctx, q)
	}
}

// Every state that the scheduler knows is named, in words, by every view.
func TestEveryStateInEveryView(t *testing.T) {
	item := waiting(t)
	since := time.Now().Add(-time.Hour)
	refused := relay.Failure(relay.StageConnect, relay.Status{Class: 4, Subject: 4, Detail: 1}, "connection refused by 192.0.2.1")
	for state := range relay.LoadStates {
		s := &stuck{item: item, state: relay.StateReady, load: relay.ProviderLoad{Name: "route:office", Domains: 1, Queued: 3, Ready: 3, Connections: 2,
			Limit: 2, Most: 5, State: state, Since: since, Until: time.Now().Add(time.Hour), Drained: time.Now().Add(2 * time.Hour), Failure: refused,
			Slots: relay.Slots{Used: 9, Most: 9}}}
		s.load.Said = s.load.Why(time.Now())
		words, _, _ := strings.Cut(s.load.Said, " in 1h") // what follows counts seconds
		words, _, _ = strings.Cut(words, " in 59m")
		c := admin.Config{Queue: s, Dispatcher: s, Explain: explainer(t, s),
			Logins: func() []admin.LoginStatus { return []admin.LoginStatus{{Status: oauth.Status{Route: "office"}}} }}
		if state == relay.LoadHeld {
			c.HeldRoutes = func() []admin.HeldRoute { return []admin.HeldRoute{{Route: "office", Since: since, Reply: refused}} }
		}
		dir := serveAnswers(t, asAdmin(c))
		for _, view := range [][]string{
			{"queue", "providers"}, {"queue", "list"}, {"why", item.Message.ID.String()}, {"explain", "a@example.org", "b@example.com"},
			{"status"}, {"status", "--json"}, {"oauth", "status"}, {"oauth", "status", "--json"},
			{"queue", "providers", "--json"}, {"why", "--json", item.Message.ID.String()}, {"explain", "--json", "a@example.org", "b@example.com"},
		} {
			_, out, errs := command(t, dir, view...)
			asJSON := strings.Contains(strings.Join(view, " "), "--json")
			quiet := state == relay.LoadOpen && slices.Contains([]string{"why", "explain", "oauth"}, view[0]) // nothing makes it wait
			words := words
			if view[0] == "oauth" && state == relay.LoadHeld { // with the whole date
				words = "office is held since " + since.Local().Format("2006-01-02 15:04:05 MST") + ": " + refused.String()
			}
			if !strings.Contains(out, words) && !quiet && !asJSON {
				t.Errorf("%s: dawk %s does not say %q:\n%s%s", state, strings.Join(view, " "), words, out, errs)
			}
			if asJSON && !quiet && (!strings.Contains(strings.ReplaceAll(out, ": ", ":"), `"state":"`+state.String()+`"`) || !json.Valid([]byte(out))) {
				t.Errorf("%s: dawk %s does not say so:\n%s%s", state, strings.Join(view, " "), out, errs)
			}
		}
	}
	for _, state := range relay.DeliveryStates() {
		s := &stuck{item: item, state: state}
		dir := serveAnswers(t, asAdmin(admin.Config{Queue: s, Dispatcher: s}))
		words := map[relay.DeliveryState]string{relay.StateHeld: "on hold", relay.StateActive: "being attempted", relay.StateSuspended: "suspended",
			relay.StateDeferred: "deferred", relay.StateReady: "waiting for its turn"}[state]
		if _, out, errs := command(t, dir, "why", item.Message.ID.String()); words == "" || !strings.Contains(out, words) || !strings.Contains(out, "→") {
			t.Errorf("%s: %s%s", state, out, errs)
		}
		for _, view := range [][]string{{"queue", "list", "--json"}, {"why", "--json", item.Message.ID.String()}, {"queue", "show", "--json", item.Message.ID.String()}} {
			if _, out, errs := command(t, dir, view...); !strings.Contains(out, `"state":"`+state.String()+`"`) {
				t.Errorf("%s: dawk %s: %s%s", state, strings.Join(view, " "), out, errs)
			}
		}
		if _, out, errs := command(t, dir, "queue", "list"); !strings.Contains(out, state.String()) && state != relay.StateDeferred && state != relay.StateReady {
			t.Errorf("%s: dawk queue list: %s%s", state, out, errs)
		}
	}
}

// asAdmin is what the command socket serves.
func asAdmin(c admin.Config) http.HandlerFunc {
	return operator.As(operator.Caller{Role: operator.Admin}, admin.NewHandler(c)).ServeHTTP
}
