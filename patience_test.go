package broadcast_test

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// lost returns how many messages the strategy has cost a reader: those missed, and that which ended it.
func lost(s *broadcast.Subscriber[int]) int {
	missed := int(s.Stats().Missed)
	if s.Err() != nil {
		missed++
	}
	return missed
}

// Promise 14.
func TestAStrategyActsOnlyAfterPublishersHaveWaitedForTheReader(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		for n := 1; n <= 5; n++ {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithSampling(strategy))
			s := b.join(chat, "stuck")
			fill(t, b, n)
			require.Zero(t, lost(s))
			require.Equal(t, patience, b.publish(chat, n+1))
			require.Equal(t, 1, lost(s))
		}
	})
}

// Promise 14.
func TestAReaderThatIsHalfEmptyInTimeLosesNothing(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		for n := 1; n <= 5; n++ {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithSampling(strategy))
			s := b.join(chat, "late")
			fill(t, b, n)
			waiting := async(func() error { return b.Publish(t.Context(), chat, n+1) })
			sleep(3 * time.Millisecond)
			take(t, s, n-n/2)
			require.Equal(t, result{nil, 3 * time.Millisecond}, <-waiting)
			require.Zero(t, lost(s))
		}
	})
}

// One free place would do, but publishers hope for half a buffer, so that they do not wait for each message anew.
func TestPublishersHopeForHalfABuffer(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithSampling(strategy))
		s := b.join(chat, "slow")
		fill(t, b, 4)
		waiting := async(func() error { return b.Publish(t.Context(), chat, 5) })
		sleep(3 * time.Millisecond)
		take(t, s, 1)
		require.Equal(t, result{nil, patience}, <-waiting)
		require.Zero(t, lost(s))
		require.Equal(t, from(2, 5), payloads(takeAll(t, s)))
	})
}

// Promise 14.
func TestAReaderThatUsedItsPatienceUpIsNotWaitedForUntilItIsHalfEmpty(t *testing.T) {
	forStrategies(t, lossy[:3], func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithSampling(strategy))
		s := b.join(chat, "stuck")
		fill(t, b, 4)
		for range 3 {
			require.Equal(t, patience, b.publish(chat, 5))
			require.Zero(t, b.publish(chat, from(6, 100)...))
			take(t, s, 1) // not enough
			require.Zero(t, b.publish(chat, 101, 102))
			take(t, s, 2) // half empty: an ordinary reader again
			require.Zero(t, b.publish(chat, 103, 104))
		}
		require.Equal(t, patience, b.publish(chat, 105))
	})
}

// Promise 14: half empty for a moment is enough, even if no publisher looks then.
func TestAReaderThatWasHalfEmptyOnceIsWaitedForAgain(t *testing.T) {
	forStrategies(t, lossy[:3], func(t *testing.T, strategy broadcast.Sampling) {
		forEach := func(n int) {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithSampling(strategy))
			s := b.join(chat, "slow")
			fill(t, b, n)
			require.Equal(t, patience, b.publish(chat, n+1))
			takeAll(t, s)
			fill(t, b, n)
			require.Equal(t, patience, b.publish(chat, n+1))
		}
		for n := 1; n <= 5; n++ {
			forEach(n)
		}
	})
}

// Promise 14: the patience of a reader runs from when a publisher first stood before it, whoever that was.
func TestPublishersAtTheSameHeadShareOnePatience(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		s := b.join(chat, "stuck")
		fill(t, b, 2)

		brief, cancel := context.WithTimeout(t.Context(), patience/5)
		defer cancel()
		require.ErrorIs(t, b.Publish(brief, chat, 0), context.DeadlineExceeded)
		require.Zero(t, lost(s))
		sleep(patience / 5)
		require.Equal(t, patience-2*patience/5, b.publish(chat, 3))
		require.Equal(t, 1, lost(s))
	})
}

// The same, with a publisher that does not wait at all.
func TestTryPublishBeginsThePatience(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		s := b.join(chat, "stuck")
		fill(t, b, 2)

		require.ErrorIs(t, b.TryPublish(chat, 0), broadcast.ErrOverloaded)
		sleep(patience - 1)
		require.ErrorIs(t, b.TryPublish(chat, 0), broadcast.ErrOverloaded)
		require.Zero(t, lost(s))
		sleep(1)
		require.NoError(t, b.TryPublish(chat, 3))
		require.Equal(t, 1, lost(s))
	})
}

// Promise 14.
func TestARefusedPublishChangesNoReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPublishTimeout(time.Second))
		block := b.join(chat, "block", broadcast.WithSampling(broadcast.Block))
		var others []*broadcast.Subscriber[int]
		for _, s := range lossy {
			others = append(others, b.join(chat, s.String(), broadcast.WithSampling(s)))
		}
		others = append(others, b.join(chat, "sampler", broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return 0 })))

		fill(t, b, 2)
		require.ErrorIs(t, b.Publish(t.Context(), chat, 3), broadcast.ErrOverloaded)
		require.ErrorIs(t, b.TryPublish(chat, 3), broadcast.ErrOverloaded)
		for _, s := range others {
			require.Zero(t, lost(s), s.Device())
			require.EqualValues(t, 2, requireBooks(t, s).Pending, s.Device())
		}

		take(t, block, 1)
		require.NoError(t, b.TryPublish(chat, 3)) // the others have been waited for meanwhile
		for _, s := range others {
			require.Equal(t, 1, lost(s), s.Device())
		}
	})
}

