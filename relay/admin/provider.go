package admin

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"dawk/relay"
)

// Provider is what a provider takes now, and what waits for it.
type Provider struct {
	Name        string `json:"name"` // "": domains of which nobody knows yet who takes their mail
	Domains     int    `json:"domains"`
	Ready       int    `json:"ready"`       // Deliveries that wait for their turn
	Connections int    `json:"connections"` // in use
	Limit       int    `json:"limit"`       // of Connections, now
	Most        int    `json:"most"`        // of Connections, when all is well

	Rate          relay.Rate `json:"rate,omitzero"`
	RecipientRate relay.Rate `json:"recipient_rate,omitzero"`

	RestUntil time.Time   `json:"rest_until,omitzero"` // nothing begins before
	Resting   string      `json:"resting,omitempty"`   // why: "rate", "slow", "closed"
	SlowedAt  time.Time   `json:"slowed_at,omitzero"`
	SlowedBy  relay.Reply `json:"slowed_by,omitzero"`
	GrowsAt   time.Time   `json:"grows_at,omitzero"` // no more connections before
}

// Providers are all that have something to do, or were slowed lately.
type Providers struct {
	Now       time.Time  `json:"now"`
	Providers []Provider `json:"providers"`
}

func (h *handler) providers(w http.ResponseWriter, _ *http.Request) {
	if h.Providers == nil {
		fail(w, http.StatusNotImplemented, errors.New("this relay does not tell of providers"))
		return
	}
	answer(w, http.StatusOK, Providers{Now: time.Now(), Providers: append([]Provider{}, h.Providers()...)})
}

// Called is the provider in a sentence.
func (p *Provider) Called() string {
	switch route, ok := strings.CutPrefix(p.Name, "route:"); {
	case ok:
		return "route " + route
	case p.Name == "":
		return "a provider that is not known yet"
	}
	return "provider " + p.Name
}

// Why says in a few words what makes mail wait for p, the hardest reason first;
// "" when nothing does.
func (p *Provider) Why(now time.Time) string {
	var why []string
	switch {
	case p.Connections >= p.Limit:
		why = append(why, fmt.Sprintf("%d of %d connections in use", p.Connections, p.Limit))
	case p.Resting == "closed":
		why = append(why, "its servers let nobody in, one attempt asks again "+in(p.RestUntil, now))
	case p.Resting == "slow":
		why = append(why, "it asked us to slow down, the next attempt is "+in(p.RestUntil, now))
	}
	var rates []string
	for _, r := range []struct {
		rate relay.Rate
		of   string
	}{{p.Rate, ""}, {p.RecipientRate, " recipients"}} {
		if r.rate.N > 0 {
			rates = append(rates, r.rate.String()+r.of)
		}
	}
	if len(rates) > 0 {
		s := "rate " + strings.Join(rates, ", ")
		if p.Resting == "rate" && p.RestUntil.After(now) {
			s += ", the next message " + in(p.RestUntil, now)
		}
		why = append(why, s)
	}
	if s := p.slowed(now); s != "" {
		why = append(why, s)
	}
	return strings.Join(why, "; ")
}

func (p *Provider) slowed(now time.Time) string {
	if p.SlowedAt.IsZero() {
		return ""
	}
	s := fmt.Sprintf("slowed at %s by %q, now %d of %d connections", p.SlowedAt.UTC().Format("15:04:05 UTC"), relay.ClipTo(relay.Sanitize(p.SlowedBy.String()), 100), p.Limit, p.Most)
	if p.GrowsAt.After(now) && p.Limit < p.Most {
		s += ", more " + in(p.GrowsAt, now) + " at the earliest"
	}
	return s
}

func in(t, now time.Time) string {
	d := t.Sub(now)
	if d < time.Second {
		return "in a moment"
	}
	return "in " + d.Round(time.Second).String()
}
