// Package queuetest is the conformance suite that every store of the queue
// passes, with a reference that keeps everything in memory.
package queuetest

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dawk/queue"
	"dawk/relay"
)

// Model says what a store must hold: the rules of a queue without its
// durability. Its methods are for one goroutine.
type Model struct {
	Destination func(*relay.Message, relay.Path) string // nil: the domain
	messages    map[relay.QueueID]*kept
	rows        map[relay.QueueID][]byte // of digests
	events      []relay.Event            // of the outbox, oldest first
}

type kept struct {
	item    relay.Item
	content []byte
	nextJob uint16
}

var errInvalid = errors.New("not a valid settlement")

// NewModel is an empty queue.
func NewModel() *Model {
	return &Model{messages: make(map[relay.QueueID]*kept), rows: make(map[relay.QueueID][]byte)}
}

// Accept enqueues a message.
func (m *Model) Accept(msg relay.Message, content []byte) []relay.Entry {
	msg.Size = int64(len(content))
	msg.Arrival, msg.NotBefore = micro(msg.Arrival), micro(msg.NotBefore)
	hold := msg.Hold
	m.events = append(m.events, told(msg.Events)...)
	begin := msg.Begin
	msg.Hold, msg.Begin, msg.Events = "", nil, nil
	k := &kept{item: relay.Item{Message: msg, Attempts: map[uint16][]relay.Attempt{}}, content: content}
	due := msg.Arrival
	if msg.NotBefore.After(due) {
		due = msg.NotBefore
	}
	jobs := map[string]int{}
	for i, r := range msg.Recipients {
		dest, last := r.Path.Domain(), relay.Reply{}
		if m.Destination != nil {
			dest = m.Destination(&msg, r.Path)
		}
		shared, state := dest, relay.State{}
		if begin != nil {
			state, last = begin[i].State, begin[i].Last
			state.Due, state.HeldAt = due, micro(state.HeldAt)
			shared += fmt.Sprint(state)
		}
		j, ok := jobs[shared]
		if !ok {
			j = len(k.item.Deliveries)
			jobs[shared] = j
			k.item.Deliveries = append(k.item.Deliveries, relay.Delivery{Entry: relay.Entry{ID: msg.ID, Job: uint16(j),
				Destination: dest, Identity: msg.Identity, Peer: msg.Peer(), Arrival: msg.Arrival, Due: due}})
			d := &k.item.Deliveries[j]
			if begin != nil {
				d.Set(state)
			} else if hold != "" {
				d.Held, d.HeldAt, d.Rule = true, msg.Arrival, hold
			}
		}
		d := &k.item.Deliveries[j]
		d.Open = append(d.Open, relay.Open{Recipient: i, Last: last})
	}
	k.nextJob = uint16(len(k.item.Deliveries))
	m.messages[msg.ID] = k
	var entries []relay.Entry
	for _, d := range k.item.Deliveries {
		entries = append(entries, d.Entry)
	}
	return entries
}

func micro(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return time.UnixMicro(t.UnixMicro()).UTC()
}

// Settle applies s as a whole, or nothing of it, and gives the new Deliveries.
func (m *Model) Settle(s relay.Settlement) ([]relay.Entry, error) {
	if s.ID == (relay.QueueID{}) {
		if len(s.Outcomes) > 0 {
			return nil, errInvalid
		}
		return m.tell(s), nil
	}
	k := m.messages[s.ID]
	if k == nil {
		return nil, relay.ErrNotFound
	}
	at := slices.IndexFunc(k.item.Deliveries, func(d relay.Delivery) bool { return d.Job == s.Job })
	if at < 0 {
		return nil, relay.ErrNotFound
	}
	d := k.item.Deliveries[at]
	next := s.Next
	next.Due, next.HeldAt = micro(next.Due), micro(next.HeldAt)
	d.Set(next)
	where := map[int]string{} // recipient → "": closed, else its destination
	last := map[int]relay.Reply{}
	for _, o := range d.Open {
		where[o.Recipient], last[o.Recipient] = d.Destination, o.Last
	}
	for _, o := range s.Outcomes {
		if _, ok := where[o.Recipient]; !ok {
			return nil, errInvalid
		}
		last[o.Recipient] = o.Reply
		if o.Action.Final() {
			delete(where, o.Recipient)
		}
	}
	var parted []relay.Delivery
	for i, p := range s.Split {
		n := relay.Delivery{Entry: d.Entry}
		n.Set(next)
		if p.Next != nil {
			own := *p.Next
			own.Due, own.HeldAt = micro(own.Due), micro(own.HeldAt)
			n.Set(own)
		}
		n.Destination, n.Job = p.Destination, k.nextJob+uint16(i)
		for _, r := range p.Recipients {
			if _, ok := where[r]; !ok {
				return nil, errInvalid
			}
			delete(where, r)
			n.Open = append(n.Open, relay.Open{Recipient: r, Last: last[r]})
		}
		parted = append(parted, n)
	}
	open := []relay.Open{}
	for _, o := range d.Open {
		if _, ok := where[o.Recipient]; ok {
			open = append(open, relay.Open{Recipient: o.Recipient, Last: last[o.Recipient]})
		}
	}
	d.Open = open
	// Nothing can fail any more.
	k.item.Deliveries[at] = d
	if len(open) == 0 {
		k.item.Deliveries = slices.Delete(k.item.Deliveries, at, at+1)
	}
	k.item.Deliveries = append(k.item.Deliveries, parted...)
	k.nextJob += uint16(len(parted))
	if s.Attempt != nil {
		k.item.Attempts[s.Job] = append(k.item.Attempts[s.Job], *s.Attempt)
	}
	if len(k.item.Deliveries) == 0 {
		delete(m.messages, s.ID)
	}
	var entries []relay.Entry
	for _, p := range parted {
		entries = append(entries, p.Entry)
	}
	return append(entries, m.tell(s)...), nil
}

