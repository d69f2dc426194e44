package broadcast

import (
	"context"
	"runtime"
	"time"
)

// maxExtension is the longest that publishers wait for readers before their strategies act, however often the patience was
// extended because the processor was short.
const maxExtension = time.Second

// stand is what the publishers that reached the limit know of the head where they stand. Guarded by the chat's lock.
type stand struct {
	head     uint64    // where they stand; another head is another stand
	begun    bool      // false until anybody ever stood
	since    time.Time // when the first of them came, whether or not it still waits
	deadline time.Time // when patience is over
	yielded  bool      // the processor was yielded at this deadline
}

// waiter is a publisher that waits for room. Guarded by the chat's lock, but for ready.
type waiter struct {
	ready      chan struct{} // one token: look again
	led        bool          // it has been the first one and has looked after the readers
	next, prev *waiter
}

func (w *waiter) signal() { signal(w.ready) }

// waiterQueue is the publishers of a chat that wait, in the order in which they came. The first one leads: it looks after the readers, and
// hands on to the next when it has been accepted or gives up. Nobody who came later overtakes.
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

// publish accepts a message or says why not. With a nil ctx it does not wait.
func (c *chat[T]) publish(ctx context.Context, msg T) error {
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
	if ctx == nil {
		c.mu.Unlock()
		return ErrOverloaded
	}
	w := &waiter{ready: make(chan struct{}, 1), led: c.waiters.first() == nil}
	c.waiters.push(w)
	c.mu.Unlock()
	c.wake() // the readers that publishers wait for must not sleep
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
func (c *chat[T]) wait(ctx context.Context, w *waiter, msg T) error {
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
		canceled := ctx.Err() // code of the user: before the lock
		o, done, err := c.attempt(w, msg, canceled, overtime)
		if done {
			c.settle(o)
			return err
		}
	}
}

// timerAt returns a timer for a moment, nothing for the zero one: a publisher that waits for ever must not keep a clock running.
func timerAt(t time.Time) (*time.Timer, <-chan time.Time) {
	if t.IsZero() {
		return nil, nil
	}
	timer := time.NewTimer(time.Until(t))
	return timer, timer.C
}

// lookAgain returns when the waiter must look again if nobody wakes it: at the end of patience if it leads, at overtime in any case.
func (c *chat[T]) lookAgain(w *waiter, overtime time.Time) time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	next := overtime
	if c.waiters.first() == w && c.stand.begun && c.stand.head == c.log.Head() {
		if d := c.stand.deadline; time.Now().Before(d) && (next.IsZero() || d.Before(next)) {
			next = d
		}
	}
	return next
}

