package broadcast

import "github.com/fbd86cad/broadcast/internal/seglog"

// take takes the next message. If there is none, ok is false, and err is the reason if the subscription has ended.
//
// The fast path is this: look at the head, read the slot, advance the word. It takes no lock, because a slot below the head never
// changes, and it holds for all readers that follow the log within their buffer.
func (s *Subscriber[T]) take(d *Delivery[T]) (ok bool, err error) {
	for {
		// The word before the head: a head that an end has not seen does not go with a word that has no slow. The head
		// before the events: what was told since comes after it.
		w := s.word.Load()
		position, head := w>>flagBits, s.chat.log.Head()
		if w&slow != 0 || s.follower.behind() {
			return s.takeSlow(d)
		}
		if position == head {
			return false, nil
		}
		segment := s.segmentOf(position + 1)
		if segment == nil || !s.advance(w, 1, head) {
			continue // an end, a strategy, or a second reader came between
		}
		d.Chat, d.epoch, d.Seq, d.Missed = s.chat.name, s.chat.epoch, position+1, 0
		d.Kind, d.Device, d.Message = Published, "", *segment.At(position + 1)
		return true, nil
	}
}

// takeMore takes what is there, as far as it fits.
func (s *Subscriber[T]) takeMore(into []Delivery[T]) (n int) {
	for n < len(into) {
		if ok, _ := s.take(&into[n]); !ok {
			break
		}
		n++
	}
	return n
}

// advance settles n messages in one step, if the word is still w. If this makes the reader half empty, it tells the
// publisher that waits for it.
func (s *Subscriber[T]) advance(w, n, head uint64) bool {
	next := w + n*one
	arrived := w&awaited != 0 && head-next>>flagBits <= s.buffer/2
	if arrived {
		next &^= awaited
	}
	if !s.word.CompareAndSwap(w, next) {
		return false
	}
	if arrived {
		s.chat.releaseAwaited()
	}
	return true
}

// segmentOf returns the segment that holds seq, which is the next one, and notes it as the reader's place. It returns nil
// if the reader has lost its place, which is to be seen in the word.
func (s *Subscriber[T]) segmentOf(seq uint64) *seglog.Segment[T] {
	at := s.segment.Load()
	if at == nil || at.Holds(seq) {
		return at
	}
	if at = at.Find(seq); at != nil {
		s.segment.Store(at)
	}
	return at
}

// takeSlow takes the next message under the chat's lock: for a reader that ended, was overrun, has used up its patience, or
// is asked to report.
func (s *Subscriber[T]) takeSlow(d *Delivery[T]) (ok bool, err error) {
	if !s.enter() {
		return false, errBusy
	}
	defer s.exit()
	if p := s.pump.Load(); p != nil && s.end.Load() != nil && !s.gone() && !p.hasLeft() {
		return false, errBusy
	}
	if !s.sampleLocked() {
		return false, nil // the caller will find the end
	}
	s.set(slow) // it may have been cleared since it was seen; progressLocked will see
	e, head := s.headLocked()
	if e != nil && (e.gone.Load() || head == s.position()) {
		e.rest = nil
		return false, e.reason
	}
	switch {
	case e == nil && s.takeEventLocked(d):
		ok = true
	case head != s.position():
		s.takeLocked(d, head)
		ok = true
	}
	s.progressLocked()
	return ok, nil
}

// takeLocked takes the next message, which there is.
func (s *Subscriber[T]) takeLocked(d *Delivery[T], head uint64) {
	d.Chat, d.epoch, d.Kind, d.Device = s.chat.name, s.chat.epoch, Published, ""
	if s.backlog != nil && s.backlog.active {
		s.takeBacklogLocked(d)
	} else {
		s.takeLogLocked(d, head)
	}
}

// enter locks the chat for a reader, or for whoever applies its strategy. It returns false, without the lock, if the
// strategy is being applied by somebody else. Nobody has to wait for it when nothing is left to read.
func (s *Subscriber[T]) enter() bool {
	c := s.chat
	c.mu.Lock()
	if s.busy.Load() && !s.gone() {
		c.mu.Unlock()
		return false
	}
	if s.place != placeDue && s.place != placeFull {
		s.segment.Store(nil) // what the fast path may have stored in vain
	}
	return true
}

// exit ends enter and does what had to wait until the lock is free. It is deferred: a sampler may exit the goroutine.
func (s *Subscriber[T]) exit() {
	c := s.chat
	ended := s.drained
	s.drained = false
	if s.failed != nil {
		if ended = c.endLocked(s, s.failed, false); !ended {
			c.discardLocked(s) // it fails over what another end has left
		}
		s.failed = nil
	}
	sampled := s.sampled
	s.sampled = false
	c.mu.Unlock()
	pump := s.pump.Load()
	switch {
	case ended && pump != nil:
		c.broker.announce([]*Subscriber[T]{s})
		pump.log.Store(true) // Close waits for that goroutine, but not for loggers
	case ended:
		c.broker.finish(s)
	case sampled:
		s.call()
	}
}

// headLocked returns the last Seq that concerns the subscription, and its end if it has ended.
func (s *Subscriber[T]) headLocked() (*ending[T], uint64) {
	if e := s.end.Load(); e != nil {
		return e, e.head
	}
	return nil, s.chat.log.Head()
}

// takeLogLocked takes the next message from the log. A reader that is behind by more than its buffer, which only DropOldest
// can be, jumps.
func (s *Subscriber[T]) takeLogLocked(d *Delivery[T], head uint64) {
	position := s.position()
	lost := s.lost(head)
	seq := position + lost + 1
	d.Seq, d.Missed, d.Message = seq, s.gap+lost, *s.slotLocked(seq)
	s.missed += lost
	s.gap = 0
	s.moveTo(seq)
}

// slotLocked returns the slot of a message that the subscription may still take.
func (s *Subscriber[T]) slotLocked(seq uint64) *T {
	if e := s.end.Load(); e != nil {
		return e.rest.At(seq)
	}
	if s.place == placeOff {
		return s.chat.log.Find(seq).At(seq)
	}
	return s.segmentOf(seq).At(seq)
}

// excess returns by how much n is larger than limit, if it is.
func excess(n, limit uint64) uint64 {
	if n > limit {
		return n - limit
	}
	return 0
}

// progressLocked puts a reader that took something on the slow path where it belongs now. With the last message during
// Shutdown the subscription ends.
func (s *Subscriber[T]) progressLocked() {
	c := s.chat
	if s.end.Load() != nil {
		c.recountLocked(s)
		return
	}
	pending := c.log.Head() - s.position()
	if pending <= s.buffer/2 {
		s.spent = false
	}
	switch s.place {
	case placeFull:
		if pending <= s.buffer/2 || s.spent && c.log.Head() < s.limit() {
			c.backLocked(s)
		}
	case placeOff:
		if !s.spent {
			c.returnLocked(s)
		}
	}
	if c.draining {
		s.drained = pending == 0 && c.endLocked(s, ErrClosed, true)
		return
	}
	if !s.spent && !s.overrun && s.gap == 0 && s.place != placeFrozen && (s.backlog == nil || !s.backlog.active) {
		s.clear(slow)
	}
}

// returnLocked puts a DropOldest reader that is half empty again back on the list.
func (c *chat[T]) returnLocked(s *Subscriber[T]) {
	segment := c.log.Find(s.position() + 1)
	if segment == nil {
		segment = c.log.Tail()
	}
	s.segment.Store(segment)
	c.releaseLocked(s.buffer)
	c.watch.add(s, s.limit())
}
