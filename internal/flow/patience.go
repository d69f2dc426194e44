package flow

import (
	"math"
	"runtime"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast/internal/chunks"
)

// maxExtension is the longest that publishers wait before strategies act, however often their
// patience is extended because the CPUs are busy.
const maxExtension = time.Second

// Limits on how often, and for how long, a publisher yields the CPU before readers count as stuck.
// A single yield has no effect if all runnable readers are in the queue of another processor.
const (
	maxYields      = 256
	enoughYielding = 100 * time.Microsecond
)

// MaxPatiences is the largest number of different patiences in a gate, besides that of its log.
const MaxPatiences = math.MaxUint8

// window is the patience window of the publishers that wait at a head.
type window struct {
	head  uint64    // each head has a window of its own
	since time.Time // when the first publisher came; zero if none did
}

// group holds the readers with the same patience.
type group struct {
	patience time.Duration
	readers  int // that have joined; not counted for the patience of the log

	// The full ones that publishers are patient with: those that block, and the others.
	full [2]chunks.List[*Cursor]

	// Of the current window:
	deadline time.Time // when patience is over
	yielded  bool      // a publisher has yielded the CPU at this deadline
}

func (r *group) blocking() *chunks.List[*Cursor] { return &r.full[0] }
func (r *group) others() *chunks.List[*Cursor]   { return &r.full[1] }

// waitedFor reports whether publishers are patient with a reader of the group.
func (r *group) waitedFor() bool { return r.blocking().Len()+r.others().Len() > 0 }

// over reports whether patience is over. now may be from before the window.
func (r *group) over(now time.Time) bool { return r.patience == 0 || !now.Before(r.deadline) }

// endsBetween reports whether patience ends after one time, and not after the other.
func (r *group) endsBetween(after, now time.Time) bool {
	return r.patience > 0 && after.Before(r.deadline) && !now.Before(r.deadline)
}

// owesYield reports whether the patience with some readers is over and no publisher has yielded the
// CPU since.
func (r *group) owesYield(now time.Time) bool {
	return r.patience > 0 && r.waitedFor() && !r.yielded && !now.Before(r.deadline)
}

// start sets the deadline in a window.
func (r *group) start(since time.Time) { r.deadline, r.yielded = since.Add(r.patience), false }

// SetPatience gives a reader a patience of its own until it leaves. It must be called before Join.
// It returns false if the gate has MaxPatiences different ones already.
func (g *Gate) SetPatience(c *Cursor, patience time.Duration) bool {
	f := g.makeFull()
	vacant := 0
	for i := 1; i < len(f.groups); i++ {
		switch r := &f.groups[i]; {
		case r.readers == 0:
			vacant = i
		case r.patience == patience:
			r.readers++
			c.group = uint8(i)
			return true
		}
	}
	if vacant == 0 {
		if vacant = len(f.groups); vacant > MaxPatiences {
			return false
		}
		f.groups = append(f.groups, group{})
	}
	f.groups[vacant] = group{patience: patience, readers: 1}
	f.groups[vacant].start(f.since)
	c.group = uint8(vacant)
	return true
}

// leaveGroup removes a reader that has left from its group.
func (g *Gate) leaveGroup(c *Cursor) {
	if c.group == 0 {
		return
	}
	f := g.full
	f.groups[c.group].readers--
	c.group = 0
	last := len(f.groups) - 1
	for ; last > 0 && f.groups[last].readers == 0; last-- {
	}
	f.groups = slices.Delete(f.groups, last+1, len(f.groups))
}

// openWindow begins a window at a head, unless there is one.
func (g *Gate) openWindow(l Log, head uint64, now time.Time) {
	f := g.full
	if f.head == head && !f.since.IsZero() {
		return
	}
	f.window = window{head, now}
	f.groups[0].patience = l.Patience()
	for i := range f.groups {
		f.groups[i].start(now)
	}
}

// windowAt reports whether there is a window at a head.
func (g *Gate) windowAt(head uint64) bool {
	return g.full != nil && g.full.head == head && !g.full.since.IsZero()
}

// owesYield reports whether patience with some readers is over at this head and no publisher has
// yielded the CPU since, because those that waited have given up. The next publisher must then
// yield, in the queue.
func (g *Gate) owesYield(head uint64, now time.Time) bool {
	return g.windowAt(head) && g.anyGroup(func(r *group) bool { return r.owesYield(now) })
}

// endsBetween reports whether patience with some readers ends after one time, and not after the
// other.
func (g *Gate) endsBetween(after, now time.Time) bool {
	return g.anyGroup(func(r *group) bool { return r.waitedFor() && r.endsBetween(after, now) })
}

// anyGroup reports whether is returns true for any group.
func (g *Gate) anyGroup(is func(r *group) bool) bool {
	for i := range g.full.groups {
		if is(&g.full.groups[i]) {
			return true
		}
	}
	return false
}

// nextDeadline returns when the leader must look again because its patience with some readers is
// over; the zero time means never.
func (g *Gate) nextDeadline(head uint64, now time.Time) (next time.Time) {
	if !g.windowAt(head) {
		return next
	}
	for i := range g.full.groups {
		r := &g.full.groups[i]
		ahead := r.waitedFor() && (now.Before(r.deadline) || !r.yielded && r.patience > 0)
		if ahead && (next.IsZero() || r.deadline.Before(next)) {
			next = r.deadline
		}
	}
	return next
}

// yield yields the CPU when the patience of the leading publisher with some readers is over. If one
// of them moves meanwhile, the readers were only waiting for a CPU, and patience with them starts
// again, up to maxExtension in all. yield returns the time at which it checked the deadlines. The
// caller must use that time, so that a deadline that had not passed then does not count as passed.
func (g *Gate) yield(w *waiter, l Log) (now time.Time) {
	g.Lock()
	now = time.Now()
	if g.waiters.first != w || !g.owesYield(l.Head(), now) {
		g.Unlock()
		return now
	}
	before, after := g.full.window, now
	for i := range g.full.groups {
		if r := &g.full.groups[i]; r.owesYield(now) {
			r.yielded = true
			if !after.Before(r.deadline) {
				after = r.deadline.Add(-1)
			}
		}
	}
	g.Unlock()
	g.eachFull(after, now, func(c *Cursor) bool {
		c.seen = c.glimpse()
		return true
	})
	moved := false
	for range maxYields {
		runtime.Gosched()
		g.eachFull(after, now, func(c *Cursor) bool {
			moved = moved || c.seen != c.glimpse()
			return !moved
		})
		if moved || !g.sameWindow(before) || time.Since(now) >= enoughYielding {
			break
		}
	}
	if moved {
		g.extend(before, after, now)
	}
	return now
}

// sameWindow reports whether the patience window has not changed.
func (g *Gate) sameWindow(before window) bool {
	g.Lock()
	defer g.Unlock()
	return g.full.window == before
}

// extend restarts the patience of the groups whose patience ended after the time after, and not
// after now.
func (g *Gate) extend(before window, after, now time.Time) {
	g.Lock()
	defer g.Unlock()
	if g.full.window != before {
		return
	}
	for i := range g.full.groups {
		r := &g.full.groups[i]
		extended := time.Now().Add(r.patience) // on a busy machine, the deadline may be long past
		if r.yielded && r.endsBetween(after, now) && extended.Sub(before.since) <= maxExtension {
			r.deadline, r.yielded = extended, false
		}
	}
}
