package broadcast_test

import (
	"context"
	"flag"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// forAllStrategies runs a test in a bubble for each strategy, a sampler that drops the oldest
// message among them, and for buffers of several sizes.
func forAllStrategies(t *testing.T, test func(t *testing.T, strategy string, n int, opts ...broadcast.SubscribeOption)) {
	t.Helper()
	strategies := map[string]broadcast.SubscribeOption{
		"sampler": broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return 0 }),
	}
	for _, s := range append(lossy, broadcast.Block) {
		strategies[s.String()] = broadcast.WithSampling(s)
	}
	for name, strategy := range strategies {
		t.Run(name, func(t *testing.T) {
			forBuffers(t, func(t *testing.T, n int) { test(t, name, n, strategy, broadcast.WithBuffer(n)) })
		})
	}
}

// Promise 13: with room for one message, a reader that takes each one before the next is published.
func TestAReaderByChanThatKeepsUpMissesNothingAndIsNeverEnded(t *testing.T) {
	for _, settles := range []bool{true, false} {
		forAllStrategies(t, func(t *testing.T, _ string, n int, opts ...broadcast.SubscribeOption) {
			b := newBroker[int](t, broadcast.WithPatience(0))
			s := b.join(chat, "device", opts...)
			c := s.Chan()
			for i := 0; i < 1_000; i += n {
				for j := range n {
					require.NoError(t, b.TryPublish(chat, i+j))
				}
				if settles {
					synctest.Wait()
				}
				for j := range n {
					require.Equal(t, i+j, (<-c).Message)
				}
			}
			require.NoError(t, s.Err())
			require.Zero(t, requireBooks(t, s).Missed)
		})
	}
}

// Promises 8 to 11, which read n+1 then.
func TestWhileChanIsInUseOneMoreMessageThanTheBufferMayWait(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0), broadcast.WithPublishTimeout(time.Second))
		readers := map[broadcast.Sampling]*broadcast.Subscriber[int]{}
		for _, strategy := range lossy {
			readers[strategy] = b.join(chat, strategy.String(), broadcast.WithSampling(strategy))
			readers[strategy].Chan()
		}
		fill(t, b, n+1)
		synctest.Wait()
		for _, s := range readers {
			require.EqualValues(t, n+1, requireBooks(t, s).Pending)
		}
		b.publish(chat, n+2)
		synctest.Wait()
		for strategy, s := range readers {
			if strategy != broadcast.Disconnect {
				books := requireBooks(t, s)
				require.Equal(t, []uint64{1, uint64(n) + 1}, []uint64{books.Missed, books.Pending}, strategy)
			}
		}
		for _, want := range from(2, n+2) { // 1 was offered, and dropped
			require.Equal(t, want, (<-readers[broadcast.DropOldest].Chan()).Message)
		}
		for _, want := range from(1, n+1) {
			require.Equal(t, want, (<-readers[broadcast.DropNewest].Chan()).Message)
		}
		last := 0
		for range n + 1 {
			d := <-readers[broadcast.DropRandom].Chan()
			require.Greater(t, d.Message, last)
			last = d.Message
		}
		require.ErrorIs(t, readers[broadcast.Disconnect].Err(), broadcast.ErrSlow)
		require.Equal(t, from(1, n+1), payloads(takeAll(t, readers[broadcast.Disconnect])))
	})
}

// Promise 4.
func TestChanCalledInsideALoopGoesOnBehindIt(t *testing.T) {
	for _, overrun := range []int{0, 100} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithBuffer(64), broadcast.WithPatience(0)) // large enough to read ahead
			s := b.join(chat, "device")
			b.publish(chat, from(1, 64)...)
			for msg := range s.Messages(t.Context()) {
				if msg == 5 {
					b.publish(chat, from(65, 64+overrun)...)
					s.Chan()
					synctest.Wait() // its goroutine has looked
					break
				}
			}
			first := max(6, overrun+1)
			for _, want := range from(first, 64+overrun) {
				d := <-s.Chan()
				require.Equal(t, want, d.Message)
			}
			synctest.Wait()
			require.Equal(t, broadcast.SubscriberStats{
				Delivered: uint64(64 + overrun - first + 1 + 5), Missed: uint64(first - 6), Head: uint64(64 + overrun),
			}, requireBooks(t, s))
		})
	}
}

// Promise 13.
func TestChanMakesRoomAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(1))
		for range 100 {
			s := b.join(chat, "device")
			s.Chan()
			fill(t, b, 2) // perhaps before its goroutine has run
			require.Zero(t, requireBooks(t, s).Missed)
		}
	})
}

