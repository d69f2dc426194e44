package broadcast_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// answered returns how many of those who wait have got their answer, and fails if it is an error.
func answered(t *testing.T, waiting []<-chan result) int {
	t.Helper()
	synctest.Wait()
	n := 0
	for _, w := range waiting {
		if len(w) > 0 {
			n++
			r := <-w
			require.NoError(t, r.err)
		}
	}
	return n
}

// Promise 24.
func TestPublishReturnsNilExactlyIfTheMessageWasAccepted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPublishTimeout(100*time.Millisecond))
		s := b.join(chat, "slow", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(3))
		witness := b.join(chat, "witness", broadcast.WithBuffer(10_000))

		var mu sync.Mutex
		var accepted []int
		var all sync.WaitGroup
		for worker := range 10 {
			all.Go(func() {
				for i := range 100 {
					msg := worker*100 + i
					ctx, cancel := context.WithTimeout(t.Context(), rand.N(200*time.Millisecond))
					err := b.Publish(ctx, chat, msg)
					cancel()
					if err == nil {
						mu.Lock()
						accepted = append(accepted, msg)
						mu.Unlock()
					}
				}
			})
		}
		ctx, stop := context.WithCancel(t.Context())
		go func() { all.Wait(); stop() }()
		var taken []int
		for msg := range s.Messages(ctx) {
			taken = append(taken, msg)
			time.Sleep(rand.N(50 * time.Millisecond))
		}
		taken = append(taken, payloads(takeAll(t, s))...)
		require.NotEmpty(t, accepted)
		require.Less(t, len(accepted), 1_000)
		require.ElementsMatch(t, accepted, taken)
		require.Equal(t, taken, payloads(takeAll(t, witness)))
		require.EqualValues(t, len(accepted), b.Stats().Accepted)
	})
}

// Promise 25.
func TestADoneContextIsRefusedRoomOrNot(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		b.join("empty", "reader")
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for _, chat := range []string{chat, "empty", "nowhere"} {
			require.Equal(t, context.Canceled, b.Publish(done, chat, 2))
		}
		require.EqualValues(t, 1, s.Stats().Head)
	})
}

// Promise 25: and a message that was there stays.
func TestADoneContextWinsOverAMessageThatWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		done, cancel := context.WithCancelCause(t.Context())
		cancel(errUntil)

		_, err := s.Next(done)
		require.Equal(t, context.Canceled, err)
		n, err := s.NextBatch(done, make([]broadcast.Delivery[int], 1))
		require.Zero(t, n)
		require.Equal(t, context.Canceled, err)
		for range s.All(done) {
			t.Fatal("taken with a done context")
		}
		for range s.Messages(done) {
			t.Fatal("taken with a done context")
		}
		require.NoError(t, s.Err())
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promise 25.
func TestACancelledWaitReturnsAtOnce(t *testing.T) {
	for name, wait := range map[string]func(context.Context, *auditedBroker[int], *broadcast.Subscriber[int]) error{
		"Publish": func(ctx context.Context, b *auditedBroker[int], _ *broadcast.Subscriber[int]) error {
			return b.Publish(ctx, chat, 2)
		},
		"Next": func(ctx context.Context, _ *auditedBroker[int], s *broadcast.Subscriber[int]) error {
			_, err := s.Next(ctx)
			return err
		},
		"NextBatch": func(ctx context.Context, _ *auditedBroker[int], s *broadcast.Subscriber[int]) error {
			_, err := s.NextBatch(ctx, make([]broadcast.Delivery[int], 2))
			return err
		},
		"All": func(ctx context.Context, _ *auditedBroker[int], s *broadcast.Subscriber[int]) error {
			for range s.All(ctx) {
				t.Error("nothing was to be taken")
			}
			return ctx.Err()
		},
		"Messages": func(ctx context.Context, _ *auditedBroker[int], s *broadcast.Subscriber[int]) error {
			for range s.Messages(ctx) {
				t.Error("nothing was to be taken")
			}
			return ctx.Err()
		},
		"Shutdown": func(ctx context.Context, b *auditedBroker[int], _ *broadcast.Subscriber[int]) error {
			return b.Shutdown(ctx)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, _ := fullChat(t, 1)
				silent := b.join("silent", "device")
				ctx, cancel := context.WithCancel(t.Context())
				waiting := async(func() error { return wait(ctx, b, silent) })
				sleep(time.Second)
				require.Empty(t, waiting)
				cancel()
				require.Equal(t, result{context.Canceled, time.Second}, <-waiting)
			})
		})
	}
}

