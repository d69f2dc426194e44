package broadcast

import (
	"context"
	"sync/atomic"
)

// interruption wakes the reader of a loop when the loop's context ends while it waits. So it waits for one channel; to wait for that of the
// context as well takes twice as long, and longer where many loops have the same context, whose channel they would all have to lock.
type interruption struct {
	// state is flags: the reader sets waiting before it waits and clears it afterwards, the end of the context sets fired. Who comes second
	// sees the other: the reader does not begin to wait, or is woken.
	state atomic.Uint32

	stop func() bool   // of context.AfterFunc
	done chan struct{} // closed when what runs at the end of the context has run
}

// The flags in interruption.state.
const (
	waiting = 1 << iota
	fired
)

// interruptAt makes an interruption at the end of ctx. It must be ended. The reader must have a spot.
func (s *Subscriber[T]) interruptAt(ctx context.Context) *interruption {
	in := &interruption{done: make(chan struct{})}
	in.stop = context.AfterFunc(ctx, func() {
		defer close(in.done)
		if in.state.Or(fired)&waiting != 0 {
			s.summoned.Add(1)
			s.call()
		}
	})
	return in
}

// parkInLoop is park for a loop, which then receives from woken, if that is not nil, and resumes. The loop has an interruption from its first
// wait on, if its context can end.
func (s *Subscriber[T]) parkInLoop(ctx context.Context, in **interruption) (woken <-chan struct{}) {
	done := ctx.Done() // code of the user
	if left := s.pumpLeaves(); left != nil {
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
	if (*in).state.Or(waiting)&fired != 0 { // the context has ended, which the loop will see
		(*in).state.And(^uint32(waiting))
		return nil
	}
	return woken
}

// resume says that the reader of a loop waits no more. in may be nil.
func (s *Subscriber[T]) resume(in *interruption) {
	if in != nil && in.state.And(^uint32(waiting))&fired != 0 {
		s.summoned.Add(-1)
	}
	s.passOn()
}

// end ends the interruption, and waits if it is just happening.
func (in *interruption) end() {
	if in != nil && !in.stop() {
		<-in.done
	}
}
