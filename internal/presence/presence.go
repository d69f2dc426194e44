// Package presence tracks the presence of devices in a chat: a log of the events, for the readers
// that follow presence, and the devices that have left but may still come back. It knows devices,
// the positions of messages, and time. It knows neither messages nor subscriptions, and leaves
// waking followers to its caller.
//
// The events have a log of their own. Each says which message it follows, and a reader takes it
// before the first message after that. An event is stored once, however many followers there are.
// The last events are kept: 256, or as many as the largest buffer of a follower. A follower that
// falls further behind gets a single event, [Resync], for those that it lost.
//
// A few waiting followers are woken for each event at once, many less often: see [State.BeginWake].
//
// A device that has left is absent until its grace is over. If it comes back before that, no event
// tells that it left. Memory use follows the number of devices that are absent now, and the cost of
// an operation does not depend on it.
package presence

import (
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/internal/parking"
)

// State is the presence of one chat. The zero State has no followers and no absent devices.
//
// The lock of the chat guards it and its Followers: only the holder of that lock may call their
// methods, except for [State.Lot] and [Follower.Behind], which take no lock. No method blocks.
type State struct {
	// feed is nil while there are no followers. It is stored under the lock; publishers load it
	// without, to wake followers.
	feed   atomic.Pointer[feed]
	absent *absence // nil if no device is absent
}

// Lot returns the lot in which followers wait, or nil if there are none. It is safe for concurrent
// use.
func (s *State) Lot() *parking.Lot {
	if f := s.feed.Load(); f != nil {
		return &f.parked
	}
	return nil
}

// Follow adds a follower. It gets all events from now on, provided that it is never behind by more
// than room events, or 256 if that is more. Unfollow must be called for it.
func (s *State) Follow(room uint64) *Follower {
	f := s.feed.Load()
	if f == nil {
		f = newFeed()
		s.feed.Store(f)
	}
	return f.add(room)
}

// Unfollow removes a follower; it must be called once. With the last follower the events are
// released, even if somebody still refers to a Follower. A nil Follower is ignored.
func (s *State) Unfollow(f *Follower) {
	if f == nil {
		return
	}
	if f.feed.remove(f); f.feed.followers == 0 {
		f.feed.release()
		s.feed.Store(nil)
	}
}

// Followers returns the number of followers.
func (s *State) Followers() int {
	if f := s.feed.Load(); f != nil {
		return f.followers
	}
	return 0
}

// Append appends an event, if there are followers. Call [State.BeginWake] next.
func (s *State) Append(e Event) {
	if f := s.feed.Load(); f != nil {
		f.events.Append(&e)
	}
}

// BeginWake reports whether the followers must be woken now because of an event that they were not
// woken for. If wake is true, it counts them as woken, and the caller must wake all that are parked
// in [State.Lot]. If it is too early after the last wakeup, BeginWake returns when to call it
// again; with hurry it is never too early.
func (s *State) BeginWake(now time.Time, hurry bool) (wake bool, again time.Time) {
	if f := s.feed.Load(); f != nil {
		return f.beginWake(now, hurry)
	}
	return false, again
}
