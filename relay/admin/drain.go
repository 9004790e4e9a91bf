package admin

import (
	"encoding/json"
	"net/http"
)

// Draining is a line of the answer to POST /v1/drain: what a relay that takes
// nothing new still has to do before it ends.
type Draining struct {
	Due   int `json:"due"`   // Deliveries that are due or under way
	Stays int `json:"stays"` // those that wait for a later time, or are on hold
}

// drain answers with a line each time that something has changed, until the relay
// ends. It goes on when whoever asked has gone.
func (h *handler) drain(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	lines := json.NewEncoder(w)
	h.Drain(r.Context(), func(d Draining) {
		lines.Encode(d) //nolint:errcheck // the client has gone
		http.NewResponseController(w).Flush()
	})
}
