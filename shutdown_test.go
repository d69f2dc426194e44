package broadcast_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// shutDown begins a Shutdown and returns where its answer will be.
func shutDown(ctx context.Context, b *auditedBroker[int]) <-chan result {
	answer := async(func() error { return b.Shutdown(ctx) })
	synctest.Wait()
	return answer
}

// Promise 29.
func TestShutdownReturnsNilWhenEverythingHasBeenTaken(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithSampling(strategy))
		one, two := b.join(chat, "one"), b.join("other", "two")
		b.publish(chat, 1, 2, 3)
		b.publish("other", 1, 2)
		answer := shutDown(t.Context(), b)
		sleep(time.Second)
		require.Equal(t, []int{1, 2, 3}, payloads(takeAll(t, one)))
		sleep(time.Second)
		require.Equal(t, []int{1}, take(t, two, 1))
		synctest.Wait()
		require.Empty(t, answer)
		require.Equal(t, []int{2}, take(t, two, 1))
		require.Equal(t, result{nil, 2 * time.Second}, <-answer)
		require.Zero(t, b.Stats().Discarded)
	})
}

// Promise 29.
func TestDuringShutdownASubscriptionEndsWithItsLastMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		idle, busy, slow := b.join(chat, "idle"), b.join(chat, "busy"), b.join(chat, "slow")
		b.publish(chat, 1, 2)
		takeAll(t, idle)
		shutDown(t.Context(), b)
		require.ErrorIs(t, idle.Err(), broadcast.ErrClosed)
		<-idle.Done()
		require.NoError(t, busy.Err())

		take(t, busy, 1)
		require.NoError(t, busy.Err())
		take(t, busy, 1)
		require.ErrorIs(t, busy.Err(), broadcast.ErrClosed)
		<-busy.Done()
		require.NoError(t, slow.Err())
		require.Equal(t, []string{"slow"}, b.Devices(chat))
		takeAll(t, slow)
	})
}

// Promise 29, whichever way messages are taken.
func TestShutdownDrainsReadersOfEveryKind(t *testing.T) {
	for name, read := range map[string]func(context.Context, *broadcast.Subscriber[int]) []int{
		"Next": func(ctx context.Context, s *broadcast.Subscriber[int]) (got []int) {
			for {
				d, err := s.Next(ctx)
				if err != nil {
					return got
				}
				got = append(got, d.Message)
			}
		},
		"NextBatch": func(ctx context.Context, s *broadcast.Subscriber[int]) (got []int) {
			into := make([]broadcast.Delivery[int], 7)
			for {
				n, err := s.NextBatch(ctx, into)
				if err != nil {
					return got
				}
				got = append(got, payloads(into[:n])...)
			}
		},
		"All": func(ctx context.Context, s *broadcast.Subscriber[int]) (got []int) {
			for d := range s.All(ctx) {
				got = append(got, d.Message)
			}
			return got
		},
		"Messages": func(ctx context.Context, s *broadcast.Subscriber[int]) (got []int) {
			for msg := range s.Messages(ctx) {
				got = append(got, msg)
			}
			return got
		},
		"Chan": func(_ context.Context, s *broadcast.Subscriber[int]) (got []int) {
			for d := range s.Chan() {
				got = append(got, d.Message)
			}
			return got
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "device")
				b.publish(chat, from(1, 100)...)
				answer := shutDown(t.Context(), b)
				require.Equal(t, from(1, 100), read(t.Context(), s))
				require.NoError(t, (<-answer).err)
				require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
			})
		})
	}
}

