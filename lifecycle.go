package broadcast

import (
	"context"
	"sync"
	"time"
)

// valid reports whether the broker was made by New.
func (b *Broker[T]) valid() bool { return b != nil && b.chats != nil }

var errZeroBroker = invalidf("broker was not made by New")

// Close closes the broker at once. Publish and Subscribe return [ErrBrokerClosed], and so do calls
// of Publish that are waiting. Every subscription ends with ErrBrokerClosed, and what was buffered
// stays readable. When Close returns, no goroutine of the broker is running. It returns nil and may
// be called any number of times.
//
// Close does not wait for samplers, loggers, and methods of contexts that other goroutines are
// calling for the broker; these may call Close themselves. For the subscriptions that end in this
// call, Close itself calls the logger and the contexts, at the very end.
func (b *Broker[T]) Close() error {
	if b.valid() {
		b.tearDown()
	}
	return nil
}

// Shutdown closes the broker without losing accepted messages. As soon as it begins, Publish and
// Subscribe return [ErrBrokerClosed]. Each subscription ends, with ErrBrokerClosed, when it has
// taken its last message and its last event of [WithPresence]. Shutdown blocks until all have
// ended. That includes the loop that it is called from: if messages wait for that loop, only ctx or
// [WithStallTimeout] ends the wait.
//
// Shutdown returns nil when all subscriptions have ended, ctx.Err() if ctx is done first, and
// ErrBrokerClosed if Close was called before or is called meanwhile. A nil ctx is an [ErrInvalid],
// and then the broker stays open. Otherwise the broker is closed when Shutdown returns, as by
// [Broker.Close]. It may be called any number of times.
func (b *Broker[T]) Shutdown(ctx context.Context) error {
	switch {
	case !b.valid():
		return errZeroBroker
	case ctx == nil:
		return invalidf("nil context")
	}
	ended := b.beginShutdown(ctx)
	defer func() { b.runEndHooks(ended...) }() // last, because user code may hang
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
		return ErrBrokerClosed
	}
}

// awaitDrained waits until all subscriptions have ended, the broker is closed, or ctx is done.
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

// beginShutdown makes all chats refuse messages and drain, unless that was done before. It returns
// the subscriptions that ended because they had nothing left to take. With an engine, each chat
// drains when it has what the broker has published in it, or ctx is done.
func (b *Broker[T]) beginShutdown(ctx context.Context) (all []*Subscriber[T]) {
	if !b.advanceState(stateRefusing) {
		return nil
	}
	if b.node != nil {
		b.node.Settle(ctx)
	}
	var mu sync.Mutex // of all
	drain := func(c *chat[T]) {
		ended := c.drain()
		b.signalEnd(ended...)
		mu.Lock()
		defer mu.Unlock()
		all = append(all, ended...)
	}
	var late sync.WaitGroup // a reader may hold back its chat, but no other
	for _, c := range b.chats.All() {
		if behind := c.caughtUp(); behind == nil {
			drain(c)
		} else {
			done := ctx.Done() // user code
			late.Go(func() {
				awaitEither(behind, done)
				drain(c)
			})
		}
	}
	late.Wait()
	b.count(draining)
	return all
}

// advanceState brings the broker to a later state. It returns false if it is there already.
func (b *Broker[T]) advanceState(state int32) bool {
	b.chats.Lock()
	defer b.chats.Unlock()
	if b.state.Load() >= state {
		return false
	}
	b.state.Store(state)
	return true
}

// tearDown ends everything, and returns when it has ended, also if another goroutine does the work.
func (b *Broker[T]) tearDown() {
	var all []*Subscriber[T]
	if b.advanceState(stateClosed) {
		for _, c := range b.chats.All() {
			ended := c.shut()
			b.signalEnd(ended...)
			_ = b.forget(c, nil)
			all = append(all, ended...)
		}
		if b.node != nil {
			b.node.Close(canceled())
		}
		b.agenda.Stop()
		b.distributor.Stop()
		b.background.Wait()
		close(b.ended)
	}
	<-b.ended
	// For each caller, also the later ones: if the first one hangs in a method of a context, the
	// other contexts have yet to be stopped.
	b.runEndHooks(all...)
}

// canceled returns a context that is done.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// drain makes the chat refuse messages, and its readers end when they have taken their last one. It
// returns those that have ended already.
func (c *chat[T]) drain() (ended []*Subscriber[T]) {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.closeLocked(ErrBrokerClosed)
	c.wakeFollowersLocked(time.Now())
	return c.endEachLocked(c.drainLocked)
}

