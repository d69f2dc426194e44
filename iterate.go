package broadcast

import (
	"context"
	"iter"
)

// maxStep is how many messages Messages hands out at most before it reports them.
const maxStep = 16

// All returns an iterator over deliveries: each is taken when the loop body gets it. It waits for messages and ends with the
// subscription, when what is readable has been taken, or with ctx, which leaves the subscription open. After the loop,
// [Subscriber.Err] says which: nil if it was ctx. A nil ctx, or a subscriber not made by Subscribe, yields nothing.
//
// A loop that waits often is cheaper than calls of [Subscriber.Next], which each wait for ctx as well: it asks once, by [context.AfterFunc], to be
// woken when ctx ends, and takes that back when it ends itself. For a ctx with a Done of its own that costs a goroutine while the loop runs.
func (s *Subscriber[T]) All(ctx context.Context) iter.Seq[Delivery[T]] {
	return func(yield func(Delivery[T]) bool) {
		if s.checkRead(ctx) != nil {
			return
		}
		var interrupted *interruption
		defer func() { interrupted.end() }()
		var d Delivery[T]
		for {
			ok, err := s.poll(ctx, &d)
			switch {
			case err != nil || ok && !yield(d):
				return
			case ok:
				s.report() // the body may have left a loop over Messages
				continue
			}
			if woken := s.parkInLoop(ctx, &interrupted); woken != nil {
				<-woken
				s.resume(interrupted)
			}
		}
	}
}

// Messages is [Subscriber.All] with the payloads alone, and faster: it does not show what was missed, nor who comes and goes.
//
// With DropOldest and a buffer of 32 or more it tells others of its progress in steps, of a 16th of the buffer and at most
// 16 messages, and always when it hands out the last one that is there: inside the loop, what the body got may still count
// as pending for publishers and in Stats. Nothing is dropped because of that, and on leaving the loop, in whatever way, the
// numbers are exact.
func (s *Subscriber[T]) Messages(ctx context.Context) iter.Seq[T] {
	return func(yield func(T) bool) {
		if s.checkRead(ctx) != nil {
			return
		}
		var interrupted *interruption
		defer func() {
			s.report()
			interrupted.end()
		}()
		for {
			switch s.stride(ctx, yield) {
			case thenStride:
				continue
			case thenTake:
				var d Delivery[T]
				ok, err := s.poll(ctx, &d)
				switch {
				case err != nil || ok && d.Kind == Published && !yield(d.Message):
					return
				case ok:
					s.report()
					continue
				}
			case thenLeave:
				return
			}
			if woken := s.parkInLoop(ctx, &interrupted); woken != nil {
				<-woken // here and not in a function of its own: each return after a switch of goroutines costs some 10 ns
				s.resume(interrupted)
			}
		}
	}
}

// afterStride is what a loop over Messages does next.
type afterStride int

const (
	thenStride afterStride = iota
	thenTake               // one by itself: the next one is not for strides
	thenWait               // for a message: there is none
	thenLeave
)

// stride hands out the next few messages, reading the slots of the log without a look at anything but the word, and reports them
// when it hands out the last one.
func (s *Subscriber[T]) stride(ctx context.Context, yield func(T) bool) afterStride {
	w, head := s.word.Load(), s.chat.log.Head()
	switch {
	case s.step <= 1 || w&slow != 0 || s.follower.behind(): // after the head: what was told since then comes after it
		return thenTake
	case head == w>>flagBits && ctx.Err() == nil:
		return thenWait
	}
	slots := s.strideSlots(w, head)
	if len(slots) == 0 {
		return thenTake
	}
	last := len(slots) - 1
	for i := range slots {
		switch {
		case ctx.Err() != nil:
			s.giveUpPlace()
			return thenLeave
		case s.word.Load() != w: // somebody wants to know, or the body has read
			s.report()
			return thenStride
		case i < last:
			s.ahead++
		case s.advance(w, uint64(len(slots)), head):
			s.ahead = 0
		default:
			s.report()
			return thenStride
		}
		if !yield(slots[i]) {
			return thenLeave
		}
	}
	if head == w>>flagBits+uint64(len(slots)) {
		return thenWait
	}
	return thenStride
}

// strideSlots returns the slots of the messages that may be handed out in one step: not more than would make the reader half empty,
// if a publisher waits for that. It returns none if there are none, or the reader has lost its place.
func (s *Subscriber[T]) strideSlots(w, head uint64) []T {
	pending := head - w>>flagBits
	n := min(pending, uint64(s.step))
	if w&awaited != 0 {
		n = min(n, excess(pending, s.buffer/2))
	}
	if n == 0 {
		return nil
	}
	seq := w>>flagBits + 1
	segment := s.segmentOf(seq)
	if segment == nil {
		return nil
	}
	slots := segment.From(seq)
	return slots[:min(n, uint64(len(slots)))]
}

// report settles what Messages has handed out.
func (s *Subscriber[T]) report() {
	if s.ahead == 0 {
		return
	}
	n := uint64(s.ahead)
	s.ahead = 0
	for {
		w := s.word.Load()
		if w&slow != 0 {
			s.reportSlow(n)
			return
		}
		head := s.chat.log.Head()
		if s.advance(w, min(n, head-w>>flagBits), head) { // less than n if somebody else reads, by mistake
			return
		}
	}
}

// reportSlow is report under the lock. If the subscription has ended, its books are put right: these messages were taken.
func (s *Subscriber[T]) reportSlow(n uint64) {
	if s.enter() { // always: DropOldest is never busy
		defer s.exit()
		s.set(slow) // as in takeSlow
		_, head := s.headLocked()
		s.moveTo(min(s.position()+n, head))
		s.progressLocked()
	}
}
