package broadcast_test

import (
	"context"
	"log/slog"
	"math"
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

// apart calls f on a goroutine of its own and waits until that goroutine has ended, be it by
// runtime.Goexit.
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
		for _, answer := range []int{-1, n + 1, math.MaxInt, math.MinInt} {
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

// hanging is a subscription whose sampler hangs, called by a publisher or, if that did not come to
// it, by a reader.
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
		require.ErrorIs(t, reader.Err(), broadcast.ErrBrokerClosed)
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
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
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
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

// Promise 23: the loop cannot take what Shutdown waits for.
func TestAShutdownFromInsideAReadingLoopEndsWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1, 2)
		var got []int
		for msg := range s.Messages(t.Context()) {
			if got = append(got, msg); msg == 1 {
				soon, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				require.Equal(t, time.Second, elapsed(func() {
					require.Equal(t, context.DeadlineExceeded, b.Shutdown(soon))
				}))
			}
		}
		require.Equal(t, []int{1, 2}, got)
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
	})
}

// Promise 23: a Publish from inside the loop of the Block reader that it waits for.
func TestABlockReaderThatPublishesToItsOwnFullChatWaitsForItself(t *testing.T) {
	const hour = time.Hour
	for _, c := range []struct {
		publishTimeout, stallTimeout, ctx time.Duration
		least, most                       time.Duration
		want                              error
	}{
		{time.Second, 0, hour, time.Second, time.Second, broadcast.ErrOverloaded},
		{0, 0, hour, hour, hour, context.DeadlineExceeded},
		{0, time.Minute, hour, time.Minute, 2 * time.Minute, nil}, // the reader is ended
	} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithPublishTimeout(c.publishTimeout), broadcast.WithStallTimeout(c.stallTimeout))
			s := b.join(chat, "device", broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block))
			b.publish(chat, 1)
			ctx, cancel := context.WithTimeout(t.Context(), c.ctx)
			defer cancel()
			for range s.All(t.Context()) {
				b.publish(chat, 2) // fits
				took := elapsed(func() { require.ErrorIs(t, b.Publish(ctx, chat, 3), c.want) })
				require.GreaterOrEqual(t, took, c.least)
				require.LessOrEqual(t, took, c.most)
				break
			}
		})
	}
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

// Promise 22: neither those who wait already nor those who come later, whichever of its methods
// hangs.
func TestAPublisherWhoseContextHangsHoldsUpNobodyElse(t *testing.T) {
	for name, hanging := range map[string]func(ctx context.Context, hang func()) context.Context{
		"Done": func(ctx context.Context, hang func()) context.Context { return hooked{ctx, hang, nil} },
		"Err": func(ctx context.Context, hang func()) context.Context {
			calls := 0
			return hooked{ctx, nil, func() {
				if calls++; calls == 2 { // after the wait
					hang()
				}
			}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b, s := fullChat(t, 1)
				ctx, cancel := context.WithCancel(t.Context())
				hang := make(chan struct{})
				release := sync.OnceFunc(func() { close(hang) })
				t.Cleanup(release) // of a test that has failed
				hangs := queue(hanging(ctx, func() { <-hang }), b, 0)[0]
				waiting := queue(t.Context(), b, 2, 3)
				cancel()
				synctest.Wait()
				for _, other := range append(waiting, queue(t.Context(), b, 4)...) {
					take(t, s, 1)
					require.Equal(t, result{}, <-other)
				}
				require.Equal(t, []int{4}, take(t, s, 1))
				require.NoError(t, b.TryPublish(chat, 5))
				require.Empty(t, hangs)
				release()
				require.ErrorIs(t, (<-hangs).err, context.Canceled)
			})
		})
	}
}

// mute is a context that has no error when it is done.
type mute struct{ context.Context }

func (m mute) Err() error { return nil }

// Promise 25: it waited on, and never slept.
func TestAContextThatIsDoneAndSaysNothingEndsAWaitAllTheSame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, _ := fullChat(t, 1)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, result{context.Canceled, time.Second}, <-async(func() error { return b.Publish(mute{ctx}, chat, 2) }))
	})
}

// Promise 22: what is said of samplers holds for the text of their panic as well.
func TestAPanicErrorShowsItsValue(t *testing.T) {
	require.Contains(t, (&broadcast.PanicError{Value: "the value", Stack: []byte("the stack")}).Error(), "the value")
	require.False(t, strings.Contains((&broadcast.PanicError{Value: 1, Stack: []byte("the stack")}).Error(), "stack"))
}

