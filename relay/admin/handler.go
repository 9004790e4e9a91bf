package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"dawk/relay"
	"dawk/relay/admin/operator"
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
	for _, e := range h.endpoints() {
		mux.HandleFunc(e.pattern, h.enter(&e))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, fmt.Errorf("this dawk does not know %s %s: command and relay may be of different versions", r.Method, r.URL.Path))
	})
	return mux
}

// enter is the one place that decides who may ask for what, and tells the log.
func (h *handler) enter(e *endpoint) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		switch caller := operator.CallerOf(r.Context()); {
		case caller.Role == operator.Nobody:
			w.Header().Set("WWW-Authenticate", `Bearer realm="dawk"`)
			fail(w, http.StatusUnauthorized, errors.New("this needs a token, as in Authorization: Bearer dawk_…; the administrator makes one with dawk token add NAME"))
		case caller.Role < e.role:
			fail(w, http.StatusForbidden, fmt.Errorf("this needs the role %s, and %s has the role %s", e.role, caller.Name, caller.Role))
		case e.without:
			fail(w, http.StatusNotImplemented, errNotOffered)
		default:
			if e.role > operator.Read && !e.lines { // acts on mail have words of their own
				h.Log.Info("operator's request", "who", caller.Name, "what", relay.Sanitize(relay.Clip(r.Method+" "+r.URL.RequestURI())))
			}
			e.serve(w, r)
		}
	}
}

// Problem is the body of an answer that is an error (RFC 9457).
type Problem struct {
	Type           string `json:"type"`                      // "about:blank": the status says it all
	Title          string `json:"title"`                     // of the status
	Status         int    `json:"status"`                    // of HTTP
	Detail         string `json:"detail"`                    // one sentence: what is wrong, and what to do
	EnhancedStatus string `json:"enhanced_status,omitempty"` // RFC 3463, where mail would meet the same
}

const problemMedia = "application/problem+json"

func fail(w http.ResponseWriter, status int, err error) {
	p := Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: err.Error()}
	if errors.Is(err, relay.ErrNoSpace) {
		p.EnhancedStatus = "4.3.1"
	}
	w.Header().Set("Content-Type", problemMedia)
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(p) // the client has gone if this fails
}

// read reads the body of a request.
func (h *handler) read(w http.ResponseWriter, r *http.Request, into any) error {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
	d.DisallowUnknownFields() // a dry_run that is misspelt must not act
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("read the request: %w", err)
	}
	return nil
}

// Refuse answers a request with a [Problem].
func Refuse(w http.ResponseWriter, status int, err error) { fail(w, status, err) }

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