// Promise 25.
func TestCancelOneOfTwoWaitersFreeOnePlaceTheOtherGetsIt(t *testing.T) {
	for _, cancelled := range []int{0, 1} {
		bubble(t, func(t *testing.T) {
			b, s := fullChat(t, 1)
			ctx, cancel := context.WithCancel(t.Context())
			contexts := []context.Context{t.Context(), t.Context()}
			contexts[cancelled] = ctx
			waiting := []<-chan result{queue(contexts[0], b, 10)[0], queue(contexts[1], b, 11)[0]}

			cancel()
			require.ErrorIs(t, (<-waiting[cancelled]).err, context.Canceled)
			take(t, s, 1)
			require.NoError(t, (<-waiting[1-cancelled]).err)
			require.Equal(t, []int{11 - cancelled}, payloads(takeAll(t, s)))
		})
	}
}

// Promise 25, when both happen at once: whoever wins the race, there is one message for one place.
func TestAPlaceFreedWhileAWaiterGivesUpIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		for range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			first := queue(ctx, b, 10)[0]
			second := queue(t.Context(), b, 11)[0]
			go cancel()
			take(t, s, 1)
			synctest.Wait()
			want := 11 // the first gave up
			if (<-first).err == nil {
				require.Empty(t, second)
				want = 10
			}
			require.Equal(t, []int{want}, take(t, s, 1))
			require.NoError(t, (<-second).err)
			synctest.Wait()
			if want == 11 {
				b.publish(chat, 0)
			}
			cancel()
		}
	})
}

// Promise 25: the context was done before there was a place, whichever of the two the waiter sees
// first.
func TestADoneContextWinsOverAPlaceThatIsFreedAfterwards(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		for range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			waiting := queue(ctx, b, 2)[0]
			cancel()
			take(t, s, 1)
			require.ErrorIs(t, (<-waiting).err, context.Canceled)
			b.publish(chat, 1)
		}
	})
}

// Promise 25, for readers.
func TestAMessageThatComesWhileNextIsCancelledIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		for i := range 500 {
			ctx, cancel := context.WithCancel(t.Context())
			var got broadcast.Delivery[int]
			waiting := async(func() (err error) { got, err = s.Next(ctx); return err })
			synctest.Wait()
			go cancel()
			b.publish(chat, i)
			if (<-waiting).err == nil {
				require.Equal(t, i, got.Message)
				require.Empty(t, takeAll(t, s))
			} else {
				require.Equal(t, []int{i}, payloads(takeAll(t, s)))
			}
		}
	})
}

// Promise 26.
func TestAWaitEndsAtTheEarlierOfContextAndTimeout(t *testing.T) {
	const timeout = time.Second
	for name, test := range map[string]struct {
		ctx  time.Duration
		want result
	}{
		"context first":             {timeout - 1, result{context.DeadlineExceeded, timeout - 1}},
		"timeout first":             {timeout + 1, result{broadcast.ErrOverloaded, timeout}},
		"context within patience":   {patience / 2, result{context.DeadlineExceeded, patience / 2}},
		"context long after":        {time.Hour, result{broadcast.ErrOverloaded, timeout}},
		"context right after start": {1, result{context.DeadlineExceeded, 1}},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithPublishTimeout(timeout), broadcast.WithBuffer(1))
				b.join(chat, "full", broadcast.WithSampling(broadcast.Block))
				fill(t, b, 1)
				ctx, cancel := context.WithTimeout(t.Context(), test.ctx)
				defer cancel()
				got := <-async(func() error { return b.Publish(ctx, chat, 2) })
				require.ErrorIs(t, got.err, test.want.err)
				require.Equal(t, test.want.took, got.took)
			})
		})
	}
}

// Promise 26: the time that was spent behind others counts.
func TestTheTimeoutRunsFromTheCallOfPublish(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPublishTimeout(time.Second), broadcast.WithBuffer(1))
		b.join(chat, "full", broadcast.WithSampling(broadcast.Block))
		fill(t, b, 1)
		var waiting []<-chan result
		for i := range 5 {
			waiting = append(waiting, queue(t.Context(), b, i)...)
			sleep(100 * time.Millisecond)
		}
		for _, w := range waiting {
			got := <-w
			require.ErrorIs(t, got.err, broadcast.ErrOverloaded)
			require.Equal(t, time.Second, got.took)
		}
	})
}

