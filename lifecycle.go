package broadcast

import (
	"context"
	"sync"
	"time"
)

// Close ends the broker now: Publish and Subscribe are refused, waiting publishers get [ErrClosed], every subscription ends
// with ErrClosed, and what was buffered stays readable. When it returns, nothing of the broker runs any more. It returns
// nil, any number of times.
func (b *Broker[T]) Close() error {
	if b.valid() {
		b.tearDown()
	}
	return nil
}

// Shutdown ends the broker without losing what it has accepted: from its first moment Publish and Subscribe are refused with
// [ErrClosed], and each subscription ends, with ErrClosed, when it has taken its last message. It waits for all of them.
//
// It returns nil when all have taken their last message; ctx.Err() if ctx ends first; ErrClosed if Close comes meanwhile or
// came before. In any case the broker is closed when it returns, as by [Broker.Close]. It may be called any number of times.
func (b *Broker[T]) Shutdown(ctx context.Context) error {
	switch {
	case !b.valid():
		return errZeroBroker
	case ctx == nil:
		return invalidf("nil context")
	}
	var ended []*Subscriber[T]
	b.refused.Do(func() { ended = b.refuse() })
	defer func() { b.logEnded(ended) }() // last: a logger that hangs holds up nobody else
	var err error
	select {
	case <-b.ended:
	default:
		err = b.awaitDrained(ctx)
	}
	b.tearDown()
	if err != nil {
		return err
	}
	select {
	case <-b.drained:
		return nil
	default:
		return ErrClosed
	}
}

// awaitDrained waits until all subscriptions have ended, or the broker has.
func (b *Broker[T]) awaitDrained(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-b.drained:
	case <-b.ended:
	case <-ctx.Done():
		select {
		case <-b.drained:
		default:
			return ctx.Err()
		}
	}
	return nil
}

// refuse makes all chats refuse and drain, and returns the subscriptions that have ended by that.
func (b *Broker[T]) refuse() (all []*Subscriber[T]) {
	if !b.advance(stateRefusing) {
		return nil
	}
	for _, c := range b.chats.All() {
		ended := c.drain()
		b.announce(ended)
		all = append(all, ended...)
	}
	if b.advance(stateDraining) && b.open.Load() == 0 {
		b.emptied.Do(func() { close(b.drained) })
	}
	return all
}

// left counts a subscription that has ended.
func (b *Broker[T]) left() {
	// The state after the count, as refuse loads the count after the state: one of the two sees the other.
	if b.open.Add(-1) == 0 && b.state.Load() == stateDraining {
		b.emptied.Do(func() { close(b.drained) })
	}
}

// advance brings the broker to a later state, if it is not there yet.
func (b *Broker[T]) advance(state int32) bool {
	b.chats.Lock()
	defer b.chats.Unlock()
	if b.state.Load() >= state {
		return false
	}
	b.state.Store(state)
	return true
}

// tearDown ends everything and waits until it has ended, also if somebody else is at it.
func (b *Broker[T]) tearDown() {
	if !b.advance(stateClosed) {
		<-b.ended
		return
	}
	var all []*Subscriber[T]
	for _, c := range b.chats.All() {
		ended := c.shut()
		b.announce(ended)
		b.forget(c)
		all = append(all, ended...)
	}
	b.cleaner.stop()
	b.distributor.stop()
	b.background.wait()
	close(b.ended)
	b.logEnded(all)
}

// drain makes the chat refuse, and its readers end with their last message. It returns those that have ended already.
func (c *chat[T]) drain() (ended []*Subscriber[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed, c.draining = true, true
	for _, s := range c.readers.All() {
		s.set(slow)
		if s.position() == c.log.Head() && c.endLocked(s, ErrClosed, true) {
			ended = append(ended, s)
		}
	}
	c.nudgeLocked() // each waiter that leaves nudges the next
	return ended
}

// shut makes the chat refuse and ends its readers.
func (c *chat[T]) shut() (ended []*Subscriber[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, s := range c.readers.All() {
		if c.endLocked(s, ErrClosed, true) {
			ended = append(ended, s)
		}
	}
	c.nudgeLocked() // each waiter that leaves nudges the next
	return ended
}

// rememberedLocked reports whether a chat without readers is to be kept for now.
func (c *chat[T]) rememberedLocked(now time.Time) bool {
	kept, _ := c.historyLocked(now)
	idle := c.emptySince.Add(c.broker.config.chatIdle)
	return kept || now.Before(idle) || c.waiters.first() != nil || len(c.absent.gone()) > 0
}

// forget removes a chat from the registry if nobody needs it or the broker is closed, and reports whether it did.
func (b *Broker[T]) forget(c *chat[T]) bool {
	b.census.Lock()
	defer b.census.Unlock()
	b.chats.Lock()
	defer b.chats.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead || c.readers.Len() > 0 || c.rememberedLocked(time.Now()) && !c.closed {
		return false
	}
	c.dead = true
	b.chats.DeleteLocked(c.name)
	b.past.mu.Lock()
	defer b.past.mu.Unlock()
	b.past.books.add(c.past)
	b.past.accepted += c.log.Head()
	return true
}

// tracker counts goroutines that come and go, to wait for them. Unlike a [sync.WaitGroup] it may be entered while somebody waits: a
// goroutine leaves while it runs code of the user that may hang, and enters again.
type tracker struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n becomes 0; nil while nobody waits
}

func (t *tracker) enter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
}

func (t *tracker) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 && t.zero != nil {
		close(t.zero)
		t.zero = nil
	}
}

// wait waits until nobody is in.
func (t *tracker) wait() {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.zero == nil {
		t.zero = make(chan struct{})
	}
	zero := t.zero
	t.mu.Unlock()
	<-zero
}
