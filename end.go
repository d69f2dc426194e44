package broadcast

import (
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/fbd86cad/broadcast/internal/seglog"
)

// ending is how a subscription ended. All but the last group never changes.
type ending[T any] struct {
	reason  error
	head    uint64      // the chat's head at that moment; nothing later concerns the subscription
	wasDone bool        // somebody had asked for done, so that it has to be closed
	gone    atomic.Bool // nothing can be taken any more: from the beginning, or since Close; set under the chat's lock

	// Guarded by the chat's lock.
	rest    *seglog.View[T] // what was buffered, of the log
	counted books           // what of this subscription is in the totals
}

// end ends a subscription, if it has not ended, and reports whether it did. When it returns, its effect is complete.
func (c *chat[T]) end(s *Subscriber[T], reason error, readable bool) bool {
	c.mu.Lock()
	ended := c.endLocked(s, reason, readable)
	c.mu.Unlock()
	if ended {
		c.broker.finish(s)
	}
	return ended
}

// endLocked is the part of end under the chat's lock. Who got true must call Broker.finish with no lock held.
func (c *chat[T]) endLocked(s *Subscriber[T], reason error, readable bool) bool {
	if s.end.Load() != nil {
		return false
	}
	s.set(slow) // from here on the position stands still
	e := &ending[T]{reason: reason, head: c.log.Head(), wasDone: s.done != nil}
	e.gone.Store(!readable)
	if readable && e.head > s.position() {
		e.rest = c.restLocked(s, e.head)
	}
	c.unawaitLocked(s)
	if s.place == placeOff {
		c.releaseLocked(s.buffer)
	}
	c.watch.remove(s)
	s.segment.Store(nil)
	s.frozen = nil
	if s.stall != nil {
		c.stallers--
	}
	c.unfollowLocked(s)
	if c.readers.Get(s.device) == s { // else it was replaced
		c.readers.Delete(s.device)
		if !c.closed {
			c.wentLocked(s.device)
		}
	}
	if c.readers.Len() == 0 {
		c.emptiedLocked()
	}
	s.end.Store(e)
	s.releaseSpot()
	if s.due {
		c.pressed = slices.DeleteFunc(c.pressed, func(o *Subscriber[T]) bool { return o == s })
	}
	s.letGoLocked()
	c.recountLocked(s)
	c.broker.left()
	c.nudgeLocked() // a publisher may have waited for this reader
	return true
}

// discardLocked throws away what an end has left readable. The reason stays.
func (c *chat[T]) discardLocked(s *Subscriber[T]) {
	e := s.end.Load()
	e.gone.Store(true)
	e.rest = nil
	s.letGoLocked()
	c.recountLocked(s)
}

// letGoLocked lets the backlog go when nothing of it can be taken any more, and nobody is at it.
func (s *Subscriber[T]) letGoLocked() {
	if !s.gone() || s.busy.Load() || s.pump.Load() != nil && !s.pump.Load().hasLeft() {
		return
	}
	if b := s.backlog; b != nil && b.active {
		s.gap = s.position() - b.last // for Position: there is no next delivery
	}
	s.backlog = nil
}

// restLocked returns what is buffered of the log, without what will be appended.
func (c *chat[T]) restLocked(s *Subscriber[T], head uint64) *seglog.View[T] {
	switch s.place {
	case placeFrozen:
		return s.frozen
	case placeOff:
		return c.log.Find(max(s.position(), head-min(head, s.buffer)) + 1).View(head)
	}
	return s.segment.Load().View(head)
}

// finish makes the ends of subscriptions known: to those who wait for it, to the context that could have ended it, to the
// log. No lock is held.
func (b *Broker[T]) finish(ended ...*Subscriber[T]) {
	b.announce(ended)
	b.logEnded(ended)
}

// announce is finish without the log.
func (b *Broker[T]) announce(ended []*Subscriber[T]) {
	for _, s := range ended {
		c := s.chat
		c.mu.Lock()
		done, stop := s.done, s.stop
		s.stop = nil
		c.mu.Unlock()
		if s.end.Load().wasDone {
			close(done)
		}
		s.call()
		c.wakeFollowers()
		if stop != nil && stop() {
			b.background.leave() // the function that waited for the context will not run
		}
	}
}

func (b *Broker[T]) logEnded(ended []*Subscriber[T]) {
	for _, s := range ended {
		b.log(slog.LevelDebug, "subscription ended", s.chat.name, s.device, slog.Any("reason", s.Err()))
	}
}
