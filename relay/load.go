package relay

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Where is what the schedule knows of one Delivery: what `dawk why` adds to what
// the store knows.
type Where struct {
	Job         uint16
	Destination string        // as in [Entry]
	Due         time.Time     // its next attempt; ready: not later than now
	Load        *ProviderLoad // what keeps mail that is ready for its destination; nil: nothing is ready or under way there
	Activity
}

// Turn is the place of a Delivery among those that wait for the same provider.
type Turn struct {
	Place int       `json:"place"`       // 1: it is the next
	Of    int       `json:"of"`          // Deliveries that wait for the provider
	At    time.Time `json:"at,omitzero"` // when the provider's rates let it go at the earliest; zero: they do not delay it
}

// DeliveryState is what the scheduler does with a Delivery. The zero value is: it
// was not asked.
type DeliveryState string

// The states; of several that hold it is the first.
const (
	StateHeld      DeliveryState = "held"      // only an operator moves it
	StateActive    DeliveryState = "active"    // being attempted
	StateSuspended DeliveryState = "suspended" // its destination or its provider is left alone
	StateDeferred  DeliveryState = "deferred"  // it waits for its time
	StateReady     DeliveryState = "ready"     // it waits for its turn
)

func (s DeliveryState) String() string { return string(s) }

// DeliveryStates are all of them.
func DeliveryStates() []DeliveryState {
	return []DeliveryState{StateHeld, StateActive, StateSuspended, StateDeferred, StateReady}
}

// ProviderLoad is what a provider takes now, and what waits for it: the answer
// to "why is this provider slow right now".
type ProviderLoad struct {
	Name        string `json:"name"`        // "": domains of which nobody knows yet who takes their mail
	Domains     int    `json:"domains"`     // destinations with mail that is ready or in progress
	Queued      int    `json:"queued"`      // Deliveries of these destinations in all, whatever their states
	Ready       int    `json:"ready"`       // Deliveries that wait for their turn
	Connections int    `json:"connections"` // in use
	Limit       int    `json:"limit"`       // of Connections, now
	Most        int    `json:"most"`        // of Connections, when all is well

	Rate          Rate `json:"rate,omitzero"` // of messages; zero: none
	RecipientRate Rate `json:"recipient_rate,omitzero"`

	State   LoadState `json:"state"`                 // what keeps the mail that waits for it
	Said    string    `json:"why"`                   // State in words, with what else is to be said: see Why
	Since   time.Time `json:"since,omitzero"`        // probing, suspended, down, throttled, held: since when
	Until   time.Time `json:"until,omitzero"`        // suspended, throttled, rate, budget: when the next attempt may begin
	Failure Reply     `json:"last_failure,omitzero"` // probing, suspended, down, held: what the last attempt met
	Drained time.Time `json:"drained_by,omitzero"`   // rate: when all that is ready will have gone, at the earliest

	SlowedAt time.Time `json:"slowed_at,omitzero"` // when it told us to slow down; zero: not within the last hour
	SlowedBy Reply     `json:"slowed_by,omitzero"` // in these words
	GrowsAt  time.Time `json:"grows_at,omitzero"`  // before that Limit does not grow; zero: it may

	Slots Slots `json:"-"`
}

// Slots are the attempts that may run at once, of all providers together.
type Slots struct{ Used, Most int }

// LoadState is what keeps mail that is ready for a provider from being attempted.
type LoadState uint8

// The states of a provider. waits has the words of each.
const (
	LoadOpen        LoadState = iota // nothing
	LoadLookup                       // one attempt of each domain finds out who takes its mail
	LoadSlots                        // no slot is free for it: see Slots
	LoadConnections                  // all that it takes are in use
	LoadRate                         // its rate allows the next message later
	LoadProbing                      // one attempt finds out whether it lets us in
	LoadSuspended                    // it did not let us in
	LoadThrottled                    // it told us to send less
	LoadBudget                       // the budget of a mailbox is used up
	LoadDown                         // the last attempts did not get in; what waits is tried at its time
	LoadHeld                         // the account of its route is in trouble
	LoadStates                       // how many there are
)