// Promise 18: while it chooses, and has more to choose from.
func TestASubscriptionWhoseSamplerHasMoreToChooseFromCanBeEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for name, end := range endings {
			b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(4))
			answer := make(chan struct{})
			var calls atomic.Int32
			s := b.join(chat, "device", broadcast.WithSampler(func(broadcast.Backlog[int], int) int {
				calls.Add(1)
				<-answer
				return 0
			}))
			fill(t, b, 4)
			callers := queue(context.Background(), b, 5, 6, 7, 8) // of which one has the sampler run
			callers = append(callers, async(func() error { s.TryNext(); return nil }))
			synctest.Wait()
			answer <- struct{}{}
			synctest.Wait()
			require.EqualValues(t, 2, calls.Load(), "now for one of the three that came meanwhile")
			end(b, s)
			close(answer)
			for _, caller := range callers {
				require.NoError(t, (<-caller).err, name)
			}
		}
	})
}

func TestEachSubscriptionIsLoggedWhenItBeginsAndWhenItEnds(t *testing.T) {
	forEnds(t, func(t *testing.T, _ *auditedBroker[int], _ *broadcast.Subscriber[int], e end) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		s := b.join(chat, "device", e.opts...)
		require.Equal(t, []event{{slog.LevelDebug, "subscribed", chat, "device", nil}}, j.about("subscribed"))
		b.publish(chat, 1, 2)
		require.Empty(t, j.about("ended"))
		e.act(b, s)
		synctest.Wait()
		require.Equal(t, []event{{slog.LevelDebug, "ended", chat, "device", s.Err()}}, j.about("ended"))
	})
}

func TestAReaderThatACleanerEndsIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		b.join(chat, "device", broadcast.WithStallTimeout(time.Minute))
		b.publish(chat, 1)
		sleep(time.Minute + time.Second)
		require.Equal(t, []event{{slog.LevelDebug, "subscription stalled", chat, "device", nil}}, j.about("subscription stalled"))
	})
}

func TestAChatThatACleanerForgetsIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		require.NoError(t, b.join(chat, "device").Close())
		sleep(time.Hour + time.Second)
		require.Equal(t, []event{{slog.LevelDebug, "chat forgotten", chat, "", nil}}, j.about("chat forgotten"))
	})
}

func TestAPublisherThatTimesOutIsLogged(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		b.join(chat, "stuck", broadcast.WithSampling(broadcast.Block))
		b.publish(chat, 1, 2)
		require.ErrorIs(t, b.Publish(t.Context(), chat, 3), broadcast.ErrOverloaded)
		require.Equal(t, []event{{slog.LevelDebug, "publisher timed out", chat, "", nil}}, j.about("publisher timed out"))
	})
}

// What any client can cause does not fill the log of a service, and what cleaners find is one line
// a run.
func TestAboveDebugThereIsOneLineForAllReadersThatStalledTogether(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelInfo}
		b := newLogged(t, j)
		for i := range 10 {
			b.join(chat, string(rune('a'+i)), broadcast.WithStallTimeout(time.Minute))
		}
		b.publish(chat, 1)
		sleep(time.Minute + time.Second)
		require.Zero(t, b.Stats().Subscribers)
		require.NoError(t, b.join(chat, "device").Close())
		require.Len(t, j.events, 1)
		require.Equal(t, slog.LevelWarn, j.events[0].level)
	})
}

// eventKinds are parts of the messages of all events there are.
var eventKinds = []string{"subscribed", "ended", "subscription stalled", "subscriptions stalled", "chat forgotten", "timed out"}

// everyEvent causes an event of each kind, in the order of what a subscriber does: it comes, gets
// stuck, and is cleaned away.
func everyEvent(ctx context.Context, b *auditedBroker[int], chat string) {
	_, _ = b.Subscribe(chat, "stalls", broadcast.WithStallTimeout(time.Minute), broadcast.WithSampling(broadcast.Block))
	for i := range 3 {
		_ = b.Publish(ctx, chat, i)
	}
	time.Sleep(time.Minute + time.Second)
	time.Sleep(time.Hour + time.Second)
}

// No lock is held while a logger runs.
func TestALoggerMayCallTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		j.on = func(string) {
			b.Stats()
			b.Chats()
			b.Devices(chat)
			_ = b.TryPublish(chat, 0)
			_ = b.Publish(t.Context(), "elsewhere", 0)
		}
		everyEvent(t.Context(), b, chat)
		for _, kind := range eventKinds {
			require.NotEmpty(t, j.about(kind), kind)
		}
	})
}

func TestALoggerMayCallTheBrokerAtEachEnd(t *testing.T) {
	forEnds(t, func(t *testing.T, _ *auditedBroker[int], _ *broadcast.Subscriber[int], e end) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		j.on = func(string) {
			b.Stats()
			b.Chats()
			b.Devices(chat)
		}
		s := b.join(chat, "logged", e.opts...)
		b.publish(chat, 1, 2)
		e.act(b, s)
		synctest.Wait()
		require.NotEmpty(t, j.about("ended"))
	})
}

