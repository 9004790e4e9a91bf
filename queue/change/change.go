// Package change says how acceptance and settlements change Deliveries: the rules
// that every store obeys, whatever it keeps its rows in. It is pure. Begin reading at
// Advance.
package change

import (
	"errors"
	"fmt"

	"dawk/queue/record"
	"dawk/relay"
)

// ErrInvalid is a settlement that contradicts itself or its Delivery: a mistake of
// the caller. Nothing of it is done.
var ErrInvalid = errors.New("not a valid settlement")

// Accepted is msg as a store keeps it, with one Delivery for each destination of its
// recipients, numbered from 0. destination names what a recipient's Delivery shares.
func Accepted(msg *relay.Message, destination func(*relay.Message, relay.Path) string) (*relay.Message, []*relay.Delivery, error) {
	if n := len(msg.Recipients); n == 0 || n > record.MaxRecipients {
		return nil, nil, fmt.Errorf("a message needs 1 to %d recipients, this has %d", record.MaxRecipients, n)
	}
	m := *msg
	m.Arrival, m.NotBefore = record.Stored(m.Arrival), record.Stored(m.NotBefore)
	hold := m.Hold
	begin := m.Begin
	if begin != nil && len(begin) != len(m.Recipients) {
		return nil, nil, fmt.Errorf("%d recipients begin in %d ways", len(m.Recipients), len(begin))
	}
	m.Hold, m.Begin, m.Events = "", nil, nil // the Deliveries and the outbox keep them
	due := m.Arrival
	if m.NotBefore.After(due) {
		due = m.NotBefore
	}
	var all []*relay.Delivery
	fresh := relay.State{Due: due}
	if hold != "" {
		fresh.Held, fresh.HeldAt, fresh.Rule = true, m.Arrival, hold
	}
	type group struct { // of recipients that share a Delivery
		destination string
		state       relay.State
	}
	var first group
	var others map[group]*relay.Delivery // of all but the first
	for i := range m.Recipients {
		is, last := group{destination(&m, m.Recipients[i].Path), fresh}, relay.Reply{}
		if begin != nil {
			is.state, last = stored(begin[i].State), begin[i].Last
			is.state.Due = due
		}
		var d *relay.Delivery
		if len(all) > 0 && first == is {
			d = all[0]
		} else {
			d = others[is]
		}
		if d == nil {
			d = &relay.Delivery{Entry: relay.Entry{ID: m.ID, Job: uint16(len(all)), Destination: is.destination,
				Identity: m.Identity, Peer: m.Peer(), Arrival: m.Arrival}}
			d.Set(is.state)
			switch {
			case len(all) == 0:
				first = is
			case others == nil:
				others = map[group]*relay.Delivery{is: d}
			default:
				others[is] = d
			}
			all = append(all, d)
		}
		d.Open = append(d.Open, relay.Open{Recipient: i, Last: last})
	}
	return &m, all, nil
}

// stored is s as a store gives it back.
func stored(s relay.State) relay.State {
	s.Due, s.HeldAt = record.Stored(s.Due), record.Stored(s.HeldAt)
	return s
}

// Check checks what can be checked of s without its Delivery. dir is the store's; see
// relay.QueueID.
func Check(s *relay.Settlement, dir uint32) error {
	seen := make(map[int]bool)
	mark := func(r int) error {
		if seen[r] || r < 0 {
			return fmt.Errorf("%w: recipient %d is named twice or does not exist", ErrInvalid, r)
		}
		seen[r] = true
		return nil
	}
	for _, o := range s.Outcomes {
		if o.Action == "" {
			return fmt.Errorf("%w: recipient %d has no action", ErrInvalid, o.Recipient)
		}
		if err := mark(o.Recipient); err != nil {
			return err
		}
	}
	clear(seen)
	for _, p := range s.Split {
		if p.Destination == "" || len(p.Recipients) == 0 {
			return fmt.Errorf("%w: a split is empty", ErrInvalid)
		}
		for _, r := range p.Recipients {
			if err := mark(r); err != nil {
				return err
			}
		}
	}
	if s.Next.Attempts < 0 {
		return fmt.Errorf("%w: a negative number of attempts", ErrInvalid)
	}
	return checkIDs(s, dir)
}

