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

// reload answers 422 for a file that is refused: then nothing has changed.
func (h *handler) reload(w http.ResponseWriter, _ *http.Request) {
	changes, err := h.Reload()
	if err != nil {
		fail(w, http.StatusUnprocessableEntity, err)
		return
	}
	answer(w, http.StatusOK, Reloaded{changes})
}
