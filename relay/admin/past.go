package admin

import (
	"net/http"

	"dawk/relay/admin/api"
	"dawk/relay/admin/queued"
	"dawk/relay/history"
)

// PastRecords are what the history knows.
type PastRecords struct {
	Records []history.Record `json:"records"`
	Found   int              `json:"found"`          // that the filter picks; Records are the newest of them
	More    bool             `json:"more,omitempty"` // of a long history not all was counted: there may be more
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
	limit, err := api.Limit(r)
	if err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	if limit == 0 || limit > queued.MaxListed {
		limit = queued.MaxListed
	}
	found, err := h.Past(r.FormValue("filter"), limit)
	if err != nil {
		api.Fail(w, http.StatusBadRequest, err)
		return
	}
	api.Answer(w, http.StatusOK, found)
}

// check answers GET /v1/check. It asks many servers: whoever comes while it is under way
// gets the same answer.
func (h *handler) check(w http.ResponseWriter, _ *http.Request) {
	found, _, _ := h.checking.Do("", func() (any, error) { return h.Check(), nil })
	c := Checked{OK: true}
	c.Findings, _ = found.([]Finding)
	for _, f := range c.Findings {
		c.OK = c.OK && f.Level != "error"
	}
	api.Answer(w, http.StatusOK, c)
}