// Promise 12.
func TestPublishersWaitForABlockReaderByChanWhenOneMoreThanTheBufferWaits(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithPublishTimeout(time.Second))
		s := b.join(chat, "device", broadcast.WithBuffer(n), broadcast.WithSampling(broadcast.Block))
		c := s.Chan()
		fill(t, b, n+1)
		require.ErrorIs(t, b.TryPublish(chat, 0), broadcast.ErrOverloaded)
		waiting := async(func() error { return b.Publish(t.Context(), chat, n+2) })
		sleep(time.Millisecond)
		require.Equal(t, 1, (<-c).Message)
		require.Equal(t, result{nil, time.Millisecond}, <-waiting)
		require.ErrorIs(t, b.TryPublish(chat, 0), broadcast.ErrOverloaded)
		for _, want := range from(2, n+2) {
			require.Equal(t, want, (<-c).Message)
		}
	})
}

// Promise 12.
func TestChanLetsThePublisherInThatWaitsForRoom(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithBuffer(n), broadcast.WithSampling(broadcast.Block))
		fill(t, b, n)
		waiting := queue(t.Context(), b, n+1, n+2)
		sleep(time.Millisecond)
		c := s.Chan()
		require.Equal(t, result{nil, time.Millisecond}, <-waiting[0])
		synctest.Wait()
		require.Empty(t, waiting[1])
		for _, want := range from(1, n+2) {
			require.Equal(t, want, (<-c).Message)
		}
		require.NoError(t, (<-waiting[1]).err)
	})
}

// Promise 14: half of n+1.
func TestPublishersHopeForHalfABufferOfAReaderByChan(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		for n := 1; n <= 5; n++ {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithSampling(strategy))
			s := b.join(chat, "late")
			c := s.Chan()
			fill(t, b, n+1)
			waiting := async(func() error { return b.Publish(t.Context(), chat, n+2) })
			sleep(3 * time.Millisecond)
			for i := range n + 1 - (n+1)/2 {
				synctest.Wait()
				require.Empty(t, waiting, i)
				<-c
			}
			require.Equal(t, result{nil, 3 * time.Millisecond}, <-waiting)
			synctest.Wait()
			require.Zero(t, lost(s))
			require.NoError(t, s.Close())
			require.Empty(t, broadcast.Leftovers(b.Broker))
		}
	})
}

// Promise 7, with a replay and without.
func TestWhatWasDroppedBeforeChanWasCalledStaysDropped(t *testing.T) {
	forAllStrategies(t, func(t *testing.T, strategy string, n int, opts ...broadcast.SubscribeOption) {
		for _, replay := range []int{0, n, 3 * n} {
			b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithHistory(1_000, 0))
			b.publish(chat, from(1, 3*n)...)
			plain := b.join(chat, "plain", append(opts, broadcast.Replay(replay))...)
			s := b.join(chat, "chan", append(opts, broadcast.Replay(replay))...)
			for i := range 3 * n {
				_ = b.TryPublish(chat, 3*n+1+i)
			}
			before := requireBooks(t, s)
			c := s.Chan()
			require.Equal(t, before, requireBooks(t, s))
			synctest.Wait()
			require.Equal(t, before, requireBooks(t, s))
			want := takeAll(t, plain)
			if s.Err() == nil { // one more fits
				require.NoError(t, b.TryPublish(chat, 0))
				before.Pending++
				before.Head++
				require.Equal(t, before, requireBooks(t, s))
			}
			var got []broadcast.Delivery[int]
			for range before.Pending {
				if d, ok := <-c; ok { // else it has ended
					got = append(got, d)
				}
				synctest.Wait()
			}
			got = append(got, takeAll(t, s)...)
			require.Len(t, got, int(before.Pending))
			if strategy != "DropRandom" {
				require.Equal(t, want, got[:len(want)])
			}
			require.Equal(t, before.Missed, requireBooks(t, s).Missed)
		}
	})
}

func TestChanAfterTheEndLeavesTheBooksAlone(t *testing.T) {
	forAllStrategies(t, func(t *testing.T, _ string, n int, opts ...broadcast.SubscribeOption) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "device", opts...)
		for i := range 3 * n {
			_ = b.TryPublish(chat, i)
		}
		require.NoError(t, b.Close())
		before := requireBooks(t, s)
		_, open := <-s.Chan()
		require.False(t, open)
		require.Equal(t, before, requireBooks(t, s))
		require.Len(t, takeAll(t, s), n)
	})
}

