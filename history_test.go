package broadcast_test

import (
	"context"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Promises 4 and 16.
func TestReplayAndLiveMessagesJoinWithoutAGapOrADuplicate(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithHistory(10, 0), broadcast.WithSampling(strategy))
		b.publish(chat, from(1, 25)...)
		s := b.join(chat, "late", broadcast.Replay(7))
		require.True(t, s.Recovered())
		require.EqualValues(t, 18, requireBooks(t, s).Joined)
		b.publish(chat, 26, 27)
		require.Equal(t, from(19, 27), payloads(takeAll(t, s)))
	})
}

// Promise 16, with a publisher that does not stop for the subscribers.
func TestEverySeamBetweenReplayAndLiveIsTight(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(50, 0), broadcast.WithBuffer(5_000))
		publisher := async(func() error {
			for i := range 5_000 {
				if err := b.Publish(t.Context(), chat, i+1); err != nil {
					return err
				}
			}
			return nil
		})
		var readers []func() []broadcast.Delivery[int]
		for i := range 200 {
			readers = append(readers, read(b, b.join(chat, string(rune('a'+i)), broadcast.Replay(1+i%50))))
		}
		require.NoError(t, (<-publisher).err)
		require.NoError(t, b.Shutdown(t.Context()))
		for _, wait := range readers {
			taken := payloads(wait())
			require.Equal(t, from(taken[0], 5_000), taken)
		}
	})
}

func TestReplayBeginsWithAsManyAsAreKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(3, 0))
		s := b.join(chat, "first", broadcast.Replay(5))
		require.True(t, s.Recovered(), "there was nothing")
		b.publish(chat, 1, 2)
		s = b.join(chat, "second", broadcast.Replay(5))
		require.True(t, s.Recovered(), "there were only two")
		require.Equal(t, []int{1, 2}, payloads(takeAll(t, s)))
		b.publish(chat, 3, 4)
		s = b.join(chat, "third", broadcast.Replay(5))
		require.False(t, s.Recovered(), "one of four was gone")
		require.Equal(t, bare(takeAll(t, s)...)[0], broadcast.Delivery[int]{Chat: chat, Seq: 2, Message: 2})
		s = b.join(chat, "fourth", broadcast.Replay(0))
		require.True(t, s.Recovered())
		require.Empty(t, takeAll(t, s))
		require.False(t, b.join(chat, "fifth").Recovered(), "asked for nothing")
	})
}

// "Replayed messages do not count against the buffer."
func TestAReplayDoesNotCountAgainstTheBuffer(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithHistory(100, 0), broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		b.publish(chat, from(1, 50)...)
		s := b.join(chat, "late", broadcast.Replay(50))
		require.Zero(t, b.publish(chat, 51, 52))
		require.EqualValues(t, 52, requireBooks(t, s).Pending)
		brief, cancel := context.WithTimeout(t.Context(), 1)
		defer cancel()
		require.Error(t, b.Publish(brief, chat, 53))
		require.Equal(t, from(1, 50), take(t, s, 50))
		brief, cancel = context.WithTimeout(t.Context(), 1)
		defer cancel()
		require.Error(t, b.Publish(brief, chat, 53), "the replay has gone, the buffer is as full as before")
		require.Equal(t, []int{51, 52}, payloads(takeAll(t, s)))
		b.publish(chat, 53)
	})
}

func TestAStrategyActsOnAReaderInItsReplayWithExactBooks(t *testing.T) {
	const replay, buffer, more = 10, 3, 20
	for strategy, want := range map[broadcast.Sampling][]int{
		broadcast.DropOldest: from(28, 30),
		broadcast.DropNewest: from(1, 13),
		broadcast.Disconnect: from(1, 13),
	} {
		t.Run(strategy.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, broadcast.WithHistory(100, 0), broadcast.WithPatience(0))
				b.publish(chat, from(1, replay)...)
				s := b.join(chat, "late", broadcast.Replay(replay), broadcast.WithSampling(strategy), broadcast.WithBuffer(buffer))
				b.publish(chat, from(replay+1, replay+more)...)
				require.Equal(t, want, payloads(takeAll(t, s)))
			})
		})
	}
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(100, 0), broadcast.WithPatience(0))
		b.publish(chat, from(1, replay)...)
		s := b.join(chat, "late", broadcast.Replay(replay), broadcast.WithSampling(broadcast.DropRandom), broadcast.WithBuffer(buffer))
		for i := range more {
			b.publish(chat, replay+1+i)
			requireBooks(t, s)
		}
		for left := replay + buffer; left > 0; left-- {
			require.EqualValues(t, left, requireBooks(t, s).Pending)
			take(t, s, 1)
		}
		b.publish(chat, 31)
		require.Equal(t, 31, payloads(takeAll(t, s))[0])
	})
}

