package delivery_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dawk/relay"
	"dawk/relay/delivery"

	"github.com/google/go-cmp/cmp"
)

// docs/operations.md has every key of the mail log and no other, and every
// event: they are what people build their filters on.
func TestLogIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "\n## The log\n")
	section, _, _ = strings.Cut(section, "\n## ")
	events, keys, ok := strings.Cut(section, "| key | what it is |")
	if !ok {
		t.Fatal("docs/operations.md has no table of the keys of the log")
	}
	if diff := cmp.Diff(keysWritten(t), firstColumn(keys)); diff != "" {
		t.Errorf("keys as written (-) and as in docs/operations.md (+):\n%s", diff)
	}
	for _, kind := range []relay.EventKind{relay.EventAccepted, relay.EventRefused, relay.EventLogin, relay.EventAttempted, relay.EventRelayed,
		relay.EventDelivered, relay.EventDelayed, relay.EventFailed, relay.EventExpired, relay.EventDeleted, relay.EventNotified, relay.EventDropped,
		relay.EventHeld, relay.EventReleased, relay.EventRouteHeld, relay.EventRouteFree, relay.EventConnected, relay.EventGone,
		relay.EventIdentityHeld, relay.EventIdentityReleased, relay.EventProviderSlowed} {
		line := logLine(t, relay.Event{Kind: kind, Reason: "ok"})
		word, more, _ := strings.Cut(line["msg"].(string), ":")
		if more != "" {
			word += ": …"
		}
		if !strings.Contains(events, "`"+word+"`") {
			t.Errorf("%s is not in docs/operations.md as `%s`", kind, word)
		}
	}
}

func firstColumn(table string) (keys []string) {
	for line := range strings.Lines(table) {
		first, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		if ok {
			for _, m := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(first, -1) {
				keys = append(keys, m[1])
			}
		}
	}
	slices.Sort(keys)
	return keys
}

// keysWritten are those of an event of which everything is known.
func keysWritten(t *testing.T) (keys []string) {
	id := relay.QueueID{Key: 1_770_000_000_000_000, Dir: 99}
	e := relay.Event{Kind: relay.EventAccepted, Time: time.Unix(1, 0), ID: id, From: path("a@example.org"), Recipient: path("b@example.com"),
		Identity: "x", Client: "x", Listener: "x", Session: "x", Helo: "x", MessageID: "x", Size: 1, Count: 1, Destination: "x", Route: "x", Source: "x",
		Provider: "x", Host: "x", Addr: "x", TLS: "x", TLSPolicy: "x", TLSLevel: "x", TLSTry: "x", TLSFailed: "x", SentAs: path("c@example.org"), Attempt: 1, Took: time.Second,
		Age: time.Second, Reply: relay.Reply{Code: 250, Text: "x", Remedy: "x"}, Unknown: true, Next: time.Unix(1, 0), Rule: "x", Reason: "x", NoticeID: id, NoticeKind: "x", Visits: make([]relay.Visit, 1)}
	for i, v := 0, reflect.ValueOf(e); i < v.NumField(); i++ {
		if v.Field(i).IsZero() {
			t.Errorf("relay.Event has the field %s, which this test does not set", v.Type().Field(i).Name)
		}
	}
	for key := range logLine(t, e) {
		if key != slog.TimeKey && key != slog.LevelKey && key != slog.MessageKey {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func logLine(t *testing.T, e relay.Event) (line map[string]any) {
	t.Helper()
	var b bytes.Buffer
	delivery.NewLogObserver(slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))).Observe(e)
	if err := json.Unmarshal(b.Bytes(), &line); err != nil {
		t.Fatalf("%v: %q", err, b.String())
	}
	return line
}
