// Package reservoir provides a queue from which a random element can be dropped in constant time.
// It is the backlog of a reader that fell behind with random sampling. Every operation is O(1),
// except that it may allocate a chunk of slots.
package reservoir

// chunk is how many slots are allocated at once. Elements do not move when the queue grows.
const chunk = 64

// none is the index of a neighbor that does not exist.
const none = -1

// A Queue holds elements with their positions in the log, in the order in which they were added.
// The zero Queue is empty. It is not safe for concurrent use.
//
// The used slots come first, in no particular order, so that a random index is a random element.
// The order of the elements is a linked list through the slots.
type Queue[T any] struct {
	chunks         [][]slot[T]
	used           int
	oldest, newest int32 // ends of the list; meaningless while it is empty
}

type slot[T any] struct {
	seq          uint64
	older, newer int32 // neighbors in the list, or none
	value        T
}

// Len returns the number of elements.
func (q *Queue[T]) Len() int { return q.used }

// Oldest returns the oldest element. The queue must not be empty.
func (q *Queue[T]) Oldest() (seq uint64, v T) {
	s := q.at(q.oldest)
	return s.seq, s.value
}

// Push adds an element.
func (q *Queue[T]) Push(seq uint64, v T) {
	q.grow()
	i := int32(q.used)
	q.used++
	q.append(i, seq, v)
}

// Replace drops the element in slot i, which must be less than [Queue.Len], and adds another one.
func (q *Queue[T]) Replace(i int, seq uint64, v T) {
	q.unlink(int32(i))
	q.append(int32(i), seq, v)
}

// Pop removes and returns the oldest element. The queue must not be empty.
func (q *Queue[T]) Pop() (seq uint64, v T) {
	seq, v = q.Oldest()
	hole, last := q.oldest, int32(q.used-1)
	q.unlink(hole)
	if hole != last { // fill the hole with the last element
		q.move(last, hole)
	}
	*q.at(last) = slot[T]{} // release what it points to
	q.used--
	q.shrink()
	return seq, v
}

func (q *Queue[T]) at(i int32) *slot[T] { return &q.chunks[i/chunk][i%chunk] }

// append stores an element in a slot that is not in the list, and adds the slot to the end of the
// list.
func (q *Queue[T]) append(i int32, seq uint64, v T) {
	*q.at(i) = slot[T]{seq: seq, older: q.newest, newer: none, value: v}
	q.newest = i
	if q.used == 1 {
		q.oldest = i
		q.at(i).older = none
		return
	}
	q.at(q.at(i).older).newer = i
}

// unlink removes a slot from the list.
func (q *Queue[T]) unlink(i int32) {
	s := q.at(i)
	if s.older != none {
		q.at(s.older).newer = s.newer
	} else {
		q.oldest = s.newer
	}
	if s.newer != none {
		q.at(s.newer).older = s.older
	} else {
		q.newest = s.older
	}
}

// move moves an element to a slot that is not in the list. Its place in the order does not change.
func (q *Queue[T]) move(from, to int32) {
	s := q.at(to)
	*s = *q.at(from)
	if s.older != none {
		q.at(s.older).newer = to
	} else {
		q.oldest = to
	}
	if s.newer != none {
		q.at(s.newer).older = to
	} else {
		q.newest = to
	}
}

// grow makes room for one more element. The first chunk starts with one slot and doubles.
func (q *Queue[T]) grow() {
	switch n := len(q.chunks); {
	case n == 0:
		q.chunks = [][]slot[T]{make([]slot[T], 1)}
	case q.used < chunk && q.used == len(q.chunks[0]):
		q.chunks[0] = append(q.chunks[0], make([]slot[T], q.used)...)
	case q.used == n*chunk:
		q.chunks = append(q.chunks, make([]slot[T], chunk))
	}
}

// shrink releases the last chunk if it is not needed soon.
func (q *Queue[T]) shrink() {
	if n := len(q.chunks); n > 1 && q.used <= (n-2)*chunk {
		q.chunks[n-1] = nil
		q.chunks = q.chunks[:n-1]
	}
}
