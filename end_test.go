package broadcast_test

import (
	"context"
	"log/slog"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

func TestAnEndHasItsReasonAndClosesDone(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		require.NoError(t, s.Err())
		select {
		case <-s.Done():
			t.Fatal("done before the end")
		default:
		}
		e.act(b, s)
		<-s.Done()
		require.ErrorIs(t, s.Err(), e.reason)
	})
}

func TestWhatWasBufferedAtTheEndStaysReadableOrIsGone(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		books := requireBooks(t, s)
		if e.readable {
			require.EqualValues(t, 2, books.Pending)
			require.Equal(t, []int{1, 2}, take(t, s, 2))
		} else {
			require.EqualValues(t, 2, books.Discarded)
		}
		require.Empty(t, takeAll(t, s))
	})
}

// Promise 17: also if the subscription had ended before, in a way that left something to read.
func TestAfterASubscribersOwnCloseNothingIsReadable(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		require.NoError(t, s.Close())
		require.EqualValues(t, 2, requireBooks(t, s).Discarded)
		require.Empty(t, takeAll(t, s))
		require.ErrorIs(t, s.Err(), e.reason)
	})
}

// Next looks for the end, then at the context, then for a message.
func TestADoneContextWinsOverWhatIsReadableAfterTheEnd(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Next(done)
		if e.readable {
			require.Equal(t, context.Canceled, err)
			require.Equal(t, []int{1, 2}, payloads(takeAll(t, s)))
		} else {
			require.ErrorIs(t, err, e.reason)
		}
	})
}

// Promise 17.
func TestNextKeepsReturningTheReason(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		takeAll(t, s)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for range 3 {
			_, err := s.Next(t.Context())
			require.ErrorIs(t, err, e.reason)
			require.Equal(t, s.Err(), err)
			_, err = s.Next(done) // the end comes before the context
			require.ErrorIs(t, err, e.reason)
			n, err := s.NextBatch(t.Context(), make([]broadcast.Delivery[int], 1))
			require.Zero(t, n)
			require.ErrorIs(t, err, e.reason)
			for range s.All(t.Context()) {
				t.Fatal("a message after the end")
			}
			for range s.Messages(t.Context()) {
				t.Fatal("a message after the end")
			}
		}
	})
}

func TestAWaitingNextReturnsTheReasonAtOnce(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		if len(e.opts) > 0 && e.name != "until" {
			t.Skip("ends only those that have messages waiting")
		}
		takeAll(t, s)
		next := async(func() error { _, err := s.Next(t.Context()); return err })
		synctest.Wait()
		require.Zero(t, elapsed(func() {
			e.act(b, s)
			require.ErrorIs(t, (<-next).err, e.reason)
		}))
	})
}

func TestTheFirstReasonStays(t *testing.T) {
	forEnds(t, func(t *testing.T, _ *auditedBroker[int], _ *broadcast.Subscriber[int], first end) {
		for i := range ends(t) {
			first, second := find(ends(t), first.name), ends(t)[i]
			b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0))
			s := b.join(chat, "device", append(second.opts, first.opts...)...)
			b.publish(chat, 1, 2)
			first.act(b, s)
			second.act(b, s)
			require.ErrorIs(t, s.Err(), first.reason, "after %s", second.name)
		}
	})
}

func find(ends []end, name string) end {
	for _, e := range ends {
		if e.name == name {
			return e
		}
	}
	panic(name)
}

func TestChanIsClosedAfterAnyEnd(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		c := s.Chan()
		synctest.Wait() // its goroutine offers a message that nobody takes
		b.publish(chat, 3)
		e.act(b, s)
		synctest.Wait()
		_, open := <-c
		require.False(t, open)
		if e.readable { // what it had not sent
			require.Equal(t, []int{1, 2, 3}, payloads(takeAll(t, s)))
		}
	})
}

// Promise 27: the bubble of a test fails if a goroutine is left in it. This one is about the time
// before Close.
func TestAnEndedSubscriptionHasNoGoroutineEvenIfNobodyReadsIt(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		before := goroutines()
		s.Chan()
		require.Equal(t, before+1, goroutines())
		b.publish(chat, 3) // which fits, with Chan
		e.act(b, s)
		require.LessOrEqual(t, goroutines(), before)
	})
}

