package broadcast

import (
	"sort"
	"time"

	"github.com/fbd86cad/broadcast/internal/flow"
	"github.com/fbd86cad/broadcast/internal/seglog"
)

// history is what a chat keeps for Replay and Resume. Guarded by the chat's lock.
//
// The messages themselves are in the log, which keeps a window of them. The history only knows
// which of them have expired.
type history struct {
	expired uint64 // messages up to this index are too old

	// times are when the messages of the history were published, as the time since the broker
	// began; nil without an age.
	times *seglog.Log[time.Duration]
}

func newHistory(config *chatConfig) (h history) {
	if config.historySize > 0 && config.historyAge > 0 {
		times := seglog.New[time.Duration](uint64(config.historySize))
		h.times = &times
	}
	return h
}

// keptLocked returns the index after which the history keeps messages, and expires those that are
// too old.
func (c *chat[T]) keptLocked(now time.Time) uint64 {
	h, head := &c.history, c.log.Head()
	kept := max(head-min(head, uint64(c.config.historySize)), h.expired, c.numbers.Oldest())
	oldest := now.Sub(c.shared.began) - c.config.historyAge
	if h.times == nil || kept == head || h.at(kept+1) >= oldest {
		return kept
	}
	h.expired = kept + uint64(sort.Search(int(head-kept), func(i int) bool {
		return h.at(kept+1+uint64(i)) >= oldest
	}))
	c.log.Expire(h.expired)
	h.times.Expire(h.expired)
	return h.expired
}

// dropHistoryLocked releases the history when nobody can ask for it any more.
func (c *chat[T]) dropHistoryLocked() {
	c.history = history{expired: c.log.Head()}
	c.log.Expire(c.log.Head())
	c.sealLocked()
}

// clear releases the history. If the chat has ended, its name is free from now on.
func (c *chat[T]) clear(now time.Time) {
	c.gate.Lock()
	defer c.gate.Unlock()
	h := &c.history
	h.expired = c.log.Head()
	c.log.Expire(h.expired)
	if h.times != nil {
		h.times.Expire(h.expired)
	}
	if c.endedLocked() {
		c.idleSince = now.Sub(c.shared.began) - c.config.idle
	}
}

// sealLocked makes the next message begin a new segment of the log.
func (c *chat[T]) sealLocked() {
	c.log.Seal()
	if times := c.history.times; times != nil {
		times.Seal()
	}
}

// at returns when a message of the history was accepted.
func (h *history) at(seq uint64) time.Duration { return *h.times.Find(seq).At(seq) }

// noteAcceptedLocked schedules the release of a message that was just accepted: when it expires or,
// without a history, when all readers should have taken it.
func (c *chat[T]) noteAcceptedLocked() {
	h, config := &c.history, c.config
	switch {
	case config.historySize == 0:
		if c.releaseAt == 0 {
			c.releaseLaterLocked()
		}
	case h.times != nil:
		published := time.Now()
		if c.feed != nil {
			published = c.feed.made
		}
		if h.expired == c.log.Head()-1 {
			c.shared.agenda.Schedule(c, published.Add(config.historyAge))
		}
		h.times.Append(new(published.Sub(c.shared.began)))
	}
}

// historyLocked reports whether the history keeps messages, and when the oldest of them expires;
// the zero time means never.
func (c *chat[T]) historyLocked(now time.Time) (kept bool, until time.Time) {
	after := c.keptLocked(now)
	kept = after < c.log.Head()
	if h := &c.history; kept && h.times != nil {
		until = c.shared.began.Add(h.at(after + 1)).Add(c.config.historyAge).Add(1)
	}
	return kept, until
}

// startLocked sets where a new reader begins: at the head, or where Resume or Replay says.
func (c *chat[T]) startLocked(s *Subscriber[T], config *subscriptionConfig) {
	resume, replay := config.resume, config.replay
	head := c.log.Head()
	start := head
	s.joined = head
	tail := c.numbers.Tail()
	numbers := tail
	switch at, index, ok := c.numbers.Find(resume.epoch, resume.seq, head); {
	case ok:
		start = max(index, c.keptLocked(time.Now()))
		s.joined = index
		s.recovered = start == index && at.Whole(tail)
		numbers = at
	case replay != noReplay:
		wanted := head - min(head, uint64(replay))
		start = max(wanted, c.keptLocked(time.Now()))
		s.joined = start
		numbers = c.numbers.At(start + 1)
		all := numbers.Number(0) == 0 && c.numbers.Resets() == 0 // that there ever was is in the log
		complete := start == wanted && (uint64(replay) <= head || all)
		s.recovered = complete && resume == Position{} && numbers.Whole(tail)
	}
	s.numbers.Store(numbers)
	s.gap = start - s.joined
	s.missed = s.gap
	s.at.Start(start, head, uint64(config.buffer), s.sampling == Block)
	if s.gap > 0 {
		s.at.Set(flow.Slow)
	}
	s.segment.Store(c.log.Tail())
	if start < head {
		s.segment.Store(c.log.Find(start + 1))
	}
}

