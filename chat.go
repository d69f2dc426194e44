package broadcast

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/internal/seglog"
	"github.com/fbd86cad/broadcast/internal/smallmap"
)

// chat is one topic: a log of messages and the readers that follow it.
//
// Lock order, of the whole package: Broker.census, registry, chat.mu, and below it the leaves parking.Lot, cleaner.mu,
// distributor.mu, tracker.mu, history.mu. No lock is held while waiting, while waking many, or while code of the user runs.
type chat[T any] struct {
	// What a publisher looks at for every message comes first: where there are many chats, each line of the processor's cache counts.

	broker *Broker[T]

	mu sync.Mutex

	closed   bool // no message and no reader is accepted any more, since Close or Shutdown
	draining bool // readers end with their last message
	dead     bool // no longer in the registry; look again
	observed bool // the cleaner will look at stallers by itself; if not, a publisher must call it

	// awaiting counts the readers that the leading publisher waits for: raised under mu for each reader that is marked, lowered
	// by whoever takes the mark away (the reader in mid-take, without mu). Whoever lowers it to 0 wakes the leader.
	awaiting atomic.Int32

	stallers int              // readers with a stall timeout
	waiters  waiterQueue[T]   // publishers that wait, the first one leading
	pressed  []*Subscriber[T] // those whose sampler the next accepted message's publisher must run

	// presence is nil while nobody follows the comings and goings: stored under mu, loaded also by publishers, to wake.
	presence atomic.Pointer[presence[T]]

	log    seglog.Log[T] // appended to under mu; its head is read by all readers
	watch  watchlist[T]  // those whose room publishers look at
	parked crowd         // the readers that wait for a message, but for those that follow presence

	name  string
	epoch uint64 // names the log; random, so that it is not that of a chat of the same name that was forgotten

	// The rest is guarded by mu, like all that is not said to be otherwise.

	readers smallmap.Map[string, *Subscriber[T]] // by device; the open ones
	stand   *stand                               // what a publisher found when the buffers were full; nil if none ever did
	history history                              // what is kept for those who come later
	absent  *absence                             // devices that may come back; nil if there are none
	held    map[uint64]int                       // buffer sizes of the readers off the list, counted: the log holds the largest for them
	past    books                                // of the subscriptions that ended

	emptySince time.Time // when the last reader left; meaningful while there is none
	due        time.Time // when the cleaner comes, zero if it will not; guarded by cleaner.mu
	dueIndex   int       // where in the cleaner's queue; guarded by cleaner.mu
}

func newChat[T any](b *Broker[T], name string) *chat[T] {
	c := &chat[T]{
		broker:     b,
		name:       name,
		epoch:      max(rand.Uint64(), 1),
		log:        seglog.New[T](uint64(b.config.historySize)),
		watch:      watchlist[T]{limit: noLimit},
		emptySince: time.Now(),
	}
	return c
}

// errDead says that the chat was forgotten between look-up and lock.
var errDead = errors.New("chat is dead")

// join adds a reader in place of the one that its device has, which it returns if there is one.
func (c *chat[T]) join(s *Subscriber[T], config *subscriptionConfig) (replaced *Subscriber[T], err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.readers.Get(s.device)
	limit := c.broker.config.maxSubscribers
	switch {
	case c.dead:
		return nil, errDead
	case c.closed:
		return nil, ErrClosed
	case old == nil && limit > 0 && c.readers.Len() >= limit:
		return nil, limitError("subscribers in a chat", limit)
	}
	c.startLocked(s, config.resume, config.replay)
	c.readers.Set(s.device, s)
	c.broker.open.Add(1)
	if old != nil {
		c.endLocked(old, ErrReplaced, false)
		c.past.replaced++
	} else {
		c.cameLocked(s.device)
	}
	if config.presence {
		c.followLocked(s)
	}
	if s.stall != nil {
		c.stallers++
	}
	c.watch.add(s, s.limit())
	c.observeLocked() // a replay may wait
	return old, nil
}

// accept appends a message, which must have room. It runs the strategies of the readers that have none, returns those whose
// subscription ended by it, and those whose sampler the publisher must run when it has unlocked.
func (c *chat[T]) acceptLocked(msg *T) (o outcome[T]) {
	if len(c.watch.full) > 0 {
		o = c.overrunLocked()
	}
	if len(c.pressed) > 0 {
		o.overrun, c.pressed = append(o.overrun, c.pressed...), nil
	}
	c.log.Append(msg)
	c.noteLocked()
	c.observeLocked()
	return o
}

// outcome is what a publisher has to do after it has unlocked the chat.
type outcome[T any] struct {
	ended   []*Subscriber[T] // to be finished
	overrun []*Subscriber[T] // to be sampled
}

// settle does what an accepted message left to do. No lock is held.
func (c *chat[T]) settle(o outcome[T]) {
	c.wake()
	if len(o.ended) > 0 {
		c.broker.finish(o.ended...)
	}
	if len(o.overrun) > 0 {
		sampleAll(o.overrun)
	}
}

// sampleAll runs samplers, all of them, even if one exits the goroutine.
func sampleAll[T any](readers []*Subscriber[T]) {
	i := 0
	defer func() {
		if i < len(readers) {
			sampleAll(readers[i+1:])
		}
	}()
	for ; i < len(readers); i++ {
		readers[i].sampleForPublisher()
	}
}

// nudgeLocked makes the leading publisher look again.
func (c *chat[T]) nudgeLocked() {
	if w := c.waiters.first(); w != nil {
		w.signal()
	}
}

// nudge is nudgeLocked for those who do not hold the lock.
func (c *chat[T]) nudge() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nudgeLocked()
}
