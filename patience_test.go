package broadcast_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// lost returns how many messages the strategy has cost a reader: those missed, and that which ended
// it.
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

// Promise 14: a reader with a buffer of 1 is half empty after each message, and is waited for anew.
func TestATickerBesideASlowReaderWaitsAgainAndAgainAndWithPatienceZeroNever(t *testing.T) {
	for patience, want := range map[time.Duration]time.Duration{patience: 5 * time.Millisecond, 0: 0} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithBuffer(1), broadcast.WithPatience(patience))
			s := b.join(chat, "slow")
			var reader sync.WaitGroup
			reader.Go(func() {
				for range s.Messages(context.Background()) {
					time.Sleep(25 * time.Millisecond)
				}
			})
			ticker := time.NewTicker(20 * time.Millisecond)
			var took time.Duration
			const ticks = 1_000
			for i := range ticks {
				<-ticker.C
				took += b.publish(chat, i)
			}
			require.Equal(t, want, (took / ticks).Round(time.Millisecond))
			require.NoError(t, b.Close())
			reader.Wait()
		})
	}
}

// One free place would do, but publishers hope for half a buffer, so that they do not wait for each
// message anew.
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

// Promise 14: the patience of a reader runs from when a publisher first stood before it, whoever
// that was.
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

// Promise 14: but for TryPublish.
func TestTryPublishLetsStrategiesActAtOnce(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		for n := 1; n <= 5; n++ {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithSampling(strategy))
			s := b.join(chat, "stuck")
			healthy := b.join(chat, "healthy")
			require.Zero(t, elapsed(func() {
				for i := range 3 * n {
					require.NoError(t, b.TryPublish(chat, i))
					require.Equal(t, []int{i}, take(t, healthy, 1))
				}
			}))
			require.Zero(t, lost(healthy))
			require.NoError(t, healthy.Close())
			if strategy == broadcast.Disconnect {
				require.ErrorIs(t, s.Err(), broadcast.ErrSlow)
			} else {
				require.Equal(t, 2*n, lost(s))
			}
			require.Zero(t, b.publish(chat, from(1, 100*n)...), "it has used its patience up")
		}
	})
}

// Promise 26: but for TryPublish. What the one that waits was waiting for is no reason any more.
func TestTryPublishOvertakesPublishersThatArePatient(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		s := b.join(chat, "stuck")
		witness := b.join(chat, "witness", broadcast.WithBuffer(100))
		fill(t, b, 2)
		waiting := queue(t.Context(), b, 4, 5)
		sleep(patience / 2)
		require.NoError(t, b.TryPublish(chat, 3))
		for _, w := range waiting {
			require.Equal(t, result{nil, patience / 2}, <-w)
		}
		require.Equal(t, from(1, 5), payloads(takeAll(t, witness)))
		require.NotZero(t, lost(s))
	})
}

// Promise 20: nor does what TryPublish accepts meanwhile lengthen the wait.
func TestThePatienceOfAPublisherRunsOnAcrossMessagesOfTryPublish(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithSampling(strategy))
		var stuck []*broadcast.Subscriber[int]
		for n := 1; n <= 5; n++ { // each message fills another one
			stuck = append(stuck, b.join(chat, string(rune('a'+n)), broadcast.WithBuffer(n)))
		}
		fill(t, b, 1)
		waiting := queue(t.Context(), b, 0)[0]
		for i := range 3 {
			sleep(patience / 4)
			require.Empty(t, waiting)
			require.NoError(t, b.TryPublish(chat, 2+i))
		}
		require.Equal(t, result{nil, patience}, <-waiting)
		for i, s := range stuck {
			require.Equal(t, i < 4, lost(s) > 0)
		}
	})
}

