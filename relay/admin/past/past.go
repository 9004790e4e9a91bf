// Package past remembers what became of the last messages: in memory, or from the records
// on disk. History.mu guards it; there are no goroutines. Begin reading at
// [History.Observe].
package past

import (
	"slices"
	"sync"
	"time"

	"dawk/bounce"
	"dawk/relay"
)

// Bounds of a History. 10,000 messages with a recipient or two take about
// 10 MiB, and the collector's share of it as much again.
const (
	DefaultHistory = 10_000 // messages, where there are no records on disk
	recentHistory  = 500    // messages, where the memory only helps out when the disk takes no records
	maxEnded       = 50     // recipients kept of one message
	maxEndedText   = 256    // octets kept of a reply
)

// Ended is what became of one recipient.
type Ended struct {
	Recipient relay.Path   `json:"recipient"`
	Action    relay.Action `json:"action"` // relayed, delivered, failed, expired, deleted
	At        time.Time    `json:"at"`
	Attempt   int          `json:"attempt,omitempty"` // the attempt that decided; 0: none did
	Route     string       `json:"route,omitempty"`
	Source    string       `json:"source,omitempty"` // see relay.Result
	Host      string       `json:"host,omitempty"`
	Addr      string       `json:"addr,omitempty"`
	TLS       string       `json:"tls,omitempty"`
	SentAs    relay.Path   `json:"sent_as,omitzero"` // the mailbox that its From was replaced with
	Reply     relay.Reply  `json:"reply,omitzero"`
}

// Notice is a notice that a message caused.
type Notice struct {
	ID   relay.QueueID `json:"id"`
	Kind string        `json:"kind"`
	At   time.Time     `json:"at"`
}

// Past is what is remembered of a message of which recipients have ended.
type Past struct {
	ID        relay.QueueID `json:"id"`
	From      relay.Path    `json:"from"`
	Identity  string        `json:"identity,omitempty"`
	MessageID string        `json:"message_id,omitempty"`
	Arrival   time.Time     `json:"arrival"`
	Delayed   []Ended       `json:"delayed,omitempty"` // attempts that came to nothing yet; from Records only
	Ended     []Ended       `json:"ended"`
	MoreEnded int           `json:"more_ended,omitempty"` // beyond those in Ended
	Events    []Ended       `json:"events,omitempty"`     // what else happened: held, released, bounced, complained, dropped; from Records only
	Notices   []Notice      `json:"notices,omitempty"`
}

// History remembers, in memory, the last messages of which a recipient ended:
// the answer to "did it arrive?" long after the queue forgot. It is an
// Observer and safe for use by several goroutines.
type History struct {
	began   time.Time
	records Records // nil: this memory is all there is
	most    int     // recipients kept of one message

	mu   sync.Mutex
	byID map[relay.QueueID]*Past
	ring []relay.QueueID // the order of forgetting
	next int             // in ring: where the next message goes
}

// Records are what a History has on disk: far more than it remembers, and
// across restarts.
type Records interface {
	// Of is all that is known of one message, oldest first.
	Of(relay.QueueID) ([]relay.Event, error)
	// Since are the events of some kinds since then, oldest first.
	Since(at time.Time, kinds []relay.EventKind, each func(relay.Event)) error
}

// maxRecorded bounds each list of a Past from Records: five days are some 70 attempts.
const maxRecorded = 5000

// NewHistory remembers so many messages; 0: DefaultHistory. With records it asks
// these, and remembers few itself; nil: there are none.
func NewHistory(messages int, records Records) *History {
	if messages <= 0 {
		messages = DefaultHistory
	}
	if records != nil {
		messages = min(messages, recentHistory)
	}
	return &History{began: time.Now(), records: records, most: maxEnded, byID: make(map[relay.QueueID]*Past), ring: make([]relay.QueueID, messages)}
}

var actionOf = map[relay.EventKind]relay.Action{
	relay.EventRelayed: relay.ActionRelayed, relay.EventDelivered: relay.ActionDelivered,
	relay.EventFailed: relay.ActionFailed, relay.EventExpired: relay.ActionExpired,
	relay.EventDeleted: relay.ActionDeleted, relay.EventSuppressed: relay.ActionFailed,
}

