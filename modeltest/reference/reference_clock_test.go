package reference_test

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast"
)

// close predicts Close.
func (b *refBroker) close() {
	b.refuseAll()
	b.over(b.draining, broadcast.ErrBrokerClosed)
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
		b.drained(s)
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
			b.refuse(call, broadcast.ErrBrokerClosed)
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
		b.end(s, s.chat.endsWith())
	}
	b.chats = nil
}

// open counts the open subscriptions.
func (b *refBroker) open() int {
	n := 0
	for _, c := range b.chats {
		n += len(c.readers)
	}
	return n
}

// refMoment is something that happens by itself.
type refMoment struct {
	at      time.Duration
	chat    *refChat
	sub     *refSub
	call    *refCall
	happens func(b *refBroker, m refMoment)
}

// advance moves the clock. On its way everything happens that is due: first what the last operation
// made possible.
func (b *refBroker) advance(to time.Duration) {
	for {
		for _, c := range b.chats {
			b.settle(c)
			b.wake(c)
		}
		m := b.nextMoment()
		if m.at > to {
			break
		}
		b.now = max(b.now, m.at)
		m.happens(b, m)
	}
	b.now = to
}

// nextMoment returns what happens next if nobody does anything.
func (b *refBroker) nextMoment() refMoment {
	next := refMoment{at: never}
	consider := func(m refMoment) {
		if m.at < next.at {
			next = m
		}
	}
	for _, c := range b.chats {
		for _, call := range c.queue {
			consider(refMoment{call.expires, c, nil, call, func(b *refBroker, m refMoment) { b.giveUp(m.chat, m.call, m.call.ctxErr) }})
		}
		if len(c.queue) > 0 {
			for _, s := range c.queue[0].awaited {
				consider(refMoment{c.deadline(s), c, nil, nil, func(*refBroker, refMoment) {}})
			}
		}
		for _, call := range c.queue {
			consider(refMoment{call.timeout, c, nil, call, func(b *refBroker, m refMoment) { b.giveUp(m.chat, m.call, broadcast.ErrOverloaded) }})
		}
		for _, s := range c.readers {
			if s.until != nil {
				consider(refMoment{s.until.expires, c, s, nil, func(b *refBroker, m refMoment) { b.discard(m.sub, m.sub.until.ctxErr) }})
			}
			if s.reading != nil {
				consider(refMoment{s.reading.expires, c, s, s.reading, func(b *refBroker, m refMoment) {
					m.sub.reading = nil
					b.finish(m.call, m.call.ctxErr)
				}})
			}
			consider(refMoment{s.stallsAt, c, s, nil, func(b *refBroker, m refMoment) { b.clean(m.chat) }})
		}
		if c.ended != nil && len(c.readers) > 0 {
			consider(refMoment{c.idleSince + c.chatIdle, c, nil, nil, func(b *refBroker, m refMoment) { b.cut(m.chat) }})
		}
		if len(c.absent) > 0 {
			consider(refMoment{c.absent[0].until, c, nil, nil, func(b *refBroker, m refMoment) { b.clean(m.chat) }})
		}
	}
	if call := b.draining; call != nil {
		consider(refMoment{call.expires, nil, nil, call, func(b *refBroker, m refMoment) { b.over(m.call, m.call.ctxErr) }})
	}
	return next
}

// clean is a cleaner's visit, one step: first readers stall, then devices leave.
func (b *refBroker) clean(c *refChat) {
	b.stall(c)
	b.leave(c)
}

// leave tells which devices have not come back in time.
func (b *refBroker) leave(c *refChat) {
	for len(c.absent) > 0 && c.absent[0].until <= b.now {
		reached.count(leftAfterGrace)
		b.tellLeft(c, c.absent[0].device)
		c.absent, c.leftAt = c.absent[1:], b.now
	}
}

// stall ends the subscriptions of a chat that were seen to stall now, in the order in which they
// were: it depends on when the cleaner first saw that something waits for each.
func (b *refBroker) stall(c *refChat) {
	readers := slices.Clone(c.readers)
	slices.SortStableFunc(readers, func(a, b *refSub) int { return cmp.Compare(a.stallPlace, b.stallPlace) })
	for _, s := range readers {
		if s.stallsAt > b.now {
			continue
		}
		if first, last := b.stallsBetween(s); b.now < first || b.now > last {
			b.broken = fmt.Sprintf("stalled at %v, not between %v and %v", b.now, first, last)
		}
		b.counts.Stalled++
		b.end(s, broadcast.ErrStalled)
	}
}

