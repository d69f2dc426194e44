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

// Promise 6.
func TestTheBooksBalanceAtEveryStepOfEveryStrategy(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0), broadcast.WithPublishTimeout(time.Second))
		var subs []*broadcast.Subscriber[int]
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			subs = append(subs, b.join(chat, s.String(), broadcast.WithSampling(s)))
		}
		subs = append(subs, b.join(chat, "sampler", broadcast.WithSampler(
			func(backlog broadcast.Backlog[int], _ int) int { return backlog.Len() / 2 })))

		for range 200 {
			if rand.IntN(3) > 0 {
				_ = b.TryPublish(chat, 0) // refused while Block has no room: in the books as well
			} else {
				subs[rand.IntN(len(subs))].TryNext()
			}
			b.requireBooks()
		}
	})
}

func TestSeqCountsFromOneInEachChatWithoutHoles(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		red, blue := b.join("red", "device"), b.join("blue", "device")
		for i := 1; i <= 100; i++ {
			b.publish("red", i)
			if i%2 == 0 {
				b.publish("blue", i/2)
			}
		}
		for _, d := range append(takeAll(t, red), takeAll(t, blue)...) {
			require.EqualValues(t, d.Message, d.Seq, "in %s", d.Chat)
		}
	})
}

func TestARefusedMessageHasNoSeq(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[string](t)
		s := b.join(chat, "full", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		b.publish(chat, "first")
		require.ErrorIs(t, b.TryPublish(chat, "refused"), broadcast.ErrOverloaded)
		take(t, s, 1)
		b.publish(chat, "second")
		require.Equal(t, []broadcast.Delivery[string]{{Chat: chat, Seq: 2, Message: "second"}}, bare(takeAll(t, s)...))
	})
}

func TestJoinedIsTheHeadWhenSubscribeReturned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		for i := range 5 {
			s := b.join(chat, string(rune('a'+i)))
			require.Equal(t, broadcast.SubscriberStats{Joined: uint64(i), Head: uint64(i)}, s.Stats())
			b.publish(chat, i)
		}
	})
}

func TestHeadStandsStillOnceTheSubscriptionHasEnded(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		before := s.Stats()
		for i := range 10 { // the chat goes on, unless the broker has ended with it
			_ = b.TryPublish(chat, i)
		}
		require.Equal(t, before, requireBooks(t, s))
	})
}

func TestCallsOfPublishAreAcceptedPlusRejected(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "full", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		done, cancel := context.WithCancel(t.Context())
		cancel()
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()

		b.publish(chat, 1)      // accepted
		b.publish("nobody", 1)  // accepted, for nobody
		b.publish("nobody2", 1) // accepted
		for _, refused := range []error{
			b.Publish(t.Context(), "", 2),
			b.Publish(noContext, chat, 2),
			b.Publish(done, chat, 2),
			b.Publish(soon, chat, 2),
			b.Publish(t.Context(), chat, 2), // its timeout
			b.TryPublish(chat, 2),
			b.TryPublish("\xff", 2),
		} {
			require.Error(t, refused)
		}
		waiting := async(func() error { return b.Publish(t.Context(), chat, 2) })
		synctest.Wait()
		require.NoError(t, b.Close())
		require.ErrorIs(t, (<-waiting).err, broadcast.ErrClosed)
		require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrClosed)

		stats := b.Stats()
		require.EqualValues(t, 3, stats.Accepted)
		require.EqualValues(t, 9, stats.Rejected)
		require.EqualValues(t, 1, s.Stats().Head)
	})
}

func TestStatsAreTheSumsOverAllSubscriptionsThatEverWere(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		for i := range 5 {
			other := b.join("other", "device", broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.DropOldest))
			b.publish("other", 1, 2, 3)
			take(t, other, 1)
			if i%2 == 0 {
				require.NoError(t, other.Close())
			}
		}
		b.requireBooks()
		e.act(b, s)
		b.requireBooks()
		s.TryNext()
		b.requireBooks()
	})
}

func TestStatsCountWhatEndedAndWhatWasCleaned(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(1), broadcast.WithPatience(0),
			broadcast.WithCleanInterval(time.Second), broadcast.WithChatIdle(time.Minute))

		b.join(chat, "replaced")
		s := b.join(chat, "replaced")
		b.join(chat, "disconnected", broadcast.WithSampling(broadcast.Disconnect))
		b.join(chat, "stalled", broadcast.WithStallTimeout(time.Second))
		b.publish(chat, 1, 2)
		time.Sleep(2 * time.Second)
		require.NoError(t, s.Close())
		time.Sleep(time.Minute + time.Second)

		stats := b.Stats()
		require.EqualValues(t, 1, stats.Replaced)
		require.EqualValues(t, 1, stats.Disconnected)
		require.EqualValues(t, 1, stats.Stalled)
		require.EqualValues(t, 1, stats.ChatsCleaned)
		require.Zero(t, stats.Chats)
		require.Zero(t, stats.Subscribers)
	})
}