// Promise 29.
func TestShutdownRefusesPublishAndSubscribeFromItsFirstMoment(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		shutDown(t.Context(), b)
		require.NoError(t, s.Err()) // there is something to drain
		require.ErrorIs(t, b.Publish(t.Context(), chat, 2), broadcast.ErrClosed)
		require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrClosed)
		require.ErrorIs(t, b.TryPublish("nobody", 2), broadcast.ErrClosed)
		_, err := b.Subscribe(chat, "other")
		require.ErrorIs(t, err, broadcast.ErrClosed)
		_, err = b.Subscribe(chat, "device") // nor a takeover
		require.ErrorIs(t, err, broadcast.ErrClosed)
		require.NoError(t, s.Err())
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promise 29.
func TestPublishersThatWaitGetErrClosedAtOnce(t *testing.T) {
	for name, end := range map[string]func(context.Context, *auditedBroker[int]){
		"Shutdown": func(ctx context.Context, b *auditedBroker[int]) { shutDown(ctx, b) },
		"Close":    func(_ context.Context, b *auditedBroker[int]) { _ = b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, s := fullChat(t, 1)
				waiting := queue(t.Context(), b, 2, 3, 4)
				sleep(time.Second)
				end(t.Context(), b)
				for _, w := range waiting {
					got := <-w
					require.ErrorIs(t, got.err, broadcast.ErrClosed)
					require.Equal(t, time.Second, got.took)
				}
				require.Equal(t, []int{1}, payloads(takeAll(t, s)))
			})
		})
	}
}

// Promise 29.
func TestShutdownReturnsTheErrorOfItsContextAndEverythingIsTornDown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1, 2)
		soon, cancel := context.WithTimeoutCause(t.Context(), time.Second, errUntil)
		defer cancel()
		answer := shutDown(soon, b)
		take(t, s, 1)
		require.Equal(t, result{context.DeadlineExceeded, time.Second}, <-answer)
		require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
		require.Empty(t, b.Chats())
		require.EqualValues(t, 1, requireBooks(t, s).Pending) // in the books, and still there
		require.Equal(t, []int{2}, payloads(takeAll(t, s)))
	})
}

func TestShutdownWithADoneContextEndsEverythingNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		require.Equal(t, context.Canceled, b.Shutdown(done))
		require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promise 29.
func TestACloseMeanwhileMakesShutdownReturnErrClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		answer := shutDown(t.Context(), b)
		sleep(time.Second)
		require.NoError(t, b.Close())
		got := <-answer
		require.ErrorIs(t, got.err, broadcast.ErrClosed)
		require.Equal(t, time.Second, got.took)
		require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

func TestShutdownAfterCloseReturnsErrClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.Shutdown(t.Context()), broadcast.ErrClosed)
	})
}

func TestShutdownAfterShutdownReturnsNil(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		one, two := shutDown(t.Context(), b), shutDown(t.Context(), b)
		takeAll(t, s)
		require.NoError(t, (<-one).err)
		require.NoError(t, (<-two).err)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		require.NoError(t, b.Shutdown(done)) // nothing is left that it could wait for
	})
}

// Promise 29: a reader that is stuck holds Shutdown up until a cleaner finds it.
func TestCleanersGoOnDuringShutdown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithStallTimeout(time.Minute), broadcast.WithCleanInterval(time.Second))
		s := b.join(chat, "stuck")
		b.publish(chat, 1)
		got := <-shutDown(t.Context(), b)
		require.NoError(t, got.err)
		require.GreaterOrEqual(t, got.took, time.Minute)
		require.LessOrEqual(t, got.took, time.Minute+time.Second)
		require.ErrorIs(t, s.Err(), broadcast.ErrStalled)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promise 29: a subscription that goes away meanwhile is not waited for.
func TestShutdownDoesNotWaitForASubscriptionThatEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		until, cancel := context.WithCancelCause(t.Context())
		closes, ends := b.join(chat, "closes"), b.join(chat, "ends", broadcast.Until(until))
		b.publish(chat, 1)
		answer := shutDown(t.Context(), b)
		sleep(time.Second)
		require.NoError(t, closes.Close())
		sleep(time.Second)
		require.Empty(t, answer)
		cancel(errUntil)
		require.Equal(t, result{nil, 2 * time.Second}, <-answer)
		require.Equal(t, errUntil, ends.Err())
	})
}

func TestCloseEndsNowAndWhatIsBufferedStaysReadable(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, from(1, 100)...)
		require.Zero(t, elapsed(func() { require.NoError(t, b.Close()) }))
		require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
		require.Equal(t, from(1, 100), payloads(takeAll(t, s)))
		require.Zero(t, b.Stats().Subscribers)
	})
}