// Promise 8: the log holds what it offers for a reader that does not take it, and lets go of it
// with the reader.
func TestTheNewestMessagesStayForAReaderByChanThatDoesNotRead(t *testing.T) {
	for _, strategy := range []broadcast.SubscribeOption{
		broadcast.WithSampling(broadcast.DropOldest),
		broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return 0 }),
	} {
		forBuffers(t, func(t *testing.T, n int) {
			b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(n))
			s := b.join(chat, "device", strategy)
			b.publish(chat, from(1, 2*n+2)...)
			s.Chan()
			for i := range 600 {
				other := b.join(chat, "other", broadcast.WithBuffer(1))
				b.publish(chat, 2*i, 2*i+1)
				require.NoError(t, other.Close()) // which lets the log trim
				synctest.Wait()                   // its goroutine looks at the oldest
			}
			for _, want := range from(1_199-n, 1_199) {
				require.Equal(t, want, (<-s.Chan()).Message)
			}
			synctest.Wait()
			require.Empty(t, broadcast.Leftovers(b.Broker))
			b.publish(chat, from(1, 3*n)...)
			require.NoError(t, s.Close())
			require.Empty(t, broadcast.Leftovers(b.Broker))
		})
	}
}

// Promise 8: whoever has looked at what it may offer is woken by the next message, which may drop
// that.
func TestAMessageThatComesAfterTheLookOfAChanWakesIt(t *testing.T) {
	for name, opts := range map[string][]broadcast.SubscribeOption{
		"DropOldest": nil,
		"follower":   {broadcast.WithPresence()},
		"DropRandom": {broadcast.WithSampling(broadcast.DropRandom)},
		"sampler":    {broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return 0 })},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(1))
				s := b.join(chat, "device", opts...)
				look, woken := broadcast.LooksLikeChan(s)
				b.publish(chat, 1, 2, 3)
				for i := range 10 {
					d, ok := look()
					require.True(t, ok)
					require.GreaterOrEqual(t, d.Message, 1)
					woken()
					b.publish(chat, 4+i)
					require.True(t, woken())
				}
			})
		})
	}
}

var raceRounds = flag.Int("rounds", 400, "rounds of each race")

// Promise 8.
func TestRaceOfMessagesAndTheLookOfAChanOffersWhatIsStillThere(t *testing.T) {
	for range *raceRounds {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(1))
			s := b.join(chat, "device")
			c := s.Chan()
			for turn := range 50 {
				const messages = 5
				for i := range messages {
					b.publish(chat, turn*messages+i)
					for range rand.IntN(8) {
						runtime.Gosched()
					}
				}
				synctest.Wait()
				require.GreaterOrEqual(t, (<-c).Message, turn*messages+messages-2, "an old message is offered")
			}
		})
	}
}

// largest is the largest message that fits a Delivery below 64 KiB. That this compiles proves the
// most.
type largest [1<<16 - 8 - unsafe.Sizeof(broadcast.Delivery[struct{}]{})]byte

func TestAMessageMayBeAsLargeAsADeliveryBelow64KiBAllows(t *testing.T) {
	require.EqualValues(t, 1<<16-8, unsafe.Sizeof(broadcast.Delivery[largest]{}))
	bubble(t, func(t *testing.T) {
		b := newBroker[largest](t, broadcast.WithPatience(0), broadcast.WithBuffer(2), broadcast.WithHistory(2, 0))
		opts := map[string]broadcast.SubscribeOption{
			"sampler": broadcast.WithSampler(func(broadcast.Backlog[largest], largest) int { return 0 }),
		}
		for _, s := range lossy {
			opts[s.String()] = broadcast.WithSampling(s)
		}
		var byChan []<-chan broadcast.Delivery[largest]
		for name, opt := range opts {
			b.join(chat, name, opt)
			byChan = append(byChan, b.join(chat, name+" by Chan", opt).Chan())
		}
		for i := range 10 {
			b.publish(chat, largest{byte(i)})
		}
		require.Equal(t, byte(8), take(t, b.join(chat, "replay", broadcast.Replay(2)), 1)[0][0])
		for _, c := range byChan {
			if d, ok := <-c; ok { // else it has ended
				require.EqualValues(t, d.Seq-1, d.Message[0])
			}
		}
		require.NoError(t, b.Close())
		for _, s := range b.subs {
			takeAll(t, s)
		}
	})
}

// A message that was received while the sampler began to run, in a subscription that was closed
// then: who settled it looked at the backlog on which the sampler was at work.
func TestWhatWasReceivedWhileASamplerRunsIsBookedAsItsAnswerSays(t *testing.T) {
	for drop, want := range []broadcast.SubscriberStats{
		{Delivered: 1, Discarded: 3, Head: 4}, // it was received though it was dropped
		{Delivered: 1, Missed: 1, Discarded: 2, Head: 4},
		{Delivered: 1, Missed: 1, Discarded: 2, Head: 4},
	} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithPatience(0))
			s := b.join(chat, "device", broadcast.WithBuffer(2), broadcast.WithSampler(func(broadcast.Backlog[int], int) int {
				time.Sleep(time.Minute)
				return drop
			}))
			look, _ := broadcast.LooksLikeChan(s)
			b.publish(chat, 1)
			offered, ok := look() // from here on there is room for one more
			require.True(t, ok)
			b.publish(chat, 2, 3)
			publisher := async(func() error { return b.Publish(t.Context(), chat, 4) })
			synctest.Wait()
			require.NoError(t, s.Close())
			require.True(t, broadcast.SettlesLikeChan(s)(offered))
			requireBooks(t, s)
			require.NoError(t, (<-publisher).err)
			require.Equal(t, want, requireBooks(t, s))
		})
	}
}

