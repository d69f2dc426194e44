package broadcast_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

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

// requireUniform fails the test if the counts differ by more than chance explains once in a billion runs (Pearson's chi-square test).
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

// Promise 7: a reader that was overrun and has caught up is one like the others again, and nothing falls down in between.
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
