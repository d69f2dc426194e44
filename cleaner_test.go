package broadcast_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
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

// Promise 30: whoever comes in the moment in which a chat is forgotten finds the old one or a new
// one.
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
		waiting := queue(t.Context(), b, 2)[0]
		sleep(patience)
		require.True(t, broadcast.Deafening(b.Broker, chat, 0, func() {
			require.NoError(t, s.Close())
			sleep(time.Second)
			require.Equal(t, 1, b.Stats().Chats)
			next = b.join(chat, "next")
		}))
		require.NoError(t, (<-waiting).err)
		require.Equal(t, []broadcast.Delivery[int]{{Chat: chat, Seq: 2, Message: 2}}, bare(takeAll(t, next)...))
	})
}

// A loop that takes its time for each message is not stalled, however many it reports in one step.
func TestASlowLoopThatGoesOnIsNeverStalled(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithStallTimeout(time.Minute), broadcast.WithCleanInterval(time.Second))
		all, messages := b.join(chat, "all"), b.join(chat, "messages")
		b.publish(chat, from(1, 100)...)
		var got []int
		loop := async(func() error {
			for range all.All(t.Context()) {
				time.Sleep(time.Minute - time.Second)
			}
			return all.Err()
		})
		for msg := range messages.Messages(t.Context()) {
			if got = append(got, msg); msg == 100 {
				break
			}
			time.Sleep(time.Minute - time.Second)
		}
		require.Equal(t, from(1, 100), got)
		require.NoError(t, messages.Err())
		require.NoError(t, b.Close())
		require.ErrorIs(t, (<-loop).err, broadcast.ErrBrokerClosed)
	})
}

// Chats are due all the time, while the timer is being set and while it fires.
func TestCloseAwaitsACleanerThatNeverRests(t *testing.T) {
	for range 60 {
		stop := watchdog(t)
		b := unaudited[int](t, broadcast.WithCleanInterval(1), broadcast.WithChatIdle(0), broadcast.WithLeaveGrace(1))
		crowd(4, func(i int) {
			for n := range 500 {
				s, err := b.Subscribe(fmt.Sprint(n%10), fmt.Sprint(i))
				if assert.NoError(t, err) {
					assert.NoError(t, s.Close())
				}
			}
		})
		require.NoError(t, b.Close())
		require.Empty(t, broadcast.Leftovers(b.Broker))
		stop()
	}
}

// Nothing can stall any more: publishers call the cleaner no longer.
func TestTheCleanerHasNothingToDoWhenTheLastReaderThatCouldStallHasGone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithStallTimeout(0), broadcast.WithHistory(1, 0)) // so that nothing is let go either
		b.join(chat, "stays")
		for i := range 10 {
			s := b.join(chat, "could stall", broadcast.WithStallTimeout(time.Minute))
			b.publish(chat, i)
			require.Equal(t, 1, broadcast.Due(b.Broker), "chats due")
			require.NoError(t, s.Close())
			sleep(time.Hour)
			b.publish(chat, i)
			require.Zero(t, broadcast.Due(b.Broker), "chats due")
		}
	})
}

func TestTheCleanerLooksAtFewReadersAtATime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const readers = 10*piece + 1
		b := newBroker[int](t, broadcast.WithStallTimeout(time.Hour))
		for i := range readers {
			b.join(chat, fmt.Sprint(i))
		}
		b.publish(chat, 1)
		suspects := func() int { return broadcast.Suspects(b.Broker, chat) }
		stalled := func() int { return int(b.Stats().Stalled) }
		inPieces := func(later time.Duration, done func() int) {
			for more := true; more; {
				before := done()
				more = broadcast.EndStalled(b.Broker, chat, later)
				require.LessOrEqual(t, done()-before, piece)
			}
			require.Equal(t, readers, done())
		}
		inPieces(time.Minute, suspects)
		b.publish(chat, 2)
		require.False(t, broadcast.EndStalled(b.Broker, chat, time.Minute), "none is looked at again before it is due")
		inPieces(2*time.Hour, stalled)
	})
}

// Readers come and go in the middle of a round.
func TestTheCleanerLooksAtAllReadersWhoeverLeavesMeanwhile(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			b := newBroker[int](t, broadcast.WithStallTimeout(time.Hour))
			var open []*broadcast.Subscriber[int]
			join := func() { open = append(open, b.join(chat, fmt.Sprint(len(open), random.Uint64()))) }
			for range 5 * piece {
				join()
			}
			b.publish(chat, 1)
			for broadcast.EndStalled(b.Broker, chat, time.Minute) {
				for range random.IntN(piece) {
					i := random.IntN(len(open))
					require.NoError(t, open[i].Close())
					open[i] = open[len(open)-1]
					open = open[:len(open)-1]
				}
				for range random.IntN(piece / 2) {
					join()
				}
			}
			behind := 0
			for _, s := range open {
				behind += int(s.Stats().Pending)
			}
			require.Equal(t, behind, broadcast.Suspects(b.Broker, chat), "seed %d", seed)
		})
	}
}

// It is not forgotten when it takes something, also if nobody publishes any more.
func TestAReaderThatTakesSomeAndThenNothingIsEnded(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithStallTimeout(time.Minute), broadcast.WithCleanInterval(time.Second), broadcast.WithSampling(strategy))
		s := b.join(chat, "device")
		b.publish(chat, 1, 2, 3)
		sleep(30 * time.Second)
		require.Equal(t, 1, broadcast.Suspects(b.Broker, chat))
		take(t, s, 2)
		require.Zero(t, broadcast.Suspects(b.Broker, chat))
		took := elapsed(func() { <-s.Done() })
		require.GreaterOrEqual(t, took, time.Minute)
		require.LessOrEqual(t, took, time.Minute+time.Second)
	})
}

func TestManyReadersThatStallAreEndedInTime(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithStallTimeout(time.Minute), broadcast.WithCleanInterval(time.Second))
		for i := range 10 * piece {
			b.join(chat, fmt.Sprint(i))
		}
		reads := b.join(chat, "reads")
		b.publish(chat, 1, 2)
		sleep(30 * time.Second)
		take(t, reads, 1)
		sleep(30*time.Second + time.Second)
		require.EqualValues(t, 10*piece, b.Stats().Stalled)
		require.Equal(t, []string{"reads"}, b.Devices(chat))
		sleep(30 * time.Second)
		require.Empty(t, b.Devices(chat))
	})
}

func TestACleanerThatComesForSomethingElseStillLooksAtReaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		// With a history that does not expire the cleaner has nothing to let go of, and comes for
		// nothing else.
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Second), broadcast.WithHistory(1, 0))
		s := b.join(chat, "device", broadcast.WithStallTimeout(time.Minute))
		gone := b.join(chat, "gone")
		b.publish(chat, 1)
		require.NoError(t, gone.Close()) // the cleaner comes at the end of its grace
		sleep(2 * time.Minute)
		require.ErrorIs(t, s.Err(), broadcast.ErrStalled)
	})
}

// The cleaner comes back to a chat that it could not forget because publishers were waiting.
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
