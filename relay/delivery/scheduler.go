package delivery

import (
	"math"
	"time"

	"dawk/relay"
)

// scheduler decides which Delivery is attempted next. It is a data structure:
// it starts nothing, reads no clock and needs its owner's lock. Every
// operation costs at most O(log n).
//
// Times are µs on the dispatcher's clock.
type scheduler struct {
	maxFlying      int // attempts at once
	perDestination int
	step           func(attempts int) time.Duration // the retry step that follows an attempt
	connections    func(destination string) int     // see Limits; may be nil
	reserve        func(destination string) int64   // until when it waits for its budget; 0: it does not; may be nil

	table
	due         dueHeap
	checks      lane                    // held entries whose delay notice may be due
	dests       names                   // of all entries
	heldBy      map[uint32]int          // held entries by destination
	active      map[uint32]*destination // the busy ones of dests
	idents      names
	lanes       map[uint64]*lane // by destination and identity
	rests       restHeap
	ringFirst   *destination // destinations whose turn comes
	ringLast    *destination
	flying      int // attempts that may hold a connection
	out         int // entries in placeOut
	ready       int // entries in placeReady
	held        int // entries in placeHeld
	heldTimed   int // entries in placeHeldTimed
	deferred    int // entries in placeWaiting that were attempted before
	reasonCount [maxReasons]int
}

func newScheduler(maxFlying, perDestination int, step func(int) time.Duration) *scheduler {
	s := &scheduler{maxFlying: maxFlying, perDestination: perDestination, step: step,
		table: newTable(), dests: newNames(), heldBy: make(map[uint32]int),
		active: make(map[uint32]*destination), idents: newNames(), lanes: make(map[uint64]*lane)}
	s.due.t = &s.table
	return s
}

// fate is what is to become of an entry that was out.
type fate struct {
	gone     bool
	due      int64
	attempts int
	held     bool
	notice   int64 // held: when its delay notice may be due; 0: never
	reason   uint8
	forced   bool
}

// fateOf is the fate that leaves r as it is.
func (s *scheduler) fateOf(r ref) fate {
	e := s.at(r)
	f := fate{due: e.due, attempts: int(e.attempts), reason: e.reason, forced: e.forced, held: e.held}
	if e.held {
		f.due, f.notice = 0, e.due
	}
	return f
}

// add takes in a Delivery that is new to the scheduler; it says false when it
// knows it already.
func (s *scheduler) add(e relay.Entry, f fate, now int64) bool {
	if s.find(e.ID, e.Job) != 0 {
		return false
	}
	arrival := uint32(min(max(e.Arrival.Unix(), 0), math.MaxUint32))
	r := s.insert(e.ID, e.Job, arrival)
	s.at(r).dest, s.at(r).ident = s.dests.take(e.Destination), s.idents.take(e.Identity)
	s.out++ // for put, which takes it from there
	s.at(r).place = placeOut
	s.reasonCount[0]++
	s.put(r, f, now)
	return true
}

// busy is the destination with that number, which is about to get busy.
func (s *scheduler) busy(num uint32) *destination {
	d := s.active[num]
	if d == nil {
		d = &destination{num: num, single: isDigest(s.dests.names[num])}
		if s.connections != nil {
			d.most = s.connections(s.dests.names[num])
		}
		s.active[num] = d
		s.dests.keep(num)
	}
	return d
}

// put gives an entry that was out its next place, or forgets it.
func (s *scheduler) put(r ref, f fate, now int64) {
	e := s.at(r)
	s.out--
	s.reasonCount[e.reason]--
	if f.gone {
		s.idents.drop(e.ident)
		s.dests.drop(e.dest)
		s.remove(r)
		return
	}
	e.due, e.attempts, e.reason = f.due, uint16(min(f.attempts, math.MaxUint16)), f.reason
	e.forced, e.held = f.forced, f.held
	if f.held {
		e.due = f.notice
	}
	s.reasonCount[e.reason]++
	switch {
	case f.held && f.notice == 0:
		e.place = placeHeld
		s.held++
		s.heldBy[e.dest]++
	case f.held:
		e.place = placeHeldTimed
		s.heldTimed++
		s.heldBy[e.dest]++
		s.due.push(r)
	case e.due <= now:
		s.makeReady(r)
	default:
		e.place = placeWaiting
		if e.attempts > 0 {
			s.deferred++
		}
		s.due.push(r)
	}
}

// pull takes an entry out of its place. The caller owns it until put.
func (s *scheduler) pull(r ref) {
	e := s.at(r)
	switch e.place {
	case placeWaiting:
		s.due.remove(r)
		if e.attempts > 0 {
			s.deferred--
		}
	case placeReady:
		d := s.active[e.dest]
		s.lanes[laneKey(e)].remove(&s.table, r)
		d.ready--
		s.ready--
		s.forget(d)
	case placeHeld:
		s.held--
	case placeHeldTimed:
		s.due.remove(r)
		s.heldTimed--
	case placeHeldCheck:
		s.checks.remove(&s.table, r)
	}
	if e.held {
		if s.heldBy[e.dest]--; s.heldBy[e.dest] == 0 {
			delete(s.heldBy, e.dest)
		}
	}
	e.place = placeOut
	s.out++
}

// advance moves what has become due.
func (s *scheduler) advance(now int64) {
	for r := s.due.first(); r != 0 && s.at(r).due <= now; r = s.due.first() {
		e := s.at(r)
		if e.place == placeHeldTimed {
			s.due.remove(r)
			s.heldTimed--
			e.place = placeHeldCheck
			s.checks.push(&s.table, r)
			continue
		}
		s.pull(r)
		s.out--
		s.makeReady(r)
	}
	for len(s.rests) > 0 && s.rests[0].rest <= now {
		d := s.rests[0]
		s.rests.end(d)
		s.forget(d)
		s.offer(d)
	}
}

