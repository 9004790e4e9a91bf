package delivery

import (
	"maps"
	"slices"
	"time"

	"dawk/bounce"
	"dawk/relay"
)

// Recipients of one message that end together, at several destinations, are
// told of in one notice. Nothing waits for that but the notice, which is in the
// queue by then: whoever ends next replaces it, in the commit of its own
// outcomes, by one that tells of both. So at any moment the store holds exactly
// the notices of what it holds as ended, and a crash loses and repeats none.
const (
	// togetherFor bounds how long a notice waits for more to tell. It goes as
	// soon as no other Delivery of the message is being attempted or waits for
	// its turn; a host that makes us wait longer than this gets its own.
	togetherFor = 30 * time.Second
	// maxTogether is how many recipients a notice has that is still replaced:
	// each time it is written anew.
	maxTogether = 100
	// maxAtPen is how many settlements of one message wait for each other. They
	// take the room of attempts (settleRoom).
	maxAtPen = 64
)

// joint is what several Deliveries of one message tell together.
type joint struct {
	pen   chan struct{} // holds one while somebody settles, who may change what follows
	told  []told
	until int64 // µs; notices wait no longer
	users int   // who have the pen, wait for it, or keep the joint open
}

// told is a notice in the queue that may be replaced.
type told struct {
	notice    relay.Message
	want      bounce.Want
	attempted map[int]time.Time
	work      work // while it is off the schedule
	dest      string
}

// together says whether notices of that kind wait for each other. One of delay
// tells of all recipients anyway.
func together(w bounce.Want) bool { return w.Kind != bounce.KindDelayed }

// conclude has a decision committed, with its notices, and tells observers.
func (d *Dispatcher) conclude(c *relay.Claim, dec decision, commit func(relay.Settlement) error) error {
	j, before := d.join(c, dec)
	d.settler.write(c, &dec, before)
	d.hush(j, dec.told)
	err := commit(dec.settlement)
	d.part(j, before, dec.told, err)
	if err == nil {
		for _, e := range dec.events {
			d.observer.Observe(e)
		}
	}
	return err
}

// join takes the pen of c's message if others may have to be told in the same
// notices, and those notices off the schedule; nil where there are no others.
func (d *Dispatcher) join(c *relay.Claim, dec decision) (*joint, []told) {
	if !slices.ContainsFunc(dec.wanted, together) {
		return nil, nil
	}
	j := d.jointOf(c)
	if j == nil {
		return nil, nil
	}
	select {
	case j.pen <- struct{}{}:
		return j, d.recall(j, dec.wanted)
	case <-d.giveUp:
		d.mu.Lock()
		defer d.mu.Unlock()
		j.users--
		return nil, nil
	}
}

// jointOf is the joint of c's message, with one user more.
func (d *Dispatcher) jointOf(c *relay.Claim) *joint {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.joints[c.Message.ID]
	switch {
	case j == nil && d.sched.deciding(c.Message.ID, c.Delivery.Job):
		j = d.newJoint(c.Message.ID)
	case j == nil || j.users >= maxAtPen:
		return nil
	}
	j.users++
	return j
}

func (d *Dispatcher) newJoint(id relay.QueueID) *joint {
	j := &joint{pen: make(chan struct{}, 1)}
	d.joints[id] = j
	return j
}

// recall takes off the schedule which notices of j can be replaced by those
// wanted. What was attempted, or is in somebody's hands, is not recalled.
func (d *Dispatcher) recall(j *joint, wanted []bounce.Want) (before []told) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j.told = slices.DeleteFunc(j.told, func(t told) bool { return d.sched.untouched(t.notice.ID) == 0 })
	if len(j.told) == 0 {
		j.until = d.clock.now() + togetherFor.Microseconds()
	}
	for _, w := range wanted {
		i := slices.IndexFunc(j.told, func(t told) bool {
			return t.want.Kind == w.Kind && len(t.want.Outcomes)+len(w.Outcomes) <= maxTogether
		})
		if i < 0 {
			continue
		}
		t := j.told[i]
		r := d.sched.untouched(t.notice.ID)
		t.work, t.dest = d.workOn(r), d.sched.dests.names[d.sched.at(r).dest]
		d.sched.pull(r)
		before = append(before, t)
	}
	return before
}

// hush lets the notices that are about to be committed wait; see watch.
func (d *Dispatcher) hush(j *joint, all []told) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, t := range all {
		if j != nil {
			d.hushed[t.notice.ID] = j.until
		}
	}
}

