package broadcast_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Promise 8.
func TestDropOldestKeepsTheNewestN(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.DropOldest))
		b.publish(chat, from(1, 3*n)...)
		taken := takeAll(t, s)
		require.Equal(t, from(2*n+1, 3*n), payloads(taken))
		require.EqualValues(t, 2*n, taken[0].Missed)

		b.publish(chat, from(3*n+1, 4*n)...) // once it has caught up nothing is lost
		require.Equal(t, from(3*n+1, 4*n), payloads(takeAll(t, s)))
	})
}

// Promise 9.
func TestDropNewestKeepsTheOldestN(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.DropNewest))
		b.publish(chat, from(1, 3*n)...)
		require.Equal(t, from(1, n), payloads(takeAll(t, s)))
		require.EqualValues(t, 2*n, requireBooks(t, s).Missed)

		b.publish(chat, from(3*n+1, 4*n)...)
		taken := takeAll(t, s)
		require.Equal(t, from(3*n+1, 4*n), payloads(taken))
		require.EqualValues(t, 2*n, taken[0].Missed)
	})
}

func TestDropNewestTakesNewMessagesIntoThePlacesThatWereFreed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(3), broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.DropNewest))
		b.publish(chat, 1, 2, 3, 4)
		require.Equal(t, []int{1}, take(t, s, 1))
		b.publish(chat, 5, 6)
		require.Equal(t, []broadcast.Delivery[int]{
			{Chat: chat, Seq: 2, Message: 2},
			{Chat: chat, Seq: 3, Message: 3},
			{Chat: chat, Seq: 5, Message: 5, Missed: 1},
		}, bare(takeAll(t, s)...))
	})
}

// Promise 10, for DropRandom and for a sampler that does the same.
func TestDropRandomDropsEachCandidateEquallyLikely(t *testing.T) {
	for name, strategy := range map[string]broadcast.SubscribeOption{
		"DropRandom": broadcast.WithSampling(broadcast.DropRandom),
		"sampler": broadcast.WithSampler(func(backlog broadcast.Backlog[int], _ int) int {
			return rand.IntN(backlog.Len() + 1)
		}),
	} {
		for _, n := range []int{1, 2, 3, 8} {
			t.Run(fmt.Sprintf("%s/buffer=%d", name, n), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
					s := b.join(chat, "device", strategy)
					dropped := make([]int, n+1)
					for range reduced(100_000) {
						for msg := range n + 1 {
							_ = b.TryPublish(chat, msg)
						}
						sum, before := 0, -1
						for range n {
							d, _ := s.TryNext()
							if d.Message <= before {
								t.Fatalf("%d after %d", d.Message, before)
							}
							before = d.Message
							sum += d.Message
						}
						dropped[n*(n+1)/2-sum]++
					}
					requireUniform(t, dropped)
				})
			})
		}
	}
}

// Promise 10: a message that was spared is a candidate again.
func TestDropRandomDrawsAnewForEachMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(1), broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.DropRandom))
		kept := make([]int, 4) // the last of three survives one draw, the others two: quarters 0, 1 and 2+3
		for range 4_000 {
			b.publish(chat, 0, 1, 2)
			msg := take(t, s, 1)[0]
			if msg == 2 {
				msg += rand.IntN(2)
			}
			kept[msg]++
		}
		requireUniform(t, kept)
	})
}

// missing returns which of the numbers 0 to len(got) is not there.
func missing(got []int) int {
	for i, msg := range got {
		if msg != i {
			return i
		}
	}
	return len(got)
}

// requireUniform fails the test if the counts differ by more than chance explains once in a billion
// runs (Pearson's chi-square test).
func requireUniform(t *testing.T, counts []int) {
	t.Helper()
	total := 0
	for _, n := range counts {
		total += n
	}
	want := float64(total) / float64(len(counts))
	var chi2 float64
	for _, n := range counts {
		chi2 += (float64(n) - want) * (float64(n) - want) / want
	}
	require.Greater(t, chance(chi2, len(counts)-1), 1e-9, "not uniform: %v", counts)
}

