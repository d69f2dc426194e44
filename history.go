package broadcast

import "time"

// history is what a chat keeps for those who come later. Guarded by the chat's lock.
//
// The messages are in the log, which holds a window of them; here is only how far they have expired.
type history struct {
	expired uint64      // the messages up to it are too old
	times   []time.Time // when the messages after expired were accepted, the last size ones; only with an age
}

// keptLocked returns the Seq after which messages are kept.
func (c *chat[T]) keptLocked(now time.Time) uint64 {
	c.expireLocked(now)
	head := c.log.Head()
	return max(head-min(head, uint64(c.broker.config.historySize)), c.history.expired)
}

// expireLocked lets go of the messages that are too old.
func (c *chat[T]) expireLocked(now time.Time) {
	h, age := &c.history, c.broker.config.historyAge
	old := 0
	for old < len(h.times) && now.Sub(h.times[old]) > age {
		old++
	}
	if old > 0 {
		h.expired = c.log.Head() - uint64(len(h.times)-old)
		h.times = h.times[old:]
		c.log.Expire(h.expired)
	}
}

// noteLocked notes when a message was accepted, if that matters.
func (c *chat[T]) noteLocked() {
	h, config := &c.history, &c.broker.config
	if config.historySize == 0 || config.historyAge == 0 {
		return
	}
	now := time.Now()
	if len(h.times) == 0 {
		c.broker.cleaner.schedule(c, now.Add(config.historyAge))
	}
	if len(h.times) == config.historySize {
		h.times = h.times[1:]
	}
	h.times = append(h.times, now)
}

// historyLocked reports whether messages are kept, and when the oldest of them expires: the zero time is never.
func (c *chat[T]) historyLocked(now time.Time) (kept bool, until time.Time) {
	kept = c.keptLocked(now) < c.log.Head()
	if len(c.history.times) > 0 {
		until = c.history.times[0].Add(c.broker.config.historyAge).Add(1)
	}
	return kept, until
}

// startLocked places a new reader in the log: at the head, or where it asked to resume or to replay.
func (c *chat[T]) startLocked(s *Subscriber[T], resume Position, replay int) {
	head := c.log.Head()
	start := head
	s.joined = head
	resumes := resume.epoch == c.epoch && resume.seq <= head
	switch {
	case resumes:
		start = max(resume.seq, c.keptLocked(time.Now()))
		s.joined = resume.seq
		s.recovered = start == resume.seq
	case replay != noReplay:
		wanted := head - min(head, uint64(replay))
		start = max(wanted, c.keptLocked(time.Now()))
		s.joined = start
		s.recovered = start == wanted && resume == Position{}
	}
	s.replayed = head
	s.gap = start - s.joined
	s.missed = s.gap
	word := start << flagBits
	if s.gap > 0 {
		word |= slow
	}
	s.word.Store(word)
	s.segment.Store(c.log.Tail())
	if start < head {
		s.segment.Store(c.log.Find(start + 1))
	}
}

// noReplay is the replay of a subscription that asked for none.
const noReplay = -1

// Position returns the position after the message that was taken last; before the first one, where the subscription joined.
// It is for the reading goroutine. The positions of deliveries are had from [Delivery.Position].
func (s *Subscriber[T]) Position() Position {
	if !s.valid() {
		return Position{}
	}
	s.report()
	c := s.chat
	c.mu.Lock()
	defer c.mu.Unlock()
	return Position{c.epoch, s.lastLocked()}
}

// lastLocked returns the Seq of the message that was taken last.
func (s *Subscriber[T]) lastLocked() uint64 {
	if s.backlog != nil && s.backlog.active {
		return s.backlog.last
	}
	return s.position() - s.gap
}

// Recovered reports whether the subscription began where [Resume] or [Replay] asked for: nothing of it was gone. It is
// false without either, and if the position was of another log.
func (s *Subscriber[T]) Recovered() bool { return s.valid() && s.recovered }