// Promise 18: at any event, also while another Close or Shutdown ends what is logged.
func TestALoggerMayCloseAndShutDown(t *testing.T) {
	for name, end := range map[string]func(b *auditedBroker[int]){
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
	} {
		for _, kind := range eventKinds {
			t.Run(name+"/"+kind, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					j := &journal{level: slog.LevelDebug}
					b := newLogged(t, j)
					s := b.join("other", "has messages waiting")
					b.publish("other", 1)
					b.join("elsewhere", "waits").Chan()
					j.on = func(message string) {
						if strings.Contains(message, kind) {
							end(b)
						}
					}
					everyEvent(t.Context(), b, chat)
					require.Zero(t, inTime(t, async(b.Close)).took)
					require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
					requireAllEnded(t, b)
				})
			})
		}
	}
}

func TestALoggerThatPanicsHarmsNobody(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var panics atomic.Int64
		b := newLogged(t, &journal{level: slog.LevelDebug, on: func(string) { panics.Add(1); panic("the logger's panic") }})
		for range 2 {
			everyEvent(t.Context(), b, chat)
			require.Zero(t, b.Stats().Chats)
		}
		require.EqualValues(t, 2*len(eventKinds), panics.Load())
	})
}

// Promise 22: an event of each kind hangs in its turn, and all else goes on.
func TestALoggerThatHangsHoldsUpNobodyElse(t *testing.T) {
	for _, kind := range eventKinds {
		t.Run(kind, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				hang := make(chan struct{})
				release := sync.OnceFunc(func() { close(hang) })
				t.Cleanup(release) // of a test that has failed
				var hung atomic.Bool
				b := newLogged(t, &journal{level: slog.LevelDebug, on: func(message string) {
					if strings.Contains(message, kind) && hung.CompareAndSwap(false, true) {
						<-hang
					}
				}})
				held := async(func() error { everyEvent(t.Context(), b, chat); return nil })
				sleep(time.Hour + 2*time.Minute)
				require.True(t, hung.Load())

				// The others publish, read, come and go, also in this chat, and the cleaners go on.
				stuck := b.join("beside", "stuck", broadcast.WithStallTimeout(time.Minute))
				for _, chat := range []string{chat, "beside"} {
					reader := b.join(chat, "reader")
					b.publish(chat, 1)
					require.Equal(t, []int{1}, payloads(takeAll(t, reader)))
					require.NoError(t, reader.Close())
				}
				sleep(time.Minute + time.Second)
				require.ErrorIs(t, stuck.Err(), broadcast.ErrStalled)
				sleep(time.Hour + time.Second)
				require.Zero(t, b.Stats().Subscribers)
				require.NoError(t, b.Close())
				release()
				<-held
			})
		})
	}
}

// Subscribe logs the end of the subscription that it replaces, and the logger replaces the new one
// before Subscribe returns it.
func TestALoggerMayTakeOverWhatIsBeingSubscribed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		j := &journal{level: slog.LevelDebug}
		b := newLogged(t, j)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		b.join(chat, "device")
		var winner *broadcast.Subscriber[int]
		j.on = func(message string) {
			if strings.Contains(message, "ended") {
				j.on = nil
				winner = b.join(chat, "device")
			}
		}
		s := b.join(chat, "device", broadcast.Until(ctx))
		require.ErrorIs(t, s.Err(), broadcast.ErrReplaced)
		require.NoError(t, winner.Err())
		require.Equal(t, result{nil, 0}, inTime(t, async(b.Close)))
	})
}

// Promise 22: it is not the goroutine behind Chan that logs before it has left.
func TestShutdownDoesNotWaitForALoggerThatIsToldOfTheLastMessageOfAChan(t *testing.T) {
	bubble(t, func(t *testing.T) {
		hang := make(chan struct{})
		release := sync.OnceFunc(func() { close(hang) })
		b := newLogged(t, &journal{level: slog.LevelDebug, on: func(message string) {
			if strings.Contains(message, "ended") {
				<-hang
			}
		}})
		t.Cleanup(release)
		c := b.join(chat, "device").Chan()
		b.publish(chat, 1)
		answer := shutDown(t.Context(), b)
		require.Equal(t, 1, (<-c).Message)
		require.Equal(t, result{nil, 0}, inTime(t, answer))
	})
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

// A publisher that a panic takes away does not stay the first in the queue.
func TestAContextThatPanicsInAWaitHoldsUpNobody(t *testing.T) {
	for _, ctx := range []*panicking{{done: 1}, {err: 2}} {
		bubble(t, func(t *testing.T) {
			brief, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
			defer cancel()
			ctx.Context = brief
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