// Promise 8.
func TestTheRestOfAReplayGoesAtOnceWhenADropOldestReaderIsOverrun(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(100, 0), broadcast.WithPatience(0))
		b.publish(chat, from(1, 100)...)
		s := b.join(chat, "late", broadcast.Replay(100), broadcast.WithBuffer(2))
		b.publish(chat, 101, 102)
		require.EqualValues(t, 102, requireBooks(t, s).Pending)
		b.publish(chat, 103)
		require.EqualValues(t, 101, requireBooks(t, s).Missed)
		require.Equal(t, []int{102, 103}, payloads(takeAll(t, s)))
	})
}

// Promise 16.
func TestAKeptPositionResumesExactly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(10, 0))
		s := b.join(chat, "device")
		require.Zero(t, payloadsAfter(t, b, s.Position()), "where it joined")
		b.publish(chat, from(1, 8)...)
		joined := s.Position()
		for i := 1; i <= 5; i++ {
			d, _ := s.TryNext()
			require.Equal(t, s.Position(), d.Position())
			require.Equal(t, from(i+1, 8), payloadsAfter(t, b, d.Position()))
		}
		require.Equal(t, from(1, 8), payloadsAfter(t, b, joined))
	})
}

// payloadsAfter returns what a subscription gets that resumes at a position of which all is kept.
func payloadsAfter(t *testing.T, b *auditedBroker[int], p broadcast.Position) []int {
	t.Helper()
	s := b.join(chat, "resumes", broadcast.Resume(p))
	defer s.Close()
	require.True(t, s.Recovered())
	return payloads(takeAll(t, s))
}

// Promise 16.
func TestWhatIsGoneAtAResumeShowsAsMissedOnTheFirstDelivery(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithHistory(3, 0), broadcast.WithSampling(strategy))
		p := b.join(chat, "device").Position()
		b.publish(chat, from(1, 10)...)
		for _, read := range []func(s *broadcast.Subscriber[int]) broadcast.Delivery[int]{
			func(s *broadcast.Subscriber[int]) broadcast.Delivery[int] { d, _ := s.TryNext(); return d },
			func(s *broadcast.Subscriber[int]) broadcast.Delivery[int] { return <-s.Chan() },
		} {
			s := b.join(chat, "resumes", broadcast.Resume(p))
			require.False(t, s.Recovered())
			require.Equal(t, p, s.Position())
			books := requireBooks(t, s)
			require.EqualValues(t, 0, books.Joined)
			require.EqualValues(t, 7, books.Missed)
			require.Equal(t, broadcast.Delivery[int]{Chat: chat, Seq: 8, Missed: 7, Message: 8}, bare(read(s))[0])
			require.NoError(t, s.Close())
		}
	})
}

func TestAGapWithNothingAfterItShowsOnTheNextMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		p := b.join(chat, "device").Position()
		b.publish(chat, 1, 2, 3)
		s := b.join(chat, "resumes", broadcast.Resume(p))
		require.False(t, s.Recovered())
		require.Empty(t, takeAll(t, s))
		b.publish(chat, 4)
		require.EqualValues(t, 3, takeAll(t, s)[0].Missed)
	})
}

// A gap that a strategy widens before it was told.
func TestAGapAndASamplingLossShowTogether(t *testing.T) {
	forStrategies(t, []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest}, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithHistory(2, 0), broadcast.WithPatience(0), broadcast.WithBuffer(2), broadcast.WithSampling(strategy))
		p := b.join(chat, "device").Position()
		b.publish(chat, from(1, 10)...)
		s := b.join(chat, "resumes", broadcast.Resume(p))
		b.publish(chat, from(11, 20)...)
		books := requireBooks(t, s)
		d := takeAll(t, s)
		require.EqualValues(t, d[0].Seq-1, d[0].Missed)
		require.Equal(t, 20, int(books.Missed)+len(d))
	})
}

