package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/racedetector"
)

// endChat ends a chat for the first time.
func (b *auditedBroker[T]) endChat(chat string) {
	b.t.Helper()
	require.NoError(b.t, b.EndChat(b.t.Context(), chat, errDone))
}

// requireEnd fails the test unless an error is what EndChat with errDone gives.
func requireEnd(t testing.TB, err error) {
	t.Helper()
	require.ErrorIs(t, err, broadcast.ErrEnded)
	require.ErrorIs(t, err, errDone)
	require.NotErrorIs(t, err, broadcast.ErrClosed)
}

// Promise 43.
func TestAfterEndChatEveryPublishReturnsItsEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s, other := b.join(chat, "device"), b.join("other", "device")
		b.publish(chat, 1)
		b.endChat(chat)
		requireEnd(t, b.Publish(t.Context(), chat, 2))
		requireEnd(t, b.TryPublish(chat, 2))
		b.publish("other", 3)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
		require.Equal(t, []int{3}, payloads(takeAll(t, other)))
		requireEnd(t, b.Publish(t.Context(), chat, 2))

		require.NoError(t, b.EndChat(t.Context(), "no reason", nil))
		require.Equal(t, broadcast.ErrEnded, b.TryPublish("no reason", 1))
	})
}

// Promise 43.
func TestPublishersThatWaitGetTheEndOfTheirChatAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, s := fullChat(t, 1)
		waiting := queue(t.Context(), b, 2, 3, 4)
		sleep(time.Second)
		b.endChat(chat)
		for _, w := range waiting {
			got := <-w
			requireEnd(t, got.err)
			require.Equal(t, time.Second, got.took)
		}
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promise 43: also if the name is free before they have left, and even where each of them may
// publish to a new chat.
func TestPublishersThatWaitGetTheEndOfTheirChatThoughItsNameIsFree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPublishTimeout(0), broadcast.WithChatIdle(0), broadcast.WithHistory(1, 0))
		s := b.join(chat, "full", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		b.publish(chat, 1)
		waiting := queue(t.Context(), b, 2, 3)
		woken := broadcast.Deafening(b.Broker, chat, 0, func() {
			b.endChat(chat)
			sleep(0)
			require.Zero(t, b.Stats().Chats)
			require.NoError(t, b.TryPublish(chat, 5), "to the next chat")
		})
		require.True(t, woken)
		for _, w := range waiting {
			requireEnd(t, (<-w).err)
		}
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promise 43.
func TestASecondEndChatReturnsWhatTheFirstHasGiven(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		b.endChat(chat)
		sleep(idle / 2)
		second := b.EndChat(t.Context(), chat, errors.New("another reason"))
		requireEnd(t, second)
		require.Equal(t, second, b.TryPublish(chat, 2))
		sleep(idle/2 - 1)
		require.NoError(t, s.Err())
		sleep(1)
		require.Equal(t, second, s.Err(), "as long after the first as if there had been no second")
	})
}

// Promise 43.
func TestEndChatMakesAChatThatIsUnknown(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithMaxChats(1))
		b.endChat(chat)
		requireEnd(t, b.join(chat, "device").Err())
		require.ErrorIs(t, b.EndChat(t.Context(), "other", errDone), broadcast.ErrLimit)
	})
}

// Promises 43 and 46.
func TestEndChatAndForgetRefuseBadInput(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for name, call := range map[string]func(b *broadcast.Broker[int], ctx context.Context, chat string) error{
			"EndChat": func(b *broadcast.Broker[int], ctx context.Context, chat string) error {
				return b.EndChat(ctx, chat, errDone)
			},
			"Forget": (*broadcast.Broker[int]).Forget,
		} {
			require.ErrorIs(t, call(nil, done, chat), broadcast.ErrInvalid, name)
			require.ErrorIs(t, call(new(broadcast.Broker[int]), done, chat), broadcast.ErrInvalid, name)
			require.ErrorIs(t, call(b.Broker, noContext, chat), broadcast.ErrInvalid, name)
			require.ErrorIs(t, call(b.Broker, done, "\xff"), broadcast.ErrInvalid, name)
			require.Equal(t, context.Canceled, call(b.Broker, done, chat), name)
			closed := newBroker[int](t)
			require.NoError(t, closed.Close())
			require.Equal(t, broadcast.ErrBrokerClosed, call(closed.Broker, done, chat), name)
		}
		require.Zero(t, b.Stats().Chats)
	})
}

