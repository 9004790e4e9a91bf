package admin

import (
	"net/http"
	"time"

	"dawk/mx/oauth"
	"dawk/relay"
	"dawk/relay/admin/api"
)

// LoginStatus is one line of `dawk oauth status`.
type LoginStatus struct {
	oauth.Status
	HeldSince time.Time           `json:"held_since,omitzero"`
	Load      *relay.ProviderLoad `json:"provider,omitempty"` // what keeps the route's mail; nil: nothing does
	Why       string              `json:"why,omitempty"`      // held: what holds it, in the words of who said it
}

// LoginTest is what `dawk oauth test` found out.
type LoginTest struct {
	OK       bool           `json:"ok"`
	Findings []LoginFinding `json:"findings"`          // one for each host
	Missing  []oauth.Lack   `json:"missing,omitempty"` // what a refused login lacks
}

// LoginFinding is what one host, or the way to it, said.
type LoginFinding struct {
	OK     bool   `json:"ok"`
	Text   string `json:"text"`             // what is so
	Remedy string `json:"remedy,omitempty"` // what to do about it
}

// logins answers GET /v1/oauth.
func (h *handler) logins(w http.ResponseWriter, _ *http.Request) {
	all := append([]LoginStatus{}, h.Logins()...)
	for i := range all {
		if l := h.Dispatcher.Toward(routePrefix + all[i].Route); l.Keeps() {
			all[i].Load = &l
		}
		if held := h.routeHeld(all[i].Route); !held.Since.IsZero() {
			all[i].HeldSince, all[i].Why, all[i].Remedy = held.Since, held.Reply.String(), held.Reply.Remedy
		}
	}
	api.Answer(w, http.StatusOK, all)
}

// testLogin answers POST /v1/oauth/test?route=.
func (h *handler) testLogin(w http.ResponseWriter, r *http.Request) {
	out, err := h.TestLogin(r.Context(), r.URL.Query().Get("route"))
	if err != nil {
		api.Fail(w, http.StatusNotFound, err)
		return
	}
	api.Answer(w, http.StatusOK, out)
}

// budgets answers GET /v1/budgets.
func (h *handler) budgets(w http.ResponseWriter, _ *http.Request) {
	api.Answer(w, http.StatusOK, h.Budgets())
}
