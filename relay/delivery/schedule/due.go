package schedule

// dueHeap orders entries by when they are due, or by when their delay notice
// is: a heap with four children a node, which is shallower than a binary one
// and needs fewer cache lines. Each entry knows its position, so that any of them
// can be taken out.
type dueHeap struct {
	t       *table
	refs    []Ref
	notices bool // by delay notice
}

// key is the time that an entry is ordered by.
func (h *dueHeap) key(r Ref) int64 {
	if h.notices {
		return h.t.at(r).notice
	}
	return h.t.at(r).due
}

// position is where an entry keeps its own.
func (h *dueHeap) position(r Ref) *Ref {
	if h.notices {
		return &h.t.at(r).alarm
	}
	return &h.t.at(r).prev
}

func (h *dueHeap) push(r Ref) {
	h.refs = append(h.refs, r)
	h.up(len(h.refs) - 1)
}

// first is the entry that is due next, 0 when none waits.
func (h *dueHeap) first() Ref {
	if len(h.refs) == 0 {
		return 0
	}
	return h.refs[0]
}

func (h *dueHeap) remove(r Ref) {
	i, last := int(*h.position(r)), len(h.refs)-1
	moved := h.refs[last]
	h.refs = h.refs[:last]
	if i != last {
		h.refs[i] = moved
		h.down(i)
		h.up(int(*h.position(moved)))
	}
	*h.position(r) = 0
	if cap(h.refs) > 4*chunkSize && len(h.refs) < cap(h.refs)/4 {
		h.refs = append(make([]Ref, 0, cap(h.refs)/2), h.refs...)
	}
}

func (h *dueHeap) up(i int) {
	r := h.refs[i]
	due := h.key(r)
	for i > 0 {
		parent := (i - 1) / 4
		if h.key(h.refs[parent]) <= due {
			break
		}
		h.set(i, h.refs[parent])
		i = parent
	}
	h.set(i, r)
}

func (h *dueHeap) down(i int) {
	r := h.refs[i]
	due := h.key(r)
	for {
		least, leastDue := -1, due
		for c := 4*i + 1; c <= 4*i+4 && c < len(h.refs); c++ {
			if d := h.key(h.refs[c]); d < leastDue {
				least, leastDue = c, d
			}
		}
		if least < 0 {
			break
		}
		h.set(i, h.refs[least])
		i = least
	}
	h.set(i, r)
}

func (h *dueHeap) set(i int, r Ref) {
	h.refs[i] = r
	*h.position(r) = Ref(i)
}
