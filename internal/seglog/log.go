// Package seglog is an append-only log in memory: a list of segments that one goroutine at a time appends to while any number
// of others read without a lock.
//
// A slot is written once and never again. The writer stores the slot, links the segment if it is new, and then publishes the
// position with an atomic store of the head; a reader loads the head and reads at or below it. What nobody points at is collected:
// the log itself holds its last segment and, on request, a window before it; a reader holds the rest by pointing at the segment
// where it stands.
package seglog

import (
	"sync/atomic"
	"unsafe"
)

// Sizes of segments: the first is small, so that a quiet log is cheap; each next one is twice as large, up to maxBytes or
// maxSlots, but at least minFull, so that the allocations of many appends are few.
const (
	firstSlots = 8
	minFull    = 32
	maxSlots   = 256
	maxBytes   = 16 << 10
)

// Log is the log. Make one with [New]. Its methods other than Head are for the holder of the writer's lock.
type Log[T any] struct {
	head   atomic.Uint64 // the last position written: stored by the writer after the slot, loaded by readers before it
	first  *Segment[T]   // the oldest segment that the log itself holds
	tail   *Segment[T]   // the segment that is appended to
	window uint64        // how many positions up to the head the log holds for those who point at no segment

	history uint64 // how many positions up to the head the log holds for those who come later, but none up to
	expired uint64
}

// Segment is a run of consecutive positions.
type Segment[T any] struct {
	base  uint64 // the position before its first slot
	slots []T    // slot i is position base+1+i; written once, below the head
	next  atomic.Pointer[Segment[T]]
}

// New returns an empty log that holds the last positions, as many as history; the first position will be 1. Nothing is
// allocated for messages until the first one.
func New[T any](history uint64) Log[T] {
	empty := &Segment[T]{}
	return Log[T]{first: empty, tail: empty, history: history}
}

// Head returns the last position written, 0 if there is none. Any goroutine may call it.
func (l *Log[T]) Head() uint64 { return l.head.Load() }

// Tail returns the segment that the next position is in, or after: a reader that points at it can reach all that is to come.
func (l *Log[T]) Tail() *Segment[T] { return l.tail }

// Append copies what v points to into the next position and returns that.
func (l *Log[T]) Append(v *T) uint64 {
	seq := l.head.Load() + 1
	i := seq - l.tail.base - 1
	if i >= uint64(len(l.tail.slots)) {
		l.grow(seq - 1)
		i = 0
	}
	slots := l.tail.slots
	slots[i] = *v
	l.head.Store(seq)
	if i++; i < uint64(len(slots)) {
		// Its memory has never been written since it was allocated. Where many logs take turns, to wait for it is most of what
		// Append costs, and by its turn it is there.
		prefetch(unsafe.Pointer(&slots[i]))
	}
	return seq
}

// grow links a new segment after position base.
func (l *Log[T]) grow(base uint64) {
	s := &Segment[T]{base: base, slots: make([]T, slotsAfter[T](len(l.tail.slots)))}
	l.tail.next.Store(s)
	l.tail = s
	l.trim()
}

// slotsAfter returns the size of the segment after one of n slots.
func slotsAfter[T any](n int) int {
	if n == 0 {
		return firstSlots
	}
	var v T
	full := maxSlots
	if size := int(unsafe.Sizeof(v)); size > 0 {
		full = min(full, max(minFull, maxBytes/size))
	}
	return min(2*n, full)
}

// Keep makes the log hold the last n positions, whether or not a reader points at them, as far as it or from has them still.
// from is nil or a segment from which they can be reached.
func (l *Log[T]) Keep(n uint64, from *Segment[T]) {
	l.window = n
	if from != nil && from.base < l.first.base {
		l.first = from
	}
	l.trim()
}

// Expire makes the log hold no positions up to seq for those who come later.
func (l *Log[T]) Expire(seq uint64) {
	l.expired = seq
	l.trim()
}

// trim lets go of the segments before the window and the history.
func (l *Log[T]) trim() {
	head := l.head.Load()
	needed := min(head-min(head, l.window), max(head-min(head, l.history), l.expired))
	for l.first != l.tail && l.first.end() <= needed {
		l.first = l.first.next.Load()
	}
}

// Find returns the segment that holds seq, which must be in the window and not above the head.
func (l *Log[T]) Find(seq uint64) *Segment[T] { return l.first.Find(seq) }

// end returns the last position that the segment has room for.
func (s *Segment[T]) end() uint64 { return s.base + uint64(len(s.slots)) }

// Holds reports whether seq is one of the segment's positions.
func (s *Segment[T]) Holds(seq uint64) bool { return seq-s.base-1 < uint64(len(s.slots)) }

// At returns the slot of seq, which the segment must hold and which must not be above the head.
func (s *Segment[T]) At(seq uint64) *T { return &s.slots[seq-s.base-1] }

// From returns the slots from seq on, to the end of the segment, the unwritten ones included.
func (s *Segment[T]) From(seq uint64) []T { return s.slots[seq-s.base-1:] }

// Find returns the first segment from s on that holds seq, or nil if the list ends before it, or begins after it.
func (s *Segment[T]) Find(seq uint64) *Segment[T] {
	if seq <= s.base {
		return nil
	}
	for s != nil && !s.Holds(seq) {
		s = s.next.Load()
	}
	return s
}

// Advance returns the segment from s on that holds seq, or the last one if seq is not written yet.
func (s *Segment[T]) Advance(seq uint64) *Segment[T] {
	for s.end() < seq {
		next := s.next.Load()
		if next == nil {
			break
		}
		s = next
	}
	return s
}

// View returns the messages from s up to position to, without what comes later.
func (s *Segment[T]) View(to uint64) *View[T] {
	v := &View[T]{base: s.base, to: to}
	for ; s != nil && s.base < to; s = s.next.Load() {
		if n := min(to-s.base, uint64(len(s.slots))); n > 0 {
			v.parts = append(v.parts, s.slots[:n])
		}
	}
	return v
}

// View is a run of messages that stays readable when the log has let go of it. It holds its messages, and at most a segment
// before and after them, but nothing that was appended later. It is for one goroutine at a time.
type View[T any] struct {
	base  uint64 // the position before the first one of parts
	to    uint64
	parts [][]T
}

// To returns the last position in the view.
func (v *View[T]) To() uint64 { return v.to }

// At returns the slot of seq and forgets the segments before it: seq must not decrease from call to call, nor leave the view.
func (v *View[T]) At(seq uint64) *T {
	for seq-v.base > uint64(len(v.parts[0])) {
		v.base += uint64(len(v.parts[0]))
		v.parts = v.parts[1:]
	}
	return &v.parts[0][seq-v.base-1]
}
