package broadcast_test

import (
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Cleaners act between the time when something is due and one interval later.
const (
	idle     = 5 * time.Minute // the defaults
	interval = time.Minute
)

func TestAChatWithoutReadersIsForgottenBetweenIdleAndOneIntervalLater(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1, 2)
		sleep(time.Hour)
		require.NoError(t, s.Close())
		require.Empty(t, b.Chats())

		time.Sleep(idle - 1)
		require.Equal(t, 1, b.Stats().Chats)
		sleep(1 + interval)
		require.Zero(t, b.Stats().Chats)
		require.EqualValues(t, 1, b.Stats().ChatsCleaned)
		require.Zero(t, b.join(chat, "device").Stats().Joined, "Seq begins anew")
	})
}

func TestAChatIsNotForgottenAsLongAsReadersComeBack(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		for i := range 10 {
			s := b.join(chat, "device")
			require.EqualValues(t, i, s.Stats().Joined)
			b.publish(chat, i)
			sleep(time.Minute)
			require.NoError(t, s.Close())
			time.Sleep(idle - 1)
		}
		require.Zero(t, b.Stats().ChatsCleaned)
	})
}

func TestTheIdleTimeRunsFromWhenTheLastReaderLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithChatIdle(idle), broadcast.WithCleanInterval(2*idle))
		for _, stay := range []time.Duration{0, idle / 3, idle / 2, idle - 1} {
			require.NoError(t, b.join(chat, "first").Close())
			time.Sleep(stay)
			require.NoError(t, b.join(chat, "second").Close())
			time.Sleep(idle - 1) // in which a cleaner may come for the first
			require.Equal(t, 1, b.Stats().Chats)
			sleep(2*idle + 1)
			require.Zero(t, b.Stats().Chats)
		}
	})
}

// Promise 30.
func TestAChatWithASubscriberIsNeverForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithChatIdle(0), broadcast.WithCleanInterval(time.Second))
		s := b.join(chat, "device")
		b.publish(chat, 1)
		takeAll(t, s)
		sleep(1_000 * time.Hour)
		b.publish(chat, 2)
		require.Equal(t, []broadcast.Delivery[int]{{Chat: chat, Seq: 2, Message: 2}}, bare(takeAll(t, s)...))
	})
}

// Promise 30: the last reader leaves while a publisher waits for it.
func TestAChatWithAPublisherInFlightIsNotForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithChatIdle(0), broadcast.WithCleanInterval(1), broadcast.WithBuffer(1))
		for range 100 {
			s := b.join(chat, "device", broadcast.WithSampling(broadcast.Block))
			joined := s.Stats().Joined
			b.publish(chat, 1)
			waiting := queue(t.Context(), b, 2, 3)
			require.NoError(t, s.Close())
			next := b.join(chat, "device", broadcast.WithBuffer(10)) // while the two are on their way
			for _, w := range waiting {
				require.NoError(t, (<-w).err)
			}
			head := next.Stats().Head
			require.True(t, head <= 2 || head == joined+3, "a log that is neither new nor the old one: %d after %d", head, joined)
			require.NoError(t, next.Close())
			sleep(1)
		}
	})
}

// Promise 30: whoever comes in the moment in which a chat is forgotten finds the old one or a new one.
func TestASubscribeThatRacesWithACleanerIsWhollyBeforeOrAfterIt(t *testing.T) {
	for moment := -interval / 12; moment <= interval; moment += interval / 12 { // one of them is when the cleaner comes
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t)
			var all sync.WaitGroup
			for i := range 500 {
				name := fmt.Sprintf("chat %d", i)
				s := b.join(name, "device")
				b.publish(name, 1, 2, 3)
				require.NoError(t, s.Close())
				all.Go(func() {
					time.Sleep(idle + moment)
					s, err := b.Subscribe(name, "device")
					if !assert.NoError(t, err) {
						return
					}
					joined := s.Stats().Joined
					if joined != 0 {
						assert.EqualValues(t, 3, joined)
					} else {
						assert.GreaterOrEqual(t, moment, time.Duration(0), "forgotten too early")
					}
					assert.NoError(t, b.Publish(t.Context(), name, 4))
					d, ok := s.TryNext()
					assert.True(t, ok)
					assert.Equal(t, broadcast.Delivery[int]{Chat: name, Seq: joined + 1, Message: 4}, bare(d)[0])
				})
			}
			all.Wait()
			sleep(time.Hour)
			require.Equal(t, 500, b.Stats().Chats)
			require.Len(t, b.Chats(), 500)
		})
	}
}

func TestAReaderThatTakesNothingIsEndedAfterItsStallTimeout(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			b := newBroker[int](t, broadcast.WithBuffer(n), broadcast.WithCleanInterval(time.Second))
			reader := b.join(chat, "device", broadcast.WithSampling(s), broadcast.WithStallTimeout(time.Minute))
			sleep(time.Hour) // being quiet is not being stalled
			fill(t, b, n)
			took := elapsed(func() { <-reader.Done() })
			require.GreaterOrEqual(t, took, time.Minute)
			require.LessOrEqual(t, took, time.Minute+time.Second)
			require.ErrorIs(t, reader.Err(), broadcast.ErrStalled)
			require.Equal(t, from(1, n), payloads(takeAll(t, reader)))
			require.Empty(t, b.Devices(chat))
		}
	})
}

