// Package ring provides a queue from which any element can be dropped. It is the backlog of a
// reader that fell behind. Dropping an element moves indexes, not elements, so that large elements
// cost no more than small ones.
package ring

import "fmt"

// A Queue holds elements with their positions in the log, oldest first. The zero Queue is empty. It
// is not safe for concurrent use.
type Queue[T any] struct {
	slots []slot[T]
	// order is a permutation of the indexes of slots, used as a ring. It begins at start, with the
	// slots in use, oldest first, followed by the free ones.
	order []int32
	start int
	used  int
}

type slot[T any] struct {
	seq   uint64
	value T
}

// Len returns the number of elements.
func (q *Queue[T]) Len() int { return q.used }

// At returns element i; 0 is the oldest. It panics if i is out of range.
func (q *Queue[T]) At(i int) T {
	if i < 0 || i >= q.used {
		panic(fmt.Sprintf("index %d out of range with length %d", i, q.used))
	}
	return q.slots[q.order[q.ring(i)]].value
}

// Push adds an element.
func (q *Queue[T]) Push(seq uint64, v T) {
	if q.used == len(q.slots) {
		q.grow()
	}
	q.slots[q.order[q.ring(q.used)]] = slot[T]{seq, v}
	q.used++
}

// Oldest returns the oldest element. The queue must not be empty.
func (q *Queue[T]) Oldest() (seq uint64, v T) {
	s := &q.slots[q.order[q.start]]
	return s.seq, s.value
}

// Pop removes and returns the oldest element. The queue must not be empty.
func (q *Queue[T]) Pop() (seq uint64, v T) {
	seq, v = q.Oldest()
	q.slots[q.order[q.start]] = slot[T]{} // release what it points to
	q.start = q.ring(1)
	q.used--
	return seq, v
}

// Replace drops element i, which must exist, and adds another one.
func (q *Queue[T]) Replace(i int, seq uint64, v T) {
	dropped := q.order[q.ring(i)]
	for ; i < q.used-1; i++ {
		q.order[q.ring(i)] = q.order[q.ring(i+1)]
	}
	q.order[q.ring(i)] = dropped
	q.slots[dropped] = slot[T]{seq, v}
}

// ring returns the index in order of element i.
func (q *Queue[T]) ring(i int) int {
	if i += q.start; i >= len(q.order) {
		i -= len(q.order)
	}
	return i
}

// grow makes room for twice as many elements, at least 8.
func (q *Queue[T]) grow() {
	slots := make([]slot[T], max(8, 2*len(q.slots)))
	order := make([]int32, len(slots))
	for i := range order {
		order[i] = int32(i)
		if i < q.used {
			slots[i] = q.slots[q.order[q.ring(i)]]
		}
	}
	q.slots, q.order, q.start = slots, order, 0
}
