package flow

import (
	"math"

	"github.com/fbd86cad/broadcast/internal/chunks"
)

// Never is a position that no log reaches.
const Never = math.MaxUint64

// A Heap orders cursors by the head at which each is due. It is a 4-ary heap with the earliest
// first. A cursor is in at most one list or heap, and knows its index there. The zero Heap is
// empty. It is guarded by the lock of the gate.
type Heap struct {
	entries chunks.List[entry]
}

type entry struct {
	due    uint64
	cursor *Cursor
}

// Len returns the number of cursors.
func (h *Heap) Len() int { return h.entries.Len() }

// Earliest returns the smallest due, or Never if the heap is empty.
func (h *Heap) Earliest() uint64 {
	if h.entries.Len() == 0 {
		return Never
	}
	return h.entries.At(0).due
}

// First returns a cursor with the smallest due. The heap must not be empty.
func (h *Heap) First() *Cursor { return h.entries.At(0).cursor }

// Add adds a cursor.
func (h *Heap) Add(c *Cursor, due uint64) {
	h.entries.Push(entry{})
	h.up(h.Len()-1, entry{due, c})
}

// Remove removes a cursor, which must be in the heap.
func (h *Heap) Remove(c *Cursor) {
	if moved := h.entries.Pop(); moved.cursor != c {
		h.place(int(c.index), moved)
	}
}

// Refresh changes the due of a cursor in the heap.
func (h *Heap) Refresh(c *Cursor, due uint64) { h.place(int(c.index), entry{due, c}) }

// place puts an entry into the hole at i, or above or below it.
func (h *Heap) place(i int, e entry) {
	if i > 0 && e.due < h.entries.At((i-1)/4).due {
		h.up(i, e)
		return
	}
	h.down(i, e)
}

func (h *Heap) up(i int, e entry) {
	for i > 0 {
		parent := (i - 1) / 4
		if h.entries.At(parent).due <= e.due {
			break
		}
		h.set(i, *h.entries.At(parent))
		i = parent
	}
	h.set(i, e)
}

func (h *Heap) down(i int, e entry) {
	for {
		first := 4*i + 1
		if first >= h.Len() {
			break
		}
		least := first
		for child := first + 1; child < min(first+4, h.Len()); child++ {
			if h.entries.At(child).due < h.entries.At(least).due {
				least = child
			}
		}
		if e.due <= h.entries.At(least).due {
			break
		}
		h.set(i, *h.entries.At(least))
		i = least
	}
	h.set(i, e)
}

func (h *Heap) set(i int, e entry) {
	*h.entries.At(i) = e
	e.cursor.index = int32(i)
}