func TestErrorTextsBeginWithThePackage(t *testing.T) {
	for _, err := range []error{
		broadcast.ErrClosed, broadcast.ErrBrokerClosed, broadcast.ErrSlow, broadcast.ErrStalled, broadcast.ErrReplaced, broadcast.ErrKicked, broadcast.ErrEnded, broadcast.ErrInUse, broadcast.ErrOverloaded, broadcast.ErrLimit,
		broadcast.ErrInvalid, &broadcast.PanicError{Value: "value"}, &broadcast.PanicError{},
	} {
		require.Regexp(t, "^broadcast: ", err.Error())
	}
}

// Promise 41.
func TestASubscribersOwnCloseIsNotTheBrokers(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		own, drained, cut := b.join(chat, "own"), b.join(chat, "drained"), b.join(chat, "cut")
		b.publish(chat, 1)
		takeAll(t, drained)
		require.NoError(t, own.Close())
		shutDown(t.Context(), b)
		require.NoError(t, b.Close())
		require.Equal(t, broadcast.ErrClosed, own.Err())
		require.NotErrorIs(t, own.Err(), broadcast.ErrBrokerClosed)
		for _, s := range []*broadcast.Subscriber[int]{drained, cut} {
			require.Equal(t, broadcast.ErrBrokerClosed, s.Err())
			require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
		}
	})
}

// Promise 42.
func TestKickEndsASubscriptionWithExactlyItsReason(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		reasoned, plain, other := b.join(chat, "reasoned"), b.join(chat, "plain"), b.join(chat, "other")
		b.publish(chat, 1, 2)
		require.True(t, b.Kick(chat, "reasoned", errKick))
		require.True(t, b.Kick(chat, "plain", nil))
		for s, reason := range map[*broadcast.Subscriber[int]]error{reasoned: errKick, plain: broadcast.ErrKicked} {
			<-s.Done()
			_, err := s.Next(t.Context())
			require.Equal(t, reason, err)
			require.EqualValues(t, 2, requireBooks(t, s).Discarded)
		}
		require.Equal(t, []int{1, 2}, payloads(takeAll(t, other)))
		require.Equal(t, []string{"other"}, b.Devices(chat))
	})
}

// Promise 42.
func TestKickOfWhoIsNotPresentDoesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		for _, who := range [][2]string{{chat, "other"}, {"other", "device"}, {"", "device"}, {chat, ""}} {
			require.False(t, b.Kick(who[0], who[1], errKick), who)
		}
		require.NoError(t, s.Err())
		require.Equal(t, 1, b.Stats().Chats)
		require.NoError(t, s.Close())
		require.False(t, b.Kick(chat, "device", errKick))
		require.Equal(t, broadcast.ErrClosed, s.Err())
		require.NoError(t, b.Close())
		require.False(t, b.Kick(chat, "device", errKick))
		require.False(t, new(broadcast.Broker[int]).Kick(chat, "device", errKick))
		require.False(t, (*broadcast.Broker[int])(nil).Kick(chat, "device", errKick))
	})
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
		require.ErrorIs(t, idle.Err(), broadcast.ErrBrokerClosed)
		<-idle.Done()
		require.NoError(t, busy.Err())

		take(t, busy, 1)
		require.NoError(t, busy.Err())
		take(t, busy, 1)
		require.ErrorIs(t, busy.Err(), broadcast.ErrBrokerClosed)
		<-busy.Done()
		require.NoError(t, slow.Err())
		require.Equal(t, []string{"slow"}, b.Devices(chat))
		takeAll(t, slow)
	})
}

// Promise 29, whichever way messages are taken.
func TestShutdownDrainsReadersOfEveryKind(t *testing.T) {
	for name, read := range ways {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "device")
				b.publish(chat, from(1, 100)...)
				answer := shutDown(t.Context(), b)
				require.Equal(t, from(1, 100), read(t.Context(), s))
				require.NoError(t, (<-answer).err)
				require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
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
		require.ErrorIs(t, b.Publish(t.Context(), chat, 2), broadcast.ErrBrokerClosed)
		require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrBrokerClosed)
		require.ErrorIs(t, b.TryPublish("nobody", 2), broadcast.ErrBrokerClosed)
		_, err := b.Subscribe(chat, "other")
		require.ErrorIs(t, err, broadcast.ErrBrokerClosed)
		_, err = b.Subscribe(chat, "device") // nor a takeover
		require.ErrorIs(t, err, broadcast.ErrBrokerClosed)
		require.NoError(t, s.Err())
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promises 29 and 47: also if it had looked the chat up before, and the chat had ended.
func TestNobodyJoinsAChatThatWasClosedMeanwhile(t *testing.T) {
	for name, end := range map[string]func(b *auditedBroker[int]){
		"Shutdown": func(b *auditedBroker[int]) { shutDown(b.t.Context(), b) },
		"Close":    func(b *auditedBroker[int]) { _ = b.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "device")
				b.publish(chat, 1)
				b.endChat("ended")
				open, ended := broadcast.LookUp(b.Broker, chat), broadcast.LookUp(b.Broker, "ended")
				end(b)
				require.False(t, open.Admits("late"))
				require.False(t, ended.Admits("late"))
				takeAll(t, s)
			})
		})
	}
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
					require.ErrorIs(t, got.err, broadcast.ErrBrokerClosed)
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
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
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
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
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
		require.ErrorIs(t, got.err, broadcast.ErrBrokerClosed)
		require.Equal(t, time.Second, got.took)
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

func TestShutdownAfterCloseReturnsErrClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.Shutdown(t.Context()), broadcast.ErrBrokerClosed)
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
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
		require.Equal(t, from(1, 100), payloads(takeAll(t, s)))
		require.Zero(t, b.Stats().Subscribers)
	})
}

// A flow is the life of a subscription with Until, to its end. end cancels the context.
type flow func(ctx context.Context, b *auditedBroker[int], end func())

// own is the chat of the subscription of a flow.
const own = "own chat"

// flows are all the ways in which a subscription with Until ends, or never begins.
var flows = map[string]flow{
	"the context ends": func(ctx context.Context, b *auditedBroker[int], end func()) {
		_, _ = b.Subscribe(own, "mine", broadcast.Until(ctx))
		end()
	},
	"closed": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		if s, err := b.Subscribe(own, "mine", broadcast.Until(ctx)); err == nil {
			_ = s.Close()
		}
	},
	"replaced": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		_, _ = b.Subscribe(own, "mine", broadcast.Until(ctx))
		_, _ = b.Subscribe(own, "mine")
	},
	"too slow": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		_, _ = b.Subscribe(own, "mine", broadcast.Until(ctx), broadcast.WithSampling(broadcast.Disconnect))
		for i := range 4 {
			_ = b.Publish(context.Background(), own, i)
		}
	},
	"stalled": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		_, _ = b.Subscribe(own, "mine", broadcast.Until(ctx), broadcast.WithStallTimeout(time.Minute))
		_ = b.Publish(context.Background(), own, 1)
		time.Sleep(time.Minute + time.Second)
	},
	"sampler panics": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		s, err := b.Subscribe(own, "mine", broadcast.Until(ctx), failing)
		if err == nil {
			s.Chan()
		}
		for i := range 4 {
			_ = b.TryPublish(own, i)
		}
	},
	"broker closed": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		_, _ = b.Subscribe(own, "mine", broadcast.Until(ctx))
		_ = b.Close()
	},
	"shutdown, nothing pending": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		_, _ = b.Subscribe(own, "mine", broadcast.Until(ctx))
		_ = shutDownWithin(b)
	},
	"last message during shutdown": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		s, err := b.Subscribe(own, "mine", broadcast.Until(ctx))
		if err != nil {
			return
		}
		_ = b.Publish(context.Background(), own, 1)
		read := async(func() error { time.Sleep(time.Second / 2); s.TryNext(); return nil })
		_ = shutDownWithin(b)
		<-read
	},
	"last message of Chan during shutdown": func(ctx context.Context, b *auditedBroker[int], _ func()) {
		s, err := b.Subscribe(own, "mine", broadcast.Until(ctx))
		if err != nil {
			return
		}
		_ = b.Publish(context.Background(), own, 1)
		messages := s.Chan()
		read := async(func() error { time.Sleep(time.Second / 2); <-messages; return nil })
		_ = shutDownWithin(b)
		<-read
	},
}

var failing = broadcast.WithSampler(func(broadcast.Backlog[int], int) int { panic(errSampler) })

// starter starts a flow, in which the context acts once.
type starter func(act func()) <-chan result

