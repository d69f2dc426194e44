package broadcast

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/fbd86cad/broadcast/internal/flow"
)

// maxStep is how many messages Messages yields before it reports them, at most.
const maxStep = 16

// All returns an iterator over deliveries. Each delivery is taken when the loop body gets it. The
// loop blocks while there is no message. It ends when the subscription has ended and everything
// readable has been taken, or when ctx is done, which leaves the subscription open. After the loop,
// [Subscriber.Err] tells which: it is nil if ctx ended the loop. With a nil ctx, or a subscriber
// not made by Subscribe, the iterator yields nothing.
//
// For a reader that often waits, a loop is cheaper than calls of [Subscriber.Next], each of which
// also waits for ctx: the loop registers once with [context.AfterFunc]. If ctx is of a type that
// package context does not know, that costs a goroutine while the loop runs.
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

// Messages is like [Subscriber.All], but yields the messages alone and is faster. It does not show
// how many messages were missed, and skips presence events.
//
// With DropOldest and a buffer of 32 or more, the loop reports its progress in steps of a 16th of
// the buffer, at most 16 messages, and always when it yields the last message available. Inside the
// loop, messages that the body already got may therefore still count as pending, for publishers and
// in Stats. Nothing is dropped because of that, and when the loop ends, in whatever way, the
// counters are exact.
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
				// Not in a helper: each return after a goroutine switch costs some 10 ns.
				<-woken
				s.resume(interrupted)
			}
		}
	}
}

// afterStride is what a loop over Messages does after a stride.
type afterStride int

const (
	thenStride afterStride = iota
	thenTake               // take a single message: the next one cannot be taken in a stride
	thenWait               // wait for a message
	thenLeave              // leave the loop
)

// stride yields the next few messages and reports them when it yields the last one. It reads them
// directly from the log, and checks only the word and ctx in between.
func (s *Subscriber[T]) stride(ctx context.Context, yield func(T) bool) afterStride {
	w, head := s.at.Load(), s.chat.log.Head()
	switch {
	case s.step <= 1 || w.Slow() || s.follower.Behind(): // as in take, after loading the head
		return thenTake
	case head == w.Position() && ctx.Err() == nil:
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
			s.dropStaleSegment()
			return thenLeave
		case s.at.Load() != w: // a flag was set, or the body has read
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
	if head == w.Position()+uint64(len(slots)) {
		return thenWait
	}
	return thenStride
}

// strideSlots returns the slots of the messages to yield in one stride: if a publisher waits for
// the reader to become half empty, not more than that takes. It returns nil if there are none, if a
// mark comes first, or if another goroutine has set the reader's segment to nil.
func (s *Subscriber[T]) strideSlots(w flow.Word, head uint64) []T {
	pending := head - w.Position()
	n := s.numbers.Load().Left(w.Position(), min(pending, uint64(s.step)))
	if w.Awaited() {
		n = min(n, excess(pending, s.at.Room()/2))
	}
	if n == 0 {
		return nil
	}
	seq := w.Position() + 1
	segment := s.segmentOf(seq)
	if segment == nil {
		return nil
	}
	slots := segment.From(seq)
	return slots[:min(n, uint64(len(slots)))]
}

// An interruption wakes the reader of a loop when the loop's context ends while it waits. With it
// the reader waits for one channel only. Waiting for that of the context as well takes twice as
// long, and longer if many loops share the context, whose channel all of them would have to lock.
type interruption struct {
	// state holds two flags. The reader sets waiting before it waits and clears it afterwards; the
	// end of the context sets fired. Whoever comes second sees the other's flag: either the reader
	// does not begin to wait, or it is woken.
	state atomic.Uint32

	stop func() bool   // of context.AfterFunc
	done chan struct{} // closed when what runs at the end of the context has run
}

// The flags in interruption.state.
const (
	waiting = 1 << iota
	fired
)

// interruptAt returns an interruption for the end of ctx. The caller must call its end method. The
// reader must have a spot.
func (s *Subscriber[T]) interruptAt(ctx context.Context) *interruption {
	in := &interruption{done: make(chan struct{})}
	in.stop = context.AfterFunc(ctx, func() {
		defer close(in.done)
		if in.state.Or(fired)&waiting != 0 {
			s.wake()
		}
	})
	return in
}

// parkInLoop is park for a loop. If woken is not nil, the loop must receive from it and then call
// resume. The first wait creates the interruption, if the context can end.
func (s *Subscriber[T]) parkInLoop(ctx context.Context, in **interruption) (woken <-chan struct{}) {
	done := ctx.Done() // user code
	if left := s.unsettledAtEnd(); left != nil {
		awaitEither(left, done)
		return nil
	}
	woken = s.parkForMessage()
	if woken == nil || done == nil {
		return woken
	}
	if *in == nil {
		*in = s.interruptAt(ctx)
	}
	if (*in).state.Or(waiting)&fired != 0 { // the context has ended; the loop will see that
		(*in).state.And(^uint32(waiting))
		return nil
	}
	return woken
}

// resume records that the reader of a loop does not wait any more. in may be nil.
func (s *Subscriber[T]) resume(in *interruption) {
	if in != nil {
		in.state.And(^uint32(waiting))
	}
	s.wakeNextReader()
}

// end unregisters the interruption. If it is firing at this moment, end waits until that is done.
func (in *interruption) end() {
	if in != nil && !in.stop() {
		<-in.done
	}
}
