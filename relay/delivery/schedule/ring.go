package schedule

// ring is those who wait for a turn at the same thing, first come first served;
// whoever has had one and wants another joins again at the end.
type ring[T any] struct {
	first, last *node[T]
}

// node is one's place in a ring: a field of whoever joins, so that a turn
// allocates nothing and nobody stands in a ring twice.
type node[T any] struct {
	who    T
	queued bool // it is in its ring
	after  *node[T]
}

func (r *ring[T]) empty() bool { return r.first == nil }

// join puts who at the end, by a node that is in no ring.
func (r *ring[T]) join(s *node[T], who T) {
	*s = node[T]{who: who, queued: true}
	if r.last != nil {
		r.last.after = s
	} else {
		r.first = s
	}
	r.last = s
}

// next takes out the one whose turn it is. The ring is not empty.
func (r *ring[T]) next() T {
	s := r.first
	if r.first = s.after; r.first == nil {
		r.last = nil
	}
	who := s.who
	*s = node[T]{}
	return who
}

// leave takes a node out, if it is in the ring. It looks at all before it: it is
// for what happens seldom.
func (r *ring[T]) leave(s *node[T]) {
	if !s.queued {
		return
	}
	var before *node[T]
	for o := r.first; o != s; o = o.after {
		before = o
	}
	if before == nil {
		r.first = s.after
	} else {
		before.after = s.after
	}
	if r.last == s {
		r.last = before
	}
	*s = node[T]{}
}
