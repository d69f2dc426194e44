package broadcast

import (
	"fmt"
	"sync/atomic"
	"time"
)

// Kind says what a [Delivery] tells. All but Published come only with [WithPresence].
type Kind int

const (
	// Published is a message.
	Published Kind = iota
	// Joined says that a device has subscribed that was not there.
	Joined
	// Left says that a device is no longer subscribed.
	Left
	// Resync says that comings and goings were lost, because the reader was behind by more than are kept: ask
	// [Broker.Devices] again.
	Resync
)

// String returns the kind's name.
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

// minEvents is how many comings and goings a chat keeps for its followers at least; with larger buffers, as many as the largest.
const minEvents = 256

// presence is the comings and goings in a chat, for the readers that asked for them, its followers. They are kept beside the log,
// not in it: they have no Seq of their own, but that of the message they follow, and are in no books. A chat without
// followers has none of this. An event costs the same however many follow: they find it themselves.
type presence[T any] struct {
	// count is how many events there ever were: stored under the chat's lock after the event; loaded by followers before
	// they look for messages, and after they have parked.
	count  atomic.Uint64
	parked crowd // the followers that wait, be it for a message or an event

	// Guarded by the chat's lock.
	followers int
	size      int     // how many events are kept at most
	events    []event // the last ones; event i is at index i modulo the length
	kept      uint64  // how many of events there are
}

// event is one coming or going.
type event struct {
	seq    uint64 // the message that it follows
	kind   Kind
	device string
}

// follower is a reader's place in the comings and goings. It is the reading goroutine's, which moves it under the chat's lock.
type follower[T any] struct {
	presence *presence[T]
	next     uint64 // the event to be told next
	after    uint64 // what next will be when what nextEventLocked has found was told
}

// behind reports whether there is an event to be told. A reader that does not follow is never behind.
func (f *follower[T]) behind() bool { return f != nil && f.presence.count.Load() != f.next }

// followLocked makes a reader a follower from now on.
func (c *chat[T]) followLocked(s *Subscriber[T]) {
	p := c.presence.Load()
	if p == nil {
		p = &presence[T]{size: minEvents}
		c.presence.Store(p)
	}
	p.followers++
	p.size = max(p.size, int(s.buffer))
	s.follower = &follower[T]{presence: p, next: p.count.Load()}
}

// unfollowLocked ends followLocked; the last follower leaves nothing behind.
func (c *chat[T]) unfollowLocked(s *Subscriber[T]) {
	if s.follower == nil {
		return
	}
	p := s.follower.presence
	if p.followers--; p.followers == 0 {
		p.events, p.kept = nil, 0
		c.presence.Store(nil)
	}
}

// tellLocked adds an event, if there is anybody to tell. wakeFollowers must come after, with the lock free.
func (c *chat[T]) tellLocked(kind Kind, device string) {
	if p := c.presence.Load(); p != nil {
		p.add(event{c.log.Head(), kind, device})
	}
}

// wakeFollowers wakes the followers that wait.
func (c *chat[T]) wakeFollowers() {
	if p := c.presence.Load(); p != nil {
		c.broker.distributor.wake(&p.parked)
	}
}

func (p *presence[T]) add(e event) {
	n := p.count.Load()
	if size := len(p.events); p.kept == uint64(size) && size < p.size {
		p.grow(min(p.size, max(8, 2*size)))
	}
	size := uint64(len(p.events))
	p.events[n%size] = e
	p.kept = min(p.kept+1, size)
	p.count.Store(n + 1)
}

// first returns the number of the first event that is kept.
func (p *presence[T]) first() uint64 { return p.count.Load() - p.kept }

func (p *presence[T]) grow(size int) {
	events := make([]event, size)
	for i := p.first(); i < p.count.Load(); i++ {
		events[i%uint64(size)] = p.events[i%uint64(len(p.events))]
	}
	p.events = events
}

