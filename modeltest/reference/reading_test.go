package reference_test

import (
	"fmt"
	"iter"
	"slices"
	"testing/synctest"

	"github.com/fbd86cad/broadcast"
)

// sub chooses a subscription: one that is open or one of the last that were made.
func (m *model) sub(by byte) *modelSub {
	n := 0
	for i, s := range m.subs {
		if s.ref.err == nil || i >= len(m.subs)-3 {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	at := int(by) % n
	for i, s := range m.subs {
		if s.ref.err == nil || i >= len(m.subs)-3 {
			if at--; at < 0 {
				return s
			}
		}
	}
	return nil
}

// reader chooses a subscription that nobody else is reading.
func (m *model) reader(by byte) *modelSub {
	s := m.sub(by)
	if s == nil || s.ref.reading != nil || s.ch != nil {
		return nil
	}
	return s
}

// mayWait reports whether a reader may wait for a message: see roomForWaiter.
func (s *modelSub) mayWait() bool { return s.ref.buffer >= len(s.ref.chat.queue) }

func (m *model) opNext(o args)   { m.next(m.reader(o[0]), m.finite(o[1]), false) }
func (m *model) opGoNext(o args) { m.next(m.reader(o[0]), m.context(o[1]), true) }

// next calls Next.
func (m *model) next(s *modelSub, ctx modelContext, background bool) {
	if s == nil || !s.mayWait() {
		return
	}
	c := m.call("Next "+ctx.name+" "+s.name, ctx.cancel, func(c *modelCall) { c.got, c.err = s.Next(ctx) })
	ctx.ref.seen = c.seen
	m.expect(c, m.ref.next(s.ref, &ctx.ref), background)
}

func (m *model) opTryNext(o args) {
	if s := m.reader(o[0]); s != nil {
		m.tryNext(s)
	}
}

// tryNext calls TryNext, and reports whether it took something.
func (m *model) tryNext(s *modelSub) bool {
	var d, want broadcast.Delivery[int]
	var ok bool
	m.do(func() { d, ok = s.TryNext() })
	s.ref.comes()
	if m.logging {
		m.logf("TryNext(%s): %v, %v", s.name, d, ok)
	}
	if ok != s.ref.readable() {
		m.fail("TryNext(%s): %+v, %v", s.name, d, ok)
	}
	if ok {
		want = m.take(s, d)
	}
	m.compareDelivery(want, d, s.name)
	return ok
}

// take lets the reference take what the real one took, and compares the position of that.
func (m *model) take(s *modelSub, d broadcast.Delivery[int]) broadcast.Delivery[int] {
	want := m.ref.take(s.ref, d)
	m.comparePosition(refPosition{s.ref.chat, want.Seq}, d.Position(), s.name)
	return want
}

// takes returns how many messages can be taken before a publisher may be let in: at that moment,
// what is read next depends on the scheduler.
func (s *modelSub) takes() int {
	r := s.ref
	switch {
	case len(r.chat.queue) == 0:
		return r.count()
	case slices.Contains(r.chat.queue[0].awaited, r):
		return max(1, r.count()-r.buffer/2)
	case r.full() && r.spent && r.blocks():
		return 1
	}
	return r.count()
}

func (m *model) opNextBatch(o args) {
	s := m.reader(o[0])
	if s == nil || !s.mayWait() {
		return
	}
	ctx := m.finite(o[2])
	n := choose([]int{1, 2, 3, 4, 8, 40}, o[1])
	if len(s.ref.chat.queue) > 0 {
		n = min(n, max(1, s.takes()))
	}
	into := make([]broadcast.Delivery[int], n)
	taken, read := 0, 1
	c := m.call(fmt.Sprint("NextBatch ", n, " ", ctx.name, " ", s.name), ctx.cancel, func(c *modelCall) {
		taken, c.err = s.NextBatch(ctx, into)
		c.got = into[0]
	})
	ctx.ref.seen = c.seen
	want := m.ref.next(s.ref, &ctx.ref)
	waits := !want.done
	if waits {
		m.expect(c, want, false)
	}
	<-c.done
	for i := 1; i < n && want.err == nil && s.ref.readable() && (i < taken || !waits); i++ { // what comes while it wakes, it may leave
		if i >= taken {
			m.fail("%s took %d", c.name, taken)
		}
		m.compareDelivery(m.take(s, into[i]), into[i], c.name)
		read = i + 1
	}
	if !waits {
		m.expect(c, want, false)
	}
	if taken > read {
		m.fail("%s took %d", c.name, taken)
	}
}

func (m *model) opTryNextBatch(o args) {
	s := m.reader(o[0])
	if s == nil {
		return
	}
	n := choose([]int{0, 1, 2, 3, 8, 40}, o[1])
	if len(s.ref.chat.queue) > 0 {
		n = min(n, max(1, s.takes()))
	}
	into := make([]broadcast.Delivery[int], n)
	var taken int
	m.do(func() { taken = s.TryNextBatch(into) })
	if n > 0 {
		s.ref.comes()
	}
	if m.logging {
		m.logf("TryNextBatch(%s, %d): %v", s.name, n, into[:taken])
	}
	for i := range n {
		if s.ref.readable() != (i < taken) {
			m.fail("TryNextBatch(%s, %d) took %d", s.name, n, taken)
		}
		if i == taken {
			return
		}
		m.compareDelivery(m.take(s, into[i]), into[i], s.name)
	}
}

func (m *model) opAll(o args) {
	if s := m.reader(o[0]); s != nil && s.mayWait() {
		ctx := m.finite(o[2])
		m.iterate("All", s, ctx, s.All(ctx), o)
	}
}

func (m *model) opMessages(o args) {
	s := m.reader(o[0])
	if s == nil || !s.mayWait() {
		return
	}
	ctx := m.finite(o[2])
	inSteps := s.ref.strategy.pick == nil && s.ref.strategy.Sampling == broadcast.DropOldest && s.ref.buffer >= 32
	if inSteps {
		ctx = m.context(0)
	}
	ctx.ref.messages = true
	messages := func(yield func(broadcast.Delivery[int]) bool) {
		for msg := range s.Messages(ctx) {
			if !yield(broadcast.Delivery[int]{Message: msg}) {
				return
			}
		}
	}
	if inSteps {
		m.iterateInSteps(s, messages, o)
	} else {
		m.iterate("Messages", s, ctx, messages, o)
	}
}

// iterate runs a loop over All or Messages, and compares in its body.
func (m *model) iterate(name string, s *modelSub, ctx modelContext, deliveries iter.Seq[broadcast.Delivery[int]], o args) {
	if m.logging {
		name = fmt.Sprintf("%s(%s, %s)", name, ctx.name, s.name)
	}
	next := func(seen broadcast.Delivery[int]) *refCall {
		call := new(refCall)
		*call = ctx.ref
		call.seen = func() broadcast.Delivery[int] { return seen }
		m.ref.next(s.ref, call)
		if m.logging {
			m.logf("%s: %v", name, seen)
		}
		at := m.now()
		m.sync()
		if !call.done || call.at != at {
			m.fail("%s: %v at %v, not %v", name, seen, at, call.at)
		}
		return call
	}
	m.do(func() {
		left := choose([]int{1, 2, 3, 5, 9, 70}, o[1])
		for d := range deliveries {
			want := next(d)
			if want.err != nil {
				m.fail("%s gave %v instead of ending with %v", name, d, want.err)
			}
			if ctx.ref.messages {
				want.got = broadcast.Delivery[int]{Message: want.got.Message}
			} else {
				m.comparePosition(refPosition{s.ref.chat, d.Seq}, d.Position(), name)
			}
			m.compareDelivery(want.got, d, name)
			if left--; left == 0 {
				return
			}
			if m.inLoop(s, o); !s.mayWait() {
				return
			}
		}
		if want := next(broadcast.Delivery[int]{}); want.err == nil {
			m.fail("%s ended instead of giving %v", name, want.got)
		}
	})
}

// inLoop does something in the body of a loop, the same after every message.
func (m *model) inLoop(s *modelSub, o args) {
	switch o[3] {
	case 1, 2, 8:
		m.publish(s.Chat(), m.context(o[4]), false) // to the chat that it reads
	case 3:
		m.opSubscribe(args{o[0], o[1], o[4], strategyOf(s), 0, 0, o[4], o[4], o[4]}) // perhaps in place of the subscription that it reads
	case 4:
		m.closeSubscriber(s)
	case 5:
		m.opEndUntil(args{o[4]})
	case 6:
		m.opSleep(args{o[4]})
	case 7:
		m.opGoPublish(args{o[4], o[0]})
	case 9:
		m.opReplay(args{o[0], o[4]})
	case 10:
		m.opClose(args{})
	}
	m.sync()
}

// strategyOf returns the number of a subscription's strategy.
func strategyOf(s *modelSub) byte {
	for i, strategy := range modelStrategies {
		if strategy.String() == s.ref.strategy.String() {
			return byte(i)
		}
	}
	return 0
}

// iterateInSteps runs a loop over Messages of a reader that reports what it has taken in steps: so
// nobody looks before the loop is left.
func (m *model) iterateInSteps(s *modelSub, deliveries iter.Seq[broadcast.Delivery[int]], o args) {
	left := min(s.takes(), choose([]int{1, 2, 3, 5, 9, 70}, o[1]))
	if left == 0 {
		return
	}
	var got []int
	closes := o[3]%4 == 3
	m.do(func() {
		for d := range deliveries {
			if got = append(got, d.Message); len(got) < left {
				continue
			}
			if closes {
				_ = s.Close()
			}
			return
		}
	})
	synctest.Wait()
	if m.logging {
		m.logf("Messages(%s): %v", s.name, got)
	}
	if len(got) != left {
		m.fail("Messages(%s) gave %v, not %d", s.name, got, left)
	}
	for _, msg := range got {
		want := m.ref.take(s.ref, broadcast.Delivery[int]{Message: msg})
		for want.Kind != broadcast.Published {
			want = m.ref.take(s.ref, broadcast.Delivery[int]{Message: msg})
		}
		if want.Message != msg {
			m.fail("Messages(%s) gave %d instead of %d", s.name, msg, want.Message)
		}
	}
	if closes {
		m.ref.discard(s.ref, broadcast.ErrClosed)
	}
}
