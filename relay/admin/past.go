package admin

import (
	"net/http"

	"dawk/relay/history"
)

// PastRecords are what the history knows.
type PastRecords struct {
	Records []history.Record `json:"records"`
	Found   int              `json:"found"` // that the filter picks; Records are the newest of them
}

// Finding is one line of dawk check.
type Finding struct {
	Check   string `json:"check"`
	Level   string `json:"level"`            // "ok", "warning" or "error": mail will not flow
	Message string `json:"message"`          // one sentence: what is so
	Advice  string `json:"advice,omitempty"` // what to do about it
}

// Checked is what dawk check finds.
type Checked struct {
	OK       bool      `json:"ok"` // no finding is an error
	Findings []Finding `json:"findings"`
}

// history answers GET /v1/history.
func (h *handler) history(w http.ResponseWriter, r *http.Request) {
	limit, err := limitOf(r)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	if limit == 0 || limit > maxListed {
		limit = maxListed
	}
	found, err := h.Past(r.FormValue("filter"), limit)
	if err != nil {
		fail(w, http.StatusBadRequest, err)
		return
	}
	answer(w, http.StatusOK, found)
}

// check answers GET /v1/check.
func (h *handler) check(w http.ResponseWriter, r *http.Request) {
	c := Checked{OK: true, Findings: h.Check(r.Context())}
	for _, f := range c.Findings {
		c.OK = c.OK && f.Level != "error"
	}
	answer(w, http.StatusOK, c)
}
