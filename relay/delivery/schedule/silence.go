package schedule

import (
	"cmp"
	"slices"
	"time"
)

// A host that says nothing keeps the slot and the connection that others wait for.
const (
	silentSlot       = 30 * time.Second // then an attempt gives its slot up, if no other is free
	silentConnection = time.Minute      // then one of a provider's, if all of its are so
)

// Silent says since when the host of an attempt has said nothing, and whether the
// attempt may be cut: it has not sent the final dot.
type Silent func(Ref) (since int64, cut bool)

// GiveUp are attempts that are to be cut, since others wait for what they hold and
// their hosts say nothing. Each is no attempt; the next one of the same Delivery is
// given back with State.Patient, and never chosen. It looks at all attempts: it is
// for once a second, while something is ready.
func (s *Schedule) GiveUp(now int64, silent Silent) []Ref {
	var all []*Slot
	quiet := make(map[*provider]int)
	for r, f := range s.flying {
		since, cut := silent(r)
		f.silentFor = now - since
		if f.silentFor >= silentConnection.Microseconds() {
			quiet[f.p]++
		}
		if cut && !s.at(r).has(flagPatient) && f.silentFor >= silentSlot.Microseconds() {
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b *Slot) int { // of whoever holds most, the longest
		return cmp.Or(b.identity.slots-a.identity.slots, cmp.Compare(b.silentFor, a.silentFor), cmp.Compare(a.Ref, b.Ref))
	})
	refs := s.slotsGivenUp(all)
	slices.SortStableFunc(all, func(a, b *Slot) int { return cmp.Compare(b.silentFor, a.silentFor) })
	for _, f := range all {
		if p := f.p; f.silentFor >= silentConnection.Microseconds() && p.short() && quiet[p] == p.slots && !slices.Contains(refs, f.Ref) {
			quiet[p] = 0 // one of them
			refs = append(refs, f.Ref)
		}
	}
	s.givenUp += uint64(len(refs))
	return refs
}

// Short says whether something is ready while attempts are under way.
func (s *Schedule) Short() bool { return s.ready > 0 && s.slots > 0 }

// slotsGivenUp are as many of all as others wait for: where no slot is free, of any
// identity; else of those that hold all that they may.
func (s *Schedule) slotsGivenUp(all []*Slot) (refs []Ref) {
	wanted := s.Waiting()
	for _, f := range all {
		if len(refs) < wanted && (s.slots >= s.most || f.identity.node.queued) {
			refs = append(refs, f.Ref)
		}
	}
	return refs
}

// Waiting is how many attempts could begin at once if there were slots for them.
func (s *Schedule) Waiting() (n int) {
	for k := range s.priorities {
		for i := s.priorities[k].turns.first; i != nil; i = i.after {
			for h := i.who.turns.first; h != nil; h = h.after {
				n++
			}
		}
	}
	return n
}

// short says whether mail waits for a connection of p, all of which are in use.
func (p *provider) short() bool {
	return p.suspension.until == 0 && p.slots >= p.width() && p.waited()
}