// Promise 44: whatever their strategy, and whichever way they read.
func TestAfterEndChatReadersTakeWhatThereIsAndThenEndWithIt(t *testing.T) {
	forWays(t, func(t *testing.T, strategy broadcast.Sampling, read func(context.Context, *broadcast.Subscriber[int]) []int) {
		b := newBroker[int](t, broadcast.WithSampling(strategy))
		s := b.join(chat, "device")
		b.publish(chat, from(1, 100)...)
		b.endChat(chat)
		require.NoError(t, s.Err())
		require.Equal(t, from(1, 100), read(t.Context(), s))
		<-s.Done()
		requireEnd(t, s.Err())
	})
}

// Promise 44: also of readers that wait, whichever way they read.
func TestEndChatEndsReadersThatHaveTakenEverythingAtOnce(t *testing.T) {
	forWays(t, func(t *testing.T, strategy broadcast.Sampling, read func(context.Context, *broadcast.Subscriber[int]) []int) {
		b := newBroker[int](t, broadcast.WithSampling(strategy))
		idle, waits := b.join(chat, "idle"), b.join(chat, "waits", broadcast.WithPresence())
		loop := async(func() error {
			require.Equal(t, []int{1}, read(t.Context(), waits))
			return waits.Err()
		})
		b.publish(chat, 1)
		takeAll(t, idle)
		sleep(time.Second)
		b.endChat(chat)
		for _, s := range []*broadcast.Subscriber[int]{idle, waits} {
			select {
			case <-s.Done():
				requireEnd(t, s.Err())
			default:
				require.Fail(t, "has not ended", s.Device())
			}
		}
		got := <-loop
		requireEnd(t, got.err)
		require.Equal(t, time.Second, got.took)
	})
}

// Promise 44.
func TestReadersThatAreBehindTakeAfterEndChatWhatTheirStrategyKeeps(t *testing.T) {
	for strategy, want := range map[broadcast.Sampling][]int{
		broadcast.DropOldest: {4, 5, 6}, broadcast.DropNewest: {1, 2, 3}, broadcast.Disconnect: {1, 2, 3},
	} {
		t.Run(strategy.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithSampling(strategy), broadcast.WithBuffer(3))
				s := b.join(chat, "device")
				b.publish(chat, from(1, 6)...)
				b.endChat(chat)
				require.Equal(t, want, payloads(takeAll(t, s)))
				if strategy == broadcast.Disconnect {
					require.Equal(t, broadcast.ErrSlow, s.Err())
					return
				}
				requireEnd(t, s.Err())
				require.EqualValues(t, 3, requireBooks(t, s).Missed)
			})
		})
	}
}

// Promises 32 and 44.
func TestNobodyIsPresentInAChatThatHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithLeaveGrace(time.Minute))
		s := b.join(chat, "follower", broadcast.WithPresence())
		leaves, kicked := b.join(chat, "leaves"), b.join(chat, "kicked")
		require.NoError(t, b.join(chat, "graced").Close())
		b.publish(chat, 1, 2)
		first, _ := s.TryNext()
		require.Equal(t, "+leaves@0", telling(first))
		b.endChat(chat)
		require.Equal(t, []string{}, b.Devices(chat))
		require.Equal(t, []string{chat}, b.Chats(), "there are readers still")

		late := b.join(chat, "late", broadcast.WithPresence())
		requireEnd(t, late.Err())
		require.NoError(t, leaves.Close())
		require.True(t, b.Kick(chat, "kicked", errKick))
		require.False(t, b.Kick(chat, "graced", errKick), "its grace was dropped")
		require.Equal(t, errKick, kicked.Err())
		sleep(2 * time.Minute)
		require.Equal(t, "1 2", told(s), "neither what has waited nor what came later")
		requireEnd(t, s.Err())
	})
}