// Observe implements relay.Observer.
func (h *History) Observe(e relay.Event) {
	action, final := actionOf[e.Kind]
	if e.ID.IsZero() || !final && e.Kind != relay.EventNotified {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p := h.past(e)
	if e.Kind == relay.EventNotified {
		if len(p.Notices) < h.most {
			p.Notices = append(p.Notices, Notice{ID: e.NoticeID, Kind: e.NoticeKind, At: e.Time})
		}
		return
	}
	if len(p.Ended) == h.most {
		p.MoreEnded++
		return
	}
	p.Ended = append(p.Ended, endedOf(e, action))
}

func endedOf(e relay.Event, action relay.Action) Ended {
	reply := e.Reply
	reply.Text = relay.ClipTo(reply.Text, maxEndedText)
	return Ended{Recipient: e.Recipient, Action: action, At: e.Time, Attempt: e.Attempt,
		Route: e.Route, Source: e.Source, Host: e.Host, Addr: e.Addr, TLS: relay.TLSWords(e.TLS, e.TLSLevel, e.TLSPolicy), SentAs: e.SentAs, Reply: reply}
}

// recorded is what the records say of a message.
func (h *History) recorded(id relay.QueueID) (Past, bool) {
	if h.records == nil {
		return Past{}, false
	}
	events, err := h.records.Of(id)
	if err != nil || len(events) == 0 {
		return Past{}, false // the memory may still know
	}
	once := NewHistory(1, nil)
	once.most = maxRecorded
	var delayed, others []Ended
	for _, e := range events {
		switch e.Kind {
		case relay.EventDelayed:
			if len(delayed) < maxRecorded {
				delayed = append(delayed, endedOf(e, relay.ActionDelayed))
			}
		case relay.EventHeld, relay.EventReleased, relay.EventBounced, relay.EventComplained, relay.EventDropped:
			if len(others) < maxRecorded {
				others = append(others, endedOf(e, relay.Action(e.Kind)))
			}
		}
		once.past(e) // known, also where the line of its end was lost in a crash
		once.Observe(e)
	}
	p, ok := once.Get(id)
	p.Delayed, p.Events = delayed, others
	return p, ok
}

// past finds or makes the record of e's message; making it forgets the oldest.
func (h *History) past(e relay.Event) *Past {
	p := h.byID[e.ID]
	if p == nil {
		delete(h.byID, h.ring[h.next])
		h.ring[h.next] = e.ID
		h.next = (h.next + 1) % len(h.ring)
		p = &Past{ID: e.ID, Arrival: e.ID.Time()}
		h.byID[e.ID] = p
	}
	// Not every kind of event carries these.
	if !e.From.IsNull() {
		p.From = e.From
	}
	if e.Identity != "" {
		p.Identity = e.Identity
	}
	if e.MessageID != "" {
		p.MessageID = e.MessageID
	}
	if e.Age > 0 {
		p.Arrival = e.Time.Add(-e.Age)
	}
	return p
}

// Get is what is remembered of a message, as a copy.
func (h *History) Get(id relay.QueueID) (Past, bool) {
	if h == nil {
		return Past{}, false
	}
	if p, ok := h.recorded(id); ok {
		return p, true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	p, ok := h.byID[id]
	if !ok {
		return Past{}, false
	}
	c := *p
	c.Ended = append([]Ended(nil), p.Ended...)
	c.Notices = append([]Notice(nil), p.Notices...)
	return c, true
}

// Notified are the notices, other than those of a delay, of every message of which something failed
// since then: nobody knows of the others whether their senders were told.
func (h *History) Notified(since time.Time) (map[relay.QueueID][]Notice, error) {
	all := make(map[relay.QueueID][]Notice)
	if h == nil {
		return all, nil
	}
	take := func(id relay.QueueID, notices ...Notice) {
		known := all[id]
		for _, n := range notices {
			if n.Kind != string(bounce.KindDelayed) && !slices.Contains(known, n) {
				known = append(known, n)
			}
		}
		all[id] = known
	}
	if h.records != nil {
		err := h.records.Since(since, []relay.EventKind{relay.EventFailed, relay.EventNotified}, func(e relay.Event) {
			if take(e.ID); e.Kind == relay.EventNotified {
				take(e.ID, Notice{ID: e.NoticeID, Kind: e.NoticeKind, At: e.Time})
			}
		})
		return all, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, p := range h.byID {
		take(id, p.Notices...)
	}
	return all, nil
}

// Left is what is remembered of a message that the queue does not have. Whoever ended it
// just now tells so after the commit, and keeps its Delivery until that is done: held says
// whether somebody does.
func (h *History) Left(id relay.QueueID, held func() bool) (Past, bool) {
	for tries := 0; h != nil && held() && tries < 500; tries++ { // five seconds: a disk that hangs holds nobody up
		time.Sleep(10 * time.Millisecond)
	}
	return h.Get(id)
}

// Reach says how far back it remembers, for whoever misses a message: so many messages,
// since then; 0 where there are records on disk.
func (h *History) Reach() (messages int, since time.Time) {
	if h.records != nil {
		return 0, h.began
	}
	return len(h.ring), h.began
}