// chance returns how likely chi-square is at least as large, with so many degrees of freedom.
func chance(chi2 float64, freedom int) float64 {
	x := chi2 / 2
	k, term, sum := 0.0, math.Exp(-x), 0.0 // the terms x^k e^-x / k! from k = 0 or 1/2 on, below freedom/2
	if freedom%2 == 1 {
		k, term, sum = 0.5, 2*math.Sqrt(x/math.Pi)*math.Exp(-x), math.Erfc(math.Sqrt(x))
	}
	for ; k < float64(freedom)/2; k++ {
		sum += term
		term *= x / (k + 1)
	}
	return sum
}

func TestChanceIsThatOfChiSquare(t *testing.T) {
	for _, known := range []struct { // from tables
		freedom   int
		chi2, one float64
	}{{1, 3.841, 0.05}, {2, 5.991, 0.05}, {3, 7.815, 0.05}, {8, 15.507, 0.05}, {1, 10.828, 0.001}, {2, 13.816, 0.001}, {3, 16.266, 0.001}, {8, 26.124, 0.001}} {
		require.InEpsilon(t, known.one, chance(known.chi2, known.freedom), 0.001, "%+v", known)
	}
}

// Promise 10.
func TestDropRandomKeepsTheOrder(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.DropRandom))
		for range 20 {
			b.publish(chat, make([]int, 3*n)...)
			require.Len(t, takeAll(t, s), n) // and their Seqs rise
		}
	})
}

// Promise 7: publishers that have many readers to visit apply some of the strategies before their
// messages are accepted, which may then be refused because the broker closes.
func TestAReaderWhoseStrategyActedLosesNothingThatFits(t *testing.T) {
	const n = 4
	forStrategies(t, lossy[:3], func(t *testing.T, strategy broadcast.Sampling) {
		for taken := range n + 1 {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0), broadcast.WithSampling(strategy))
			s := b.join(chat, "device")
			b.publish(chat, from(1, n)...)
			broadcast.ActEarly(s)
			got := take(t, s, taken)
			b.publish(chat, from(n+1, n+taken)...)
			got = append(got, payloads(takeAll(t, s))...)
			require.Equal(t, from(1, n+taken), got)
			require.Zero(t, requireBooks(t, s).Missed)
		}
	})
}

// Promise 11.
func TestDisconnectEndsWithTheFirstMessageThatDoesNotFit(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.Disconnect))
		b.publish(chat, from(1, n)...)
		require.NoError(t, s.Err())
		b.publish(chat, n+1)
		require.ErrorIs(t, s.Err(), broadcast.ErrSlow)
		require.Empty(t, b.Devices(chat))
		b.publish(chat, n+2)

		require.EqualValues(t, n, requireBooks(t, s).Head) // the message that did not fit is not in its books
		require.Equal(t, from(1, n), payloads(takeAll(t, s)))
		require.EqualValues(t, 1, b.Stats().Disconnected)
	})
}

// Promise 12.
func TestBlockMissesNothing(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n))
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.Block))
		published := async(func() error { b.publish(chat, from(1, 5*n)...); return nil })
		for i := 1; i <= 5*n; i++ {
			time.Sleep(time.Second)
			require.Equal(t, []int{i}, take(t, s, 1))
		}
		<-published
		require.Zero(t, requireBooks(t, s).Missed)
	})
}

// Promise 12.
func TestBlockMakesPublishersWaitAtMostTheirTimeout(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPublishTimeout(3*time.Second))
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.Block))
		b.publish(chat, from(1, n)...)
		for range 3 {
			require.Equal(t, 3*time.Second, elapsed(func() {
				require.ErrorIs(t, b.Publish(t.Context(), chat, 0), broadcast.ErrOverloaded)
			}))
		}
		require.Equal(t, from(1, n), payloads(takeAll(t, s)))
	})
}

