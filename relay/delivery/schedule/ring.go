package schedule

// ring is a list of those that wait for the same turn, first come first served; after a turn one
// joins again at the end.
type ring[T any] struct {
	first, last *node[T]
	n           int
}

// node is a place in a ring. It is a field of the type that joins, so that a turn allocates nothing
// and nothing is in a ring twice.
type node[T any] struct {
	who           T
	queued        bool // it is in a ring
	before, after *node[T]
}

func (r *ring[T]) empty() bool { return r.first == nil }

// join puts who at the end; its node must be in no ring.
func (r *ring[T]) join(s *node[T], who T) { r.insert(s, who, r.last) }

// insert puts who after another node of the ring; nil: at the front.
func (r *ring[T]) insert(s *node[T], who T, before *node[T]) {
	*s = node[T]{who: who, queued: true, before: before, after: r.first}
	if before != nil {
		s.after, before.after = before.after, s
	} else {
		r.first = s
	}
	if s.after != nil {
		s.after.before = s
	} else {
		r.last = s
	}
	r.n++
}

// leave takes a node out, if it is in the ring. A node is in one ring at most:
// the caller knows which.
func (r *ring[T]) leave(s *node[T]) {
	if !s.queued {
		return
	}
	if s.before != nil {
		s.before.after = s.after
	} else {
		r.first = s.after
	}
	if s.after != nil {
		s.after.before = s.before
	} else {
		r.last = s.before
	}
	*s = node[T]{}
	r.n--
}
