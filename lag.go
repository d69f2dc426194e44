package broadcast

import (
	"github.com/fbd86cad/broadcast/internal/flow"
	"github.com/fbd86cad/broadcast/internal/reservoir"
	"github.com/fbd86cad/broadcast/internal/ring"
	"github.com/fbd86cad/broadcast/internal/seglog"
)

// lag is the backlog of a reader that has fallen behind, with a strategy that picks: DropNewest,
// DropRandom, or a sampler. Readers that keep up have none. It is guarded by the chat's lock; while
// Subscriber.busy is set, queue belongs to the goroutine that applies the strategy.
//
// What the reader may still take is queue, followed by the log after applied. The queue is filled
// lazily, some time after the first message that did not fit was accepted.
type lag[T any] struct {
	queue    queue[T]        // nil: the reader takes from the log alone
	applied  uint64          // messages up to it are in queue, taken, missed, or being sampled
	last     uint64          // index of the message taken last, or that preceded the subscription
	held     uint64          // how many messages the log holds for a reader that is off the list
	snapshot *seglog.View[T] // what a reader in state Frozen still has of the log
}

// A queue is a reservoir.Queue with DropRandom, else a ring.Queue.
type queue[T any] interface {
	Len() int
	Push(seq uint64, v T)
	Oldest() (seq uint64, v T)
	Pop() (seq uint64, v T)
}

func newQueue[T any](s Sampling) queue[T] {
	if s == DropRandom {
		return new(reservoir.Queue[T])
	}
	return new(ring.Queue[T])
}

// picked reports whether the strategy has selected what the reader may take.
func (l *lag[T]) picked() bool { return l != nil && l.queue != nil }

// oldest returns the index of the next message from the queue or, if that is empty, from the log.
func (l *lag[T]) oldest() uint64 {
	if l.queue.Len() == 0 {
		return l.applied + 1
	}
	seq, _ := l.queue.Oldest()
	return seq
}

// picks reports whether the strategy is one that selects among buffered messages.
func (s *Subscriber[T]) picks() bool {
	return s.sampling == DropNewest || s.sampling == DropRandom || s.sampling == customSampler
}

// ensureLagLocked returns the reader's lag, allocating it if necessary.
func (s *Subscriber[T]) ensureLagLocked() *lag[T] {
	if s.lag == nil {
		s.lag = new(lag[T])
	}
	return s.lag
}

// loseOldestLocked counts the oldest message of a backlog that the strategy has picked as missed.
func (s *Subscriber[T]) loseOldestLocked() {
	if l := s.lag; l.queue.Len() > 0 {
		l.queue.Pop()
	} else {
		l.applied++
	}
	s.missed++
	s.at.MoveTo(s.at.Position() + 1)
}

// reachedLocked returns the position up to which the reader does not need the log any more.
func (s *Subscriber[T]) reachedLocked() uint64 {
	if s.lag.picked() {
		return s.lag.applied
	}
	return s.at.Position()
}

// neededLocked returns how many messages the log must hold for a reader that is off the list. With
// DropOldest, that is the size of its buffer. With a strategy that picks, it is what can still be
// sampled into the buffer, and a further buffer to allow time for that.
func (s *Subscriber[T]) neededLocked() uint64 {
	if s.sampling == DropOldest {
		return s.at.Room()
	}
	n := s.at.Limit() - s.at.Position() + s.at.Room()
	if s.lag.picked() {
		n -= uint64(s.lag.queue.Len())
	}
	return n
}

// readableAfterLocked returns the position after which the log has what a reader off the list may
// still need: its own position, or a later one if the log has released messages beyond it.
func (s *Subscriber[T]) readableAfterLocked(head uint64) uint64 {
	return max(s.reachedLocked(), head-min(head, s.heldLocked()), s.chat.log.Base())
}

// heldLocked returns how many messages the log holds for a reader that is off the list.
func (s *Subscriber[T]) heldLocked() uint64 {
	if s.sampling == DropOldest {
		return s.at.Room()
	}
	return s.lag.held
}

