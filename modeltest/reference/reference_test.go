package reference_test

import (
	"math"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast"
)

// never is a moment that does not come.
const never = time.Duration(math.MaxInt64)

// refBroker says what a Broker[int] has to do, and when, in the plainest way: lists, one goroutine,
// and a clock that is a number. It is the promises as a program; whoever wants to know what a call
// means can read it here. What the promises leave open (which message DropRandom drops, when within
// its interval a cleaner comes) it is told by whoever compares.
//
// This file is what publishers do; reference_readers_test.go is subscriptions,
// reference_presence_test.go is comings and goings, and reference_clock_test.go is what time
// brings.
type refBroker struct {
	refSettings
	own map[string]refSettings // of the chats that have settings of their own, by name

	publishTimeout, cleanInterval time.Duration
	maxChats                      int // 0: unlimited

	now      time.Duration
	chats    []*refChat      // those that are held
	subs     []*refSub       // all that ever were
	closed   bool            // Close or Shutdown has begun
	draining *refCall        // the Shutdown that waits for readers
	ended    bool            // Close or Shutdown is complete: every further Shutdown returns
	reason   error           // this
	lastDue  []*refChat      // what the cleaner could have forgotten just before
	counts   broadcast.Stats // what is counted as it happens; stats adds the sums
	broken   string          // what was seen of the real one that may not be
}

// refSettings are the settings of a chat.
type refSettings struct {
	patience, chatIdle time.Duration

	history int           // messages kept for those who come later,
	age     time.Duration // if they are at most so old; 0: any
	grace   time.Duration // how long a device that went may come back
	maxSubs int           // 0: unlimited
	buffer  int           // of subscriptions that ask for none
}

// settings returns the settings of a chat.
func (b *refBroker) settings(name string) refSettings {
	if own, ok := b.own[name]; ok {
		return own
	}
	return b.refSettings
}

// refChat is one chat.
type refChat struct {
	refSettings

	name      string
	log       []refItem     // every message; Seq is the index and one
	readers   []*refSub     // the open ones
	queue     []*refCall    // publishers; the first of them stands at the head, the others wait behind it
	stoodAt   uint64        // the head at which a publisher last found a full reader,
	stoodFrom time.Duration // and since when publishers wait there
	events    []refEvent    // every coming and going
	absent    []refAbsence  // the devices that may come back, in the order in which they went
	leftAt    time.Duration // when the last of them did not
	idleSince time.Duration // when the last reader went, or it ended
	ended     error         // why EndChat has ended it
	epoch     string        // what the real one calls this log, once that was seen
}

// refItem is a message.
type refItem struct {
	seq uint64
	msg int
	at  time.Duration // when it was accepted
}

// refCall is a call that may wait.
type refCall struct {
	expires time.Duration // when its ctx is done, with ctxErr
	ctxErr  error
	timeout time.Duration // when the publish timeout is over

	msg      int
	stands   bool      // it leads, waiting for
	awaited  []*refSub // the readers that it found full and not spent
	blocked  bool      // it has waited for a Block reader, or came when the first one had
	messages bool      // it is Messages, which shows no comings and goings
	shutdown bool      // it is Shutdown

	chat *refChat                       // that it reads
	seen func() broadcast.Delivery[int] // what the real one has returned, if it has

	done bool
	err  error
	at   time.Duration // when it returned
	got  broadcast.Delivery[int]
}

func (b *refBroker) finish(c *refCall, err error) *refCall {
	c.done, c.err, c.at = true, err, b.now
	return c
}

func (b *refBroker) chat(name string) *refChat {
	for _, c := range b.chats {
		if c.name == name {
			return c
		}
	}
	return nil
}

// make makes a chat, if there may be one more.
func (b *refBroker) make(name string) (*refChat, error) {
	if b.maxChats > 0 && len(b.chats) >= b.maxChats {
		return nil, broadcast.ErrLimit
	}
	c := &refChat{refSettings: b.settings(name), name: name, idleSince: b.now}
	b.chats = append(b.chats, c)
	return c, nil
}

// head returns the Seq of the newest message.
func (c *refChat) head() uint64 { return uint64(len(c.log)) }

// head predicts Head.
func (b *refBroker) head(chat string) (p refPosition, err error) {
	if b.closed {
		return p, broadcast.ErrBrokerClosed
	}
	c := b.chat(chat)
	if c == nil {
		if c, err = b.make(chat); err != nil {
			return p, err
		}
	}
	b.idle(c)
	return refPosition{c, c.head()}, nil
}

// last predicts Last.
func (b *refBroker) last(chat string) (d broadcast.Delivery[int], ok bool, err error) {
	if b.closed {
		return d, false, broadcast.ErrBrokerClosed
	}
	c := b.chat(chat)
	if c == nil || b.kept(c) == c.head() {
		return d, false, nil
	}
	item := c.log[len(c.log)-1]
	return broadcast.Delivery[int]{Chat: chat, Seq: item.seq, Message: item.msg}, true, nil
}

// publish predicts Publish or, with try, TryPublish.
func (b *refBroker) publish(chat string, call *refCall, try bool) *refCall {
	c := b.chat(chat)
	switch {
	case b.closed:
		return b.refuse(call, broadcast.ErrBrokerClosed)
	case call.expires <= b.now:
		return b.refuse(call, call.ctxErr)
	case c == nil && b.settings(chat).history == 0:
		b.counts.Accepted++
		return b.finish(call, nil)
	case c == nil:
		var err error
		if c, err = b.make(chat); err != nil {
			return b.refuse(call, err)
		}
		reached.count(chatMadeByPublish)
	}
	if c.ended != nil {
		reached.count(publishToEnded)
		return b.refuse(call, c.ended)
	}
	if try {
		return b.overtake(c, call)
	}
	call.timeout = never
	if b.publishTimeout > 0 {
		call.timeout = b.now + b.publishTimeout
	}
	call.blocked = len(c.queue) > 0 && c.queue[0].blocked
	c.queue = append(c.queue, call)
	b.settle(c)
	return call
}

