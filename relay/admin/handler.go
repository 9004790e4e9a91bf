package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"dawk/relay"
)

// handler serves the paths that the package comment lists.
type handler struct {
	Config
}

// maxRequest bounds the body of a request, in octets; a filter is most of it.
const maxRequest = 512 << 10

// NewHandler serves the paths of version 1.
func NewHandler(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxAge == nil {
		c.MaxAge = func() time.Duration { return 0 }
	}
	h := &handler{Config: c}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/queue", h.list)
	mux.HandleFunc("GET /v1/queue/{id}", h.show)
	mux.HandleFunc("GET /v1/queue/{id}/why", h.why)
	mux.HandleFunc("GET /v1/queue/{id}/content", h.content)
	mux.HandleFunc("POST /v1/queue/act", h.act)
	mux.HandleFunc("GET /v1/shape", h.shape)
	mux.HandleFunc("GET /v1/stats", h.stats)
	mux.HandleFunc("GET /v1/status", h.status)
	mux.HandleFunc("GET /v1/health", h.health)
	mux.HandleFunc("GET /v1/providers", h.providers)
	mux.HandleFunc("GET /v1/devices", h.devices)
	mux.HandleFunc("GET /v1/holds", h.holds)
	mux.HandleFunc("POST /v1/store/verify", h.verify)
	mux.HandleFunc("POST /v1/store/compact", h.compact)
	mux.HandleFunc("GET /v1/store/backup", h.backup)
	for _, path := range []struct {
		pattern string
		offered bool
		serve   http.HandlerFunc
	}{
		{"GET /v1/explain", h.Explain != nil, h.explanation},
		{"GET /v1/oauth", h.Logins != nil, h.logins},
		{"POST /v1/oauth/test", h.TestLogin != nil, h.testLogin},
		{"GET /v1/config", h.Configuration != nil, h.configuration},
		{"POST /v1/reload", h.Reload != nil, h.reload},
		{"POST /v1/drain", h.Drain != nil, h.drain},
		{"GET /v1/budgets", h.Budgets != nil, h.budgets},
		{"POST /v1/holds/release", h.ReleaseUser != nil, h.releaseUser},
	} {
		if !path.offered {
			path.serve = func(w http.ResponseWriter, _ *http.Request) { fail(w, http.StatusNotImplemented, errNotOffered) }
		}
		mux.HandleFunc(path.pattern, path.serve)
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("this dawk does not know %s %s: command and relay may be of different versions", r.Method, r.URL.Path))
	})
	return mux
}

// problem is the body of an answer that is an error.
type problem struct {
	Error string `json:"error"`
}

func fail(w http.ResponseWriter, status int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(problem{err.Error()}) // the client has gone if this fails
}

func answer(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		fail(w, http.StatusInternalServerError, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(b, '\n'))
}

// statusOf is the HTTP status for an error of the store or the dispatcher.
func statusOf(err error) int {
	switch {
	case errors.Is(err, relay.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, relay.ErrClosed):
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// pathID reads {id}; it has answered when ok is false.
func pathID(w http.ResponseWriter, r *http.Request) (id relay.QueueID, ok bool) {
	id, err := relay.ParseQueueID(r.PathValue("id"))
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return id, false
	}
	return id, true
}

func (h *handler) stats(w http.ResponseWriter, _ *http.Request) {
	s := h.Dispatcher.Stats()
	if h.Store != nil {
		s.Store = h.Store()
	}
	answer(w, http.StatusOK, s)
}

// health answers 503 only for what a supervisor can mend by a restart or by
// waiting. A full disk is a warning: delivery goes on, which is what makes
// room, and a restart would only interrupt it.
func (h *handler) health(w http.ResponseWriter, _ *http.Request) {
	v := Health{OK: true, Version: h.Version}
	for _, p := range h.problems() {
		v.OK, v.Problems = false, append(v.Problems, p.Text)
	}
	for _, t := range h.troubles(time.Now()) {
		v.Warnings = append(v.Warnings, relay.Advised(t.Text, t.Remedy))
	}
	status := http.StatusOK
	if !v.OK {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, v)
}
