package admin

import (
	"net/http"
	"slices"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
)

// Providers are all that have something to do, or were slowed lately, and the
// routes that are held.
type Providers struct {
	Now       time.Time            `json:"now"`
	Providers []relay.ProviderLoad `json:"providers"`
}

func (h *handler) providers(w http.ResponseWriter, _ *http.Request) {
	now := time.Now()
	api.Answer(w, http.StatusOK, Providers{Now: now, Providers: h.loads(now)})
}

// routePrefix begins the destination of mail for a route: see [relay.Delivery].
const routePrefix = "route:"

// loads is what the scheduler knows of providers, and what only routes know.
func (h *handler) loads(now time.Time) []relay.ProviderLoad {
	all := append([]relay.ProviderLoad{}, h.Dispatcher.Providers()...)
	for _, held := range h.heldRoutes() {
		name := routePrefix + held.Route
		i := slices.IndexFunc(all, func(p relay.ProviderLoad) bool { return p.Name == name })
		if i < 0 {
			i = len(all)
			all = append(all, h.Dispatcher.Toward(name))
			all[i].Name, all[i].Queued = name, h.Dispatcher.Queued(name)
		}
		held.onto(&all[i], now)
	}
	return all
}

// onto says of a provider that it is held.
func (held HeldRoute) onto(p *relay.ProviderLoad, now time.Time) {
	p.State, p.Since, p.Until, p.Failure = relay.LoadHeld, held.Since, time.Time{}, held.Reply
	p.Said = p.Why(now)
}

func (h *handler) heldRoutes() []HeldRoute {
	if h.HeldRoutes == nil {
		return nil
	}
	return h.HeldRoutes()
}

// routeHeld is the hold of one route; zero: it is not held.
func (h *handler) routeHeld(route string) HeldRoute {
	for _, r := range h.heldRoutes() {
		if r.Route == route {
			return r
		}
	}
	return HeldRoute{}
}
