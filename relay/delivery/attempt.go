package delivery

import (
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"dawk/relay"
	"dawk/relay/delivery/schedule"
)

// claimAgain is the wait after a Delivery could not be read for a reason that may
// pass.
const claimAgain = time.Minute

// attempt makes one delivery attempt and settles it. It owns the entry until release.
func (d *Dispatcher) attempt(w work) {
	defer d.wg.Done()
	claim, err := d.queue.Claim(w.id, w.job)
	if err != nil {
		d.land(w, finding{})
		d.unread(w, claim, err)
		return
	}
	defer claim.Content.Close()
	if early := time.Now(); claim.Message.NotBefore.After(early) && !w.was.Forced {
		d.land(w, finding{})
		w.was.Due = d.clockAt(claim.Message.NotBefore)
		d.release(w, w.was)
		return
	}
	lost := d.unpin(claim)
	a := d.try(claim, w.admission)
	a.unpinned = lost
	if w.admission.turnedBack() {
		d.land(w, finding{})
		w.was.First = true // it keeps its turn
		d.release(w, w.was)
		return
	}
	if a.cut = w.admission.ctx.Err() != nil; a.cut && nothingDecided(a.result) {
		// The entry is put back as if the attempt had not begun.
		d.land(w, finding{})
		w.was.Patient = w.was.Patient || w.admission.gaveUp // an operator's cut gave nothing up
		d.release(w, w.was)
		return
	}
	d.counted(func(n *counters) { n.attempts++ })
	d.keepTranscript(claim, a.result)
	d.land(w, findingOf(claim.Message, a.result))
	now := time.Now().Round(0)
	if len(a.recipients) == 0 {
		d.settle(w, claim, d.rules.Load().settler.part(now, claim, a))
		return
	}
	d.settle(w, claim, d.rules.Load().settler.settle(now, claim, a))
}

// try makes the attempt proper: the recipients whose destination is still that of the Delivery are
// offered to the transport. A panic in it is a temporary failure: mail is never lost because of a
// defect of ours.
func (d *Dispatcher) try(c *relay.Claim, at *admission) (a attempted) {
	began := time.Now()
	defer func() {
		if p := recover(); p != nil {
			d.cfg.Log.Error("a defect stopped an attempt; it will be retried; please report this",
				"qid", c.Message.ID, "dest", c.Delivery.Destination, "panic", relay.Sanitize(fmt.Sprint(p)), "stack", string(debug.Stack()))
			a = attempted{recipients: c.Delivery.Recipients(), result: relay.Result{Began: began, Took: time.Since(began)}}
		}
		completeReplies(&a)
	}()
	a.recipients, a.split = d.regroup(c)
	if len(a.recipients) == 0 {
		return a
	}
	at.recipients = len(a.recipients)
	a.result = d.transport.Deliver(at.ctx, relay.Task{Message: c.Message, Recipients: a.recipients, Content: c.Content,
		Destination: c.Delivery.Destination, Route: c.Delivery.Route, Attempt: c.Delivery.Attempts + 1, Admission: at, Progress: at.progress})
	return a
}

// completeReplies makes sure that every recipient has a reply.
func completeReplies(a *attempted) {
	for i := range a.recipients {
		if i >= len(a.result.Replies) {
			a.result.Replies = append(a.result.Replies, relay.Reply{})
		}
		if a.result.Replies[i].IsZero() {
			a.result.Replies[i] = relay.Failure(relay.StageRoute, relay.Status{Class: 4, Subject: 3, Detail: 0},
				"an internal error of this relay stopped the attempt")
		}
	}
	a.result.Replies = a.result.Replies[:len(a.recipients)]
}

// regroup looks up the destinations again: routes may have changed since acceptance. Own are the
// recipients that still belong to this Delivery. A route that an operator chose stays as long as
// there is one of that name.
func (d *Dispatcher) regroup(c *relay.Claim) (own []int, split []relay.Split) {
	return d.group(c, c.Delivery.Recipients(), c.Delivery.Route)
}