func TestPublishTimesOutAfterFiveSecondsByDefault(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(1))
		b.join(chat, "full", broadcast.WithSampling(broadcast.Block))
		fill(t, b, 1)
		require.Equal(t, 5*time.Second, elapsed(func() {
			require.ErrorIs(t, b.Publish(t.Context(), chat, 2), broadcast.ErrOverloaded)
		}))
	})
}

func TestWithPublishTimeoutZeroOnlyTheContextEndsAWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, _ := fullChat(t, 1, broadcast.WithStallTimeout(0))
		ctx, cancel := context.WithTimeout(t.Context(), 1_000*time.Hour)
		defer cancel()
		require.Equal(t, 1_000*time.Hour, elapsed(func() {
			require.ErrorIs(t, b.Publish(ctx, chat, 2), context.DeadlineExceeded)
		}))
	})
}

// Promise 26.
func TestWaitersAreServedInOrder(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b, s := fullChat(t, n)
		waiting := queue(t.Context(), b, from(n+1, n+20)...)
		for i := 1; i <= 20; i++ {
			sleep(time.Second)
			require.Equal(t, []int{i}, take(t, s, 1))
			sleep(patience) // a place may be used up to one patience later
			require.NoError(t, (<-waiting[i-1]).err)
			require.Zero(t, answered(t, waiting))
		}
		require.Equal(t, from(21, n+20), payloads(takeAll(t, s)))
	})
}

// Promise 26.
func TestWaitersAreServedInOrderWhenTheFirstGivesUp(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b, s := fullChat(t, n)
		ctx, cancel := context.WithCancel(t.Context())
		first := queue(ctx, b, -1)[0]
		second := queue(t.Context(), b, n+1)[0]
		third := queue(ctx, b, -3)[0]
		others := queue(t.Context(), b, from(n+2, 2*n)...)
		cancel()
		require.ErrorIs(t, (<-first).err, context.Canceled)
		require.ErrorIs(t, (<-third).err, context.Canceled)
		require.Empty(t, second)
		take(t, s, n)
		sleep(patience) // they may have filled it once more meanwhile
		require.NoError(t, (<-second).err)
		require.Equal(t, n-1, answered(t, others))
		require.Equal(t, from(n+1, 2*n), payloads(takeAll(t, s)))
	})
}

// Promise 26: the reader for which publishers wait goes away, in each of the ways there are.
func TestWaitersAreServedInOrderWhenTheReaderThatTheyWaitForEnds(t *testing.T) {
	until := func(t *testing.T) (broadcast.SubscribeOption, func()) {
		ctx, cancel := context.WithCancel(t.Context())
		return broadcast.Until(ctx), cancel
	}
	for name, test := range map[string]struct {
		end           func(b *auditedBroker[int], s *broadcast.Subscriber[int], cancel func())
		after, atMost time.Duration
	}{
		"closes": {func(_ *auditedBroker[int], s *broadcast.Subscriber[int], _ func()) { _ = s.Close() }, 0, 0},
		"is replaced": {func(b *auditedBroker[int], s *broadcast.Subscriber[int], _ func()) {
			b.join(s.Chat(), s.Device(), broadcast.WithSampling(broadcast.Block))
		}, 0, 0},
		"until":      {func(_ *auditedBroker[int], _ *broadcast.Subscriber[int], cancel func()) { cancel() }, 0, 0},
		"stalls out": {func(_ *auditedBroker[int], s *broadcast.Subscriber[int], _ func()) { <-s.Done() }, time.Minute, time.Minute + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			forBuffers(t, func(t *testing.T, n int) {
				option, cancel := until(t)
				b := newBroker[int](t, broadcast.WithPublishTimeout(0), broadcast.WithCleanInterval(time.Second))
				s := b.join(chat, "full", option,
					broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(n), broadcast.WithStallTimeout(time.Minute))
				witness := b.join(chat, "witness")
				fill(t, b, n)
				waiting := queue(t.Context(), b, from(1, 100)...)
				took := elapsed(func() {
					test.end(b, s, cancel)
					require.Equal(t, 100, answered(t, waiting))
				})
				require.GreaterOrEqual(t, took, test.after)
				require.LessOrEqual(t, took, test.atMost)
				require.Equal(t, append(from(1, n), from(1, 100)...), payloads(takeAll(t, witness)))
				cancel()
			})
		})
	}
}

