package reference_test

import (
	"math"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast"
)

// never is a moment that does not come.
const never = time.Duration(math.MaxInt64)

// refBroker says what a Broker[int] has to do, and when, in the plainest way: lists, one goroutine, and a clock that is a
// number. It is the promises as a program; whoever wants to know what a call means can read it here. What the promises leave
// open (which message DropRandom drops, when within its interval a cleaner comes) it is told by whoever compares.
//
// This file is what publishers do; reference_readers_test.go is subscriptions, reference_presence_test.go is comings and goings, and
// reference_clock_test.go is what time brings.
type refBroker struct {
	patience, publishTimeout, cleanInterval, chatIdle time.Duration

	history  int           // messages kept for those who come later,
	age      time.Duration // if they are at most so old; 0: any
	grace    time.Duration // how long a device that went may come back
	maxChats int           // 0: unlimited, like
	maxSubs  int           // this, of one chat

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

// refChat is one chat.
type refChat struct {
	name      string
	log       []refItem     // every message; Seq is the index and one
	readers   []*refSub     // the open ones
	queue     []*refCall    // publishers; the first of them stands at the head, the others wait behind it
	stoodAt   uint64        // the head at which a publisher last found a full reader,
	deadline  time.Duration // and until when publishers wait there
	events    []refEvent    // every coming and going
	absent    []refAbsence  // the devices that may come back, in the order in which they went
	leftAt    time.Duration // when the last of them did not
	idleSince time.Duration // when the last reader went
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
	c := &refChat{name: name, idleSince: b.now}
	b.chats = append(b.chats, c)
	return c, nil
}

// head returns the Seq of the newest message.
func (c *refChat) head() uint64 { return uint64(len(c.log)) }

// publish predicts Publish or, with try, TryPublish.
func (b *refBroker) publish(chat string, call *refCall, try bool) *refCall {
	c := b.chat(chat)
	switch {
	case b.closed:
		return b.refuse(call, broadcast.ErrClosed)
	case call.expires <= b.now:
		return b.refuse(call, call.ctxErr)
	case c == nil && b.history == 0:
		b.counts.Accepted++
		return b.finish(call, nil)
	case c == nil:
		var err error
		if c, err = b.make(chat); err != nil {
			return b.refuse(call, err)
		}
		reached.count(chatMadeByPublish)
	case try && len(c.queue) > 0:
		return b.refuse(call, broadcast.ErrOverloaded)
	}
	call.timeout = never
	if b.publishTimeout > 0 {
		call.timeout = b.now + b.publishTimeout
	}
	c.queue = append(c.queue, call)
	b.settle(c)
	if try && !call.done {
		b.giveUp(c, call, broadcast.ErrOverloaded)
	}
	return call
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

// mayPublish is the patience: before the deadline of this head, the readers that were full have to become half empty; after
// it, those that did not are spent. For one free place at a Block reader publishers wait anyway.
func (b *refBroker) mayPublish(c *refChat, leader *refCall) bool {
	if !leader.stands {
		if !slices.ContainsFunc(c.readers, (*refSub).full) {
			return true
		}
		if c.stoodAt != c.head() {
			c.stoodAt, c.deadline = c.head(), b.now+b.patience
		}
		leader.stands = true
		leader.awaited = slices.DeleteFunc(slices.Clone(c.readers), func(s *refSub) bool { return !s.full() || s.spent })
	}
	leader.awaited = slices.DeleteFunc(leader.awaited, func(s *refSub) bool { return s.err != nil || s.halfEmpty() })
	if b.now >= c.deadline {
		for _, s := range leader.awaited {
			s.spent = true
		}
		leader.awaited = nil
	}
	blocked := func(s *refSub) bool { return s.spent && s.strategy.Sampling == broadcast.Block && s.full() }
	return len(leader.awaited) == 0 && !slices.ContainsFunc(c.readers, blocked)
}

// accept is the one step in which a message gets its Seq and the strategies act.
func (b *refBroker) accept(c *refChat, msg int) {
	item := refItem{c.head() + 1, msg, b.now}
	for _, s := range slices.Clone(c.readers) {
		switch {
		case !s.full():
			if s.count() == 0 {
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
