package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/admin/api"
	"dawk/relay/admin/past"
	"dawk/relay/filter"
)

// Why is the answer to "where is my mail?": all that is known of one message.
type Why struct {
	ID    relay.QueueID `json:"id"`
	Now   time.Time     `json:"now"`   // the server's clock, to reckon ages from
	State string        `json:"state"` // "queued", "held" (all of what is left) or "finished"

	Was relay.QueueID `json:"was,omitzero"` // the ID that was asked for, which it had before it came back

	From      relay.Path    `json:"from"`
	Identity  string        `json:"identity,omitempty"`
	Client    string        `json:"client,omitempty"`
	Protocol  string        `json:"protocol,omitempty"`
	MessageID string        `json:"message_id,omitempty"`
	Arrival   time.Time     `json:"arrival"`
	Size      int64         `json:"size,omitempty"`
	Notice    bool          `json:"notice,omitempty"`
	To        []relay.Path  `json:"to,omitempty"`      // all recipients, by the index that outcomes use
	Waiting   []WhyDelivery `json:"waiting,omitempty"` // what is not finished
	Delayed   []Ended       `json:"delayed,omitempty"` // attempts before those of Ended, of a message that is finished
	Ended     []Ended       `json:"ended,omitempty"`   // what is
	MoreEnded int           `json:"more_ended,omitempty"`
	Events    []Ended       `json:"events,omitempty"`  // what else happened: held, released, bounced, complained, dropped
	Notices   []Notice      `json:"notices,omitempty"` // that it caused

	Transcripts []relay.Transcript `json:"transcripts,omitempty"` // what was said in the last failed attempt of each delivery; in memory only
}

// WhyDelivery is what is known of one Delivery.
type WhyDelivery struct {
	Job         uint16              `json:"job"`
	Destination string              `json:"destination"`
	Route       string              `json:"route"` // "mx" or the name of the route, as it would be chosen now
	State       relay.DeliveryState `json:"state"`
	HeldSince   time.Time           `json:"held_since,omitzero"`

	RouteHeldSince time.Time           `json:"route_held_since,omitzero"` // its route's account is in trouble
	RouteHeldBy    relay.Reply         `json:"route_held_by,omitzero"`    // and what holds it
	Open           []WhyRecipient      `json:"open"`
	Attempts       []relay.Attempt     `json:"attempts,omitempty"`
	Tried          int                 `json:"tried"`
	Next           time.Time           `json:"next,omitzero"` // when it is tried next; zero while held
	Rule           string              `json:"rule,omitempty"`
	Chosen         string              `json:"chosen_route,omitempty"` // the route that an operator has chosen for it
	Expires        time.Time           `json:"expires,omitzero"`       // returned to the sender by the first attempt that fails after it; zero while held
	Provider       *relay.ProviderLoad `json:"provider,omitempty"`     // what keeps mail for its destination, while something is ready or under way there
	Turn           relay.Turn          `json:"turn,omitzero"`          // ready: its place in line
	Host           string              `json:"host,omitempty"`         // active: whom the attempt has turned to
	Stage          relay.Stage         `json:"stage,omitempty"`        // active: how far it is there
	Since          time.Time           `json:"since,omitzero"`         // active: of Stage at Host
	Advice         []string            `json:"advice"`                 // what would unblock it, a sentence each
}

// Happening is one entry of a timeline: what became of a recipient, or a notice.
type Happening struct {
	Ended
	Notice *Notice // nil: it is none
}

// Timeline is all that happened to the message, oldest first.
func (y Why) Timeline() (all []Happening) {
	for _, e := range slices.Concat(y.Delayed, y.Ended, y.Events) {
		all = append(all, Happening{Ended: e})
	}
	for _, n := range y.Notices {
		all = append(all, Happening{Ended{At: n.At}, &n})
	}
	slices.SortStableFunc(all, func(a, b Happening) int { return a.At.Compare(b.At) })
	return all
}

// WhyRecipient is an open recipient.
type WhyRecipient struct {
	Recipient relay.Path  `json:"recipient"`
	Last      relay.Reply `json:"last,omitzero"`
}

