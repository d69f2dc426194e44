package broadcast

import (
	"context"
	"log/slog"
	"time"

	"github.com/fbd86cad/broadcast/internal/flow"
)

// publish accepts a message, or returns why not. With noWait it does not wait.
func (c *chat[T]) publish(ctx context.Context, msg *T) error {
	c.gate.Lock()
	if err := c.Refusal(); err != nil {
		c.gate.Unlock()
		return err
	}
	if !c.gate.Open(c.log.Head()) {
		return c.publishGated(ctx, msg)
	}
	sample := c.acceptLocked(msg)
	c.gate.Unlock()
	c.wakeReaders()
	if sample {
		c.sampleForOthers()
	}
	return nil
}

// publishGated is publish for a message that may have to wait, or for which strategies may have to
// act. The lock is held at the call, and free at the return.
func (c *chat[T]) publishGated(ctx context.Context, msg *T) error {
	a := &admission[T]{chat: c}
	defer a.runEndHooks() // also if a method of ctx panics
	if err := a.admit(ctx); err != nil {
		return err
	}
	sample := c.acceptLocked(msg)
	c.gate.Unlock()
	c.wakeReaders()
	a.Settle()
	if sample {
		c.sampleForOthers()
	}
	return nil
}

// acceptLocked appends a message for which there must be room. It reports whether laggards need
// sampling, which the caller must do when the lock is free.
func (c *chat[T]) acceptLocked(msg *T) (sample bool) {
	sample = c.log.Append(msg) >= c.sampleAt
	c.noteAcceptedLocked()
	c.armStallCheckLocked()
	return sample
}

// An admission is the attempt of a publisher to have a message admitted. With the chat it
// implements [flow.Log].
type admission[T any] struct {
	*chat[T]

	ended    []*Subscriber[T] // by strategies that acted for the publisher
	signaled int              // how many of them signalEnd was called for

	givenUp []givenUp[T] // readers to log
	others  int          // and how many more there are
}

// admit waits until the next message may be accepted. The lock is held at the call. It is held at
// the return if the error is nil, and free otherwise.
func (a *admission[T]) admit(ctx context.Context) (err error) {
	if ctx == noWait {
		if err = a.gate.TryAdmit(a); err != nil {
			a.gate.Unlock()
			a.Settle()
		}
	} else {
		err = a.wait(ctx)
	}
	if err == flow.ErrFull || err == flow.ErrTimeout {
		err = ErrOverloaded
	}
	return err
}

// wait is admit for a publisher that waits.
func (a *admission[T]) wait(ctx context.Context) error {
	returned := false
	defer func() {
		if !returned { // a method of ctx panicked, or called runtime.Goexit
			a.shared.totals.rejected.Add(1)
		}
	}()
	err := a.gate.Admit(ctx, a, a.shared.config.publishTimeout)
	returned = true
	if err != nil {
		a.settleWaits()
	}
	return err
}

// settleWaits adds a wait that ended after the chat was forgotten to the totals of the broker.
func (c *chat[T]) settleWaits() {
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.forgotten {
		t := &c.shared.totals
		t.mu.Lock()
		defer t.mu.Unlock()
		t.forgotten.waits.Add(c.gate.TakeWaits())
	}
}

// Act implements [flow.Log]: it applies the strategy of a reader without room for the next message.
// The strategies that pick only take the reader off the list; they pick later, among what the log
// holds.
func (a *admission[T]) Act(at *flow.Cursor) {
	s := at.Owner.(*Subscriber[T])
	switch s.sampling {
	case Disconnect:
		a.endLocked(s, ErrSlow, true)
		a.chat.ended.disconnected++
		a.ended = append(a.ended, s)
	case DropNewest:
		a.freezeLocked(s)
	default:
		a.detachLocked(s)
		a.withdrawLocked(s)
	}
}

// givenUp is a reader that was out of patience, with what it had pending then.
type givenUp[T any] struct {
	*Subscriber[T]
	pending uint64
}

// mostLogged is the largest number of readers that one Publish logs by name.
const mostLogged = 16

