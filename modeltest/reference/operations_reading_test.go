package reference_test

import (
	"fmt"
	"iter"
	"slices"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast"
)

// sub chooses a subscription: one that is open or one of the last that were made.
func (m *model) sub(by byte) *modelSub {
	var some []*modelSub
	for i, s := range m.subs {
		if s.ref.err == nil || i >= len(m.subs)-3 {
			some = append(some, s)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return choose(some, by)
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

func (m *model) opNext(o op)   { m.next(m.reader(o.a), m.finite(o.b), false) }
func (m *model) opGoNext(o op) { m.next(m.reader(o.a), m.context(o.b), true) }

// next calls Next.
func (m *model) next(s *modelSub, ctx modelContext, background bool) {
	if s == nil || !s.mayWait() {
		return
	}
	c := m.call(fmt.Sprintf("Next(%s, %s)", ctx.name, s.name), ctx.cancel, func(c *modelCall) {
		c.got, c.err = s.Next(ctx)
	})
	m.expect(c, m.ref.next(s.ref, &ctx.ref, c.seen()), background)
}

func (m *model) opTryNext(o op) {
	if s := m.reader(o.a); s != nil {
		m.tryNext(s)
	}
}

// tryNext calls TryNext.
func (m *model) tryNext(s *modelSub) {
	var d, want broadcast.Delivery[int]
	var ok bool
	m.do(func() { d, ok = s.TryNext() })
	m.logf("TryNext(%s): %v, %v", s.name, d, ok)
	assert.Equal(orStop, s.ref.count() > 0, ok, "TryNext %s", s.name)
	if ok {
		want = m.ref.take(s.ref, d.Message)
	}
	assert.Equal(orStop, want, visible(d), "TryNext %s", s.name)
}

// takes returns how many messages can be taken before a publisher may be let in: at that moment, what is read next
// depends on the scheduler.
func (s *modelSub) takes() int {
	r := s.ref
	switch {
	case len(r.chat.queue) == 0:
		return r.count()
	case slices.Contains(r.chat.queue[0].awaited, r):
		return max(1, r.count()-r.buffer/2)
	case r.full() && r.spent && r.strategy.Sampling == broadcast.Block:
		return 1
	}
	return r.count()
}

func (m *model) opNextBatch(o op) {
	s := m.reader(o.a)
	if s == nil || !s.mayWait() {
		return
	}
	ctx := m.finite(o.c)
	n := choose([]int{1, 2, 3, 4, 8, 40}, o.b)
	if len(s.ref.chat.queue) > 0 {
		n = min(n, max(1, s.takes()))
	}
	into := make([]broadcast.Delivery[int], n)
	taken := 0
	c := m.call(fmt.Sprintf("NextBatch(%s, %s, %d)", ctx.name, s.name, n), ctx.cancel, func(c *modelCall) {
		taken, c.err = s.NextBatch(ctx, into)
		c.got = into[0]
	})
	available := s.ref.count()
	want := m.ref.next(s.ref, &ctx.ref, c.seen())
	if want.done && want.err == nil {
		<-c.done
		assert.Equal(orStop, min(n, available), taken, "%s", c.name)
		for _, d := range into[1:taken] {
			m.logf("… %v", d)
			assert.Equal(orStop, m.ref.take(s.ref, d.Message), visible(d), "%s", c.name)
		}
	}
	m.expect(c, want, false)
	assert.LessOrEqual(orStop, taken, max(1, available), "%s", c.name)
}

func (m *model) opAll(o op) {
	if s := m.reader(o.a); s != nil && s.mayWait() {
		ctx := m.finite(o.c)
		m.iterate("All", s, ctx, s.All(ctx), o)
	}
}

func (m *model) opMessages(o op) {
	s := m.reader(o.a)
	if s == nil || !s.mayWait() {
		return
	}
	ctx := m.finite(o.c)
	inSteps := s.ref.strategy.pick == nil && s.ref.strategy.Sampling == broadcast.DropOldest && s.ref.buffer >= 32
	if inSteps {
		ctx = m.context(0)
	}
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
func (m *model) iterate(name string, s *modelSub, ctx modelContext, deliveries iter.Seq[broadcast.Delivery[int]], o op) {
	name = fmt.Sprintf("%s(%s, %s)", name, ctx.name, s.name)
	next := func(seen int) refCall {
		call := ctx.ref
		m.ref.next(s.ref, &call, seen)
		m.logf("%s: %d", name, seen)
		at := m.now()
		m.sync()
		assert.True(orStop, call.done, "%s should wait", name)
		assert.Equal(orStop, call.at, at, "%s: when", name)
		return call
	}
	m.do(func() {
		left := choose([]int{1, 2, 3, 5, 9, 70}, o.b)
		for d := range deliveries {
			want := next(d.Message)
			assert.NoError(orStop, want.err, "%s", name)
			if d.Seq == 0 { // a message only
				want.got = broadcast.Delivery[int]{Message: want.got.Message}
			}
			assert.Equal(orStop, want.got, visible(d), "%s", name)
			if left--; left == 0 {
				return
			}
			if m.inLoop(s, op{a: o.c, b: o.b, c: o.a, d: o.d}); !s.mayWait() {
				return
			}
		}
		assert.Error(orStop, next(0).err, "%s ended", name)
	})
}

// inLoop does something in the body of a loop, the same after every message.
func (m *model) inLoop(s *modelSub, o op) {
	switch o.d % 16 {
	case 0, 1, 2:
		m.publish(s.Chat(), m.context(o.d>>4), false) // to the chat that it reads
	case 3:
		m.opSubscribe(o) // perhaps in place of the subscription that it reads
	case 4:
		assert.NoError(orStop, s.Close())
		m.ref.discard(s.ref, broadcast.ErrClosed)
	case 5:
		m.opEndUntil(o)
	case 6:
		m.opSleep(o)
	case 7:
		m.opGoPublish(o)
	}
	m.sync()
}

// iterateInSteps runs a loop over Messages of a reader that reports what it has taken in steps: so nobody looks
// before the loop is left.
func (m *model) iterateInSteps(s *modelSub, deliveries iter.Seq[broadcast.Delivery[int]], o op) {
	left := min(s.takes(), choose([]int{1, 2, 3, 5, 9, 70}, o.b))
	if left == 0 {
		return
	}
	var got []int
	m.do(func() {
		for d := range deliveries {
			if got = append(got, d.Message); len(got) < left {
				continue
			}
			if o.d%4 == 0 {
				_ = s.Close()
			}
			return
		}
	})
	synctest.Wait()
	m.logf("Messages(%s): %v", s.name, got)
	assert.Len(orStop, got, left, "Messages(%s)", s.name)
	for _, msg := range got {
		assert.Equal(orStop, m.ref.take(s.ref, msg).Message, msg, "Messages(%s)", s.name)
	}
	if o.d%4 == 0 {
		m.ref.discard(s.ref, broadcast.ErrClosed)
	}
}

// opChan receives from Chan if there is something, and calls it before for the first time.
func (m *model) opChan(o op) {
	s := m.sub(o.a)
	if s == nil || s.ref.reading != nil || s.ref.err != nil {
		return
	}
	r := s.ref
	if r.gone > 0 && len(r.chat.queue) > 0 {
		return // whether what we get was dropped could not be told from the books
	}
	s.ch = s.Chan()
	synctest.Wait()
	select {
	case d, ok := <-s.ch:
		synctest.Wait()
		m.logf("Chan(%s): %v, %v", s.name, d, ok)
		assert.True(orStop, ok, "Chan(%s)", s.name)
		m.received(s, d)
	default:
		m.logf("Chan(%s): nothing", s.name)
		assert.Zero(orStop, r.count(), "Chan(%s)", s.name)
	}
}

// received compares what Chan gave. It may be a message that was dropped while it was offered.
func (m *model) received(s *modelSub, d broadcast.Delivery[int]) {
	r := s.ref
	dropped := slices.IndexFunc(r.offered, func(i refItem) bool { return i.msg == d.Message })
	if r.gone > 0 && s.Stats().Missed < r.missed {
		dropped = slices.IndexFunc(r.pending, func(i refItem) bool { return i.msg == d.Message })
		assert.GreaterOrEqual(orStop, dropped, 0, "Chan(%s) gave %v", s.name, d)
		r.offered = r.pending[:dropped+1]
		r.pending = r.pending[dropped+1:]
		r.gone -= dropped + 1
	}
	if dropped < 0 {
		assert.Positive(orStop, r.count(), "Chan(%s) gave %v", s.name, d)
		assert.Equal(orStop, m.ref.take(r, d.Message), visible(d), "Chan(%s)", s.name)
		return
	}
	r.missed--
	assert.Equal(orStop, m.ref.taken(r, r.offered[dropped]), visible(d), "Chan(%s)", s.name)
}
