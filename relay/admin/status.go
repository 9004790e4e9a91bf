package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/traffic"
	"dawk/relay/webhook"
)

// Status is the answer to "is mail flowing?": GET /v1/status and `dawk status`.
type Status struct {
	OK       bool      `json:"ok"`      // nothing is in Troubles; the exit status of `dawk status`
	Running  bool      `json:"running"` // false: only the command says so
	Version  string    `json:"version"`
	Now      time.Time `json:"now"` // the relay's clock, to reckon ages from
	Started  time.Time `json:"started,omitzero"`
	Flow     Flow      `json:"flow"`
	Draining *Draining `json:"draining,omitempty"` // nil: the relay is not about to end
	Troubles []Trouble `json:"troubles"`           // what an administrator should see to, the hardest first

	Backlog     relay.Backlog    `json:"backlog"`
	Providers   []StatusProvider `json:"providers"`   // every route with a smart host, and the providers that are busy
	Connections []StatusAttempt  `json:"connections"` // the longest at its stage first

	Events     StatusEvents `json:"events"`     // what programs are told of mail
	Suppressed int          `json:"suppressed"` // recipients that get no mail

	Cluster *relay.Cluster `json:"cluster,omitempty"` // the relays that share a queue in a database; absent where it is in files

	Disk          StatusDisk  `json:"disk"`
	Configuration ConfigState `json:"configuration"`
	Ends          []Ending    `json:"ends"` // certificates, the next to end first
}

// Flow says whether mail leaves, and Traffic remembers it.
type (
	Flow    = traffic.Flow
	Traffic = traffic.Traffic
)

// StatusProvider is a provider or a route, and when it last took mail.
type StatusProvider struct {
	relay.ProviderLoad
	LastSuccess time.Time `json:"last_success,omitzero"` // since the start of the relay
}

// StatusAttempt is a delivery attempt that is under way.
type StatusAttempt = relay.Underway

// StatusDisk is the room for the queue.
type StatusDisk struct {
	FreeBytes int64  `json:"free_bytes"`        // of the file system
	RoomBytes int64  `json:"room_bytes"`        // for new mail
	FileBytes int64  `json:"file_bytes"`        // of the queue file
	Refused   string `json:"refused,omitempty"` // why new mail is refused
	SetAside  int64  `json:"set_aside"`         // records that cannot be read
}

// StatusEvents is how far webhooks have come, and what is kept for them.
type StatusEvents struct {
	Webhooks    []webhook.Status `json:"webhooks"`         // in the order of the configuration
	OutboxBytes int64            `json:"outbox_bytes"`     // that the outbox takes
	OutboxMax   int64            `json:"outbox_max_bytes"` // that it may take; 0: nothing is kept
	Lost        uint64           `json:"lost"`             // events that there was no room for, since the relay started
	LostAt      time.Time        `json:"lost_at,omitzero"` // when the last of them was
}

// A receiver in trouble is one for people after webhookPatience; lost events are
// told for lostFor.
const (
	webhookPatience = 10 * time.Minute
	lostFor         = 24 * time.Hour
)

func (e *StatusEvents) troubles(now time.Time) (all []Trouble) {
	for _, h := range e.Webhooks {
		switch late := !h.Oldest.IsZero() && now.Sub(h.Oldest) > webhookPatience; {
		case h.State == webhook.Ended:
			all = append(all, Trouble{About: "webhook", Text: "webhook " + h.Name + " is told nothing, since its receiver answered 410",
				Remedy: "dawk webhook enable " + h.Name + ", or take its [[webhook]] out of the configuration"})
		case h.LastError != "" && (late || h.LastAt.IsZero()):
			all = append(all, Trouble{About: "webhook", Text: fmt.Sprintf("webhook %s takes no events, and %d wait: %s", h.Name, h.Pending, h.LastError),
				Remedy: "see to its receiver, then dawk webhook test " + h.Name + "; each event is given up after 3 days"})
		}
	}
	if e.Lost > 0 && now.Sub(e.LostAt) < lostFor {
		all = append(all, Trouble{About: "outbox", Text: fmt.Sprintf("%d events for webhooks were lost for want of room, the last at %s", e.Lost, e.LostAt.UTC().Format(moment)),
			Remedy: "see to receivers that are behind (dawk webhook list), make room on the disk, or raise outbox.max_size; no mail is affected"})
	}
	return all
}

// The states of a configuration.
const (
	ConfigLive    = "live"    // the file is what runs
	ConfigChanged = "changed" // the file, or one that it names, is another since it was loaded
	ConfigRefused = "refused" // the file that was read last has faults
	ConfigRestart = "restart" // keys of the file wait for a restart
)

// ConfigState says whether the configuration file is what runs.
type ConfigState struct {
	File    string    `json:"file"` // "": built-in defaults
	State   string    `json:"state"`
	Loaded  time.Time `json:"loaded,omitzero"`   // when what runs was read
	Why     string    `json:"why,omitempty"`     // refused: its faults
	Restart []string  `json:"restart,omitempty"` // keys that wait for a restart
}

// Ending is a certificate or a secret that ends by itself.
type Ending struct {
	What string    `json:"what"` // "certificate"
	Name string    `json:"name"`
	At   time.Time `json:"at"`
}

