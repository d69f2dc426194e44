package broadcast_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
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
		require.ErrorIs(t, (<-waiting).err, broadcast.ErrBrokerClosed)
		require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrBrokerClosed)

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

// Promise 7: nothing is taken after the last hole that could tell of it.
func TestALossAfterTheLastDeliveryIsInItsStatsAlone(t *testing.T) {
	forStrategies(t, []broadcast.Sampling{broadcast.DropNewest, broadcast.DropRandom}, func(t *testing.T, s broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0), broadcast.WithSampling(s))
		reader := b.join(chat, "reader")
		b.publish(chat, from(1, 100)...)
		require.NoError(t, b.Close())
		var told, last uint64
		for _, d := range takeAll(t, reader) {
			told, last = told+d.Missed, d.Seq
		}
		require.Equal(t, 98-(100-last), told)
		require.EqualValues(t, 98, reader.Stats().Missed)
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
			synctest.Wait() // the last one is settled
			return taken
		},
	} {
		t.Run(name, func(t *testing.T) {
			forStrategies(t, []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest}, func(t *testing.T, strategy broadcast.Sampling) {
				buffer := 4
				if name == "Chan" {
					buffer = 3 // and one that is offered
				}
				b := newBroker[int](t, broadcast.WithBuffer(buffer), broadcast.WithPatience(0), broadcast.WithHistory(3, 0))
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

// Promise 54: a call of Stats may take long, and nobody waits for it. Chats that are forgotten
// meanwhile are counted once, whether it has come to them or not.
func TestAChatMayBeForgottenWhileStatsAddUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const pieces, each = 20, 10
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0))
		for i := range pieces * each {
			s := b.join(fmt.Sprint(i), "device")
			b.publish(fmt.Sprint(i), 1, 2, 3, 4)
			take(t, s, 1)
			require.NoError(t, s.Close())
		}
		for i := range pieces * piece {
			b.join(chat, fmt.Sprint(i))
		}
		want := b.Stats()
		require.Equal(t, []uint64{800, 200, 400, 200}, []uint64{want.Accepted, want.Delivered, want.Missed, want.Discarded})
		forgotten := 0
		var got broadcast.Stats
		broadcast.Yielding(b.Broker, chat, func(int, int) {
			for range each {
				require.NoError(t, b.Forget(t.Context(), fmt.Sprint(forgotten)))
				forgotten++
			}
		}, func() { got = b.Stats() })
		require.Equal(t, pieces*each, forgotten)
		got.Chats = want.Chats // those that Stats had come to before they were forgotten
		require.Equal(t, want, got)
		want.Chats = 1
		require.Equal(t, want, b.Stats())
	})
}

// On one processor the goroutine behind Chan settles what was received when the receiver waits.
// Until then a strategy may drop it.
func TestWhatIsReceivedFromChanThoughItWasDroppedIsDelivered(t *testing.T) {
	forReceived(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], first broadcast.Delivery[int]) {
		synctest.Wait()
		require.EqualValues(t, 1, requireBooks(t, s).Delivered)
		require.NoError(t, b.Close())
		synctest.Wait()
		last, missed := first.Seq, first.Missed
		for _, d := range takeAll(t, s) {
			require.Equal(t, d.Seq, last+1+d.Missed)
			last, missed = d.Seq, missed+d.Missed
		}
		missed += 20 - last // what no delivery came after
		require.Equal(t, broadcast.SubscriberStats{Delivered: 20 - missed, Missed: missed, Head: 20}, requireBooks(t, s))
	})
}

// The same if the subscription ends before it can be settled.
func TestWhatIsReceivedFromChanThoughItWasDroppedIsDeliveredAlsoAtTheEnd(t *testing.T) {
	forReceived(t, func(t *testing.T, _ *auditedBroker[int], s *broadcast.Subscriber[int], _ broadcast.Delivery[int]) {
		require.NoError(t, s.Close())
		synctest.Wait()
		require.EqualValues(t, 1, requireBooks(t, s).Delivered)
	})
}

