package schedule

// ring is those who wait for a turn at the same thing, first come first served;
// whoever has had one and wants another joins again at the end.
type ring[T any] struct {
	first, last *node[T]
	n           int
}

// node is one's place in a ring: a field of whoever joins, so that a turn
// allocates nothing and nobody stands in a ring twice.
type node[T any] struct {
	who           T
	queued        bool // it is in a ring
	before, after *node[T]
}

func (r *ring[T]) empty() bool { return r.first == nil }

// join puts who at the end, by a node that is in no ring.
func (r *ring[T]) join(s *node[T], who T) { r.insert(s, who, r.last) }

// insert puts who behind another node of the ring; nil: at the front.
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
