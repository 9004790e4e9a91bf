package delivery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dawk/relay"
	"dawk/relay/delivery/schedule"
	"dawk/relay/replies"
)

// ErrHeld: a held message cannot be retried; it has to be released.
var ErrHeld = errors.New("the message is on hold: release it to have it attempted")

const byAdministrator = "by the administrator of this relay"

// actPatience is how long an operator waits for attempts in progress. After that the command is
// answered, and the act is done when they have ended.
const actPatience = 250 * time.Millisecond

// Act applies a verb to every Delivery of a message. A Delivery in progress is
// settled first; the verb then applies to what is left of it.
//
// Errors: relay.ErrPending when part of it is done later; relay.ErrNotFound when
// the message is not queued, or was delivered meanwhile; ErrHeld; relay.ErrClosed
// when the relay stops; or an error of the store, after which the Delivery that it
// concerns is unchanged.
func (d *Dispatcher) Act(ctx context.Context, id relay.QueueID, verb relay.Verb) error {
	if err := d.admit(ctx, id, verb); err != nil {
		return err
	}
	o := &order{id: id, verb: verb, whole: true, until: time.Now().Add(actPatience)}
	if err := d.actOnAll(ctx, o, map[uint16]bool{}); err != nil {
		return fmt.Errorf("%s %s: %w", verb, id, err)
	}
	return nil
}

// order is what the operator asked of a message.
type order struct {
	id         relay.QueueID
	verb       relay.Verb
	recipients []int     // nil: all
	route      string    // of relay.VerbReroute: see Reroute
	whole      bool      // it is for all Deliveries of the message
	until      time.Time // when it stops waiting for attempts; zero: never
}

// actOnAll applies o to the Deliveries of its message that are not in seen, and repeats that as
// long as attempts split others off.
func (d *Dispatcher) actOnAll(ctx context.Context, o *order, seen map[uint16]bool) error {
	acted, pending := 0, false
	for jobs := d.jobs(o.id, seen); len(jobs) > 0; jobs = d.jobs(o.id, seen) {
		for _, job := range jobs {
			seen[job] = true
			switch err := d.actOn(ctx, o, job); {
			case errors.Is(err, relay.ErrPending):
				pending = true
			case err == nil:
				acted++
			case !errors.Is(err, relay.ErrNotFound):
				return err
			}
		}
	}
	switch {
	case pending:
		return relay.ErrPending
	case acted == 0:
		return relay.ErrNotFound
	}
	return nil
}

// ActOn is Act for one Delivery of a message, for filters that pick some of its
// destinations and not others. Recipients that an attempt in progress splits off
// from the Delivery are left alone.
//
// Recipients, indexes into Message.Recipients, are those that relay.VerbDelete and
// relay.VerbBounce end, nil for all; the others stay in the Delivery as they are. The
// error is relay.ErrNotFound when none of them is open any more. The other
// verbs concern the Delivery as a whole, and want nil.
func (d *Dispatcher) ActOn(ctx context.Context, id relay.QueueID, job uint16, recipients []int, verb relay.Verb) error {
	if err := d.admit(ctx, id, verb); err != nil {
		return err
	}
	if recipients != nil && verb != relay.VerbDelete && verb != relay.VerbBounce {
		return fmt.Errorf("%s %s: it is for a whole delivery, not for some of its recipients", verb, id)
	}
	o := &order{id: id, verb: verb, recipients: recipients, until: time.Now().Add(actPatience)}
	if err := d.actOn(ctx, o, job); err != nil {
		return fmt.Errorf("%s %s: %w", verb, id, err)
	}
	return nil
}

// admit checks the verb and waits until the store is loaded.
func (d *Dispatcher) admit(ctx context.Context, id relay.QueueID, verb relay.Verb) error {
	if !slices.Contains(relay.Verbs(), verb) && verb != relay.VerbRetryNow && verb != relay.VerbReroute {
		_, err := relay.ParseVerb(string(verb))
		return err
	}
	select {
	case <-d.ready:
		return nil
	case <-d.stopped:
		return fmt.Errorf("%s %s: %w", verb, id, relay.ErrClosed)
	case <-ctx.Done():
		return fmt.Errorf("%s %s: the queue is still being loaded: %w", verb, id, ctx.Err())
	}
}

// jobs are the Deliveries of a message that are not in seen.
func (d *Dispatcher) jobs(id relay.QueueID, seen map[uint16]bool) (jobs []uint16) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := range d.sched.Of(id) {
		if _, job := d.sched.Delivery(r); !seen[job] {
			jobs = append(jobs, job)
		}
	}
	slices.Sort(jobs)
	return jobs
}

