package flow

import (
	"math"
	"runtime"
	"time"

	"github.com/fbd86cad/broadcast/internal/parking"
)

// room reports whether the next message may be accepted now. If not, it has marked the readers that
// must make room first; the last of them to do so wakes the leading publisher. If first is true, it
// does not wait for readers that another publisher found full and that have room by now.
//
// room visits a bounded number of readers. If more is true, it must be called again, with the lock
// free in between. What it does with a reader depends on that reader alone, so it does not matter
// what happens to others in between, or whether a publisher that does not wait does the same. room
// returns true only if, in one hold of the lock, nothing is left to do:
//
//   - No reader that was last seen to have room is due.
//   - No reader is waited for: all that were full have made room, or are out of patience.
//   - The strategies of all readers out of patience have acted.
//
// Once strategies act, the publisher does not give up. Its message is refused only if the log comes
// to refuse all, or if a reader regains patience meanwhile ([Gate.Trust]) and is waited for again.
func (g *Gate) room(p *pass, l Log, now time.Time, first bool) (room, more bool) {
	head, n := l.Head(), Piece
	if !g.lookSome(head, &n) {
		p.one = p.one || first
		return false, true
	}
	if g.overtaking > 0 {
		return false, false // the publisher that overtakes wakes the leader
	}
	if g.mustWait() {
		g.limit = head
		g.openWindow(l, head, now)
		if !p.begun || p.head != head || g.endsBetween(p.now, now) {
			p.begin(head, p.one || first, g.onlyAfter(p, head, now), now)
		}
		if !g.decideSome(l, p, &n) {
			return false, true
		}
		if g.mustWait() {
			return false, false
		}
	}
	if p.acting = !g.actSome(l); p.acting {
		return false, true
	}
	return true, false
}

// A pass is the progress of a publisher through the full readers that publishers are patient with.
type pass struct {
	begun bool
	one   bool // argument of decide
	head  uint64

	// Patience that ends at now or earlier is over. Unless after is zero, the pass visits only
	// readers whose patience ends later than after.
	after, now time.Time

	// The reader visited last; backwards, because those visited leave the list. Each group has two
	// lists.
	list, i int

	acting bool // strategies act; there is nobody left to wait for
}

// begin starts the pass.
func (p *pass) begin(head uint64, one bool, after, now time.Time) {
	*p = pass{
		begun: true, one: one, head: head, after: after, now: now,
		list: 2*MaxPatiences + 1, i: math.MaxInt,
	}
}

// end ends the pass.
func (p *pass) end() { p.begun, p.one = false, false }

// next returns the next reader, or nil if there is none.
func (p *pass) next(g *Gate) *Cursor {
	if g.full == nil {
		return nil
	}
	groups := g.full.groups
	for p.list = min(p.list, 2*len(groups)-1); p.list >= 0; p.list, p.i = p.list-1, math.MaxInt {
		r := &groups[p.list/2]
		list := r.others()
		if p.list%2 > 0 {
			list = r.blocking()
		}
		skip := !p.after.IsZero() && !r.endsBetween(p.after, p.now)
		if p.i = min(p.i, list.Len()) - 1; p.i >= 0 && !skip {
			return *list.At(p.i)
		}
	}
	return nil
}

// onlyAfter returns pass.after for the next pass of a publisher. If its last pass has marked all
// readers at this head, and some have yet to make room, the next pass need only visit those whose
// patience has ended since.
func (g *Gate) onlyAfter(p *pass, head uint64, now time.Time) (after time.Time) {
	switch {
	case p.head != head || g.awaiting.Load() == 0:
	case p.begun:
		after = p.after
	case g.endsBetween(p.now, now):
		after = p.now
	}
	return after
}

