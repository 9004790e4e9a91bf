package admin

import (
	"context"
	"fmt"
	"net/http"

	"dawk/relay"
	"dawk/relay/admin/api"
)

func (h *handler) verify(w http.ResponseWriter, r *http.Request) {
	h.maintain(w, r, "verify the queue", h.Verify)
}

func (h *handler) compact(w http.ResponseWriter, r *http.Request) {
	h.maintain(w, r, "compact the queue", h.Compact)
}

func (h *handler) maintain(w http.ResponseWriter, r *http.Request, what string, do func(context.Context) (Report, error)) {
	report, err := do(r.Context())
	if err != nil {
		api.Fail(w, api.StatusOf(err), fmt.Errorf("%s: %w", what, err))
		return
	}
	api.Answer(w, http.StatusOK, report)
}

// backup streams a copy. What goes wrong once the answer has begun comes in the
// trailer, so that no client takes a part for the whole.
func (h *handler) backup(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", api.Fault)
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &counted{w: w}
	err := h.Backup(r.Context(), out)
	switch {
	case err == nil:
	case out.n == 0:
		w.Header().Del("Trailer")
		api.Fail(w, api.StatusOf(err), err)
	default:
		h.Log.Warn("backup failed", "written", out.n, "error", err)
		w.Header().Set(api.Fault, relay.Sanitize(err.Error()))
	}
}

// counted knows whether the answer has begun.
type counted struct {
	w http.ResponseWriter
	n int64
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}
