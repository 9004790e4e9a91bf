package delivery

import (
	"time"

	"dawk/relay"
)

// Wake makes due what waits for a destination after an attempt, or is about to, and
// ends the suspension of the destination: it can be reached again.
func (d *Dispatcher) Wake(destination string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.loaded {
		d.sched.WakeAll(destination, d.clock.now())
		d.pump()
	}
}

// accountHold keeps the time of a hold of d's route out of d's age. HeldAt says since when, until
// the first attempt that the hold did not stop.
func accountHold(m *relay.Message, d *relay.Delivery, r relay.Result) {
	switch {
	case d.Held: // held by the operator meanwhile
	case !r.HeldSince.IsZero() && d.HeldAt.IsZero():
		d.HeldAt = r.HeldSince.Round(0)
		for _, t := range []time.Time{m.Arrival, m.NotBefore} { // before that it had no age
			if t.After(d.HeldAt) {
				d.HeldAt = t
			}
		}
	case r.HeldSince.IsZero() && !d.HeldAt.IsZero():
		d.HeldFor += relay.Millis(max(0, r.Began.Round(0).Sub(d.HeldAt)))
		d.HeldAt = time.Time{}
	}
}