// Promise 13: the effective buffer is the one that was asked for, for every strategy.
func TestNMessagesFitABufferOfNAtOnce(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			b := newBroker[int](t)
			reader := b.join(chat, "device", broadcast.WithSampling(s), broadcast.WithBuffer(n))
			for range 5 {
				require.Zero(t, b.publish(chat, from(1, n)...))
				require.EqualValues(t, n, reader.Stats().Pending)
				require.Equal(t, from(1, n), payloads(takeAll(t, reader)))
			}
			require.NoError(t, reader.Err())
		}
	})
}

// Promise 13.
func TestAReaderThatKeepsFewerThanNWaitingIsNeverTouched(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			for _, wait := range []time.Duration{0, patience} { // nor do publishers wait for it
				b := newBroker[int](t, broadcast.WithPatience(wait))
				reader := b.join(chat, "device", broadcast.WithSampling(s), broadcast.WithBuffer(n))
				require.Zero(t, b.publish(chat, from(1, n-1)...))
				for i := range 10 * n {
					require.Zero(t, b.publish(chat, n+i))
					require.Equal(t, []int{i + 1}, take(t, reader, 1))
				}
				require.Zero(t, requireBooks(t, reader).Missed)
				require.NoError(t, reader.Err())
			}
		}
	})
}

func TestASamplerSeesTheBacklogFromTheOldestAndTheMessageThatDoesNotFit(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
		var saw [][]int
		s := b.join(chat, "device", broadcast.WithSampler(func(backlog broadcast.Backlog[int], next int) int {
			var all []int
			for i := range backlog.Len() {
				all = append(all, backlog.At(i))
			}
			saw = append(saw, append(all, next))
			return 0
		}))
		b.publish(chat, from(1, n+3)...)
		require.Equal(t, from(4, n+3), payloads(takeAll(t, s)))
		require.Equal(t, [][]int{from(1, n+1), from(2, n+2), from(3, n+3)}, saw)
	})
}

func TestASamplersAnswerIsWhatGoes(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		for answer := range n + 1 {
			b := newBroker[int](t, broadcast.WithPatience(0))
			s := b.join(chat, "device", broadcast.WithBuffer(n), broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return answer }))
			b.publish(chat, from(0, n)...)
			taken := payloads(takeAll(t, s))
			require.Len(t, taken, n)
			require.Equal(t, answer, missing(taken))
		}
	})
}

func TestASamplerMayChooseByContent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		keepLargest := func(backlog broadcast.Backlog[int], next int) int {
			smallest, value := backlog.Len(), next
			for i := range backlog.Len() {
				if backlog.At(i) < value {
					smallest, value = i, backlog.At(i)
				}
			}
			return smallest
		}
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(3), broadcast.WithSampler(keepLargest))
		s := b.join(chat, "device")
		b.publish(chat, 5, 1, 9, 2, 8, 7, 3)
		require.Equal(t, []int{9, 8, 7}, payloads(takeAll(t, s)))
	})
}

func TestASamplerIsNotAskedWhileMessagesFit(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithSampler(func(broadcast.Backlog[int], int) int { panic("asked") }))
		s := b.join(chat, "device")
		for range 5 {
			b.publish(chat, from(1, n)...)
			takeAll(t, s)
		}
		require.NoError(t, s.Err())
	})
}

func TestTheLaterOfWithSamplingAndWithSamplerWins(t *testing.T) {
	bubble(t, func(t *testing.T) {
		dropMiddle := broadcast.WithSampler(func(backlog broadcast.Backlog[int], _ int) int { return backlog.Len() / 2 })
		dropNewest := broadcast.WithSampling(broadcast.DropNewest)
		for _, test := range []struct {
			broker []broadcast.Option
			own    []broadcast.SubscribeOption
			left   []int
		}{
			{nil, nil, []int{2, 3}}, // DropOldest
			{[]broadcast.Option{dropMiddle, dropNewest}, nil, []int{1, 2}},
			{[]broadcast.Option{dropNewest, dropMiddle}, nil, []int{1, 3}},
			{[]broadcast.Option{dropNewest}, []broadcast.SubscribeOption{dropMiddle}, []int{1, 3}},
			{[]broadcast.Option{dropMiddle}, []broadcast.SubscribeOption{dropNewest}, []int{1, 2}},
			{nil, []broadcast.SubscribeOption{dropNewest, dropMiddle}, []int{1, 3}},
			{nil, []broadcast.SubscribeOption{dropMiddle, dropNewest}, []int{1, 2}},
		} {
			b := newBroker[int](t, append(test.broker, broadcast.WithPatience(0), broadcast.WithBuffer(2))...)
			s := b.join(chat, "device", test.own...)
			b.publish(chat, 1, 2, 3)
			require.Equal(t, test.left, payloads(takeAll(t, s)))
		}
	})
}

