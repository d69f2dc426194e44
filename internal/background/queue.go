package background

import (
	"container/heap"
	"time"

	"github.com/fbd86cad/broadcast/internal/chunks"
)

// An Appointment is the time when something is due. Whatever is put into a [Queue] or an [Agenda]
// embeds one, and is in at most one of them. The zero Appointment is in none. It is guarded by
// whatever guards the queue.
type Appointment struct {
	due   time.Time // zero while it is in no queue
	index int       // in the queue
}

// Due returns when the item is due, or the zero time if it is in no queue.
func (a *Appointment) Due() time.Time { return a.due }

func (a *Appointment) appointment() *Appointment { return a }

// An Item is a pointer to a struct that embeds an [Appointment].
type Item interface {
	appointment() *Appointment
}

// A Queue is a priority queue of items, ordered by when they are due. The zero Queue is empty. It
// is not safe for concurrent use. The cost of an operation is logarithmic in the number of items,
// and the memory use follows that number.
type Queue[E Item] struct {
	heap byDue[E]
}

// Len returns the number of items.
func (q *Queue[E]) Len() int { return q.heap.Len() }

// First returns the item that is due first, without removing it. The queue must not be empty.
func (q *Queue[E]) First() E { return *q.heap.list.At(0) }

// Set adds an item to the queue, or changes the time of one that is there. The time must not be
// zero.
func (q *Queue[E]) Set(e E, due time.Time) {
	a := e.appointment()
	added := a.due.IsZero()
	a.due = due
	if added {
		heap.Push(&q.heap, e)
		return
	}
	heap.Fix(&q.heap, a.index)
}

// Remove removes an item, which must be in the queue.
func (q *Queue[E]) Remove(e E) {
	a := e.appointment()
	heap.Remove(&q.heap, a.index)
	*a = Appointment{}
}

// byDue implements [heap.Interface].
type byDue[E Item] struct {
	list chunks.List[E]
}

func (h *byDue[E]) at(i int) *Appointment { return (*h.list.At(i)).appointment() }

func (h *byDue[E]) Len() int           { return h.list.Len() }
func (h *byDue[E]) Less(i, j int) bool { return h.at(i).due.Before(h.at(j).due) }

func (h *byDue[E]) Swap(i, j int) {
	p, q := h.list.At(i), h.list.At(j)
	*p, *q = *q, *p
	h.at(i).index, h.at(j).index = i, j
}

func (h *byDue[E]) Push(x any) {
	e := x.(E)
	e.appointment().index = h.Len()
	h.list.Push(e)
}

func (h *byDue[E]) Pop() any { return h.list.Pop() }
