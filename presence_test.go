package broadcast_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

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
			require.ErrorIs(t, ann.Err(), broadcast.ErrBrokerClosed, "has nothing left to take")
			sleep(time.Minute)
			require.Equal(t, "+ann@0 1", told(s))
			require.NoError(t, (<-answer).err)
			require.Empty(t, told(s))
		})
	}
}

// Promises 32 and 42.
func TestDuringShutdownNobodyIsToldWhoLeaves(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Second))
		s := b.join(chat, "follower", broadcast.WithPresence())
		b.join(chat, "open")
		closed := b.join(chat, "closed")
		for _, graced := range []string{"graced", "kicked in its grace"} {
			require.NoError(t, b.join(chat, graced).Close())
		}
		b.publish(chat, 1)
		answer := async(func() error { return b.Shutdown(t.Context()) })
		synctest.Wait()
		require.True(t, b.Kick(chat, "open", nil))
		require.True(t, b.Kick(chat, "kicked in its grace", nil))
		require.NoError(t, closed.Close())
		sleep(time.Minute)
		require.Equal(t, []string{"follower"}, b.Devices(chat))
		require.Equal(t, "+open@0 +closed@0 +graced@0 +kicked in its grace@0 1", told(s))
		require.NoError(t, (<-answer).err)
	})
}

// Promise 29, for comings and goings as for messages: also those behind the last message.
func TestShutdownTellsFollowersWhoCameAndWentBeforeIt(t *testing.T) {
	const want = "1 +ann@1 +bob@1 -ann@1"
	ways := map[string]func(ctx context.Context, s *broadcast.Subscriber[int]) (all []string){
		"TryNext": func(_ context.Context, s *broadcast.Subscriber[int]) []string { return strings.Fields(told(s)) },
		"All": func(ctx context.Context, s *broadcast.Subscriber[int]) (all []string) {
			for d := range s.All(ctx) {
				all = append(all, telling(d))
			}
			return all
		},
		"Chan": func(_ context.Context, s *broadcast.Subscriber[int]) (all []string) {
			for d := range s.Chan() {
				all = append(all, telling(d))
			}
			return all
		},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
				b := newBroker[int](t, broadcast.WithSampling(strategy))
				s := b.join(chat, "follower", broadcast.WithPresence())
				b.publish(chat, 1)
				ann := b.join(chat, "ann")
				b.join(chat, "bob")
				require.NoError(t, ann.Close())
				answer := shutDown(t.Context(), b)
				require.NoError(t, s.Err())
				require.Equal(t, want, strings.Join(way(t.Context(), s), " "))
				require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed, "has nothing left to take")
				require.NoError(t, (<-answer).err)
			})
		})
	}
}

// The same for one that has taken all messages, and for one that reads with Messages, which shows
// none of it.
func TestShutdownWaitsForWhoHasTakenAllMessagesAndIsStillToBeTold(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "follower", broadcast.WithPresence())
		passes := b.join(chat, "passes", broadcast.WithPresence())
		b.join(chat, "ann")
		answer := shutDown(t.Context(), b)
		require.Equal(t, []string{"follower", "passes"}, b.Devices(chat))
		require.Equal(t, "+passes@0 +ann@0", told(s))
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
		require.Empty(t, <-readMessages(t.Context(), passes))
		require.NoError(t, (<-answer).err)
	})
}

// "At any other end of the subscription the events that wait are gone."
func TestOnlyShutdownWaitsForWhatIsToBeTold(t *testing.T) {
	ends := map[string]func(b *auditedBroker[int]){
		"Close":      func(b *auditedBroker[int]) { require.NoError(t, b.Close()) },
		"Disconnect": func(b *auditedBroker[int]) { b.publish(chat, 3) },
		"stall":      func(*auditedBroker[int]) { sleep(3 * time.Minute) },
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.Disconnect))
				s := b.join(chat, "follower", broadcast.WithPresence(), broadcast.WithStallTimeout(time.Minute))
				b.publish(chat, 1)
				b.join(chat, "ann")
				b.publish(chat, 2)
				end(b)
				require.Error(t, s.Err())
				require.Equal(t, "1 2", told(s))
			})
		})
	}
}