func TestTheStallTimeoutRunsFromTheLastTake(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(3), broadcast.WithCleanInterval(time.Second))
		s := b.join(chat, "slow", broadcast.WithSampling(broadcast.Block), broadcast.WithStallTimeout(time.Minute))
		fill(t, b, 3)
		for i := range 10 { // being full is not being stalled
			time.Sleep(time.Minute - 1)
			require.NoError(t, s.Err())
			take(t, s, 1)
			b.publish(chat, i)
		}
		took := elapsed(func() { <-s.Done() })
		require.GreaterOrEqual(t, took, time.Minute)
		require.LessOrEqual(t, took, time.Minute+time.Second)
	})
}

// More messages do not make a stalled reader less stalled.
func TestTheStallTimeoutRunsOnWhileMessagesAreDropped(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(3), broadcast.WithPatience(0), broadcast.WithCleanInterval(time.Second))
		s := b.join(chat, "stuck", broadcast.WithStallTimeout(time.Minute))
		took := elapsed(func() {
			for range 120 {
				b.publish(chat, 1)
				sleep(time.Second)
				if s.Err() != nil {
					break
				}
			}
		})
		require.GreaterOrEqual(t, took, time.Minute)
		require.LessOrEqual(t, took, time.Minute+2*time.Second)
		require.Len(t, takeAll(t, s), 3)
	})
}

func TestByDefaultOnlyBlockHasAStallTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		start := time.Now()
		block := b.join(chat, "block", broadcast.WithSampling(broadcast.Block))
		var others []*broadcast.Subscriber[int]
		others = append(others, b.join(chat, "never", broadcast.WithSampling(broadcast.Block), broadcast.WithStallTimeout(0)))
		for _, s := range lossy {
			others = append(others, b.join(chat, s.String(), broadcast.WithSampling(s)))
		}
		b.publish(chat, 1)
		<-block.Done()
		require.ErrorIs(t, block.Err(), broadcast.ErrStalled)
		require.GreaterOrEqual(t, time.Since(start), 2*time.Minute)
		require.LessOrEqual(t, time.Since(start), 2*time.Minute+interval)
		sleep(1_000 * time.Hour)
		for _, s := range others {
			require.NoError(t, s.Err(), s.Device())
		}
	})
}

// A reader that waits in a loop and takes what comes is not stalled, whatever the cleaner's timing.
func TestAReaderThatTakesEverythingIsNeverStalled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithStallTimeout(time.Second), broadcast.WithCleanInterval(time.Millisecond))
		s := b.join(chat, "device")
		wait := read(b, s)
		for i := range 1_000 {
			b.publish(chat, i)
			time.Sleep(time.Duration(i) * 3 * time.Millisecond) // in the end it is quiet for longer than the timeout
		}
		synctest.Wait()
		require.NoError(t, s.Err())
		require.NoError(t, b.Close())
		require.Len(t, wait(), 1_000)
	})
}

// A cleaner that comes for others does not take it for stalled.
func TestAReaderThatHasTakenEverythingIsNotStalledHoweverLongItIsQuiet(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithCleanInterval(time.Second))
		quiet := b.join(chat, "quiet", broadcast.WithStallTimeout(time.Minute))
		stuck := b.join(chat, "stuck", broadcast.WithStallTimeout(time.Hour))
		b.publish(chat, 1)
		sleep(time.Second)
		take(t, quiet, 1)
		<-stuck.Done()
		require.NoError(t, quiet.Err())
	})
}

// Promise 30: while the publisher was on its way.
func TestAMessageIsNotSentToAChatThatWasForgottenMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		old := b.join(chat, "device")
		var s *broadcast.Subscriber[int]
		require.NoError(t, b.Publish(hooked{t.Context(), nil, func() {
			if s == nil {
				require.NoError(t, old.Close())
				sleep(idle + interval)
				require.EqualValues(t, 1, b.Stats().ChatsCleaned)
				s = b.join(chat, "device")
			}
		}}, chat, 1))
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promise 30: while it looked for the chat.
func TestNobodyJoinsAChatThatWasForgottenMeanwhile(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		require.NoError(t, b.join(chat, "device").Close())
		late := broadcast.LookUp(b.Broker, chat)
		sleep(idle + interval)
		require.EqualValues(t, 1, b.Stats().ChatsCleaned)
		require.False(t, late.Admits("device"))
	})
}

// Promise 30: not even in the moment between its wake-up and its look at the chat.
func TestAChatIsNotForgottenWhileAPublisherLeavesItsWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithChatIdle(0), broadcast.WithCleanInterval(time.Millisecond))
		s := b.join(chat, "full", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		fill(t, b, 1)
		var next *broadcast.Subscriber[int]
		waiting := queue(hooked{t.Context(), nil, func() {
			if s.Err() != nil && next == nil {
				sleep(time.Second)
				require.Equal(t, 1, b.Stats().Chats)
				next = b.join(chat, "next")
			}
		}}, b, 2)[0]
		time.Sleep(patience)
		require.NoError(t, s.Close())
		require.NoError(t, (<-waiting).err)
		require.Equal(t, []broadcast.Delivery[int]{{Chat: chat, Seq: 2, Message: 2}}, bare(takeAll(t, next)...))
	})
}