// group divides recipients by their destination by the named route; "": by the route that matches.
func (d *Dispatcher) group(c *relay.Claim, recipients []int, route string) (own []int, split []relay.Split) {
	at := make(map[string]int)
	for _, r := range recipients {
		dest := d.destination(c.Message, c.Message.Recipients[r].Path, route)
		if dest == c.Delivery.Destination || dest == "" {
			own = append(own, r)
			continue
		}
		i, ok := at[dest]
		if !ok {
			i = len(split)
			at[dest] = i
			split = append(split, relay.Split{Destination: dest})
		}
		split[i].Recipients = append(split[i].Recipients, r)
	}
	return own, split
}

func (d *Dispatcher) destination(m *relay.Message, to relay.Path, route string) string {
	if route != "" {
		if dest := d.transport.Along(route, m, to); dest != "" {
			return dest
		}
	}
	return d.transport.Destination(m, to)
}

// unpin frees a Delivery from the route that an operator chose, and returns that route, if it is
// not in the configuration any more.
func (d *Dispatcher) unpin(c *relay.Claim) (route string) {
	if route = c.Delivery.Route; route == "" || d.transport.Along(route, c.Message, c.Message.Recipients[c.Delivery.Open[0].Recipient].Path) != "" {
		return ""
	}
	c.Delivery.Route = ""
	return route
}

// verdictOf says what the attempt found out about its destination.
func verdictOf(m *relay.Message, r relay.Result) finding {
	var found finding
	for _, reply := range r.Replies {
		closed := false
		switch reply.Stage {
		case relay.StageMail, relay.StageRcpt, relay.StageData, relay.StageBody:
			return finding{verdict: schedule.VerdictOpen}
		case relay.StageDNS, relay.StageConnect, relay.StageGreeting, relay.StageEHLO, relay.StageAuth:
			closed = !reply.Permanent()
		case relay.StageTLS:
			closed = !reply.Permanent() && !m.RequireTLS // the message itself asked for it
		}
		if closed {
			found = finding{schedule.VerdictClosed, reply}
		}
		if reply.Positive() {
			return finding{verdict: schedule.VerdictOpen}
		}
	}
	return found
}

// nothingDecided says whether an attempt left everything as it was.
func nothingDecided(r relay.Result) bool {
	for _, reply := range r.Replies {
		if reply.Positive() || reply.Permanent() {
			return false
		}
	}
	return !r.Unknown
}

// conclude commits a decision with its notices, and tells observers.
func (d *Dispatcher) conclude(c *relay.Claim, dec decision, commit func(relay.Settlement) error) error {
	told := d.rules.Load().notices.Tell(dec.now, c, dec.cause, &dec.settlement)
	dec.settlement.Events = dec.events
	acceptedNotices(dec.now, dec.settlement.Notices)
	if err := commit(dec.settlement); err != nil {
		return err
	}
	if rows := dec.settlement.Rows; len(rows) > 0 {
		d.rules.Load().notices.Kept(dec.now, rows...)
		d.wake()
	}
	for _, events := range [][]relay.Event{dec.events, told} {
		for _, e := range events {
			d.observer.Observe(e)
		}
	}
	return nil
}

// settle commits a decision, tells observers, and puts the entry where it
// belongs now. It says whether the decision was committed.
func (d *Dispatcher) settle(w work, c *relay.Claim, dec decision) bool {
	err := d.conclude(c, dec, d.commit)
	switch {
	case err == nil:
		d.release(w, d.stateAfter(w, c, dec))
		return true
	case errors.Is(err, relay.ErrNotFound), errors.Is(err, relay.ErrCorrupt):
		d.unclaimed(w, err)
	default:
		d.cfg.Log.Warn("the relay stopped before the result of an attempt was written; it is made again after the next start",
			"qid", w.id, "dest", c.Delivery.Destination, "error", err)
		d.release(w, w.was)
	}
	return false
}

