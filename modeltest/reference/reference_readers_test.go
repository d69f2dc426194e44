package reference_test

import (
	"slices"
	"time"

	"github.com/fbd86cad/broadcast"
)

// refSub is one subscription.
type refSub struct {
	chat      *refChat
	device    string // empty: it is anonymous
	buffer    int    // one more than asked for with Chan
	strategy  refStrategy
	patience  time.Duration // how long publishers wait for it
	stall     time.Duration // 0: never
	until     *refCall      // nil: for ever
	resumes   refPosition
	replays   int // -1: no Replay
	follows   bool
	recovered bool

	joined, last, head uint64    // where its books begin; Seq of the last message taken; head at the end
	pending            []refItem // what it may still take,
	gone               int       // except so many that DropRandom dropped: we do not know which,
	goneUpTo           uint64    // but none after this Seq
	replay             int       // so many of pending do not count against the buffer
	offered            []refItem // dropped since the last take: what Chan was offering may be among them
	told               int       // how many of the chat's events it was told, or need not be

	delivered, missed, discarded uint64

	spent    bool          // has used up the patience of publishers, and was not half empty since
	awaited  bool          // publishers have waited for it
	unproven bool          // spent like the one that it has replaced; until it takes something
	waiting  time.Duration // since when something is pending and nothing is taken
	reading  *refCall      // a Next that waits
	failed   error         // how its sampler failed
	err      error         // why it ended
	endedAt  time.Duration

	stallsAt   time.Duration // when the real one was seen to stall; never if it was not
	stallPlace int           // among all that were
}

// refStrategy is a Sampling or, if pick is set, a sampler.
type refStrategy struct {
	broadcast.Sampling

	pick  func(n int, at func(i int) int, next int) int // the index to drop, n for next
	fails error                                         // how the sampler fails on every third message, if it does
}

// refPosition is a place in a log; without a chat it is none.
type refPosition struct {
	chat *refChat
	seq  uint64
}

func (s *refSub) count() int      { return len(s.pending) - s.gone }
func (s *refSub) full() bool      { return s.count() >= s.buffer+s.replay }
func (s *refSub) halfEmpty() bool { return s.count() <= s.buffer/2 }
func (s *refSub) blocks() bool {
	return s.strategy.pick == nil && s.strategy.Sampling == broadcast.Block
}

// kept returns the Seq after which messages are kept for those who come later.
func (b *refBroker) kept(c *refChat) uint64 {
	kept := max(0, len(c.log)-c.history)
	for c.age > 0 && kept < len(c.log) && b.now-c.log[kept].at > c.age {
		kept++
	}
	return uint64(kept)
}

// subscribe predicts Subscribe: s comes with the options.
func (b *refBroker) subscribe(chat string, s *refSub) (err error) {
	c := b.chat(chat)
	switch {
	case b.closed:
		return broadcast.ErrBrokerClosed
	case s.until != nil && s.until.expires <= b.now:
		return s.until.ctxErr
	case c == nil:
		if c, err = b.make(chat); err != nil {
			return err
		}
	}
	i := slices.IndexFunc(c.readers, func(r *refSub) bool { return r.device == s.device && s.device != "" })
	if i < 0 && c.maxSubs > 0 && len(c.readers) >= c.maxSubs {
		return broadcast.ErrLimit
	}
	s.chat, s.stallsAt = c, never
	b.start(s)
	b.subs = append(b.subs, s)
	if i >= 0 { // a takeover is neither coming nor going
		old := c.readers[i]
		s.spent = old.delivered == 0 && (old.awaited || old.spent)
		s.unproven = s.spent
		reached.countIf(replacedIdle, s.spent)
		c.readers = append(c.readers, s)
		b.counts.Replaced++
		b.discard(old, broadcast.ErrReplaced)
	} else {
		b.came(c, s.device)
		c.readers = append(c.readers, s)
	}
	s.told = len(c.events)
	reached.countIf(subscribedToEnded, c.ended != nil && s.readable())
	b.drained(s)
	return nil
}

// start decides what a subscription begins with.
func (b *refBroker) start(s *refSub) {
	head, kept := s.chat.head(), b.kept(s.chat)
	start := head
	s.joined = head
	switch {
	case s.resumes.chat == s.chat && s.resumes.seq <= head:
		s.joined = s.resumes.seq
		start = max(s.joined, kept)
		s.recovered = start == s.joined
	case s.replays >= 0:
		wanted := head - min(head, uint64(s.replays))
		start = max(wanted, kept)
		s.joined = start
		s.recovered = start == wanted && s.resumes.chat == nil
	}
	s.missed, s.last, s.waiting = start-s.joined, s.joined, b.now
	s.pending = slices.Clone(s.chat.log[start:])
	s.replay = len(s.pending)
}