func TestOptionsOfTheBrokerAreDefaultsForItsSubscriptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(2))
		byDefault, own := b.join(chat, "default"), b.join(chat, "own", broadcast.WithBuffer(3))
		b.publish(chat, 1, 2, 3, 4)
		require.Equal(t, []int{3, 4}, payloads(takeAll(t, byDefault)))
		require.Equal(t, []int{2, 3, 4}, payloads(takeAll(t, own)))
	})
}

func TestABufferHolds256MessagesByDefault(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		require.Zero(t, b.publish(chat, from(1, 256)...))
		require.Equal(t, patience, b.publish(chat, 257)) // waited for in vain
		require.Equal(t, from(2, 257), payloads(takeAll(t, s)))
	})
}

// Promise 7: a reader that was overrun and has caught up is one like the others again, and nothing
// falls down in between.
func TestNothingIsLostWhereAReaderReturnsToTheLog(t *testing.T) {
	forStrategies(t, lossy[:3], func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithSampling(strategy))
		for round := range 5 {
			b.publish(chat, from(1, 8)...) // four of them are lost
			take(t, s, 2)                  // half empty
			b.publish(chat, 9, 10)
			taken := payloads(takeAll(t, s))
			require.Equal(t, []int{9, 10}, taken[2:])
			b.publish(chat, from(11, 14)...)
			require.Equal(t, from(11, 14), payloads(takeAll(t, s)))
			require.EqualValues(t, 4*(round+1), requireBooks(t, s).Missed)
		}
	})
}

// Promise 9, where publishers go on while the strategy is applied: nothing that came meanwhile has
// a place, and the next place that is freed is for the next message.
func TestDropNewestTakesNothingThatCameWhileItWasApplied(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		for _, meanwhile := range []int{0, 1, n - 1, n, n + 1, 3 * n} {
			b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithSampling(broadcast.DropNewest), broadcast.WithBuffer(n))
			s := b.join(chat, "device")
			b.publish(chat, from(1, n+1)...)
			var expected []int
			for round := range 3 {
				broadcast.SampleMeanwhile(s, func() { b.publish(chat, from(100*round, 100*round+meanwhile-1)...) })
				expected = append(expected, take(t, s, 1)...)
				b.publish(chat, -round-1, 0) // the first one has a place
			}
			taken := payloads(takeAll(t, s))
			all := append(append([]int{}, expected...), taken...)
			require.Equal(t, append(from(1, n), -1, -2, -3), all, "%d came meanwhile", meanwhile)
			requireBooks(t, s)
		}
	})
}

// Promises 12 and 13: however many there are, of whatever size, and however far each has come.
func TestNoReaderIsBehindByMoreThanItsBuffer(t *testing.T) {
	for seed := range uint64(5) {
		bubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithSampling(broadcast.Block))
			var readers []*broadcast.Subscriber[int]
			buffers := make([]uint64, 40)
			full := func() bool {
				full := false
				for i, s := range readers {
					pending := s.Stats().Pending
					require.LessOrEqual(t, pending, buffers[i], "seed %d", seed)
					full = full || pending == buffers[i]
				}
				return full
			}
			join := func(i int) *broadcast.Subscriber[int] {
				buffers[i] = 1 + random.Uint64N(60)
				return b.join(chat, string(rune('a'+i)), broadcast.WithBuffer(int(buffers[i]))) // a takeover, but for the first time
			}
			for i := range buffers {
				readers = append(readers, join(i))
			}
			for range 5_000 {
				i := random.IntN(len(readers))
				switch random.IntN(20) {
				case 0:
					readers[i] = join(i)
				case 1, 2, 3, 4, 5:
					refused := full()
					require.Equal(t, refused, b.TryPublish(chat, 0) != nil, "seed %d", seed)
				default:
					for range 1 + random.IntN(3) {
						readers[i].TryNext()
					}
				}
			}
		})
	}
}

