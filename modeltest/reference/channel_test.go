package reference_test

import (
	"slices"
	"testing/synctest"

	"github.com/fbd86cad/broadcast"
)

// opChan receives from Chan if there is something, and calls it before for the first time.
func (m *model) opChan(o args) {
	s := m.sub(o[0])
	if s == nil || s.ref.reading != nil || s.ref.err != nil {
		return
	}
	r := s.ref
	if r.gone > 0 && len(r.chat.queue) > 0 {
		return // whether what we get was dropped could not be told from the books
	}
	if s.ch == nil {
		s.offered = len(r.chat.events)
		r.buffer++ // what it offers does not count
		r.comes()
		m.ref.settle(r.chat)
	}
	s.ch = s.Chan()
	synctest.Wait()
	select {
	case d, ok := <-s.ch:
		synctest.Wait()
		if m.logging {
			m.logf("Chan(%s): %v, %v", s.name, d, ok)
		}
		if !ok {
			m.fail("Chan(%s) is closed", s.name)
		}
		s.skipCovered(func(next refEvent) bool { return next.precedes(d) })
		want := m.received(s, d)
		m.ref.drained(r)
		m.compareDelivery(want, d, "Chan "+s.name)
		m.comparePosition(refPosition{r.chat, d.Seq}, d.Position(), s.name)
	default:
		if m.logging {
			m.logf("Chan(%s): nothing", s.name)
		}
		s.skipCovered(func(refEvent) bool { return false })
		if r.readable() {
			m.fail("Chan(%s) has nothing", s.name)
		}
	}
	s.offered = len(r.chat.events)
}

// skipCovered skips the events that a Resync from Chan may have covered, until one is as it must
// be.
func (s *modelSub) skipCovered(fits func(next refEvent) bool) {
	for r := s.ref; r.told < s.covered; r.told++ {
		next, ok := r.nextEvent() // a Resync, if it may be told none of those that were covered: but perhaps these were not
		if ok && r.told < s.covered && (fits(next) || fits(r.chat.events[r.told])) {
			return
		}
	}
}

// uncertain reports whether it is open what a follower is told next, if anything: see skipCovered.
func (s *modelSub) uncertain() bool { return s.ref.told < s.covered }

// precedes reports whether a delivery may be what it is if this is the next event.
func (e refEvent) precedes(d broadcast.Delivery[int]) bool {
	if d.Kind == broadcast.Published {
		return e.seq >= d.Seq
	}
	return e.kind == d.Kind && (e.kind == broadcast.Resync || e.device == d.Device && e.seq == d.Seq)
}

// received returns what Chan should have given. It may be something that was dropped while it was
// offered.
func (m *model) received(s *modelSub, d broadcast.Delivery[int]) broadcast.Delivery[int] {
	r := s.ref
	reached.countIf(toldByChan, d.Kind != broadcast.Published)
	if !r.readable() {
		m.fail("Chan(%s) gave %+v", s.name, d)
	}
	e, _ := r.nextEvent()
	if e.kind == broadcast.Resync && d.Kind != broadcast.Resync {
		return m.beforeResync(r, d)
	}
	if d.Kind != broadcast.Published {
		if e.kind == broadcast.Resync && s.Err() == nil {
			s.covered = len(r.chat.events)
			return m.ref.told(r, r.last, e, s.offered)
		}
		return m.ref.takeNext(r, d)
	}
	dropped := slices.IndexFunc(r.offered, func(i refItem) bool { return i.msg == d.Message })
	if r.gone > 0 && s.Stats().Missed < r.missed {
		if dropped = slices.IndexFunc(r.pending, func(i refItem) bool { return i.msg == d.Message }); dropped < 0 {
			m.fail("Chan(%s) gave %+v", s.name, d)
		}
		r.offered = r.pending[:dropped+1]
		r.pending = r.pending[dropped+1:]
		r.gone -= dropped + 1
	}
	if dropped < 0 {
		return m.ref.takeNext(r, d)
	}
	r.missed--
	return m.ref.taken(r, r.offered[dropped])
}

// beforeResync returns what Chan should have given if that was on offer before so much happened
// that a Resync is due.
func (m *model) beforeResync(r *refSub, d broadcast.Delivery[int]) broadcast.Delivery[int] {
	if e := r.chat.events[r.told]; d.Kind != broadcast.Published {
		return m.ref.told(r, e.seq, e, r.told+1)
	}
	r.follows = false
	defer func() { r.follows = true }()
	if r.count() == 0 {
		m.fail("Chan gave %+v instead of a Resync", d)
	}
	return m.ref.takeNext(r, d)
}