// forEachCallOfAContext runs each flow beside other subscriptions, once for each call that the
// library makes of the context: of one of its methods, or of the stop function of its AfterFunc. In
// that call the context acts.
func forEachCallOfAContext(t *testing.T, test func(t *testing.T, b *auditedBroker[int], start starter)) {
	kinds := []func(meddler) context.Context{
		func(m meddler) context.Context { return &m },
		func(m meddler) context.Context { return m },           // which == panics for
		func(m meddler) context.Context { return foreign{&m} }, // without AfterFunc
	}
	for name, flow := range flows {
		t.Run(name, func(t *testing.T) {
			for _, kind := range kinds {
				acted := true
				for n := int32(1); acted; n++ {
					bubble(t, func(t *testing.T) {
						b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0),
							broadcast.WithCleanInterval(time.Second))
						for _, device := range []string{"one", "two"} {
							b.join(chat, device)
							b.join("elsewhere", device, broadcast.Until(t.Context())).Chan()
							s := b.join(own, device)
							s.Done() // so that it has to be closed
							read(b, s)
						}
						inner, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
						t.Cleanup(cancel)
						counted := &counting{Context: inner}
						var calls atomic.Int32
						test(t, b, func(act func()) <-chan result {
							ctx := kind(meddler{counted, func() {
								if calls.Add(1) == n {
									act()
								}
							}})
							return async(func() error { flow(ctx, b, cancel); return nil })
						})
						synctest.Wait()
						if inner.Err() == nil {
							require.Equal(t, counted.asked.Load(), counted.left.Load(), "the context holds something of the broker")
						}
						acted = calls.Load() >= n
					})
				}
			}
		})
	}
}

// Promise 18: whatever the context of a subscription does to the broker, in whichever of its calls.
func TestAContextMayEndEverything(t *testing.T) {
	for name, act := range map[string]func(b *auditedBroker[int]){
		"Close":    func(b *auditedBroker[int]) { _ = b.Close() },
		"Shutdown": func(b *auditedBroker[int]) { _ = shutDownWithin(b) },
		"Close of all subscribers": func(b *auditedBroker[int]) {
			b.mu.Lock()
			subs := b.subs
			b.mu.Unlock()
			for _, s := range subs {
				_ = s.Close()
			}
		},
		"takeover": func(b *auditedBroker[int]) { _, _ = b.Subscribe(own, "mine") },
	} {
		t.Run(name, func(t *testing.T) {
			forEachCallOfAContext(t, func(t *testing.T, b *auditedBroker[int], start starter) {
				inTime(t, start(func() { act(b) }))
				sleep(2 * time.Second)
				require.Zero(t, inTime(t, async(b.Close)).took)
				requireAllEnded(t, b)
			})
		})
	}
}

// Promise 22: one that hangs, in whichever of its calls, holds up nobody but who has made it.
func TestAContextThatHangsHoldsUpNobodyElse(t *testing.T) {
	for name, end := range map[string]func(b *auditedBroker[int]) error{
		"Close":    func(b *auditedBroker[int]) error { return b.Close() },
		"Shutdown": shutDownWithin,
	} {
		t.Run(name, func(t *testing.T) {
			forEachCallOfAContext(t, func(t *testing.T, b *auditedBroker[int], start starter) {
				hang := make(chan struct{})
				release := sync.OnceFunc(func() { close(hang) })
				t.Cleanup(release) // of a test that has failed
				flow := start(func() { <-hang })
				sleep(2 * time.Minute)
				for _, device := range []string{"one", "three"} { // others come and go, if it is not over yet
					if s, err := b.Subscribe(chat, device); err == nil {
						require.NoError(t, s.Close())
					}
				}
				require.LessOrEqual(t, inTime(t, async(func() error { _ = end(b); return nil })).took, time.Second)
				requireAllEnded(t, b)
				release()
				inTime(t, flow)
			})
		})
	}
}

// Whoever ends a subscription logs that, and stops its context, which here takes so long that Chan
// is closed meanwhile. Several goroutines may call a context at once, so each call sleeps: in a
// bubble that lasts until all others rest, as synctest.Wait does, which may not be called twice at
// the same time.
func TestTheEndOfAFailedSamplerIsLoggedWhenChanIsInUse(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		s := b.join(chat, "device", broadcast.Until(meddler{t.Context(), func() { time.Sleep(time.Second) }}), failing)
		c := s.Chan()
		b.publish(chat, 1, 2, 3, 4)
		<-s.Done()
		for range c {
		}
		sleep(time.Minute)
		require.Equal(t, []event{{slog.LevelDebug, "ended", chat, "device", s.Err()}}, j.about("ended"))
	})
}

