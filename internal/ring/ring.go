// Package ring is a bounded queue from which any element can be dropped: the backlog of a reader that fell behind. What moves
// when one is dropped is indexes, not elements, so that large elements cost no more than small ones.
package ring

import "fmt"

// Queue holds elements and the positions they had in the log, oldest first. The zero value is empty. It is not safe for
// concurrent use.
type Queue[T any] struct {
	slots []slot[T]
	// order is a permutation of the indexes of slots, as a ring: from start on, first those in use, oldest first, then the
	// free ones.
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

// At returns the element i, 0 being the oldest. It panics if there is none.
func (q *Queue[T]) At(i int) T {
	if i < 0 || i >= q.used {
		panic(fmt.Sprintf("index %d is not one of %d elements", i, q.used))
	}
	return q.slots[q.order[q.ring(i)]].value
}

// Push adds an element as the newest.
func (q *Queue[T]) Push(seq uint64, v T) {
	if q.used == len(q.slots) {
		q.grow()
	}
	q.slots[q.order[q.ring(q.used)]] = slot[T]{seq, v}
	q.used++
}

// Oldest returns the oldest element, of at least one.
func (q *Queue[T]) Oldest() (seq uint64, v T) {
	s := &q.slots[q.order[q.start]]
	return s.seq, s.value
}

// Pop removes the oldest element, of at least one.
func (q *Queue[T]) Pop() (seq uint64, v T) {
	seq, v = q.Oldest()
	q.slots[q.order[q.start]] = slot[T]{} // lets go of what it points to
	q.start = q.ring(1)
	q.used--
	return seq, v
}

// Replace drops the element i and adds one as the newest.
func (q *Queue[T]) Replace(i int, seq uint64, v T) {
	dropped := q.order[q.ring(i)]
	for ; i < q.used-1; i++ {
		q.order[q.ring(i)] = q.order[q.ring(i+1)]
	}
	q.order[q.ring(i)] = dropped
	q.slots[dropped] = slot[T]{seq, v}
}

// ring returns where in order the element i is.
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