// Promise 44.
func TestAnEventThatChanOffersIsWithdrawnWhenTheChatEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "follower", broadcast.WithPresence())
		deliveries := s.Chan()
		b.join(chat, "ann")
		synctest.Wait() // it is offered
		b.publish(chat, 1)
		b.endChat(chat)
		require.Equal(t, "1", telling(<-deliveries))
		_, open := <-deliveries
		require.False(t, open)
	})
}

// Promise 44.
func TestADeviceTakesOverItsDrainingSubscription(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(10, 0))
		s := b.join(chat, "device")
		b.publish(chat, 1, 2, 3)
		take(t, s, 1)
		position := s.Position()
		b.endChat(chat)
		again := b.join(chat, "device", broadcast.Resume(position))
		require.Equal(t, broadcast.ErrReplaced, s.Err())
		require.Empty(t, takeAll(t, s))
		require.True(t, again.Recovered())
		require.Equal(t, []int{2, 3}, payloads(takeAll(t, again)))
		requireEnd(t, again.Err())
		require.EqualValues(t, 1, b.Stats().Replaced)
	})
}

// Promise 44: what ends readers otherwise ends drainers.
func TestReadersThatDrainMayEndOtherwise(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithChatIdle(time.Hour))
		ctx, cancel := context.WithCancelCause(t.Context())
		until := b.join(chat, "until", broadcast.Until(ctx))
		stalls := b.join(chat, "stalls", broadcast.WithStallTimeout(time.Minute))
		closes := b.join(chat, "closes")
		b.publish(chat, 1)
		b.endChat(chat)
		cancel(errUntil)
		require.NoError(t, closes.Close())
		sleep(2 * time.Minute)
		require.Equal(t, errUntil, until.Err())
		require.Equal(t, broadcast.ErrStalled, stalls.Err())
		require.Equal(t, broadcast.ErrClosed, closes.Err())
		require.Empty(t, b.Chats())
	})
}

// Promise 45.
func TestWhoComesAfterTheEndGetsWhatIsKeptAndThenTheEnd(t *testing.T) {
	forWays(t, func(t *testing.T, strategy broadcast.Sampling, read func(context.Context, *broadcast.Subscriber[int]) []int) {
		b := newBroker[int](t, broadcast.WithHistory(50, 0), broadcast.WithBuffer(10), broadcast.WithSampling(strategy))
		s := b.join(chat, "first")
		b.publish(chat, from(1, 10)...)
		takeAll(t, s)
		position := s.Position()
		for i := 11; i <= 100; i++ {
			b.publish(chat, i)
			takeAll(t, s)
		}
		b.endChat(chat)
		for i, late := range []struct {
			opts      []broadcast.SubscribeOption
			first     int
			recovered bool
		}{
			{nil, 101, false},
			{[]broadcast.SubscribeOption{broadcast.Replay(20)}, 81, true},
			{[]broadcast.SubscribeOption{broadcast.Replay(60)}, 51, false},
			{[]broadcast.SubscribeOption{broadcast.Resume(position)}, 51, false},
			{[]broadcast.SubscribeOption{broadcast.Resume(s.Position())}, 101, true},
		} {
			s := b.join(chat, fmt.Sprint(i), late.opts...)
			require.Equal(t, late.first == 101, s.Err() != nil)
			require.Equal(t, late.recovered, s.Recovered())
			require.Zero(t, elapsed(func() { require.Equal(t, from(late.first, 100), read(t.Context(), s)) }))
			<-s.Done()
			requireEnd(t, s.Err())
			_, err := s.Next(t.Context())
			requireEnd(t, err)
		}
	})
}

