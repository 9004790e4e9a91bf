package schedule

import (
	"math"
	"slices"
	"time"

	"dawk/relay"
)

// Schedule decides which Delivery is attempted next. Every operation costs at
// most O(log n), except where it says otherwise.
type Schedule struct {
	most     int // attempts at once
	retry    Retry
	shortest time.Duration // of the steps of retry
	limits   Limits
	clock    func(time.Time) int64

	table
	due         heap[Ref]               // the entries in placeWaiting, by their due times
	alarms      heap[Ref]               // the entries that are not taken, by when their delay notice is due
	dests       names                   // of all entries
	active      map[uint32]*destination // the busy ones of dests
	providers   map[string]*provider    // of those, and some that had some lately
	idents      names
	lanes       map[uint64]*lane // by destination and identity
	flows       map[flowKey]*flow
	identities  map[uint32]*identity // of those
	priorities  [relay.Priorities]priority
	standing    int               // identities in their rings
	turn        uint64            // how many turns there were
	overdue     ring[*provider]   // those with a backlog that was skipped too often
	flying      map[Ref]*Slot     // attempts
	woken       map[Ref]bool      // entries in placeTaken: see WakeAll
	suspensions heap[*suspension] // by their ends
	slots       int               // attempts that may hold a connection
	taken       int               // entries in placeTaken
	ready       int               // entries in placeReady
	held        int               // entries in placeHeld
	deferred    int               // entries in placeWaiting that were attempted before
	reasonCount [MaxReasons]int
	frozen      bool
	givenUp     uint64 // attempts that had to give up their slots
}

// Config of a schedule.
type Config struct {
	Attempts int // at once, all destinations together
	Retry    Retry
	Limits   Limits
	Clock    func(time.Time) int64 // a time of the wall clock on the owner's; nil: µs of the Unix epoch
}

// New makes an empty schedule.
func New(cfg Config) *Schedule {
	s := &Schedule{most: cfg.Attempts, retry: cfg.Retry, shortest: slices.Min(cfg.Retry.Steps), limits: cfg.Limits.complete(), clock: cfg.Clock,
		table: newTable(), dests: newNames(),
		active: make(map[uint32]*destination), providers: make(map[string]*provider), idents: newNames(), lanes: make(map[uint64]*lane),
		flows: make(map[flowKey]*flow), identities: make(map[uint32]*identity), flying: make(map[Ref]*Slot), woken: make(map[Ref]bool)}
	if s.clock == nil {
		s.clock = time.Time.UnixMicro
	}
	s.due = heap[Ref]{key: func(r Ref) int64 { return s.at(r).due }, pos: func(r Ref) *Ref { return &s.at(r).lane.before }}
	s.alarms = heap[Ref]{key: func(r Ref) int64 { return s.at(r).notice }, pos: func(r Ref) *Ref { return &s.at(r).alarm }}
	s.suspensions = heap[*suspension]{key: func(r *suspension) int64 { return r.until }, pos: func(r *suspension) *Ref { return &r.pos }}
	return s
}

// Configure changes how many attempts there are at once, and the steps of retries,
// and asks the Limits again what providers take.
func (s *Schedule) Configure(attempts int, retry Retry) {
	s.most, s.retry, s.shortest = attempts, retry, slices.Min(retry.Steps)
	s.Reallow()
}

// Reallow asks the Limits again what providers take.
func (s *Schedule) Reallow() {
	for _, p := range s.providers {
		s.allow(p)
		s.admitFlows(p)
	}
}

// State is what an entry that was taken is given back with.
type State struct {
	Due      int64
	Attempts int
	Held     bool
	Notice   int64 // when its delay notice is due; 0: none is to come
	Reason   uint8 // why it is delayed, below MaxReasons
	Forced   bool  // the operator wants an attempt now, FUTURERELEASE or not
	Patient  bool  // its last attempt gave up its slot: the next one does not
	Gone     bool  // the entry is to be forgotten
	First    bool  // it was ready before: if it is due, it goes to the front of its lane
	Stopped  bool  // the hold of its route stopped its attempt
}

// MaxReasons is how many reasons an entry can tell apart; 0 is for what was not
// attempted since the start.
const MaxReasons = 64

// InHand is how many entries are taken.
func (s *Schedule) InHand() int { return s.taken }

// StateOf is the State that leaves r as it is.
func (s *Schedule) StateOf(r Ref) State {
	e := s.at(r)
	return State{Due: e.due, Attempts: int(e.attempts), Notice: e.notice, Reason: e.reason, Forced: e.has(flagForced), Held: e.has(flagHeld), Patient: e.has(flagPatient)}
}

// Add takes in a Delivery; false: it is there already.
func (s *Schedule) Add(e relay.Entry, f State, now int64) bool {
	if s.Find(e.ID, e.Job) != 0 {
		return false
	}
	arrival := uint32(min(max(e.Arrival.Unix(), 0), math.MaxUint32))
	r := s.insert(e.ID, e.Job, arrival)
	s.at(r).dest, s.at(r).ident = s.dests.take(e.Destination), s.idents.take(who(e))
	s.taken++ // for Put, which takes it from there
	s.at(r).place = placeTaken
	s.reasonCount[0]++
	s.Put(r, f, now)
	return true
}

