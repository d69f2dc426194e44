package broadcast

import (
	"context"
	"time"
)

// interruption wakes the reader of a loop when the loop's context ends. So it waits for one channel; to wait for that of the context as well
// takes twice as long, and longer where many loops have the same context, whose channel they would all have to lock.
type interruption struct {
	stop func() bool   // of context.AfterFunc
	over chan struct{} // closed by the reader: the loop has ended
	done chan struct{} // closed when nothing runs any more, if the context ended before the loop
}

// interruptAgain is when a loop is woken again that has not ended.
const interruptAgain = time.Second

// interruptAt wakes the reader when ctx ends, until the interruption is ended. The reader must have a spot.
func (s *Subscriber[T]) interruptAt(ctx context.Context) *interruption {
	over, done := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		for {
			s.call()
			select {
			case <-over:
				return
			case <-time.After(interruptAgain): // another goroutine may have got the token, which reads by mistake
			}
		}
	})
	return &interruption{stop, over, done}
}

// end ends the interruption and waits for it; there may be none.
func (in *interruption) end() {
	if in == nil {
		return
	}
	close(in.over)
	if !in.stop() {
		<-in.done
	}
}