// decideSome continues a pass for at most *n readers. It reports whether the pass is over.
func (g *Gate) decideSome(l Log, p *pass, n *int) bool {
	for {
		if *n <= 0 {
			return false
		}
		c := p.next(g)
		switch {
		case c != nil:
			*n--
			group := &g.full.groups[c.group]
			if waited := group.patience > 0; g.decide(c, p.head, p.one, group.over(p.now)) {
				if waited {
					g.full.waits.GivenUp++
				}
				l.GiveUp(c, waited)
			}
		case g.mustWait() && g.awaiting.Load() == 0:
			// The last reader made room before there was a leader.
			p.begin(p.head, false, time.Time{}, p.now)
		default:
			p.end()
			return true
		}
	}
}

// lookSome visits at most *n readers that may be full. It reports whether none is left.
func (g *Gate) lookSome(head uint64, n *int) bool {
	for ; g.due.Earliest() <= head; *n-- {
		if *n <= 0 {
			return false
		}
		g.look(g.due.First(), head)
	}
	return true
}

// actSome applies the strategies of at most Piece readers that are out of patience. It reports
// whether none is left, and then lets the head advance.
func (g *Gate) actSome(l Log) bool {
	for range Piece {
		if g.count(listSpent) == 0 {
			break
		}
		l.Act(g.last(listSpent))
	}
	if g.count(listSpent) > 0 {
		return false
	}
	g.limit = g.due.Earliest()
	return true
}

// look visits a reader that was last seen to have room up to head. It notes that the reader has
// more room, or that it is full.
func (g *Gate) look(c *Cursor, head uint64) {
	switch {
	case c.Limit() > head:
		g.Refresh(c)
	case c.state == Following:
		g.fill(c, Full)
	default:
		g.spend(c)
	}
}

// spend puts a reader without room that is out of patience on the list for its strategy.
func (g *Gate) spend(c *Cursor) {
	if c.blocks {
		g.fill(c, Blocking)
	} else {
		g.fill(c, Spent)
	}
}

// decide readmits a full reader that has made room: half its buffer or, if one is true, a single
// place. Otherwise it marks the reader as awaited or, if patience is over, puts it out of patience;
// it reports whether it has done that.
func (g *Gate) decide(c *Cursor, head uint64, one, over bool) (out bool) {
	for {
		w := c.word.Load()
		switch {
		case c.HalfEmpty(head-w>>flagBits) || one && head < c.Limit():
			g.readmit(c, Following)
			return false
		case !over:
			if w&Awaited != 0 {
				return false
			}
			g.awaiting.Add(1)
			if c.word.CompareAndSwap(w, w|Awaited|Waited) {
				return false
			}
			g.arrived()
		case c.word.CompareAndSwap(w, w|Slow): // from now on it takes only under the lock
			if head < c.Limit() {
				g.readmit(c, Strained)
			} else {
				g.spend(c)
			}
			return true
		}
	}
}

// eachFull calls f with the full cursors that publishers are patient with, until f returns false.
// Unless after is zero, it visits only those with which patience ends after that and not after now.
// It takes the lock, and releases it in between.
func (g *Gate) eachFull(after, now time.Time, f func(c *Cursor) bool) {
	g.Lock()
	defer g.Unlock()
	var p pass
	p.begin(0, false, after, now)
	for n := 1; ; n++ {
		if c := p.next(g); c == nil || !f(c) {
			return
		}
		if n%Piece == 0 {
			g.Unlock()
			g.Lock()
		}
	}
}

// wakeParked wakes full readers that are still parked because the publisher of the message that
// they should take has not woken them yet. The first publisher that waits for them must not rely on
// that one.
func (g *Gate) wakeParked() {
	var asleep []*parking.Spot
	g.eachFull(time.Time{}, time.Time{}, func(c *Cursor) bool {
		if spot := c.Spot.Load(); spot != nil && spot.Parked() {
			asleep = append(asleep, spot)
		}
		return true
	})
	for _, spot := range asleep {
		spot.Wake()
	}
}

// pause lets others take the lock between two holds of it. Without a yield they get it only after a
// millisecond. When other goroutines keep the CPUs busy, a yield may take much longer; then pause
// stops yielding.
type pause struct{ long bool }

func (p *pause) take() {
	if !p.long {
		start := time.Now()
		runtime.Gosched()
		p.long = time.Since(start) >= enoughYielding
	}
}