// Promise 20: also where every sampler fails at the same message, in whatever way.
func TestOnePublishCallsSamplersThatFailABoundedNumberOfTimes(t *testing.T) {
	for name, fail := range map[string]func() int{
		"panics":     func() int { panic("poison") },
		"exits":      func() int { runtime.Goexit(); return 0 },
		"is invalid": func() int { return -1 },
	} {
		t.Run(name, func(t *testing.T) {
			const buffer, readers = 32, 200
			calls, fails := 0, false
			b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(buffer), broadcast.WithSampler(
				func(broadcast.Backlog[int], int) int {
					if calls++; fails {
						return fail()
					}
					return 0
				}))
			for i := range readers {
				b.join(chat, strconv.Itoa(i))
			}
			b.publish(chat, from(1, buffer+18)...) // they are some messages behind with their samplers
			fails = true
			for range 10 {
				before := calls
				published := make(chan struct{})
				go func() {
					defer close(published)
					b.publish(chat, 1)
				}()
				<-published
				require.LessOrEqual(t, calls-before, 16)
			}
		})
	}
}

// Promise 20: what one publisher picks for readers that are stuck does not depend on how many they
// are, how large their buffers are, or how far they are behind. The workers of the distributor,
// which do the rest, stand still here.
func TestOnePublishMakesABoundedNumberOfPicks(t *testing.T) {
	for _, crowd := range []struct{ readers, buffer int }{{1, 1}, {8_000, 256}, {8, 1 << 16}} {
		t.Run(fmt.Sprintf("readers=%d/buffer=%d", crowd.readers, crowd.buffer), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := unaudited[struct{}](t, broadcast.WithPatience(0), broadcast.WithSampling(broadcast.DropRandom),
					broadcast.WithBuffer(crowd.buffer))
				for i := range crowd.readers {
					b.join(chat, strconv.Itoa(i))
				}
				broadcast.StopDistributor(b.Broker)
				picks := func() int { return broadcast.Picks(b.Broker, chat) }
				b.publish(chat, make([]struct{}, crowd.buffer)...)
				for range crowd.buffer + 1 { // all become due on the way
					before := picks()
					_ = b.TryPublish(chat, struct{}{})
					if n := picks() - before; n > 16 {
						t.Fatal(n, "picks by one call")
					}
				}
			})
		})
	}
}

// Promise 20: the same for samplers of the user, which only publishers and their own reader run.
func TestOnePublishCallsSamplersABoundedNumberOfTimes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		calls := 0
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(2), broadcast.WithSampler(
			func(broadcast.Backlog[int], int) int { calls++; return 0 }))
		for i := range 1_000 {
			b.join(chat, strconv.Itoa(i))
		}
		for range 2_000 {
			before := calls
			b.publish(chat, 0)
			require.LessOrEqual(t, calls-before, 16)
		}
		require.Greater(t, calls, 2_000, "publishers sample for others")
	})
}

// Promise 20: publishers do 16 of each, because nobody else calls the samplers that they leave.
func TestACrowdWithDropRandomLeavesPublishersTimeForSamplers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const buffer = 4
		b := unaudited[int](t, broadcast.WithPatience(0), broadcast.WithSampling(broadcast.DropRandom), broadcast.WithBuffer(buffer))
		for i := range 1_000 {
			b.join(chat, strconv.Itoa(i))
		}
		calls := 0
		b.join(chat, "sampler", broadcast.WithSampler(func(broadcast.Backlog[int], int) int { calls++; return 0 }))
		broadcast.StopDistributor(b.Broker)
		b.publish(chat, make([]int, buffer)...)
		for n := range 100 {
			b.publish(chat, 0)
			require.Equal(t, n+1, calls)
		}
	})
}