// noReplay is the replay count of a subscription without Replay.
const noReplay = -1

// The last segment of a log has room for further messages, and cannot be released while messages
// are appended to it or readers point at it. In a quiet chat it would keep messages that all
// readers have taken for ever. Therefore the cleaner, and the end of the last reader, seal the log
// and move the readers on to the next segment.

// takenPiece is how many readers are visited in one hold of the chat's lock.
const takenPiece = 256

// releaseLaterLocked schedules the release of messages that all readers will have taken by then.
func (c *chat[T]) releaseLaterLocked() {
	if !c.log.Sealed() {
		c.shared.agenda.Schedule(c, c.releaseAfterLocked(time.Now()))
	}
}

// releaseAfterLocked sets releaseAt so that the cleaner, late as it may be, comes within one clean
// interval from now. It returns that time.
func (c *chat[T]) releaseAfterLocked(now time.Time) (at time.Time) {
	at = now.Add(c.shared.config.cleanInterval - c.shared.config.slack())
	c.releaseAt = max(1, at.Sub(c.shared.began))
	return at
}

// releaseDueLocked reports whether messages that all readers have taken are to be released now. If
// not, it returns when; the zero time means not before the next message. While the history keeps
// messages, the release waits for them to expire.
func (c *chat[T]) releaseDueLocked(now time.Time, kept bool) (due bool, at time.Time) {
	switch {
	case kept:
		c.releaseAt = 0
		return false, at
	case c.releaseAt == 0:
		return c.config.historySize > 0 && !c.log.Sealed(), at
	}
	at = c.shared.began.Add(c.releaseAt)
	return !now.Before(at), at
}

// releaseAfterEndLocked releases, now or later, what only a reader that has just ended may have
// needed.
func (c *chat[T]) releaseAfterEndLocked() {
	switch {
	case c.keptLocked(time.Now()) < c.log.Head(): // the cleaner comes when it expires
	case c.openCountLocked() == 0:
		c.sealLocked()
	case c.releaseAt == 0:
		c.releaseLaterLocked()
	}
}

// releaseTaken releases messages that all readers have taken, if the history keeps none. It returns
// when to try again; the zero time means not before the next message. If a reader is behind, it
// tries once more, but not again and again beside a reader that is stuck.
func (c *chat[T]) releaseTaken(now time.Time) (again time.Time) {
	head := c.log.Head()
	done := c.releaseUpTo(head)
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.log.Head() != head || !done && c.triedAt != head {
		again = c.releaseAfterLocked(now)
	} else {
		c.releaseAt = 0
	}
	c.triedAt = head
	return again
}

// releaseUpTo does the work of releaseTaken while the head does not move. It reports whether it is
// done.
func (c *chat[T]) releaseUpTo(head uint64) (done bool) {
	taken := c.eachListed(head, func(s *Subscriber[T]) bool { return s.at.Position() == head })
	return taken && c.seal(head) && c.eachListed(head, func(s *Subscriber[T]) bool {
		// A reader at the head does not store another segment before there is more to read.
		if segment := s.segment.Load(); segment != nil && s.at.Position() == head {
			s.segment.CompareAndSwap(segment, c.log.Tail())
		}
		return true
	})
}

// seal is sealLocked, provided that the head has not moved.
func (c *chat[T]) seal(head uint64) bool {
	c.gate.Lock()
	defer c.gate.Unlock()
	if c.log.Head() != head {
		return false
	}
	c.sealLocked()
	return true
}

// eachListed calls f for the readers on the gate's list, with the chat's lock held, until f returns
// false. It returns true if f never did. It also returns false if the head has moved, or if a
// reader is off the list, because that one has something to take. Readers that move within the list
// meanwhile may be skipped.
func (c *chat[T]) eachListed(head uint64, f func(s *Subscriber[T]) bool) bool {
	for from := 0; ; from += takenPiece {
		if ok, more := c.someListed(head, from, f); !ok || !more {
			return ok
		}
	}
}

// someListed does a bounded part of eachListed.
func (c *chat[T]) someListed(head uint64, from int, f func(s *Subscriber[T]) bool) (ok, more bool) {
	c.gate.Lock()
	defer c.gate.Unlock()
	listed := c.gate.Len()
	if c.log.Head() != head || listed < c.openCountLocked() {
		return false, false
	}
	to := min(from+takenPiece, listed)
	for i := from; i < to; i++ {
		if !f(c.gate.At(i).Owner.(*Subscriber[T])) {
			return false, false
		}
	}
	return true, to < listed
}
