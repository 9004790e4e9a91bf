package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"dawk/relay"
)

var errNotOffered = errors.New("this relay does not offer it: its configuration has nothing to ask about")

func (h *handler) verify(w http.ResponseWriter, r *http.Request) {
	h.maintain(w, r, "verify the queue", h.Verify)
}

func (h *handler) compact(w http.ResponseWriter, r *http.Request) {
	h.maintain(w, r, "compact the queue", h.Compact)
}

func (h *handler) maintain(w http.ResponseWriter, r *http.Request, what string, do func(context.Context) (Report, error)) {
	report, err := do(r.Context())
	if err != nil {
		fail(w, statusOf(err), fmt.Errorf("%s: %w", what, err))
		return
	}
	answer(w, http.StatusOK, report)
}

// BackupFault is the trailer that says what a backup lacks.
const BackupFault = "Dawk-Backup-Fault"

// backup streams a copy. What goes wrong once the answer has begun comes in the
// trailer, so that no client takes a part for the whole.
func (h *handler) backup(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", BackupFault)
	w.Header().Set("Content-Type", "application/octet-stream")
	out := &counted{w: w}
	err := h.Backup(r.Context(), out)
	switch {
	case err == nil:
	case out.n == 0:
		w.Header().Del("Trailer")
		fail(w, statusOf(err), err)
	default:
		h.Log.Warn("backup failed", "written", out.n, "error", err)
		w.Header().Set(BackupFault, relay.Sanitize(err.Error()))
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
