package reference_test

import (
	"cmp"
	"fmt"
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
type refBroker struct {
	patience, publishTimeout, cleanInterval, chatIdle time.Duration

	maxChats, maxSubscribers int // 0: unlimited

	now      time.Duration
	chats    map[string]*refChat
	subs     []*refSub       // all that ever were
	closed   bool            // Close or Shutdown has begun
	draining *refCall        // the Shutdown that waits for readers
	ended    bool            // Close or Shutdown is complete: every further Shutdown returns
	reason   error           // this
	lastDue  []*refChat      // what the cleaner could have forgotten just before
	counts   broadcast.Stats // what is counted as it happens; stats adds the sums
	broken   []string        // what was seen of the real one that may not be
}

// refChat is one chat.
type refChat struct {
	name      string
	head      uint64        // Seq of the newest message
	readers   []*refSub     // the open ones
	queue     []*refCall    // publishers; the first of them stands at the head, the others wait behind it
	stoodAt   uint64        // the head at which a publisher last found a full reader,
	deadline  time.Duration // and until when publishers wait there
	idleSince time.Duration // when the last reader went
}

// refItem is a message that a reader may still take.
type refItem struct {
	seq uint64
	msg int
}

// refSub is one subscription.
type refSub struct {
	chat     *refChat
	device   string
	buffer   int
	strategy refStrategy
	stall    time.Duration // 0: never
	until    *refCall      // nil: for ever

	joined, last, head uint64    // head at Subscribe; Seq of the last message taken; head at the end
	pending            []refItem // what it may still take,
	gone               int       // except so many that DropRandom dropped: we do not know which,
	goneUpTo           uint64    // but none after this Seq
	offered            []refItem // dropped since the last take: what Chan was offering may be among them

	delivered, missed, discarded uint64

	spent    bool          // has used up the patience of publishers, and was not half empty since
	waiting  time.Duration // since when something is pending and nothing is taken
	reading  *refCall      // a Next that waits for a message
	failed   error         // how its sampler failed
	err      error         // why it ended
	endedAt  time.Duration
	stallsAt time.Duration // when the real one was seen to stall; never if it was not
}

// refStrategy is a Sampling or, if pick is set, a sampler.
type refStrategy struct {
	broadcast.Sampling

	pick  func(n int, at func(i int) int, next int) int // the index to drop, n for next
	fails error                                         // how the sampler fails on every third message, if it does
}

// refCall is a call that may wait.
type refCall struct {
	expires time.Duration // when its ctx is done, with ctxErr
	ctxErr  error
	timeout time.Duration // when the publish timeout is over

	msg     int
	stands  bool      // it leads, waiting for
	awaited []*refSub // the readers that it found full and not spent

	done bool
	err  error
	at   time.Duration // when it returned
	got  broadcast.Delivery[int]
}

func (b *refBroker) finish(c *refCall, err error) *refCall {
	c.done, c.err, c.at = true, err, b.now
	return c
}

// publish predicts Publish or, with try, TryPublish.
func (b *refBroker) publish(chat string, call *refCall, try bool) *refCall {
	c := b.chats[chat]
	switch {
	case b.closed:
		return b.refuse(call, broadcast.ErrClosed)
	case call.expires <= b.now:
		return b.refuse(call, call.ctxErr)
	case c == nil:
		b.counts.Accepted++
		return b.finish(call, nil)
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
		b.leave(c, call, broadcast.ErrOverloaded)
	}
	return call
}

func (b *refBroker) refuse(call *refCall, err error) *refCall {
	b.counts.Rejected++
	return b.finish(call, err)
}

// leave ends the wait of a publisher.
func (b *refBroker) leave(c *refChat, call *refCall, err error) {
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
		if c.stoodAt != c.head {
			c.stoodAt, c.deadline = c.head, b.now+b.patience
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
	item := refItem{c.head + 1, msg}
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
	c.head++
	b.counts.Accepted++
	for _, s := range slices.Clone(c.readers) {
		if s.failed != nil {
			b.discard(s, s.failed)
		}
	}
	for _, s := range c.readers {
		if call := s.reading; call != nil && s.count() > 0 {
			s.reading = nil
			call.got = b.take(s, 0)
			b.finish(call, nil)
		}
	}
}

// sample drops one of n+1 messages.
func (s *refSub) sample(next refItem) {
	s.pending = append(s.pending, next)
	n := s.buffer
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
	}
	s.missed++
	s.offered = append(s.offered, s.pending[drop])
	s.pending = slices.Delete(s.pending, drop, drop+1)
}

// next predicts Next: the reason of the end if there is nothing to read, then the ctx, then a message. seen is the message
// that the real one returned; it matters after DropRandom only.
func (b *refBroker) next(s *refSub, call *refCall, seen int) *refCall {
	switch {
	case s.err != nil && s.count() == 0:
		return b.finish(call, s.err)
	case call.expires <= b.now:
		return b.finish(call, call.ctxErr)
	case s.count() == 0:
		s.reading = call
		return call
	}
	call.got = b.take(s, seen)
	return b.finish(call, nil)
}

// take takes the next message that is pending.
func (b *refBroker) take(s *refSub, seen int) broadcast.Delivery[int] {
	for s.gone > 0 && s.pending[0].msg != seen && s.pending[0].seq <= s.goneUpTo {
		s.pending = s.pending[1:]
		s.gone--
	}
	item := s.pending[0]
	s.pending = s.pending[1:]
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
	s.spent = s.spent && !s.halfEmpty()
	if b.draining != nil && s.err == nil && s.count() == 0 {
		b.end(s, broadcast.ErrClosed)
	}
	return d
}

func (s *refSub) count() int      { return len(s.pending) - s.gone }
func (s *refSub) full() bool      { return s.count() >= s.buffer }
func (s *refSub) halfEmpty() bool { return s.count() <= s.buffer/2 }

// subscribe predicts Subscribe: s comes with the options.
func (b *refBroker) subscribe(chat string, s *refSub) error {
	c := b.chats[chat]
	switch {
	case b.closed:
		return broadcast.ErrClosed
	case s.until != nil && s.until.expires <= b.now:
		return s.until.ctxErr
	case c == nil && b.maxChats > 0 && len(b.chats) >= b.maxChats:
		return broadcast.ErrLimit
	case c == nil:
		c = &refChat{name: chat}
		b.chats[chat] = c
	}
	old := slices.IndexFunc(c.readers, func(r *refSub) bool { return r.device == s.device })
	if old < 0 && b.maxSubscribers > 0 && len(c.readers) >= b.maxSubscribers {
		return broadcast.ErrLimit
	}
	s.chat, s.joined, s.last, s.stallsAt = c, c.head, c.head, never
	b.subs = append(b.subs, s)
	c.readers = append(c.readers, s)
	if old >= 0 {
		b.counts.Replaced++
		b.discard(c.readers[old], broadcast.ErrReplaced)
	}
	return nil
}

// end ends a subscription; what is pending stays readable.
func (b *refBroker) end(s *refSub, err error) {
	if s.err != nil {
		return
	}
	c := s.chat
	s.err, s.endedAt, s.head = err, b.now, c.head
	c.readers = slices.DeleteFunc(c.readers, func(r *refSub) bool { return r == s })
	if len(c.readers) == 0 {
		c.idleSince = b.now
	}
	if s.reading != nil {
		b.finish(s.reading, err)
		s.reading = nil
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

// close predicts Close.
func (b *refBroker) close() {
	b.refuseAll()
	b.over(b.draining, broadcast.ErrClosed)
}

// shutdown predicts Shutdown.
func (b *refBroker) shutdown(call *refCall) *refCall {
	switch {
	case b.ended:
		return b.finish(call, b.reason)
	case call.expires <= b.now:
		b.refuseAll()
		b.over(call, call.ctxErr)
		return call
	}
	b.refuseAll()
	b.draining = call
	for _, s := range b.subs {
		if s.count() == 0 {
			b.end(s, broadcast.ErrClosed)
		}
	}
	if b.open() == 0 && !call.done {
		b.over(call, nil)
	}
	return call
}

// refuseAll is the first moment of Close and Shutdown.
func (b *refBroker) refuseAll() {
	b.closed = true
	for _, c := range b.chats {
		for _, call := range c.queue {
			b.refuse(call, broadcast.ErrClosed)
		}
		c.queue = nil
	}
}

// over is the last moment of Close and Shutdown. The first reason stays.
func (b *refBroker) over(waiting *refCall, reason error) {
	if !b.ended {
		b.ended, b.reason = true, reason
	}
	if b.draining = nil; waiting != nil {
		b.finish(waiting, reason)
	}
	b.lastDue = b.dueForCleaner()
	for _, s := range b.subs {
		b.end(s, broadcast.ErrClosed)
	}
	b.chats = map[string]*refChat{}
}

// open counts the open subscriptions.
func (b *refBroker) open() int {
	n := 0
	for _, c := range b.chats {
		n += len(c.readers)
	}
	return n
}

// advance moves the clock. On its way everything happens that is due: first what the last operation made possible.
func (b *refBroker) advance(to time.Duration) {
	for {
		for _, c := range b.chats {
			b.settle(c)
		}
		at, happen := b.nextEvent()
		if at > to {
			break
		}
		b.now = max(b.now, at)
		happen()
	}
	b.now = to
}

// nextEvent returns what happens next if nobody does anything, and when.
func (b *refBroker) nextEvent() (at time.Duration, happen func()) {
	at = never
	event := func(t time.Duration, f func()) {
		if t < at {
			at, happen = t, f
		}
	}
	for _, c := range b.chats {
		for _, call := range c.queue {
			event(call.expires, func() { b.leave(c, call, call.ctxErr) })
		}
		if len(c.queue) > 0 && len(c.queue[0].awaited) > 0 {
			event(c.deadline, func() {})
		}
		for _, call := range c.queue {
			event(call.timeout, func() { b.leave(c, call, broadcast.ErrOverloaded) })
		}
		for _, s := range c.readers {
			if s.until != nil {
				event(s.until.expires, func() { b.discard(s, s.until.ctxErr) })
			}
			if call := s.reading; call != nil {
				event(call.expires, func() { b.finish(call, call.ctxErr); s.reading = nil })
			}
			event(s.stallsAt, func() { b.stalled(c) })
		}
	}
	if call := b.draining; call != nil {
		event(call.expires, func() { b.over(call, call.ctxErr) })
	}
	return at, happen
}

// stalled ends the subscriptions of a chat that were seen to stall now.
func (b *refBroker) stalled(c *refChat) {
	for _, s := range slices.Clone(c.readers) {
		if s.stallsAt > b.now {
			continue
		}
		if first, last := b.stallsBetween(s); b.now < first || b.now > last {
			b.broken = append(b.broken, fmt.Sprintf("stalled at %v, not between %v and %v", b.now, first, last))
		}
		b.counts.Stalled++
		b.end(s, broadcast.ErrStalled)
	}
}

// stallsBetween returns the moments between which a reader has to stall if it goes on taking nothing.
func (b *refBroker) stallsBetween(s *refSub) (first, last time.Duration) {
	if s.err != nil || s.stall == 0 || s.count() == 0 {
		return never, never
	}
	first = s.waiting + s.stall
	return first, first + b.cleanInterval
}

// forget forgets n chats that are due for the cleaner, and returns an error if so many cannot be or more have to be.
func (b *refBroker) forget(n int) error {
	due := b.dueForCleaner()
	if n < 0 || n > len(due) {
		return fmt.Errorf("%d chats were forgotten, %d could be", n, len(due))
	}
	if n < len(due) && !b.ended && b.now > due[n].idleSince+b.chatIdle+b.cleanInterval {
		return fmt.Errorf("chat %s should have been forgotten", due[n].name)
	}
	for _, c := range due[:n] {
		delete(b.chats, c.name)
		b.counts.ChatsCleaned++
	}
	b.lastDue = nil
	return nil
}

// dueForCleaner returns the chats that the cleaner may forget by now, or could until the broker ended. Those that are due first come first.
func (b *refBroker) dueForCleaner() []*refChat {
	due := b.lastDue
	for _, c := range b.chats {
		if len(c.readers) == 0 && b.now >= c.idleSince+b.chatIdle {
			due = append(due, c)
		}
	}
	slices.SortFunc(due, func(x, y *refChat) int { return cmp.Compare(x.idleSince, y.idleSince) })
	return due
}

// stats predicts the books of one subscription.
func (s *refSub) stats() broadcast.SubscriberStats {
	head := s.head
	if s.err == nil {
		head = s.chat.head
	}
	return broadcast.SubscriberStats{
		Delivered: s.delivered, Missed: s.missed, Pending: uint64(s.count()), Discarded: s.discarded,
		Joined: s.joined, Head: head,
	}
}

// stats predicts the numbers of the broker.
func (b *refBroker) stats() broadcast.Stats {
	sum := b.counts
	sum.Chats, sum.Subscribers = len(b.chats), b.open()
	for _, s := range b.subs {
		books := s.stats()
		sum.Delivered += books.Delivered
		sum.Missed += books.Missed
		sum.Pending += books.Pending
		sum.Discarded += books.Discarded
	}
	return sum
}

// devices predicts Devices.
func (b *refBroker) devices(chat string) []string {
	devices := []string{}
	if c := b.chats[chat]; c != nil {
		for _, s := range c.readers {
			devices = append(devices, s.device)
		}
	}
	slices.Sort(devices)
	return devices
}