// Promise 18: the goroutine behind Chan might send once more.
func TestCloseWaitsForTheGoroutineBehindChan(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		leave := broadcast.WorksLikeChan(s)
		closed := async(s.Close)
		sleep(time.Second)
		leave()
		require.Equal(t, result{nil, time.Second}, <-closed)
	})
}

// The reader after the end and the goroutine behind Chan do not take each other's wake-up.
func TestReadingAfterTheEndOfAChanDoesNotDeadlock(t *testing.T) {
	defer watchdog(t)()
	for i := range 3_000 {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Disconnect))
		s.Chan()
		for range i % 20 {
			runtime.Gosched()
		}
		for msg := range 3 {
			_ = b.TryPublish(chat, msg) // the last: ErrSlow
		}
		s.TryNext()
		s.TryNext()
		require.NoError(t, b.Close())
	}
}

// Another goroutine may move the position while the one behind Chan looks. Chan offers no message
// beyond the head even then.
func TestReadingBesideAChanInventsNothing(t *testing.T) {
	defer watchdog(t)()
	b := newBroker[uint64](t, broadcast.WithPublishTimeout(time.Minute))
	s := b.join(chat, "device", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(8), broadcast.WithStallTimeout(0))
	var (
		readers sync.WaitGroup
		stop    atomic.Bool
		wrong   atomic.Pointer[broadcast.Delivery[uint64]]
	)
	check := func(d broadcast.Delivery[uint64]) {
		if d.Message != d.Seq {
			wrong.Store(&d)
		}
	}
	readers.Go(func() {
		for d := range s.Chan() {
			check(d)
		}
	})
	for range 2 {
		readers.Go(func() {
			for !stop.Load() {
				if d, ok := s.TryNext(); ok {
					check(d)
				}
			}
		})
	}
	for i, end := uint64(1), time.Now().Add(time.Second); wrong.Load() == nil && time.Now().Before(end); i++ {
		b.publish(chat, i)
	}
	stop.Store(true)
	require.NoError(t, b.Close())
	readers.Wait()
	require.Nil(t, wrong.Load(), "nobody has published this")
}

// A reader that used Chan waits for the sampler too.
func TestAReaderAfterAChanDoesNotSpinWhileASamplerRuns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		var calls atomic.Int32
		s := b.join(chat, "device", broadcast.WithBuffer(1), broadcast.WithSampler(func(broadcast.Backlog[int], int) int {
			calls.Add(1)
			time.Sleep(time.Minute)
			return 0
		}))
		b.publish(chat, 1)
		ch := s.Chan()
		synctest.Wait() // 1 is offered
		b.publish(chat, 2)
		publisher := async(func() error { return b.Publish(context.Background(), chat, 3) })
		synctest.Wait()
		require.NotZero(t, calls.Load())
		require.NoError(t, b.Close())
		reader := async(func() error { _, err := s.Next(context.Background()); return err })
		for range ch {
		}
		require.NoError(t, (<-reader).err)
		require.NoError(t, (<-publisher).err)
	})
}

// Next does not take a message again that was received while the subscription ended.
func TestAMessageReceivedWhileTheSubscriptionEndsIsTakenOnce(t *testing.T) {
	for i := range 1_000 {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.Disconnect))
		_, _ = b.TryPublish(chat, 1), b.TryPublish(chat, 2)
		ch := s.Chan()
		_ = b.TryPublish(chat, 3)
		for range i % 50 {
			runtime.Gosched()
		}
		taken := []int{(<-ch).Message}
		if _ = b.TryPublish(chat, 4); s.Err() != nil {
			for d, ok := s.TryNext(); ok; d, ok = s.TryNext() {
				taken = append(taken, d.Message)
			}
			require.Equal(t, []int{1, 2, 3}, taken)
			require.EqualValues(t, 3, requireBooks(t, s).Delivered)
		}
	}
}

// Close may come before a message that was received has been settled. Its Missed and Stats then
// agree.
func TestAMessageReceivedWhileTheSubscriptionIsClosedIsBookedAsItSaid(t *testing.T) {
	for range 300 {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithBuffer(2))
		for i := range 7 {
			_ = b.TryPublish(chat, i)
		}
		ch := s.Chan()
		d := <-ch
		require.NoError(t, s.Close())
		for range ch {
		}
		require.Equal(t, broadcast.SubscriberStats{Delivered: 1, Missed: d.Missed, Discarded: 7 - 1 - d.Missed, Head: 7}, requireBooks(t, s))
	}
}