// Promise 14: a reader that has one place is not touched, and not waited for either.
func TestTryPublishTakesAPlaceThatAPublisherHopedToBecomeMore(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithSampling(strategy))
		s := b.join(chat, "slow")
		fill(t, b, 4)
		waiting := queue(t.Context(), b, 6)[0]
		take(t, s, 1)
		require.NoError(t, b.TryPublish(chat, 5))
		require.Zero(t, lost(s))
		sleep(patience - 1)
		require.Empty(t, waiting)
		take(t, s, 2)
		require.Equal(t, result{nil, patience - 1}, <-waiting)
		require.Equal(t, from(4, 6), payloads(takeAll(t, s)))
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
		require.Zero(t, b.publish(chat, 3)) // the others have been waited for meanwhile
		for _, s := range others {
			require.Equal(t, 1, lost(s), s.Device())
		}
	})
}

// Promise 14: nor has anybody been waited for then.
func TestARefusedTryPublishChangesNoReader(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2))
		block := b.join(chat, "block", broadcast.WithSampling(broadcast.Block))
		s := b.join(chat, "stuck", broadcast.WithSampling(strategy))
		fill(t, b, 2)
		for range 3 {
			require.ErrorIs(t, b.TryPublish(chat, 3), broadcast.ErrOverloaded)
			sleep(patience)
		}
		require.Zero(t, lost(s))
		require.EqualValues(t, 2, requireBooks(t, s).Pending)
		take(t, block, 2)
		require.Equal(t, patience, b.publish(chat, 3))
		require.Equal(t, 1, lost(s))
	})
}

// Promise 14: on the fake clock the loop and the readers share processors and nothing else, so that
// no time passes and nothing is lost.
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

// Promise 20: a message is with a reader that keeps up at the moment in which it is accepted,
// whoever else is stuck, and what stalls again costs a patience again.
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

// Promise 14: before publishers take readers for stuck, they yield the processor. These readers
// share one with the publisher and arrive one by one when it yields. It does not wait for ever.
func TestReadersThatArriveWhenTheProcessorIsYieldedAreWaitedForAtMostASecond(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	test := func(t *testing.T, b *auditedBroker[int], opts ...broadcast.SubscribeOption) {
		b.join(chat, "stuck")
		var readers []*broadcast.Subscriber[int]
		for i := range 500 {
			readers = append(readers, b.join(chat, string(rune('a'+i)), opts...))
		}
		fill(t, b, 1)
		const each = 4 // at one deadline; some before the publisher looks, others when it yields
		arrived := async(func() error {
			for late := range slices.Chunk(readers, each) {
				time.Sleep(patience)
				for _, s := range late {
					s.TryNext()
					runtime.Gosched()
				}
			}
			return nil
		})
		took := elapsed(func() {
			require.NoError(t, b.Publish(t.Context(), chat, 2))
		})
		require.Greater(t, took, patience)
		require.LessOrEqual(t, took, time.Second)
		require.Zero(t, lost(readers[0]))
		require.Equal(t, 1, lost(readers[len(readers)-1]))
		<-arrived
	}
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		buffer, sampling := broadcast.WithBuffer(1), broadcast.WithSampling(strategy)
		test(t, newBroker[int](t, buffer, sampling))
		test(t, newBroker[int](t, buffer, sampling, broadcast.WithPatience(patience/3)), broadcast.WithPatience(patience))
	})
}

// The steps in which Messages reports its progress do not reach beyond what a publisher waits for.
func TestALoopOverMessagesThatIsHalfEmptyLetsPublishersGoOn(t *testing.T) {
	for _, n := range []int{32, 33, 100, 250, 1_000} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(time.Minute), broadcast.WithPublishTimeout(0))
			s := b.join(chat, "slow")
			fill(t, b, n)
			waiting := queue(t.Context(), b, n+1)[0]
			for msg := range s.Messages(t.Context()) {
				if msg == n {
					break
				}
				time.Sleep(time.Millisecond)
			}
			require.Equal(t, result{nil, time.Duration(n-n/2-1) * time.Millisecond}, <-waiting)
		})
	}
}

