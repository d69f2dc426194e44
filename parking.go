package broadcast

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// inlineWakes is up to how many parked readers a publisher wakes itself; a larger crowd is the distributor's.
const inlineWakes = 256

// parking is where the readers of a chat wait for its next message.
//
// A reader parks and then looks at the head again; a publisher stores the head and then looks whether anybody is parked: one
// of the two sees the other. What wakes a reader is a token in its channel of one place; a token too many is
// harmless, because the reader looks again.
type parking[T any] struct {
	chat   *chat[T]
	queued atomic.Bool // the distributor has it: set by whoever enqueues, cleared by the worker before its last look

	// count is len(waiting)+len(leaving): stored under mu, after a reader was added; loaded by publishers, after the head
	// was stored.
	count atomic.Int32

	mu         sync.Mutex
	waiting    []*Subscriber[T] // parked
	oldest     uint64           // none of waiting parked at an earlier position than this
	called     bool             // all of waiting are to be woken, message or not
	leaving    []*Subscriber[T] // detached from waiting, to be woken
	generation uint64           // counts the detachments: a reader with an older one is no longer in waiting
}

// park adds a reader that has found nothing to take. It is added once, however often it parks.
func (p *parking[T]) park(s *Subscriber[T]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s.channelLocked()
	if s.parked && s.generation == p.generation {
		return
	}
	at := s.position()
	if len(p.waiting) == 0 || at < p.oldest {
		p.oldest = at
	}
	s.parked, s.generation, s.parkIndex = true, p.generation, int32(len(p.waiting))
	p.waiting = append(p.waiting, s)
	p.countLocked()
}

// leave removes a reader that waits no longer, for whatever reason.
func (p *parking[T]) leave(s *Subscriber[T]) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.parked && s.generation == p.generation {
		last := len(p.waiting) - 1
		moved := p.waiting[last]
		p.waiting[s.parkIndex], moved.parkIndex = moved, s.parkIndex
		p.waiting[last] = nil
		p.waiting = p.waiting[:last]
		p.countLocked()
	}
	s.parked = false
}

// prepare returns the channel that wakes a reader, which it may wait on without being parked: then [parking.call] alone wakes it.
func (p *parking[T]) prepare(s *Subscriber[T]) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return s.channelLocked()
}

func (s *Subscriber[T]) channelLocked() chan struct{} {
	if s.wake == nil {
		s.wake = make(chan struct{}, 1)
	}
	return s.wake
}

// call wakes one reader, parked or not.
func (p *parking[T]) call(s *Subscriber[T]) {
	p.leave(s)
	p.mu.Lock()
	wake := s.wake
	p.mu.Unlock()
	signal(wake) // a nil channel: it has never waited
}

// detachLocked hands the readers that a message came for to those who wake, and reports whether there are any to wake.
func (p *parking[T]) detachLocked() bool {
	if len(p.leaving) == 0 && len(p.waiting) > 0 && (p.called || p.oldest < p.chat.log.Head()) {
		p.waiting, p.leaving = p.leaving, p.waiting
		p.generation++
		p.called = false
	}
	return len(p.leaving) > 0
}

// takeLocked moves readers that are to be woken to into and returns how many.
func (p *parking[T]) takeLocked(into []*Subscriber[T]) int {
	rest := max(0, len(p.leaving)-len(into))
	n := copy(into, p.leaving[rest:])
	clear(p.leaving[rest:])
	p.leaving = p.leaving[:rest]
	p.countLocked()
	return n
}

func (p *parking[T]) countLocked() {
	p.count.Store(int32(len(p.waiting) + len(p.leaving)))
}

// wake wakes the parked readers that have something to take, or hands them over if they are a crowd.
func (p *parking[T]) wake() {
	if p.count.Load() == 0 {
		return
	}
	var batch [inlineWakes]*Subscriber[T]
	n := 0
	p.mu.Lock()
	crowd := p.detachLocked() && len(p.leaving) > inlineWakes
	if !crowd {
		n = p.takeLocked(batch[:])
	}
	p.mu.Unlock()
	if crowd {
		p.chat.broker.distributor.enqueue(p)
		return
	}
	wakeAll(batch[:n])
}

// callAll wakes all parked readers, message or not.
func (p *parking[T]) callAll() {
	if p.count.Load() == 0 {
		return
	}
	p.mu.Lock()
	p.called = len(p.waiting) > 0
	p.mu.Unlock()
	p.wake()
}

// wakeSome wakes at most a batch of readers and reports whether there are more.
func (p *parking[T]) wakeSome(batch []*Subscriber[T]) (more bool) {
	p.mu.Lock()
	p.detachLocked()
	n := p.takeLocked(batch)
	more = p.detachLocked()
	p.mu.Unlock()
	wakeAll(batch[:n])
	return more
}

// wake wakes the readers that wait for a message.
func (c *chat[T]) wake() {
	c.parking.wake()
	if p := c.presence.Load(); p != nil {
		p.parking.wake()
	}
}

// parking returns where the reader waits.
func (s *Subscriber[T]) parking() *parking[T] {
	if s.follower != nil {
		return &s.follower.presence.parking
	}
	return &s.chat.parking
}

func wakeAll[T any](readers []*Subscriber[T]) {
	for _, s := range readers {
		// The channel was made before the reader parked, under the lock that it was taken from.
		signal(s.wake)
	}
	clear(readers)
}

// signal leaves a token for whoever waits on ch, unless there is one already.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// errBusy says that somebody else has to finish first: who applies the strategy, or after the end the goroutine behind Chan.
var errBusy = errors.New("busy")

// wait waits until there may be something to take, ctx is done, or the subscription has ended.
func (s *Subscriber[T]) wait(ctx context.Context) {
	done := ctx.Done() // code of the user
	if p := s.pump.Load(); p != nil && !p.hasLeft() && s.end.Load() != nil && !s.gone() {
		select {
		case <-p.left:
		case <-done:
		}
		return
	}
	s.sleep(done)
}

// sleep parks the reader until there may be something to take, done is closed, or the subscription has ended.
func (s *Subscriber[T]) sleep(done <-chan struct{}) {
	p := s.parking()
	p.park(s)
	waits := s.end.Load() != nil || s.chat.log.Head() != s.position() || s.follower.behind()
	if s.gone() || waits && !s.busy.Load() {
		p.leave(s)
		return
	}
	// The channel was made by park and is never replaced.
	if done == nil {
		<-s.wake
	} else {
		select {
		case <-s.wake:
		case <-done:
			p.leave(s)
		}
	}
	if s.end.Load() != nil && !s.busy.Load() {
		signal(s.wake) // for another goroutine that reads the same subscription by mistake
	}
}

// giveUpPlace makes sure that a reader which stops reading holds no more of the log than it may: it may have stored its place after
// somebody had taken it away.
func (s *Subscriber[T]) giveUpPlace() {
	if s.word.Load()&slow != 0 && s.enter() {
		s.exit()
	}
}
