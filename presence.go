package broadcast

import (
	"fmt"
	"time"

	"github.com/fbd86cad/broadcast/internal/presence"
)

// Kind says what a [Delivery] is about. All kinds but Published occur only with [WithPresence].
type Kind uint8

const (
	// Published is a message.
	Published Kind = iota
	// Joined means that a device that was not present has subscribed.
	Joined
	// Left means that a device is no longer present.
	Left
	// Resync means that presence events were lost, because the reader was too far behind: call
	// [Broker.Devices] again.
	Resync
)

// String returns the name of the kind.
func (k Kind) String() string {
	switch k {
	case Published:
		return "Published"
	case Joined:
		return "Joined"
	case Left:
		return "Left"
	case Resync:
		return "Resync"
	}
	return fmt.Sprintf("Kind(%d)", int(k))
}

// kinds translates the kinds of package presence.
var kinds = [...]Kind{presence.Joined: Joined, presence.Left: Left, presence.Resync: Resync}

// endedLocked reports whether EndChat has ended the chat. Then no device is present, and no
// presence events are delivered.
func (c *chat[T]) endedLocked() bool { return c.closed != nil && c.closed != ErrBrokerClosed }

// addEventLocked adds an event if any reader follows presence.
func (c *chat[T]) addEventLocked(kind presence.Kind, device string) {
	if c.presence.Followers() > 0 {
		c.presence.Append(presence.Event{Seq: c.log.Head(), Kind: kind, Device: device})
		c.wakeFollowersLocked(time.Now())
	}
}

// wakeFollowersLocked lets the distributor wake the waiting followers if there is an event that
// they have not been woken for. If it is too early for that, it schedules the cleaner.
func (c *chat[T]) wakeFollowersLocked(now time.Time) {
	switch wake, again := c.presence.BeginWake(now, c.closed != nil); {
	case wake:
		c.shared.distributor.WakeLater(c.presence.Lot())
		c.armStallCheckLocked()
	case !again.IsZero():
		c.shared.agenda.ScheduleOnTime(c, again)
	}
}

// nextEventLocked returns the next event that comes before the next message, if there is one. No
// event is about the reader's own device, which is present as long as the subscription is open.
func (s *Subscriber[T]) nextEventLocked() (presence.Event, bool) {
	if !s.follower.Behind() || s.chat.endedLocked() {
		return presence.Event{}, false
	}
	return s.follower.Next(s.lastLocked(), s.nextLocked())
}

// eventDelivery turns a presence event into a delivery. Its position is not behind a mark that no
// message has shown to the reader: if it resumes there, a message will.
func (s *Subscriber[T]) eventDelivery(e presence.Event) Delivery[T] {
	numbers := s.numbers.Load()
	return Delivery[T]{
		Chat: s.chat.name, Seq: numbers.Within(e.Seq), Kind: kinds[e.Kind], Device: e.Device,
		epoch: s.chat.numbers.Epoch(numbers),
	}
}

// arrivedLocked records that a device that had no subscription has subscribed.
func (c *chat[T]) arrivedLocked(device string) {
	if c.feed.hasLocked(device) {
		c.feed.away--
		return
	}
	if !c.presence.Return(device) { // else it came back within its grace
		c.addEventLocked(presence.Joined, device)
	}
}

// departedLocked records that a device is no longer subscribed. During its grace, and while another
// node has it, it stays among the readers, with a nil subscriber.
func (c *chat[T]) departedLocked(device string) {
	if c.feed.hasLocked(device) {
		c.feed.away++
		c.readers.Set(device, nil)
		return
	}
	grace := c.config.leaveGrace
	if c.closed != nil || grace == 0 {
		c.leftLocked(device)
		return
	}
	c.readers.Set(device, nil)
	c.presence.Leave(device, time.Now().Add(grace))
	c.shared.agenda.ScheduleOnTime(c, c.presence.Grace())
}

// leftLocked removes a device. It tells the followers that the device has left, unless the chat is
// closed.
func (c *chat[T]) leftLocked(device string) {
	c.readers.Delete(device)
	if c.closed == nil {
		c.addEventLocked(presence.Left, device)
	}
}

// dropGraces ends the leave graces of a chat that has ended, without presence events.
func (c *chat[T]) dropGraces() {
	c.gate.Lock()
	defer c.gate.Unlock()
	var p pieces
	for c.presence.Absent() > 0 {
		device, _ := c.presence.Expire(c.presence.Grace())
		c.readers.Delete(device)
		p.visited(&c.gate)
	}
}

// expireGracesLocked removes the devices whose grace is over, as many as may be handled in one hold
// of the lock. It returns when the next grace ends, now if there may be more that have ended, or
// the zero time if there is none.
func (c *chat[T]) expireGracesLocked(now time.Time) (next time.Time) {
	for range pieceSize {
		device, ok := c.presence.Expire(now)
		if !ok {
			return c.presence.Grace()
		}
		c.leftLocked(device)
	}
	return now
}