// Promise 20: also if it is replaced before the wait is over.
func TestADeviceThatComesBackAgainAndAgainIsWaitedForOnce(t *testing.T) {
	forStrategies(t, lossy[:3], func(t *testing.T, strategy broadcast.Sampling) {
		for _, after := range []time.Duration{patience / 2, 2 * patience} {
			b := newBroker[int](t, broadcast.WithBuffer(1), broadcast.WithSampling(strategy))
			b.join(chat, "device")
			fill(t, b, 1)
			waiting := queue(t.Context(), b, 2)[0]
			sleep(after)
			for range 10 {
				s := b.join(chat, "device")
				require.Zero(t, b.publish(chat, from(1, 10)...))
				require.NotZero(t, lost(s))
			}
			require.Equal(t, result{nil, min(after, patience)}, <-waiting)
		}
	})
}

// Promise 20: that of a reader is not used up before publishers have waited for it, and not after
// it has shown that it reads.
func TestADeviceThatComesBackAndReadsIsWaitedFor(t *testing.T) {
	const n = 4
	waitInVain := func(t *testing.T, b *auditedBroker[int]) {
		brief, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		require.Error(t, b.Publish(brief, chat, 0))
	}
	type act = func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int])
	var takes act = func(t *testing.T, _ *auditedBroker[int], s *broadcast.Subscriber[int]) { take(t, s, 1) }
	for name, test := range map[string]struct {
		before, between, after act // publishers fill its buffer and wait; after it has come back
		want                   time.Duration
	}{
		"it takes nothing": {nil, nil, nil, 0},
		"it gets one more place with Chan, and takes nothing": {nil, func(
			t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int],
		) {
			s.Chan()
			synctest.Wait()
			fill(t, b, 1)
		}, nil, 0},
		"it takes one": {nil, nil, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int]) {
			fill(t, b, n)
			take(t, s, 1)
		}, patience},
		"it takes one of a replay": {nil, nil, func(t *testing.T, b *auditedBroker[int], _ *broadcast.Subscriber[int]) {
			s := b.join(chat, "device", broadcast.Replay(n))
			take(t, s, 1)
		}, patience},
		"it waits for one": {nil, nil, func(t *testing.T, _ *auditedBroker[int], s *broadcast.Subscriber[int]) {
			brief, cancel := context.WithTimeout(t.Context(), 1)
			defer cancel()
			_, err := s.Next(brief)
			require.Error(t, err)
		}, patience},
		"it receives one": {nil, nil, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int]) {
			fill(t, b, 1)
			<-s.Chan()
			synctest.Wait()
		}, patience},
		"it had taken one": {takes, nil, nil, patience},
	} {
		t.Run(name, func(t *testing.T) {
			forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
				b := newBroker[int](t, broadcast.WithHistory(n, 0), broadcast.WithBuffer(n), broadcast.WithSampling(strategy))
				s := b.join(chat, "device")
				if test.before != nil {
					fill(t, b, 1)
					test.before(t, b, s)
				}
				fill(t, b, n)
				waitInVain(t, b)
				if test.between != nil {
					test.between(t, b, s)
				}
				s = b.join(chat, "device")
				if test.after != nil {
					test.after(t, b, s)
				}
				if strategy != broadcast.Block {
					require.Equal(t, test.want, b.publish(chat, from(1, 20)...))
				}
			})
		})
	}
}

// Promise 20: nor is a reader that publishers have not waited for.
func TestATakeoverOfAReaderThatNobodyWaitedForUsesNoPatienceUp(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		b.join(chat, "device")
		fill(t, b, 2)
		b.join(chat, "device")
		require.Equal(t, patience, b.publish(chat, from(1, 20)...))
	})
}

