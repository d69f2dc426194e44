// Package seglog provides an append-only log in memory. It is a linked list of segments. One
// goroutine at a time appends to it, while any number of others read it without a lock.
//
// Each slot is written once. The writer stores the slot, links the segment if it is new, and then
// publishes the position with an atomic store of the head. A reader loads the head and reads at or
// below it. The garbage collector frees segments that nobody points at: the log itself points at
// its last segment and, on request, at a window before it; a reader keeps later segments alive by
// pointing at its own.
package seglog

import (
	"sync/atomic"
	"unsafe"
)

// Sizes of segments. The first is small, so that a quiet log is cheap. Each next one is twice as
// large, up to maxSlots, or to maxBytes if that is less, but at least up to minFull slots, so that
// appending rarely allocates.
const (
	firstSlots = 8
	minFull    = 32
	maxSlots   = 256
	maxBytes   = 16 << 10

	stride = 4 // from one milestone to the next, in segments or in milestones of the lane below
)

// A Log is an append-only log. Make one with [New]. Only the holder of the writer's lock may call
// its methods, except for Head. No method blocks.
type Log[T any] struct {
	// head is the last position written. The writer stores it after the slot; readers load it
	// before they read the slot.
	head atomic.Uint64

	first *Segment[T] // the oldest segment that the log holds
	tail  *Segment[T] // the segment that is appended to
	held  *holds      // positions held for readers that point at no segment; nil if none

	// The log also holds the last history positions, except for those up to expired.
	history uint64
	expired uint64

	lanes *lanes[T] // nil while the segments are small and few
}

// A Segment is a run of consecutive positions. Its methods other than Advance are safe for
// concurrent use.
type Segment[T any] struct {
	base  uint64 // the position before its first slot
	slots []T    // slot i is position base+1+i; written once, below the head

	// next is stored once, before a position in it is published. The segment ends where the next
	// one begins: if it was sealed, its last slots are never written.
	next atomic.Pointer[Segment[T]]

	milestone *milestone[T] // of the highest lane here, or nil; guarded by the writer's lock
}

// lanes are shortcuts through the log, as in a skip list. The lowest lane has a milestone at every
// fourth segment, each other lane at every fourth milestone of the lane below. Like the segments,
// they only lead forward, so that they keep nothing alive that the log has released.
type lanes[T any] struct {
	segments uint64          // number of segments since the lanes began
	ends     []*milestone[T] // the next milestone of each lane, lowest lane first
}

// milestone is the place of a lane at a segment.
type milestone[T any] struct {
	segment *Segment[T]   // nil until the log has reached it
	next    *milestone[T] // on the same lane
	below   *milestone[T] // at the same segment; nil on the lowest lane
}

// New returns an empty log that holds the last positions, up to history of them. The first position
// will be 1. No slots are allocated before the first Append.
func New[T any](history uint64) Log[T] {
	empty := &Segment[T]{}
	return Log[T]{first: empty, tail: empty, history: history}
}

// Head returns the last position written, or 0 if there is none. It is safe for concurrent use.
func (l *Log[T]) Head() uint64 { return l.head.Load() }

// Tail returns the last segment. From there a reader can reach everything that will be appended.
func (l *Log[T]) Tail() *Segment[T] { return l.tail }

// Append copies *v to the next position, and returns that.
func (l *Log[T]) Append(v *T) uint64 {
	seq := l.head.Load() + 1
	i := seq - l.tail.base - 1
	if i >= uint64(len(l.tail.slots)) {
		l.grow(seq - 1)
		i = 0
	}
	l.tail.slots[i] = *v
	l.head.Store(seq)
	return seq
}

// grow links a new segment that begins after position base.
func (l *Log[T]) grow(base uint64) {
	full := len(l.tail.slots)
	s := &Segment[T]{base: base, slots: make([]T, slotsAfter[T](full))}
	if full == len(s.slots) {
		l.extendLanes(s)
	}
	l.link(s)
}

// extendLanes extends the lanes that have a milestone at a new segment.
func (l *Log[T]) extendLanes(s *Segment[T]) {
	if l.lanes == nil {
		l.lanes = new(lanes[T])
	}
	l.lanes.segments++
	ends := l.lanes.ends
	for i, n := 0, l.lanes.segments; n%stride == 0; i, n = i+1, n/stride {
		if i == len(ends) {
			ends = append(ends, new(milestone[T]))
		}
		m := ends[i]
		m.segment, m.next, m.below = s, new(milestone[T]), s.milestone
		s.milestone, ends[i] = m, m.next
	}
	l.lanes.ends = ends
}

// Seal ends the last segment at the head: the next position begins a new one. A reader that has
// read up to the head can then continue from the new Tail, and no longer keeps alive what it has
// read. Other readers continue as before.
func (l *Log[T]) Seal() {
	if !l.Sealed() {
		l.link(&Segment[T]{base: l.head.Load()})
	}
	if l.first == l.tail {
		l.lanes = nil // nothing can be found through them any more
	}
}

// Sealed reports whether the last segment is sealed: the next position begins a new one.
func (l *Log[T]) Sealed() bool { return l.tail.base == l.head.Load() }

