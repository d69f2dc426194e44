package broadcast_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// told takes what waits for a follower and returns it as text: messages as "1", comings and goings as "+ann@1" and "-ann@1", with the
// Seq that they carry.
func told(s *broadcast.Subscriber[int]) string {
	var all []string
	for d, ok := s.TryNext(); ok; d, ok = s.TryNext() {
		all = append(all, telling(d))
	}
	return strings.Join(all, " ")
}

func telling(d broadcast.Delivery[int]) string {
	switch d.Kind {
	case broadcast.Joined:
		return fmt.Sprintf("+%s@%d", d.Device, d.Seq)
	case broadcast.Left:
		return fmt.Sprintf("-%s@%d", d.Device, d.Seq)
	case broadcast.Resync:
		return "resync"
	}
	return fmt.Sprint(d.Message)
}

// Promise 32.
func TestJoinedAndLeftComeInOrderWithTheMessages(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithSampling(strategy))
		s := b.join(chat, "follower", broadcast.WithPresence())
		ann := b.join(chat, "ann")
		b.publish(chat, 1, 2)
		bob := b.join(chat, "bob")
		require.NoError(t, ann.Close())
		b.publish(chat, 3)
		require.NoError(t, bob.Close())
		require.Equal(t, "+ann@0 1 2 +bob@2 -ann@2 3 -bob@3", told(s))
		require.Equal(t, broadcast.SubscriberStats{Delivered: 3, Head: 3}, requireBooks(t, s), "they are in no books")
	})
}

func TestAllWaysOfReadingTellPresence(t *testing.T) {
	const want = "+ann@0 1 -ann@1"
	ways := map[string]func(s *broadcast.Subscriber[int]) (all []string){
		"Next": func(s *broadcast.Subscriber[int]) (all []string) {
			for range 3 {
				d, _ := s.Next(context.Background())
				all = append(all, telling(d))
			}
			return all
		},
		"NextBatch": func(s *broadcast.Subscriber[int]) (all []string) {
			batch := make([]broadcast.Delivery[int], 10)
			n, _ := s.NextBatch(context.Background(), batch)
			for _, d := range batch[:n] {
				all = append(all, telling(d))
			}
			return all
		},
		"All": func(s *broadcast.Subscriber[int]) (all []string) {
			for d := range s.All(context.Background()) {
				if all = append(all, telling(d)); len(all) == 3 {
					break
				}
			}
			return all
		},
		"Chan": func(s *broadcast.Subscriber[int]) (all []string) {
			for range 3 {
				all = append(all, telling(<-s.Chan()))
			}
			return all
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "follower", broadcast.WithPresence())
				ann := b.join(chat, "ann")
				b.publish(chat, 1)
				require.NoError(t, ann.Close())
				require.Equal(t, want, strings.Join(way(s), " "))
			})
		})
	}
}

func TestMessagesDoesNotShowPresence(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "follower", broadcast.WithPresence())
		reader := readMessages(t.Context(), s)
		for i := range 10 {
			ann := b.join(chat, "ann")
			b.publish(chat, i)
			require.NoError(t, ann.Close())
			synctest.Wait()
		}
		require.NoError(t, b.Shutdown(t.Context()))
		require.Equal(t, from(0, 9), <-reader)
	})
}

// readMessages reads with Messages until the end.
func readMessages(ctx context.Context, s *broadcast.Subscriber[int]) <-chan []int {
	all := make(chan []int, 1)
	go func() {
		var taken []int
		for msg := range s.Messages(ctx) {
			taken = append(taken, msg)
		}
		all <- taken
	}()
	return all
}

func TestAFollowerThatWaitsIsWokenByPresenceAndNobodyElseIs(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s, other := b.join(chat, "follower", broadcast.WithPresence()), b.join(chat, "other")
		next := func(s *broadcast.Subscriber[int]) <-chan string {
			answer := make(chan string, 1)
			go func() {
				d, err := s.Next(t.Context())
				if err == nil {
					answer <- telling(d)
				}
			}()
			synctest.Wait()
			return answer
		}
		require.Equal(t, "+other@0", <-next(s))
		follower, silent := next(s), next(other)
		require.Zero(t, elapsed(func() {
			ann := b.join(chat, "ann")
			require.Equal(t, "+ann@0", <-follower)
			follower = next(s)
			require.NoError(t, ann.Close())
			require.Equal(t, "-ann@0", <-follower)
			follower = next(s)
			require.Empty(t, silent)
			b.publish(chat, 1)
			require.Equal(t, "1", <-follower)
			require.Equal(t, "1", <-silent)
		}))
	})
}

