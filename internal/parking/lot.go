// Package parking lets goroutines wait until somebody wakes all that wait, without a lock on either side.
//
// Each goroutine has a spot of its own, which is one bit. It sets the bit and then looks again at what it waits for; whoever changes
// that looks at the bits afterwards: one of the two sees the other. To park is one atomic operation, and so is to take up to 64 bits
// at once; the bits of rows that have none set are not even looked at.
//
// What wakes is a token in a channel of one place. A token too many is harmless, because the goroutine looks again; therefore nobody
// who stops waiting has to take the bit back.
package parking

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	rowSize = 64 // spots in a row, and rows in a section: the bits of a word
	few     = 4  // spots in the first row, which is part of the lot
)

// Lot is where goroutines wait for the same thing. The zero Lot is empty. All methods may be called from anywhere.
type Lot struct {
	// sections is stored under mu, before anybody parks in a new one; whoever wakes loads it after the change that it wakes for. nil while
	// first is enough.
	sections atomic.Pointer[[]*section]

	// first is a row outside of the sections, for the first few: small, and they are woken without a look at anything else.
	first      row
	firstSpots [few]atomic.Pointer[Spot]

	mu     sync.Mutex
	taken  int    // spots that are not released
	vacant []*row // rows with room, but for those that have none any more
}

// section says in which of its rows anybody is parked.
type section struct {
	parked atomic.Uint64          // a bit for each row: set after a bit of the row, cleared before those are
	rows   atomic.Pointer[[]*row] // stored under Lot.mu, before anybody parks in a new one; loaded after parked
	_      [48]byte               // a cache line of its own
}

// row is a few spots next to each other.
type row struct {
	parked  atomic.Uint64 // a bit for each spot: set by whoever parks there, cleared by whoever wakes
	section *section      // nil for the first row of a lot
	spots   []atomic.Pointer[Spot]
	lot     *Lot
	index   uint8 // in section

	// Guarded by lot.mu.
	vacant bool   // in lot.vacant
	taken  uint64 // a bit for each spot that is somebody's
}

// Spot is one goroutine's place in a lot, for as many waits as it likes.
type Spot struct {
	wake chan struct{} // of one place; never closed
	row  *row
	bit  uint64 // in row
}

// NewSpot returns a spot for somebody who will wait. It must be released.
func (l *Lot) NewSpot() *Spot {
	s := &Spot{wake: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	r := l.rowLocked()
	i := bits.TrailingZeros64(^r.taken)
	s.row, s.bit = r, 1<<i
	r.taken |= s.bit
	r.spots[i].Store(s)
	l.taken++
	return s
}

// rowLocked returns a row with room.
func (l *Lot) rowLocked() *row {
	if l.first.lot == nil {
		l.first.lot, l.first.spots = l, l.firstSpots[:]
	}
	if !l.first.full() {
		return &l.first
	}
	for n := len(l.vacant); n > 0; n-- {
		r := l.vacant[n-1]
		if !r.full() {
			return r
		}
		r.vacant = false
		l.vacant = l.vacant[:n-1]
	}
	sections := load(&l.sections)
	if n := len(sections); n == 0 || len(load(&sections[n-1].rows)) == rowSize {
		sections = append(sections, new(section))
		l.sections.Store(&sections)
	}
	s := sections[len(sections)-1]
	rows := load(&s.rows)
	r := &row{section: s, index: uint8(len(rows)), spots: make([]atomic.Pointer[Spot], rowSize), lot: l}
	rows = append(rows, r) // those who have loaded the old header see no more than they did
	s.rows.Store(&rows)
	l.addVacantLocked(r)
	return r
}

// full reports whether all spots are taken. The caller holds the lot's lock.
func (r *row) full() bool { return bits.OnesCount64(r.taken) == len(r.spots) }

// addVacantLocked puts a row with room on the list, once.
func (l *Lot) addVacantLocked(r *row) {
	if !r.vacant && r != &l.first {
		r.vacant = true
		l.vacant = append(l.vacant, r)
	}
}

// load returns the slice that p points to.
func load[T any](p *atomic.Pointer[[]T]) []T {
	if s := p.Load(); s != nil {
		return *s
	}
	return nil
}

// Release gives a spot back, any number of times; nobody may begin to wait there afterwards. Whoever still does is not woken by the lot any more,
// but by [Spot.Wake]; and to park there is harmless.
func (s *Spot) Release() {
	r, l := s.row, s.row.lot
	l.mu.Lock()
	defer l.mu.Unlock()
	i := bits.TrailingZeros64(s.bit)
	if r.spots[i].Load() != s {
		return
	}
	r.spots[i].Store(nil)
	r.taken &^= s.bit
	l.addVacantLocked(r)
	if l.taken--; l.taken == 0 {
		l.sections.Store(nil)
		l.vacant = nil
	}
}

// Taken returns how many spots are somebody's.
func (l *Lot) Taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}

