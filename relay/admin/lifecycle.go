package admin

import (
	"encoding/json"
	"net/http"

	"dawk/relay/admin/api"
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

// ConfigChange is a key of the configuration whose value is another since the
// last reload. From and To are for people; empty: it was not set.
type ConfigChange struct {
	Key     string `json:"key"`
	From    string `json:"from,omitempty"`
	To      string `json:"to,omitempty"`
	Restart bool   `json:"restart,omitempty"` // it is not in force before a restart
}

// Reloaded is what a reload brought.
type Reloaded struct {
	Changes []ConfigChange `json:"changes"`
}

// Setting is a key of the configuration.
type Setting struct {
	Key   string `json:"key"`
	Value any    `json:"value,omitempty"` // text, a number, true or false, a list of these; absent: the key has none
	From  string `json:"from"`            // "file", "default", or "derived" from other keys or the machine
	Line  int    `json:"line,omitempty"`  // of the file
}

// Configuration is what is in force.
type Configuration struct {
	File     string    `json:"file"`  // "": the built-in defaults
	Live     bool      `json:"live"`  // of a relay that runs; else of the file
	Stale    bool      `json:"stale"` // the file is no longer what runs
	Settings []Setting `json:"settings"`
}

func (h *handler) configuration(w http.ResponseWriter, _ *http.Request) {
	api.Answer(w, http.StatusOK, h.Configuration())
}

// reload answers 422 for a file that is refused: then nothing has changed.
func (h *handler) reload(w http.ResponseWriter, _ *http.Request) {
	changes, err := h.Reload()
	if err != nil {
		api.Fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	api.Answer(w, http.StatusOK, Reloaded{changes})
}