// part gives the pen back. Err is of the settlement: before is replaced by
// after, or is as it was.
func (d *Dispatcher) part(j *joint, before, after []told, err error) {
	if j == nil {
		return
	}
	d.mu.Lock()
	for _, t := range after {
		delete(d.hushed, t.notice.ID)
	}
	if err == nil {
		j.told = append(slices.DeleteFunc(j.told, func(t told) bool {
			return slices.ContainsFunc(before, func(b told) bool { return b.notice.ID == t.notice.ID })
		}), after...)
	}
	j.users--
	<-j.pen
	d.mu.Unlock()
	for _, t := range before {
		f := t.work.was
		f.gone = err == nil
		d.release(t.work, f)
	}
}

// Together lets several acts that end Deliveries of one message tell of them in
// one notice: it waits until the function that Together returns is called, half
// a minute at most.
func (d *Dispatcher) Together(id relay.QueueID) (done func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	j := d.joints[id]
	if j == nil {
		j = d.newJoint(id)
	}
	j.users++
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		j.users--
		d.closeJoint(id)
		d.pump()
	}
}

// closeJoint sends the notices of a message that wait for nobody any more. The
// caller holds the lock.
func (d *Dispatcher) closeJoint(id relay.QueueID) {
	j := d.joints[id]
	if j == nil || j.users > 0 || d.sched.deciding(id, noJob) {
		return
	}
	for _, t := range j.told {
		if r := d.sched.untouched(t.notice.ID); r != 0 && d.sched.at(r).place == placeWaiting {
			d.sched.hasten(r, d.clock.now())
		}
	}
	delete(d.joints, id)
}

// expireTogether makes the last attempt for the other Deliveries of a message
// when one has expired: their time is up as well, and what they find goes into
// the same notice.
func (d *Dispatcher) expireTogether(id relay.QueueID, out []relay.Outcome) {
	if !slices.ContainsFunc(out, func(o relay.Outcome) bool { return o.Action == relay.ActionExpired }) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for r := d.sched.index[id.Key]; r != 0; r = d.sched.at(r).sibling {
		if e := d.sched.at(r); e.dir == id.Dir && e.place == placeWaiting && e.attempts > 0 {
			d.sched.hasten(r, d.clock.now())
		}
	}
	d.pump()
}

// noJob is the number of no Delivery.
const noJob = 1<<16 - 1

// deciding says whether a Delivery of a message, other than that one, is being
// attempted or waits for its turn.
func (s *scheduler) deciding(id relay.QueueID, except uint16) bool {
	for r := s.index[id.Key]; r != 0; r = s.at(r).sibling {
		if e := s.at(r); e.dir == id.Dir && e.job != except && (e.place == placeOut || e.place == placeReady) {
			return true
		}
	}
	return false
}

// untouched is the entry of a notice that waits for its first attempt; 0 when
// there is none. A notice has one Delivery.
func (s *scheduler) untouched(id relay.QueueID) ref {
	r := s.find(id, 0)
	if r == 0 || s.at(r).attempts > 0 || s.at(r).place != placeWaiting && s.at(r).place != placeReady {
		return 0
	}
	return r
}

// hasten gives an entry that waits for its due time a turn now.
func (s *scheduler) hasten(r ref, now int64) {
	s.leave(r)
	s.at(r).due = now
	s.makeReady(r, false, now)
}

// replace makes w tell of what an earlier notice tells too, and ends that one.
func (dec *decision) replace(t told, w *bounce.Want, in relay.QueueID) (rule string) {
	w.Outcomes = slices.Concat(t.want.Outcomes, w.Outcomes)
	slices.SortStableFunc(w.Outcomes, func(a, b relay.Outcome) int { return a.Recipient - b.Recipient })
	at := maps.Clone(t.attempted)
	maps.Copy(at, dec.attempted)
	dec.attempted = at
	dec.settlement.Replaces = append(dec.settlement.Replaces, t.notice.ID)
	was := &relay.Claim{Message: &t.notice, Delivery: &relay.Delivery{Entry: relay.Entry{Destination: t.dest}, Open: []relay.Open{{}}}}
	dec.events = append(dec.events, listed(dec.now, was, in, noticeJoined)...)
	return "in the place of " + t.notice.ID.String() + ", with its recipients"
}

// noticeJoined is the Reason of a notice's end that another one replaced.
const noticeJoined = "joined"