// Promise 26.
func TestWaitersAreServedInOrderWhenANewcomerHasASmallerBuffer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 10)
		waiting := queue(t.Context(), b, from(11, 15)...)
		small := b.join(chat, "small", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		sleep(time.Second)
		take(t, s, 10) // room for all of them, but one at a time fits the newcomer
		for i := 11; i <= 15; i++ {
			require.Equal(t, 1, answered(t, waiting))
			require.Equal(t, []int{i}, take(t, small, 1))
		}
		require.Equal(t, from(11, 15), payloads(takeAll(t, s)))
	})
}

// "A place freed by a Block reader may be used up to one patience later."
func TestAPlaceFreedByABlockReaderIsUsedAtTheLatestOnePatienceLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for after := time.Duration(0); after < 3*patience; after += patience/4 + 1 { // never at the very moment when it is over
			b, s := fullChat(t, 4)
			waiting := queue(t.Context(), b, 5)[0]
			time.Sleep(after)
			take(t, s, 1)
			require.Equal(t, max(patience, after), (<-waiting).took)
		}
	})
}

func TestTryPublishNeverWaits(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		s := b.join(chat, "stuck")
		require.Zero(t, elapsed(func() {
			require.NoError(t, b.TryPublish(chat, 1))
			require.NoError(t, b.TryPublish(chat, 2))
			err := b.TryPublish(chat, 3)
			if strategy == broadcast.Block {
				require.ErrorIs(t, err, broadcast.ErrOverloaded)
				require.Equal(t, []int{1}, take(t, s, 1))
				err = b.TryPublish(chat, 3)
			}
			require.NoError(t, err)
			require.NoError(t, b.TryPublish("nobody", 3))
		}))
		require.EqualValues(t, 3, b.Stats().Accepted-1)
	})
}

// Even if there were room: who waits has the older right.
func TestTryPublishDoesNotOvertakeThoseWhoWaitForABlockReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 4)
		waiting := queue(t.Context(), b, 5)[0]
		take(t, s, 1) // a place, but the publisher hopes for half the buffer
		synctest.Wait()
		require.ErrorIs(t, b.TryPublish(chat, 6), broadcast.ErrOverloaded)
		require.NoError(t, (<-waiting).err)
		require.Equal(t, from(2, 5), payloads(takeAll(t, s)))
	})
}

// Promise 25: nor when others are tried all the time.
func TestTryPublishDoesNotTakeThePlacesThatOthersWaitFor(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b, s := fullChat(t, n)
		waiting := queue(t.Context(), b, from(n+1, n+20)...)
		for i := 1; i <= 20; i++ {
			require.Equal(t, []int{i}, take(t, s, 1))
			for len(waiting[i-1]) == 0 {
				require.ErrorIs(t, b.TryPublish(chat, -1), broadcast.ErrOverloaded)
				sleep(patience / 10)
			}
			require.NoError(t, (<-waiting[i-1]).err)
		}
		require.Equal(t, from(21, n+20), payloads(takeAll(t, s)))
	})
}

// Promise 25: the wake-up for the place has gone to the one that gives up.
func TestAPlaceFreedWhileAWaiterGivesUpGoesToTheNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		ctx, cancel := context.WithCancel(t.Context())
		first := queue(ctx, b, 10)[0]
		second := queue(t.Context(), b, 11)[0]
		sleep(patience)
		require.True(t, broadcast.Deafening(b.Broker, chat, 0, func() {
			take(t, s, 1)
			cancel()
			synctest.Wait()
		}))
		require.ErrorIs(t, (<-first).err, context.Canceled)
		require.NoError(t, (<-second).err)
		require.Equal(t, []int{11}, payloads(takeAll(t, s)))
	})
}

// Promise 25: in the moment after its look.
func TestAPlaceFreedWhileAPublisherIsAboutToWaitIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		for i := range 3 {
			ctx := hooked{t.Context(), func() { take(t, s, 1) }, nil}
			require.Equal(t, result{}, inTime(t, async(func() error { return b.Publish(ctx, chat, i) })))
		}
	})
}

// The same for the end of the broker.
func TestAShutdownWhileAPublisherIsAboutToWaitIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		var shutdown <-chan result
		ctx := hooked{t.Context(), func() {
			shutdown = async(func() error { return b.Shutdown(t.Context()) })
			sleep(1)
		}, nil}
		require.Equal(t, result{broadcast.ErrBrokerClosed, 1}, inTime(t, async(func() error { return b.Publish(ctx, chat, 2) })))
		take(t, s, 1)
		require.Equal(t, result{nil, 1}, <-shutdown)
	})
}