// Promise 14: on the fake clock the loop and the readers share processors and nothing else, so that no time passes and nothing is lost.
func TestATightLoopDoesNotOverrunReadersThatOnlyWaitForAProcessor(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		for _, n := range []int{1, 2, 100} {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithSampling(strategy))
			var readers []func() []broadcast.Delivery[int]
			for _, device := range []string{"a", "b", "c", "d", "e"} {
				readers = append(readers, read(b, b.join(chat, device)))
			}
			require.Zero(t, b.publish(chat, from(1, 2_000)...))
			require.NoError(t, b.Shutdown(t.Context()))
			for _, wait := range readers {
				require.Equal(t, from(1, 2_000), payloads(wait()))
			}
		}
	})
}

// "Other readers than Block can slow a publisher to no less than half a buffer per patience."
func TestASlowReaderLetsHalfABufferPassPerPatience(t *testing.T) {
	forStrategies(t, lossy[:3], func(t *testing.T, strategy broadcast.Sampling) {
		for every := time.Duration(1); every <= patience; every += patience / 7 {
			b := newBroker[int](t, broadcast.WithBuffer(8), broadcast.WithSampling(strategy))
			s := b.join(chat, "slow")
			ctx, stop := context.WithCancel(t.Context())
			reader := async(func() error {
				for range s.All(ctx) {
					time.Sleep(every)
				}
				return nil
			})
			fill(t, b, 8)
			require.LessOrEqual(t, b.publish(chat, from(9, 408)...), 400/(8/2)*patience, "one message every %v", every)
			stop()
			<-reader
		}
	})
}

// Promise 20.
func TestStuckReadersCostOnePatienceInAll(t *testing.T) {
	for _, readers := range []int{1, 10, reduced(1_000)} {
		forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
			b := newBroker[int](t, broadcast.WithBuffer(4))
			for i := range readers {
				b.join(chat, string(rune('a'+i)), broadcast.WithSampling(strategy))
			}
			require.Equal(t, patience, b.publish(chat, from(1, 1_000)...))
		})
	}
}

// Promise 20.
func TestStuckReadersOfAllStrategiesCostOnePatienceInAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(4))
		for i := range reduced(1_000) {
			b.join(chat, string(rune('a'+i)), broadcast.WithSampling(lossy[i%len(lossy)]))
		}
		b.join(chat, "sampler", broadcast.WithSampler(func(backlog broadcast.Backlog[int], _ int) int { return backlog.Len() }))
		require.Equal(t, patience, b.publish(chat, from(1, 1_000)...))
	})
}

// Promise 20: a message is with a reader that keeps up at the moment in which it is accepted, whoever else is stuck, and what stalls again
// costs a patience again.
func TestStuckReadersDelayOtherReadersByOnePatiencePerStall(t *testing.T) {
	for _, p := range []time.Duration{patience, 0} {
		forStrategies(t, lossy[:3], func(t *testing.T, strategy broadcast.Sampling) {
			b := newBroker[time.Time](t, broadcast.WithBuffer(4), broadcast.WithPatience(p))
			var stuck []*broadcast.Subscriber[time.Time]
			for i := range reduced(1_000) {
				stuck = append(stuck, b.join(chat, string(rune('a'+i)), broadcast.WithSampling(strategy)))
			}
			healthy := b.join(chat, "healthy")
			ctx, stop := context.WithCancel(t.Context())
			var late []time.Duration
			reader := async(func() error {
				for sent := range healthy.Messages(ctx) {
					if delay := time.Since(sent); delay > 0 {
						late = append(late, delay)
					}
				}
				return nil
			})
			const stalls = 3
			for range stalls {
				for range 100 {
					b.publish(chat, time.Now())
					synctest.Wait()
				}
				for _, s := range stuck {
					takeAll(t, s)
				}
			}
			stop()
			<-reader
			if p == 0 {
				require.Empty(t, late)
			} else {
				require.Equal(t, slices.Repeat([]time.Duration{p}, stalls), late)
			}
		})
	}
}

// Promise 20: nor does a reader that keeps up pay for those that are stuck.
func TestAReaderBesideStuckOnesMissesNothing(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithSampling(strategy))
		for i := range 10 {
			b.join(chat, string(rune('a'+i)))
		}
		wait := read(b, b.join(chat, "healthy"))
		require.Equal(t, patience, b.publish(chat, from(1, 1_000)...))
		synctest.Wait()
		require.NoError(t, b.Close())
		require.Equal(t, from(1, 1_000), payloads(wait()))
	})
}

// Promise 20.
func TestWithPatienceZeroStuckReadersCostNothingOnTheFakeClock(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithPatience(0))
		for i := range reduced(1_000) {
			b.join(chat, string(rune('a'+i)), broadcast.WithSampling(strategy))
		}
		require.Zero(t, b.publish(chat, from(1, 1_000)...))
	})
}

// Promise 20.
func TestOtherChatsWaitForNothing(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(1))
		b.join(chat, "stuck", broadcast.WithSampling(strategy))
		reader := b.join("other", "reader")
		fill(t, b, 1)
		waiting := async(func() error { return b.Publish(t.Context(), chat, 2) })
		synctest.Wait()
		for i := range 100 {
			require.Zero(t, b.publish("other", i))
			require.Equal(t, []int{i}, take(t, reader, 1))
		}
		require.Zero(t, elapsed(func() { b.join(chat, "newcomer") })) // and who joins does not wait either
		<-waiting
	})
}
