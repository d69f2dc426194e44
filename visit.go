package broadcast

import (
	"log/slog"

	"github.com/fbd86cad/broadcast/internal/flow"
)

// visit is a hold of the chat's lock by a reader, or by a publisher that applies a strategy for it.
// The fast path of take needs none.
type visit[T any] struct {
	s *Subscriber[T]
	verdict
	returned bool // publishers had given the reader up, and are patient again
}

// enter locks the chat for a visit. It returns false, without the lock, while another goroutine
// applies the reader's strategy, unless nothing is left to read anyway.
func (s *Subscriber[T]) enter() (v visit[T], ok bool) {
	c := s.chat
	c.gate.Lock()
	if state := s.at.State(); state == flow.Off || state == flow.Frozen || state == flow.Gone {
		s.segment.Store(nil) // the fast path may have stored one too late
	}
	if s.busy.Load() && !s.gone() {
		c.gate.Unlock()
		return v, false
	}
	return visit[T]{s: s}, true
}

// exit ends the visit, and does what must be done without the lock. It must be deferred, because a
// sampler may call runtime.Goexit.
func (v *visit[T]) exit() {
	if v.exitQuietly() {
		v.s.chat.shared.runEndHooks(v.s)
	}
	v.logReturn()
}

// exitQuietly is like exit, but does not run user code. If it returns true, the subscription has
// ended, and the caller must call shared.runEndHooks.
func (v *visit[T]) exitQuietly() (ended bool) {
	s, c := v.s, v.s.chat
	if v.applied && s.end.Load() != nil {
		s.settleLateLocked()
	}
	switch {
	case v.failure != nil:
		if ended = c.endLocked(s, v.failure, false); !ended {
			c.discardLocked(s) // the sampler failed after another end
		}
	case c.closed != nil:
		ended = c.endDrainedLocked(s)
	}
	if v.returned = s.givenUp && s.at.State().Patient(); v.returned {
		s.givenUp = false
	}
	c.gate.Unlock()
	switch {
	case ended:
		c.shared.signalEnd(s)
	case v.applied:
		s.wake()
	}
	return ended
}

// logReturn logs that a reader that publishers had given up on has caught up. It runs user code,
// after exitQuietly.
func (v *visit[T]) logReturn() {
	if v.returned {
		s := v.s
		s.chat.shared.logEvent(slog.LevelInfo, "reader caught up", s.chat.name, s.device)
	}
}

// peekLocked returns what the reader takes next, and the index of the message, or false if there is
// nothing. The strategy must have been applied.
func (s *Subscriber[T]) peekLocked(d *Delivery[T]) (index uint64, ok bool) {
	e, head := s.headLocked()
	if e == nil {
		if event, ok := s.nextEventLocked(); ok {
			*d = s.eventDelivery(event)
			return 0, true
		}
	}
	if head == s.at.Position() {
		return 0, false
	}
	switch l := s.lag; {
	case !l.picked():
		// A reader that is behind by more than its buffer skips what it lost.
		index = s.at.Position() + s.lost(head) + 1
		d.Message = *s.slotLocked(index)
	case l.queue.Len() > 0:
		index, d.Message = l.queue.Oldest()
	default:
		index = l.applied + 1
		d.Message = *s.slotLocked(index)
	}
	last := s.numbers.Load()
	numbers := last.At(index)
	d.Chat, d.epoch, d.Seq = s.chat.name, s.chat.numbers.Epoch(numbers), numbers.Number(index)
	d.Missed = index - s.lastLocked() - 1 + last.Lost(numbers)
	d.Reset = last.Resets(numbers) > 0
	d.Kind, d.Device = Published, ""
	return index, true
}

