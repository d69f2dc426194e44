package broadcast

import (
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/internal/flow"
	"github.com/fbd86cad/broadcast/internal/numbering"
	"github.com/fbd86cad/broadcast/internal/seglog"
)

// ending describes how a subscription ended. The fields of the first group never change.
type ending[T any] struct {
	reason  error
	head    uint64          // the chat's head at the end; later messages do not concern the subscription
	numbers *numbering.Span // of the next message at the end
	hadDone bool            // Subscriber.done had been made, and has to be closed

	// gone is set when nothing can be taken any more: at the end, or later by Close. It is stored
	// under the chat's lock and loaded without.
	gone atomic.Bool

	// Guarded by the chat's lock.
	rest   *seglog.View[T] // what was buffered in the log
	booked books           // what chat.ended contains of this subscription
}

// end ends a subscription. It returns false if that has ended before. With readable, what was
// buffered can still be taken. When end returns true, the end has taken effect everywhere.
func (c *chat[T]) end(s *Subscriber[T], reason error, readable bool) bool {
	ended := c.endQuietly(s, reason, readable)
	if ended {
		c.shared.runEndHooks(s)
	}
	return ended
}

// endQuietly is like end, but does not run user code. If it returns true, the caller must call
// shared.runEndHooks.
func (c *chat[T]) endQuietly(s *Subscriber[T], reason error, readable bool) bool {
	c.gate.Lock()
	ended := c.endLocked(s, reason, readable)
	c.gate.Unlock()
	if ended {
		c.shared.signalEnd(s)
	}
	return ended
}

// endLocked is the part of end that needs the chat's lock. If it returns true, the caller must
// release the lock, call shared.signalEnd before any user code runs, and then call
// shared.runEndHooks. Close waits until signalEnd has returned.
func (c *chat[T]) endLocked(s *Subscriber[T], reason error, readable bool) bool {
	if s.end.Load() != nil {
		return false
	}
	c.shared.background.Enter()
	s.at.Set(flow.Slow) // from here on the position does not change
	e := &ending[T]{
		reason: reason, head: c.log.Head(), numbers: c.numbers.Tail(), hadDone: s.done != nil,
	}
	e.gone.Store(!readable)
	if readable && e.head > s.at.Position() {
		e.rest = c.restLocked(s, e.head)
	}
	if s.at.State() == flow.Off {
		c.releaseHoldLocked(s)
	}
	c.gate.Leave(&s.at)
	s.segment.Store(nil)
	if s.lag != nil {
		s.lag.snapshot = nil
	}
	if s.stall != nil {
		c.unwatchStallsLocked(s)
	}
	c.presence.Unfollow(s.follower)
	switch {
	case s.device == "":
		c.removeAnonymousLocked(s)
	case c.readers.Get(s.device) == s: // else it was replaced
		c.feed.departLocked(s.device, false)
		c.departedLocked(s.device)
	}
	c.releaseAfterEndLocked()
	if c.openCountLocked() == 0 {
		c.startIdleLocked()
	}
	s.end.Store(e)
	s.releaseSpot()
	s.releaseRestLocked()
	c.updateTotalsLocked(s)
	c.shared.count(-1)
	return true
}

// endDrainedLocked ends a subscription that has taken all messages and presence events, in a chat
// that is closed. It reports whether it did.
func (c *chat[T]) endDrainedLocked(s *Subscriber[T]) bool {
	pendingEvents := s.follower.Behind() && !c.endedLocked()
	return s.at.Position() == c.log.Head() && !pendingEvents && c.endLocked(s, c.closed, true)
}

// drainLocked makes a subscription to a closed chat end when it has taken all that it may still
// take. It reports whether it has ended already.
func (c *chat[T]) drainLocked(s *Subscriber[T]) bool {
	s.at.Set(flow.Slow)
	if c.endDrainedLocked(s) {
		return true
	}
	if c.endedLocked() {
		c.withdrawLocked(s) // it may be an event that Chan offers
	}
	return false
}

