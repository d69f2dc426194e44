package broadcast

import (
	"github.com/fbd86cad/broadcast/internal/background"
	"github.com/fbd86cad/broadcast/internal/flow"
)

// Chan returns a channel of deliveries, for use in select and for sharing among goroutines. It
// always returns the same channel. The first call starts a goroutine that offers one message at a
// time; the message is taken when somebody receives it. Chan itself does not block.
//
// The message that is being offered does not count against the buffer, and neither does one that
// has just been received and is not counted as delivered yet. A reader that uses Chan may therefore
// have one message more pending than [WithBuffer] allows before its strategy acts. The strategy may
// drop the offered message like any other. Messages that were dropped before the first call of Chan
// stay dropped.
//
// The channel is closed promptly after any end of the subscription. Messages that were not sent by
// then can be read with [Subscriber.TryNext] if the end leaves them readable. During Shutdown the
// channel goes on delivering. Do not read with other methods while the subscription is open. If the
// first call is made inside a loop over messages, Chan continues after the messages that the loop
// has yielded, and the loop must be left.
func (s *Subscriber[T]) Chan() <-chan Delivery[T] {
	if !s.valid() {
		ch := make(chan Delivery[T])
		close(ch)
		return ch
	}
	if s.pump.Load() == nil {
		s.report() // the first call may be inside a loop over Messages
	}
	c := s.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	p := s.pump.Load()
	if p == nil {
		p = &pump[T]{s: s, out: make(chan Delivery[T]), settled: make(chan struct{})}
		s.pump.Store(p)
		p.startLocked()
	}
	return p.out
}

// pump is the goroutine behind Chan. Only it sends on the channel and closes it.
type pump[T any] struct {
	s       *Subscriber[T]
	out     chan Delivery[T]
	settled chan struct{}   // closed when the goroutine has settled all that it sent
	done    <-chan struct{} // closed at the end of the subscription

	// Guarded by the chat's lock.
	grown bool   // the limit was raised by the message that is offered
	late  uint64 // index of a message that the goroutine applying the strategy must settle, or 0

	// ended is set when the goroutine has ended the subscription itself, and must run the end hooks
	// when it leaves. Used by the goroutine alone.
	ended bool
}

func (p *pump[T]) startLocked() {
	s := p.s
	if s.end.Load() != nil {
		close(p.out)
		close(p.settled)
		return
	}
	if s.done == nil {
		s.done = make(chan struct{})
	}
	p.done = s.done
	p.makeRoomLocked()
	s.chat.shared.background.Enter()
	go p.run()
}

// makeRoomLocked raises the reader's limit, once, by the message that is offered, or was received
// and is not settled yet, so that the whole buffer is available besides. What did not fit before
// stays lost: a strategy that has yet to be applied is applied first, and its limit does not change
// while it runs.
func (p *pump[T]) makeRoomLocked() {
	s := p.s
	if p.grown || s.end.Load() != nil || s.unsampledLocked() {
		return
	}
	p.grown = true
	c := s.chat
	if lost := s.lost(c.log.Head()); lost > 0 { // DropOldest, off the list, with Slow set
		s.missed += lost
		s.gap += lost
		s.at.MoveTo(s.at.Position() + lost)
	}
	if s.at.State() == flow.Off {
		held := s.heldLocked()
		c.gate.Grow(&s.at)
		c.updateHoldLocked(s, held)
	} else {
		c.gate.Grow(&s.at)
	}
	s.progressLocked()
}

// run sends messages until the subscription ends.
func (p *pump[T]) run() {
	defer p.leave()
	s := p.s
	spot := s.spot() // before the first peek, because withdrawLocked wakes the spot
	for s.end.Load() == nil {
		d, index, ok := p.peek()
		if !ok {
			if woken := s.parkForMessage(); woken != nil {
				select {
				case <-woken:
				case <-p.done:
				}
			}
			continue
		}
		select {
		case p.out <- d:
			p.settle(d.Kind, index)
		case <-spot.Woken():
		case <-p.done:
		}
	}
}

// leave closes the channel and lets readers take what is left.
func (p *pump[T]) leave() {
	sh := p.s.chat.shared
	close(p.out)
	p.s.chat.gate.Lock()
	close(p.settled)
	p.s.releaseRestLocked()
	p.s.chat.gate.Unlock()
	p.s.wake() // for a second goroutine that reads by mistake: run may have taken its token
	sh.background.Leave()
	if p.ended {
		sh.runEndHooks(p.s)
	}
}

// exit is visit.exit for the goroutine. It leaves runEndHooks to pump.leave, when nobody waits for
// the goroutine any more.
//
// Close does not wait for the goroutine while that runs a logger.
func (p *pump[T]) exit(v *visit[T]) {
	p.ended = v.exitQuietly() || p.ended
	if v.returned {
		t := &p.s.chat.shared.background
		t.Leave()
		v.logReturn()
		t.Enter()
	}
}

// tracker returns the verdict.tracker for a visit by the goroutine.
func (p *pump[T]) tracker() *background.Tracker {
	if p.s.sampler == nil {
		return nil
	}
	return &p.s.chat.shared.background
}

// settle counts a message that was received as taken, after waiting for a strategy that is being
// applied. While it waits for a sampler, Close does not wait for the goroutine.
func (p *pump[T]) settle(kind Kind, index uint64) {
	for !p.settleReceived(kind, index) {
		woken := p.s.parkForMessage()
		if woken == nil {
			continue
		}
		if t := p.tracker(); t != nil {
			t.Leave()
			<-woken
			t.Enter()
		} else {
			<-woken
		}
	}
}

// peek returns the next message without taking it. While a strategy may drop what it finds, the
// goroutine parks first, so that the next message wakes it.
func (p *pump[T]) peek() (d Delivery[T], index uint64, ok bool) {
	s := p.s
	v, ok := s.enter()
	if !ok {
		return d, 0, false
	}
	defer p.exit(&v)
	v.tracker = p.tracker()
	if s.at.Load().Slow() {
		// With the lock held, so that no message is accepted in between, and before the strategy
		// runs without it.
		s.spot().Park()
	}
	if !s.sampleLocked(&v.verdict) {
		return d, 0, false
	}
	p.makeRoomLocked()
	if !s.at.Load().Slow() { // keep out a second goroutine that reads by mistake
		s.at.Set(flow.Slow)
		defer s.at.Clear(flow.Slow)
	}
	if s.end.Load() != nil {
		return d, 0, false
	}
	index, ok = s.peekLocked(&d)
	return d, index, ok
}

// settleReceived is settle in a single visit. It returns false if it must be called again, because
// the strategy is being applied.
func (p *pump[T]) settleReceived(kind Kind, index uint64) bool {
	s := p.s
	v, ok := s.enter()
	if !ok {
		return false
	}
	defer p.exit(&v)
	v.tracker = p.tracker()
	sampled := kind != Published || s.sampleLocked(&v.verdict)
	s.at.Set(flow.Slow) // progressLocked clears it if possible
	switch {
	case kind != Published:
		s.settleLocked(kind, index)
	case index <= s.lastLocked(): // a second goroutine has read it by mistake
	case s.busy.Load(): // implies that nothing can be taken any more
		p.late = index
	case sampled && !s.gone():
		s.settleLocked(kind, index)
	default:
		s.settleGoneLocked(index)
	}
	s.progressLocked()
	return true
}