// tell does what a settlement has for senders.
func (m *Model) tell(s relay.Settlement) (entries []relay.Entry) {
	for _, n := range s.Notices {
		entries = append(entries, m.Accept(n.Message, n.Content)...)
	}
	m.events = append(m.events, told(s.Events)...)
	for _, r := range s.Rows {
		m.rows[r.ID] = r.Data
	}
	for _, id := range s.Listed {
		delete(m.rows, id)
	}
	return entries
}

// Rows are the rows that no list has told of, oldest first.
func (m *Model) Rows() (all []relay.DigestRow) {
	for id, data := range m.rows {
		all = append(all, relay.DigestRow{ID: id, Data: data})
	}
	slices.SortFunc(all, func(a, b relay.DigestRow) int { return cmp.Compare(a.ID.Key, b.ID.Key) })
	return all
}

// Item is one message, or nil. It is not to be changed.
func (m *Model) Item(id relay.QueueID) *relay.Item {
	if k := m.messages[id]; k != nil {
		return &k.item
	}
	return nil
}

// Content is the content of a message.
func (m *Model) Content(id relay.QueueID) []byte {
	if k := m.messages[id]; k != nil {
		return k.content
	}
	return nil
}

// Items are all messages, oldest first.
func (m *Model) Items() []*relay.Item {
	var all []*relay.Item
	for _, k := range m.messages {
		all = append(all, &k.item)
	}
	slices.SortFunc(all, func(a, b *relay.Item) int { return cmp.Compare(a.Message.ID.Key, b.Message.ID.Key) })
	return all
}

// Stats counts messages and Deliveries; the rest depends on the store.
func (m *Model) Stats() queue.Stats {
	return queue.Stats{Messages: int64(len(m.messages)), Deliveries: int64(len(m.Entries()))}
}

// Entries are all Deliveries in the order of their messages.
func (m *Model) Entries() []relay.Entry {
	var all []relay.Entry
	for _, item := range m.Items() {
		for _, d := range item.Deliveries {
			all = append(all, d.Entry)
		}
	}
	return all
}

// clone is a copy that shares nothing that Settle changes.
func (m *Model) clone() *Model {
	c := NewModel()
	c.Destination, c.rows, c.events = m.Destination, maps.Clone(m.rows), slices.Clone(m.events)
	for id, k := range m.messages {
		n := *k
		n.item.Deliveries = slices.Clone(k.item.Deliveries)
		for i := range n.item.Deliveries {
			n.item.Deliveries[i].Open = slices.Clone(n.item.Deliveries[i].Open)
		}
		n.item.Attempts = make(map[uint16][]relay.Attempt)
		for job, a := range k.item.Attempts {
			n.item.Attempts[job] = slices.Clone(a)
		}
		c.messages[id] = &n
	}
	return c
}

// delivery finds one, or nil.
func (m *Model) delivery(id relay.QueueID, job uint16) *relay.Delivery {
	k := m.messages[id]
	if k == nil {
		return nil
	}
	for i := range k.item.Deliveries {
		if k.item.Deliveries[i].Job == job {
			return &k.item.Deliveries[i]
		}
	}
	return nil
}

func notFound(id relay.QueueID) error { return fmt.Errorf("%s: %w", id, relay.ErrNotFound) }
