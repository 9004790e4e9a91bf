package schedule

import "math"

// lane is the entries of one identity that are ready for one destination,
// first come first served.
type lane struct {
	head, tail Ref
	n          int
	dest       *destination
	tenant     *tenant
	node       node[*lane] // among those of the tenant
	older      *lane       // neighbours among the lanes of dest
	newer      *lane
}

func (l *lane) push(t *table, r Ref) {
	e := t.at(r)
	e.next, e.prev = 0, l.tail
	if l.tail != 0 {
		t.at(l.tail).next = r
	} else {
		l.head = r
	}
	l.tail = r
	l.n++
}

// pushFront gives r back its turn.
func (l *lane) pushFront(t *table, r Ref) {
	e := t.at(r)
	e.next, e.prev = l.head, 0
	if l.head != 0 {
		t.at(l.head).prev = r
	} else {
		l.tail = r
	}
	l.head = r
	l.n++
}

func (l *lane) remove(t *table, r Ref) {
	e := t.at(r)
	if e.prev != 0 {
		t.at(e.prev).next = e.next
	} else {
		l.head = e.next
	}
	if e.next != 0 {
		t.at(e.next).prev = e.prev
	} else {
		l.tail = e.prev
	}
	e.next, e.prev = 0, 0
	l.n--
}

// destination is one next hop, a route or a domain, that something is ready
// for. One whose Deliveries all wait or are held costs no more than its name.
type destination struct {
	num   uint32 // of its name
	ready int    // in its lanes
	slots int    // attempts that may hold a connection
	lanes *lane  // the newest of them

	provider   *provider // who takes its mail; never nil
	suspension suspension
	probing    bool // one attempt at a time, until one gets through to it
	parked     bool // lanes of it are in no ring, since it was not open at their turn
}

// most is how many attempts may run at once, as far as that is its own affair:
// the provider's limit stands beside it.
func (d *destination) most() int {
	if d.probing {
		return 1
	}
	return math.MaxInt
}

// open says whether it may have a turn.
func (d *destination) open() bool {
	return d.ready > 0 && d.suspension.until == 0 && d.slots < d.most()
}
