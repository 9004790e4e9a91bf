package schedule

// heap orders what it holds by a time: with four children a node, which is
// shallower than a binary heap and needs fewer cache lines. Each item knows its
// position, so that any of them can be taken out.
type heap[T any] struct {
	all []T
	key func(T) int64 // the time that an item is ordered by
	pos func(T) *Ref  // where an item keeps its position
}

func (h *heap[T]) push(x T) {
	h.all = append(h.all, x)
	h.up(len(h.all) - 1)
}

// first is the item whose time comes next; the zero value when there is none.
func (h *heap[T]) first() (x T) {
	if len(h.all) > 0 {
		x = h.all[0]
	}
	return x
}

// due says whether the time of the first has come.
func (h *heap[T]) due(now int64) bool { return len(h.all) > 0 && h.key(h.all[0]) <= now }

// next is the time of the first item or later, whichever is sooner.
func (h *heap[T]) next(later int64) int64 {
	if len(h.all) == 0 {
		return later
	}
	return min(later, h.key(h.all[0]))
}

func (h *heap[T]) remove(x T) {
	i, last := int(*h.pos(x)), len(h.all)-1
	moved := h.all[last]
	clear(h.all[last:])
	h.all = h.all[:last]
	if i != last {
		h.all[i] = moved
		h.down(i)
		h.up(int(*h.pos(moved)))
	}
	*h.pos(x) = 0
	if cap(h.all) > 4*chunkSize && len(h.all) < cap(h.all)/4 {
		h.all = append(make([]T, 0, cap(h.all)/2), h.all...)
	}
}

func (h *heap[T]) up(i int) {
	x := h.all[i]
	at := h.key(x)
	for i > 0 {
		parent := (i - 1) / 4
		if h.key(h.all[parent]) <= at {
			break
		}
		h.set(i, h.all[parent])
		i = parent
	}
	h.set(i, x)
}

func (h *heap[T]) down(i int) {
	x := h.all[i]
	at := h.key(x)
	for {
		least, leastAt := -1, at
		for c := 4*i + 1; c <= 4*i+4 && c < len(h.all); c++ {
			if d := h.key(h.all[c]); d < leastAt {
				least, leastAt = c, d
			}
		}
		if least < 0 {
			break
		}
		h.set(i, h.all[least])
		i = least
	}
	h.set(i, x)
}

func (h *heap[T]) set(i int, x T) {
	h.all[i] = x
	*h.pos(x) = Ref(i)
}
