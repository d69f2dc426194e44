package main

import (
	"fmt"
	"iter"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// A crowd is readers that work in rounds: somebody publishes a number of messages, and the round is
// over when every reader has got its share. Each checks that its messages are the next ones.
type crowd struct {
	left  atomic.Int64  // who has not finished the round
	token chan struct{} // the round is over, or has failed

	size       int64
	failure    atomic.Pointer[error] // the first one
	goroutines sync.WaitGroup
}

// roundDeadline is when a round that does not end has lost something.
const roundDeadline = time.Minute

func newCrowd() *crowd { return &crowd{token: make(chan struct{}, 1)} }

// add adds a reader whose share of each round is so many messages. It is called before the first
// round.
func (c *crowd) add(seq iter.Seq[Message], share int) { c.addWith(seq, share, nil) }

// addWith is add with something that the reader does with each message.
func (c *crowd) addWith(seq iter.Seq[Message], share int, handle func(Message)) {
	c.size++
	c.goroutines.Go(func() {
		want, left := int64(1), share
		for m := range seq {
			if m[wordSeq] != want {
				c.fail(disorder(m[wordSeq], want))
			}
			want++
			if handle != nil {
				handle(m)
			}
			if left--; left == 0 {
				left = share
				c.done()
			}
		}
	})
}

// done says that one reader has finished the round.
func (c *crowd) done() {
	if c.left.Add(-1) == 0 {
		c.finish()
	}
}

func (c *crowd) finish() {
	select {
	case c.token <- struct{}{}:
	default: // it has failed too
	}
}

func (c *crowd) fail(err error) {
	if c.failure.CompareAndSwap(nil, &err) {
		c.finish()
	}
}

func (c *crowd) err() error {
	if err := c.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// round is one round.
func (c *crowd) round(say func()) {
	c.left.Store(c.size)
	say()
	<-c.token
}

// time returns how long a round takes: it warms up, at least so many rounds, then measures for as
// long as the plan says.
func (c *crowd) time(plan Plan, warm int, say func()) (perRound time.Duration, err error) {
	rounds, err := c.warmUp(plan, warm, say)
	if err != nil {
		return 0, err
	}
	took, err := c.repeat(rounds, say)
	return took / time.Duration(rounds), err
}

// warmUp does at least so many rounds, and returns how many take as long as the plan says.
func (c *crowd) warmUp(plan Plan, atLeast int, say func()) (rounds int, err error) {
	watchdog := c.watch()
	defer watchdog.Stop()
	began := time.Now()
	n := 0
	for ; (n < atLeast || time.Since(began) < plan.Sample/5) && c.failure.Load() == nil; n++ {
		c.round(say)
	}
	took := time.Since(began)
	runtime.GC() // of what joining has left behind
	return max(1, int(float64(n)*float64(plan.Sample)/float64(took+1))), c.err()
}

// repeat does so many rounds and returns how long they took.
func (c *crowd) repeat(rounds int, say func()) (time.Duration, error) {
	watchdog := c.watch()
	defer watchdog.Stop()
	began := time.Now()
	for i := 0; i < rounds && c.failure.Load() == nil; i++ {
		c.round(say)
	}
	return time.Since(began), c.err()
}

// watch ends a round that does not end by itself.
func (c *crowd) watch() *time.Timer {
	return time.AfterFunc(roundDeadline, func() {
		c.fail(fmt.Errorf("after %v, %d of %d readers still wait for messages: %w", roundDeadline, c.left.Load(), c.size, errOrder))
	})
}

// leave waits until the loops have ended, which the end of the bus has told them to do.
func (c *crowd) leave() error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.goroutines.Wait()
	}()
	select {
	case <-ended:
		return c.err()
	case <-time.After(roundDeadline):
		return fmt.Errorf("after %v some loops have not ended", roundDeadline)
	}
}
