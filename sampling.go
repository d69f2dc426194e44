package broadcast

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime/debug"

	"github.com/fbd86cad/broadcast/internal/background"
	"github.com/fbd86cad/broadcast/internal/flow"
	"github.com/fbd86cad/broadcast/internal/reservoir"
	"github.com/fbd86cad/broadcast/internal/ring"
	"github.com/fbd86cad/broadcast/internal/seglog"
)

// Sampling is the strategy of a subscription: what happens to a message that does not fit into its
// full buffer, after publishers have waited for the reader (see [WithPatience]).
type Sampling uint8

const (
	// DropOldest drops the oldest message in the buffer: the newest stay. It is the default, and
	// costs least.
	DropOldest Sampling = iota
	// DropNewest drops the new message: the oldest stay.
	DropNewest
	// DropRandom drops one of the buffered messages or the new one, each with the same
	// probability. The rest stays in order. A publisher picks for a few readers at most; the
	// broker's goroutines pick for the others. If they cannot keep up, messages that have waited
	// for a pick while a further buffer was published are dropped, the oldest first.
	DropRandom
	// Disconnect ends the subscription with [ErrSlow]. What was buffered stays readable.
	Disconnect
	// Block drops nothing: publishers of the chat wait for room, until [WithPublishTimeout] or
	// their context ends the wait.
	Block
)

// String returns the name of the strategy.
func (s Sampling) String() string {
	switch s {
	case DropOldest:
		return "DropOldest"
	case DropNewest:
		return "DropNewest"
	case DropRandom:
		return "DropRandom"
	case Disconnect:
		return "Disconnect"
	case Block:
		return "Block"
	}
	return fmt.Sprintf("Sampling(%d)", int(s))
}

// A Backlog is the buffered messages that a sampler chooses from, oldest first. It is valid until
// the sampler returns. The zero value is empty.
type Backlog[T any] struct {
	queue *ring.Queue[T]
}

// Len returns the number of messages in the backlog: the size of the buffer, one more with
// [Subscriber.Chan], plus what is left of a replay.
func (b Backlog[T]) Len() int {
	if b.queue == nil { // the zero Backlog
		return 0
	}
	return b.queue.Len()
}

// At returns message i; 0 is the oldest. It panics if i is out of range.
func (b Backlog[T]) At(i int) T { return b.queue.At(i) }

// customSampler is the strategy of a subscription with WithSampler.
const customSampler = Block + 1

// strategy returns the name of the reader's strategy.
func (s *Subscriber[T]) strategy() string {
	if s.sampling == customSampler {
		return "WithSampler"
	}
	return s.sampling.String()
}

// verdict is the result of applying a strategy.
type verdict struct {
	applied bool  // the strategy was applied; a reader may be waiting for that
	failure error // why the subscription must end; nil if the sampler did not fail

	// tracker counts the goroutine that applies the strategy. The goroutine leaves it while a
	// sampler runs, so that Close does not wait for a sampler that hangs. It is nil if Close does
	// not wait for the goroutine anyway.
	tracker *background.Tracker
}

// sampleLocked applies the strategy to all messages that were accepted before the call, if one did
// not fit. The chat's lock is held at the call and at the return, but not while the strategy runs.
// It returns false if the sampler failed. The verdict is also set if the sampler calls
// runtime.Goexit.
func (s *Subscriber[T]) sampleLocked(v *verdict) bool {
	picks := math.MaxInt
	s.sampleSomeLocked(&picks, v)
	return v.failure == nil
}

// sampleSomeLocked is sampleLocked with at most the picks that are left. It subtracts the picks of
// a piece before it applies the strategy, because a sampler may not return.
func (s *Subscriber[T]) sampleSomeLocked(left *int, v *verdict) {
	_, goal := s.headLocked()
	for *left > 0 && s.unsampledLocked() && !s.gone() {
		p := s.nextPieceLocked(min(*left, workerPicks))
		*left -= p.cost
		if !s.applyUnlocked(p, v) {
			return
		}
		s.appliedLocked(p.to)
		if p.to >= goal && s.end.Load() == nil {
			break // later messages were accepted after this call
		}
	}
}

// applyUnlocked calls apply with the chat's lock free. The lock is held again at the return, in
// whatever way the sampler returns.
func (s *Subscriber[T]) applyUnlocked(p piece[T], v *verdict) bool {
	s.busy.Store(true)
	s.chat.gate.Unlock()
	if v.tracker != nil {
		v.tracker.Leave()
	}
	defer func() {
		if v.tracker != nil {
			v.tracker.Enter()
		}
		s.chat.gate.Lock()
		s.busy.Store(false)
		v.applied = true
	}()
	s.apply(p, &v.failure)
	return v.failure == nil
}