// Promise 7, with a delivery that follows and without.
func TestEveryLossShowsInMissed(t *testing.T) {
	forStrategies(t, []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest, broadcast.DropRandom}, func(t *testing.T, s broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(5), broadcast.WithPatience(0))
		reader := b.join(chat, "reader", broadcast.WithSampling(s))

		var expected, missed uint64 = 1, 0 // the Seq that would follow without a loss
		for round := range 50 {
			b.publish(chat, make([]int, 3*round)...)
			for range 1 + round%5 {
				d, ok := reader.TryNext()
				if !ok {
					break
				}
				require.GreaterOrEqual(t, d.Seq, expected, "taken before")
				require.Equal(t, expected+d.Missed, d.Seq)
				expected, missed = d.Seq+1, missed+d.Missed
			}
		}
		books := requireBooks(t, reader)
		require.LessOrEqual(t, missed, books.Missed, "told by deliveries more than lost")

		for _, d := range takeAll(t, reader) {
			expected, missed = d.Seq+1, missed+d.Missed
		}
		books = requireBooks(t, reader)
		require.Equal(t, books.Head-expected+1, books.Missed-missed, "lost after the last delivery")
		require.Zero(t, books.Pending)
	})
}

// Promise 7: with the next delivery, and with no other.
func TestALossIsToldOnce(t *testing.T) {
	for name, read := range map[string]func(s *broadcast.Subscriber[int], n int) []broadcast.Delivery[int]{
		"TryNext": func(s *broadcast.Subscriber[int], n int) (taken []broadcast.Delivery[int]) {
			for range n {
				d, _ := s.TryNext()
				taken = append(taken, d)
			}
			return taken
		},
		"NextBatch": func(s *broadcast.Subscriber[int], n int) []broadcast.Delivery[int] {
			taken := make([]broadcast.Delivery[int], n)
			n, _ = s.NextBatch(context.Background(), taken)
			return taken[:n]
		},
		"All": func(s *broadcast.Subscriber[int], n int) (taken []broadcast.Delivery[int]) {
			for d := range s.All(context.Background()) {
				if taken = append(taken, d); len(taken) == n {
					break
				}
			}
			return taken
		},
		"Chan": func(s *broadcast.Subscriber[int], n int) (taken []broadcast.Delivery[int]) {
			for range n {
				taken = append(taken, <-s.Chan())
			}
			return taken
		},
	} {
		t.Run(name, func(t *testing.T) {
			forStrategies(t, []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest}, func(t *testing.T, strategy broadcast.Sampling) {
				b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithPatience(0), broadcast.WithHistory(3, 0))
				p := b.join(chat, "first").Position()
				b.publish(chat, from(1, 10)...)
				s := b.join(chat, "second", broadcast.Resume(p), broadcast.WithSampling(strategy))
				require.Equal(t, []uint64{7, 0, 0}, missed(read(s, 3)), "gone at the Resume")
				b.publish(chat, from(11, 20)...)
				told := missed(read(s, 4))
				b.publish(chat, from(21, 23)...)
				told = append(told, missed(read(s, 3))...)
				if strategy == broadcast.DropOldest {
					require.Equal(t, []uint64{6, 0, 0, 0, 0, 0, 0}, told)
				} else {
					require.Equal(t, []uint64{0, 0, 0, 0, 6, 0, 0}, told)
				}
			})
		})
	}
}

// missed returns what each of some deliveries tells of losses.
func missed(deliveries []broadcast.Delivery[int]) (told []uint64) {
	for _, d := range deliveries {
		told = append(told, d.Missed)
	}
	return told
}

func TestStatsRememberAChatThatWasForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0))
		s := b.join(chat, "device")
		b.publish(chat, 1, 2, 3, 4)
		take(t, s, 1)
		require.NoError(t, s.Close())
		before := b.Stats()
		require.Equal(t, broadcast.Stats{Chats: 1, Accepted: 4, Delivered: 1, Missed: 2, Discarded: 1}, before)
		sleep(idle + interval)
		before.Chats, before.ChatsCleaned = 0, 1
		require.Equal(t, before, b.Stats())
	})
}