// Promise 45.
func TestWhoComesAfterTheEndMayEndWithItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(5, 0))
		b.publish(chat, 1)
		b.endChat(chat)
		ctx, cancel := context.WithCancelCause(t.Context())
		requireEnd(t, b.join(chat, "nothing", broadcast.Until(ctx)).Err())
		s := b.join(chat, "replay", broadcast.Until(ctx), broadcast.Replay(1))
		cancel(errUntil)
		synctest.Wait()
		require.Equal(t, errUntil, s.Err())
	})
}

// Promise 46: neither its history nor those who look at it keep it.
func TestTheNameOfAChatThatHasEndedIsFreeAfterItsIdleTime(t *testing.T) {
	for name, poll := range map[string]func(t *testing.T, b *auditedBroker[int]){
		"nobody": func(*testing.T, *auditedBroker[int]) {},
		"readers": func(t *testing.T, b *auditedBroker[int]) {
			require.NoError(t, b.join(chat, "poller", broadcast.Replay(5)).Close())
		},
		"one who does not read": func(_ *testing.T, b *auditedBroker[int]) { b.join(chat, "poller", broadcast.Replay(5)) },
		"Head": func(t *testing.T, b *auditedBroker[int]) {
			_, err := b.Head(t.Context(), chat)
			require.NoError(t, err)
		},
		"Publish": func(t *testing.T, b *auditedBroker[int]) { requireEnd(t, b.Publish(t.Context(), chat, 1)) },
		"EndChat": func(t *testing.T, b *auditedBroker[int]) { requireEnd(t, b.EndChat(t.Context(), chat, nil)) },
		"a device within its grace": func(t *testing.T, b *auditedBroker[int]) {
			require.NoError(t, b.join("other", "device").Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithHistory(5, 0), broadcast.WithLeaveGrace(time.Hour))
				require.NoError(t, b.join(chat, "graced").Close())
				b.publish(chat, 1, 2, 3)
				before, err := b.Head(t.Context(), chat)
				require.NoError(t, err)
				b.endChat(chat)
				for range 10 {
					poll(t, b)
					sleep(idle / 10)
					if b.Stats().Chats == 0 {
						break
					}
				}
				cleaned := b.Stats().ChatsCleaned
				require.EqualValues(t, 1, cleaned)
				s := b.join(chat, "device", broadcast.Resume(before))
				require.False(t, s.Recovered(), "another log")
				b.publish(chat, 4)
				require.Equal(t, []int{4}, payloads(takeAll(t, s)))
				require.NoError(t, s.Err())
			})
		})
	}
}

// Promise 46.
func TestAChatThatHasEndedIsRememberedForExactlyItsIdleTime(t *testing.T) {
	for _, idle := range []time.Duration{0, 1, time.Second, 5 * time.Minute, time.Hour} {
		t.Run(idle.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithChatIdle(idle))
				b.publish("other", 1)
				s := b.join(chat, "device", broadcast.WithStallTimeout(7*time.Minute))
				b.publish(chat, 1)
				sleep(time.Minute)
				b.endChat(chat)
				if idle > 0 {
					sleep(idle - 1)
					require.Equal(t, 1, b.Stats().Chats)
					requireEnd(t, b.TryPublish(chat, 2))
					time.Sleep(time.Nanosecond)
				}
				synctest.Wait()
				require.Zero(t, b.Stats().Chats)
				require.Error(t, s.Err())
				require.NoError(t, b.TryPublish(chat, 2))
			})
		})
	}
}

