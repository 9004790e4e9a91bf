package schedule

import (
	"time"

	"dawk/relay"
)

// goesFirst is the order of priorities.
var goesFirst = [relay.Priorities]int{relay.PriorityHigh: 0, relay.PriorityNormal: 1, relay.PriorityBulk: 2}

// Turn is the place of r among those that wait for its provider, by the present order of the rings;
// the zero value if r waits for no turn. It walks through the lane of r and the lanes of its
// provider, so it is only for a question about one message.
func (s *Schedule) Turn(r Ref, now int64, wall func(int64) time.Time) relay.Turn {
	e := s.at(r)
	l := s.lanes[laneKey(e)]
	if e.place != placeReady || l == nil {
		return relay.Turn{}
	}
	p := l.flow.provider
	turn := relay.Turn{Place: 1 + s.ahead(r, l), Of: p.ready}
	if p.messages.limited() || p.recipients.limited() {
		turn.At = wall(p.earliest(turn.Place, now))
	}
	return turn
}

// ahead is how many turns of its provider come before that of r, which is in lane l. Turns go
// round: from every lane of r's flow as many go before r as are before r in its own lane, and from
// every other flow as many as from r's.
func (s *Schedule) ahead(r Ref, l *lane) (n int) {
	for o := s.at(r).lane.before; o != 0; o = s.at(o).lane.before {
		n++
	}
	h, before := l.flow, n
	behind := false // r's own in the ring: those before it have one turn more
	for o := h.turns.first; o != nil; o = o.after {
		if o.who == l {
			behind = true
			continue
		}
		n += min(o.who.n, turnsOf(before, behind))
	}
	own := n
	for k := range h.provider.backlogs {
		rank := h.identity.rank
		if goesFirst[k] > goesFirst[rank] {
			continue
		}
		behind := false
		for _, ring := range []*ring[*flow]{&h.provider.backlogs[k].eligible, &h.provider.backlogs[k].waiting} {
			for o := ring.first; o != nil; o = o.after {
				switch {
				case o.who == h:
					behind = true
				case relay.Priority(k) != rank:
					n += o.who.waiting()
				default:
					n += min(o.who.waiting(), turnsOf(own, behind))
				}
			}
		}
	}
	return n
}

func turnsOf(before int, behind bool) int {
	if behind {
		return before
	}
	return before + 1
}

// waiting is how many entries of h may have a turn.
func (h *flow) waiting() (n int) {
	for o := h.turns.first; o != nil; o = o.after {
		n += o.who.n
	}
	return n
}

// earliest is when p's rates allow so many messages, if each has one recipient, but not before now.
func (p *provider) earliest(messages int, now int64) int64 {
	return max(p.messages.after(messages-1, now), p.recipients.after(messages-1, now))
}

// after is when there is a token after n more were taken.
func (b *bucket) after(n int, now int64) int64 {
	return max(b.full, now) + int64(n)*b.every - b.slack
}