// Promise 20: in the middle of a wait, beside another reader that is waited for.
func TestAReaderThatShowsThatItReadsIsWaitedForAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(4, 0), broadcast.WithBuffer(4), broadcast.WithSampling(broadcast.Block))
		other := b.join(chat, "other")
		b.join(chat, "device")
		fill(t, b, 4)
		brief, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		require.Error(t, b.Publish(brief, chat, 0))
		takeAll(t, other)
		s := b.join(chat, "device", broadcast.Replay(4))
		fill(t, b, 4)

		waiting := queue(t.Context(), b, 5)[0]
		take(t, s, 1)
		synctest.Wait()
		take(t, s, 4) // one place, but the publisher hopes for half a buffer
		take(t, other, 2)
		synctest.Wait()
		require.Empty(t, waiting)
		take(t, s, 1)
		require.Equal(t, result{}, <-waiting)
	})
}

// A publisher may yield the processor after its look at the context. It looks again before the
// message is accepted.
func TestAContextThatIsDoneWhenPatienceEndsIsRefused(t *testing.T) {
	for range 50 {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t)
			s := b.join(chat, "stuck", broadcast.WithBuffer(1))
			b.publish(chat, 1)
			ctx, cancel := context.WithCancel(context.Background())
			var head uint64
			canceled := async(func() error {
				time.Sleep(patience)
				cancel()
				head = s.Stats().Head
				return nil
			})
			err := b.Publish(ctx, chat, 2)
			<-canceled
			if head == 1 {
				require.ErrorIs(t, err, context.Canceled)
			}
		})
	}
}

// Promise 14: whoever found the reader full has given up, and the next publisher comes when the
// patience that they share is over. The reader only waits for the processor.
func TestTheNextPublisherYieldsIfNobodyHasWhenPatienceIsOver(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(2))
		s := b.join(chat, "device")
		fill(t, b, 2)
		short, cancel := context.WithTimeout(t.Context(), patience/2)
		defer cancel()
		require.ErrorIs(t, b.Publish(short, chat, 3), context.DeadlineExceeded)
		ready := make(chan struct{})
		go func() {
			<-ready
			s.TryNext()
			s.TryNext()
		}()
		time.Sleep(patience / 2)
		close(ready)
		b.publish(chat, 4)
		synctest.Wait()
		require.Zero(t, s.Stats().Missed)
	})
}

// Promise 14.
func TestAReaderMayHaveAPatienceOfItsOwn(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		for _, own := range []time.Duration{0, 1, patience / 2, patience, 3 * patience} {
			b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithSampling(strategy))
			s := b.join(chat, "stuck", broadcast.WithPatience(own))
			fill(t, b, 4)
			require.Equal(t, own, b.publish(chat, 5))
			require.Equal(t, 1, lost(s))
			require.Zero(t, b.publish(chat, from(6, 100)...), "it has used its patience up")
		}
	})
}

// Promises 14 and 20.
func TestPublishersWaitForTheLongestPatienceAmongTheStalled(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		stuck := []*broadcast.Subscriber[int]{b.join(chat, "default")}
		for i, own := range []time.Duration{3, 0, 25, 14, 3} {
			stuck = append(stuck, b.join(chat, fmt.Sprint(i), broadcast.WithPatience(own*time.Millisecond)))
		}
		fill(t, b, 2)
		require.Equal(t, 25*time.Millisecond, b.publish(chat, 3))
		require.Zero(t, b.publish(chat, from(4, 100)...))
		for _, s := range stuck {
			require.NotZero(t, lost(s))
		}
	})
}

// Promise 14.
func TestAPublisherWaitsNoLongerForAReaderWhosePatienceIsOverThanForTheOthers(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		stuck := b.join(chat, "stuck", broadcast.WithPatience(patience/5))
		late := b.join(chat, "late")
		fill(t, b, 2)
		waiting := queue(t.Context(), b, 3)[0]
		sleep(patience / 2)
		require.Zero(t, lost(stuck), "no message was accepted yet")
		take(t, late, 1)
		require.Equal(t, result{nil, patience / 2}, <-waiting)
		require.Equal(t, 1, lost(stuck))
		require.Zero(t, lost(late))
	})
}

