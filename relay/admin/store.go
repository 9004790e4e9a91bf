package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
)

// progressEvery is the least time between two lines that tell of progress.
const progressEvery = 200 * time.Millisecond

// verify answers with lines for who asks for them: how far it is, then the Report.
func (h *handler) verify(w http.ResponseWriter, r *http.Request) {
	if !strings.Contains(r.Header.Get("Accept"), api.LinesMedia) {
		h.maintain(w, r, "verify the queue", func(ctx context.Context) (Report, error) {
			return h.Verify(ctx, func(int64, int64) {})
		})
		return
	}
	lines := json.NewEncoder(w)
	tell := func(v Verifying) {
		w.Header().Set("Content-Type", api.LinesMedia)
		lines.Encode(v) //nolint:errcheck // the client has gone
		http.NewResponseController(w).Flush()
	}
	var told time.Time
	at := Verifying{}
	report, err := h.Verify(r.Context(), func(done, total int64) {
		if at.Done, at.Total = done, total; time.Since(told) >= progressEvery {
			told = time.Now()
			tell(at)
		}
	})
	switch {
	case err != nil && told.IsZero():
		api.Fail(w, api.StatusOf(err), fmt.Errorf("verify the queue: %w", err))
	case err != nil:
		h.Log.Warn("the queue could not be verified to its end", "error", err)
		panic(http.ErrAbortHandler)
	default:
		at.Report, at.Done = &report, report.Messages
		tell(at)
	}
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
