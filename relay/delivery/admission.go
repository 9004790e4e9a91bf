package delivery

import (
	"context"
	"fmt"
	"strings"
	"time"

	"dawk/relay"
	"dawk/relay/delivery/schedule"
	"dawk/relay/replies"
)

// routePrefix begins the destination of mail for a route: see [relay.Delivery].
const routePrefix = "route:"

// admission is what an attempt may connect to (relay.Admission): its slot, which
// it trades for one of another provider.
type admission struct {
	d          *Dispatcher
	slot       *schedule.Slot
	recipients int  // of the task
	admitted   bool // to a provider at least once
	gaveUp     bool // its slot is wanted for others; written under the dispatcher's lock until it lands

	ctx      context.Context // of the attempt
	end      context.CancelFunc
	progress *relay.Progress
}

// board makes the admission of an attempt that begins. The caller holds the lock.
func (d *Dispatcher) board(slot *schedule.Slot) *admission {
	a := &admission{d: d, slot: slot}
	a.ctx, a.end = context.WithCancel(d.attempts)
	a.progress = relay.NewProgress(a.end)
	d.flying[slot.Ref] = a
	return a
}

// giveUpSlots cuts attempts whose hosts do not answer, if others wait for their slots. It says
// whether it is to be called again soon. The caller holds the lock.
func (d *Dispatcher) giveUpSlots(now int64) bool {
	if !d.loaded || d.stopping || !d.sched.Short() {
		return false
	}
	for _, r := range d.sched.GiveUp(now, func(r schedule.Ref) (int64, bool) {
		stand, mayCut := d.flying[r].progress.Stand()
		return d.clock.at(stand.Heard), mayCut
	}) {
		d.flying[r].gaveUp = true
		d.flying[r].progress.Cut()
	}
	return true
}

// Provider is whose connection the attempt was given.
func (a *admission) Provider() string { return a.slot.Provider() }

// Admit asks for a connection to a host of that provider.
func (a *admission) Admit(provider string) bool {
	if a.slot.Has(provider) {
		a.admitted = true
		return true
	}
	a.d.mu.Lock()
	defer a.d.mu.Unlock()
	ok := a.d.sched.Admit(a.slot, provider, a.recipients, a.d.clock.now())
	a.admitted = a.admitted || ok
	a.d.pump()
	return ok
}

// turnedBack says whether the attempt ended before it connected to anything, because no connection
// was free: then it does not count as an attempt.
func (a *admission) turnedBack() bool { return a.slot.Refused() && !a.admitted }

// finding is what an attempt showed about its destination as a whole.
type finding struct {
	verdict schedule.Verdict
	by      relay.Reply // of VerdictClosed and VerdictThrottled
}

// land gives back the connection of an attempt.
func (d *Dispatcher) land(w work, found finding) {
	d.mu.Lock()
	slot := w.admission.slot
	delete(d.flying, slot.Ref)
	w.admission.end()
	before := slot.Limit()
	wasDown, _ := slot.Down()
	news := d.sched.Land(slot, found.verdict, found.by, d.clock.now())
	after := slot.Limit()
	down, met := slot.Down()
	d.pump()
	d.mu.Unlock()
	if route, ok := strings.CutPrefix(slot.Provider(), routePrefix); ok && down != wasDown {
		if down {
			d.cfg.Log.Warn("smart host not reached", "route", route, "host", met.MTA, "reply", relay.Sanitize(met.String()), "stage", string(met.Stage))
		} else {
			d.cfg.Log.Info("smart host reached again", "route", route)
		}
	}
	if !news {
		return
	}
	d.observer.Observe(relay.Event{Kind: relay.EventProviderSlowed, Time: time.Now().Round(0), Provider: slot.Provider(),
		Reply: found.by, Host: found.by.MTA, Rule: slowedTo(after, before)})
}

// slowedTo says what a throttling changed: a provider that has one connection keeps it, and rests.
func slowedTo(after, before int) string {
	switch {
	case after == before:
		return fmt.Sprintf("connections at once stay at %d", after)
	case after == 1:
		return fmt.Sprintf("1 connection at once instead of %d", before)
	}
	return fmt.Sprintf("%d connections at once instead of %d", after, before)
}

// findingOf says what the attempt found out about its destination.
func findingOf(m *relay.Message, r relay.Result) finding {
	for _, reply := range r.Replies {
		if throttles(reply) {
			return finding{schedule.VerdictThrottled, reply}
		}
	}
	return verdictOf(m, r)
}

// throttles says whether a reply means that we send too much at a time. A reply about one mailbox
// (X.2.X: it is full, or gets too much mail in all) is not about our rate; nor is a 5yz.
func throttles(r relay.Reply) bool {
	return r.Code/100 == 4 && !(r.Stage == relay.StageRcpt && (r.Status.Subject == 2 || r.Status.Subject == 1)) &&
		replies.Classify(r) == replies.RateLimited
}
