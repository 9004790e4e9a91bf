package delivery

// dueHeap orders the entries that wait by their due time: a heap with four
// children a node, which is shallower than a binary one and kinder to the
// cache. Each entry knows its position, so that any of them can be taken out.
type dueHeap struct {
	t    *table
	refs []ref
}

func (h *dueHeap) push(r ref) {
	h.refs = append(h.refs, r)
	h.up(len(h.refs) - 1)
}

// first is the entry that is due next, 0 when none waits.
func (h *dueHeap) first() ref {
	if len(h.refs) == 0 {
		return 0
	}
	return h.refs[0]
}

func (h *dueHeap) remove(r ref) {
	i, last := int(h.t.at(r).prev), len(h.refs)-1
	moved := h.refs[last]
	h.refs = h.refs[:last]
	if i != last {
		h.refs[i] = moved
		h.down(i)
		h.up(int(h.t.at(moved).prev))
	}
	h.t.at(r).prev = 0
	if cap(h.refs) > 4*chunkSize && len(h.refs) < cap(h.refs)/4 {
		h.refs = append(make([]ref, 0, cap(h.refs)/2), h.refs...)
	}
}

func (h *dueHeap) up(i int) {
	r := h.refs[i]
	due := h.t.at(r).due
	for i > 0 {
		parent := (i - 1) / 4
		p := h.t.at(h.refs[parent])
		if p.due <= due {
			break
		}
		h.set(i, h.refs[parent])
		i = parent
	}
	h.set(i, r)
}

func (h *dueHeap) down(i int) {
	r := h.refs[i]
	due := h.t.at(r).due
	for {
		least, leastDue := -1, due
		for c := 4*i + 1; c <= 4*i+4 && c < len(h.refs); c++ {
			if d := h.t.at(h.refs[c]).due; d < leastDue {
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

func (h *dueHeap) set(i int, r ref) {
	h.refs[i] = r
	h.t.at(r).prev = ref(i)
}