// A follower that is stuck is waited for until a cleaner finds it, whatever it is that waits for
// it.
func TestAFollowerThatIsNotToldForItsStallTimeoutIsEnded(t *testing.T) {
	for _, shutdown := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithStallTimeout(time.Minute), broadcast.WithCleanInterval(time.Second))
			s := b.join(chat, "follower", broadcast.WithPresence())
			one, two := b.join(chat, "one"), b.join(chat, "two")
			for range 2 {
				sleep(59 * time.Second)
				_, ok := s.TryNext()
				require.True(t, ok)
				require.NoError(t, s.Err(), "takes what it is told")
			}
			sleep(time.Hour)
			require.NoError(t, s.Err(), "has been told all")
			require.NoError(t, one.Close())
			require.NoError(t, two.Close())
			if shutdown {
				shutDown(t.Context(), b)
			}
			require.InDelta(t, time.Minute+time.Second/2, elapsed(func() { <-s.Done() }), float64(time.Second/2))
			require.ErrorIs(t, s.Err(), broadcast.ErrStalled)
		})
	}
}

// The end of a stalled reader is an event for the others, whether the cleaner looks at them before
// it or after it.
func TestAFollowerThatIsNotToldWhoStalledIsEndedLater(t *testing.T) {
	for _, devices := range [][]string{{"stuck", "follower"}, {"follower", "stuck"}} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithStallTimeout(time.Minute), broadcast.WithCleanInterval(time.Second))
			joined := map[string]*broadcast.Subscriber[int]{}
			for _, device := range devices {
				joined[device] = b.join(chat, device, broadcast.WithPresence())
			}
			b.publish(chat, 1)
			told(joined["follower"])
			<-joined["stuck"].Done()
			require.InDelta(t, time.Minute+time.Second/2, elapsed(func() { <-joined["follower"].Done() }), float64(time.Second/2))
			require.ErrorIs(t, joined["follower"].Err(), broadcast.ErrStalled)
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

// Connections that break and come back are what the grace is for: there may be many of them within
// one.
func TestDevicesThatComeBackWithinTheGraceLeaveNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := unaudited[int](t, broadcast.WithLeaveGrace(time.Hour))
		b.join(chat, "stays")
		require.NoError(t, b.join(chat, "goes").Close())
		requireFlat(t, 1_000_000, func(int) { require.NoError(t, b.join(chat, "comes back").Close()) })
		b.join(chat, "comes back")
		sleep(time.Hour)
		require.Empty(t, broadcast.Leftovers(b.Broker))
	})
}

// One device after the other joins, all of which follow: to tell each of each at once, they would
// be woken n times n / 2 times. All of them know soon who is there.
func TestARoomThatFillsAtOnceIsLinearWork(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const devices, few = 2_000, 256
		b := newBroker[int](t)
		var mu sync.Mutex // guards the following
		var joined, woken, resyncs int
		there := make([]int, devices) // how many devices each knows of
		for i := range devices {
			s := b.join(chat, fmt.Sprint(i), broadcast.WithPresence())
			mu.Lock()
			joined = i + 1
			there[i] = joined
			mu.Unlock()
			go func() {
				into := make([]broadcast.Delivery[int], 2*few)
				for n, err := s.NextBatch(t.Context(), into); err == nil; n, err = s.NextBatch(t.Context(), into) {
					mu.Lock()
					woken++
					for _, d := range into[:n] {
						there[i]++
						if d.Kind == broadcast.Resync {
							resyncs++
							there[i] = joined
						}
					}
					mu.Unlock()
				}
			}()
			sleep(10 * time.Microsecond)
		}
		sleep(time.Second)
		require.LessOrEqual(t, woken, few*few/2+2*devices)
		require.LessOrEqual(t, resyncs, devices)
		require.Equal(t, slices.Repeat([]int{devices}, devices), there)
	})
}

// visited returns a chat that many devices follow, who are woken only now and then for the many
// others that come and go.
func visited(t *testing.T, told func(broadcast.Delivery[int]), opts ...broadcast.Option) (b *auditedBroker[int], visit func()) {
	b = newBroker[int](t, opts...)
	for i := range 300 {
		s := b.join(chat, fmt.Sprint(i), broadcast.WithPresence())
		go func() {
			for d := range s.All(t.Context()) {
				told(d)
			}
		}()
	}
	sleep(time.Second)
	return b, func() {
		for range 150 {
			require.NoError(t, b.join(chat, "visitor").Close())
		}
	}
}

// A Resync is work for each of them.
func TestACrowdThatLosesEventsGetsOneResyncASecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const seconds = 3
		var resyncs atomic.Int64
		_, visit := visited(t, func(d broadcast.Delivery[int]) {
			if d.Kind == broadcast.Resync {
				resyncs.Add(1)
			}
		})
		for range 20 * seconds {
			visit()
			sleep(47 * time.Millisecond) // not when they are called
		}
		sleep(time.Second)
		require.Positive(t, resyncs.Load())
		require.LessOrEqual(t, resyncs.Load(), int64(2*300*(seconds+1)), "two, if it is just awake when it loses some")
	})
}