// nextEventLocked looks for the next event that comes before a message, and reports whether there is one. A reader is not
// told of its own device.
func (s *Subscriber[T]) nextEventLocked(before uint64) (event, bool) {
	f := s.follower
	if f == nil {
		return event{}, false
	}
	p := f.presence
	if f.next < p.first() {
		f.after = p.count.Load() // after a Resync nothing older is of interest
		return event{seq: s.lastLocked(), kind: Resync}, true
	}
	for ; f.next < p.count.Load(); f.next++ {
		if e := p.events[f.next%uint64(len(p.events))]; e.device != s.device {
			f.after = f.next + 1
			return e, e.seq < before
		}
	}
	return event{}, false
}

// takeEventLocked takes the next event, if one comes before the next message.
func (s *Subscriber[T]) takeEventLocked(d *Delivery[T]) bool {
	e, ok := s.nextEventLocked(s.nextSeqLocked())
	if ok {
		*d = s.tell(e)
		s.follower.next = s.follower.after
	}
	return ok
}

func (s *Subscriber[T]) tell(e event) Delivery[T] {
	return Delivery[T]{Chat: s.chat.name, Seq: e.seq, Kind: e.kind, Device: e.device, epoch: s.chat.epoch}
}

// nextSeqLocked returns the Seq of the message that an open reader takes next, now or later.
func (s *Subscriber[T]) nextSeqLocked() uint64 {
	if s.backlog != nil && s.backlog.active {
		return s.backlog.oldestSeq()
	}
	return s.position() + s.lost(s.chat.log.Head()) + 1
}

// absence is the devices of a chat that have gone and may come back within the grace; nil if there are none. Guarded by the chat's lock.
type absence struct {
	devices map[string]uint64 // the ticket of the one that left last, by device
	queue   []leaver          // in the order in which they left, which is that of their deadlines; some have come back
	tickets uint64
}

type leaver struct {
	device   string
	ticket   uint64
	deadline time.Time
}

// gone returns the devices.
func (a *absence) gone() map[string]uint64 {
	if a == nil {
		return nil
	}
	return a.devices
}

// cameLocked notes that a device is there that was not.
func (c *chat[T]) cameLocked(device string) {
	if _, ok := c.absent.gone()[device]; ok {
		delete(c.absent.gone(), device) // it never left
		return
	}
	c.tellLocked(Joined, device)
}

// wentLocked notes that a device is not there any more, unless it comes back within the grace.
func (c *chat[T]) wentLocked(device string) {
	grace := c.broker.config.leaveGrace
	if grace == 0 {
		c.tellLocked(Left, device)
		return
	}
	if c.absent == nil {
		c.absent = &absence{devices: make(map[string]uint64)}
	}
	a := c.absent
	a.tickets++
	a.devices[device] = a.tickets
	a.forgetReturned()
	a.queue = append(a.queue, leaver{device, a.tickets, time.Now().Add(grace)})
	c.broker.cleaner.scheduleAt(c, a.queue[0].deadline)
}

// forgetReturned removes those that have come back from the queue, when they are the most of it.
func (a *absence) forgetReturned() {
	if len(a.queue) < 2*len(a.devices)+16 {
		return
	}
	still := a.queue[:0]
	for _, l := range a.queue {
		if a.devices[l.device] == l.ticket {
			still = append(still, l)
		}
	}
	clear(a.queue[len(still):])
	a.queue = still
}

// leaveLocked lets those leave whose grace is over, and returns when the next one's will be; the zero time is never.
func (c *chat[T]) leaveLocked(now time.Time) (next time.Time) {
	a := c.absent
	for a != nil && len(a.queue) > 0 {
		l := a.queue[0]
		gone := a.devices[l.device] == l.ticket
		if gone && now.Before(l.deadline) {
			return l.deadline
		}
		if gone {
			delete(a.devices, l.device)
			c.tellLocked(Left, l.device)
		}
		a.queue = a.queue[1:]
	}
	c.absent = nil
	return time.Time{}
}