// Promise 18: also of ends by somebody else, here one that has ended a subscription and has yet to
// tell those who wait for that.
func TestCloseWaitsUntilAnEndIsKnown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		done := s.Done()
		signal := broadcast.EndInTwoSteps(s)
		closing := async(b.Close)
		synctest.Wait()
		select {
		case <-closing:
			t.Fatal("Close did not wait")
		case <-done:
			t.Fatal("the end is known")
		default:
		}
		signal()
		<-done
		require.NoError(t, inTime(t, closing).err)
	})
}

// Promise 18: of a publisher, who has many to tell.
func TestAfterCloseAllWhoWaitForAnEndHaveBeenTold(t *testing.T) {
	for range 10 {
		closeWhileTheyEnd(t, 10_000) // in pieces
	}
	for range 200 {
		closeWhileTheyEnd(t, 128) // in one
	}
}

// closeWhileTheyEnd closes a broker while a message ends so many subscriptions.
func closeWhileTheyEnd(t *testing.T, readers int) {
	b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Disconnect))
	for i := range readers {
		b.join(chat, strconv.Itoa(i)).Done() // so that it has to be closed
	}
	b.publish(chat, 1)
	first := b.subs[0]
	publisher := async(func() error { return b.TryPublish(chat, 2) })
	for first.Err() == nil {
		runtime.Gosched()
	}
	require.NoError(t, b.Close())
	requireAllEnded(t, b)
	if err := (<-publisher).err; err != nil {
		require.ErrorIs(t, err, broadcast.ErrClosed) // the broker closed before all had been ended
	}
}

// Promise 27: the goroutines that wait for contexts are gone when Close returns, also if another
// Close hangs in one of them.
func TestCloseLetsGoOfTheOtherContextsWhenOneHangs(t *testing.T) {
	for hanging := range 5 { // whichever it comes to first
		bubble(t, func(t *testing.T) {
			before := goroutines()
			b := newBroker[int](t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var closing atomic.Bool
			hang := make(chan struct{})
			for i := range 5 {
				var of context.Context = &foreign{ctx}
				if i == hanging {
					of = &meddler{ctx, func() {
						if closing.Load() {
							<-hang
						}
					}}
				}
				b.join(chat, strconv.Itoa(i), broadcast.Until(of))
			}
			closing.Store(true)
			first := async(b.Close)
			synctest.Wait()
			require.NoError(t, b.Close())
			require.Empty(t, first)
			require.Equal(t, before+1, goroutines(), "the one that hangs")
			close(hang)
			require.NoError(t, (<-first).err)
		})
	}
}

// Promise 27.
func TestTheEndOfAContextStartsOneGoroutine(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // so that they are started and do not run
	b := newBroker[int](t)
	ctx, cancel := context.WithCancelCause(t.Context())
	const subscribers = 1_000
	var subs []*broadcast.Subscriber[int]
	for i := range subscribers {
		subs = append(subs, b.join(chat, strconv.Itoa(i), broadcast.Until(ctx)))
	}
	before := runtime.NumGoroutine()
	cancel(errUntil)
	require.LessOrEqual(t, runtime.NumGoroutine()-before, 1)
	for _, s := range subs {
		<-s.Done()
		require.Equal(t, errUntil, s.Err())
	}
}

// A reader that comes after the end waits for a sampler that still runs.
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

// Promise 27: also if its reader has a sampler, as long as that does not run.
func TestCloseWaitsForTheGoroutineBehindChanOfAReaderWithASampler(t *testing.T) {
	const buffer = 1 << 16
	stacks := make([]byte, 1<<20)
	for range 200 {
		b, err := broadcast.New[int](broadcast.WithBuffer(buffer), broadcast.WithSampler(
			func(broadcast.Backlog[int], int) int {
				t.Error("a reader was overrun")
				return 0
			}))
		require.NoError(t, err)
		var all sync.WaitGroup
		for i := range 8 {
			s, err := b.Subscribe(chat, strconv.Itoa(i))
			require.NoError(t, err)
			all.Go(func() {
				for range s.Chan() {
				}
			})
		}
		all.Go(func() {
			for i := 0; i < buffer && b.TryPublish(chat, i) == nil; i++ { // readers may not get a CPU
				runtime.Gosched()
			}
		})
		for range 20 {
			runtime.Gosched()
		}
		require.NoError(t, b.Close())
		for stack := range strings.SplitSeq(string(stacks[:runtime.Stack(stacks, true)]), "\n\n") {
			// After leave it may still have to return.
			works := strings.Contains(stack, "pump[...]).peek") || strings.Contains(stack, "pump[...]).settle")
			require.False(t, works, stack)
		}
		all.Wait()
	}
}