// EndsSoon is how long before an Ending people are told.
const EndsSoon = 30 * 24 * time.Hour

// status answers GET /v1/status.
func (h *handler) status(w http.ResponseWriter, _ *http.Request) {
	api.Answer(w, http.StatusOK, h.statusNow(time.Now()))
}

func (h *handler) statusNow(now time.Time) Status {
	s := Status{Running: true, Version: h.Version, Now: now, Started: h.Began, Troubles: h.problems(),
		Backlog: h.Dispatcher.Backlog(), Connections: append([]StatusAttempt{}, h.Dispatcher.Underway()...), Ends: []Ending{},
		Events: StatusEvents{Webhooks: []webhook.Status{}}}
	s.Troubles = append(s.Troubles, h.troubles(now)...)
	if h.ConfigState != nil {
		s.Configuration = h.ConfigState()
		if t, bad := s.Configuration.trouble(); bad {
			s.Troubles = append(s.Troubles, t)
		}
	}
	if h.Store != nil {
		st := h.Store()
		s.Disk = StatusDisk{FreeBytes: st.DiskFree, RoomBytes: st.Room, FileBytes: st.FileBytes, SetAside: st.Corrupt}
	}
	if err := h.Queue.Room(); err != nil {
		s.Disk.Refused = err.Error()
	}
	if h.Ends != nil {
		s.Ends = append(s.Ends, h.Ends()...)
		slices.SortFunc(s.Ends, func(a, b Ending) int { return a.At.Compare(b.At) })
	}
	if h.Events != nil {
		s.Events = h.Events()
	}
	if h.Cluster != nil {
		s.Cluster = h.Cluster()
	}
	if h.Suppressed != nil {
		s.Suppressed = h.Suppressed()
	}
	s.Providers = h.statusProviders(now)
	s.Flow = h.Traffic.Flow(&s.Backlog, h.Ready != nil && h.Ready() != nil)
	if h.Draining != nil {
		if d, on := h.Draining(); on {
			s.Draining, s.Flow.State, s.Flow.Since = &d, traffic.Draining, time.Time{}
		}
	}
	s.OK = len(s.Troubles) == 0
	return s
}

// databaseRemedy is for everything that the database lacks.
const databaseRemedy = "see to the database and its standby; the relay goes on by itself, and its log says more"

// problems are why the relay does not do its work.
func (h *handler) problems() []Trouble {
	all := []Trouble{}
	if h.Ready != nil {
		if err := h.Ready(); err != nil {
			all = append(all, Trouble{About: "queue", Text: err.Error(), Remedy: "wait; the log says how far it is"})
		}
	}
	refused := h.Queue.Room()
	switch {
	case h.Cluster == nil:
		if refused != nil && !full(refused) {
			all = append(all, Trouble{About: "disk", Text: "new mail is refused: " + refused.Error(), Remedy: "look at the disk, then restart the relay"})
		}
	case refused != nil && !full(refused):
		all = append(all, Trouble{About: "database", Text: "new mail is refused: " + refused.Error(), Remedy: databaseRemedy})
	default:
		if d := h.Cluster().Database; d.WaitingFor == relay.WaitStandby {
			all = append(all, Trouble{About: "database", Text: "commits wait for a synchronous standby of the database at " + d.Primary, Remedy: databaseRemedy})
		} else if d.WaitingFor != "" {
			all = append(all, Trouble{About: "database", Text: "the database cannot be reached: it was last at " + d.Primary, Remedy: databaseRemedy})
		}
	}
	return all
}

func (c *ConfigState) trouble() (t Trouble, bad bool) {
	t.About = "configuration"
	switch c.State {
	case ConfigChanged:
		t.Text, t.Remedy = c.File+" has changed since it was loaded", "dawk reload"
	case ConfigRefused:
		t.Text, t.Remedy = c.File+" was read again and is refused; what was loaded before runs", "dawk check, mend the file, then dawk reload"
	case ConfigRestart:
		t.Text, t.Remedy = "keys wait for a restart: "+strings.Join(c.Restart, ", "), "restart the relay"
	default:
		return t, false
	}
	if c.Why != "" {
		t.Text += ": " + c.Why
	}
	return t, true
}

// statusProviders are all routes with a smart host, then who is busy.
func (h *handler) statusProviders(now time.Time) []StatusProvider {
	loads := h.loads(now)
	if h.Routes != nil {
		for _, route := range h.Routes() {
			name := routePrefix + route
			if !slices.ContainsFunc(loads, func(p relay.ProviderLoad) bool { return p.Name == name }) {
				p := h.Dispatcher.Toward(name)
				p.Name, p.Queued = name, h.Dispatcher.Queued(name)
				loads = append(loads, p)
			}
		}
	}
	all := make([]StatusProvider, 0, len(loads))
	for _, p := range loads {
		all = append(all, StatusProvider{ProviderLoad: p, LastSuccess: h.Traffic.LastSuccess(p.Name)})
	}
	return all
}

// rates answers GET /v1/rates.
func (h *handler) rates(w http.ResponseWriter, _ *http.Request) {
	api.Answer(w, http.StatusOK, h.Rates.Now(h.Dispatcher.Backlog().Total))
}