// piece is a run of messages to be sampled: those after position after, up to position to.
type piece[T any] struct {
	queue     queue[T]
	view      *seglog.View[T]
	after, to uint64
	size      int // how many messages the queue may have
	cost      int // in picks
}

// nextPieceLocked returns the next messages to be sampled, for at most the given number of picks.
// It puts a reader in state Frozen back on the list, so that it gets messages accepted from now on;
// those accepted while it was frozen are lost.
func (s *Subscriber[T]) nextPieceLocked(most int) piece[T] {
	l, c := s.ensureLagLocked(), s.chat
	if l.queue == nil {
		l.applied, l.last = s.at.Position(), s.lastLocked()
		l.queue = newQueue[T](s.sampling)
		s.gap = 0
	}
	e, head := s.headLocked()
	size := int(s.at.Limit() - s.at.Position())
	p := piece[T]{queue: l.queue, after: l.applied, to: head, size: size}
	switch {
	case e != nil:
		p.view = e.rest
		p.after = max(p.after, p.view.Base())
	case s.at.State() == flow.Frozen:
		p.view, l.snapshot = l.snapshot, nil
		s.segment.Store(c.log.Tail())
		c.gate.Thaw(&s.at, head+s.at.Room())
	case s.at.State() == flow.Off:
		p.after = s.readableAfterLocked(head)
		p.limit(max(0, p.size-l.queue.Len()), most)
		p.view = c.log.Find(p.after + 1).View(p.to)
	default:
		p.view = s.segment.Load().View(head)
	}
	l.applied = p.to
	return p
}

// limit limits the piece to the given number of picks. free is how many messages still fit into the
// queue.
func (p *piece[T]) limit(free, most int) {
	moves := min(free, int(p.to-p.after), most*movesPerPick)
	p.cost = (moves + movesPerPick - 1) / movesPerPick
	if moves == free {
		picks := min(int(p.to-p.after)-moves, most-p.cost)
		moves, p.cost = moves+picks, p.cost+picks
	}
	p.to = p.after + uint64(moves)
}

// apply moves messages from the log to the queue and lets the strategy drop what does not fit.
// Messages beyond the view are dropped, as if by DropNewest. It stops if the sampler fails.
func (s *Subscriber[T]) apply(p piece[T], failure *error) {
	for seq := p.after + 1; seq <= min(p.to, p.view.To()); seq++ {
		if p.queue.Len() < p.size {
			p.queue.Push(seq, *p.view.At(seq))
			continue
		}
		if s.sampling == DropNewest {
			break
		}
		s.pick(p.queue, seq, p.view.At(seq), failure)
		if *failure != nil {
			return
		}
	}
}

// pick drops one message of a full queue, or the next one. If the sampler fails, pick sets failure.
func (s *Subscriber[T]) pick(full queue[T], seq uint64, next *T, failure *error) {
	n := full.Len()
	if q, ok := full.(*reservoir.Queue[T]); ok {
		if i := rand.IntN(n + 1); i < n {
			q.Replace(i, seq, *next)
		}
		return
	}
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit: the callers run only deferred functions
			*failure = &PanicError{Value: recover(), Stack: debug.Stack()}
		}
	}()
	q := full.(*ring.Queue[T])
	i := s.sampler(Backlog[T]{q}, *next)
	returned = true
	switch {
	case i < 0 || i > n:
		*failure = invalidf("sampler returned %d, want 0 to %d", i, n)
	case i < n:
		q.Replace(i, seq, *next)
	}
}

// appliedLocked counts what the strategy dropped up to a position as missed: everything that is not
// in the queue. With DropNewest, messages accepted in the meantime are dropped as well, because the
// queue was full.
func (s *Subscriber[T]) appliedLocked(to uint64) {
	l, c := s.lag, s.chat
	open := s.end.Load() == nil
	if open && s.sampling == DropNewest {
		to = c.log.Head()
		l.applied, l.snapshot = to, nil
		s.segment.Store(c.log.Tail())
	}
	dropped := to - s.at.Position() - uint64(l.queue.Len())
	s.missed += dropped
	s.at.Lose(dropped)
	if !open {
		return
	}
	switch s.at.State() {
	case flow.Frozen:
		c.gate.Thaw(&s.at, s.at.Limit()) // the next free place is for the next message
	case flow.Strained:
		c.gate.Refresh(&s.at)
	case flow.Off:
		c.updateHoldLocked(s, s.heldLocked())
	}
}