// forReceived runs a test on one processor, with a subscription whose first message was received
// from Chan, and that was then overrun.
func forReceived(t *testing.T, test func(*testing.T, *auditedBroker[int], *broadcast.Subscriber[int], broadcast.Delivery[int])) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	for name, strategy := range map[string]broadcast.SubscribeOption{
		"DropOldest": broadcast.WithSampling(broadcast.DropOldest),
		"DropRandom": broadcast.WithSampling(broadcast.DropRandom),
		"sampler":    broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return 0 }),
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(2))
				s := b.join(chat, "device", strategy)
				b.publish(chat, 1, 2)
				c := s.Chan()
				synctest.Wait() // 1 is offered
				first := <-c
				b.publish(chat, from(3, 20)...)
				test(t, b, s, first)
			})
		})
	}
}

// On one processor it is to be seen how often a call gives way to others, who find the chat's lock
// free.
//
// Promise 54: with one CPU, the loop gets the lock only where the call releases it.
func TestWhateverLooksAtAllReadersOfAChatGivesWayToOthers(t *testing.T) {
	const readers = 20 * piece
	for name, call := range map[string]func(b *auditedBroker[int]){
		"Stats": func(b *auditedBroker[int]) { assert.Equal(t, readers, b.Stats().Subscribers) },
		"ChatStats": func(b *auditedBroker[int]) {
			stats, _ := b.ChatStats(chat)
			assert.Equal(t, readers, stats.Subscribers)
		},
		"Subscriptions": func(b *auditedBroker[int]) { assert.Len(t, slices.Collect(b.Subscriptions(chat)), readers) },
		"Laggards":      func(b *auditedBroker[int]) { assert.Empty(t, b.Laggards(1)) },
		"Devices":       func(b *auditedBroker[int]) { assert.Len(t, b.Devices(chat), readers) },
		"Close":         func(b *auditedBroker[int]) { assert.NoError(t, b.Close()) },
		"Shutdown":      func(b *auditedBroker[int]) { assert.NoError(t, b.Shutdown(context.Background())) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
				b := newBroker[int](t)
				s := b.join(chat, "the first")
				for i := range readers - 1 {
					b.join(chat, fmt.Sprint(i))
				}
				var returned atomic.Bool
				go func() {
					defer returned.Store(true)
					call(b)
				}()
				n := 0
				for ; !returned.Load(); n++ {
					s.Stats()
					runtime.Gosched()
				}
				// Now and then, the scheduler lets the goroutine that has yielded go on at once.
				require.GreaterOrEqual(t, n, readers/piece/2)
			})
		})
	}
}

// Promise 54, by a count: the lock is released after each 128 readers, whatever they are.
func TestNoHoldOfALockVisitsMoreReadersThanAPiece(t *testing.T) {
	for name, call := range map[string]func(b *auditedBroker[int]) (visited int){
		"Stats": func(b *auditedBroker[int]) int { return b.Stats().Subscribers },
		"ChatStats": func(b *auditedBroker[int]) int {
			stats, _ := b.ChatStats(chat)
			return stats.Subscribers
		},
		"Subscriptions": func(b *auditedBroker[int]) int { return len(slices.Collect(b.Subscriptions(chat))) },
		"Laggards":      func(b *auditedBroker[int]) int { return len(b.Laggards(1_000_000)) },
		"Devices":       func(b *auditedBroker[int]) int { return len(b.Devices(chat)) },
	} {
		for _, crowd := range []struct{ devices, anonymous int }{
			{piece, 0}, {0, piece}, {piece - 1, piece - 1}, {10*piece + 1, 10*piece - 1},
		} {
			t.Run(fmt.Sprintf("%s/devices=%d/anonymous=%d", name, crowd.devices, crowd.anonymous), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newBroker[int](t)
					for i := range crowd.devices {
						b.join(chat, fmt.Sprint(i))
					}
					for range crowd.anonymous {
						b.joinAnonymous(chat)
					}
					b.publish(chat, 1) // all are behind
					released, visited := 0, 0
					broadcast.Yielding(b.Broker, chat, func(int, int) { released++ }, func() { visited = call(b) })
					want := crowd.devices + crowd.anonymous
					if name == "Devices" {
						want = crowd.devices
					}
					require.Equal(t, want, visited)
					require.Equal(t, visited/piece, released)
				})
			})
		}
	}
}