// cutLocked ends a subscription to a chat that is closed. What fits its buffer stays readable. It
// reports whether it did.
func (c *chat[T]) cutLocked(s *Subscriber[T]) bool {
	s.at.Set(flow.Slow)
	c.fitLocked(s)
	return c.endLocked(s, c.closed, true)
}

// fitLocked drops the oldest messages that a reader may still take until the rest fits its buffer:
// a replay may be longer. A backlog that its strategy has picked is dropped in pieces, with the
// lock released in between, unless the strategy is being applied.
func (c *chat[T]) fitLocked(s *Subscriber[T]) {
	var p pieces
	for s.end.Load() == nil && !s.busy.Load() {
		over := excess(s.statsLocked().Pending, s.at.Room())
		if over == 0 {
			break
		}
		if !s.lag.picked() {
			s.missed += over
			s.gap += over
			s.at.MoveTo(s.at.Position() + over)
			break
		}
		s.loseOldestLocked()
		p.visited(&c.gate)
	}
	if s.at.State() == flow.Off && !s.busy.Load() {
		c.updateHoldLocked(s, s.heldLocked())
	}
}

// startIdleLocked starts the idle time of a chat without readers. That of a chat that has ended is
// running already.
func (c *chat[T]) startIdleLocked() {
	if !c.endedLocked() {
		c.idleSince = time.Since(c.shared.began)
		c.shared.agenda.Schedule(c, c.idleUntilLocked())
	}
}

// idleUntilLocked returns the end of the idle time of a chat without readers, or of one that has
// ended.
func (c *chat[T]) idleUntilLocked() time.Time {
	return c.shared.began.Add(c.idleSince).Add(c.config.idle)
}

// discardLocked discards what an end has left readable. The reason stays.
func (c *chat[T]) discardLocked(s *Subscriber[T]) {
	e := s.end.Load()
	e.gone.Store(true)
	s.releaseRestLocked()
	c.updateTotalsLocked(s)
}

// releaseRestLocked releases the buffered messages of a subscription that has ended, once none of
// them can be taken any more and no goroutine is using them.
func (s *Subscriber[T]) releaseRestLocked() {
	e := s.end.Load()
	if !e.gone.Load() && s.at.Position() != e.head {
		return
	}
	e.rest = nil
	if s.busy.Load() || s.unsettled() != nil {
		return
	}
	if s.lag.picked() {
		s.gap = s.at.Position() - s.lag.last // for Position: there is no next delivery
	}
	s.lag = nil
}

// restLocked returns a view of what the log has buffered for a reader up to head.
func (c *chat[T]) restLocked(s *Subscriber[T], head uint64) *seglog.View[T] {
	switch s.at.State() {
	case flow.Frozen:
		return s.lag.snapshot.After(s.reachedLocked())
	case flow.Off:
		after := s.readableAfterLocked(head)
		if after == head {
			return nil
		}
		return c.log.Find(after + 1).View(head).After(after)
	}
	return s.segment.Load().View(head).After(s.reachedLocked())
}

// finish completes ends for which endLocked returned true.
func (sh *shared[T]) finish(ended ...*Subscriber[T]) {
	sh.signalEnd(ended...)
	sh.runEndHooks(ended...)
}

// signalEnd wakes everybody who waits for ends. It runs no user code, because Close waits for it.
func (sh *shared[T]) signalEnd(ended ...*Subscriber[T]) {
	for _, s := range ended {
		c := s.chat
		c.gate.Lock()
		done, member := s.done, s.until
		s.until = nil
		c.gate.Unlock()
		if s.end.Load().hadDone {
			close(done)
		}
		s.wake()
		if member != nil {
			sh.until.Leave(member)
		}
		sh.background.Leave()
	}
}

// runEndHooks runs the user code that ends call for: methods of contexts, and loggers. That may
// hang, or end more subscriptions. Only the caller waits for it: it comes after signalEnd, and is
// not counted in shared.background.
func (sh *shared[T]) runEndHooks(ended ...*Subscriber[T]) {
	sh.until.Release()
	sh.logEnded(ended)
}
