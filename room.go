package broadcast

import (
	"runtime"
	"time"
)

// maxExtension is the longest that publishers wait for readers before their strategies act, however often the patience was
// extended because the processor was short.
const maxExtension = time.Second

// How often, and for how long, the processor is yielded before readers are taken for stuck. Once is not enough: it does nothing when all
// readers that could run are in the queue of another processor.
const (
	maxYields      = 256
	enoughYielding = 100 * time.Microsecond
)

// stand is what the publishers that reached the limit know of the head where they stand. Guarded by the chat's lock.
type stand struct {
	head     uint64    // where they stand; another head is another stand
	since    time.Time // when the first of them came, whether or not it still waits; zero if nobody ever did
	deadline time.Time // when patience is over
	yielded  bool      // the processor was yielded at this deadline
}

// yield yields the processor when the patience of the leading publisher is over. If a reader that is waited for
// arrived meanwhile, the processor was short and not the reader: patience begins again, up to maxExtension in all. It returns the moment at
// which it has looked: what it did not find over must not be over for whoever goes on.
func (c *chat[T]) yield(w *waiter) (now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	st, patience := c.stand, c.broker.config.patience
	now = time.Now()
	if c.waiters.first() != w || st == nil || st.head != c.log.Head() || st.yielded || patience == 0 || now.Before(st.deadline) {
		return now
	}
	st.yielded = true
	stand, before := *st, c.watch.progress()
	for range maxYields {
		c.mu.Unlock()
		runtime.Gosched()
		c.mu.Lock()
		if *st != stand || c.watch.progress() != before || time.Since(now) >= enoughYielding {
			break
		}
	}
	extended := time.Now().Add(patience) // not from the deadline: where the processor is short, that may be long ago
	if *st == stand && c.watch.progress() != before && extended.Sub(st.since) <= maxExtension {
		st.deadline, st.yielded = extended, false
	}
	return now
}

// leadLocked is roomLocked for the leading waiter, which waits for the readers that it found full itself.
func (c *chat[T]) leadLocked(w *waiter, now time.Time) bool {
	if !w.led {
		w.led = true
		c.forgiveLocked()
	}
	return c.roomLocked(now)
}

// forgiveLocked puts the readers back that another publisher found full and that have room by now: it is not for this one
// to wait until they are half empty.
func (c *chat[T]) forgiveLocked() {
	for i := len(c.watch.full) - 1; i >= 0; i-- { // backwards, because readers leave
		if s := c.watch.full[i]; c.log.Head() < s.limit() {
			c.backLocked(s)
		}
	}
}

// roomLocked reports whether the next message may be accepted now. If not, it has marked the readers that must make room first,
// and the last of them to do so wakes the leading publisher.
func (c *chat[T]) roomLocked(now time.Time) bool {
	l, head := &c.watch, c.log.Head()
	for l.earliest() <= head {
		c.lookLocked(l.due[0].reader, head)
	}
	if len(l.full) == 0 {
		l.limit = l.earliest()
		return true
	}
	l.limit = head
	if c.stand == nil {
		c.stand = new(stand)
	}
	if st := c.stand; st.head != head || st.since.IsZero() {
		*st = stand{head: head, since: now, deadline: now.Add(c.broker.config.patience)}
	}
	over := !now.Before(c.stand.deadline)
	room := c.decideAllLocked(head, over)
	for !room && c.awaiting.Load() == 0 {
		room = c.decideAllLocked(head, over) // the last of them arrived before there was a leader to wake
	}
	if len(l.full) == 0 {
		l.limit = l.earliest()
	}
	return room
}

// decideAllLocked reports whether all readers that were full let the next message pass.
func (c *chat[T]) decideAllLocked(head uint64, over bool) bool {
	room := true
	for i := len(c.watch.full) - 1; i >= 0; i-- { // backwards, because readers leave
		if !c.decideLocked(c.watch.full[i], head, over) {
			room = false
		}
	}
	return room
}

// lookLocked looks at a reader that was last seen to have room up to the head: it has more, or it is full, or it is due for
// its sampler.
func (c *chat[T]) lookLocked(s *Subscriber[T], head uint64) {
	if s.overrun {
		c.pressLocked(s, head)
		return
	}
	if due := s.limit(); due > head {
		c.watch.refresh(s, due)
		return
	}
	c.watch.fill(s)
}

// decideLocked reports whether a reader that was full lets the next message pass: because it has made room, or because its
// strategy may act. The first match decides.
func (c *chat[T]) decideLocked(s *Subscriber[T], head uint64, over bool) bool {
	for {
		w := s.word.Load()
		pending := head - w>>flagBits
		switch {
		case pending <= s.buffer/2:
			c.backLocked(s)
			return true
		case !s.spent && !over: // in the hope of half a buffer
			if w&awaited != 0 {
				return false
			}
			c.awaiting.Add(1)
			if s.word.CompareAndSwap(w, w|awaited) {
				return false
			}
			c.releaseAwaitedLocked()
		case !s.spent:
			if !s.word.CompareAndSwap(w, w|slow) {
				continue // it took something meanwhile
			}
			s.spent = true
			c.unawaitLocked(s)
		case head < s.limit():
			c.backLocked(s)
			return true
		case s.sampling != Block:
			return true // it stays full, its strategy acts at acceptance
		default: // spent, hence slow: it takes only under the lock
			if !s.blocking {
				s.blocking = true
				c.awaiting.Add(1)
			}
			return false
		}
	}
}

// backLocked puts a full reader that has room back on the list.
func (c *chat[T]) backLocked(s *Subscriber[T]) {
	c.unawaitLocked(s)
	c.watch.remove(s)
	c.watch.add(s, s.limit())
}

// unawaitLocked takes the marks of a publisher's waiting from a reader.
func (c *chat[T]) unawaitLocked(s *Subscriber[T]) {
	if s.blocking {
		s.blocking = false
		c.releaseAwaitedLocked()
	}
	if s.clear(awaited) {
		c.releaseAwaitedLocked()
	}
}

// releaseAwaited counts one awaited reader less and wakes the leader if it was the last.
func (c *chat[T]) releaseAwaited() {
	if c.awaiting.Add(-1) == 0 {
		c.nudge()
	}
}

// releaseAwaitedLocked is releaseAwaited for the holder of the lock.
func (c *chat[T]) releaseAwaitedLocked() {
	if c.awaiting.Add(-1) == 0 {
		c.nudgeLocked()
	}
}

// progress sums up how far the full readers are, to be compared with itself.
func (l *watchlist[T]) progress() (sum uint64) {
	for _, s := range l.full {
		sum += s.position()
	}
	return sum - uint64(len(l.full))
}
