package schedule

import "math"

// destination is one next hop, a route or a domain, for which something is ready or taken. If all
// its Deliveries wait or are held, only its name is stored.
type destination struct {
	num   uint32 // of its name
	ready int    // in its lanes
	slots int    // attempts that may hold a connection
	lanes *lane  // the newest of them

	provider   *provider // who takes its mail; never nil
	suspension suspension
	trouble    trouble
	probing    bool // one attempt at a time, until one gets in
	parked     bool // it may have no turn: its lanes are in no ring
}

// most is how many attempts the destination itself allows at once; the provider's
// limit applies as well.
func (d *destination) most() int {
	if d.probing {
		return 1
	}
	return math.MaxInt
}

// rests says whether it or its provider is suspended.
func (d *destination) rests() bool { return d.suspension.rests() || d.provider.suspension.rests() }

// open says whether it may have a turn.
func (d *destination) open() bool { return d.suspension.until == 0 && d.slots < d.most() }