var loadNames = [LoadStates]string{LoadOpen: "open", LoadLookup: "lookup", LoadSlots: "slots", LoadConnections: "connections", LoadRate: "rate",
	LoadProbing: "probing", LoadSuspended: "suspended", LoadThrottled: "throttled", LoadBudget: "budget", LoadDown: "down", LoadHeld: "held"}

func (s LoadState) String() string { return loadNames[s] }

// MarshalText uses the form of String.
func (s LoadState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads the form of String.
func (s *LoadState) UnmarshalText(b []byte) error {
	i := slices.Index(loadNames[:], string(b))
	if i < 0 {
		return fmt.Errorf("there is no state %q", Clip(string(b)))
	}
	*s = LoadState(i)
	return nil
}

// waits says what makes mail wait in the state of p.
func (p *ProviderLoad) waits(now time.Time) string {
	silent := "its servers let nobody in" + p.since(now)
	if p.Failure.Stage == StageDNS {
		silent = "DNS gives no usable answer about its servers" + p.since(now)
	}
	switch p.State {
	case LoadLookup:
		return "one attempt of each domain finds out who takes its mail"
	case LoadSlots:
		if p.Slots.Used >= p.Slots.Most {
			return fmt.Sprintf("all %d slots are in use (delivery.max_connections)", p.Slots.Most)
		}
		return fmt.Sprintf("%d of %d slots are in use, and who sent it holds as many as it may while others wait", p.Slots.Used, p.Slots.Most)
	case LoadConnections:
		if p.Limit == 0 {
			return "the other machines have all of its connections for the moment"
		}
		return fmt.Sprintf("%d of %d connections in use", p.Connections, p.Limit)
	case LoadRate:
		s := p.rates() + ", the next message " + in(p.Until, now)
		if p.Ready > 1 && p.Drained.After(now) {
			s += fmt.Sprintf(", all %d %s", p.Ready, in(p.Drained, now))
		}
		return s
	case LoadProbing:
		return silent + ", and one attempt asks again now" + p.failure()
	case LoadSuspended:
		return "suspended: " + silent + ", one attempt asks again " + in(p.Until, now) + p.failure()
	case LoadThrottled:
		return "throttled: it asked us to slow down" + p.since(now) + ", the next attempt is " + in(p.Until, now)
	case LoadBudget:
		return "its budget is used up until " + clock(p.Until)
	case LoadDown:
		return silent + ", and its mail is tried again at its time" + p.failure()
	case LoadHeld:
		return "held: its login or account is in trouble" + p.since(now) + p.failure()
	}
	if p.Ready > 0 {
		return "its turn comes at once"
	}
	if p.Queued > 0 {
		return "nothing keeps its mail, which is under way or waits for its time"
	}
	return "nothing waits"
}

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
// what its rates and its pace are.
func (p *ProviderLoad) Why(now time.Time) string {
	why := []string{p.waits(now)}
	if p.State != LoadRate && p.Rate.N+p.RecipientRate.N > 0 {
		why = append(why, p.rates())
	}
	if s := p.slowed(now); s != "" {
		why = append(why, s)
	}
	return strings.Join(why, "; ")
}

func (p *ProviderLoad) rates() string {
	var list []string
	if p.Rate.N > 0 {
		list = append(list, p.Rate.String())
	}
	if p.RecipientRate.N > 0 {
		list = append(list, p.RecipientRate.String()+" recipients")
	}
	return strings.TrimSpace("rate " + strings.Join(list, ", "))
}

// Keeps says whether mail that comes for p now has to wait.
func (p *ProviderLoad) Keeps() bool { return p.State != LoadOpen }

// Unreachable says whether mail waits since the provider's servers let nobody in.
func (p *ProviderLoad) Unreachable() bool {
	return p.Queued > 0 && (p.State == LoadSuspended || p.State == LoadProbing || p.State == LoadDown)
}

func (p *ProviderLoad) slowed(now time.Time) string {
	if p.SlowedAt.IsZero() {
		return ""
	}
	s := fmt.Sprintf("slowed at %s by %q, now %d of %d connections", clock(p.SlowedAt), ClipTo(Sanitize(p.SlowedBy.String()), 100), p.Limit, p.Most)
	if p.GrowsAt.After(now) && p.Limit < p.Most {
		s += ", more " + in(p.GrowsAt, now) + " at the earliest"
	}
	return s
}

func (p *ProviderLoad) since(now time.Time) string {
	switch {
	case p.Since.IsZero():
		return ""
	case now.Sub(p.Since) > 12*time.Hour:
		return " since " + p.Since.UTC().Format("2006-01-02 15:04 UTC")
	}
	return " since " + clock(p.Since)
}

// failure names what the last attempt met, without the remedy, which is a field.
func (p *ProviderLoad) failure() string {
	if p.Failure.IsZero() {
		return ""
	}
	return fmt.Sprintf(" (last: %s)", ClipTo(Sanitize(p.Failure.String()), 160))
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05 UTC") }

func in(t, now time.Time) string {
	d := t.Sub(now)
	if d < time.Second {
		return "in a moment"
	}
	return "in " + d.Round(time.Second).String()
}

// Backlog counts Deliveries by state; see [DeliveryState].
type Backlog struct {
	Total     int       `json:"total"`
	Held      int       `json:"held"`
	Active    int       `json:"active"`
	Suspended int       `json:"suspended"`
	Deferred  int       `json:"deferred"`
	Ready     int       `json:"ready"`
	Oldest    time.Time `json:"oldest,omitzero"`     // arrival of the oldest message; zero: the queue is empty
	OldestDue time.Time `json:"oldest_due,omitzero"` // since when what is ready or suspended longest could have been tried; zero: nothing is due
}

// Underway is an attempt that is being made.
type Underway struct {
	ID          QueueID   `json:"id"`
	Destination string    `json:"destination"`   // as in [Delivery]
	Provider    string    `json:"provider_name"` // whose connection it has; "": nobody knows yet
	Host        string    `json:"host"`          // whom it has turned to; "": nobody yet
	Stage       Stage     `json:"stage"`
	Since       time.Time `json:"since"` // of Stage at Host
}

// Cluster is the relays that share a queue in a database, as one of them sees it.
type Cluster struct {
	Nodes    []ClusterNode   `json:"nodes"`    // by number, those that are gone included
	Database ClusterDatabase `json:"database"` // where the queue is
}

// The states of a ClusterNode.
const (
	NodeWorking  = "working"  // its beat moves
	NodeSilent   = "silent"   // its beat has not moved for some seconds: soon others have its work
	NodeDraining = "draining" // it works, and gives its partitions to the others
	NodeGone     = "gone"     // it has left, or its work was taken
)

// ClusterNode is one relay of a Cluster.
type ClusterNode struct {
	ID         int    `json:"id"`         // its number
	Name       string `json:"name"`       // its hostname
	State      string `json:"state"`      // working, silent, draining or gone
	Partitions int    `json:"partitions"` // of 256, in which it takes and delivers mail
	Self       bool   `json:"self"`       // the relay that was asked
}

// What a ClusterDatabase waits for.
const (
	WaitDatabase = "database" // it cannot be reached
	WaitStandby  = "standby"  // it has no synchronous standby, or commits wait for one
)

// ClusterDatabase is where the queue of a Cluster is.
type ClusterDatabase struct {
	Primary    string `json:"primary"`     // its address as the relay reaches it; "local": a socket
	Standby    string `json:"standby"`     // names of those that a commit waits for and that are there; "": none
	WaitingFor string `json:"waiting_for"` // database or standby; "": nothing
	AllowAsync bool   `json:"allow_async"` // one server is enough: its disk may be the only copy
}

// Working is how many nodes are not gone, and how many partitions the relay that was asked has.
func (c *Cluster) Working() (nodes, partitions int) {
	for _, n := range c.Nodes {
		if n.State != NodeGone {
			nodes++
		}
		if n.Self {
			partitions = n.Partitions
		}
	}
	return nodes, partitions
}

// Words says how the database is, in a line.
func (d *ClusterDatabase) Words() string {
	words := "primary " + Sanitize(d.Primary)
	if d.Standby != "" {
		words += ", synchronous standby " + Sanitize(d.Standby)
	}
	if d.AllowAsync {
		words += ", allow_async is set: a standby is not required"
	}
	if d.WaitingFor != "" {
		words += "; waits for the " + d.WaitingFor
	}
	return words
}
