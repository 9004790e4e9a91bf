package schedule

import (
	"iter"

	"dawk/relay"
)

// Ref names an entry: its number in the slab, from 1. 0 is no entry.
type Ref uint32

// place is where an entry is: exactly one, always. That is the meaning of "every Delivery has
// exactly one next event": the event of its place or, if it comes first, the delay notice, for
// which the entry is in the heap of notices as well.
type place uint8

const (
	placeFree    place = iota
	placeWaiting       // in the due heap, until its due time
	placeReady         // in the lane of its destination and identity, until its turn
	placeTaken         // with whoever attempts, settles or acts on it
	placeHeld          // held; only an operator moves it
)

// entry is what the schedule knows of one Delivery: 72 bytes without pointers, so the garbage
// collector does not scan a million of them.
type entry struct {
	key         uint64 // relay.QueueID.Key
	due         int64  // on the schedule's clock, µs
	notice      int64  // when its delay notice is due, likewise; 0: none is to come
	dir         uint32 // relay.QueueID.Dir
	arrival     uint32 // Unix seconds; good until 2106
	dest, ident uint32 // numbers of its destination and its identity
	sibling     Ref    // another Delivery of the same message
	lane        links  // its neighbours in its lane; in the due heap, lane.before is its position
	alarm       Ref    // its position in the heap of notices
	arrived     links  // its neighbours by arrival
	job         uint16
	attempts    uint16 // at most what its type can count
	place       place
	reason      uint8 // why it is delayed: see State
	flags       uint8
}

const (
	flagHeld    = 1 << iota
	flagForced  // the operator wants an attempt now, FUTURERELEASE or not
	flagPatient // the next attempt does not give its slot up
)

func (e *entry) has(flag uint8) bool { return e.flags&flag != 0 }

func (e *entry) set(flag uint8, on bool) {
	if on {
		e.flags |= flag
	}
}

const chunkSize = 4096 // entries; 256 KiB

// chain is a list of entries, which are linked to each other.
type chain struct{ first, last Ref }

// links are an entry's neighbours in a chain.
type links struct{ before, after Ref }

func inLane(e *entry) *links { return &e.lane }

func byArrival(e *entry) *links { return &e.arrived }

// link puts r behind another entry of c; 0: at the front. Of says which links c uses.
func (t *table) link(c *chain, of func(*entry) *links, r, before Ref) {
	l := of(t.at(r))
	l.before, l.after = before, c.first
	if before != 0 {
		b := of(t.at(before))
		l.after, b.after = b.after, r
	} else {
		c.first = r
	}
	if l.after != 0 {
		of(t.at(l.after)).before = r
	} else {
		c.last = r
	}
}

func (t *table) unlink(c *chain, of func(*entry) *links, r Ref) {
	l := of(t.at(r))
	if l.before != 0 {
		of(t.at(l.before)).after = l.after
	} else {
		c.first = l.after
	}
	if l.after != 0 {
		of(t.at(l.after)).before = l.before
	} else {
		c.last = l.before
	}
	*l = links{}
}

// table holds the entries: a slab that grows by chunks and never moves, an
// index from messages to their first entry, and a list by arrival.
type table struct {
	chunks  []*[chunkSize]entry
	used    Ref // highest number ever given
	free    Ref // head of the free list, linked by lane.after
	index   map[uint64]Ref
	n       int
	arrived chain // oldest message first
}

func newTable() table {
	return table{index: make(map[uint64]Ref)}
}

func (t *table) at(r Ref) *entry { return &t.chunks[(r-1)/chunkSize][(r-1)%chunkSize] }

// Find is the entry of one Delivery, 0 when there is none.
func (t *table) Find(id relay.QueueID, job uint16) Ref {
	for r := t.index[id.Key]; r != 0; r = t.at(r).sibling {
		if e := t.at(r); e.job == job && e.dir == id.Dir {
			return r
		}
	}
	return 0
}

// insert makes an entry for e, which is in no place yet.
func (t *table) insert(id relay.QueueID, job uint16, arrival uint32) Ref {
	r := t.free
	if r != 0 {
		t.free = t.at(r).lane.after
	} else {
		t.used++
		r = t.used
		if int(r-1)/chunkSize == len(t.chunks) {
			t.chunks = append(t.chunks, new([chunkSize]entry))
		}
	}
	first := t.index[id.Key]
	*t.at(r) = entry{key: id.Key, dir: id.Dir, job: job, arrival: arrival}
	if first == 0 {
		t.index[id.Key] = r
	} else { // second in its chain: the index need not change
		e, f := t.at(r), t.at(first)
		e.sibling, f.sibling = f.sibling, r
	}
	// A sibling is as old; otherwise the entry is the newest: the store yields its records, and
	// commits, in the order of arrival.
	if first == 0 {
		first = t.arrived.last
	}
	t.link(&t.arrived, byArrival, r, first)
	t.n++
	return r
}

// remove forgets r, which is in no place any more.
func (t *table) remove(r Ref) {
	e := t.at(r)
	if first := t.index[e.key]; first != r {
		for t.at(first).sibling != r {
			first = t.at(first).sibling
		}
		t.at(first).sibling = e.sibling
	} else if e.sibling != 0 {
		t.index[e.key] = e.sibling
	} else {
		delete(t.index, e.key)
	}
	t.unlink(&t.arrived, byArrival, r)
	*e = entry{lane: links{after: t.free}}
	t.free = r
	t.n--
}

// Of are the entries of a message. None may go meanwhile.
func (t *table) Of(id relay.QueueID) iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for r := t.index[id.Key]; r != 0; r = t.at(r).sibling {
			if t.at(r).dir == id.Dir && !yield(r) {
				return
			}
		}
	}
}

// All are all entries, oldest message first; the one that is given may go.
func (t *table) All() iter.Seq[Ref] {
	return func(yield func(Ref) bool) {
		for r := t.arrived.first; r != 0; {
			next := t.at(r).arrived.after
			if !yield(r) {
				return
			}
			r = next
		}
	}
}

// Delivery is which one an entry stands for.
func (t *table) Delivery(r Ref) (id relay.QueueID, job uint16) { return t.at(r).id(), t.at(r).job }

// Taken says whether the entry was taken and will be put back.
func (t *table) Taken(r Ref) bool { return t.at(r).place == placeTaken }

func (e *entry) id() relay.QueueID { return relay.QueueID{Key: e.key, Dir: e.dir} }

// names interns strings that many entries share, and counts their users.
type names struct {
	byName map[string]uint32
	names  []string
	users  []int
	free   []uint32
}

func newNames() names { return names{byName: make(map[string]uint32)} }

func (n *names) take(name string) uint32 {
	num, ok := n.byName[name]
	if !ok {
		if last := len(n.free) - 1; last >= 0 {
			num, n.free = n.free[last], n.free[:last]
			n.names[num] = name
		} else {
			num = uint32(len(n.names))
			n.names, n.users = append(n.names, name), append(n.users, 0)
		}
		n.byName[name] = num
	}
	n.users[num]++
	return num
}

// keep adds a user to a name that has users.
func (n *names) keep(num uint32) { n.users[num]++ }

func (n *names) drop(num uint32) {
	if n.users[num]--; n.users[num] == 0 {
		delete(n.byName, n.names[num])
		n.names[num] = ""
		n.free = append(n.free, num)
	}
}
