package reference_test

import (
	"slices"
	"time"

	"github.com/fbd86cad/broadcast"
)

// keptEvents is how many comings and goings wait for a follower at most: the larger of this and its
// buffer, which is smaller here.
const keptEvents = 256

// refEvent is a coming or going.
type refEvent struct {
	seq    uint64 // the message that it follows
	kind   broadcast.Kind
	device string
	at     time.Duration
	told   bool // to some follower
}

// refAbsence is a device that went and may come back.
type refAbsence struct {
	device string
	until  time.Duration
}

// nextEvent returns the next event that it is to be told: none but Resync if too many wait.
func (s *refSub) nextEvent() (e refEvent, ok bool) {
	if !s.follows || s.err != nil || s.chat.ended != nil {
		return e, false
	}
	events := s.chat.events
	if len(events)-s.told > keptEvents {
		return refEvent{kind: broadcast.Resync}, true
	}
	if s.told == len(events) {
		return e, false
	}
	return events[s.told], true
}

// orderEvents puts the event that was seen in front of those that happened at the same moment, if
// nobody was told of them yet: what ends several subscriptions in one step does so in any order.
func (s *refSub) orderEvents(seen broadcast.Delivery[int]) {
	if _, ok := s.nextEvent(); !ok || seen.Kind != broadcast.Left {
		return
	}
	events := s.chat.events[s.told:]
	for i, e := range events {
		if e.told || e.kind != broadcast.Left || e.at != events[0].at {
			return
		}
		if e.device == seen.Device {
			copy(events[1:i+1], events[:i])
			events[0] = e
			return
		}
	}
}

// told takes an event and returns it as it is delivered; next is the number of the one that is told
// after it. It is in no books.
func (b *refBroker) told(s *refSub, seq uint64, e refEvent, next int) broadcast.Delivery[int] {
	s.told, s.offered, s.waiting = next, nil, b.now
	return broadcast.Delivery[int]{Chat: s.chat.name, Seq: seq, Kind: e.kind, Device: e.device}
}

// came tells that a device is there that was not. Nobody is told of an anonymous reader, or in a
// chat that has ended.
func (b *refBroker) came(c *refChat, device string) {
	if device == "" || c.ended != nil {
		return
	}
	if i := slices.IndexFunc(c.absent, func(a refAbsence) bool { return a.device == device }); i >= 0 {
		c.absent = slices.Delete(c.absent, i, i+1) // it never left
		reached.count(cameBack)
		return
	}
	b.tell(c, refEvent{seq: c.head(), kind: broadcast.Joined, device: device})
}

// went tells that a device is not there any more, unless it may come back. The end of the broker,
// or of the chat, tells nobody.
func (b *refBroker) went(s *refSub) {
	switch {
	case b.closed, s.chat.ended != nil, s.device == "":
	case s.chat.grace > 0:
		s.chat.absent = append(s.chat.absent, refAbsence{s.device, b.now + s.chat.grace})
	default:
		b.tell(s.chat, refEvent{seq: s.head, kind: broadcast.Left, device: s.device})
	}
}

// kick predicts Kick.
func (b *refBroker) kick(chat, device string, reason error) (present bool) {
	c := b.chat(chat)
	if c == nil {
		return false
	}
	if i := slices.IndexFunc(c.readers, func(s *refSub) bool { return s.device == device }); i >= 0 {
		b.discard(c.readers[i], reason)
		present = true
	}
	if i := slices.IndexFunc(c.absent, func(a refAbsence) bool { return a.device == device }); i >= 0 { // it has no grace
		c.absent = slices.Delete(c.absent, i, i+1)
		c.leftAt = b.now
		b.tellLeft(c, device)
		reached.countIf(kickedInGrace, !present)
		present = true
	}
	return present
}

// tellLeft announces that a device is gone for good, unless the broker is closed.
func (b *refBroker) tellLeft(c *refChat, device string) {
	if !b.closed {
		b.tell(c, refEvent{seq: c.head(), kind: broadcast.Left, device: device})
	}
}

// tell adds an event. Who waits for it is woken when the step is complete.
func (b *refBroker) tell(c *refChat, e refEvent) {
	e.at = b.now
	for _, s := range c.readers {
		if !s.readable() {
			s.waiting = b.now
		}
	}
	c.events = append(c.events, e)
}
