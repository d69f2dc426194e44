package broadcast

import "sync/atomic"

// Chan returns a channel of deliveries, for select and for sharing among goroutines; always the same one. It starts a
// goroutine that offers one message at a time; the message is taken when somebody receives it. The channel is closed promptly after
// any end of the subscription: what was not sent by then can still be read with [Subscriber.Next], as far as the end leaves it
// readable. During Shutdown it goes on sending. Do not read with other methods while the subscription is open.
func (s *Subscriber[T]) Chan() <-chan Delivery[T] {
	if !s.valid() {
		ch := make(chan Delivery[T])
		close(ch)
		return ch
	}
	c := s.chat
	c.mu.Lock()
	defer c.mu.Unlock()
	p := s.pump.Load()
	if p == nil {
		p = &pump[T]{s: s, out: make(chan Delivery[T]), left: make(chan struct{}), tracked: true}
		s.pump.Store(p)
		p.startLocked()
	}
	return p.out
}

// pump is the goroutine behind Chan. It alone sends on the channel, and closes it.
type pump[T any] struct {
	s       *Subscriber[T]
	out     chan Delivery[T]
	left    chan struct{}   // closed when the goroutine has settled all that it sent
	done    <-chan struct{} // closed at the end of the subscription
	tracked bool            // counted among the goroutines that Close waits for
	log     atomic.Bool     // the end is to be logged: set by whoever ended it on the way, before left; loaded by the goroutine when it leaves
}

// hasLeft reports whether a reader may go on with what is left.
func (p *pump[T]) hasLeft() bool {
	select {
	case <-p.left:
		return true
	default:
		return false
	}
}

func (p *pump[T]) startLocked() {
	s := p.s
	if s.end.Load() != nil {
		close(p.out)
		close(p.left)
		return
	}
	if s.done == nil {
		s.done = make(chan struct{})
	}
	p.done = s.done
	s.chat.broker.background.enter()
	go p.run()
}

func (p *pump[T]) run() {
	defer p.leave()
	s := p.s
	spot := s.spot()
	for s.end.Load() == nil {
		d, ok := p.peek()
		if !ok {
			if woken := s.parkForMessage(); woken != nil {
				select {
				case <-woken:
					s.passOn()
				case <-p.done:
				}
			}
			continue
		}
		// While a strategy may take away what is offered, every message wakes this goroutine to look again.
		if s.word.Load()&slow != 0 {
			spot.Park()
		}
		select {
		case p.out <- d:
			p.settle(d)
		case <-spot.Woken():
			s.passOn()
		case <-p.done:
		}
	}
}

// leave closes the channel and makes way for a reader of what is left.
func (p *pump[T]) leave() {
	b := p.s.chat.broker
	close(p.out)
	p.s.chat.mu.Lock()
	close(p.left)
	p.s.letGoLocked()
	p.s.chat.mu.Unlock()
	p.s.call() // another goroutine that reads by mistake: the token of the end may have been taken here
	if p.tracked {
		b.background.leave()
	}
	if p.log.Load() {
		b.logEnded([]*Subscriber[T]{p.s})
	}
}

// peek looks at the next message.
func (p *pump[T]) peek() (d Delivery[T], ok bool) {
	p.leaving(func() { d, ok = p.s.peek() })
	return d, ok
}

// settle takes a message that was received.
func (p *pump[T]) settle(d Delivery[T]) {
	p.leaving(func() {
		for !p.s.settleOffered(d) {
			if woken := p.s.parkForMessage(); woken != nil {
				<-woken
				p.s.passOn()
			}
		}
	})
}

// leaving runs f, which may run a sampler or wait for one: Close does not wait for one that hangs.
func (p *pump[T]) leaving(f func()) {
	if p.s.sampler == nil {
		f()
		return
	}
	background := &p.s.chat.broker.background
	p.tracked = false
	background.leave()
	f()
	background.enter()
	p.tracked = true
}

// peek returns what take would take from an open subscription.
func (s *Subscriber[T]) peek() (d Delivery[T], ok bool) {
	if !s.enter() {
		return d, false
	}
	defer s.exit()
	if !s.sampleLocked() {
		return d, false
	}
	if s.word.Load()&slow == 0 { // what is found here must not change, even if another goroutine reads, by mistake
		s.set(slow)
		defer s.clear(slow)
	}
	head := s.chat.log.Head()
	if s.end.Load() != nil {
		return d, false
	}
	if e, ok := s.nextEventLocked(s.nextSeqLocked()); ok {
		return s.tell(e), true
	}
	if head == s.position() {
		return d, false
	}
	d.Chat, d.epoch = s.chat.name, s.chat.epoch
	if b := s.backlog; b != nil && b.active {
		if b.queue.Len() > 0 {
			d.Seq, d.Message = b.queue.Oldest()
		} else {
			d.Seq, d.Message = b.applied+1, *s.slotLocked(b.applied + 1)
		}
		d.Missed = d.Seq - b.last - 1
		return d, true
	}
	lost := s.lost(head)
	d.Seq, d.Missed = s.position()+lost+1, s.gap+lost
	d.Message = *s.slotLocked(d.Seq)
	return d, true
}

// settleOffered settles a message that was received. It returns false if it must be called again, because the strategy is
// being applied.
func (s *Subscriber[T]) settleOffered(d Delivery[T]) bool {
	if !s.enter() {
		return false
	}
	defer s.exit()
	if d.Kind != Published {
		s.follower.next = s.follower.after
		return true
	}
	sampled := s.sampleLocked()
	s.set(slow)
	switch {
	case d.Seq <= s.lastLocked(): // somebody else has read it, by mistake
	case sampled && !s.gone():
		s.settleOfferedLocked(d)
	default:
		s.settleGoneLocked(d)
	}
	s.progressLocked()
	return true
}

// settleOfferedLocked moves the reader behind d. A strategy may have dropped d while it was offered: then it was delivered
// all the same, and is not missed after all.
func (s *Subscriber[T]) settleOfferedLocked(d Delivery[T]) {
	b := s.backlog
	switch {
	case b == nil || !b.active:
		s.missed += d.Seq - s.position() - 1
		s.gap = 0
		s.moveTo(d.Seq)
	case b.oldestSeq() == d.Seq:
		s.takeBacklogLocked(new(Delivery[T]))
	default:
		b.last = d.Seq
		s.missed--
	}
}

// settleGoneLocked is settleOfferedLocked for a subscription of which nothing can be taken any more: only the books matter.
func (s *Subscriber[T]) settleGoneLocked(d Delivery[T]) {
	if !s.picks() {
		s.missed += d.Seq - s.position() - 1
		s.gap = 0
		s.moveTo(d.Seq)
		return
	}
	_, head := s.headLocked()
	s.settleLostLocked(head)
	if b := s.backlog; b != nil && b.active && b.oldestSeq() != d.Seq {
		s.missed-- // the strategy had dropped it
	} else {
		s.moveTo(s.position() + 1)
	}
}
