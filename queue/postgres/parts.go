package postgres

import (
	"errors"
	"slices"
	"time"

	"dawk/queue"
)

// ownership of a partition.
type ownership struct {
	ours   bool
	closed bool      // to new mail: it is about to be handed over
	wanted int16     // by this node; 0: by none
	since  time.Time // it is wanted
}

// parts are the partitions that are ours.
func (q *Store) parts() []int16 {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []int16
	for p, o := range q.owned {
		if o.ours {
			all = append(all, int16(p))
		}
	}
	return all
}

func (q *Store) owns(key uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.owned[key%queue.Partitions].ours
}

// takes says whether new mail may have a key.
func (q *Store) takes(key uint64) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	o := q.owned[key%queue.Partitions]
	return o.ours && !o.closed
}

// errNoPart is of a node that has just joined.
var errNoPart = errors.New("this relay has no part of the queue yet; the others hand one over within seconds")

func (q *Store) hasNone() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !slices.ContainsFunc(q.owned[:], func(o ownership) bool { return o.ours })
}

// take marks partitions as ours.
func (q *Store) take(parts []int16) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, p := range parts {
		q.owned[p] = ownership{ours: true}
	}
}

// foreign are those of parts that are not ours.
func (q *Store) foreign(parts []int16) []int16 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(parts), func(p int16) bool { return q.owned[p].ours })
}

// above makes all keys that are given from now on higher than high.
func (q *Store) above(high uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if high > q.ids.Last() {
		q.ids.Set(high)
	}
}
