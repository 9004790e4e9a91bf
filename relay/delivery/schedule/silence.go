package schedule

import (
	"cmp"
	"slices"
	"time"
)

// A host that does not answer keeps a slot and a connection for which others wait.
const (
	silentSlot       = 30 * time.Second // then an attempt gives up its slot, if no other is free
	silentConnection = time.Minute      // then one of a provider's connections, if all of them are silent
)

// Silent says since when the host of an attempt has not answered, and whether the attempt may be
// cut, because it has not sent the final dot.
type Silent func(Ref) (since int64, cut bool)

// GiveUp returns the attempts to be cut, because their hosts do not answer and others wait for
// their slots. They do not count as attempts; the next one of the same Delivery has State.Patient,
// and is never cut. It looks at all attempts: call it once a second while something is ready.
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
	slices.SortFunc(all, func(a, b *Slot) int { // of the holder of the most, the longest silent
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

// slotsGivenUp returns as many attempts as others wait for slots: of any identity if no slot is
// free; else of identities that hold all the slots that they may.
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
