package broadcast

import (
	"github.com/fbd86cad/broadcast/internal/flow"
	"github.com/fbd86cad/broadcast/internal/numbering"
	"github.com/fbd86cad/broadcast/internal/seglog"
)

// This file computes properties of a reader from its fields: its position, what it has lost, what
// it needs. Nothing here takes the lock or ends a subscription.

// valid reports whether the subscriber was made by Subscribe.
func (s *Subscriber[T]) valid() bool { return s != nil && s.chat != nil }

// headLocked returns the index of the last message that concerns the subscription, and its ending
// if it has ended.
func (s *Subscriber[T]) headLocked() (*ending[T], uint64) {
	if e := s.end.Load(); e != nil {
		return e, e.head
	}
	return nil, s.chat.log.Head()
}

// tailLocked returns the span of the message after the last one that concerns the subscription.
func (s *Subscriber[T]) tailLocked() *numbering.Span {
	if e := s.end.Load(); e != nil {
		return e.numbers
	}
	return s.chat.numbers.Tail()
}

// gone reports whether the subscription has ended and left nothing to read.
func (s *Subscriber[T]) gone() bool {
	e := s.end.Load()
	return e != nil && e.gone.Load()
}

// nothingLeft returns the reason for the end if the subscription has ended and nothing is left to
// read. Otherwise it returns nil.
func (s *Subscriber[T]) nothingLeft() error {
	e := s.end.Load()
	if e == nil || !e.gone.Load() && s.at.Position() != e.head {
		return nil
	}
	return e.reason
}

// lastLocked returns the index of the message that was taken last.
func (s *Subscriber[T]) lastLocked() uint64 {
	if s.lag.picked() {
		return s.lag.last
	}
	return s.at.Position() - s.gap
}

// nextLocked returns the index of the message that an open reader takes next; the message may not
// exist yet.
func (s *Subscriber[T]) nextLocked() uint64 {
	if s.lag.picked() {
		return s.lag.oldest()
	}
	return s.at.Position() + s.lost(s.chat.log.Head()) + 1
}

// lost returns how many messages are lost to a reader whose limit the head has passed. With
// DropOldest, all but the newest that fit are lost; with the other strategies, as many as do not
// fit.
func (s *Subscriber[T]) lost(head uint64) uint64 {
	over := excess(head, s.at.Limit())
	if over > 0 && s.sampling == DropOldest {
		return head - s.at.Position() - s.at.Room()
	}
	return over
}

// settleLostLocked counts what does not fit up to head as missed.
func (s *Subscriber[T]) settleLostLocked(head uint64) {
	lost := s.lost(head)
	s.missed += lost
	s.at.Lose(lost)
}

// unsampledLocked reports whether the strategy has yet to be applied: accepted messages did not
// fit, or one was about to be accepted. That happens only with strategies that pick.
func (s *Subscriber[T]) unsampledLocked() bool {
	_, head := s.headLocked()
	return head > s.at.Limit() && s.picks() || s.at.State() == flow.Frozen
}

// hasTakenLocked reports whether the reader has taken anything.
func (s *Subscriber[T]) hasTakenLocked() bool { return s.at.Position() != s.joined+s.missed }

// heldUpPublishersLocked reports whether publishers wait, or have waited, for a reader that has
// taken nothing since it joined. They are not patient with the subscription that takes over from
// it; otherwise a device that reconnects again and again would cost them a wait each time.
func (s *Subscriber[T]) heldUpPublishersLocked() bool {
	return (!s.at.State().Patient() || s.at.Load().Waited()) && !s.hasTakenLocked()
}

// segmentOf returns the segment that holds seq, the next message, and stores it as the reader's
// segment. It returns nil if another goroutine has set that to nil; the word then has Slow.
func (s *Subscriber[T]) segmentOf(seq uint64) *seglog.Segment[T] {
	at := s.segment.Load()
	if at == nil || at.Holds(seq) {
		return at
	}
	if at = at.Find(seq); at != nil {
		s.segment.Store(at)
	}
	return at
}

// slotLocked returns the slot of a message that can still be taken.
func (s *Subscriber[T]) slotLocked(seq uint64) *T {
	if e := s.end.Load(); e != nil {
		return e.rest.At(seq)
	}
	if s.at.State() == flow.Off {
		return s.chat.log.Find(seq).At(seq)
	}
	return s.segmentOf(seq).At(seq)
}

// advance settles n messages in one step, if the word is still w. If the reader becomes half empty
// by that, it wakes the publisher that waits for it.
func (s *Subscriber[T]) advance(w flow.Word, n, head uint64) bool {
	ok, arrived := s.at.Advance(w, n, head)
	if ok && arrived {
		s.chat.gate.Arrive()
	}
	return ok
}

// excess returns n - limit, or 0 if n is smaller.
func excess(n, limit uint64) uint64 {
	if n > limit {
		return n - limit
	}
	return 0
}