// GiveUp implements [flow.Log]: it notes that a reader is out of patience.
func (a *admission[T]) GiveUp(at *flow.Cursor, waited bool) {
	s := at.Owner.(*Subscriber[T])
	a.recordStuckLocked(s, time.Now())
	switch {
	case !waited || a.shared.config.logger == nil:
		return
	case len(a.givenUp) < mostLogged:
		a.givenUp = append(a.givenUp, givenUp[T]{s, s.statsLocked().Pending})
	default:
		a.others++
	}
	s.givenUp = true
}

// logGivenUp logs which readers are out of patience.
func (a *admission[T]) logGivenUp() {
	for _, s := range a.givenUp {
		a.shared.logEvent(slog.LevelInfo, "reader out of patience", a.name, s.device,
			slog.String("strategy", s.strategy()), slog.Uint64("pending", s.pending))
	}
	if a.others > 0 {
		a.shared.logEvent(slog.LevelInfo, "more readers out of patience", a.name, "",
			slog.Int("readers", a.others))
	}
}

// Settle implements [flow.Log]: it wakes everybody who waits for the ends of subscriptions.
func (a *admission[T]) Settle() {
	a.shared.signalEnd(a.ended[a.signaled:]...)
	a.signaled = len(a.ended)
}

// runEndHooks runs the user code that is due because subscriptions ended, and logs.
func (a *admission[T]) runEndHooks() {
	a.logGivenUp()
	if len(a.ended) > 0 {
		a.shared.runEndHooks(a.ended...)
	}
}

// Limits of sampling, in picks. Moving movesPerPick messages that fit costs as much as one pick.
const (
	publisherPicks = 16  // by one Publish or TryPublish, for all of the chat; and calls of samplers
	workerPicks    = 256 // by a worker of the distributor, before other work has its turn
	movesPerPick   = 32
)

// sampleForOthers is a publisher's share of sampling for laggards. No lock is held. Samplers have a
// budget of their own, because the distributor does not call them. Readers with DropRandom, which
// it does serve, must not use that budget up.
func (c *chat[T]) sampleForOthers() {
	if c.handOver(c.samplePiece(&c.lagging.random, publisherPicks)) {
		c.shared.distributor.Do(c.sampleForDistributor)
	}
	c.samplePiece(&c.lagging.custom, publisherPicks)
}

// handOver hands the readers with DropRandom over to the distributor if they are due, unless that
// was done already. It reports whether the caller must start the work.
func (c *chat[T]) handOver(due bool) bool {
	if !due {
		return false
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.lagging.handedOver {
		return false
	}
	c.lagging.handedOver = true
	c.armSamplingLocked()
	return true
}

// sampleForDistributor does a piece of the sampling that was handed over to the distributor. It
// returns false when none is left.
func (c *chat[T]) sampleForDistributor() (more bool) {
	if c.samplePiece(&c.lagging.random, workerPicks) {
		return true
	}
	c.gate.Lock()
	defer c.gate.Unlock()
	l := c.lagging
	l.handedOver = l.random.Earliest() <= c.log.Head()
	c.armSamplingLocked()
	return l.handedOver
}

// samplePiece samples for readers that are due, with at most the given number of picks. It reports
// whether there may be more to do. It continues if a sampler calls runtime.Goexit.
func (c *chat[T]) samplePiece(h *flow.Heap, left int) (more bool) {
	returns := false
	defer func() {
		if !returns {
			c.samplePiece(h, left)
		}
	}()
	for left > 0 {
		c.gate.Lock()
		head := c.log.Head()
		if h.Earliest() > head {
			c.armSamplingLocked()
			c.gate.Unlock()
			returns = true
			return false
		}
		s := h.First().Owner.(*Subscriber[T])
		if s.busy.Load() { // the reader itself, or another publisher, is sampling
			h.Refresh(&s.at, head+max(1, s.at.Room()/2))
			c.gate.Unlock()
			left--
			continue
		}
		s.sampleForReader(&left)
	}
	returns = true
	return true
}

// sampleForReader samples for a reader with at most the picks that are left, and subtracts those
// that it makes, at least one. The chat's lock is held at the call. It is free at the return, in
// whatever way the sampler returns.
func (s *Subscriber[T]) sampleForReader(left *int) {
	v := visit[T]{s: s}
	defer v.exit()
	before := *left
	s.sampleSomeLocked(left, &v.verdict)
	*left = min(*left, before-1)
	if s.at.State() == flow.Off {
		s.chat.lagging.of(s).Refresh(&s.at, s.dueLocked())
	}
}
