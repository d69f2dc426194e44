// Package parking lets goroutines wait until another one wakes all that wait, without a lock on
// either side, and wakes large numbers of them in the background.
//
// Goroutines that wait for the same condition share a [Lot]. Each has a [Spot] in it, which is one
// bit. It sets the bit, and then checks the condition again. Whoever changes the condition looks at
// the bits afterwards, so that one of the two sees the other. Parking takes one or two atomic
// operations, and so does collecting up to 64 bits; rows without a bit set are not visited.
//
// A goroutine is woken by a token in a channel with room for one. A surplus token is harmless,
// because the goroutine checks the condition again. For the same reason, a goroutine that stops
// waiting need not clear its bit.
//
// A [Distributor] has a few workers that wake the goroutines in large lots, a few rows at a time,
// and lot by lot in turn: no lot waits for another, and the caller does not wait at all.
package parking

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	rowSize = 64 // spots in a row, and rows in a section: the bits of a word
	few     = 4  // spots in the first row, which is embedded in the lot
)

// A Lot is a set of goroutines that wait for the same condition. The zero Lot is empty. All methods
// are safe for concurrent use, and do not block.
type Lot struct {
	// sections is stored under mu, a new slice each time, before anybody parks in a new section.
	// Whoever wakes loads it after changing the condition. It is nil while first is enough.
	sections atomic.Pointer[[]*section]

	// first is a row outside the sections, for the first few spots. It is small, and waking them
	// touches nothing else.
	first      row
	firstSpots [few]atomic.Pointer[Spot]

	// wake is the state of the lot in a distributor: wakeIdle, wakeBegun or wakeWanted. It is
	// written by workers and by callers of the distributor.
	wake word

	mu    sync.Mutex
	taken int  // number of spots that are not released
	full  int  // this many sections, from the first on, have no room
	spare *row // one row without taken spots, or nil; others are released
}

// section is a group of rows. It records in which of them goroutines are parked.
type section struct {
	parked word     // a bit for each row: set after a bit in the row, cleared before those are
	_      [56]byte // gives parked a cache line of its own

	// rows are stored under Lot.mu, before anybody parks in a new one, and loaded after parked. An
	// element is nil if the row was released, or never existed.
	rows [rowSize]atomic.Pointer[row]

	// Guarded by Lot.mu.
	used  uint64 // a bit for each row that exists
	room  uint64 // a bit for each row with a free spot
	index int    // in Lot.sections
}

// row is up to 64 spots whose bits share a word.
type row struct {
	parked  word     // a bit for each spot: set by Park, cleared by whoever wakes
	section *section // nil for the first row of a lot
	spots   []atomic.Pointer[Spot]
	lot     *Lot
	index   uint8 // in section

	taken uint64 // a bit for each spot that is not released; guarded by lot.mu
}

// A Spot is the place of one goroutine in a lot, for any number of waits.
type Spot struct {
	wake chan struct{} // has room for one token; never closed
	row  *row
	bit  uint64 // in row
}

// NewSpot returns a spot, which must be released.
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
	if r == l.spare {
		l.spare = nil
	}
	if r.section != nil && r.full() {
		r.section.room &^= 1 << r.index
	}
	return s
}

// rowLocked returns a row with a free spot, adding one if necessary.
func (l *Lot) rowLocked() *row {
	if l.first.lot == nil {
		l.first.lot, l.first.spots = l, l.firstSpots[:]
	}
	if !l.first.full() {
		return &l.first
	}
	sections := l.loadSections()
	for ; l.full < len(sections); l.full++ {
		s := sections[l.full]
		switch {
		case s.room != 0:
			return s.rows[bits.TrailingZeros64(s.room)].Load()
		case ^s.used != 0:
			return l.addRowLocked(s)
		}
	}
	s := &section{index: len(sections)}
	l.storeSectionsLocked(append(slices.Clip(sections), s))
	return l.addRowLocked(s)
}

// full reports whether all spots are taken. The caller holds the lock of the lot.
func (r *row) full() bool { return bits.OnesCount64(r.taken) == len(r.spots) }

// addRowLocked adds a row to a section that has room for one.
func (l *Lot) addRowLocked(s *section) *row {
	i := bits.TrailingZeros64(^s.used)
	r := &row{section: s, index: uint8(i), spots: make([]atomic.Pointer[Spot], rowSize), lot: l}
	s.used |= 1 << i
	s.room |= 1 << i
	s.rows[i].Store(r)
	return r
}