func TestACrowdThatIsLeftAloneDoesNotStall(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var told atomic.Int64
		b, visit := visited(t, func(broadcast.Delivery[int]) { told.Add(1) },
			broadcast.WithStallTimeout(100*time.Millisecond), broadcast.WithCleanInterval(10*time.Millisecond))
		visit()
		sleep(time.Millisecond)
		before := told.Load()
		visit()
		sleep(900 * time.Millisecond)
		require.Equal(t, before, told.Load())
		sleep(time.Second)
		require.EqualValues(t, before+300, told.Load(), "a Resync each")
		require.Len(t, b.Devices(chat), 300)
	})
}

func TestShutdownDoesNotLeaveACrowdAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, visit := visited(t, func(broadcast.Delivery[int]) {})
		visit()
		sleep(time.Millisecond)
		visit()
		require.Zero(t, elapsed(func() { require.NoError(t, b.Shutdown(t.Context())) }))
	})
}

// Promise 42.
func TestKickTellsLeftAtOnceWithoutGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Minute))
		s := b.join(chat, "follower", broadcast.WithPresence())
		b.join(chat, "open")
		require.NoError(t, b.join(chat, "graced").Close())
		b.publish(chat, 1)
		require.Equal(t, "+open@0 +graced@0 1", told(s))
		require.True(t, b.Kick(chat, "open", nil))
		require.True(t, b.Kick(chat, "graced", nil))
		require.Equal(t, "-open@1 -graced@1", told(s))
		require.Equal(t, []string{"follower"}, b.Devices(chat))
		sleep(time.Hour)
		require.Empty(t, told(s), "they have left once")
	})
}

// Promise 42.
func TestAKickedDeviceMaySubscribeAgain(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Minute))
		s := b.join(chat, "follower", broadcast.WithPresence())
		b.join(chat, "ann")
		require.True(t, b.Kick(chat, "ann", nil))
		again := b.join(chat, "ann")
		b.publish(chat, 1)
		require.Equal(t, "+ann@0 -ann@0 +ann@0 1", told(s))
		require.Equal(t, []int{1}, take(t, again, 1))
		require.Zero(t, b.Stats().Replaced)
	})
}

// Promise 42.
func TestAChatIsForgottenWhenTheLastThatMightComeBackIsKicked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Hour))
		require.NoError(t, b.join(chat, "ann").Close())
		sleep(idle + interval)
		require.Equal(t, 1, b.Stats().Chats)
		require.True(t, b.Kick(chat, "ann", nil))
		sleep(interval)
		require.Zero(t, b.Stats().Chats)
	})
}

// Promises 30 and 32: also if the device leaves when the cleaner has just found the chat idle.
func TestAChatIsNotForgottenWhileADeviceMayComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Hour), broadcast.WithChatIdle(time.Minute))
		require.NoError(t, b.join(chat, "device").Close())
		time.Sleep(2 * time.Minute)
		require.False(t, broadcast.Forget(b.Broker, chat))
		require.Equal(t, []string{"device"}, b.Devices(chat))
		time.Sleep(time.Hour)
		require.Empty(t, b.Devices(chat))
	})
}

// The ring of events grows after it has wrapped, and tells of no event that never was.
func TestAFollowerThatLagsWhenMoreEventsAreKeptIsToldToResync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "follower", broadcast.WithPresence())
		for range 150 {
			require.NoError(t, b.join(chat, "ann").Close())
		}
		b.join(chat, "large", broadcast.WithPresence(), broadcast.WithBuffer(1_000))
		b.join(chat, "bob")
		require.Equal(t, "resync", told(s))
	})
}

// Who joins between the receipt of a Resync and its settling is told.
func TestWhoComesAfterAResyncWasReceivedIsTold(t *testing.T) {
	for range 100 {
		b := newBroker[int](t)
		s := b.join(chat, "follower", broadcast.WithPresence())
		for range 200 {
			require.NoError(t, b.join(chat, "ann").Close())
		}
		for d := range s.Chan() {
			if d.Kind == broadcast.Resync {
				break
			}
		}
		b.join(chat, "late")
		for d := range s.Chan() {
			if d.Device == "late" {
				break
			}
		}
		require.NoError(t, b.Close())
	}
}

// Otherwise whoever reads next would be told of them out of order.
func TestMessagesSkipsTheEventsThatItPasses(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "follower", broadcast.WithPresence())
		b.publish(chat, 1, 2)
		b.join(chat, "ann")
		b.publish(chat, 3, 4, 5)
		for msg := range s.Messages(t.Context()) {
			if msg == 4 {
				break
			}
		}
		require.Equal(t, "5", told(s))
	})
}
