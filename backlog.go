package broadcast

import (
	"math/rand/v2"
	"runtime/debug"

	"github.com/fbd86cad/broadcast/internal/ring"
	"github.com/fbd86cad/broadcast/internal/seglog"
)

// Backlog is what a sampler may choose from: the messages that wait, oldest first. It is valid until the sampler returns.
type Backlog[T any] struct {
	queue *ring.Queue[T]
}

// Len returns how many messages wait: the size of the buffer, and what is left of a replay.
func (b Backlog[T]) Len() int {
	if b.queue == nil { // the zero Backlog
		return 0
	}
	return b.queue.Len()
}

// At returns message i, 0 being the oldest. It panics if i is not an index.
func (b Backlog[T]) At(i int) T { return b.queue.At(i) }

// ownSampler is the strategy of WithSampler.
const ownSampler = Block + 1

// backlog is the private queue of a reader that fell behind with a strategy that picks: DropNewest, DropRandom, ownSampler. What
// may still be taken is queue and then the log after applied; it is filled lazily, when a message was accepted that did not fit.
// See Subscriber.backlog for who has it.
type backlog[T any] struct {
	queue   ring.Queue[T]
	active  bool   // false: the log alone says it all
	applied uint64 // the messages up to it are in queue, taken, or missed
	last    uint64 // the message that was taken last, or that preceded the subscription
}

// picks reports whether the strategy is one of those that need a backlog.
func (s *Subscriber[T]) picks() bool {
	return s.sampling == DropNewest || s.sampling == DropRandom || s.sampling == ownSampler
}

// oldestSeq returns the Seq of the next message that the backlog would give, now or later.
func (b *backlog[T]) oldestSeq() uint64 {
	if b.queue.Len() == 0 {
		return b.applied + 1
	}
	seq, _ := b.queue.Oldest()
	return seq
}

// sampleForPublisher applies the strategy if a publisher has asked for it and nobody is at it.
func (s *Subscriber[T]) sampleForPublisher() {
	if s.enter() {
		defer s.exit()
		if s.due {
			s.sampleLocked()
		}
	}
}

// sampleLocked applies the strategy to all messages that were accepted before this call, if one did not fit. The chat's
// lock is held at the call and at the return, but not while the strategy runs. If the sampler fails, sampleLocked returns
// false, and exit will end the subscription.
func (s *Subscriber[T]) sampleLocked() bool {
	s.due = false
	for s.overrun && !s.gone() {
		view, head := s.thawLocked()
		if !s.applyUnlocked(view, head) {
			return false
		}
		s.appliedLocked(head)
		if s.end.Load() == nil {
			break // what was accepted meanwhile came after this call
		}
	}
	return true
}

// applyUnlocked is apply with the chat's lock free, in whatever way the sampler returns.
func (s *Subscriber[T]) applyUnlocked(view *seglog.View[T], head uint64) bool {
	var failure error
	s.busy.Store(true)
	s.chat.mu.Unlock()
	defer func() {
		s.chat.mu.Lock()
		s.busy.Store(false)
		s.failed, s.sampled = failure, true
	}()
	s.apply(view, head, &failure)
	return failure == nil
}

// gone reports whether the subscription has ended and left nothing to read.
func (s *Subscriber[T]) gone() bool {
	e := s.end.Load()
	return e != nil && e.gone.Load()
}

// thawLocked returns the messages to be applied, up to head. A reader off the list comes back at this moment, so that it gets what
// is accepted from now on; what was accepted since it froze is lost.
func (s *Subscriber[T]) thawLocked() (view *seglog.View[T], head uint64) {
	c := s.chat
	if s.backlog == nil {
		s.backlog = &backlog[T]{}
	}
	if b := s.backlog; !b.active {
		b.active, b.applied, b.last = true, s.position(), s.lastLocked()
		s.gap = 0
	}
	if e := s.end.Load(); e != nil {
		return e.rest, e.head
	}
	head = c.log.Head()
	if s.place != placeFrozen {
		return s.segment.Load().View(head), head
	}
	view, s.frozen = s.frozen, nil
	s.segment.Store(c.log.Tail())
	c.watch.add(s, head+s.buffer)
	return view, head
}

// apply moves the messages up to head from the log to the queue and lets the strategy drop what does not fit. What is above
// the view is dropped, as if by DropNewest. It stops when the sampler fails.
func (s *Subscriber[T]) apply(view *seglog.View[T], head uint64, failure *error) {
	b, size := s.backlog, s.limit()-s.position()
	for seq := b.applied + 1; seq <= min(head, view.To()); seq++ {
		if uint64(b.queue.Len()) < size {
			b.queue.Push(seq, *view.At(seq))
			continue
		}
		if s.sampling == DropNewest {
			break
		}
		next := *view.At(seq)
		switch i := s.pick(next, failure); {
		case *failure != nil:
			return
		case i < b.queue.Len():
			b.queue.Replace(i, seq, next)
		}
	}
	b.applied = head
}

// pick returns which message goes: an index of the queue or its length for next. If the sampler fails, it says so in failure.
func (s *Subscriber[T]) pick(next T, failure *error) (i int) {
	n := s.backlog.queue.Len()
	if s.sampling == DropRandom {
		return rand.IntN(n + 1)
	}
	returned := false
	defer func() {
		if !returned { // it panics, or exits the goroutine: then the callers run no more but for what they have deferred
			*failure = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	i = s.sampler(Backlog[T]{&s.backlog.queue}, next)
	returned = true
	if i < 0 || i > n {
		*failure = invalidf("sampler answered %d, which is neither an index of %d messages nor the new one", i, n)
	}
	return i
}

// appliedLocked books what the strategy dropped up to head.
func (s *Subscriber[T]) appliedLocked(head uint64) {
	s.settleLostLocked(head)
	if s.end.Load() == nil && s.place != placeFrozen {
		s.segment.Store(s.segment.Load().Advance(head + 1))
	}
	s.placeSampledLocked()
}

// settleLostLocked settles what does not fit up to head.
func (s *Subscriber[T]) settleLostLocked(head uint64) {
	lost := s.lost(head)
	s.missed += lost
	if s.replayed > s.position() {
		s.replayed += lost
	}
	s.moveTo(s.position() + lost)
}

// placeSampledLocked notes how far the messages may run on until a reader with a backlog must be looked at again.
func (s *Subscriber[T]) placeSampledLocked() {
	e, head := s.headLocked()
	if e == nil && s.place == placeFrozen {
		return // it has got nothing since it froze, so it is overrun until it thaws
	}
	s.overrun = head > s.limit()
	if s.place != placeDue {
		return
	}
	if s.overrun {
		s.chat.watch.refresh(s, head+s.buffer)
	} else {
		s.chat.watch.refresh(s, s.limit())
	}
}

// takeBacklogLocked takes the oldest message that is left. There is one.
func (s *Subscriber[T]) takeBacklogLocked(d *Delivery[T]) {
	b := s.backlog
	if b.queue.Len() > 0 {
		d.Seq, d.Message = b.queue.Pop()
	} else {
		b.applied++
		d.Seq, d.Message = b.applied, *s.slotLocked(b.applied)
	}
	d.Missed = d.Seq - b.last - 1
	b.last = d.Seq
	s.moveTo(s.position() + 1)
	if b.queue.Len() == 0 && b.last == b.applied {
		s.backlog = nil // unbroken: back to the log
	}
	s.placeSampledLocked()
}
