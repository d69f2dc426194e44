package presence

import (
	"time"

	"github.com/fbd86cad/broadcast/internal/parking"
	"github.com/fbd86cad/broadcast/internal/seglog"
)

// Kind is the kind of an [Event].
type Kind uint8

// The kinds.
const (
	Joined Kind = iota // a device has joined
	Left               // a device has left
	Resync             // events were lost
)

// An Event says that a device has joined or left.
type Event struct {
	Seq    uint64 // of the message that the event follows
	Kind   Kind
	Device string // empty for Resync
}

// minEvents is how many of the last events are kept at least.
const minEvents = 256

// A few waiting followers are woken for each event. Many are woken less often: the interval grows
// with their number, so that n devices that join at once do not cause n times n wakeups. It is
// longer when all followers have lost events, because a Resync is work for each of them.
const (
	fewFollowers   = 256
	wakeInterval   = 10 * time.Microsecond // for each follower
	resyncInterval = time.Second
)

// feed is the events of a chat and their followers.
type feed struct {
	// events are appended under the lock. Followers load the head after that of the messages, and
	// after they have parked, so that they take an event before the message that follows it.
	events seglog.Log[Event]
	parked parking.Lot // followers that wait, for a message or an event

	followers int
	lostOnce  uint64    // events up to it were lost before a follower made the feed keep more
	wokenAt   time.Time // when those that wait were last woken for an event
	wokenUpTo uint64    // the last event at that time
}

func newFeed() *feed { return &feed{events: seglog.New[Event](minEvents)} }

// A Follower is a reader's position in the events. A nil Follower belongs to a reader that does not
// follow presence.
type Follower struct {
	feed    *feed
	settled uint64 // the last event that its reader has taken; changed by it, under the lock
	found   uint64 // what settled will be when the reader has taken what Next has returned
	room    uint64 // how many events are kept because of it, if more than minEvents; otherwise 0
}

func (f *feed) add(room uint64) *Follower {
	f.followers++
	one := &Follower{feed: f, settled: f.events.Head()}
	if room > minEvents {
		one.room = room
		f.lostOnce = f.lost()
		f.events.Hold(room, nil)
	}
	return one
}

func (f *feed) remove(one *Follower) {
	f.followers--
	if one.room > 0 {
		f.events.Release(one.room)
	}
}

// release releases the events.
func (f *feed) release() {
	f.events.Expire(f.events.Head())
	f.events.Seal()
}

// size returns how many events are kept.
func (f *feed) size() uint64 { return max(minEvents, f.events.Held()) }

// lost returns the last event that is not kept any more, or 0 if all are. The log may still have
// it.
func (f *feed) lost() uint64 {
	head := f.events.Head()
	return max(f.lostOnce, head-min(head, f.size()))
}

// beginWake implements State.BeginWake.
func (f *feed) beginWake(now time.Time, hurry bool) (wake bool, again time.Time) {
	if f.wokenUpTo == f.events.Head() {
		return false, again
	}
	if at := f.wokenAt.Add(f.interval()); now.Before(at) && !hurry {
		return false, at
	}
	f.wokenAt, f.wokenUpTo = now, f.events.Head()
	return true, again
}

// interval returns how much time must pass after a wakeup before the next one.
func (f *feed) interval() time.Duration {
	switch {
	case f.followers <= fewFollowers:
		return 0
	case f.events.Head()-f.wokenUpTo > f.size():
		return max(resyncInterval, time.Duration(f.followers)*wakeInterval)
	}
	return time.Duration(f.followers) * wakeInterval
}

// Behind reports whether there is an event that the reader has not taken. It may be called by the
// follower's reader, and by the holder of the lock.
func (f *Follower) Behind() bool { return f != nil && f.feed.events.Head() != f.settled }

// Woken reports whether there is an event that the reader has not taken and was woken for, if it
// was waiting.
func (f *Follower) Woken() bool { return f != nil && f.settled < f.feed.wokenUpTo }

// Lot returns the lot in which the follower waits. f must not be nil.
func (f *Follower) Lot() *parking.Lot { return &f.feed.parked }

// Next returns the next event that comes before the next message, or false if there is none. last
// and next are the Seq of the message taken last and of the next one. Next returns the same event
// until [Follower.Settle], unless that is lost meanwhile. If events were lost, Next returns a
// Resync, which follows the message last.
func (f *Follower) Next(last, next uint64) (e Event, ok bool) {
	switch {
	case !f.Behind():
		return e, false
	case f.settled < f.feed.lost():
		f.found = f.feed.events.Head() // after a Resync nothing older is of interest
		return Event{Seq: last, Kind: Resync}, true
	}
	f.found = f.settled + 1
	e = *f.feed.events.Find(f.found).At(f.found)
	return e, e.Seq < next
}

// Settle records that the event returned by Next was taken.
func (f *Follower) Settle() { f.settled = f.found }