// removeRowLocked removes a row without taken spots, and its section with the last row.
func (l *Lot) removeRowLocked(r *row) {
	s := r.section
	s.used &^= 1 << r.index
	s.room &^= 1 << r.index
	s.rows[r.index].Store(nil)
	if s.used != 0 {
		return
	}
	sections := slices.Delete(slices.Clone(l.loadSections()), s.index, s.index+1)
	for i, s := range sections {
		s.index = i
	}
	l.storeSectionsLocked(sections)
	l.full = 0
}

func (l *Lot) storeSectionsLocked(sections []*section) {
	step()
	l.sections.Store(&sections)
}

func (l *Lot) loadSections() []*section {
	step()
	if s := l.sections.Load(); s != nil {
		return *s
	}
	return nil
}

// Release gives the spot back. It may be called any number of times. No goroutine may begin to wait
// at the spot afterwards. One that still waits there is woken by [Spot.Wake], not by the lot any
// more. Parking there is harmless.
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
	if l.taken--; l.taken == 0 {
		l.sections.Store(nil)
		l.full, l.spare = 0, nil
		return
	}
	section := r.section
	if section == nil {
		return
	}
	section.room |= 1 << r.index
	l.full = min(l.full, section.index)
	if r.taken == 0 {
		if l.spare != nil { // keep one, for goroutines that come and go
			l.removeRowLocked(l.spare)
		}
		l.spare = r
	}
}

// Taken returns the number of spots that are not released.
func (l *Lot) Taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.taken
}

// Park marks the spot as one to be woken. The goroutine must then check its condition again, and
// receive from Woken if it does not hold.
func (s *Spot) Park() {
	r := s.row
	if r.parked.load()&s.bit == 0 {
		r.parked.or(s.bit)
	}
	// After the row's bit: whoever clears the section's bit then finds ours.
	if section := r.section; section != nil && section.parked.load()&(1<<r.index) == 0 {
		section.parked.or(1 << r.index)
	}
}

// Parked reports whether the spot is marked to be woken.
func (s *Spot) Parked() bool { return s.row.parked.load()&s.bit != 0 }

// Woken returns the channel that receives a token when the spot is woken.
func (s *Spot) Woken() <-chan struct{} { return s.wake }

// Wake sends a token to the spot, parked or not, unless it has one already. It does not block.
func (s *Spot) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// parkedRows returns the number of rows in which a goroutine is parked.
func (l *Lot) parkedRows() (rows int) {
	if l.first.parked.load() != 0 {
		rows = 1
	}
	for _, s := range l.loadSections() {
		rows += bits.OnesCount64(s.parked.load())
	}
	return rows
}

// WakeAll wakes all goroutines that are parked.
func (l *Lot) WakeAll() {
	l.first.wake()
	if sections := l.loadSections(); len(sections) > 0 {
		for r := (Round{sections: sections}); r.Wake(); {
		}
	}
}

// A Round is one walk through a lot, row by row. A goroutine that parks in a row after the walk has
// passed it is not woken. The zero Round is over.
type Round struct {
	first    *row       // the first row, if it has yet to be visited
	sections []*section // sections yet to be visited
	section  *section   // the section being visited
	parked   uint64     // its rows that have yet to be woken
}

// Round begins a walk through the lot.
func (l *Lot) Round() Round { return Round{first: &l.first, sections: l.loadSections()} }

// Wake wakes all goroutines that are parked in the next row with any. It returns false if there was
// none: the round is over.
func (r *Round) Wake() bool {
	if first := r.first; first != nil {
		r.first = nil
		if first.wake() {
			return true
		}
	}
	for {
		for ; r.parked == 0; r.sections = r.sections[1:] {
			if len(r.sections) == 0 {
				return false
			}
			if s := r.sections[0]; s.parked.load() != 0 {
				r.parked = s.parked.swap(0)
				r.section = s
			}
		}
		row := r.section.rows[bits.TrailingZeros64(r.parked)].Load()
		r.parked &= r.parked - 1
		if row != nil { // else the row was released
			row.wake()
			return true
		}
	}
}

// wake wakes all goroutines that are parked in the row, and reports whether there were any.
func (r *row) wake() bool {
	if r.parked.load() == 0 {
		return false
	}
	spots := r.spots
	for b := r.parked.swap(0); b != 0; b &= b - 1 {
		if s := spots[bits.TrailingZeros64(b)].Load(); s != nil { // nil: released meanwhile
			s.Wake()
		}
	}
	return true
}