// Promise 22: a sampler that exits the goroutine of a publisher does not keep it from running the
// others.
func TestASamplerThatExitsThePublisherIsNotTheLastToRun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const readers = 5
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(1))
		calls := 0
		for i := range readers {
			b.join(chat, strconv.Itoa(i), broadcast.WithSampler(func(broadcast.Backlog[int], int) int {
				calls++
				runtime.Goexit()
				return 0
			}))
		}
		b.publish(chat, 1)
		async(func() error { return b.Publish(t.Context(), chat, 2) })
		synctest.Wait()
		require.Equal(t, readers, calls)
	})
}

// Promise 10: it does not matter who samples, nor that it is done in pieces.
func TestDropRandomIsUniformThoughTheDistributorSamples(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const buffer, messages, readers = 4, 12, 100
		b := unaudited[int](t, broadcast.WithPatience(0), broadcast.WithSampling(broadcast.DropRandom), broadcast.WithBuffer(buffer))
		var all []*broadcast.Subscriber[int]
		for i := range readers {
			all = append(all, b.join(chat, strconv.Itoa(i)))
		}
		kept := make([]int, messages)
		rounds := reduced(1_000)
		for range rounds {
			for msg := range messages {
				b.publish(chat, msg)
				synctest.Wait() // the distributor keeps up
			}
			for _, s := range all {
				taken := payloads(takeAll(t, s))
				require.Len(t, taken, buffer)
				for _, msg := range taken {
					kept[msg]++
				}
			}
		}
		var chi2 float64
		for msg, n := range kept {
			draws := messages - max(msg, buffer) // in which it could be dropped
			chance := math.Pow(float64(buffer)/(buffer+1), float64(draws))
			want := chance * float64(rounds*readers)
			chi2 += (float64(n) - want) * (float64(n) - want) / (want * (1 - chance))
		}
		// What is kept of one round is not independent, so that the sum is not exactly a
		// chi-square. It is near: each round keeps the same number.
		require.Greater(t, chance(chi2, messages-1), 1e-9, "not uniform: %v", kept)
	})
}

// Promise 28: what the distributor has yet to sample is bounded too.
func TestAStuckReaderWithDropRandomHoldsAtMostTwoBuffers(t *testing.T) {
	for _, sampling := range []bool{true, false} {
		t.Run(fmt.Sprintf("sampling=%v", sampling), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				const buffer = 4 * segment
				b := unaudited[*[1024]byte](t, broadcast.WithPatience(0), broadcast.WithBuffer(buffer),
					broadcast.WithSampling(broadcast.DropRandom))
				stuck := b.join(chat, "stuck")
				if !sampling {
					broadcast.StopDistributor(b.Broker)
				}
				var published []weak.Pointer[[1024]byte]
				live := func() (n int) {
					runtime.GC()
					for _, p := range published {
						if p.Value() != nil {
							n++
						}
					}
					return n
				}
				for range 20 {
					for range buffer / 4 {
						msg := new([1024]byte)
						published = append(published, weak.Make(msg))
						b.publish(chat, msg)
					}
					if sampling {
						synctest.Wait()
					}
					require.LessOrEqual(t, live(), 2*buffer+segment)
				}
				require.Len(t, takeAll(t, stuck), buffer)
			})
		})
	}
}

// Promise 22: a sampler is asked about each message that does not fit, also when its reader reads,
// and never is half empty.
func TestASamplerIsAskedAboutEachMessageThatDoesNotFitAReaderThatIsAlmostFull(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		asked := 0
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(n), broadcast.WithSampler(
			func(broadcast.Backlog[int], int) int { asked++; return 0 }))
		s := b.join(chat, "device")
		b.publish(chat, from(1, n)...)
		for range 5 * n {
			b.publish(chat, 0, 0)
			take(t, s, 1)
		}
		require.EqualValues(t, requireBooks(t, s).Missed, asked)
	})
}