// Promise 46.
func TestWhoHasNotDrainedWhenTheNameIsFreeKeepsWhatFitsItsBuffer(t *testing.T) {
	forStrategies(t, everyStrategy, func(t *testing.T, strategy broadcast.Sampling) {
		for _, all := range []bool{false, true} {
			b := newBroker[int](t, broadcast.WithHistory(20, 0), broadcast.WithSampling(strategy), broadcast.WithStallTimeout(0))
			b.publish(chat, from(1, 20)...)
			buffered := b.join(chat, "buffered", broadcast.WithBuffer(30), broadcast.Replay(20))
			small := b.join(chat, "small", broadcast.WithBuffer(3), broadcast.Replay(20))
			byChan := b.join(chat, "chan", broadcast.WithBuffer(3), broadcast.Replay(20))
			deliveries := byChan.Chan()
			if all {
				b.endChat(chat)
			}
			take(t, small, 2)
			require.Equal(t, 1, (<-deliveries).Message)
			synctest.Wait() // the next one is offered
			if !all {
				b.endChat(chat)
			}
			sleep(idle - 1)
			require.EqualValues(t, 18, requireBooks(t, small).Pending)
			sleep(1)
			for s, want := range map[*broadcast.Subscriber[int]][]int{
				buffered: from(1, 20), small: from(18, 20), byChan: from(17, 20),
			} {
				requireEnd(t, s.Err())
				got := takeAll(t, s)
				require.Equal(t, want, payloads(got))
				books := requireBooks(t, s)
				require.EqualValues(t, 20-len(want), books.Missed+books.Delivered-uint64(len(want)))
				require.Equal(t, books.Missed, got[0].Missed)
				_, err := s.Next(t.Context())
				requireEnd(t, err)
			}
			_, open := <-deliveries
			require.False(t, open)
			require.NoError(t, b.Close())
		}
	})
}

// Promise 46: also of a replay from which the strategy has picked.
func TestAPickedReplayIsCutToTheBuffer(t *testing.T) {
	samplers := map[string]broadcast.SubscribeOption{
		"DropNewest": broadcast.WithSampling(broadcast.DropNewest),
		"DropRandom": broadcast.WithSampling(broadcast.DropRandom),
		"WithSampler": broadcast.WithSampler(func(backlog broadcast.Backlog[int], _ int) int {
			return backlog.Len() / 2
		}),
	}
	for name, strategy := range samplers {
		for _, read := range []bool{false, true} {
			t.Run(fmt.Sprint(name, ", has read: ", read), func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					const replay, buffer = 1_000, 7
					b := newBroker[int](t, broadcast.WithHistory(replay, 0), broadcast.WithPatience(0))
					b.publish(chat, from(1, replay)...)
					s := b.join(chat, "device", strategy, broadcast.WithBuffer(buffer), broadcast.Replay(replay))
					b.publish(chat, from(replay+1, replay+2*buffer)...)
					if read {
						take(t, s, 1)
					}
					b.endChat(chat)
					sleep(idle)
					requireEnd(t, s.Err())
					require.EqualValues(t, buffer, requireBooks(t, s).Pending)
					got := payloads(takeAll(t, s))
					require.Len(t, got, buffer)
					if name == "DropNewest" {
						last := replay + buffer
						require.Equal(t, from(last-buffer+1, last), got)
					}
					require.Greater(t, got[0], replay/2, "the oldest were missed")
				})
			})
		}
	}
}

