package delivery

import (
	"math"
	"slices"
	"time"

	"dawk/relay"
)

// scheduler decides which Delivery is attempted next. It is a data structure:
// it starts nothing, reads no clock and needs its owner's lock. Every
// operation costs at most O(log n).
//
// Times are µs on the dispatcher's clock.
type scheduler struct {
	maxFlying int                              // attempts at once
	step      func(attempts int) time.Duration // the retry step that follows an attempt
	shortest  time.Duration                    // of all steps
	limits

	table
	due         dueHeap
	alarms      dueHeap                 // the entries that are not out, by when their delay notice is due
	dests       names                   // of all entries
	heldBy      map[uint32]int          // held entries by destination
	active      map[uint32]*destination // the busy ones of dests
	providers   map[string]*provider    // of those, and some that had some lately
	idents      names
	lanes       map[uint64]*lane // by destination and identity
	shares      map[shareKey]*share
	woken       map[ref]bool // entries in placeOut: see wakeAll
	rests       restHeap
	turns       ring[*provider] // those whose turn comes
	flying      int             // attempts that may hold a connection
	out         int             // entries in placeOut
	ready       int             // entries in placeReady
	held        int             // entries in placeHeld
	deferred    int             // entries in placeWaiting that were attempted before
	reasonCount [maxReasons]int
}

func newScheduler(maxFlying, perProvider int, sch schedule) *scheduler {
	s := &scheduler{maxFlying: maxFlying, step: sch.step, shortest: slices.Min(sch.steps), limits: noLimits(perProvider),
		table: newTable(), dests: newNames(), heldBy: make(map[uint32]int),
		active: make(map[uint32]*destination), providers: make(map[string]*provider), idents: newNames(), lanes: make(map[uint64]*lane),
		shares: make(map[shareKey]*share), woken: make(map[ref]bool)}
	s.due.t = &s.table
	s.alarms = dueHeap{t: &s.table, notices: true}
	return s
}

// fate is what is to become of an entry that was out.
type fate struct {
	gone     bool
	due      int64
	attempts int
	held     bool
	notice   int64 // when its delay notice is due; 0: none is to come
	reason   uint8
	forced   bool
	first    bool // due by then, it was ready before, and goes to the front of its lane
	stopped  bool // the hold of its route stopped the attempt that it comes from
}

// fateOf is the fate that leaves r as it is.
func (s *scheduler) fateOf(r ref) fate {
	e := s.at(r)
	return fate{due: e.due, attempts: int(e.attempts), notice: e.notice, reason: e.reason, forced: e.forced, held: e.held}
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
		name := s.dests.names[num]
		d = &destination{num: num}
		d.rest.dest = d
		d.provider = s.providerNamed(s.providerOf(name))
		d.provider.domains++
		s.active[num] = d
		s.dests.keep(num)
	}
	return d
}

// put gives an entry that was out its next place, or forgets it.
func (s *scheduler) put(r ref, f fate, now int64) {
	e := s.at(r)
	if s.woken[r] {
		delete(s.woken, r)
		if f.attempts > 0 && (f.stopped || f.due == e.due) {
			f.due = now // that is over: it does not wait for its next time
		}
	}
	s.out--
	s.reasonCount[e.reason]--
	if f.gone {
		s.idents.drop(e.ident)
		s.dests.drop(e.dest)
		s.remove(r)
		return
	}
	e.due, e.attempts, e.reason = f.due, uint16(min(f.attempts, math.MaxUint16)), f.reason
	e.forced, e.held, e.notice = f.forced, f.held, f.notice
	s.reasonCount[e.reason]++
	if e.notice != 0 {
		s.alarms.push(r)
	}
	switch {
	case f.held:
		e.place = placeHeld
		s.held++
		s.heldBy[e.dest]++
	case e.due <= now:
		s.makeReady(r, f.first, now)
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
	if e.notice != 0 {
		s.alarms.remove(r)
	}
	s.leave(r)
	e.place = placeOut
	s.out++
}

// leave takes an entry out of its place, for the next one.
func (s *scheduler) leave(r ref) {
	e := s.at(r)
	switch e.place {
	case placeWaiting:
		s.due.remove(r)
		if e.attempts > 0 {
			s.deferred--
		}
	case placeReady:
		l := s.lanes[laneKey(e)]
		d := l.dest
		l.remove(&s.table, r)
		d.ready--
		d.provider.ready--
		s.ready--
		s.dropLane(l)
		s.forget(d)
	case placeHeld:
		s.held--
		if s.heldBy[e.dest]--; s.heldBy[e.dest] == 0 {
			delete(s.heldBy, e.dest)
		}
	}
}

// advance moves what has become due.
func (s *scheduler) advance(now int64) {
	for r := s.due.first(); r != 0 && s.at(r).due <= now; r = s.due.first() {
		s.leave(r)
		s.makeReady(r, false, now)
	}
	for len(s.rests) > 0 && s.rests[0].until <= now {
		s.rested(s.rests[0])
	}
}

// nextEvent is when advance has something to do again or, if the caller has
// room for one, takeNotices.
func (s *scheduler) nextEvent(room bool) int64 {
	next := int64(math.MaxInt64)
	if r := s.alarms.first(); r != 0 && room {
		next = s.at(r).notice
	}
	if r := s.due.first(); r != 0 {
		next = min(next, s.at(r).due)
	}
	if len(s.rests) > 0 {
		next = min(next, s.rests[0].until)
	}
	return next
}

// alarmed is an entry that was taken for its delay notice. ready: its turn was
// to come.
type alarmed struct {
	r     ref
	ready bool
}

// takeNotices are the entries of one message whose delay notice is due, wherever
// they were: also such as are held, or whose destination rests. Nil: none is.
func (s *scheduler) takeNotices(now int64) (all []alarmed) {
	first := s.alarms.first()
	if first == 0 || s.at(first).notice > now {
		return nil
	}
	e := s.at(first)
	for r := s.index[e.key]; r != 0; r = s.at(r).sibling {
		if o := s.at(r); o.dir == e.dir && o.place != placeOut && o.notice != 0 && o.notice <= now {
			all = append(all, alarmed{r, o.place == placeReady})
			s.pull(r)
		}
	}
	return all
}

// adrift is how many entries are not in exactly one place. It counts what the
// places hold, not what the entries say: anything but 0 is a defect of ours.
func (s *scheduler) adrift() int {
	n := s.n - len(s.due.refs) - s.ready - s.out - s.held
	return max(n, -n)
}