// So many that publishers leave most of them behind: the log holds what they have room for, and a
// buffer more.
func TestASamplerIsAskedAboutEachMessageThatDoesNotFitManyReadersThatAreAlmostFull(t *testing.T) {
	const readers, n = 112, 8
	asked := 0
	b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(n), broadcast.WithSampler(
		func(broadcast.Backlog[int], int) int { asked++; return 0 }))
	var all []*broadcast.Subscriber[int]
	for i := range readers {
		all = append(all, b.join(chat, strconv.Itoa(i)))
	}
	b.publish(chat, from(1, n+4)...)
	for _, s := range all {
		take(t, s, 3) // and is not half empty
	}
	b.publish(chat, from(1, 3+n-1)...)
	var missed uint64
	for _, s := range all {
		require.Len(t, takeAll(t, s), n)
		missed += requireBooks(t, s).Missed
	}
	require.EqualValues(t, missed, asked)
}

// Promises 8 to 10 for who falls behind by more than anybody has sampled: the books are exact all
// the same.
func TestWhatNobodyHasSampledInTimeIsMissed(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithSampling(broadcast.DropRandom), broadcast.WithBuffer(n))
		var all []*broadcast.Subscriber[int]
		for i := range 100 { // more than one publisher can do
			all = append(all, b.join(chat, strconv.Itoa(i)))
		}
		broadcast.StopDistributor(b.Broker)
		b.publish(chat, from(1, 10*n)...)
		for _, s := range all {
			taken := takeAll(t, s)
			require.Len(t, taken, n)
			require.EqualValues(t, 9*n, requireBooks(t, s).Missed)
		}
		b.publish(chat, from(1, n)...) // and everything fits again
		for _, s := range all {
			require.Len(t, takeAll(t, s), n)
		}
	})
}

// Promise 28: the distributor goes on until it has nothing left to do, and then nothing is.
func TestTheDistributorSamplesWhatPublishersLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithSampling(broadcast.DropRandom), broadcast.WithBuffer(8))
		for i := range 1_000 {
			b.join(chat, strconv.Itoa(i))
		}
		for range 10 {
			b.publish(chat, from(1, 13)...)
			synctest.Wait()
			require.Less(t, broadcast.LongestLag(b.Broker, chat), uint64(8/2))
		}
	})
}

// BenchmarkLongestPublish is the longest of many calls of Publish beside 8 000 readers that never
// read. Nobody waits for them: the strategies act at once.
func BenchmarkLongestPublish(b *testing.B) {
	const readers, buffer = 8_000, 256
	strategies := map[string]broadcast.Option{
		"sampler": broadcast.WithSampler(func(backlog broadcast.Backlog[payload], _ payload) int { return backlog.Len() / 2 }),
	}
	for _, s := range []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest, broadcast.DropRandom} {
		strategies[s.String()] = broadcast.WithSampling(s)
	}
	for name, strategy := range strategies {
		b.Run(name, func(b *testing.B) {
			var longest, all time.Duration
			for b.Loop() {
				broker, err := broadcast.New[payload](broadcast.WithPatience(0), broadcast.WithBuffer(buffer), strategy)
				require.NoError(b, err)
				for i := range readers {
					_, err := broker.Subscribe(chat, strconv.Itoa(i))
					require.NoError(b, err)
				}
				all += elapsed(func() {
					for range 3 * buffer {
						longest = max(longest, elapsed(func() { _ = broker.Publish(context.Background(), chat, payload{}) }))
					}
				})
				require.NoError(b, broker.Close())
			}
			b.ReportMetric(float64(longest)/1e6, "longest-ms")
			b.ReportMetric(float64(all)/float64(b.N)/3/buffer, "ns/publish")
		})
	}
}

func TestTheZeroBacklogIsEmpty(t *testing.T) {
	require.Zero(t, broadcast.Backlog[int]{}.Len())
}