// Promise 46.
func TestWhatChanHadSentWhenItsReplayWasCutIsDelivered(t *testing.T) {
	for name, after := range map[string]func(s *broadcast.Subscriber[int]){
		"and the rest is taken":     func(*broadcast.Subscriber[int]) {},
		"and the rest is discarded": func(s *broadcast.Subscriber[int]) { _ = s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			forStrategies(t, everyStrategy, func(t *testing.T, strategy broadcast.Sampling) {
				b := newBroker[int](t, broadcast.WithHistory(20, 0), broadcast.WithSampling(strategy), broadcast.WithStallTimeout(0))
				b.publish(chat, from(1, 20)...)
				s := b.join(chat, "device", broadcast.WithBuffer(3), broadcast.Replay(20))
				look, _ := broadcast.LooksLikeChan(s)
				d, ok := look()
				require.True(t, ok)
				b.endChat(chat)
				sleep(idle)
				requireEnd(t, s.Err())
				before := requireBooks(t, s)
				after(s)
				require.True(t, broadcast.SettlesLikeChan(s)(d))
				books := requireBooks(t, s)
				require.EqualValues(t, 1, books.Delivered)
				require.Equal(t, before.Missed-1, books.Missed)
				require.Equal(t, d.Position(), s.Position())
				if rest := takeAll(t, s); len(rest) > 0 {
					require.Equal(t, books.Missed, rest[0].Missed)
				}
			})
		})
	}
}

// Promise 46: who subscribes when the name is due to be free, and is not yet, does not keep it.
func TestWhoComesWhenTheNameIsDueEndsAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(20, 0), broadcast.WithChatIdle(0))
		b.publish(chat, from(1, 20)...)
		b.endChat(chat)
		require.Equal(t, 1, b.Stats().Chats, "the cleaner has yet to come")
		s := b.join(chat, "device", broadcast.WithBuffer(3), broadcast.Replay(20))
		requireEnd(t, s.Err())
		require.Equal(t, from(18, 20), payloads(takeAll(t, s)))
		synctest.Wait()
		require.Zero(t, b.Stats().Chats)
	})
}

// Promise 46.
func TestForgetFreesTheNameAndTheHistory(t *testing.T) {
	for name, end := range map[string]func(b *auditedBroker[int]){
		"of a chat":                func(*auditedBroker[int]) {},
		"of a chat that has ended": func(b *auditedBroker[int]) { b.endChat(chat) },
		"of a chat that a device may come back to": func(b *auditedBroker[int]) {
			require.NoError(b.t, b.join(chat, "device").Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithHistory(5, 0), broadcast.WithLeaveGrace(time.Hour))
				b.publish(chat, 1, 2, 3)
				end(b)
				forgotten := broadcast.LookUp(b.Broker, chat)
				require.NoError(t, b.Forget(t.Context(), chat))
				require.Zero(t, forgotten.Absent())
				require.Zero(t, b.Stats().Chats)
				require.EqualValues(t, 3, b.Stats().Accepted)
				require.Zero(t, b.Stats().ChatsCleaned)
				require.Empty(t, b.Devices(chat))
				require.NoError(t, b.Forget(t.Context(), chat), "there is none")
				require.Zero(t, b.Stats().Chats)
				s := b.join(chat, "device", broadcast.Replay(5))
				require.Empty(t, takeAll(t, s))
				sleep(2 * time.Hour)
				require.NoError(t, s.Err())
				require.Equal(t, []string{"device"}, b.Devices(chat))
			})
		})
	}
}

// Promise 46.
func TestNothingIsHeldOfAChatThatWasForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(5, time.Hour), broadcast.WithLeaveGrace(time.Hour))
		for _, name := range []string{"ended", "history", "grace"} {
			b.publish(name, 1)
		}
		b.endChat("ended")
		require.NoError(t, b.join("grace", "device").Close())
		require.Equal(t, 3, broadcast.Due(b.Broker))
		for _, name := range []string{"ended", "history", "grace"} {
			require.NoError(t, b.Forget(t.Context(), name))
		}
		sleep(interval)
		require.Zero(t, broadcast.Due(b.Broker))
	})
}

