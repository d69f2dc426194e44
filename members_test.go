package broadcast_test

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Promise 34.
func TestAnAnonymousReaderReadsLikeAnyOther(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithSampling(strategy), broadcast.WithHistory(2, 0))
		b.publish(chat, 1, 2)
		s := b.joinAnonymous(chat, broadcast.Replay(2))
		b.publish(chat, 3)
		require.Equal(t, from(1, 3), payloads(takeAll(t, s)))
		require.Equal(t, chat, s.Chat())
		require.Empty(t, s.Device())
		require.Equal(t, []string{chat}, b.Chats())
		require.NoError(t, s.Close())
		require.Empty(t, b.Chats())
	})
}

// Promise 34.
func TestNobodyTakesOverAnAnonymousSubscription(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		first, second, ann := b.joinAnonymous(chat), b.joinAnonymous(chat), b.join(chat, "ann")
		b.publish(chat, 1)
		for _, s := range []*broadcast.Subscriber[int]{first, second, ann} {
			require.Equal(t, []int{1}, payloads(takeAll(t, s)))
		}
		require.Zero(t, b.Stats().Replaced)
	})
}

// Promise 34.
func TestNobodyIsToldOfAnonymousReaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Second))
		ann := b.join(chat, "ann", broadcast.WithPresence())
		s := b.joinAnonymous(chat, broadcast.WithPresence())
		require.Equal(t, []string{"ann"}, b.Devices(chat))
		require.NoError(t, s.Close())
		sleep(time.Hour)
		require.Empty(t, told(ann))
		require.Equal(t, []string{"ann"}, b.Devices(chat))
	})
}

// Promise 34.
func TestAnAnonymousReaderMayFollowPresence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.joinAnonymous(chat, broadcast.WithPresence())
		require.NoError(t, b.join(chat, "ann").Close())
		require.Equal(t, "+ann@0 -ann@0", told(s))
	})
}

// Promise 34.
func TestAnonymousReadersCountInTheLimits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithMaxSubscribers(3), broadcast.WithMaxChats(1))
		b.join(chat, "ann")
		s := b.joinAnonymous(chat)
		b.joinAnonymous(chat)
		require.Equal(t, 3, b.Stats().Subscribers)
		_, err := b.SubscribeAnonymous(chat)
		require.ErrorIs(t, err, broadcast.ErrLimit)
		_, err = b.Subscribe(chat, "ben")
		require.ErrorIs(t, err, broadcast.ErrLimit)
		_, err = b.SubscribeAnonymous("another chat")
		require.ErrorIs(t, err, broadcast.ErrLimit)
		b.join(chat, "ann") // a takeover is never refused
		require.NoError(t, s.Close())
		b.joinAnonymous(chat)
	})
}

// Promise 34. What ends many readers does so in pieces, and the last one takes the place of each
// one that ends.
func TestAnonymousReadersMayEndInAnyOrder(t *testing.T) {
	for name, end := range map[string]func(b *auditedBroker[int]){
		"Close": func(b *auditedBroker[int]) { _ = b.Close() },
		"Shutdown": func(b *auditedBroker[int]) {
			require.ErrorIs(b.t, shutDownWithin(b), context.DeadlineExceeded, "some have yet to take a message")
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				for range 3 * piece {
					b.joinAnonymous(chat)
				}
				b.publish(chat, 1)
				subs := append([]*broadcast.Subscriber[int](nil), b.subs...)
				rand.Shuffle(len(subs), func(i, j int) { subs[i], subs[j] = subs[j], subs[i] })
				for i, s := range subs[:piece] {
					require.NoError(t, s.Close())
					require.Equal(t, len(subs)-i-1, b.Stats().Subscribers)
				}
				for _, s := range subs[piece : 2*piece] {
					takeAll(t, s)
				}
				b.requireBooks()
				end(b)
				requireAllEnded(t, b)
			})
		})
	}
}

// Promise 34.
func TestAnonymousReadersThatEndWhileAllAreVisitedHideNoOther(t *testing.T) {
	b := newBroker[int](t)
	for range reduced(100) {
		var leaving []*broadcast.Subscriber[int]
		for range 4 * piece {
			leaving = append(leaving, b.joinAnonymous(chat))
		}
		var staying []*broadcast.Subscriber[int]
		for range piece {
			staying = append(staying, b.joinAnonymous(chat))
		}
		rand.Shuffle(len(leaving), func(i, j int) { leaving[i], leaving[j] = leaving[j], leaving[i] })
		accepted := b.Stats().Accepted
		b.publish(chat, 1)
		left := async(func() error {
			for _, s := range leaving {
				_ = s.Close()
			}
			return nil
		})
		for len(left) == 0 {
			stats := b.Stats()
			require.Equal(t, stats.Delivered+stats.Missed+stats.Pending+stats.Discarded, 5*piece*(accepted+1))
		}
		for _, s := range staying {
			require.NoError(t, s.Err())
			require.NoError(t, s.Close())
		}
	}
}

// Promise 28.
func TestAnonymousReadersThatHaveGoneLeaveNothing(t *testing.T) {
	b := unaudited[int](t)
	requireFlat(t, 1_000_000, func(int) { require.NoError(t, b.joinAnonymous(chat).Close()) })
	bubble(t, func(t *testing.T) {
		b := unaudited[int](t, broadcast.WithChatIdle(time.Minute))
		s := b.joinAnonymous(chat)
		sleep(time.Hour)
		require.NoError(t, s.Err())
		require.NoError(t, s.Close())
		sleep(time.Minute + interval)
		synctest.Wait()
		require.Zero(t, b.Stats().Chats)
	})
}