// detachLocked takes a reader off the list. From now on it costs publishers nothing and pins no
// segment: the log holds what it needs, and its next read continues with what is left of that.
func (c *chat[T]) detachLocked(s *Subscriber[T]) {
	c.gate.TakeOff(&s.at, false)
	needed := s.neededLocked()
	c.log.Hold(needed, s.segment.Swap(nil))
	if s.picks() {
		s.ensureLagLocked().held = needed
		c.addLaggardLocked(s)
	}
}

// reattachLocked puts a reader that was off the list back.
func (c *chat[T]) reattachLocked(s *Subscriber[T]) {
	segment := c.log.Find(s.reachedLocked() + 1)
	if segment == nil {
		segment = c.log.Tail()
	}
	c.releaseHoldLocked(s)
	s.segment.Store(segment)
	c.gate.Return(&s.at)
}

// releaseHoldLocked ends what detachLocked began, for a reader that returns to the list or has
// ended.
func (c *chat[T]) releaseHoldLocked(s *Subscriber[T]) {
	c.log.Release(s.heldLocked())
	if s.picks() {
		s.lag.held = 0
		c.removeLaggardLocked(s)
	}
}

// updateHoldLocked makes the log hold what a reader off the list needs now. held is what it held
// before.
func (c *chat[T]) updateHoldLocked(s *Subscriber[T], held uint64) {
	needed := s.neededLocked()
	if needed == held {
		return
	}
	c.log.Hold(needed, nil)
	c.log.Release(held)
	if s.picks() {
		s.lag.held = needed
	}
}

// freezeLocked takes a reader with DropNewest off the list. It keeps a snapshot of what it has, and
// gets nothing more until it reads.
func (c *chat[T]) freezeLocked(s *Subscriber[T]) {
	c.gate.TakeOff(&s.at, true)
	s.ensureLagLocked().snapshot = s.segment.Swap(nil).View(c.log.Head())
}

// laggards are the readers of a chat that are off the list and whose strategy picks among new
// messages, ordered by the head at which they need sampling next. Guarded by the chat's lock.
//
// A publisher does a bounded amount of sampling. What is left for DropRandom is handed to the
// distributor. What is left for samplers waits for the next publisher or for the reader itself,
// because samplers are user code.
type laggards[T any] struct {
	random     flow.Heap // readers with DropRandom
	custom     flow.Heap // readers with WithSampler
	handedOver bool      // the distributor works on random
}

// of returns the heap that the reader belongs to.
func (l *laggards[T]) of(s *Subscriber[T]) *flow.Heap {
	if s.sampling == DropRandom {
		return &l.random
	}
	return &l.custom
}

// dueLocked returns the head at which a laggard needs sampling. A custom sampler runs at once, so
// that its effects are seen when they happen.
func (s *Subscriber[T]) dueLocked() uint64 {
	if s.sampling == DropRandom {
		return s.at.Limit() + max(1, s.at.Room()/2)
	}
	return s.at.Limit() + 1
}

// addLaggardLocked adds a reader to the laggards.
func (c *chat[T]) addLaggardLocked(s *Subscriber[T]) {
	if c.lagging == nil {
		c.lagging = new(laggards[T])
	}
	c.lagging.of(s).Add(&s.at, s.dueLocked())
	c.armSamplingLocked()
}

// removeLaggardLocked removes a reader from the laggards.
func (c *chat[T]) removeLaggardLocked(s *Subscriber[T]) {
	c.lagging.of(s).Remove(&s.at)
	c.armSamplingLocked()
}

// armSamplingLocked sets the head at which publishers sample for laggards next.
func (c *chat[T]) armSamplingLocked() {
	l := c.lagging
	c.sampleAt = l.custom.Earliest()
	if !l.handedOver {
		c.sampleAt = min(c.sampleAt, l.random.Earliest())
	}
}