func (h *handler) why(w http.ResponseWriter, r *http.Request) {
	id, ok := api.ID(w, r)
	if !ok {
		return
	}
	now := time.Now()
	was, remembered := h.History.Get(id)
	item, err := h.mail.Item(id)
	if errors.Is(err, relay.ErrNotFound) {
		was, remembered = h.History.Left(id, func() bool { return len(h.mail.Dispatcher.Where(id)) > 0 })
	}
	switch {
	case err == nil && item.Message.ID != id: // it has come back
		was, _ = h.History.Get(item.Message.ID)
		y := h.explain(item, was, now)
		y.Was = id
		h.answerWhy(w, y)
	case err == nil:
		h.answerWhy(w, h.explain(item, was, now))
	case !errors.Is(err, relay.ErrNotFound):
		api.Fail(w, api.StatusOf(err), fmt.Errorf("read %s: %w", id, err))
	case remembered:
		h.answerWhy(w, explainPast(was, now))
	default:
		api.Fail(w, http.StatusNotFound, h.unknown(id))
	}
}

func (h *handler) answerWhy(w http.ResponseWriter, y *Why) {
	y.Transcripts = h.Dispatcher.Transcripts(y.ID)
	api.Answer(w, http.StatusOK, y)
}

// unknown says where else to look for a message that nobody here knows.
func (h *handler) unknown(id relay.QueueID) error {
	if h.History == nil {
		return fmt.Errorf("%s is not in the queue; the log has the line of its delivery, under qid=%s", id, id)
	}
	messages, since := h.History.Reach()
	if messages == 0 {
		return fmt.Errorf("%s is not in the queue, and not in the history that is kept ([history] keep and max_size); the log has its lines, under qid=%s", id, id)
	}
	return fmt.Errorf("%s is not in the queue, and not among the last %d messages that finished since dawk started at %s; the log has its lines, under qid=%s",
		id, messages, since.UTC().Format(time.RFC3339), id)
}

func explainPast(p past.Past, now time.Time) *Why {
	return &Why{ID: p.ID, Now: now, State: "finished", From: p.From, Identity: p.Identity, MessageID: p.MessageID,
		Arrival: p.Arrival, Delayed: p.Delayed, Ended: p.Ended, MoreEnded: p.MoreEnded, Events: p.Events, Notices: p.Notices}
}

// explain computes the whole answer for a message in the queue.
func (h *handler) explain(item *relay.Item, p past.Past, now time.Time) *Why {
	m := &item.Message
	where := make(map[uint16]relay.Where)
	for _, w := range h.mail.Annotate(item) {
		where[w.Job] = w
	}
	y := &Why{ID: m.ID, Now: now, State: "held", From: m.From, Identity: m.Identity, Client: m.Client, Protocol: m.Protocol,
		MessageID: m.MessageID, Arrival: m.Arrival, Size: m.Size, Notice: m.Notice,
		Ended: p.Ended, MoreEnded: p.MoreEnded, Events: p.Events, Notices: p.Notices}
	for _, r := range m.Recipients {
		y.To = append(y.To, r.Path)
	}
	for i := range item.Deliveries {
		d := &item.Deliveries[i]
		if !d.Held {
			y.State = "queued"
		}
		y.Waiting = append(y.Waiting, h.explainDelivery(m, d, attemptsOf(item, d), where[d.Job], now))
	}
	// The store's history outlives a restart, the memory does not.
	for _, attempts := range item.Attempts {
		for _, a := range attempts {
			y.Ended = appendEnded(y.Ended, m, a)
		}
	}
	slices.SortStableFunc(y.Ended, func(a, b Ended) int { return a.At.Compare(b.At) })
	return y
}