// stallsBetween returns the moments between which a reader has to stall if it goes on taking
// nothing.
func (b *refBroker) stallsBetween(s *refSub) (first, last time.Duration) {
	if s.err != nil || s.stall == 0 || !s.readable() {
		return never, never
	}
	first = s.waiting + s.stall
	return first, first + b.cleanInterval
}

// forgettable returns when the cleaner may forget a chat: it was idle, its history has expired, and
// nobody may come back. A chat that has ended is idle from then on, and neither its history nor who
// left it matters.
func (b *refBroker) forgettable(c *refChat) time.Duration {
	at := max(c.idleSince+c.chatIdle, c.leftAt)
	if len(c.readers) > 0 {
		return never
	}
	if c.ended != nil {
		return c.idleSince + c.chatIdle
	}
	for _, a := range c.absent {
		if a.until > b.now {
			return never
		}
		at = max(at, a.until) // at this moment, perhaps in the same step as what we look at
	}
	if c.history > 0 && len(c.log) > 0 {
		if c.age == 0 {
			return never
		}
		at = max(at, c.log[len(c.log)-1].at+c.age+1)
	}
	return at
}

// dueForCleaner returns the chats that the cleaner may forget by now, or could until the broker
// ended. Those that are due first come first.
func (b *refBroker) dueForCleaner() []*refChat {
	due := b.lastDue
	for _, c := range b.chats {
		if b.now >= b.forgettable(c) {
			due = append(due, c)
		}
	}
	slices.SortStableFunc(due, func(x, y *refChat) int { return cmp.Compare(b.forgottenBy(x), b.forgottenBy(y)) })
	return due
}

// forgottenBy returns when the cleaner has forgotten a chat at the latest: one that has ended as
// soon as it may.
func (b *refBroker) forgottenBy(c *refChat) time.Duration {
	at := b.forgettable(c)
	if c.ended != nil || at == never {
		return at
	}
	return at + b.cleanInterval
}

// forget forgets n chats that are due for the cleaner, and returns an error if so many cannot be or
// more have to be.
func (b *refBroker) forget(n int) error {
	due := b.dueForCleaner()
	if n < 0 || n > len(due) {
		return fmt.Errorf("%d chats were forgotten, %d could be", n, len(due))
	}
	if n < len(due) && !b.ended && b.now > b.forgottenBy(due[n]) {
		return fmt.Errorf("chat %s should have been forgotten", due[n].name)
	}
	b.chats = slices.DeleteFunc(b.chats, func(c *refChat) bool { return slices.Contains(due[:n], c) })
	b.counts.ChatsCleaned += uint64(n)
	for _, c := range due[:n] {
		reached.count(chatForgotten)
		reached.countIf(historyForgotten, c.history > 0 && len(c.log) > 0)
	}
	b.lastDue = nil
	return nil
}

// stats predicts the numbers of the broker.
func (b *refBroker) stats() broadcast.Stats {
	sum := b.counts
	sum.Chats, sum.Subscribers = len(b.chats), b.open()
	for _, s := range b.subs {
		books := s.books()
		sum.Delivered += books.Delivered
		sum.Missed += books.Missed
		sum.Pending += books.Pending
		sum.Discarded += books.Discarded
	}
	return sum
}

// chatStats predicts ChatStats, but for the counts of ends, which the reference has for the whole
// broker alone.
func (b *refBroker) chatStats(chat string) (sum broadcast.ChatStats, ok bool) {
	c := b.chat(chat)
	if c == nil {
		return sum, false
	}
	sum.Subscribers, sum.Accepted = len(c.readers), uint64(len(c.log))
	for _, s := range b.subs {
		if s.chat == c {
			books := s.books()
			sum.Delivered += books.Delivered
			sum.Missed += books.Missed
			sum.Pending += books.Pending
			sum.Discarded += books.Discarded
		}
	}
	return sum, true
}

// devices predicts Devices. Nobody is present in a chat that has ended.
func (b *refBroker) devices(chat string) []string {
	devices := []string{}
	if c := b.chat(chat); c != nil && c.ended == nil {
		for _, s := range c.readers {
			if s.device != "" {
				devices = append(devices, s.device)
			}
		}
		for _, a := range c.absent {
			devices = append(devices, a.device)
		}
	}
	slices.Sort(devices)
	return devices
}

// names predicts Chats.
func (b *refBroker) names() []string {
	names := []string{}
	for _, c := range b.chats {
		if len(c.readers) > 0 {
			names = append(names, c.name)
		}
	}
	slices.Sort(names)
	return names
}
