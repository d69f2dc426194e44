package reference_test

import (
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/fbd86cad/broadcast"
)

// compareCall reports whether a call has returned, as it should have.
func (m *model) compareCall(c *modelCall) bool {
	select {
	case <-c.done:
	default:
		if c.want.done {
			m.fail("%s has not returned %v at %v", c.name, c.want.err, c.want.at)
		}
		return false
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	if !c.want.done {
		m.fail("%s returned %v, %v at %v", c.name, c.got, c.err, c.at)
	}
	if c.want.at != c.at {
		m.fail("%s returned at %v instead of %v", c.name, c.at, c.want.at)
	}
	if !c.returned {
		// A sampler exited the goroutine of the publisher that called it, which is after the
		// message was accepted.
		if !m.exits || c.want.err != nil || c.want.msg == 0 {
			m.fail("%s exited", c.name)
		}
		return true
	}
	if m.logging {
		m.logf("%s returned %v, %v", c.name, c.got, c.err)
	}
	m.compareError(c.want.err, c.err, c.name)
	m.compareDelivery(c.want.got, c.got, c.name)
	if c.want.chat != nil && c.err == nil {
		m.comparePosition(refPosition{c.want.chat, c.got.Seq}, c.got.Position(), c.name)
	}
	reached.called(c.want)
	return true
}

// compareDelivery compares what can be predicted of a delivery: all but the epoch in its position,
// which is random.
func (m *model) compareDelivery(want, got broadcast.Delivery[int], of string) {
	visible := broadcast.Delivery[int]{
		Chat: got.Chat, Seq: got.Seq, Missed: got.Missed, Kind: got.Kind, Device: got.Device, Message: got.Message,
	}
	if want != visible {
		m.fail("%s: %+v instead of %+v", of, visible, want)
	}
	reached.delivered(want)
}

func (m *model) compareError(want, got error, of string) {
	if want == got {
		return
	}
	if want == errModelExit || want == errModelPanic {
		var failed *broadcast.PanicError
		if !errors.As(got, &failed) || (want == errModelExit) != (failed.Value == nil) || len(failed.Stack) == 0 {
			m.fail("%s: no PanicError as it should be: %v", of, got)
		}
		if want == errModelExit {
			return
		}
	}
	ended := want == errModelDone || want == errModelFailed
	if want == nil || !errors.Is(got, want) || ended && !errors.Is(got, broadcast.ErrEnded) {
		m.fail("%s: error %v instead of %v", of, got, want)
	}
}

// comparePosition compares a position with that of the reference. The first one of a log tells its
// epoch.
func (m *model) comparePosition(want refPosition, got broadcast.Position, of string) {
	text := "-" + strconv.FormatUint(want.seq, 36)
	if want.chat.epoch == "" {
		want.chat.epoch, _ = cutPosition(got)
		for _, s := range m.subs {
			if c := s.ref.chat; c != want.chat && c.epoch == want.chat.epoch {
				m.fail("%s: two logs have the epoch %q", of, c.epoch)
			}
		}
	}
	if text = want.chat.epoch + text; got.String() != text {
		m.fail("%s: position %v instead of %v", of, got, text)
	}
}

// compareEnd compares whether, why and when a subscription has ended.
func (m *model) compareEnd(s *modelSub) {
	if s.compared {
		return
	}
	r, endedAt := s.ref, time.Duration(s.endedAt.Load())
	if r.err == nil {
		if r.stall > 0 && !s.uncertain() {
			if _, last := m.ref.stallsBetween(r); m.now() > last {
				m.fail("%s should have stalled until %v", s.name, last)
			}
		}
		if endedAt != 0 || s.Err() != nil {
			m.fail("%s ended at %v with %v", s.name, endedAt, s.Err())
		}
		return
	}
	reached.ended(r.err)
	m.compareError(r.err, s.Err(), s.name)
	if endedAt != r.endedAt {
		m.fail("%s: Done was closed at %v instead of %v", s.name, endedAt, r.endedAt)
	}
	if s.ch != nil {
		select {
		case d, ok := <-s.ch:
			if ok {
				m.fail("%s ended, Chan gave %+v", s.name, d)
			}
		default:
			m.fail("%s ended, Chan is not closed", s.name)
		}
		s.ch = nil
	}
	s.compared = true
}

// compareAll compares the books of all and who is there.
func (m *model) compareAll() {
	for _, s := range m.subs {
		m.compareSubscription(s)
	}
	want, got := m.ref.stats(), m.real.Stats()
	waiting := 0
	for _, c := range m.ref.chats {
		waiting += len(c.queue)
	}
	if got.PublishersWaiting != waiting {
		m.fail("%d publishers wait instead of %d", got.PublishersWaiting, waiting)
	}
	got.PublishersWaiting, got.PublishersWaited, got.PublishWait, got.OutOfPatience = 0, 0, 0, 0
	if want != got {
		m.fail("the books of the broker: %+v\ninstead of            %+v", got, want)
	}
	if want, got := m.ref.names(), m.real.Chats(); !slices.Equal(want, got) {
		m.fail("chats %v instead of %v", got, want)
	}
	for _, chat := range modelChats {
		want, exists := m.ref.chatStats(chat)
		got, ok := m.real.ChatStats(chat)
		got.Replaced, got.Disconnected, got.Stalled = 0, 0, 0
		got.PublishersWaiting, got.PublishersWaited, got.PublishWait, got.OutOfPatience = 0, 0, 0, 0
		if want != got || exists != ok {
			m.fail("the books of %s: %+v, %v\ninstead of %+v, %v", chat, got, ok, want, exists)
		}
		if want, got := m.ref.devices(chat), m.real.Devices(chat); !slices.Equal(want, got) {
			m.fail("devices of %s: %v instead of %v", chat, got, want)
		}
	}
}

// compareSubscription compares the books of one subscription, and where it is.
func (m *model) compareSubscription(s *modelSub) {
	want, got := s.ref.books(), s.Stats()
	if want != got {
		m.fail("the books of %s: %+v\ninstead of %+v", s.name, got, want)
	}
	if got.Head-got.Joined != got.Delivered+got.Missed+got.Pending+got.Discarded {
		m.fail("the books of %s do not balance: %+v", s.name, got)
	}
	if s.ref.err != s.Err() {
		m.compareError(s.ref.err, s.Err(), s.name)
	}
	if s.ref.reading != nil {
		return // its position is for the reading goroutine
	}
	if got := s.Position(); got != s.position || s.at != s.ref.last {
		m.comparePosition(refPosition{s.ref.chat, s.ref.last}, got, s.name)
		s.position, s.at = got, s.ref.last
	}
}
