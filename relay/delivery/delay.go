package delivery

import (
	"errors"
	"slices"
	"sync"
	"time"

	"dawk/bounce"
	"dawk/relay"
	"dawk/relay/delivery/notices"
)

// lateWork is a Delivery whose delay notice may be due.
type lateWork struct {
	work  work
	claim *relay.Claim
	dec   decision
}

// tellDelay sends the delay notice of Deliveries of one message that are not in progress: one for
// all of them, which is committed with the first; then the others are marked as told. After a crash
// in between, a second notice names those.
func (d *Dispatcher) tellDelay(works []work) {
	defer d.wg.Add(-len(works))
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.noticing--
		d.pump()
	}()
	all, content := d.lateOnes(works)
	if content != nil {
		defer content.Close()
	}
	now := time.Now().Round(0)
	var due []lateWork
	for _, l := range all {
		if l.dec = d.rules.Load().settler.noticed(now, l.claim); l.dec.settlement.ID.IsZero() {
			d.release(l.work, d.stateAfter(l.work, l.claim, l.dec))
			continue
		}
		due = append(due, l)
	}
	if len(due) == 0 {
		return
	}
	first := d.rules.Load().settler.tellDelay(now, due, content)
	if !d.settle(first.work, first.claim, first.dec) {
		for _, l := range due[1:] {
			d.release(l.work, l.work.was)
		}
		return
	}
	atOnce(due[1:], func(l lateWork) { d.settle(l.work, l.claim, l.dec) })
}

// lateOnes reads the Deliveries. The caller closes their content; nil: it cannot be read now, and
// the notice has none.
func (d *Dispatcher) lateOnes(works []work) (all []lateWork, content relay.Content) {
	for _, w := range works {
		claim, err := d.queue.Claim(w.id, w.job)
		if claim == nil || errors.Is(err, relay.ErrContentLost) {
			d.unread(w, claim, err)
			continue
		}
		switch {
		case err != nil:
		case content == nil:
			content = claim.Content
		default:
			claim.Content.Close()
		}
		claim.Content = nil
		if len(all) > 0 {
			claim.Message = all[0].claim.Message // with as many recipients as Deliveries, copies would be many
		}
		all = append(all, lateWork{work: w, claim: claim})
	}
	return all, content
}

// noticed is the settlement of a Delivery that is not in progress and whose delay notice is due,
// without the notice; without an ID when it is not. If nobody wants to be told, that is settled as
// well, so that it is decided only once.
func (s *settler) noticed(now time.Time, c *relay.Claim) decision {
	d := c.Delivery
	dec := decision{now: now, aside: true, noted: d.DelayNoticed}
	if s.delayDue(now, c.Message, d) {
		dec.noted = true
		dec.settlement = relay.Settlement{ID: c.Message.ID, Job: d.Job, Next: d.State()}
		dec.settlement.Next.DelayNoticed = true
	}
	return dec
}

// tellDelay gives the notice about all of due to one of them, which it puts
// first: the one whose time is up first, since the notice names one time.
func (s *settler) tellDelay(now time.Time, due []lateWork, content relay.Content) lateWork {
	var out []relay.Outcome
	for i, l := range due {
		d := l.claim.Delivery
		if age(now, l.claim.Message, d) > age(now, l.claim.Message, due[0].claim.Delivery) {
			due[0], due[i] = due[i], due[0]
		}
		if d.Held {
			out = append(out, outcomesFor(d, relay.ActionDelayed,
				relay.Decision(relay.CauseOperator, relay.Status{Class: 4, Subject: 3, Detail: 0}, "on hold, %s", byAdministrator))...)
			continue
		}
		out = append(out, stillOpen(d, []relay.Split{{Recipients: d.Recipients()}})...)
	}
	slices.SortFunc(out, func(a, b relay.Outcome) int { return a.Recipient - b.Recipient })
	first := &due[0]
	first.claim.Content = content
	first.dec.cause = notices.Cause{Outcomes: out, Situation: bounce.Situation{DelayDue: true}, Until: s.until(now, first.claim.Message, first.claim.Delivery)}
	return *first
}

// bulkWorkers is how many settlements of one message are made at once: they share commits, so many
// together cost little more than one.
const bulkWorkers = 128

// atOnce calls a function for several at a time.
func atOnce[T any](all []T, do func(T)) {
	var wg sync.WaitGroup
	room := make(chan struct{}, bulkWorkers)
	for _, one := range all {
		room <- struct{}{}
		wg.Go(func() { do(one); <-room })
	}
	wg.Wait()
}