// attemptsOf are those that concerned what is open in d, also those that were made before
// it parted from another Delivery.
func attemptsOf(item *relay.Item, d *relay.Delivery) (all []relay.Attempt) {
	open := d.Recipients()
	for job, attempts := range item.Attempts {
		for _, a := range attempts {
			if job == d.Job || slices.ContainsFunc(a.Outcomes, func(o relay.Outcome) bool { return slices.Contains(open, o.Recipient) }) {
				all = append(all, a)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b relay.Attempt) int { return a.At.Compare(b.At) })
	return all
}

func appendEnded(ended []Ended, m *relay.Message, a relay.Attempt) []Ended {
	for _, o := range a.Outcomes {
		if !o.Action.Final() || o.Recipient < 0 || o.Recipient >= len(m.Recipients) {
			continue
		}
		to := m.Recipients[o.Recipient].Path
		if slices.ContainsFunc(ended, func(e Ended) bool { return e.Recipient == to }) {
			continue
		}
		e := Ended{Recipient: to, Action: o.Action, At: a.At.Add(a.Took.Duration()), Attempt: a.N,
			Route: a.Route, Source: a.Source, Host: a.Host, Addr: a.Addr, TLS: a.TLS, Reply: o.Reply}
		// The store keeps the last session of an attempt. Of an earlier one, with
		// another host, only who spoke is known.
		if r := o.Reply; r.MTA != "" && (r.MTA != a.Host || r.Addr != a.Addr) {
			e.Route, e.Source, e.Host, e.Addr, e.TLS = "", "", r.MTA, r.Addr, ""
		}
		ended = append(ended, e)
	}
	return ended
}

func (h *handler) explainDelivery(m *relay.Message, d *relay.Delivery, attempts []relay.Attempt, where relay.Where, now time.Time) WhyDelivery {
	y := WhyDelivery{Job: d.Job, Destination: d.Destination, Route: h.routeOf(m, d), Attempts: attempts,
		Tried: d.Attempts, Next: d.Due, Rule: d.Rule, State: stateOf(d, where, now), Open: []WhyRecipient{}, Provider: where.Load,
		Chosen: d.Route, Host: where.Host, Stage: where.Stage, Since: where.Since}
	for _, o := range d.Open {
		if o.Recipient >= 0 && o.Recipient < len(m.Recipients) {
			y.Open = append(y.Open, WhyRecipient{Recipient: m.Recipients[o.Recipient].Path, Last: o.Last})
		}
	}
	if d.Held {
		y.HeldSince, y.Next, y.Rule = d.HeldAt, time.Time{}, ""
	}
	y.Expires = filter.Queued{Message: m, Delivery: d, MaxAge: h.MaxAge()}.Expires()
	if y.State == relay.StateReady {
		y.Turn = h.Dispatcher.Turn(m.ID, d.Job)
	}
	if held := h.routeHeld(y.Route); !held.Since.IsZero() {
		y.RouteHeldSince, y.RouteHeldBy, y.Expires = held.Since, held.Reply, time.Time{}
		if y.Provider == nil {
			y.Provider = &relay.ProviderLoad{Name: routePrefix + y.Route, Queued: h.Dispatcher.Queued(d.Destination)}
		}
		held.onto(y.Provider, now)
	}
	if y.Provider != nil {
		y.Provider.Said = y.Provider.Why(now)
	}
	y.Advice = adviseDelivery(m, d, &y, now)
	return y
}

// stateOf is what the scheduler does with d or, where it does not know d, what the
// store says.
func stateOf(d *relay.Delivery, where relay.Where, now time.Time) relay.DeliveryState {
	switch {
	case where.State != "":
		return where.State
	case d.Held:
		return relay.StateHeld
	case !d.Due.After(now):
		return relay.StateReady
	}
	return relay.StateDeferred
}

// routeOf asks for today's route, since it is looked up again at each attempt.
func (h *handler) routeOf(m *relay.Message, d *relay.Delivery) string {
	if h.pinned(d) {
		return d.Route
	}
	destination := d.Destination
	if h.Route != nil && len(d.Open) > 0 && d.Open[0].Recipient >= 0 && d.Open[0].Recipient < len(m.Recipients) {
		destination = h.Route(m, m.Recipients[d.Open[0].Recipient].Path)
	}
	if name, ok := strings.CutPrefix(destination, "route:"); ok {
		return name
	}
	return "mx"
}

// pinned says whether d goes by the route that an operator has chosen: it is still there.
func (h *handler) pinned(d *relay.Delivery) bool {
	return d.Route == relay.RouteMX || d.Route != "" && h.Routes != nil && slices.Contains(h.Routes(), d.Route)
}