// Promise 46.
func TestForgetOfAChatInUseChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(5, 0), broadcast.WithPublishTimeout(0))
		inUse := func() {
			t.Helper()
			require.ErrorIs(t, b.Forget(t.Context(), chat), broadcast.ErrInUse)
			require.Equal(t, 1, b.Stats().Chats)
		}
		s := b.join(chat, "device", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		inUse() // by a reader
		b.publish(chat, 1)
		waiting := queue(t.Context(), b, 2)
		woken := broadcast.Deafening(b.Broker, chat, 0, func() {
			require.NoError(t, s.Close())
			inUse() // by a publisher that waits
		})
		require.True(t, woken)
		require.NoError(t, (<-waiting[0]).err)
		late := b.join(chat, "late", broadcast.Replay(5))
		b.endChat(chat)
		inUse() // by a reader that drains
		require.Equal(t, []int{1, 2}, payloads(takeAll(t, late)))
		requireEnd(t, late.Err())
		require.NoError(t, b.Forget(t.Context(), chat))
	})
}

// Promise 47.
func TestShutdownWaitsForReadersThatDrainAndTheirEndStays(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		ended, other := b.join(chat, "device"), b.join("other", "device")
		b.publish(chat, 1)
		b.publish("other", 1)
		b.endChat(chat)
		answer := shutDown(t.Context(), b)
		takeAll(t, other)
		require.Equal(t, broadcast.ErrBrokerClosed, other.Err())
		sleep(time.Second)
		require.Empty(t, answer)
		require.NoError(t, ended.Err())
		takeAll(t, ended)
		requireEnd(t, ended.Err())
		require.Equal(t, result{nil, time.Second}, <-answer)
	})
}

// Promise 47.
func TestShutdownIsDoneWhenTheNameOfTheLastChatIsFree(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		b.endChat(chat)
		require.Equal(t, result{nil, idle}, <-shutDown(t.Context(), b))
		requireEnd(t, s.Err())
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// Promise 47.
func TestCloseLeavesReadersThatDrainTheirEnd(t *testing.T) {
	for name, end := range map[string]func(b *auditedBroker[int]){
		"Close":    func(b *auditedBroker[int]) { _ = b.Close() },
		"Shutdown": func(b *auditedBroker[int]) { _ = shutDownWithin(b) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s := b.join(chat, "device")
				b.publish(chat, 1)
				b.endChat(chat)
				end(b)
				requireEnd(t, s.Err())
				require.Equal(t, []int{1}, payloads(takeAll(t, s)))
				require.Equal(t, broadcast.ErrBrokerClosed, b.TryPublish(chat, 2))
				require.Equal(t, broadcast.ErrBrokerClosed, b.EndChat(t.Context(), chat, nil))
			})
		})
	}
}

// Promise 48.
func TestTheEndOfACrowdComesInPieces(t *testing.T) {
	readers := 100_000
	if racedetector.Enabled {
		readers /= 10
	}
	each := func(b *auditedBroker[int], act func(s *broadcast.Subscriber[int])) {
		for _, s := range b.subs {
			act(s)
		}
	}
	for name, end := range map[string]func(b *auditedBroker[int]){
		"EndChat, and all have taken everything": func(b *auditedBroker[int]) {
			each(b, func(s *broadcast.Subscriber[int]) { s.TryNext() })
			b.endChat(chat)
		},
		"EndChat, and all may come back": func(b *auditedBroker[int]) {
			each(b, func(s *broadcast.Subscriber[int]) { _ = s.Close() })
			b.endChat(chat)
		},
		"the name is free, and nobody has taken anything": func(b *auditedBroker[int]) {
			b.endChat(chat)
			sleep(idle)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithLeaveGrace(time.Hour))
				for i := range readers {
					b.join(chat, fmt.Sprint(i))
				}
				b.publish(chat, 1)
				most, last := 0, readers
				broadcast.Yielding(b.Broker, chat, func(open, absent int) {
					most = max(most, last-open-absent)
					last = open + absent
				}, func() { end(b) })
				require.Zero(t, b.Stats().Subscribers)
				require.LessOrEqual(t, max(most, last), piece)
			})
		})
	}
}