// Promise 14.
func TestAPatienceOfItsOwnRunsFromWhenPublishersFirstStoodAtTheHead(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		for own, want := range map[time.Duration]time.Duration{patience / 10: 0, patience / 2: patience / 10, 2 * patience: 2*patience - 2*patience/5} {
			b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
			s := b.join(chat, "stuck", broadcast.WithPatience(own))
			stopped := b.join(chat, "stopped", broadcast.WithSampling(broadcast.Block))
			fill(t, b, 2)
			brief, cancel := context.WithTimeout(t.Context(), patience/5)
			defer cancel()
			require.ErrorIs(t, b.Publish(brief, chat, 0), context.DeadlineExceeded)
			require.Zero(t, lost(s))
			require.NoError(t, stopped.Close())
			sleep(patience / 5)
			require.Equal(t, want, b.publish(chat, 3))
			require.Equal(t, 1, lost(s))
		}
	})
}

// Promise 14: the ticker is not held up by the readers that are meant to lose, and waits for the
// others as ever.
func TestATickerBesideASlowReaderOfPatienceZeroNeverWaits(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		slow := b.join(chat, "slow", broadcast.WithBuffer(1), broadcast.WithPatience(0))
		other := b.join(chat, "other", broadcast.WithBuffer(2))
		var reader sync.WaitGroup
		reader.Go(func() {
			for range slow.Messages(context.Background()) {
				time.Sleep(25 * time.Millisecond)
			}
		})
		for i := range 1_000 {
			time.Sleep(20 * time.Millisecond)
			require.Zero(t, b.publish(chat, i))
			require.Equal(t, []int{i}, take(t, other, 1))
		}
		require.NotZero(t, lost(slow))
		b.publish(chat, 1_000, 1_001)
		require.Equal(t, patience, b.publish(chat, 1_002))
		require.NoError(t, b.Close())
		reader.Wait()
	})
}

// Promise 14.
func TestAReaderThatArrivesAtTheEndOfItsOwnPatienceMakesNobodyElseWaitedForLonger(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		s := b.join(chat, "late", broadcast.WithPatience(patience/2))
		stuck := b.join(chat, "stuck")
		fill(t, b, 2)
		go func() {
			time.Sleep(patience / 2)
			s.TryNext()
			runtime.Gosched()
			s.TryNext()
		}()
		require.Equal(t, patience, b.publish(chat, 3))
		require.Zero(t, lost(s))
		require.Equal(t, 1, lost(stuck))
	})
}

// Promise 14.
func TestAChatTells255PatiencesOfReadersApart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(1))
		join := func(i int) (*broadcast.Subscriber[int], error) {
			return b.Subscribe(chat, fmt.Sprint(i), broadcast.WithPatience(patience+time.Duration(i)))
		}
		for i := range 256 { // 0 is the patience of the broker
			_, err := join(i)
			require.NoError(t, err)
		}
		_, err := join(256)
		require.ErrorIs(t, err, broadcast.ErrLimit)
		require.ErrorContains(t, err, "255 different patiences")
		require.Len(t, b.Devices(chat), 256)
		_, err = b.Subscribe("another chat", "device", broadcast.WithPatience(patience+256))
		require.NoError(t, err)
		b.join(chat, "the same", broadcast.WithPatience(patience+7))

		require.NoError(t, b.subs[9].Close())
		last, err := join(256)
		require.NoError(t, err)
		b.publish(chat, 1)
		require.Equal(t, patience+256, b.publish(chat, 2))
		require.Equal(t, 1, lost(last))
	})
}

// Promise 28.
func TestPatiencesOfReadersThatHaveGoneLeaveNothing(t *testing.T) {
	b := unaudited[int](t, broadcast.WithPublishTimeout(0))
	b.join(chat, "stays")
	requireFlat(t, 1_000_000, func(i int) {
		b.join(chat, "comes and goes", broadcast.WithPatience(time.Duration(i)*time.Millisecond))
	})
	require.NoError(t, b.join(chat, "comes and goes").Close())
	require.Empty(t, broadcast.Leftovers(b.Broker))
}