// link appends a segment to the list.
func (l *Log[T]) link(s *Segment[T]) {
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

// Hold makes the log hold the last n positions until Release, whether readers point at them or not,
// as far as they are still reachable from the log or from the segment from, which may be nil.
func (l *Log[T]) Hold(n uint64, from *Segment[T]) {
	if l.held == nil {
		l.held = new(holds)
	}
	l.held.add(n)
	if from != nil && from.base < l.first.base {
		l.first = from
	}
	l.trim()
}

// Release ends a Hold of n positions.
func (l *Log[T]) Release(n uint64) {
	l.held.remove(n)
	if l.held.queue.Len() == 0 {
		l.held = nil
	}
	l.trim()
}

// Base returns the position before the first one that the log holds.
func (l *Log[T]) Base() uint64 { return l.first.base }

// Held returns how many positions the log holds because of Hold.
func (l *Log[T]) Held() uint64 {
	if l.held == nil {
		return 0
	}
	return l.held.largest()
}

// Expire removes the positions up to seq from the history.
func (l *Log[T]) Expire(seq uint64) {
	l.expired = seq
	l.trim()
}

// trim releases the segments that neither Hold nor the history needs.
func (l *Log[T]) trim() {
	head := l.head.Load()
	needed := min(head-min(head, l.Held()), max(head-min(head, l.history), l.expired))
	for l.first != l.tail && l.first.end() <= needed {
		l.first = l.first.toward(needed + 1)
	}
}

// Find returns the segment that holds seq, or nil if the log does not hold it. The cost is
// logarithmic in the number of positions that the log holds.
func (l *Log[T]) Find(seq uint64) *Segment[T] {
	if seq <= l.first.base || seq > l.head.Load() {
		return nil
	}
	return l.first.Advance(seq)
}

// end returns the last position of the segment; for the last segment, the last one that it has room
// for.
func (s *Segment[T]) end() uint64 {
	if next := s.next.Load(); next != nil {
		return next.base
	}
	return s.base + uint64(len(s.slots))
}

// Holds reports whether seq is one of the segment's positions.
func (s *Segment[T]) Holds(seq uint64) bool { return seq > s.base && seq <= s.end() }

// At returns a pointer to the slot of seq, which must be in the segment and not above the head.
func (s *Segment[T]) At(seq uint64) *T { return &s.slots[seq-s.base-1] }

// From returns the slots from seq to the end of the segment, including unwritten ones.
func (s *Segment[T]) From(seq uint64) []T { return s.slots[seq-s.base-1 : s.end()-s.base] }

// Find returns the segment that holds seq, starting at s, or nil if seq is before s or after the
// end of the list. It needs no lock. It visits every segment in between, and is meant for the next
// position.
func (s *Segment[T]) Find(seq uint64) *Segment[T] {
	if seq <= s.base {
		return nil
	}
	for s != nil && !s.Holds(seq) {
		s = s.next.Load()
	}
	return s
}

// Advance returns the segment that holds seq, starting at s, or the last segment if seq is not
// written yet. Only the holder of the writer's lock may call it. The cost is logarithmic in the
// distance.
func (s *Segment[T]) Advance(seq uint64) *Segment[T] {
	for s.end() < seq {
		next := s.toward(seq)
		if next == nil {
			break
		}
		s = next
	}
	return s
}

// toward returns the farthest segment that s knows of on the way to seq, which is after s. It
// returns nil if s is the last segment.
func (s *Segment[T]) toward(seq uint64) *Segment[T] {
	for m := s.milestone; m != nil; m = m.below {
		if far := m.next.segment; far != nil && far.base < seq {
			return far
		}
	}
	return s.next.Load()
}

// View returns the positions from s up to position to, without later ones.
func (s *Segment[T]) View(to uint64) *View[T] {
	v := &View[T]{base: s.base, to: to}
	for ; s != nil && s.base < to; s = s.next.Load() {
		if n := min(to, s.end()) - s.base; n > 0 {
			v.parts = append(v.parts, s.slots[:n])
		}
	}
	return v
}

// A View is a run of positions that stays readable when the log has released them. It keeps them
// alive, and at most a segment before and after them, but nothing that is appended later. It is not
// safe for concurrent use.
type View[T any] struct {
	base  uint64 // the position before the first slot of parts
	to    uint64
	parts [][]T
}

// To returns the last position of the view.
func (v *View[T]) To() uint64 { return v.to }

// Base returns the position before the first one of the view.
func (v *View[T]) Base() uint64 { return v.base }

// After removes the positions up to seq, and returns v.
func (v *View[T]) After(seq uint64) *View[T] {
	for len(v.parts) > 0 && seq > v.base {
		n := min(seq-v.base, uint64(len(v.parts[0])))
		v.parts[0] = v.parts[0][n:]
		v.base += n
		if len(v.parts[0]) == 0 {
			v.dropPart()
		}
	}
	return v
}

// At returns a pointer to the slot of seq, and releases the segments before it. seq must be in the
// view, and must not decrease from call to call.
func (v *View[T]) At(seq uint64) *T {
	for seq-v.base > uint64(len(v.parts[0])) {
		v.base += uint64(len(v.parts[0]))
		v.dropPart()
	}
	return &v.parts[0][seq-v.base-1]
}

// dropPart releases the first part.
func (v *View[T]) dropPart() {
	v.parts[0] = nil // which the array would keep
	v.parts = v.parts[1:]
}