// "A takeover is not a leave."
func TestATakeoverIsNeitherJoinedNorLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		b.join(chat, "ann")
		s := b.join(chat, "follower", broadcast.WithPresence())
		b.join(chat, "ann")
		require.NoError(t, b.join(chat, "ann").Close())
		require.Equal(t, "-ann@0", told(s))
	})
}

// "Nobody is told of itself."
func TestNobodyIsToldOfItself(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		b.join(chat, "ann", broadcast.WithPresence())
		ann := b.join(chat, "ann", broadcast.WithPresence())
		bob := b.join(chat, "bob", broadcast.WithPresence())
		require.Equal(t, "+bob@0", told(ann))
		require.Empty(t, told(bob))
	})
}

// Promise 32: one Left per Joined, whatever ended it.
func TestThereIsOneLeftForEveryJoinedWhateverEndedIt(t *testing.T) {
	ends := map[string]func(b *auditedBroker[int]){
		"Close": func(b *auditedBroker[int]) {
			s := b.join(chat, "ann")
			for range 3 {
				_ = s.Close()
			}
		},
		"Until": func(b *auditedBroker[int]) {
			ctx, cancel := context.WithCancel(context.Background())
			b.join(chat, "ann", broadcast.Until(ctx))
			cancel()
			synctest.Wait()
		},
		"Until with a cause of ours": func(b *auditedBroker[int]) {
			ctx, cancel := context.WithCancelCause(context.Background())
			b.join(chat, "ann", broadcast.Until(ctx))
			cancel(broadcast.ErrReplaced)
			synctest.Wait()
		},
		"Disconnect": func(b *auditedBroker[int]) {
			b.join(chat, "ann", broadcast.WithSampling(broadcast.Disconnect), broadcast.WithBuffer(1))
			b.publish(chat, 1, 2)
		},
		"stall": func(b *auditedBroker[int]) {
			b.join(chat, "ann", broadcast.WithStallTimeout(time.Second))
			b.publish(chat, 1)
			sleep(2 * time.Minute)
		},
		"panic": func(b *auditedBroker[int]) {
			b.join(chat, "ann", broadcast.WithBuffer(1), broadcast.WithSampler(func(broadcast.Backlog[int], int) int { panic("!") }))
			b.publish(chat, 1, 2)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "follower", broadcast.WithPresence())
				end(b)
				all := told(s)
				require.Equal(t, 1, strings.Count(all, "+ann"), all)
				require.Equal(t, 1, strings.Count(all, "-ann"), all)
				require.Equal(t, []string{"follower"}, b.Devices(chat))
			})
		})
	}
}

func TestCloseAndShutdownAnnounceNobody(t *testing.T) {
	for _, grace := range []time.Duration{0, time.Second} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithLeaveGrace(grace))
			s := b.join(chat, "follower", broadcast.WithPresence())
			ann := b.join(chat, "ann")
			b.publish(chat, 1)
			takeAll(t, ann)
			answer := async(func() error { return b.Shutdown(t.Context()) })
			synctest.Wait()
			require.ErrorIs(t, ann.Err(), broadcast.ErrClosed, "has nothing left to take")
			sleep(time.Minute)
			require.Equal(t, "+ann@0 1", told(s))
			require.NoError(t, (<-answer).err)
			require.Empty(t, told(s))
		})
	}
}

// "A device that comes back within d never left."
func TestADeviceThatComesBackWithinTheGraceNeverLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const grace = 5 * time.Second
		b := newBroker[int](t, broadcast.WithLeaveGrace(grace))
		s := b.join(chat, "follower", broadcast.WithPresence())
		for range 100 {
			require.NoError(t, b.join(chat, "ann").Close())
			require.Equal(t, []string{"ann", "follower"}, b.Devices(chat))
			time.Sleep(grace - 1)
		}
		require.Equal(t, "+ann@0", told(s))
		sleep(1)
		require.Equal(t, "-ann@0", told(s), "at exactly the end of the grace")
		require.Equal(t, []string{"follower"}, b.Devices(chat))
	})
}