// attempt accepts the message if it is its turn and there is room; done says that the waiter has left the queue.
func (c *chat[T]) attempt(w *waiter, msg T, canceled error, overtime time.Time) (o outcome[T], done bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	if canceled == nil && c.waiters.first() == w {
		c.yieldLocked(now)
	}
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

// yieldLocked yields the processor once when patience is over. If a reader that is waited for arrived meanwhile, the
// processor was short and not the reader: patience begins again, up to maxExtension in all. The lock is released meanwhile.
func (c *chat[T]) yieldLocked(now time.Time) {
	st := &c.stand
	if st.head != c.log.Head() || st.yielded || now.Before(st.deadline) || c.broker.config.patience == 0 {
		return
	}
	st.yielded = true
	stand, before := *st, c.watch.progress()
	c.mu.Unlock()
	runtime.Gosched()
	c.mu.Lock()
	extended := st.deadline.Add(c.broker.config.patience)
	if *st == stand && c.watch.progress() != before && extended.Sub(st.since) <= maxExtension {
		st.deadline, st.yielded = extended, false
	}
}

// leadLocked is roomLocked for the leading waiter, which waits for the readers that it found full itself.
func (c *chat[T]) leadLocked(w *waiter, now time.Time) bool {
	if !w.led {
		w.led = true
		c.forgiveLocked()
	}
	return c.roomLocked(now)
}

// forgiveLocked puts the readers back that another publisher found full and that have room by now: it is not for this one to wait until
// they are half empty.
func (c *chat[T]) forgiveLocked() {
	for i := len(c.watch.full) - 1; i >= 0; i-- { // backwards, because readers leave
		if s := c.watch.full[i]; c.log.Head()-s.position() < s.buffer {
			c.backLocked(s)
		}
	}
}

// roomLocked reports whether the next message may be accepted now. If not, it has marked the readers that must make room first,
// and the last of them to do so wakes the leading publisher.
func (c *chat[T]) roomLocked(now time.Time) bool {
	l, head := &c.watch, c.log.Head()
	for l.earliest() <= head {
		c.lookLocked(l.due[0].reader, head)
	}
	if len(l.full) == 0 {
		l.limit = l.earliest()
		return true
	}
	l.limit = head
	if st := &c.stand; !st.begun || st.head != head {
		*st = stand{head: head, begun: true, since: now, deadline: now.Add(c.broker.config.patience)}
	}
	over := !now.Before(c.stand.deadline)
	room := c.decideAllLocked(head, over)
	for !room && c.awaiting.Load() == 0 {
		room = c.decideAllLocked(head, over) // the last of them arrived before there was a leader to wake
	}
	if len(l.full) == 0 {
		l.limit = l.earliest()
	}
	return room
}

// decideAllLocked reports whether all readers that were full let the next message pass.
func (c *chat[T]) decideAllLocked(head uint64, over bool) bool {
	room := true
	for i := len(c.watch.full) - 1; i >= 0; i-- { // backwards, because readers leave
		if !c.decideLocked(c.watch.full[i], head, over) {
			room = false
		}
	}
	return room
}

// lookLocked looks at a reader that was last seen to have room up to the head: it has more, or it is full, or it is due for its sampler.
func (c *chat[T]) lookLocked(s *Subscriber[T], head uint64) {
	if s.overrun {
		c.pressLocked(s, head)
		return
	}
	if due := s.position() + s.buffer; due > head {
		c.watch.refresh(s, due)
		return
	}
	c.watch.fill(s)
}

// decideLocked reports whether a reader that was full lets the next message pass: because it has made room, or because its strategy may
// act. The first match decides.
func (c *chat[T]) decideLocked(s *Subscriber[T], head uint64, over bool) bool {
	for {
		w := s.word.Load()
		pending := head - w>>flagBits
		switch {
		case pending <= s.buffer/2:
			c.backLocked(s)
			return true
		case !s.spent && !over: // in the hope of half a buffer
			if w&awaited != 0 {
				return false
			}
			c.awaiting.Add(1)
			if s.word.CompareAndSwap(w, w|awaited) {
				return false
			}
			c.releaseAwaitedLocked()
		case !s.spent:
			if !s.word.CompareAndSwap(w, w|slow) {
				continue // it took something meanwhile
			}
			s.spent = true
			c.unawaitLocked(s)
			if s.sampling == DropOldest {
				c.offLocked(s)
				return true
			}
		case pending < s.buffer:
			c.backLocked(s)
			return true
		case s.sampling != Block:
			return true // it stays full, its strategy acts at acceptance
		default: // spent, hence slow: it takes only under the lock
			if !s.blocking {
				s.blocking = true
				c.awaiting.Add(1)
			}
			return false
		}
	}
}

// backLocked puts a full reader that has room back on the list.
func (c *chat[T]) backLocked(s *Subscriber[T]) {
	c.unawaitLocked(s)
	c.watch.remove(s)
	c.watch.add(s, s.position()+s.buffer)
}

// offLocked takes a DropOldest reader off the list that has used up its patience. From now on it costs publishers nothing, and holds
// nothing of the log by itself: at its next read it jumps to the oldest message that it may still have.
func (c *chat[T]) offLocked(s *Subscriber[T]) {
	c.watch.remove(s)
	s.place = placeOff
	c.holdLocked(s.buffer, s.segment.Swap(nil))
	c.withdrawLocked(s)
}

// withdrawLocked tells the goroutine behind Chan that what it offers may be dropped from now on.
func (c *chat[T]) withdrawLocked(s *Subscriber[T]) {
	if s.out != nil {
		c.parking.call(s)
	}
}

// unawaitLocked takes the marks of a publisher's waiting from a reader.
func (c *chat[T]) unawaitLocked(s *Subscriber[T]) {
	if s.blocking {
		s.blocking = false
		c.releaseAwaitedLocked()
	}
	if s.clear(awaited) {
		c.releaseAwaitedLocked()
	}
}

// releaseAwaitedLocked is releaseAwaited for the holder of the lock.
func (c *chat[T]) releaseAwaitedLocked() {
	if c.awaiting.Add(-1) == 0 {
		c.nudgeLocked()
	}
}

// progress sums up how far the full readers are, to be compared with itself.
func (l *watchlist[T]) progress() (sum uint64) {
	for _, s := range l.full {
		sum += s.position()
	}
	return sum - uint64(len(l.full))
}