// conclude is drain for EndChat, whose error it sets. The name of the chat is free when its idle
// time since then is over. If the chat is closed or was forgotten, it does nothing and returns the
// reason.
func (c *chat[T]) conclude(reason error, since time.Time) (ended []*Subscriber[T], err error) {
	c.gate.Lock()
	defer c.gate.Unlock()
	if err := c.Refusal(); err != nil {
		return nil, err
	}
	c.closeLocked(reason)
	c.idleSince = since.Sub(c.shared.began)
	c.shared.agenda.ScheduleOnTime(c, c.idleUntilLocked())
	return c.endEachLocked(c.drainLocked), nil
}

// endEachLocked calls end for the open subscriptions, and returns those for which it returned true.
// It releases the lock after each piece.
func (c *chat[T]) endEachLocked(end func(s *Subscriber[T]) bool) (ended []*Subscriber[T]) {
	if n := c.openCountLocked(); n > pieceSize { // growing a long list takes long
		c.gate.Unlock()
		ended = make([]*Subscriber[T], 0, n)
		c.gate.Lock()
	}
	c.eachReaderLocked(func(s *Subscriber[T]) {
		if end(s) {
			ended = append(ended, s)
		}
	})
	return ended
}

// shut makes the chat refuse messages and ends its readers. It returns them.
func (c *chat[T]) shut() (ended []*Subscriber[T]) {
	c.gate.Lock()
	defer c.gate.Unlock()
	c.closeLocked(ErrBrokerClosed)
	return c.endEachLocked(func(s *Subscriber[T]) bool { return c.endLocked(s, c.closed, true) })
}

// closeLocked makes the chat refuse messages with a reason. If the chat is closed already, it does
// nothing.
func (c *chat[T]) closeLocked(reason error) {
	if c.closed == nil {
		c.closed = reason
		c.gate.Nudge() // each waiter that leaves wakes the next
	}
}

// rememberedLocked reports whether a chat without readers must be kept for now.
func (c *chat[T]) rememberedLocked() bool {
	now := time.Now()
	if now.Before(c.idleUntilLocked()) {
		return true
	}
	kept, _ := c.historyLocked(now)
	return !c.endedLocked() && (kept || c.gate.Waiting() || c.presence.Absent() > 0)
}

// awaitedLocked reports whether a publisher waits in the chat. Those that have yet to leave a chat
// that has ended do not count.
func (c *chat[T]) awaitedLocked() bool { return c.closed == nil && c.gate.Waiting() }

// forget removes a chat from the registry. It returns errForgotten if that was done before, and
// ErrInUse if the chat has readers, or needed, which may be nil, returns true. needed is called
// with the chat's lock held.
func (b *Broker[T]) forget(c *chat[T], needed func() bool) error {
	b.chats.Lock()
	defer b.chats.Unlock()
	c.gate.Lock()
	defer c.gate.Unlock()
	switch {
	case c.forgotten:
		return errForgotten
	case c.openCountLocked() > 0 || needed != nil && needed():
		return ErrInUse
	}
	c.forgotten = true
	c.leaveNodeLocked()
	c.dropHistoryLocked()
	b.chats.DeleteLocked(c.name)
	b.totals.forget(chatTotals{
		books: c.ended, waits: c.gate.TakeWaits(), accepted: c.log.Head(), resets: c.numbers.Resets(),
	}, c.seen)
	return nil
}

// forgetNow forgets a chat that would otherwise be remembered. That it was forgotten before is not
// an error; ErrInUse is that of Broker.forget.
func (b *Broker[T]) forgetNow(c *chat[T], needed func() bool) error {
	if err := b.forget(c, needed); err == ErrInUse {
		return err
	}
	c.dropGraces()
	b.agenda.Schedule(c, time.Now()) // it may have been due later, and be kept in memory until then
	return nil
}

// forgottenByEngine handles that the engine has forgotten a chat. If readers came too late to
// prevent that, the chat stays in memory without its history, and they get the next chat or, if
// theirs had ended, end now.
func (b *Broker[T]) forgottenByEngine(c *chat[T]) {
	if b.forgetNow(c, nil) == ErrInUse {
		c.clear(time.Now())
		b.agenda.ScheduleOnTime(c, time.Now())
	}
}