func TestManyDevicesLeaveEachAtTheEndOfItsGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Second))
		s := b.join(chat, "follower", broadcast.WithPresence())
		for i := range 100 {
			require.NoError(t, b.join(chat, fmt.Sprint(i)).Close())
			time.Sleep(time.Millisecond)
			if i%3 == 0 {
				require.NoError(t, b.join(chat, fmt.Sprint(i)).Close()) // its grace begins anew
			}
		}
		told(s)
		sleep(900 * time.Millisecond)
		for i := range 100 {
			var want []string
			if i%3 == 1 {
				want = append(want, fmt.Sprintf("-%d@0", i-1))
			}
			if i%3 != 0 {
				want = append(want, fmt.Sprintf("-%d@0", i))
			}
			require.Equal(t, strings.Join(want, " "), told(s))
			sleep(time.Millisecond)
		}
	})
}

// "A reader that lost events gets one Delivery of Kind Resync."
func TestAFollowerThatLostEventsGetsOneResync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "follower", broadcast.WithPresence())
		for i := range 256 {
			b.join(chat, fmt.Sprint("a", i))
		}
		require.Len(t, strings.Fields(told(s)), 256, "as many as are kept")
		for i := range 257 {
			b.join(chat, fmt.Sprint("b", i))
		}
		b.publish(chat, 1)
		require.Equal(t, "resync 1", told(s))
		b.join(chat, "ann")
		require.Equal(t, "+ann@1", told(s))
	})
}

func TestAsManyEventsAreKeptAsTheLargestFollowersBuffer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		small := b.join(chat, "small", broadcast.WithPresence())
		for i := range 100 {
			b.join(chat, fmt.Sprint("a", i))
		}
		large := b.join(chat, "large", broadcast.WithPresence(), broadcast.WithBuffer(1_000))
		for i := range 899 {
			b.join(chat, fmt.Sprint("b", i))
		}
		require.Len(t, strings.Fields(told(small)), 1_000)
		require.Len(t, strings.Fields(told(large)), 899)
	})
}

// Presence and sampling: what is lost are messages, not events.
func TestAReaderThatLosesMessagesKeepsItsEvents(t *testing.T) {
	forStrategies(t, lossy[:2], func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "follower", broadcast.WithPresence(), broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		for i := 1; i <= 5; i++ {
			b.publish(chat, i)
			b.join(chat, fmt.Sprint("d", i))
		}
		if strategy == broadcast.DropOldest {
			require.Equal(t, "+d1@1 +d2@2 +d3@3 4 +d4@4 5 +d5@5", told(s))
		} else {
			require.Equal(t, "1 +d1@1 2 +d2@2 +d3@3 +d4@4 +d5@5", told(s))
		}
		require.EqualValues(t, 3, requireBooks(t, s).Missed)
	})
}

func TestAReplayComesBeforeWhoJoinedAfterIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(10, 0))
		b.publish(chat, 1, 2)
		s := b.join(chat, "follower", broadcast.WithPresence(), broadcast.Replay(10))
		b.join(chat, "ann")
		b.publish(chat, 3)
		require.Equal(t, "1 2 +ann@2 3", told(s))
	})
}

func TestFollowersThatHaveGoneLeaveNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := unaudited[int](t)
		b.join(chat, "stays")
		requireFlat(t, 10_000, func(i int) {
			s := b.join(chat, fmt.Sprint(i), broadcast.WithPresence())
			soon, cancel := context.WithTimeout(t.Context(), 1)
			defer cancel()
			_, _ = s.Next(soon)
			require.NoError(t, s.Close())
		})
		require.Empty(t, broadcast.Leftovers(b.Broker))
	})
}

// 10 000 devices of which each follows: what they do for each other must not be 10 000 times 10 000 things.
func TestARoomThatFillsAtOnceIsLinearWork(t *testing.T) {
	fill := func(n int) time.Duration {
		b := unaudited[int](t, broadcast.WithLogger(nil))
		start := time.Now()
		for i := range n {
			b.join(chat, fmt.Sprint(i), broadcast.WithPresence())
		}
		return time.Since(start)
	}
	fill(1_000)
	small, large := time.Hour, time.Hour
	for range 20 { // a busy machine may need some; squared work would be 16 times too much each time
		small, large = min(small, fill(1_000)), min(large, fill(16_000))
		if large < 16*8*small {
			return
		}
	}
	t.Fatalf("16 times as many took %v instead of %v", large, small)
}
