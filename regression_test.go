package broadcast_test

import (
	"context"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Faults that were found by attacking the library, each with the test that would have shown it. Those that need an unlucky moment try
// for it many times.

// The reader after the end and the goroutine behind Chan shared one wake-up, and one of them took the other's.
func TestReadingAfterTheEndOfAChanDoesNotDeadlock(t *testing.T) {
	defer watchdog(t)()
	for i := range 3_000 {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Disconnect))
		s.Chan()
		for range i % 20 {
			runtime.Gosched()
		}
		_ = b.TryPublish(chat, 1)
		_ = b.TryPublish(chat, 2) // ErrSlow
		s.TryNext()
		s.TryNext()
		require.NoError(t, b.Close())
	}
}

// A message that was received while the subscription ended was taken once more by Next, and then settled behind its back.
func TestAMessageReceivedWhileTheSubscriptionEndsIsTakenOnce(t *testing.T) {
	for i := range 1_000 {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.Disconnect))
		_, _ = b.TryPublish(chat, 1), b.TryPublish(chat, 2)
		ch := s.Chan()
		for range i % 50 {
			runtime.Gosched()
		}
		taken := []int{(<-ch).Message}
		if _ = b.TryPublish(chat, 3); s.Err() != nil {
			for d, ok := s.TryNext(); ok; d, ok = s.TryNext() {
				taken = append(taken, d.Message)
			}
			require.Equal(t, []int{1, 2}, taken)
			require.EqualValues(t, 2, requireBooks(t, s).Delivered)
		}
	}
}

// Close while a message that was received had not been settled: what its Missed said was not what Stats said.
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

// The wait for a sampler that was running after the end was no wait.
func TestAReaderDoesNotSpinWhileASamplerRunsAfterTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T) { // in which a goroutine that spins stops the clock
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := b.join(chat, "device", broadcast.WithBuffer(1), broadcast.WithSampler(func(broadcast.Backlog[int], int) int {
			time.Sleep(time.Minute)
			return 0
		}))
		b.publish(chat, 1)
		publisher := async(func() error { return b.Publish(context.Background(), chat, 2) })
		synctest.Wait()
		reader := async(func() error { _, err := s.Next(context.Background()); return err })
		synctest.Wait()
		require.NoError(t, b.Close())
		require.Equal(t, time.Minute, (<-reader).took)
		require.NoError(t, (<-publisher).err)
	})
}

// So was the one of a reader that had used Chan before the end.
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
		publisher := async(func() error { return b.Publish(context.Background(), chat, 2) })
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

// A publisher yielded the processor between its look at the context and the acceptance.
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

// A ring of events that grew after it had wrapped told of events that had never been.
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

// Comings between the receipt of a Resync and its settling were skipped.
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

// Messages left the events behind, to be told out of order by whoever read next.
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

// A chat that could not be forgotten because publishers were waiting was never looked at again.
func TestAChatWhosePublishersWaitedWhenItWasDueIsForgottenLater(t *testing.T) {
	b := unaudited[int](t, broadcast.WithChatIdle(0), broadcast.WithCleanInterval(4*time.Microsecond), broadcast.WithPatience(0))
	s := b.join(chat, "full", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
	require.NoError(t, b.TryPublish(chat, 1))
	var publishers sync.WaitGroup
	for range 1_000 {
		publishers.Go(func() { _ = b.Publish(context.Background(), chat, 2) })
	}
	require.NoError(t, s.Close())
	publishers.Wait()
	require.Eventually(t, func() bool { return b.Stats().Chats == 0 }, time.Minute, time.Millisecond)
}

// The age overflowed, and an idle cleaner ran without a rest: in a bubble the clock would stop.
func TestAHistoryOfAbsurdAgeIsKeptQuietly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(1, math.MaxInt64), broadcast.WithChatIdle(0), broadcast.WithCleanInterval(time.Millisecond))
		b.publish(chat, 1)
		sleep(time.Hour)
		require.Equal(t, 1, b.Stats().Chats)
	})
}

// A reader that had been overrun once kept a buffer's memory for ever.
func TestAReaderThatHasCaughtUpHoldsNoBacklog(t *testing.T) {
	const buffer = 10_000
	b := unaudited[[256]byte](t, broadcast.WithPatience(0))
	s := b.join(chat, "device", broadcast.WithSampling(broadcast.DropNewest), broadcast.WithBuffer(buffer))
	before := heap()
	for range buffer + 10 {
		require.NoError(t, b.TryPublish(chat, [256]byte{}))
	}
	for range buffer {
		s.TryNext()
	}
	require.NoError(t, b.TryPublish(chat, [256]byte{}))
	s.TryNext()
	require.Less(t, heap()-before, int64(256<<10))
	runtime.KeepAlive(s)
}

// The position of a reader that a strategy had picked messages for was, once it was closed, not that of the last message that it took: a
// Resume from there skipped what it had not got.
func TestAResumeFromAClosedSubscriptionSkipsNothing(t *testing.T) {
	first := broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return 1 })
	for _, strategy := range []broadcast.SubscribeOption{broadcast.WithSampling(broadcast.DropNewest), first} {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithHistory(10, 0))
		s := b.join(chat, "device", broadcast.WithBuffer(2), strategy)
		b.publish(chat, from(1, 5)...)
		d, _ := s.TryNext()
		require.NoError(t, s.Close())
		require.Equal(t, d.Position(), s.Position())
		require.Equal(t, from(2, 5), payloads(takeAll(t, b.join(chat, "device", broadcast.Resume(s.Position())))))
	}
}

// The goroutine behind Chan read the position twice, and offered a message beyond the head if another goroutine had read in between.
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

// panicking is a context that panics at the n-th call of one of its methods.
type panicking struct {
	context.Context

	done, err int
}

func (p *panicking) Done() <-chan struct{} {
	if p.done--; p.done == 0 {
		panic("Done")
	}
	return p.Context.Done()
}

func (p *panicking) Err() error {
	if p.err--; p.err == 0 {
		panic("Err")
	}
	return p.Context.Err()
}

// A publisher that a panic had taken away stayed the first in the queue for ever.
func TestAContextThatPanicsInAWaitHoldsUpNobody(t *testing.T) {
	for _, ctx := range []*panicking{{done: 1}, {err: 2}} {
		bubble(t, func(t *testing.T) {
			ctx.Context = t.Context()
			b := newBroker[int](t)
			s := b.join(chat, "device", broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block))
			b.publish(chat, 1)
			waiting := make(chan error, 1)
			require.Panics(t, func() {
				time.AfterFunc(time.Millisecond, func() { waiting <- b.Publish(context.Background(), chat, 2) })
				_ = b.Publish(ctx, chat, 3)
			})
			d, ok := s.TryNext() // one: the other publisher goes on at once
			require.True(t, ok)
			require.Equal(t, 1, d.Message)
			require.NoError(t, <-waiting)
			require.Equal(t, []int{2}, payloads(takeAll(t, s)))
			require.NoError(t, b.TryPublish(chat, 4))
			require.EqualValues(t, 1, b.Stats().Rejected)
			require.NoError(t, s.Close())
			require.Empty(t, broadcast.Leftovers(b.Broker))
		})
	}
}

func TestTheZeroBacklogIsEmpty(t *testing.T) {
	require.Zero(t, broadcast.Backlog[int]{}.Len())
}