func TestNothingMissedCountsAsRecoveredEvenIfNothingIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1, 2)
		takeAll(t, s)
		s = b.join(chat, "device", broadcast.Resume(s.Position()))
		require.True(t, s.Recovered())
		b.publish(chat, 3)
		require.Equal(t, []int{3}, payloads(takeAll(t, s)))
	})
}

// Promise 16.
func TestAnUnknownEpochAndAFuturePositionStartAtNow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(10, 0))
		b.publish(chat, 1, 2, 3)
		b.publish("other", 1)
		foreign := b.join("other", "device").Position()
		var future broadcast.Position
		text := b.join(chat, "device").Position().String()
		require.NoError(t, future.UnmarshalText([]byte(text[:len(text)-1]+"z")))
		for _, p := range []broadcast.Position{foreign, future, {}} {
			s := b.join(chat, "resumes", broadcast.Resume(p))
			require.False(t, s.Recovered())
			require.EqualValues(t, 3, requireBooks(t, s).Joined)
			require.Empty(t, takeAll(t, s))

			s = b.join(chat, "resumes", broadcast.Resume(p), broadcast.Replay(2))
			require.Equal(t, p == broadcast.Position{}, s.Recovered(), "with a position, only if that was found")
			require.Equal(t, []int{2, 3}, payloads(takeAll(t, s)))
		}
	})
}

func TestAPositionOfAChatThatWasForgottenIsNotRecovered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithChatIdle(time.Minute))
		s := b.join(chat, "device")
		b.publish(chat, 1)
		p := s.Position()
		require.NoError(t, s.Close())
		sleep(3 * time.Minute)
		require.False(t, b.join(chat, "device", broadcast.Resume(p)).Recovered())
	})
}

func TestHistoryExpiresByAgeToTheNanosecond(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const age = time.Minute
		b := newBroker[int](t, broadcast.WithHistory(10, age))
		for i := range 4 {
			b.publish(chat, i+1)
			time.Sleep(10 * time.Second)
		}
		replay := func() []int { return payloads(takeAll(t, b.join(chat, "device", broadcast.Replay(10)))) }
		time.Sleep(20 * time.Second) // the first is a minute old
		require.Equal(t, from(1, 4), replay())
		time.Sleep(time.Nanosecond)
		require.Equal(t, from(2, 4), replay())
		time.Sleep(10*time.Second - 1)
		require.Equal(t, from(2, 4), replay())
		time.Sleep(time.Minute)
		require.Empty(t, replay())
		require.EqualValues(t, 4, b.join(chat, "device").Stats().Head)
	})
}

// "A chat lives from its first Subscribe (with history: or Publish) until it has been without
// readers for WithChatIdle and its history has expired."
func TestAChatWithUnexpiredHistorySurvivesWithoutReaders(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const age, idle, interval = time.Hour, time.Minute, time.Second
		b := newBroker[int](t, broadcast.WithHistory(10, age), broadcast.WithChatIdle(idle), broadcast.WithCleanInterval(interval))
		b.publish(chat, 1)
		require.Empty(t, b.Chats(), "no subscriber")
		require.Equal(t, 1, b.Stats().Chats)
		sleep(age)
		require.Equal(t, 1, b.Stats().Chats)
		sleep(interval)
		require.Zero(t, b.Stats().Chats)
		require.EqualValues(t, 1, b.Stats().ChatsCleaned)

		b.publish(chat, 1)
		sleep(age - idle/2)
		require.NoError(t, b.join(chat, "device").Close())
		sleep(idle)
		require.Equal(t, 1, b.Stats().Chats, "idle for less than a minute when the history expired")
		sleep(interval)
		require.Zero(t, b.Stats().Chats)
	})
}

func TestAChatWithHistoryOfAnyAgeIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(2, 0), broadcast.WithMaxChats(2))
		b.publish(chat, 1, 2, 3)
		require.NoError(t, b.join("empty", "device").Close())
		sleep(24 * time.Hour)
		require.Equal(t, 1, b.Stats().Chats, "only what has messages")
		require.Equal(t, []int{2, 3}, payloads(takeAll(t, b.join(chat, "device", broadcast.Replay(2)))))
		b.publish("second", 1)
		require.ErrorIs(t, b.Publish(t.Context(), "third", 1), broadcast.ErrLimit)
		require.NoError(t, b.Publish(t.Context(), chat, 4))
	})
}

