package broadcast

import (
	"context"
	"time"
)

// waiter is a publisher that waits for room. Guarded by the chat's lock, but for ready.
type waiter struct {
	ready      chan struct{} // one token: look again
	led        bool          // it has been the first one and has looked after the readers
	next, prev *waiter
}

func (w *waiter) signal() { signal(w.ready) }

// waiterQueue is the publishers of a chat that wait, in the order in which they came. The first one leads: it looks after
// the readers, and hands on to the next when it has been accepted or gives up. Nobody who came later overtakes.
type waiterQueue[T any] struct {
	head, tail *waiter
}

func (q *waiterQueue[T]) first() *waiter { return q.head }

func (q *waiterQueue[T]) push(w *waiter) {
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next, w.prev = w, q.tail
	}
	q.tail = w
}

// remove takes a waiter out and, if it led, makes the next one lead.
func (q *waiterQueue[T]) remove(w *waiter) {
	led := q.head == w
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.head = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.tail = w.prev
	}
	if led && q.head != nil {
		q.head.signal()
	}
}

// publish accepts a message or says why not. With noWait it does not wait.
func (c *chat[T]) publish(ctx context.Context, msg *T) error {
	c.mu.Lock()
	if err := c.refusalLocked(); err != nil {
		c.mu.Unlock()
		return err
	}
	wait := c.waiters.first() != nil
	if !wait && c.log.Head() >= c.watch.limit {
		c.forgiveLocked()
		wait = !c.roomLocked(time.Now())
	}
	if !wait {
		o := c.acceptLocked(msg)
		c.mu.Unlock()
		c.settle(o)
		return nil
	}
	if ctx == noWait {
		c.mu.Unlock()
		return ErrOverloaded
	}
	w := &waiter{ready: make(chan struct{}, 1), led: c.waiters.first() == nil}
	c.waiters.push(w)
	asleep := c.asleepLocked()
	c.mu.Unlock()
	for _, spot := range asleep {
		spot.Wake()
	}
	return c.wait(ctx, w, msg)
}

// refusalLocked says why the chat accepts nothing at all.
func (c *chat[T]) refusalLocked() error {
	switch {
	case c.dead:
		return errDead
	case c.closed:
		return ErrClosed
	}
	return nil
}

// wait waits in the queue until the message is accepted or the wait is over.
func (c *chat[T]) wait(ctx context.Context, w *waiter, msg *T) error {
	queued := true
	defer func() {
		if queued { // code of the user, in ctx, has panicked or exited the goroutine
			c.abandon(w)
		}
	}()
	var overtime time.Time // never, if zero
	if d := c.broker.config.publishTimeout; d > 0 {
		overtime = time.Now().Add(d)
	}
	for {
		timer, due := timerAt(c.lookAgain(w, overtime))
		select {
		case <-w.ready:
		case <-due:
		case <-ctx.Done():
		}
		if timer != nil {
			timer.Stop()
		}
		now := c.yield(w)
		canceled := ctx.Err() // code of the user: before the lock, and after all waiting
		o, done, err := c.attempt(w, msg, now, canceled, overtime)
		if done {
			queued = false
			c.settle(o)
			return err
		}
	}
}

// abandon takes out of the queue who will not come back to it.
func (c *chat[T]) abandon(w *waiter) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiters.remove(w)
	c.broker.past.rejected.Add(1)
}

// timerAt returns a timer for a moment, nothing for the zero one: a publisher that waits for ever must not keep a clock running.
func timerAt(t time.Time) (*time.Timer, <-chan time.Time) {
	if t.IsZero() {
		return nil, nil
	}
	timer := time.NewTimer(time.Until(t))
	return timer, timer.C
}

// lookAgain returns when the waiter must look again if nobody wakes it: at the end of patience if it leads, at overtime in
// any case.
func (c *chat[T]) lookAgain(w *waiter, overtime time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := overtime
	if st := c.stand; c.waiters.first() == w && st != nil && st.head == c.log.Head() {
		ahead := time.Now().Before(st.deadline) || !st.yielded && c.broker.config.patience > 0
		if ahead && (next.IsZero() || st.deadline.Before(next)) {
			next = st.deadline
		}
	}
	return next
}

// attempt accepts the message if it is its turn and there is room; done says that the waiter has left the queue.
func (c *chat[T]) attempt(w *waiter, msg *T, now time.Time, canceled error, overtime time.Time) (o outcome[T], done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch err := c.refusalLocked(); {
	case err != nil:
		c.waiters.remove(w)
		return o, true, err
	case canceled != nil:
		c.waiters.remove(w)
		return o, true, canceled
	case c.waiters.first() == w && c.leadLocked(w, now):
		o = c.acceptLocked(msg)
		c.waiters.remove(w)
		return o, true, nil
	case !overtime.IsZero() && !now.Before(overtime):
		c.waiters.remove(w)
		return o, true, ErrOverloaded
	}
	return o, false, nil
}