// Promise 26: not even between the wake-up of who waits and its look at the chat.
func TestNobodyOvertakesAWaiterThatWasWoken(t *testing.T) {
	for name, overtake := range map[string]func(ctx context.Context, b *auditedBroker[int]) error{
		"TryPublish": func(_ context.Context, b *auditedBroker[int]) error { return b.TryPublish(chat, 3) },
		"Publish": func(ctx context.Context, b *auditedBroker[int]) error {
			brief, cancel := context.WithTimeout(ctx, 1)
			defer cancel()
			return b.Publish(brief, chat, 3)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, s := fullChat(t, 1)
				waiting := queue(t.Context(), b, 2)[0]
				sleep(patience)
				require.True(t, broadcast.Deafening(b.Broker, chat, 0, func() {
					take(t, s, 1)
					require.Error(t, overtake(t.Context(), b))
				}))
				require.NoError(t, (<-waiting).err)
				require.Equal(t, []int{2}, payloads(takeAll(t, s)))
			})
		})
	}
}

// Promise 25: nor the next one, before it has looked for the first time.
func TestNobodyTakesThePlaceOfTheNextWaiter(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		first := queue(t.Context(), b, 2)[0]
		second := queue(t.Context(), b, 3)[0]
		sleep(patience)
		require.True(t, broadcast.Deafening(b.Broker, chat, 1, func() {
			take(t, s, 1)
			require.NoError(t, (<-first).err)
			take(t, s, 1)
			require.ErrorIs(t, b.TryPublish(chat, 4), broadcast.ErrOverloaded)
		}))
		require.NoError(t, (<-second).err)
		require.Equal(t, []int{3}, payloads(takeAll(t, s)))
	})
}

// Promise 25: between the reader's look for a message and its sleep.
func TestAMessageThatComesJustBeforeAReaderSleepsIsNotSleptThrough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		for i := range 3 {
			d, err := s.Next(hooked{t.Context(), func() { b.publish(chat, i) }, nil})
			require.NoError(t, err)
			require.Equal(t, i, d.Message)
		}
	})
}

// The same for the end of the subscription.
func TestAnEndJustBeforeAReaderSleepsIsNotSleptThrough(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "device")
				_, err := s.Next(hooked{t.Context(), func() { end(b, s) }, nil})
				require.Error(t, err)
				require.Equal(t, s.Err(), err)
			})
		})
	}
}

// Promise 25: one, two, as many as a publisher wakes itself, and crowds that it leaves to others.
func TestEveryReaderThatWaitsIsWoken(t *testing.T) {
	for _, n := range []int{1, 2, 4, 5, 196, 197, 1_000} {
		t.Run(fmt.Sprintf("readers=%d", n), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				var readers []*broadcast.Subscriber[int]
				for i := range n {
					readers = append(readers, b.join(chat, fmt.Sprint(i)))
					read(b, readers[i])
				}
				for round := 1; round <= 3; round++ {
					synctest.Wait() // all of them sleep
					b.publish(chat, round)
					synctest.Wait()
					for _, s := range readers {
						require.EqualValues(t, round, s.Stats().Delivered, "reader %s in round %d", s.Device(), round)
					}
				}
			})
		})
	}
}

// Promise 25: who comes and goes, for a follower.
func TestPresenceJustBeforeAFollowerSleepsIsNotSleptThrough(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "follower", broadcast.WithPresence())
		var ann *broadcast.Subscriber[int]
		for _, step := range []struct {
			want string
			act  func()
		}{
			{"+ann@0", func() { ann = b.join(chat, "ann") }},
			{"-ann@0", func() { _ = ann.Close() }},
		} {
			soon, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			d, err := s.Next(hooked{soon, sync.OnceFunc(step.act), nil})
			require.NoError(t, err)
			require.Equal(t, step.want, telling(d))
		}
	})
}

// It is a misuse, but all of them get to know.
func TestAllWhoWaitForOneSubscriptionByMistakeGetItsEnd(t *testing.T) {
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "device")
				soon, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				var waiting []<-chan result
				for range 3 {
					waiting = append(waiting, async(func() error { _, err := s.Next(soon); return err }))
				}
				synctest.Wait()
				end(b, s)
				for _, next := range waiting {
					require.Equal(t, result{s.Err(), 0}, <-next)
				}
			})
		})
	}
}