// actOn applies o to one Delivery, or to some of its recipients.
func (d *Dispatcher) actOn(ctx context.Context, o *order, job uint16) error {
	w, later, err := d.acquire(ctx, o.id, job, o.until, o.verb == relay.VerbRetryNow)
	if later != nil {
		go d.actLater(o, job, later)
	}
	if err != nil {
		return err
	}
	defer d.wg.Done()
	return d.do(w, o)
}

// actLater applies o when the attempt in progress has ended, also to what that has
// split off. If the relay stops before, o is forgotten.
func (d *Dispatcher) actLater(o *order, job uint16, later *claimant) {
	defer d.wg.Done()
	w, err := later.wait(context.Background(), time.Time{})
	if err == nil {
		err = d.do(w, o)
	}
	if o.whole && (err == nil || errors.Is(err, relay.ErrNotFound)) {
		again := *o
		again.until = time.Time{}
		if rest := d.actOnAll(context.Background(), &again, map[uint16]bool{job: err == nil}); rest != nil {
			err = rest
		}
	}
	if err != nil && !errors.Is(err, relay.ErrNotFound) && !errors.Is(err, relay.ErrClosed) {
		d.cfg.Log.Error("what the operator asked for could not be done after the attempt", "verb", string(o.verb), "qid", o.id, "job", job, "error", err)
	}
}

// do applies o to a Delivery that was acquired.
func (d *Dispatcher) do(w work, o *order) error {
	id, job, recipients, verb := w.id, w.job, o.recipients, o.verb
	if verb == relay.VerbRetry || verb == relay.VerbRetryNow {
		return d.retryNow(w)
	}
	claim, err := d.queue.Claim(id, job)
	switch {
	case claim == nil:
		d.unclaimed(w, err)
		return err
	case err != nil:
		claim.Content = nil // nothing that an operator does needs it
	default:
		defer claim.Content.Close()
	}
	if recipients != nil && !anyOpen(claim.Delivery, recipients) {
		d.release(w, w.was)
		return relay.ErrNotFound
	}
	dec, changed, wrong := d.decide(time.Now().Round(0), claim, o)
	if wrong != nil || !changed {
		d.release(w, w.was)
		return wrong
	}
	err = d.conclude(claim, dec, d.commitOnce)
	switch {
	case err == nil:
		f := w.was // the state for the recipients that were not picked
		if dec.gone || recipients == nil {
			f = d.stateAfter(w, claim, dec)
			f.Reason = w.was.Reason
		}
		d.release(w, f)
	case errors.Is(err, relay.ErrNotFound), errors.Is(err, relay.ErrCorrupt):
		d.unclaimed(w, err)
	default:
		d.release(w, w.was)
	}
	return err
}

// decide is what o does to the Delivery of a claim; changed is false when that changes
// nothing.
func (d *Dispatcher) decide(now time.Time, c *relay.Claim, o *order) (dec decision, changed bool, err error) {
	if o.verb == relay.VerbReroute {
		return d.reroute(now, c, o)
	}
	dec, changed = d.rules.Load().settler.act(now, c, o.recipients, o.verb)
	return dec, changed, nil
}

// commitOnce is commit without retries, for what the operator can ask for again.
func (d *Dispatcher) commitOnce(s relay.Settlement) error {
	done := make(chan error, 1)
	d.queue.Settle(s, func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-d.giveUp:
		return relay.ErrClosed
	}
}

// retryNow makes an entry due. Nothing is written: the attempt follows at once,
// and if the relay stops before, the retry schedule still holds.
func (d *Dispatcher) retryNow(w work) error {
	if w.was.Held {
		d.release(w, w.was)
		return ErrHeld
	}
	f := w.was
	f.Due, f.Forced = d.clockAt(time.Now()), true
	d.mu.Lock()
	d.sched.Wake(w.r)
	d.mu.Unlock()
	d.release(w, f)
	return nil
}

// handover gives an entry to an act that waited for it; ok is false when it is
// gone.
type handover struct {
	work work
	ok   bool
}

// claimant waits for an entry that is out.
type claimant struct {
	d    *Dispatcher
	r    schedule.Ref
	turn chan handover
}