// Promise 28: it is known of each message when it expires, but of no others.
func TestTheHeapIsFlatHoweverMuchIsPublishedToAHistoryWithAnAge(t *testing.T) {
	b := newBroker[int](t, broadcast.WithHistory(16, time.Hour))
	requireFlat(t, 10_000_000, func(i int) { _ = b.TryPublish(chat, i) })
}

// Promise 28: with the chat or without.
func TestHistoryIsLetGoWhenItExpires(t *testing.T) {
	for _, stays := range []bool{false, true} {
		bubble(t, func(t *testing.T) {
			b := unaudited[*[1 << 20]byte](t, broadcast.WithHistory(1<<20, time.Minute), broadcast.WithChatIdle(0))
			before := heap()
			for range 40 {
				require.NoError(t, b.Publish(t.Context(), chat, new([1 << 20]byte)))
			}
			for range segment {
				require.NoError(t, b.Publish(t.Context(), chat, nil))
			}
			require.Greater(t, heap()-before, int64(39<<20))
			if stays {
				b.join(chat, "stays")
			}
			sleep(3 * time.Minute)
			require.Less(t, heap()-before, int64(1<<20))
		})
	}
}

func TestPositionsAreTextThatIsShortAndSafeInAURL(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		p := takeAll(t, s)[0].Position()
		require.Regexp(t, `^[0-9a-z]+-[0-9a-z]+$`, p.String())
		require.LessOrEqual(t, len(p.String()), 27)
		text, err := json.Marshal(p)
		require.NoError(t, err)
		var back broadcast.Position
		require.NoError(t, json.Unmarshal(text, &back))
		require.Equal(t, p, back)
		require.NoError(t, back.UnmarshalText(nil))
		require.Zero(t, back)
		require.Empty(t, back.String())
	})
}

func TestTextThatIsNoPositionIsRefused(t *testing.T) {
	for _, text := range []string{
		"-", "1", "1-", "-1", "0-1", "00-1", "1-01", "A-1", "1-A", "+1-1", "1-1-1", "1 - 1", "1_0-1", "zzzzzzzzzzzzzzzzzz-1",
		strings.Repeat("1", 1_000_000) + "-1", "é-1", "1-1\n",
	} {
		p := broadcast.Position{}
		err := p.UnmarshalText([]byte(text))
		assert.ErrorIs(t, err, broadcast.ErrInvalid, "%.30q", text)
		assert.Zero(t, p)
		if err != nil {
			assert.Less(t, len(err.Error()), 300)
		}
	}
}

func TestBadHistoryAndReplayAreRefused(t *testing.T) {
	_, err := broadcast.New[int](broadcast.WithHistory(-1, -1))
	require.ErrorIs(t, err, broadcast.ErrInvalid)
	require.ErrorContains(t, err, "history of -1")
	require.ErrorContains(t, err, "age of the history")
	b := newBroker[int](t)
	_, err = b.Subscribe(chat, "device", broadcast.Replay(-1))
	require.ErrorIs(t, err, broadcast.ErrInvalid)
	_, err = b.Subscribe(chat, "device", broadcast.Replay(1<<30))
	require.ErrorIs(t, err, broadcast.ErrInvalid)
}

// If the age overflowed, an idle cleaner would run without a rest, and the clock of the bubble
// would stop.
func TestAHistoryOfAbsurdAgeIsKeptQuietly(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(1, math.MaxInt64), broadcast.WithChatIdle(0), broadcast.WithCleanInterval(time.Millisecond))
		b.publish(chat, 1)
		sleep(time.Hour)
		require.Equal(t, 1, b.Stats().Chats)
	})
}

// A strategy has picked messages for the reader. After Close its position is still that of the last
// message that it took, so that a Resume from there skips nothing.
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

