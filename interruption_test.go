package broadcast_test

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// forLoops runs a test for each kind of loop that waits, in a bubble.
func forLoops(t *testing.T, test func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver)) {
	all := func(ctx context.Context, s *broadcast.Subscriber[int], body func()) error {
		for range s.All(ctx) {
			body()
		}
		return s.Err()
	}
	messages := func(ctx context.Context, s *broadcast.Subscriber[int], body func()) error {
		for range s.Messages(ctx) {
			body()
		}
		return s.Err()
	}
	for _, c := range []struct {
		name    string
		options []broadcast.SubscribeOption
		loop    loopOver
	}{
		{"All", nil, all},
		{"Messages", nil, messages},
		{"Messages one by one", []broadcast.SubscribeOption{broadcast.WithSampling(broadcast.Block)}, messages},
		{"All with presence", []broadcast.SubscribeOption{broadcast.WithPresence()}, all},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				test(t, b, b.join(chat, "device", c.options...), c.loop)
			})
		})
	}
}

// loopOver is a loop that runs body for each message, and returns why the subscription ended.
type loopOver func(ctx context.Context, s *broadcast.Subscriber[int], body func()) error

func TestALoopEndsAtOnceWithItsContext(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		for range 3 { // the subscription stays open
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			end := async(func() error { return loop(ctx, s, func() {}) })
			sleep(time.Second)
			b.publish(chat, 1)
			require.Equal(t, result{nil, 3 * time.Second}, <-end)
		}
	})
}

func TestALoopWhoseContextEndsInItsBodyEndsAfterIt(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithCancel(t.Context())
		end := async(func() error {
			return loop(ctx, s, func() {
				cancel()
				sleep(time.Hour)
			})
		})
		sleep(time.Second) // it waits, and so is to be interrupted
		b.publish(chat, 1)
		require.Equal(t, result{nil, time.Second + time.Hour}, <-end)
	})
}

func TestTwoLoopsOverOneSubscriptionByMistakeBothEndWithTheirContexts(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		stays, cancel := context.WithCancel(t.Context())
		defer cancel()
		others := async(func() error { return loop(stays, s, func() {}) })
		synctest.Wait() // the other one waits first, so that it gets what wakes
		ctx, cancelFirst := context.WithTimeout(t.Context(), time.Second)
		defer cancelFirst()
		require.Equal(t, result{nil, time.Second}, <-async(func() error { return loop(ctx, s, func() {}) }))
		cancel()
		require.NoError(t, (<-others).err)
	})
}

func TestALoopBesideChanByMistakeEndsWithItsContext(t *testing.T) {
	forLoops(t, func(t *testing.T, _ *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		s.Chan()
		synctest.Wait() // the goroutine behind it waits first, so that it gets what wakes
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, result{nil, time.Second}, <-async(func() error { return loop(ctx, s, func() {}) }))
	})
}

// What ends the outer loop must not be spent on the wait inside its body.
func TestALoopWhoseBodyWaitsAsWellEndsAtOnceWithItsContext(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithCancel(t.Context())
		end := async(func() error {
			return loop(ctx, s, func() {
				cancel()
				inner, cancelInner := context.WithTimeout(t.Context(), time.Second)
				defer cancelInner()
				_, err := s.Next(inner)
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		})
		sleep(time.Second) // it waits, and so is to be interrupted
		b.publish(chat, 1)
		require.Equal(t, result{nil, 2 * time.Second}, <-end)
	})
}

// Promise 27: of a loop whose context ended in its body, which never returns.
func TestNothingIsLeftOfALoopThatWasInterruptedInItsBody(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		end := async(func() error { return loop(ctx, s, func() { <-release }) })
		synctest.Wait()
		b.publish(chat, 1)
		synctest.Wait()
		cancel()
		synctest.Wait()
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		close(release)
		require.NotContains(t, string(stacks), "interruptAt.func")
		<-end
	})
}

// A goroutine behind Chan that hangs in a sampler is waited for like a message.
func TestALoopThatWaitsForTheGoroutineBehindChanEndsWithItsContext(t *testing.T) {
	forLoops(t, func(t *testing.T, _ *auditedBroker[int], _ *broadcast.Subscriber[int], loop loopOver) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		var all []*broadcast.Subscriber[int]
		for _, device := range []string{"hangs behind Chan", "hangs in Publish"} { // one or the other way about
			s := b.join(chat, device, broadcast.WithBuffer(1), broadcast.WithSampler(func(broadcast.Backlog[int], int) int {
				sleep(time.Hour)
				return 0
			}))
			s.Chan()
			all = append(all, s)
		}
		b.publish(chat, 1)
		synctest.Wait()
		publish := async(func() error { return b.Publish(context.Background(), chat, 2) })
		synctest.Wait()
		require.NoError(t, b.Close())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for _, s := range all {
			end := <-async(func() error { _ = loop(ctx, s, func() {}); return nil })
			require.LessOrEqual(t, end.took, time.Second)
		}
		require.NoError(t, (<-publish).err)
	})
}

// counting is a context that counts who waits for its end.
type counting struct {
	context.Context
	asked, left atomic.Int32
}

func (c *counting) Value(any) any { return nil } // hides that a context of the standard library is inside

// AfterFunc is what context.AfterFunc calls.
func (c *counting) AfterFunc(f func()) func() bool {
	c.asked.Add(1)
	stop := context.AfterFunc(c.Context, f)
	return func() bool {
		c.left.Add(1)
		return stop()
	}
}

func TestALoopAsksItsContextOnceAndLeavesNothingWithIt(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		asked := &counting{Context: ctx}
		end := async(func() error { return loop(asked, s, func() {}) })
		for i := range 10 {
			sleep(time.Second)
			b.publish(chat, i)
		}
		require.NoError(t, s.Close())
		require.ErrorIs(t, (<-end).err, broadcast.ErrClosed)
		require.EqualValues(t, 1, asked.asked.Load())
		require.EqualValues(t, 1, asked.left.Load())
	})
}

// foreign is a context of which the standard library knows nothing, so that it waits for it in a goroutine.
type foreign struct{ context.Context }

func (foreign) Value(any) any { return nil }

// That nothing is left running is what the bubble requires.
func TestALoopMayHaveAContextOfAnyKind(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, result{nil, time.Second}, <-async(func() error { return loop(foreign{ctx}, s, func() {}) }))

		endless, cancel := context.WithCancel(t.Context())
		defer cancel()
		end := async(func() error { return loop(foreign{endless}, s, func() {}) })
		sleep(time.Second)
		require.NoError(t, s.Close())
		require.Equal(t, result{broadcast.ErrClosed, time.Second}, <-end)
	})
}

func TestALoopThatWaitsForEachMessageAllocatesNothingForIt(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates too")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBroker[int](t)
	s := b.join(chat, "device")
	taken, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(end)
		for range s.Messages(ctx) {
			taken <- struct{}{}
		}
	}()
	one := func() {
		b.publish(chat, 1)
		<-taken
	}
	repeat(100, one) // the runtime has to get what it needs to wait
	const messages = 1_000
	require.LessOrEqual(t, countAllocations(func() { repeat(messages, one) })/messages, 0.1)
	cancel()
	<-end
}
