package admin

import (
	"log/slog"
	"net/http"
	"time"

	"golang.org/x/sync/singleflight"

	"dawk/relay"
	"dawk/relay/admin/acts"
	"dawk/relay/admin/api"
	"dawk/relay/admin/queued"
)

// handler serves the paths that the package comment lists.
type handler struct {
	Config
	mail *queued.Mail
	acts *acts.Actor

	checking singleflight.Group
}

// NewHandler serves the paths of version 1.
func NewHandler(c Config) http.Handler {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.MaxAge == nil {
		c.MaxAge = func() time.Duration { return 0 }
	}
	mail := &queued.Mail{Queue: c.Queue, Dispatcher: c.Dispatcher, Kept: c.Kept, MaxAge: c.MaxAge}
	acting := &acts.Actor{Mail: mail, Queue: c.Queue, Dispatcher: c.Dispatcher, History: c.History, Audit: c.Audit, Kept: c.Kept, Routes: c.Routes, Log: c.Log}
	h := &handler{Config: c, mail: mail, acts: acting}
	return api.Serve(h.endpoints(), c.Log, func(who, verb, what string) {
		acting.Record(who, "", relay.Verb(verb), what, 0)
	})
}

func (h *handler) stats(w http.ResponseWriter, _ *http.Request) {
	s := h.Dispatcher.Stats()
	if h.Store != nil {
		s.Store = h.Store()
	}
	api.Answer(w, http.StatusOK, s)
}

// health answers 503 only for what a supervisor can mend by a restart or by
// waiting. A full disk is a warning: delivery goes on, which is what makes
// room, and a restart would only interrupt it.
func (h *handler) health(w http.ResponseWriter, _ *http.Request) {
	v := Health{Version: h.Version, Problems: h.problems(), Warnings: append([]Trouble{}, h.troubles(time.Now())...)}
	v.OK = len(v.Problems) == 0
	status := http.StatusOK
	if !v.OK {
		status = http.StatusServiceUnavailable
	}
	api.Answer(w, status, v)
}
