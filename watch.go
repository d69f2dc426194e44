package broadcast

import "math"

// noLimit is the limit of a chat in which nobody is watched.
const noLimit = math.MaxUint64

// place is where the chat keeps a reader.
type place uint8

const (
	placeNone   place = iota // not there: ended
	placeDue                 // in watchlist.due
	placeFull                // in watchlist.full
	placeOff                 // off the list, with DropOldest: the log holds its buffer; it comes back when half empty
	placeFrozen              // off the list, with a strategy that picks: it holds its buffer itself; it comes back when it reads
)

// watchlist is the readers that may make publishers wait or run a strategy. All of it is guarded by the chat's lock.
//
// The head of the log may run up to limit without a look at any reader. These are the gating sequences of the LMAX
// Disruptor, with the readers in a heap by when they are due, so that one with a tiny buffer does not make every publisher
// look at all the others.
type watchlist[T any] struct {
	limit uint64           // the head may become as high as this; never above the smallest due, and the head while full is not empty
	due   []dueReader[T]   // a heap of 4 children a node, the smallest due first
	full  []*Subscriber[T] // those that had no room when a publisher last looked; in no order
}

// dueReader is a reader with the position up to which it was last seen to have room. It may have more by now.
type dueReader[T any] struct {
	due    uint64
	reader *Subscriber[T]
}

// add puts a reader on the list that has room up to due.
func (l *watchlist[T]) add(s *Subscriber[T], due uint64) {
	s.place = placeDue
	l.due = append(l.due, dueReader[T]{due, s})
	l.up(len(l.due)-1, l.due[len(l.due)-1])
	l.limit = min(l.limit, due)
}

// remove takes a reader off the list.
func (l *watchlist[T]) remove(s *Subscriber[T]) {
	switch i := int(s.index); s.place {
	case placeDue:
		last := len(l.due) - 1
		moved := l.due[last]
		l.due[last] = dueReader[T]{}
		l.due = l.due[:last]
		if i != last {
			l.place(i, moved)
		}
	case placeFull:
		last := len(l.full) - 1
		l.full[i] = l.full[last]
		l.full[i].index = int32(i)
		l.full[last] = nil
		l.full = l.full[:last]
	}
	s.place = placeNone
}

// refresh moves a reader in the heap to a new due.
func (l *watchlist[T]) refresh(s *Subscriber[T], due uint64) {
	l.place(int(s.index), dueReader[T]{due, s})
	l.limit = min(l.limit, due)
}

// fill moves a reader from the heap to the full ones.
func (l *watchlist[T]) fill(s *Subscriber[T]) {
	l.remove(s)
	s.place, s.index = placeFull, int32(len(l.full))
	l.full = append(l.full, s)
}

// earliest returns the smallest due in the heap.
func (l *watchlist[T]) earliest() uint64 {
	if len(l.due) == 0 {
		return noLimit
	}
	return l.due[0].due
}

// place puts an entry at the hole i of the heap, or above or below it.
func (l *watchlist[T]) place(i int, e dueReader[T]) {
	if i > 0 && e.due < l.due[(i-1)/4].due {
		l.up(i, e)
		return
	}
	l.down(i, e)
}

func (l *watchlist[T]) up(i int, e dueReader[T]) {
	for i > 0 {
		parent := (i - 1) / 4
		if l.due[parent].due <= e.due {
			break
		}
		l.set(i, l.due[parent])
		i = parent
	}
	l.set(i, e)
}

func (l *watchlist[T]) down(i int, e dueReader[T]) {
	for {
		first := 4*i + 1
		if first >= len(l.due) {
			break
		}
		least := first
		for child := first + 1; child < min(first+4, len(l.due)); child++ {
			if l.due[child].due < l.due[least].due {
				least = child
			}
		}
		if e.due <= l.due[least].due {
			break
		}
		l.set(i, l.due[least])
		i = least
	}
	l.set(i, e)
}

func (l *watchlist[T]) set(i int, e dueReader[T]) {
	l.due[i] = e
	e.reader.index = int32(i)
}