// readable reports whether something can be taken. Comings and goings are told while the
// subscription is open only.
func (s *refSub) readable() bool {
	_, ok := s.nextEvent()
	return ok || s.count() > 0
}

// next predicts Next: the reason of the end if there is nothing to read, then the ctx, then what is
// next.
func (b *refBroker) next(s *refSub, call *refCall) *refCall {
	call.chat = s.chat
	switch {
	case s.err != nil && s.count() == 0:
		return b.finish(call, s.err)
	case call.expires <= b.now:
		return b.finish(call, call.ctxErr)
	}
	s.comes()
	s.reading = call
	b.read(s)
	return call
}

// comes notes that somebody comes to read.
func (s *refSub) comes() {
	if s.halfEmpty() {
		s.spent, s.awaited, s.unproven = false, false, false
	}
}

// read lets a Next that waits take something, if there is something.
func (b *refBroker) read(s *refSub) {
	for call := s.reading; call != nil && s.readable(); {
		if d := b.take(s, call.seen()); d.Kind == broadcast.Published || !call.messages {
			call.got = d
			s.reading = nil
			b.finish(call, nil)
			return
		}
	}
}

// wake lets all take something that wait for it.
func (b *refBroker) wake(c *refChat) {
	for _, s := range slices.Clone(c.readers) {
		b.read(s)
	}
}

// take takes what is next. With the last of it a subscription ends during Shutdown, or if its chat
// has ended.
func (b *refBroker) take(s *refSub, seen broadcast.Delivery[int]) broadcast.Delivery[int] {
	d := b.takeNext(s, seen)
	b.drained(s)
	return d
}

// takeNext takes an event, if it comes before the next message, or that message. seen is what the
// real one returned; it says which messages DropRandom dropped, and in which order those left that
// left together.
func (b *refBroker) takeNext(s *refSub, seen broadcast.Delivery[int]) broadcast.Delivery[int] {
	s.orderEvents(seen)
	e, ok := s.nextEvent()
	if ok && e.kind == broadcast.Resync {
		return b.told(s, s.last, e, len(s.chat.events))
	}
	wasNotDropped := func(first refItem) bool {
		if seen.Kind == broadcast.Published {
			return first.msg == seen.Message
		}
		return first.seq > e.seq
	}
	for s.gone > 0 && s.pending[0].seq <= s.goneUpTo && !wasNotDropped(s.pending[0]) {
		s.pending = s.pending[1:]
		s.gone--
	}
	if ok && (s.count() == 0 || e.seq < s.pending[0].seq) {
		s.chat.events[s.told].told = true
		return b.told(s, e.seq, e, s.told+1)
	}
	item := s.pending[0]
	s.pending = s.pending[1:]
	s.replay = max(0, s.replay-1)
	if s.count() == 0 {
		s.pending, s.gone = nil, 0
	}
	return b.taken(s, item)
}

// taken books a message that was taken.
func (b *refBroker) taken(s *refSub, item refItem) broadcast.Delivery[int] {
	d := broadcast.Delivery[int]{Chat: s.chat.name, Seq: item.seq, Missed: item.seq - s.last - 1, Message: item.msg}
	s.last, s.waiting, s.offered = item.seq, b.now, nil
	s.delivered++
	s.spent = s.spent && !s.unproven
	s.unproven = false
	s.comes()
	return d
}

// drained ends a subscription that has taken all, during Shutdown or if its chat has ended.
func (b *refBroker) drained(s *refSub) {
	if (b.draining != nil || s.chat.ended != nil) && s.err == nil && !s.readable() {
		b.end(s, s.chat.endsWith())
	}
}

// end ends a subscription; what is pending stays readable.
func (b *refBroker) end(s *refSub, err error) {
	if s.err != nil {
		return
	}
	c := s.chat
	s.err, s.endedAt, s.head = err, b.now, c.head()
	c.readers = slices.DeleteFunc(c.readers, func(r *refSub) bool { return r == s })
	b.idle(c)
	if s.reading != nil {
		b.finish(s.reading, err)
		s.reading = nil
	}
	if !slices.ContainsFunc(c.readers, func(r *refSub) bool { return r.device == s.device }) {
		b.went(s)
	}
	if b.draining != nil && b.open() == 0 {
		b.over(b.draining, nil)
	}
}

// discard throws away what a subscription had, and ends it if it has not ended.
func (b *refBroker) discard(s *refSub, err error) {
	s.discarded += uint64(s.count())
	s.pending, s.gone = nil, 0
	b.end(s, err)
}

// books predicts the Stats of one subscription.
func (s *refSub) books() broadcast.SubscriberStats {
	head := s.head
	if s.err == nil {
		head = s.chat.head()
	}
	return broadcast.SubscriberStats{
		Delivered: s.delivered, Missed: s.missed, Pending: uint64(s.count()), Discarded: s.discarded,
		Joined: s.joined, Head: head,
	}
}