// overtake is TryPublish: the strategies act at once. It overtakes those who wait, but for a Block
// reader.
func (b *refBroker) overtake(c *refChat, call *refCall) *refCall {
	blocks := func(s *refSub) bool { return s.full() && s.blocks() }
	if len(c.queue) > 0 && c.queue[0].blocked || slices.ContainsFunc(c.readers, blocks) {
		return b.refuse(call, broadcast.ErrOverloaded)
	}
	for _, s := range c.readers {
		s.spent = s.spent || s.full()
	}
	if len(c.queue) > 0 { // its patience runs on, for those that are full now
		reached.count(publisherOvertaken)
		c.stoodAt++
		c.queue[0].awaited = nil
	}
	b.accept(c, call.msg)
	return b.finish(call, nil)
}

func (b *refBroker) refuse(call *refCall, err error) *refCall {
	b.counts.Rejected++
	return b.finish(call, err)
}

// giveUp ends the wait of a publisher.
func (b *refBroker) giveUp(c *refChat, call *refCall, err error) {
	c.queue = slices.DeleteFunc(c.queue, func(q *refCall) bool { return q == call })
	b.refuse(call, err)
}

// settle lets publishers in, one after the other, until the first of them has to wait.
func (b *refBroker) settle(c *refChat) {
	for len(c.queue) > 0 && b.mayPublish(c, c.queue[0]) {
		call := c.queue[0]
		c.queue = c.queue[1:]
		b.accept(c, call.msg)
		b.finish(call, nil)
	}
}

// deadline is when the patience with a reader is over, at the head at which publishers wait. Each
// reader has a patience of its own, which begins with the first publisher there.
func (c *refChat) deadline(s *refSub) time.Duration { return c.stoodFrom + s.patience }

// mayPublish is the patience: before its deadline at this head, a reader that was full has to
// become half empty; after it, a reader that did not is spent. For one free place at a Block reader
// publishers wait anyway.
func (b *refBroker) mayPublish(c *refChat, leader *refCall) bool {
	if !leader.stands {
		if !slices.ContainsFunc(c.readers, (*refSub).full) {
			return true
		}
		if c.stoodAt != c.head() {
			c.stoodAt, c.stoodFrom = c.head(), b.now
		}
		leader.stands = true
	}
	leader.awaited = slices.DeleteFunc(leader.awaited, func(s *refSub) bool { return s.err != nil || s.halfEmpty() })
	for _, s := range c.readers {
		if s.full() && !s.spent && !slices.Contains(leader.awaited, s) {
			leader.awaited = append(leader.awaited, s)
			s.awaited = true
		}
	}
	waits := len(leader.awaited)
	leader.awaited = slices.DeleteFunc(leader.awaited, func(s *refSub) bool {
		s.spent = b.now >= c.deadline(s)
		return s.spent
	})
	reached.countIf(spentBeforeOthers, len(leader.awaited) > 0 && len(leader.awaited) < waits)
	blocked := func(s *refSub) bool { return s.spent && s.blocks() && s.full() }
	blocks := slices.ContainsFunc(c.readers, blocked)
	leader.blocked = leader.blocked || blocks || slices.ContainsFunc(leader.awaited, (*refSub).blocks)
	return len(leader.awaited) == 0 && !blocks
}

// accept is the one step in which a message gets its Seq and the strategies act.
func (b *refBroker) accept(c *refChat, msg int) {
	item := refItem{c.head() + 1, msg, b.now}
	for _, s := range slices.Clone(c.readers) {
		switch {
		case !s.full():
			if !s.readable() {
				s.waiting = b.now
			}
			s.pending = append(s.pending, item)
		case s.strategy.pick == nil && s.strategy.Sampling == broadcast.Disconnect:
			b.counts.Disconnected++
			b.end(s, broadcast.ErrSlow)
		default:
			s.sample(item)
		}
	}
	c.log = append(c.log, item)
	b.counts.Accepted++
	for _, s := range slices.Clone(c.readers) {
		if s.failed != nil {
			b.discard(s, s.failed)
		}
	}
	b.wake(c)
}

// sample drops one of those that are pending and next; DropOldest a replay with it.
func (s *refSub) sample(next refItem) {
	n := len(s.pending) - s.gone
	s.pending = append(s.pending, next)
	drop := 0
	switch {
	case s.strategy.pick != nil:
		if s.failed = s.strategy.fail(next.msg); s.failed != nil {
			s.pending = s.pending[:n]
			s.missed++
			return
		}
		drop = s.strategy.pick(n, func(i int) int { return s.pending[i].msg }, next.msg)
	case s.strategy.Sampling == broadcast.DropNewest:
		drop = n
	case s.strategy.Sampling == broadcast.DropRandom:
		s.missed++
		s.gone++
		s.goneUpTo = next.seq
		return
	case s.replay > 0: // DropOldest: the newest that fit stay
		old := len(s.pending) - s.buffer
		s.missed += uint64(old)
		s.offered = append(s.offered, s.pending[:old]...)
		s.pending, s.replay = s.pending[old:], 0
		return
	}
	s.missed++
	s.offered = append(s.offered, s.pending[drop])
	s.pending = slices.Delete(s.pending, drop, drop+1)
}
