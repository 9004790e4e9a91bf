package admin

import "net/http"

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
	Value any    `json:"value"`          // text, a number, true or false, a list of these; null where there is none
	From  string `json:"from"`           // "file", "default", or "derived" from other keys or the machine
	Line  int    `json:"line,omitempty"` // of the file
}

// Configuration is what is in force.
type Configuration struct {
	File     string    `json:"file"`  // "": the built-in defaults
	Live     bool      `json:"live"`  // of a relay that runs; else of the file
	Stale    bool      `json:"stale"` // the file is no longer what runs
	Settings []Setting `json:"settings"`
}

func (h *handler) configuration(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, h.Configuration())
}

// reload answers 422 for a file that is refused: then nothing has changed.
func (h *handler) reload(w http.ResponseWriter, _ *http.Request) {
	changes, err := h.Reload()
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	answer(w, http.StatusOK, Reloaded{changes})
}
