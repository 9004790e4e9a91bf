package delivery

// ring is those who wait for a turn at the same thing, first come first served;
// whoever has had one and wants another joins again at the end.
type ring[T any] struct {
	first, last *seat[T]
}

// seat is one's place in a ring: a field of whoever joins, so that a turn
// allocates nothing and nobody stands in a ring twice.
type seat[T any] struct {
	who   T
	taken bool // it is in its ring
	after *seat[T]
}

func (r *ring[T]) empty() bool { return r.first == nil }

// join puts who at the end, in a seat that is not taken.
func (r *ring[T]) join(s *seat[T], who T) {
	*s = seat[T]{who: who, taken: true}
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
	*s = seat[T]{}
	return who
}

// leave gives up a seat, if it is taken. It looks at all before it: for what
// happens seldom.
func (r *ring[T]) leave(s *seat[T]) {
	if !s.taken {
		return
	}
	var before *seat[T]
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
	*s = seat[T]{}
}
