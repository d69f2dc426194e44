// Package chunks provides a list that grows and shrinks at its end. Unlike with append to a slice,
// the work of each operation is bounded, and memory that is not needed any more is released.
package chunks

// size is the number of elements in a chunk.
const size = 256

// A List is a list of elements in chunks. The zero List is empty. It is not safe for concurrent
// use.
type List[T any] struct {
	first []T      // up to size elements; a short list is as cheap as a slice
	rest  *rest[T] // further elements, when first is full; may be nil
}

type rest[T any] struct {
	chunks []*[size]T // as many as are needed, and at most one more
	used   int        // number of elements
}

// Len returns the number of elements.
func (l *List[T]) Len() int {
	n := len(l.first)
	if l.rest != nil {
		n += l.rest.used
	}
	return n
}

// At returns a pointer to element i, which must exist. The pointer is valid until the next Push or
// Pop.
func (l *List[T]) At(i int) *T {
	if i < len(l.first) {
		return &l.first[i]
	}
	i -= size
	return &l.rest.chunks[i/size][i%size]
}

// Push adds an element at the end.
func (l *List[T]) Push(v T) {
	if len(l.first) < size {
		l.first = append(l.first, v)
		return
	}
	if l.rest == nil {
		l.rest = new(rest[T])
	}
	r := l.rest
	if r.used == size*len(r.chunks) {
		r.chunks = append(r.chunks, new([size]T))
	}
	r.chunks[r.used/size][r.used%size] = v
	r.used++
}

// Pop removes and returns the last element. The list must not be empty.
func (l *List[T]) Pop() (v T) {
	last := l.At(l.Len() - 1)
	v, *last = *last, v
	if r := l.rest; r != nil && r.used > 0 {
		r.used--
		if n := len(r.chunks); r.used <= size*(n-2) {
			r.chunks[n-1] = nil
			r.chunks = shrunk(r.chunks[:n-1])
		}
		return v
	}
	l.first = shrunk(l.first[:len(l.first)-1])
	if len(l.first) <= size/2 {
		l.rest = nil
	}
	return v
}

// shrunk returns a slice with less capacity if only a quarter of it or less is used, and nil if the
// slice is empty.
func shrunk[T any](s []T) []T {
	switch n := cap(s); {
	case len(s) == 0:
		return nil
	case len(s) > n/4:
		return s
	default:
		return append(make([]T, 0, n/2), s...)
	}
}
