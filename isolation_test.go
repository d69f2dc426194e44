package broadcast_test

import (
	"context"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// apart calls f on a goroutine of its own and waits until that goroutine has ended, be it by runtime.Goexit.
func apart(f func()) {
	var one sync.WaitGroup
	one.Go(f)
	one.Wait()
}

// Promise 22.
func TestAPanicInASamplerEndsItsSubscriptionWithValueAndStack(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
		s := b.join(chat, "panics", broadcast.WithSampler(panickingSampler))
		other := b.join(chat, "other")
		b.publish(chat, from(1, n+1)...)

		require.Empty(t, takeAll(t, s))
		var reason *broadcast.PanicError
		require.ErrorAs(t, s.Err(), &reason)
		require.Equal(t, errSampler, reason.Value)
		require.Contains(t, string(reason.Stack), "panickingSampler")
		require.ErrorContains(t, reason, errSampler.Error())
		require.ErrorIs(t, reason, errSampler)
		require.NotContains(t, b.Devices(chat), "panics")

		b.publish(chat, from(n+2, 3*n)...) // no lock is held
		require.Equal(t, from(2*n+1, 3*n), payloads(takeAll(t, other)))
	})
}

func panickingSampler(broadcast.Backlog[int], int) int { panic(errSampler) }

// Promise 22.
func TestAGoexitInASamplerEndsItsSubscription(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
		s := b.join(chat, "exits", broadcast.WithSampler(func(broadcast.Backlog[int], int) int { runtime.Goexit(); return 0 }))
		other := b.join(chat, "other")
		b.publish(chat, from(1, n)...)
		// The sampler exits a goroutine that publishes or reads, and leaves nothing behind.
		apart(func() { _ = b.Publish(t.Context(), chat, n+1) })
		apart(func() { s.TryNext() })

		var reason *broadcast.PanicError
		require.ErrorAs(t, s.Err(), &reason)
		require.Nil(t, reason.Value)
		require.NotEmpty(t, reason.Stack)
		require.Empty(t, takeAll(t, s))
		require.Equal(t, from(2, n+1), payloads(takeAll(t, other)))
		require.NotContains(t, b.Devices(chat), "exits")
		b.publish(chat, n+2)
		require.Equal(t, []int{n + 2}, payloads(takeAll(t, other)))
	})
}

func TestASamplersImpossibleAnswerEndsItsSubscriptionAndSaysSo(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		for _, answer := range []int{-1, n + 1, 1 << 40, -1 << 40} {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithPatience(0))
			s := b.join(chat, "device", broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return answer }))
			b.publish(chat, from(1, n+1)...)
			require.Empty(t, takeAll(t, s))
			require.ErrorIs(t, s.Err(), broadcast.ErrInvalid)
			require.ErrorContains(t, s.Err(), "sampler")
			require.EqualValues(t, n+1, requireBooks(t, s).Discarded+requireBooks(t, s).Missed)
		}
	})
}

// hanging is a subscription whose sampler hangs, called by a publisher or, if that did not come to it, by a reader.
type hanging struct {
	*broadcast.Subscriber[int]
	release func() // lets the sampler answer, and waits until its callers have returned
}

// newHanging returns one with a buffer of n in the chat.
func newHanging(t *testing.T, b *auditedBroker[int], n int) hanging {
	t.Helper()
	hang := make(chan struct{})
	var called atomic.Bool
	s := b.join(chat, "hangs", broadcast.WithBuffer(n), broadcast.WithSampler(func(broadcast.Backlog[int], int) int {
		called.Store(true)
		<-hang
		return 0
	}))
	fill(t, b, n)
	callers := queue(t.Context(), b, n+1)
	if !called.Load() {
		callers = append(callers, async(func() error { s.TryNext(); return nil }))
		synctest.Wait()
	}
	require.True(t, called.Load())
	release := sync.OnceFunc(func() {
		close(hang)
		for _, caller := range callers {
			<-caller
		}
	})
	t.Cleanup(release) // of a test that has failed
	return hanging{s, release}
}

// Promise 22: it holds up its own subscription and whoever called it.
func TestASamplerThatHangsHoldsUpNobodyElse(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		reader, elsewhere := b.join(chat, "reader"), b.join("elsewhere", "reader")
		s := newHanging(t, b, n)
		require.Zero(t, elapsed(func() {
			for i := range 2 * n {
				require.NoError(t, b.TryPublish("elsewhere", i))
				require.Equal(t, []int{i}, take(t, elsewhere, 1))
			}
			takeAll(t, reader)
			for i := range 3 * n {
				require.NoError(t, b.Publish(t.Context(), chat, i))
				require.Equal(t, []int{i}, take(t, reader, 1))
			}
			require.NoError(t, b.join(chat, "newcomer").Close())
			require.Len(t, b.Devices(chat), 2)
			require.Equal(t, 3, b.Stats().Subscribers)
			require.NoError(t, b.Close())
		}))
		require.ErrorIs(t, reader.Err(), broadcast.ErrClosed)
		require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
		s.release()
	})
}

// Promise 22.
func TestShutdownReturnsThoughASamplerHangs(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		s := newHanging(t, b, n)
		soon, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.Equal(t, time.Minute, elapsed(func() {
			require.ErrorIs(t, b.Shutdown(soon), context.DeadlineExceeded)
		}))
		require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
		s.release()
	})
}