// Park makes the spot one of those that are woken next. The owner then looks again at what it waits for, and receives from Woken if that is not
// there.
func (s *Spot) Park() {
	r := s.row
	if r.parked.Load()&s.bit == 0 {
		r.parked.Or(s.bit)
	}
	// After the row: whoever clears the section's bit later finds ours.
	if section := r.section; section != nil && section.parked.Load()&(1<<r.index) == 0 {
		section.parked.Or(1 << r.index)
	}
}

// Parked reports whether the spot would be woken.
func (s *Spot) Parked() bool { return s.row.parked.Load()&s.bit != 0 }

// Woken returns the channel that gets a token when the spot is woken.
func (s *Spot) Woken() <-chan struct{} { return s.wake }

// Wake leaves a token for whoever waits at the spot, parked or not, unless there is one already.
func (s *Spot) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Crowd returns in how many rows anybody is parked.
func (l *Lot) Crowd() (rows int) {
	if l.first.parked.Load() != 0 {
		rows = 1
	}
	for _, s := range load(&l.sections) {
		rows += bits.OnesCount64(s.parked.Load())
	}
	return rows
}

// WakeAll wakes all that are parked.
func (l *Lot) WakeAll() {
	l.first.wake()
	if sections := load(&l.sections); len(sections) > 0 {
		for r := (Round{sections: sections}); r.Wake(); {
		}
	}
}

// Round is one walk through a lot, row by row. Who parks behind it is for the next one. The zero Round is over.
type Round struct {
	first    *row       // if yet to be looked at
	sections []*section // yet to be looked at
	rows     []*row     // of the section before them
	parked   uint64     // those that have yet to be woken
}

// Round begins a walk.
func (l *Lot) Round() Round { return Round{first: &l.first, sections: load(&l.sections)} }

// Wake wakes all that are parked in the next row where anybody is. It returns false if there was none: the round is over.
func (r *Round) Wake() bool {
	if first := r.first; first != nil {
		r.first = nil
		if first.wake() {
			return true
		}
	}
	for ; r.parked == 0; r.sections = r.sections[1:] {
		if len(r.sections) == 0 {
			return false
		}
		if s := r.sections[0]; s.parked.Load() != 0 {
			r.parked = s.parked.Swap(0)
			r.rows = load(&s.rows)
		}
	}
	row := r.rows[bits.TrailingZeros64(r.parked)]
	r.parked &= r.parked - 1
	row.wake()
	return true
}

// wake wakes all that are parked in the row, and reports whether there were any.
func (r *row) wake() bool {
	if r.parked.Load() == 0 {
		return false
	}
	spots := r.spots
	for b := r.parked.Swap(0); b != 0; b &= b - 1 {
		if s := spots[bits.TrailingZeros64(b)].Load(); s != nil { // nil: released meanwhile
			s.Wake()
		}
	}
	return true
}