// Whatever goes on in between: all that was published when these joined stays in the sums, once for
// each of them.
func TestStatsCountEachSubscriptionOnceWhoeverComesAndGoesMeanwhile(t *testing.T) {
	const readers, messages = 10 * piece, 10
	for range 5 {
		b := newBroker[int](t)
		open := make([]*broadcast.Subscriber[int], readers)
		for i := range open {
			open[i] = b.join(chat, fmt.Sprint(i))
		}
		b.publish(chat, from(1, messages)...)
		var busy atomic.Int32
		busy.Store(3)
		each := func(f func(i int)) {
			defer busy.Add(-1)
			for _, i := range rand.Perm(readers) {
				f(i)
				runtime.Gosched()
			}
		}
		go each(func(i int) { open[i].TryNext() })
		go each(func(i int) {
			if i%3 == 0 {
				assert.NoError(t, open[i].Close())
			}
		})
		go each(func(i int) {
			if _, err := b.Subscribe(chat, fmt.Sprint(i/2), broadcast.WithStallTimeout(time.Hour)); err != nil {
				assert.NoError(t, err)
			}
		})
		for done := false; !done; {
			done = busy.Load() == 0
			stats := b.Stats()
			require.EqualValues(t, readers*messages, stats.Delivered+stats.Missed+stats.Pending+stats.Discarded, "%+v", stats)
		}
	}
}

// A device that comes back within the grace was there all the time.
func TestDevicesListsEachThatStaysOnceWhoeverComesAndGoesMeanwhile(t *testing.T) {
	const stay = 5 * piece
	b := newBroker[int](t, broadcast.WithLeaveGrace(time.Hour))
	name := func(i int) string { return fmt.Sprintf("%04d", i) }
	var there []string
	open := make([]*broadcast.Subscriber[int], stay)
	for i := range open {
		there = append(there, name(i))
		open[i] = b.join(chat, name(i))
	}
	var busy atomic.Int32
	busy.Store(3)
	for worker := range 3 {
		go func() {
			defer busy.Add(-1)
			for n := range 5_000 {
				i := worker + 3*rand.IntN(stay/3)
				assert.NoError(t, open[i].Close())
				if n%3 > 0 {
					runtime.Gosched()
				}
				s, err := b.Subscribe(chat, name(i))
				if !assert.NoError(t, err) {
					return
				}
				open[i] = s
			}
		}()
	}
	for done := false; !done; {
		done = busy.Load() == 0
		require.Equal(t, there, b.Devices(chat))
	}
}

func TestFewDevicesLeaveAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Second))
		b.join(chat, "stays")
		const devices = 5*piece + 1
		for i := range devices {
			require.NoError(t, b.join(chat, fmt.Sprint(i)).Close())
		}
		left := func() int { return 1 + devices - len(b.Devices(chat)) }
		for more := true; more; {
			before := left()
			more = broadcast.Leave(b.Broker, chat, time.Second)
			require.LessOrEqual(t, left()-before, piece)
		}
		require.Equal(t, devices, left())
	})
}

func TestManyDevicesLeaveAtTheEndOfTheGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Second))
		b.join(chat, "stays")
		for i := range 5 * piece {
			require.NoError(t, b.join(chat, fmt.Sprint(i)).Close())
		}
		sleep(time.Second - 1)
		require.Len(t, b.Devices(chat), 5*piece+1)
		sleep(1)
		require.Equal(t, []string{"stays"}, b.Devices(chat))
	})
}