// settleLocked counts what peekLocked has returned as taken. If the strategy has dropped that
// message in the meantime, it counts as delivered after all, not as missed.
func (s *Subscriber[T]) settleLocked(kind Kind, index uint64) {
	if kind != Published {
		s.follower.Settle()
		return
	}
	s.passMarksLocked(index)
	switch l := s.lag; {
	case s.settleCutLocked(index):
	case !l.picked():
		s.missed += index - s.at.Position() - 1
		s.gap = 0
		s.at.MoveTo(index)
	case l.oldest() != index:
		l.last = index
		s.missed--
	default:
		s.settleOldestLocked()
	}
}

// passMarksLocked passes the marks before a message that the reader takes. What is lost in holes
// was never in the log: it counts as missed, and as if the reader had joined that much earlier.
func (s *Subscriber[T]) passMarksLocked(index uint64) {
	last := s.numbers.Load()
	numbers := last.At(index)
	if numbers == last {
		return
	}
	lost := last.Lost(numbers)
	s.missed += lost
	s.joined -= lost
	s.renumbered = s.renumbered || last.Resets(numbers) > 0
	s.numbers.Store(numbers)
}

// settleOldestLocked counts the oldest message that the strategy has kept as taken.
func (s *Subscriber[T]) settleOldestLocked() {
	l := s.lag
	if l.queue.Len() > 0 {
		l.last, _ = l.queue.Pop()
	} else {
		l.applied++
		l.last = l.applied
	}
	s.at.MoveTo(s.at.Position() + 1)
	if l.queue.Len() == 0 && l.last == l.applied {
		l.queue = nil // no holes from here on: read from the log again
	}
}

// progressLocked updates the state of a reader that has taken something under the lock, and returns
// it to the fast path if possible. After the end it updates the totals instead, and releases the
// buffered messages when none is left to take.
func (s *Subscriber[T]) progressLocked() {
	c := s.chat
	if s.end.Load() != nil {
		s.releaseRestLocked()
		c.updateTotalsLocked(s)
		return
	}
	s.since = 0
	c.clearSuspicionLocked(s)
	head := c.log.Head()
	pending := head - s.at.Position()
	proven := s.unproven && s.hasTakenLocked() && head <= s.at.Limit()
	switch off := s.at.State() == flow.Off; {
	case off && (s.at.HalfEmpty(pending) || proven):
		c.reattachLocked(s)
	case off:
		c.updateHoldLocked(s, s.heldLocked()) // its queue has become shorter
	}
	c.gate.Progress(&s.at, head, pending)
	if proven {
		c.gate.Trust(&s.at)
	}
	if !s.at.State().Patient() {
		return
	}
	s.unproven = false
	if s.gap == 0 && !s.lag.picked() {
		s.lag = nil
		if c.closed == nil {
			s.at.Clear(flow.Slow)
		}
	}
}

// settleLateLocked completes an end that came while the strategy was being applied.
func (s *Subscriber[T]) settleLateLocked() {
	if p := s.pump.Load(); p != nil && p.late != 0 {
		s.settleGoneLocked(p.late)
		p.late = 0
	}
	s.progressLocked()
}

// settleCutLocked settles a message that was received from Chan after chat.fitLocked had dropped it
// and later ones. Otherwise it returns false and does nothing.
func (s *Subscriber[T]) settleCutLocked(index uint64) bool {
	if s.lag.picked() || index > s.at.Position() {
		return false
	}
	s.missed--
	s.gap = s.at.Position() - index
	return true
}

// settleGoneLocked is settleLocked for a subscription of which nothing can be taken any more. It
// only updates the counters.
func (s *Subscriber[T]) settleGoneLocked(index uint64) {
	s.passMarksLocked(index)
	if s.settleCutLocked(index) {
		return
	}
	if !s.picks() {
		s.missed += index - s.at.Position() - 1
		s.gap = 0
		s.at.MoveTo(index)
		return
	}
	_, head := s.headLocked()
	s.settleLostLocked(head)
	if l := s.lag; l.picked() && l.oldest() != index {
		s.missed-- // the strategy had dropped it
	} else {
		s.at.MoveTo(s.at.Position() + 1)
	}
}