// nextEvent is when advance has something to do again.
func (s *scheduler) nextEvent() int64 {
	next := int64(math.MaxInt64)
	if r := s.due.first(); r != 0 {
		next = s.at(r).due
	}
	if len(s.rests) > 0 {
		next = min(next, s.rests[0].rest)
	}
	return next
}

func laneKey(e *entry) uint64 { return uint64(e.dest)<<32 | uint64(e.ident) }

func (s *scheduler) makeReady(r ref) {
	e := s.at(r)
	d := s.busy(e.dest)
	key := laneKey(e)
	l := s.lanes[key]
	if l == nil {
		l = &lane{ident: e.ident}
		s.lanes[key] = l
		d.append(l)
	}
	e.place = placeReady
	l.push(&s.table, r)
	d.ready++
	s.ready++
	s.offer(d)
}

func (d *destination) append(l *lane) {
	if d.last != nil {
		d.last.next = l
	} else {
		d.first = l
	}
	d.last = l
}

// offer puts d into the ring if it may have a turn.
func (s *scheduler) offer(d *destination) {
	if d.inRing || d.ready == 0 || d.rest != 0 || d.flying >= d.budget(s.perDestination) {
		return
	}
	d.inRing = true
	if s.ringLast != nil {
		s.ringLast.after = d
	} else {
		s.ringFirst = d
	}
	s.ringLast = d
}

// take is the entry whose turn it is; the caller attempts it. ok is false when
// none may be attempted now.
func (s *scheduler) take() (r ref, ok bool) {
	for s.flying < s.maxFlying && s.ringFirst != nil {
		d := s.ringFirst
		if s.ringFirst = d.after; s.ringFirst == nil {
			s.ringLast = nil
		}
		d.inRing, d.after = false, nil
		if d.ready == 0 || d.rest != 0 || d.flying >= d.budget(s.perDestination) {
			s.forget(d)
			continue // something changed while it waited for its turn
		}
		if s.waits(d) {
			continue
		}
		r = s.turn(d)
		d.flying++ // before pull, which forgets a destination that is idle
		s.flying++
		s.pull(r)
		s.offer(d)
		return r, true
	}
	return 0, false
}

// turn is the entry of d whose turn it is: the first of the lane that is first.
func (s *scheduler) turn(d *destination) ref {
	for {
		l := d.first
		if d.first = l.next; d.first == nil {
			d.last = nil
		}
		l.next = nil
		if l.n == 0 {
			delete(s.lanes, uint64(d.num)<<32|uint64(l.ident))
			continue
		}
		d.append(l)
		return l.head
	}
}

// takeCheck is a held entry whose delay notice may be due.
func (s *scheduler) takeCheck() (r ref, ok bool) {
	if r = s.checks.head; r != 0 {
		s.pull(r)
	}
	return r, r != 0
}

// verdict is what an attempt said of its destination as a whole.
type verdict uint8

const (
	verdictNone   verdict = iota // nothing: the attempt did not get as far as asking it
	verdictOpen                  // it talked to us about mail
	verdictClosed                // it did not let us in: name, connection, greeting, TLS or login failed
)

// land ends an attempt's use of a connection. The entry stays out until put.
func (s *scheduler) land(r ref, v verdict, now int64) {
	d := s.active[s.at(r).dest]
	d.flying--
	s.flying--
	switch v {
	case verdictOpen:
		d.proving = false
		s.rests.end(d)
	case verdictClosed:
		d.proving = true
		step := s.step(0)
		if d.ready > 0 {
			for l := d.first; l != nil; l = l.next {
				if l.n > 0 {
					step = s.step(int(s.at(l.head).attempts))
					break
				}
			}
		}
		s.rests.restUntil(d, now+restFor(d.ready, step).Microseconds())
	}
	s.offer(d)
	s.forget(d)
}

// readyWith is what else is ready for the destination of r, which is out: at
// most so many.
func (s *scheduler) readyWith(r ref, most int) (refs []ref) {
	d := s.active[s.at(r).dest]
	for l := d.first; l != nil; l = l.next {
		for e := l.head; e != 0 && len(refs) < most; e = s.at(e).next {
			refs = append(refs, e)
		}
	}
	return refs
}

// wake ends the rest of r's destination: somebody wants to know now.
func (s *scheduler) wake(r ref) {
	if d := s.active[s.at(r).dest]; d != nil {
		s.rests.end(d)
		s.offer(d)
		s.forget(d)
	}
}

// forget drops a destination that is not busy any more.
func (s *scheduler) forget(d *destination) {
	if d.ready > 0 || d.flying > 0 || d.rest != 0 || d.inRing || s.active[d.num] != d {
		return
	}
	for l := d.first; l != nil; l = l.next {
		delete(s.lanes, uint64(d.num)<<32|uint64(l.ident))
	}
	delete(s.active, d.num)
	s.dests.drop(d.num)
}

// adrift is how many entries are not in exactly one place. It counts what the
// places hold, not what the entries say: anything but 0 is a defect of ours.
func (s *scheduler) adrift() int {
	n := s.n - len(s.due.refs) - s.checks.n - s.ready - s.out - s.held
	return max(n, -n)
}

// rescue finds destinations that could have a turn and are in no ring, gives
// them one and says how many entries they had. It looks at every busy destination.
func (s *scheduler) rescue() (stranded int) {
	for _, d := range s.active {
		if !d.inRing {
			if s.offer(d); d.inRing {
				stranded += d.ready
			}
		}
	}
	return stranded
}