func checkIDs(s *relay.Settlement, dir uint32) error {
	for i := range s.Notices {
		if id := s.Notices[i].Message.ID; id.Dir != dir || id.Key == 0 {
			return fmt.Errorf("%w: a notice has no ID of this queue", ErrInvalid)
		}
	}
	for _, r := range s.Rows {
		if r.ID.Dir != dir || r.ID.Key == 0 {
			return fmt.Errorf("%w: a row of digest has no ID of this queue", ErrInvalid)
		}
	}
	if s.ID.IsZero() && (s.Attempt != nil || len(s.Outcomes)+len(s.Split) > 0) {
		return fmt.Errorf("%w: it settles a Delivery and does not say which", ErrInvalid)
	}
	return nil
}

// Advance changes d as s says, and makes the Deliveries that are split off. If there are any, next
// is called once; it returns the lowest number that no Delivery of the message ever had. d is
// unusable after an error.
func Advance(d *relay.Delivery, s *relay.Settlement, next func() int) (parted []*relay.Delivery, err error) {
	at := make(map[int]int, len(d.Open)) // recipient → place in d.Open
	for i, o := range d.Open {
		at[o.Recipient] = i
	}
	leave := make(map[int]bool)
	for _, o := range s.Outcomes {
		i, ok := at[o.Recipient]
		if !ok {
			return nil, fmt.Errorf("%w: recipient %d is not open", ErrInvalid, o.Recipient)
		}
		d.Open[i].Last = o.Reply
		leave[o.Recipient] = o.Action.Final()
	}
	d.Set(stored(s.Next))
	job := 0
	for _, p := range s.Split {
		n := &relay.Delivery{Entry: d.Entry}
		n.Set(d.State())
		if p.Next != nil {
			n.Set(stored(*p.Next))
		}
		n.Destination = p.Destination
		for _, r := range p.Recipients {
			i, ok := at[r]
			if !ok || leave[r] {
				return nil, fmt.Errorf("%w: recipient %d of a split is not open", ErrInvalid, r)
			}
			leave[r] = true
			n.Open = append(n.Open, d.Open[i])
		}
		if len(parted) == 0 {
			job = next()
		} else {
			job++
		}
		if job >= record.NoDelivery {
			return nil, fmt.Errorf("%w: the message has too many Deliveries", ErrInvalid)
		}
		n.Job = uint16(job)
		parted = append(parted, n)
	}
	open := d.Open[:0]
	for _, o := range d.Open {
		if !leave[o.Recipient] {
			open = append(open, o)
		}
	}
	d.Open = open
	return parted, nil
}

// History is what s adds to the history of a message that stays, and whether it adds anything.
// Whatever ended a recipient is in the history, an act of the operator too (its N is 0): a damaged
// Delivery can be rebuilt from it.
func History(s *relay.Settlement) (a relay.Attempt, ok bool) {
	if s.Attempt != nil {
		a = *s.Attempt
	}
	a.Outcomes = merged(a.Outcomes, s.Outcomes)
	return a, s.Attempt != nil || len(a.Outcomes) > 0
}

// merged is the result of an attempt, made consistent with the decision: a recipient is final in
// the history exactly when it was closed.
func merged(found, decided []relay.Outcome) []relay.Outcome {
	open := make(map[int]relay.Outcome, len(decided)) // final, and not yet in the result
	for _, o := range decided {
		if o.Action.Final() {
			open[o.Recipient] = o
		}
	}
	all := make([]relay.Outcome, 0, len(found)+len(open))
	for _, o := range found {
		if o.Action.Final() {
			if _, ok := open[o.Recipient]; !ok {
				o.Action = relay.ActionDelayed
			}
			delete(open, o.Recipient)
		}
		all = append(all, o)
	}
	for _, o := range decided {
		if _, ok := open[o.Recipient]; ok {
			all = append(all, o)
		}
	}
	return all
}
