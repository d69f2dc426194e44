package seglog

import (
	"container/heap"

	"github.com/fbd86cad/broadcast/internal/chunks"
	"github.com/fbd86cad/broadcast/internal/smallmap"
)

// holds is how many of its last positions a log must hold: the largest of the sizes that were added
// and not removed. Equal sizes share an entry. The cost of an operation is logarithmic in the
// number of different sizes.
type holds struct {
	bySize smallmap.Map[uint64, *hold]
	queue  holdQueue
}

// hold is one size and how often it was added.
type hold struct {
	size  uint64
	count int
	index int // in the queue
}

// add adds a size.
func (h *holds) add(size uint64) {
	if one := h.bySize.Get(size); one != nil {
		one.count++
		return
	}
	one := &hold{size: size, count: 1}
	h.bySize.Set(size, one)
	heap.Push(&h.queue, one)
}

// remove removes a size that was added.
func (h *holds) remove(size uint64) {
	one := h.bySize.Get(size)
	if one.count--; one.count > 0 {
		return
	}
	h.bySize.Delete(size)
	heap.Remove(&h.queue, one.index)
}

// largest returns the largest size, or 0 if there is none.
func (h *holds) largest() uint64 {
	if h.queue.Len() == 0 {
		return 0
	}
	return h.queue.at(0).size
}

// holdQueue implements [heap.Interface], with the largest size first.
type holdQueue struct {
	list chunks.List[*hold]
}

func (q *holdQueue) at(i int) *hold { return *q.list.At(i) }

// Len implements [heap.Interface].
func (q *holdQueue) Len() int { return q.list.Len() }

// Less implements [heap.Interface].
func (q *holdQueue) Less(i, j int) bool { return q.at(i).size > q.at(j).size }

// Swap implements [heap.Interface].
func (q *holdQueue) Swap(i, j int) {
	one, other := q.at(i), q.at(j)
	*q.list.At(i), *q.list.At(j) = other, one
	one.index, other.index = j, i
}

// Push implements [heap.Interface].
func (q *holdQueue) Push(x any) {
	one := x.(*hold)
	one.index = q.Len()
	q.list.Push(one)
}

// Pop implements [heap.Interface].
func (q *holdQueue) Pop() any { return q.list.Pop() }