// acquire takes a Delivery off the schedule; if it is in progress, it waits until that is settled.
// Cut ends an attempt that has not sent the final dot: under the same lock, lest one begin between.
// The caller ends with release and d.wg.Done. If it is still in progress at the end of patience
// (zero: no end), the error is relay.ErrPending, and later continues to wait; its caller ends with
// d.wg.Done.
func (d *Dispatcher) acquire(ctx context.Context, id relay.QueueID, job uint16, patience time.Time, cut bool) (w work, later *claimant, err error) {
	d.mu.Lock()
	r := d.sched.Find(id, job)
	if r == 0 || d.stopping {
		defer d.mu.Unlock()
		if d.stopping {
			return work{}, nil, relay.ErrClosed
		}
		return work{}, nil, relay.ErrNotFound
	}
	d.wg.Add(1)
	if !d.sched.Taken(r) {
		w := d.workOn(r)
		d.sched.Pull(r)
		d.mu.Unlock()
		return w, nil, nil
	}
	if a := d.flying[r]; cut && a != nil {
		a.progress.Cut()
	}
	c := &claimant{d, r, make(chan handover, 1)}
	d.waiting[r] = append(d.waiting[r], c.turn)
	d.mu.Unlock()
	if w, err = c.wait(ctx, patience); errors.Is(err, relay.ErrPending) {
		return work{}, c, err
	}
	if err != nil {
		d.wg.Done()
	}
	return w, nil, err
}

func (c *claimant) wait(ctx context.Context, until time.Time) (work, error) {
	d := c.d
	var over <-chan time.Time
	if !until.IsZero() {
		timer := time.NewTimer(time.Until(until))
		defer timer.Stop()
		over = timer.C
	}
	select {
	case h := <-c.turn:
		if !h.ok {
			return work{}, relay.ErrNotFound
		}
		return h.work, nil
	case <-over:
		return work{}, relay.ErrPending
	case <-ctx.Done():
	case <-d.giveUp:
	}
	d.unwait(c.r, c.turn)
	if err := ctx.Err(); err != nil {
		return work{}, fmt.Errorf("its delivery is still in progress: %w", err)
	}
	return work{}, relay.ErrClosed
}

// unwait withdraws from waiting for an entry; if it was handed over meanwhile,
// it is passed on.
func (d *Dispatcher) unwait(r schedule.Ref, turn chan handover) {
	d.mu.Lock()
	queue := d.waiting[r]
	i := slices.Index(queue, turn)
	if i >= 0 {
		if d.waiting[r] = slices.Delete(queue, i, i+1); len(queue) == 1 {
			delete(d.waiting, r)
		}
	}
	d.mu.Unlock()
	if i < 0 {
		if h := <-turn; h.ok {
			d.release(h.work, h.work.was)
		}
	}
}

func anyOpen(d *relay.Delivery, recipients []int) bool {
	return slices.ContainsFunc(d.Open, func(o relay.Open) bool { return slices.Contains(recipients, o.Recipient) })
}

// act decides what a verb does to a Delivery, or, where recipients are given, to
// those of them that are open; changed is false when that changes nothing.
func (s *settler) act(now time.Time, c *relay.Claim, recipients []int, verb relay.Verb) (dec decision, changed bool) {
	d := c.Delivery
	next := d.State()
	kind := relay.EventHeld
	var out []relay.Outcome
	var rule string
	switch verb {
	case relay.VerbHold:
		if d.Held {
			return dec, false
		}
		if !d.HeldAt.IsZero() { // with its route, until now
			next.HeldFor += max(0, now.Sub(d.HeldAt))
		}
		next.Held, next.HeldAt, next.Rule = true, now, "on hold "+byAdministrator
	case relay.VerbRelease:
		if !d.Held {
			return dec, false
		}
		kind = relay.EventReleased
		if !d.HeldAt.IsZero() {
			next.HeldFor += max(0, now.Sub(d.HeldAt))
		}
		next.Held, next.HeldAt, next.Due, next.Rule = false, time.Time{}, now, "released "+byAdministrator
	case relay.VerbDelete:
		kind = relay.EventDeleted
		out = outcomesFor(d, relay.ActionDeleted, relay.Decision(relay.CauseOperator, relay.Status{Class: 5}, "deleted %s", byAdministrator))
	case relay.VerbBounce:
		kind = relay.EventFailed
		rule = returned
		out = returnedNow(d)
	}
	if recipients != nil {
		out = slices.DeleteFunc(out, func(o relay.Outcome) bool { return !slices.Contains(recipients, o.Recipient) })
	}
	dec = decision{now: now, gone: len(out) == len(d.Open), noted: next.DelayNoticed,
		settlement: relay.Settlement{ID: c.Message.ID, Job: d.Job, Outcomes: out, Next: next}}
	tell := func(recipient int, rule string, reply relay.Reply) {
		e := c.Event(kind, now)
		e.Recipient, e.Rule, e.Reply = c.Message.Recipients[recipient].Path, rule, reply
		e.Reason, e.Attempt = string(replies.Operator), d.Attempts
		dec.events = append(dec.events, e)
	}
	if out == nil {
		for _, r := range d.Recipients() {
			tell(r, next.Rule, relay.Reply{})
		}
	}
	for _, o := range out {
		tell(o.Recipient, rule, o.Reply)
	}
	dec.cause.Outcomes = out
	return dec, true
}