// Promise 33.
func TestAPageRenderedAfterHeadIsFollowedWithoutAGap(t *testing.T) {
	for _, history := range []int{0, 1, 10} {
		b := newBroker[int](t, broadcast.WithHistory(history, 0))
		b.join(chat, "other")
		b.publish(chat, 1, 2, 3)
		head, err := b.Head(t.Context(), chat)
		require.NoError(t, err)
		b.publish(chat, 4, 5)
		s := b.join(chat, "device", broadcast.Resume(head))
		b.publish(chat, 6)
		kept := min(2, history)
		require.Equal(t, kept == 2, s.Recovered())
		d, ok := s.TryNext()
		require.True(t, ok)
		require.EqualValues(t, 2-kept, d.Missed)
		require.Equal(t, from(6-kept, 6), append([]int{d.Message}, payloads(takeAll(t, s))...))
	}
}

// Promise 33.
func TestAChatIsRememberedForItsIdleTimeAfterTheLastHead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const idle = time.Minute
		b := newBroker[int](t, broadcast.WithChatIdle(idle), broadcast.WithCleanInterval(time.Second))
		first, err := b.Head(t.Context(), chat)
		require.NoError(t, err)
		for range 3 {
			time.Sleep(idle - 1)
			again, err := b.Head(t.Context(), chat)
			require.NoError(t, err)
			require.Equal(t, first, again)
		}
		time.Sleep(idle - 1)
		require.Equal(t, 1, b.Stats().Chats)
		sleep(time.Second + 1)
		require.Zero(t, b.Stats().Chats)
		require.False(t, b.join(chat, "device", broadcast.Resume(first)).Recovered())
	})
}

// Promise 33.
func TestHeadLeavesAChatWithReadersAlone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const idle = time.Minute
		b := newBroker[int](t, broadcast.WithChatIdle(idle), broadcast.WithCleanInterval(time.Second))
		s := b.join(chat, "device")
		_, err := b.Head(t.Context(), chat)
		require.NoError(t, err)
		sleep(2 * idle)
		require.Equal(t, 1, b.Stats().Chats)
		require.NoError(t, s.Close())
		sleep(idle + time.Second + 1)
		require.Zero(t, b.Stats().Chats)
	})
}

// Promise 33.
func TestLastReturnsTheLastMessageAsLongAsItIsKept(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithHistory(2, time.Minute))
		last := func() (broadcast.Delivery[int], bool) {
			d, ok, err := b.Last(t.Context(), chat)
			require.NoError(t, err)
			return d, ok
		}
		_, ok := last()
		require.False(t, ok)
		require.Zero(t, b.Stats().Chats)
		b.publish(chat, 1, 2)
		s := b.join(chat, "device", broadcast.Replay(1))
		d, ok := last()
		require.True(t, ok)
		replayed, ok := s.TryNext()
		require.True(t, ok)
		require.Equal(t, replayed, d)
		time.Sleep(time.Minute)
		_, ok = last()
		require.True(t, ok)
		time.Sleep(time.Nanosecond)
		_, ok = last()
		require.False(t, ok)
		require.NoError(t, b.Close())
		_, _, err := b.Last(t.Context(), chat)
		require.ErrorIs(t, err, broadcast.ErrBrokerClosed)
	})
}

// Promise 33.
func TestHeadAndLastRefuseBadInput(t *testing.T) {
	b := newBroker[int](t, broadcast.WithMaxChats(1))
	done, cancel := context.WithCancel(t.Context())
	cancel()
	for name, call := range map[string]func(b *broadcast.Broker[int], ctx context.Context, chat string) error{
		"Head": func(b *broadcast.Broker[int], ctx context.Context, chat string) error {
			_, err := b.Head(ctx, chat)
			return err
		},
		"Last": func(b *broadcast.Broker[int], ctx context.Context, chat string) error {
			_, _, err := b.Last(ctx, chat)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorIs(t, call(nil, done, chat), broadcast.ErrInvalid)
			require.ErrorIs(t, call(new(broadcast.Broker[int]), done, chat), broadcast.ErrInvalid)
			require.ErrorIs(t, call(b.Broker, noContext, chat), broadcast.ErrInvalid)
			require.ErrorIs(t, call(b.Broker, done, ""), broadcast.ErrInvalid)
			require.ErrorIs(t, call(b.Broker, done, chat), context.Canceled)
		})
	}
	b.join(chat, "device")
	_, err := b.Head(t.Context(), "other")
	require.ErrorIs(t, err, broadcast.ErrLimit)
	require.NoError(t, b.Close())
	_, err = b.Head(done, chat)
	require.ErrorIs(t, err, broadcast.ErrBrokerClosed)
}
