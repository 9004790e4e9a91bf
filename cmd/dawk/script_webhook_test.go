package main_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
)

// hookSecret signs in scripts.
const hookSecret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// hookWorld is a receiver of webhooks that verifies them with the standard's own library.
type hookWorld struct {
	mu     sync.Mutex
	cond   *sync.Cond
	status int
	lines  []string // "type queue-id recipient" of each event that was taken
	first  []string // the same, but of what was taken again
	seen   map[string]bool
	bad    []string
	asked  int
}

func (h *hookWorld) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	switch r.URL.Path {
	case "/hangs":
		<-r.Context().Done()
		return
	case "/trickles":
		trickle(w, r)
		return
	}
	var e struct {
		Type string
		Data struct {
			ID, Identity string
			QueueID      string `json:"queue_id"`
			To           any
		}
	}
	if err == nil {
		err = json.Unmarshal(b, &e)
	}
	var verifier *standardwebhooks.Webhook
	if err == nil {
		verifier, err = standardwebhooks.NewWebhook(hookSecret)
	}
	if err == nil {
		err = verifier.Verify(b, r.Header)
	}
	if err == nil && r.Header.Get("webhook-id") != e.Data.ID {
		err = fmt.Errorf("webhook-id %q, data.id %q", r.Header.Get("webhook-id"), e.Data.ID)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	defer h.cond.Broadcast()
	h.asked++
	if err != nil {
		h.bad = append(h.bad, err.Error())
	}
	if h.status/100 == 3 {
		w.Header().Set("Location", "/elsewhere")
	}
	w.WriteHeader(h.status)
	if h.status/100 == 2 {
		line := fmt.Sprintf("%s %s %v", e.Type, e.Data.QueueID, e.Data.To)
		h.lines = append(h.lines, line)
		if !h.seen[e.Data.ID] {
			h.seen[e.Data.ID], h.first = true, append(h.first, line)
		}
	}
}

// trickle answers an octet at a time, as long as somebody reads.
func trickle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Length", "1000000")
	every := time.NewTicker(100 * time.Millisecond)
	defer every.Stop()
	for r.Context().Err() == nil {
		if _, err := w.Write([]byte("x")); err != nil {
			return
		}
		http.NewResponseController(w).Flush() //nolint:errcheck // the next write tells
		select {
		case <-every.C:
		case <-r.Context().Done():
		}
	}
}

// hookCommand is `hook start`, `hook status N`, `hook wait N` (events that were taken),
// `hook asked N` (requests at least), `hook told EVENT` (until it came), `hook idle`
// and `hook events FILE`, each once.
func hookCommand(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "start" {
		h := &hookWorld{status: 204, seen: map[string]bool{}}
		h.cond = sync.NewCond(&h.mu)
		server := httptest.NewServer(h)
		ts.Defer(server.Close)
		ts.Setenv("HOOK", strings.TrimPrefix(server.URL, "http://"))
		worldOf(ts).hook = h
		return
	}
	if args[0] == "idle" { // what was taken is known to the relay too
		for !strings.Contains(listed(ts), `"pending": 0`) {
		}
		return
	}
	h := worldOf(ts).hook
	h.mu.Lock()
	defer h.mu.Unlock()
	switch args[0] {
	case "status":
		h.status, _ = strconv.Atoi(args[1])
	case "wait", "asked":
		n, _ := strconv.Atoi(args[1])
		for len(h.lines) < n && args[0] == "wait" || h.asked < n {
			h.cond.Wait()
		}
	case "told":
		for !slices.Contains(h.first, args[1]) {
			h.cond.Wait()
		}
	case "events":
		ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(strings.Join(h.first, "\n")+"\n"), 0o600))
	default:
		ts.Fatalf("hook %v", args)
	}
	if len(h.bad) > 0 {
		ts.Fatalf("requests that no receiver would believe: %q", h.bad)
	}
}

// listed is what the relay says of the first webhook.
func listed(ts *testscript.TestScript) string {
	ts.Check(ts.Exec("dawk", "webhook", "list", "--json", "-c", ts.Getenv("CONF")))
	first, _, _ := strings.Cut(ts.ReadFile("stdout"), "}")
	return first
}
