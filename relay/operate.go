package relay

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Verb is what an operator does to queued mail. [VerbRetry] and [VerbHold] pass
// over what is on hold, [VerbRelease] over what is not.
type Verb string

// The verbs of `dawk queue`. Retry, hold and release act on whole Deliveries.
// Delete and bounce end single recipients; only bounce tells the sender.
const (
	VerbRetry   Verb = "retry"   // attempt it now
	VerbHold    Verb = "hold"    // attempt nothing until it is released
	VerbRelease Verb = "release" // end a hold; it is attempted now
	VerbDelete  Verb = "delete"  // forget it and tell nobody
	VerbBounce  Verb = "bounce"  // give up now and tell the sender

	// VerbRetryNow is retry that cuts an attempt under way, before its final dot.
	VerbRetryNow Verb = "retry now"
)

// ErrPending: an attempt is under way. The verb acts on what it leaves, as soon as
// it ends.
var ErrPending = errors.New("it is being attempted now; done when the attempt ends")

// Verbs are all verbs, in the order of the help.
func Verbs() []Verb { return []Verb{VerbRetry, VerbHold, VerbRelease, VerbDelete, VerbBounce} }

// ParseVerb reads a verb as the operator writes it.
func ParseVerb(s string) (Verb, error) {
	if v := Verb(strings.ToLower(s)); slices.Contains(Verbs(), v) {
		return v, nil
	}
	return "", fmt.Errorf("%q is not something to do with a message: use retry, hold, release, delete or bounce", Sanitize(s))
}

// Where is the place of one Delivery in the schedule: what `dawk why` adds to
// what the store knows.
type Where struct {
	Job         uint16
	Place       string        // "waiting", "ready", "in progress" or "held"
	Destination string        // as in [Entry]
	Due         time.Time     // its next attempt; ready: not later than now
	RestUntil   time.Time     // its destination did not let us in and is suspended until then; zero: it is not
	Budget      bool          // it did, and is suspended only because its budget is used up
	Provider    *ProviderLoad // who takes its mail, while something is ready or in progress there; nil: nothing is
	Ahead       int           // ready: Deliveries of the same destination that wait for their turn, this one included
	Activity
}

// ProviderLoad is what a provider takes now, and what waits for it: the answer
// to "why is this provider slow right now".
type ProviderLoad struct {
	Name        string `json:"name"`        // "": domains of which nobody knows yet who takes their mail
	Domains     int    `json:"domains"`     // destinations with mail that is ready or in progress
	Ready       int    `json:"ready"`       // Deliveries that wait for their turn
	Connections int    `json:"connections"` // in use
	Limit       int    `json:"limit"`       // of Connections, now
	Most        int    `json:"most"`        // of Connections, when all is well

	Rate          Rate `json:"rate,omitzero"` // of messages; zero: none
	RecipientRate Rate `json:"recipient_rate,omitzero"`

	RestUntil time.Time `json:"rest_until,omitzero"` // nothing begins before; zero: it is not suspended
	Resting   string    `json:"resting,omitempty"`   // why: "rate", "slow" (it told us to), "closed" (it did not let us in)
	SlowedAt  time.Time `json:"slowed_at,omitzero"`  // when it told us to slow down; zero: not within the last hour
	SlowedBy  Reply     `json:"slowed_by,omitzero"`  // in these words
	GrowsAt   time.Time `json:"grows_at,omitzero"`   // before that Limit does not grow; zero: it may

	State LoadState `json:"state"` // what keeps the mail that waits for it
	Said  string    `json:"why"`   // State in words, with what else is to be said: see Why
	Slots Slots     `json:"-"`
}

// Slots are the attempts that may run at once, of all providers together.
type Slots struct{ Used, Most int }

// LoadState is what keeps mail that is ready for a provider from being attempted.
type LoadState string

// The states of a provider.
const (
	LoadOpen        LoadState = "open"        // nothing
	LoadSlots       LoadState = "slots"       // no slot is free for it: see Slots
	LoadConnections LoadState = "connections" // all that it takes are in use
	LoadProbing     LoadState = "probing"     // one attempt finds out whether it lets us in
	LoadSuspended   LoadState = "suspended"   // it did not let us in
	LoadThrottled   LoadState = "throttled"   // it told us to send less
	LoadRate        LoadState = "rate"        // its rate allows the next message later
	LoadBudget      LoadState = "budget"      // the budget of a mailbox is used up
)

// Called is the provider in a sentence.
func (p *ProviderLoad) Called() string {
	switch route, ok := strings.CutPrefix(p.Name, "route:"); {
	case ok:
		return "route " + route
	case p.Name == "":
		return "a provider that is not known yet"
	}
	return "provider " + p.Name
}

// Why says in a few words what makes mail wait for p, the hardest reason first, and
// what its rates and its pace are; "" when there is nothing to say.
func (p *ProviderLoad) Why(now time.Time) string {
	var why []string
	switch p.State {
	case LoadSlots:
		if p.Slots.Used >= p.Slots.Most {
			why = append(why, fmt.Sprintf("all %d slots are in use (delivery.max_connections)", p.Slots.Most))
		} else {
			why = append(why, fmt.Sprintf("%d of %d slots are in use, and who sent it holds as many as it may while others wait", p.Slots.Used, p.Slots.Most))
		}
	case LoadConnections:
		why = append(why, fmt.Sprintf("%d of %d connections in use", p.Connections, p.Limit))
	case LoadProbing:
		why = append(why, "its servers let nobody in, and one attempt asks again now")
	case LoadSuspended:
		why = append(why, "its servers let nobody in, one attempt asks again "+in(p.RestUntil, now))
	case LoadThrottled:
		why = append(why, "it asked us to slow down, the next attempt is "+in(p.RestUntil, now))
	case LoadBudget:
		why = append(why, "its budget is used up until "+p.RestUntil.UTC().Format("15:04:05 UTC"))
	}
	var rates []string
	for _, r := range []struct {
		rate Rate
		of   string
	}{{p.Rate, ""}, {p.RecipientRate, " recipients"}} {
		if r.rate.N > 0 {
			rates = append(rates, r.rate.String()+r.of)
		}
	}
	if len(rates) > 0 {
		s := "rate " + strings.Join(rates, ", ")
		if p.State == LoadRate && p.RestUntil.After(now) {
			s += ", the next message " + in(p.RestUntil, now)
		}
		why = append(why, s)
	}
	if s := p.slowed(now); s != "" {
		why = append(why, s)
	}
	return strings.Join(why, "; ")
}

func (p *ProviderLoad) slowed(now time.Time) string {
	if p.SlowedAt.IsZero() {
		return ""
	}
	s := fmt.Sprintf("slowed at %s by %q, now %d of %d connections", p.SlowedAt.UTC().Format("15:04:05 UTC"), ClipTo(Sanitize(p.SlowedBy.String()), 100), p.Limit, p.Most)
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