// Promise 22.
func TestADeviceWhoseSamplerHangsCanBeTakenOver(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		old := newHanging(t, b, n)
		s := b.join(chat, old.Device())
		b.publish(chat, 0)
		require.Equal(t, []int{0}, take(t, s, 1))
		require.ErrorIs(t, old.Err(), broadcast.ErrReplaced)
		old.release()
		require.ErrorIs(t, old.Err(), broadcast.ErrReplaced)
	})
}

// Promise 22: nor does its own end wait for it.
func TestASubscriptionWhoseSamplerHangsCanBeEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for _, n := range []int{1, 8} {
			b := newBroker[int](t, broadcast.WithPatience(0))
			s := newHanging(t, b, n)
			require.NoError(t, s.Close())
			require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
			require.Empty(t, b.Devices(chat))
			s.release()
		}
	})
}

// Promise 23.
func TestTheBrokerMayBeCalledFromInsideAReadingLoop(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(1), broadcast.WithSampling(strategy))
		s := b.join(chat, "device")
		b.publish(chat, 0)
		for d := range s.All(t.Context()) {
			require.NoError(t, b.Publish(t.Context(), chat, d.Message+1))
			err := b.Publish(t.Context(), chat, d.Message+1) // does not fit
			if strategy == broadcast.Block {
				require.ErrorIs(t, err, broadcast.ErrOverloaded)
			} else {
				require.NoError(t, err)
			}
			require.NoError(t, b.Publish(t.Context(), "other chat", 0))
			require.NoError(t, b.join("other chat", "device").Close())
			require.NoError(t, b.join(chat, "other device", broadcast.WithSampling(broadcast.DropOldest)).Close())
			b.requireBooks()
			require.LessOrEqual(t, len(b.Chats()), len(b.Devices(chat)))
			if d.Message == 10 {
				require.NoError(t, s.Close())
			}
			if s.Err() != nil {
				break
			}
		}
	})
}

// Promise 23.
func TestTheBrokerMayBeClosedFromInsideAReadingLoop(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1, 2, 3)
		var got []int
		for msg := range s.Messages(t.Context()) {
			got = append(got, msg)
			require.NoError(t, b.Close())
		}
		require.Equal(t, []int{1, 2, 3}, got)
	})
}

// meddler is a context whose methods do something first, as a foreign context may.
type meddler struct {
	context.Context
	meddle func()
}

func (m meddler) Done() <-chan struct{} { m.meddle(); return m.Context.Done() }
func (m meddler) Err() error            { m.meddle(); return m.Context.Err() }
func (m meddler) Value(any) any         { m.meddle(); return nil } // hides that a context of the standard library is inside

func (m meddler) Deadline() (time.Time, bool) { m.meddle(); return m.Context.Deadline() }

// AfterFunc is what context.AfterFunc calls, and its stop function is what ends with a subscription.
func (m meddler) AfterFunc(f func()) func() bool {
	m.meddle()
	stop := context.AfterFunc(m.Context, f)
	return func() bool { m.meddle(); return stop() }
}

// No lock of the broker or of a chat is held while the code of others runs; a context is such code.
func TestAContextMayCallTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(1), broadcast.WithPublishTimeout(20*time.Millisecond))
		var meddled atomic.Int64
		ctx, cancel := context.WithCancel(t.Context())
		mine := meddler{ctx, func() {
			if meddled.Add(1)%10 == 0 { // not each time: a newcomer makes those who wait look at their context again
				_, _ = b.Subscribe(chat, "meddler")
			}
			_ = b.TryPublish(chat, 0)
			_ = b.Publish(ctx, "other", 0)
			b.Stats()
			b.Devices(chat)
		}}
		s := b.join(chat, "device", broadcast.Until(mine), broadcast.WithSampling(broadcast.Block))
		for i := range 3 {
			_ = b.Publish(mine, chat, i)
		}
		_, _ = s.Next(mine)
		_, _ = s.NextBatch(mine, make([]broadcast.Delivery[int], 1))
		next := async(func() error { _, err := s.Next(mine); return err })
		publish := async(func() error { return b.Publish(mine, chat, 1) })
		synctest.Wait()
		require.NoError(t, s.Close())
		<-next
		<-publish

		s = b.join(chat, "device", broadcast.Until(mine))
		replaced := b.join(chat, "device", broadcast.Until(mine))
		require.ErrorIs(t, s.Err(), broadcast.ErrReplaced)
		b.join(chat, "stays", broadcast.Until(mine))
		cancel()
		synctest.Wait()
		require.ErrorIs(t, replaced.Err(), context.Canceled)

		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_ = b.Shutdown(meddler{soon, func() { b.Stats() }})
		require.NotZero(t, meddled.Load())
	})
}

// Promise 22: what is said of samplers holds for the text of their panic as well.
func TestAPanicErrorShowsItsValue(t *testing.T) {
	require.Contains(t, (&broadcast.PanicError{Value: "the value", Stack: []byte("the stack")}).Error(), "the value")
	require.False(t, strings.Contains((&broadcast.PanicError{Value: 1, Stack: []byte("the stack")}).Error(), "stack"))
}
