package admin

import (
	"net/http"
	"time"

	"dawk/relay"
)

// Providers are all that have something to do, or were slowed lately.
type Providers struct {
	Now       time.Time            `json:"now"`
	Providers []relay.ProviderLoad `json:"providers"`
}

func (h *handler) providers(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, Providers{Now: time.Now(), Providers: append([]relay.ProviderLoad{}, h.Providers()...)})
}
