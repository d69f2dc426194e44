package presence

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// tell tells that devices have joined after a message.
func tell(s *State, seq uint64, devices ...string) {
	for _, device := range devices {
		s.Append(Event{Seq: seq, Kind: Joined, Device: device})
	}
}

// many returns so many names.
func many(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	return names
}

// told takes the events that come before message next, for a follower that has taken message last.
func told(f *Follower, last, next uint64) (all []Event) {
	for e, ok := f.Next(last, next); ok; e, ok = f.Next(last, next) {
		f.Settle()
		all = append(all, e)
	}
	return all
}

func TestAFollowerIsToldWhatComesAfterItBegan(t *testing.T) {
	var s State
	require.Nil(t, s.Lot())
	tell(&s, 0, "nobody hears")
	early := s.Follow(1)
	tell(&s, 0, "ann")
	late := s.Follow(1)
	require.True(t, early.Behind())
	require.False(t, late.Behind())
	s.Append(Event{Seq: 1, Kind: Left, Device: "ann"})
	require.Equal(t, []Event{{0, Joined, "ann"}, {1, Left, "ann"}}, told(early, 0, 9))
	require.Equal(t, []Event{{1, Left, "ann"}}, told(late, 0, 9))
	require.False(t, early.Behind())
	require.Same(t, s.Lot(), early.Lot())
	require.Equal(t, 2, s.Followers())
}

func TestAnEventComesBeforeTheMessageAfterIt(t *testing.T) {
	var s State
	f := s.Follow(1)
	tell(&s, 0, "a", "b")
	tell(&s, 2, "c")
	require.Len(t, told(f, 0, 1), 2)
	require.Empty(t, told(f, 1, 2))
	require.True(t, f.Behind())
	require.Equal(t, []Event{{2, Joined, "c"}}, told(f, 2, 3))
}

func TestNextIsTheSameUntilItWasTold(t *testing.T) {
	var s State
	f := s.Follow(1)
	tell(&s, 0, "a", "b")
	for range 3 {
		e, ok := f.Next(0, 1)
		require.True(t, ok)
		require.Equal(t, "a", e.Device)
	}
	f.Settle()
	e, _ := f.Next(0, 1)
	require.Equal(t, "b", e.Device)
}

func TestAFollowerThatIsBehindByMoreThanIsKeptGetsOneResync(t *testing.T) {
	var s State
	f := s.Follow(1)
	tell(&s, 0, many(minEvents)...)
	require.Len(t, told(f, 0, 1), minEvents)
	tell(&s, 7, many(minEvents+1)...)
	require.Equal(t, []Event{{Seq: 3, Kind: Resync}}, told(f, 3, 4))
	tell(&s, 7, "ann")
	require.Equal(t, []Event{{7, Joined, "ann"}}, told(f, 7, 8))
}

func TestWhoComesAfterAResyncWasFoundIsTold(t *testing.T) {
	var s State
	f := s.Follow(1)
	tell(&s, 0, many(minEvents+1)...)
	e, _ := f.Next(0, 1)
	require.Equal(t, Resync, e.Kind)
	tell(&s, 0, "ann")
	f.Settle()
	require.Equal(t, []Event{{0, Joined, "ann"}}, told(f, 0, 1))
}

func TestAsManyEventsAreKeptAsTheLargestFollowerHasRoomFor(t *testing.T) {
	var s State
	small := s.Follow(1)
	large, larger := s.Follow(1_000), s.Follow(2_000)
	lags := func(events int) bool {
		told(small, 0, 1)
		tell(&s, 0, many(events)...)
		e, _ := small.Next(0, 1)
		return e.Kind == Resync
	}
	require.False(t, lags(2_000))
	require.True(t, lags(2_001))
	s.Unfollow(larger)
	require.False(t, lags(1_000))
	require.True(t, lags(1_001))
	s.Unfollow(large)
	require.True(t, lags(minEvents+1))
	require.Zero(t, small.feed.events.Held())
}

func TestWhatWasLostStaysLostWhenMoreIsKept(t *testing.T) {
	var s State
	f := s.Follow(1)
	tell(&s, 0, many(minEvents+1)...)
	s.Follow(1_000)
	require.Equal(t, []Event{{Kind: Resync}}, told(f, 0, 1))
}

func TestTheLastFollowerLeavesNothing(t *testing.T) {
	var s State
	one, other := s.Follow(1), s.Follow(1_000)
	tell(&s, 0, "a")
	s.Unfollow(one)
	s.Unfollow(nil)
	require.NotNil(t, s.Lot())
	s.Unfollow(other)
	require.Nil(t, s.Lot())
	require.Zero(t, s.Followers())
	require.Empty(t, s.Leftovers())
	require.Equal(t, one.feed.events.Head(), one.feed.events.Base(), "held by one that has ended")
	require.False(t, s.Follow(1).Behind(), "what was told before is gone")
}

func TestANilFollowerIsNeverBehind(t *testing.T) {
	var f *Follower
	require.False(t, f.Behind())
	require.False(t, f.Woken())
}

// crowd returns the presence of a chat with so many followers, who were called just now.
func crowd(t *testing.T, followers int, now time.Time) (s *State, f *Follower) {
	s = new(State)
	for range followers {
		f = s.Follow(1)
	}
	tell(s, 0, "first")
	wake, _ := s.BeginWake(now, false)
	require.True(t, wake)
	return s, f
}

func TestFollowersAreCalledOnceForAnEvent(t *testing.T) {
	now := time.Now()
	s, f := crowd(t, fewFollowers, now)
	require.True(t, f.Woken())
	wake, again := s.BeginWake(now, false)
	require.False(t, wake, "they know")
	require.Zero(t, again)
	tell(s, 0, "next")
	wake, again = s.BeginWake(now, false)
	require.True(t, wake, "at the same time, because they are few")
	require.Zero(t, again)
	told(f, 0, 1)
	require.False(t, f.Woken())
	wake, again = new(State).BeginWake(now, false)
	require.False(t, wake, "nobody follows")
	require.Zero(t, again)
}

func TestACrowdIsLeftAloneForATimeThatGrowsWithIt(t *testing.T) {
	const followers = 10 * fewFollowers
	now := time.Now()
	s, f := crowd(t, followers, now)
	told(f, 0, 1)
	tell(s, 0, "next")
	wake, again := s.BeginWake(now, false)
	require.False(t, wake)
	require.Equal(t, now.Add(followers*wakeInterval), again)
	require.True(t, f.Behind())
	require.False(t, f.Woken(), "it cannot know")
	wake, _ = s.BeginWake(again.Add(-1), false)
	require.False(t, wake)
	wake, _ = s.BeginWake(again, false)
	require.True(t, wake)
	require.True(t, f.Woken())
}

func TestACrowdThatHasLostEventsIsLeftAloneForASecond(t *testing.T) {
	now := time.Now()
	s, _ := crowd(t, fewFollowers+1, now)
	tell(s, 0, many(minEvents+1)...)
	_, again := s.BeginWake(now, false)
	require.Equal(t, now.Add(time.Second), again)
}

func TestInAHurryNobodyIsLeftAlone(t *testing.T) {
	now := time.Now()
	s, _ := crowd(t, fewFollowers+1, now)
	tell(s, 0, "next")
	wake, _ := s.BeginWake(now, true)
	require.True(t, wake)
}