// who is the name by which turns go: each client of a trusted network has its own.
func who(e relay.Entry) string {
	if e.Peer == "" {
		return e.Identity
	}
	return e.Identity + " " + e.Peer
}

// busy is the destination with that number, made if it is missing.
func (s *Schedule) busy(num uint32) *destination {
	d := s.active[num]
	if d == nil {
		name := s.dests.names[num]
		d = &destination{num: num}
		d.suspension.dest = d
		d.provider = s.providerNamed(s.limits.Provider(name))
		d.provider.domains++
		s.active[num] = d
		s.dests.keep(num)
	}
	return d
}

// Put gives an entry that was taken its next place, or forgets it.
func (s *Schedule) Put(r Ref, f State, now int64) {
	e := s.at(r)
	if s.woken[r] {
		delete(s.woken, r)
		if f.Attempts > 0 && (f.Stopped || f.Due == e.due) {
			f.Due = now // the suspension is over: it does not wait for its due time
		}
	}
	s.taken--
	s.reasonCount[e.reason]--
	if f.Gone {
		s.idents.drop(e.ident)
		s.dests.drop(e.dest)
		s.remove(r)
		return
	}
	e.due, e.attempts, e.reason = f.Due, uint16(min(f.Attempts, math.MaxUint16)), f.Reason
	e.notice, e.flags = f.Notice, 0
	e.set(flagForced, f.Forced)
	e.set(flagHeld, f.Held)
	e.set(flagPatient, f.Patient)
	s.reasonCount[e.reason]++
	if e.notice != 0 {
		s.alarms.push(r)
	}
	switch {
	case f.Held:
		e.place = placeHeld
		s.held++
	case e.due <= now:
		s.makeReady(r, f.First)
	default:
		e.place = placeWaiting
		if e.attempts > 0 {
			s.deferred++
		}
		s.due.push(r)
	}
}

// Pull takes an entry out of its place. The caller owns it until Put.
func (s *Schedule) Pull(r Ref) {
	e := s.at(r)
	if e.notice != 0 {
		s.alarms.remove(r)
	}
	s.leave(r)
	e.place = placeTaken
	s.taken++
}

// leave takes an entry out of its place, for the next one.
func (s *Schedule) leave(r Ref) {
	e := s.at(r)
	switch e.place {
	case placeWaiting:
		s.due.remove(r)
		if e.attempts > 0 {
			s.deferred--
		}
	case placeReady:
		s.leaveLane(r)
	case placeHeld:
		s.held--
	}
}

// Advance moves what has become due.
func (s *Schedule) Advance(now int64) {
	for !s.frozen && s.due.due(now) {
		r := s.due.first()
		s.leave(r)
		s.makeReady(r, false)
	}
	for s.suspensions.due(now) {
		s.resume(s.suspensions.first())
	}
}

// After Freeze nothing becomes due any more: what is ready gets its turns, and what waits for its
// time stays.
func (s *Schedule) Freeze() { s.frozen = true }

// soon is how long a Freeze waits for a rate, in µs.
const soon = 60e6

// Left is how many entries are taken, or ready and may have a turn soon: what is left to do after
// Freeze.
func (s *Schedule) Left(now int64) int {
	n := s.taken
	for _, l := range s.lanes {
		if p := &l.dest.provider.suspension; l.dest.suspension.until == 0 && (p.until == 0 || p.why == suspendedRate && p.until < now+soon) {
			n += l.n
		}
	}
	return n
}

// NextEvent is when Advance has something to do again or, if the caller has
// room for one, TakeNotices.
func (s *Schedule) NextEvent(room bool) int64 {
	next := s.suspensions.next(math.MaxInt64)
	if !s.frozen {
		next = s.due.next(next)
	}
	if room {
		next = s.alarms.next(next)
	}
	return next
}

// Noticed is an entry that was taken for its delay notice.
type Noticed struct {
	Ref   Ref
	Ready bool // its turn was to come
}

// TakeNotices are the entries of one message whose delay notice is due, wherever
// they were, on hold and at a suspended destination too. Nil: none is due.
func (s *Schedule) TakeNotices(now int64) (all []Noticed) {
	if !s.alarms.due(now) {
		return nil
	}
	e := s.at(s.alarms.first())
	for r := s.index[e.key]; r != 0; r = s.at(r).sibling {
		if o := s.at(r); o.dir == e.dir && o.place != placeTaken && o.notice != 0 && o.notice <= now {
			all = append(all, Noticed{r, o.place == placeReady})
			s.Pull(r)
		}
	}
	return all
}

// adrift is how many entries are not in exactly one place. It counts what the places hold, not what
// the entries say; every result other than 0 is a defect of ours.
func (s *Schedule) adrift() int {
	n := s.n - len(s.due.all) - s.ready - s.taken - s.held
	return max(n, -n)
}