// stateAfter is where an entry belongs after dec was committed.
func (d *Dispatcher) stateAfter(w work, c *relay.Claim, dec decision) schedule.State {
	next := dec.settlement.Next
	f := schedule.State{Gone: dec.gone, Due: d.clockAt(next.Due), Attempts: next.Attempts, Held: next.Held, Reason: dec.reason,
		Stopped: !next.Held && !next.HeldAt.IsZero()}
	if dec.aside {
		f = w.was
		f.Notice = 0
	}
	if !dec.noted && d.rules.Load().settler.delayNotice > 0 {
		f.Notice = d.clockAt(d.rules.Load().settler.noticeAt(c.Message))
	}
	return f
}

func (d *Dispatcher) clockAt(t time.Time) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.clock.at(t)
}

// errAbandoned: the relay stopped before a settlement was written.
var errAbandoned = errors.New("the relay stops")

// commit writes a Settlement, however long it takes: if the result were lost, the message would be
// sent twice. Errors: relay.ErrNotFound, relay.ErrCorrupt, relay.ErrClosed, or a stop.
func (d *Dispatcher) commit(s relay.Settlement) error {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		done := make(chan error, 1)
		d.queue.Settle(s, func(err error) { done <- err })
		var err error
		select {
		case err = <-done:
		case <-d.giveUp:
			return errAbandoned
		}
		if err == nil || errors.Is(err, relay.ErrNotFound) || errors.Is(err, relay.ErrCorrupt) || errors.Is(err, relay.ErrClosed) {
			return err
		}
		d.counted(func(n *counters) { n.unsaved++ })
		d.cfg.Log.Error("the result of an attempt cannot be written; trying again", "qid", s.ID, "again_in", wait, "error", err)
		select {
		case <-time.After(wait):
		case <-d.stopped:
			return err
		}
	}
}

// unread settles a Delivery whose content could not be read, as an attempt that its next hop never
// saw. If the content is lost, the Delivery fails at once, and the sender is told to send the
// message again; if the fault may pass, it waits for the next attempt like other mail. Without a
// claim there is nothing to settle.
func (d *Dispatcher) unread(w work, claim *relay.Claim, err error) {
	if claim == nil {
		d.unclaimed(w, err)
		return
	}
	claim.Content = nil // nothing of it can be returned, and it need not be closed
	now := time.Now().Round(0)
	a := d.rules.Load().settler.unread(now, claim, err)
	if a.lost {
		d.counted(func(n *counters) { n.corrupt++ })
	}
	d.cfg.Log.Error("the content of a message cannot be read", "qid", w.id, "job", w.job, "lost", a.lost, "error", err)
	d.settle(w, claim, d.rules.Load().settler.settle(now, claim, a))
}

// unclaimed puts away an entry whose Delivery could not be read.
func (d *Dispatcher) unclaimed(w work, err error) {
	switch {
	case errors.Is(err, relay.ErrNotFound):
		d.cfg.Log.Warn("a scheduled delivery is not in the queue any more", "qid", w.id, "job", w.job)
		d.release(w, schedule.State{Gone: true})
	case errors.Is(err, relay.ErrCorrupt):
		d.counted(func(n *counters) { n.corrupt++ })
		d.cfg.Log.Error("a message cannot be delivered because its record is damaged; it was set aside, see `dawk queue verify`",
			"qid", w.id, "job", w.job, "error", err)
		d.release(w, schedule.State{Gone: true})
	case errors.Is(err, relay.ErrClosed):
		d.release(w, w.was)
	default:
		d.cfg.Log.Error("a message cannot be read; trying again", "qid", w.id, "job", w.job, "again_in", claimAgain, "error", err)
		again := d.clockAt(time.Now().Add(claimAgain))
		w.was.Due = max(w.was.Due, again)
		if w.was.Notice != 0 {
			w.was.Notice = max(w.was.Notice, again)
		}
		d.release(w, w.was)
	}
}
