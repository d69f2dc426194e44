package broadcast_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// devices returns the devices of subscriptions, in their order.
func devices(infos []broadcast.SubscriptionInfo) (names []string) {
	for _, info := range infos {
		names = append(names, info.Device)
	}
	return names
}

// infoOf returns what Subscriptions says of a device.
func infoOf[T any](t testing.TB, b *auditedBroker[T], chat, device string) (found broadcast.SubscriptionInfo) {
	t.Helper()
	n := 0
	for info := range b.Subscriptions(chat) {
		if info.Device == device {
			found, n = info, n+1
		}
	}
	require.Equal(t, 1, n, "subscriptions of %s", device)
	return found
}

// Promise 51.
func TestChatStatsAreTheCountersOfOneChat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0), broadcast.WithChatIdle(time.Minute))
		_, ok := b.ChatStats(chat)
		require.False(t, ok, "there is no such chat")

		b.join("another", "device")
		b.publish("another", 1, 2, 3)
		b.join(chat, "gone")
		s := b.join(chat, "device")
		b.join(chat, "gone") // a takeover
		b.join(chat, "disconnected", broadcast.WithSampling(broadcast.Disconnect))
		b.publish(chat, 1, 2, 3)
		take(t, s, 1)
		stats, ok := b.ChatStats(chat)
		require.True(t, ok)
		require.Equal(t, broadcast.ChatStats{
			Subscribers: 2, Accepted: 3, Delivered: 1, Missed: 1 + 1, Pending: 1 + 2 + 2, Replaced: 1, Disconnected: 1,
		}, stats)
		require.NoError(t, s.Close())
		stats, _ = b.ChatStats(chat)
		require.EqualValues(t, 1, stats.Discarded)
		for info := range b.Subscriptions(chat) {
			require.True(t, b.Kick(chat, info.Device, nil))
		}
		stats, _ = b.ChatStats(chat)
		require.Zero(t, stats.Subscribers)
		sleep(time.Hour)
		_, ok = b.ChatStats(chat)
		require.False(t, ok, "it was forgotten")
	})
}

// Promise 51. It is looked up before the cleaner comes, and locked after.
func TestTheStatsOfAChatThatIsForgottenMeanwhileAreNone(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithChatIdle(time.Minute))
		s := b.join(chat, "device")
		late := broadcast.LookUp(b.Broker, chat)
		require.True(t, late.Counts())
		require.NoError(t, s.Close())
		sleep(time.Hour)
		require.False(t, late.Counts())
	})
}

// Promise 51.
func TestTheStatsOfAllChatsAddUpToThoseOfTheBroker(t *testing.T) {
	forStrategies(t, []broadcast.Sampling{
		broadcast.DropOldest, broadcast.DropNewest, broadcast.DropRandom, broadcast.Disconnect, broadcast.Block,
	}, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithSampling(strategy), broadcast.WithBuffer(3), broadcast.WithPatience(0))
		chats := []string{"a", "b", "c"}
		for range 300 {
			chat := chats[rand.IntN(len(chats))]
			switch rand.IntN(4) {
			case 0:
				b.join(chat, fmt.Sprint(rand.IntN(5)))
			case 1:
				if len(b.subs) > 0 {
					b.subs[rand.IntN(len(b.subs))].TryNext()
				}
			default:
				if _, ok := b.ChatStats(chat); ok { // else it would count for no chat
					_ = b.TryPublish(chat, 0)
				}
			}
			synctest.Wait()
			var sum broadcast.Stats
			for _, chat := range chats {
				if s, ok := b.ChatStats(chat); ok {
					sum.Chats++
					sum.Subscribers += s.Subscribers
					sum.Accepted += s.Accepted
					sum.Delivered += s.Delivered
					sum.Missed += s.Missed
					sum.Pending += s.Pending
					sum.Discarded += s.Discarded
					sum.Replaced += s.Replaced
					sum.Disconnected += s.Disconnected
					sum.Stalled += s.Stalled
				}
			}
			want := b.Stats()
			want.Rejected = 0
			require.Equal(t, want, sum)
		}
	})
}

// Promise 52.
func TestSubscriptionsAreDescribedAsTheyAre(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithPublishTimeout(time.Minute))
		require.Empty(t, slices.Collect(b.Subscriptions(chat)))
		reader := b.join(chat, "reader")
		require.Equal(t, broadcast.SubscriptionInfo{
			Chat: chat, Device: "reader", Strategy: "DropOldest", Buffer: 4, State: "up to date",
		}, infoOf(t, b, chat, "reader"))
		b.publish(chat, 1)
		require.Equal(t, "reading", infoOf(t, b, chat, "reader").State)
		b.publish(chat, 2, 3, 4)
		require.Equal(t, "reading", infoOf(t, b, chat, "reader").State)

		waiting := async(func() error { return b.Publish(t.Context(), chat, 5) })
		synctest.Wait()
		require.Equal(t, "full", infoOf(t, b, chat, "reader").State)
		require.NoError(t, (<-waiting).err)
		require.Equal(t, broadcast.SubscriptionInfo{
			Chat: chat, Device: "reader", Strategy: "DropOldest", Buffer: 4, State: "losing", Pending: 4, Missed: 1,
			StuckSince: time.Now(),
		}, infoOf(t, b, chat, "reader"))
		take(t, reader, 2)
		require.Equal(t, "reading", infoOf(t, b, chat, "reader").State, "half empty")

		b.join(chat, "sampler", broadcast.WithSampler(func(broadcast.Backlog[int], int) int { return 0 }))
		require.Equal(t, "WithSampler", infoOf(t, b, chat, "sampler").Strategy)
		b.joinAnonymous(chat)
		require.Equal(t, "up to date", infoOf(t, b, chat, "").State)
		require.NoError(t, reader.Close())
		require.Len(t, slices.Collect(b.Subscriptions(chat)), 2)
	})
}

// Promise 52.
func TestAReaderThatBlocksAndOneThatIsSlowAreDescribedSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithPublishTimeout(time.Minute), broadcast.WithSampling(broadcast.Block))
		s := b.join(chat, "reader")
		b.publish(chat, 1, 2, 3, 4)
		waiting := async(func() error { return b.Publish(t.Context(), chat, 5) })
		sleep(time.Second)
		require.Equal(t, "blocking", infoOf(t, b, chat, "reader").State)
		take(t, s, 1)
		require.NoError(t, (<-waiting).err)
		require.Contains(t, []string{"slow", "blocking"}, infoOf(t, b, chat, "reader").State)
		take(t, s, 1)
		require.Equal(t, "slow", infoOf(t, b, chat, "reader").State)
		down := async(func() error { return b.Shutdown(t.Context()) })
		synctest.Wait()
		require.Equal(t, "draining", infoOf(t, b, chat, "reader").State)
		takeAll(t, s)
		require.NoError(t, (<-down).err)
		require.Empty(t, slices.Collect(b.Subscriptions(chat)))
	})
}

// Promise 52.
func TestABodyOfALoopOverSubscriptionsMayCallAnything(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		for i := range 3 * piece {
			b.join(chat, fmt.Sprint(i))
		}
		seen := make(map[string]bool)
		for info := range b.Subscriptions(chat) {
			require.False(t, seen[info.Device], "twice")
			seen[info.Device] = true
			b.publish(chat, 1)
			b.join(chat, "new "+info.Device) // begins during the loop
			b.Stats()
			require.Len(t, b.Laggards(1), 1)
		}
		require.Len(t, seen, 3*piece)

		n := 0
		for range b.Subscriptions(chat) {
			if n++; n == 1 {
				for _, s := range b.subs {
					require.NoError(t, s.Close())
				}
			}
		}
		require.LessOrEqual(t, n, piece, "those that had ended were yielded")
	})
}

// Promise 53.
func TestLaggardsAreThoseFurthestBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		require.Equal(t, []broadcast.SubscriptionInfo{}, b.Laggards(10))
		for i := range 1000 {
			b.join(chat, fmt.Sprintf("idle %d", i), broadcast.WithBuffer(64))
		}
		b.publish(chat, make([]int, 32)...)
		for _, s := range b.subs {
			takeAll(t, s)
		}
		b.join(chat, "slow", broadcast.WithBuffer(16))
		slow := b.subs[len(b.subs)-1]
		b.join(chat, "full", broadcast.WithBuffer(32))
		b.join(chat, "half", broadcast.WithBuffer(64))
		b.join(chat, "stuck", broadcast.WithBuffer(8))
		b.join("another", "behind", broadcast.WithBuffer(1000))
		b.publish("another", make([]int, 900)...)
		b.publish(chat, make([]int, 32)...)
		for _, s := range b.subs[:1000] {
			takeAll(t, s)
		}
		take(t, slow, 4)
		require.Equal(t, []string{"stuck", "slow", "full", "behind", "half"}, devices(b.Laggards(1000)))
		for n := range 5 {
			require.Equal(t, []string{"stuck", "slow", "full", "behind", "half"}[:n], append([]string{}, devices(b.Laggards(n))...))
		}
		require.Empty(t, b.Laggards(-1))
	})
}

// Promise 53. Whatever the order in which it finds them.
func TestLaggardsAreTheFirstOfAll(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		for i := range 300 {
			b.join(chat, fmt.Sprint(i), broadcast.WithBuffer(1+rand.IntN(50)))
		}
		for range 25 {
			b.subs[rand.IntN(len(b.subs))].TryNext()
			b.publish(chat, 0)
		}
		all := b.Laggards(1000)
		require.Len(t, all, 300)
		for n := 1; n <= 300; n += 7 {
			require.Equal(t, all[:n], b.Laggards(n))
		}
	})
}

// Promise 55.
func TestStatsSayForHowLongPublishersHaveWaited(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(time.Second),
			broadcast.WithPublishTimeout(time.Minute), broadcast.WithChatIdle(time.Minute))
		check := func(waiting, waited, gaveUp int, wait time.Duration) {
			t.Helper()
			of, ok := b.ChatStats(chat)
			all := b.Stats()
			require.Equal(t, []any{waiting, uint64(waited), uint64(gaveUp), wait},
				[]any{all.PublishersWaiting, all.PublishersWaited, all.OutOfPatience, all.PublishWait})
			if ok {
				require.Equal(t, []any{waiting, uint64(waited), uint64(gaveUp), wait},
					[]any{of.PublishersWaiting, of.PublishersWaited, of.OutOfPatience, of.PublishWait})
			}
		}
		s := b.join(chat, "reader")
		b.publish(chat, 1, 2)
		check(0, 0, 0, 0)
		waiting := async(func() error { return b.Publish(t.Context(), chat, 3) })
		sleep(time.Second / 2)
		check(1, 0, 0, 0)
		require.NoError(t, (<-waiting).err)
		check(0, 1, 1, time.Second)
		b.publish(chat, 4, 5)
		check(0, 1, 1, time.Second)
		takeAll(t, s)
		b.publish(chat, 6, 7)
		waiting = async(func() error { return b.Publish(t.Context(), chat, 8) })
		sleep(time.Second / 4)
		take(t, s, 1)
		require.NoError(t, (<-waiting).err)
		check(0, 2, 1, time.Second+time.Second/4)

		require.NoError(t, s.Close())
		b.join(chat, "block", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		b.publish(chat, 9)
		require.ErrorIs(t, b.Publish(t.Context(), chat, 10), broadcast.ErrOverloaded)
		check(0, 3, 2, time.Minute+time.Second+time.Second/4)
		require.True(t, b.Kick(chat, "block", nil))
		sleep(time.Hour)
		require.Zero(t, b.Stats().Chats)
		check(0, 3, 2, time.Minute+time.Second+time.Second/4)

		b.join(chat, "block", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1))
		b.publish(chat, 11)
		waiting = async(func() error { return b.Publish(t.Context(), chat, 12) })
		sleep(10 * time.Second)
		require.NoError(t, b.Close())
		require.ErrorIs(t, (<-waiting).err, broadcast.ErrBrokerClosed)
		check(0, 4, 3, time.Minute+11*time.Second+time.Second/4)
	})
}

// Promise 55: nobody waits, so nobody is out of patience.
func TestWithoutAWaitNobodyRunsOutOfPatience(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(2))
		b.join(chat, "loses", broadcast.WithPatience(0))
		b.publish(chat, 1, 2, 3)
		b.join(chat, "overrun")
		for i := range 4 {
			require.NoError(t, b.TryPublish(chat, i))
		}
		require.Zero(t, b.Stats().OutOfPatience)
		require.Equal(t, "losing", infoOf(t, b, chat, "loses").State)
		require.Equal(t, "losing", infoOf(t, b, chat, "overrun").State)
	})
}

// Promise 52: never for longer than it has been, and exactly for a reader that takes nothing after
// publishers have given it up.
func TestAReaderIsStuckSinceAtTheEarliestItsLastTake(t *testing.T) {
	forStrategies(t, []broadcast.Sampling{
		broadcast.DropOldest, broadcast.DropNewest, broadcast.DropRandom, broadcast.Block,
	}, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[int](t, broadcast.WithBuffer(8), broadcast.WithPatience(time.Second),
			broadcast.WithPublishTimeout(2*time.Second), broadcast.WithStallTimeout(0))
		s := b.join(chat, "reader", broadcast.WithSampling(strategy))
		since := func() time.Time { return infoOf(t, b, chat, "reader").StuckSince }
		b.publish(chat, from(1, 8)...)
		sleep(time.Minute)
		require.Zero(t, since(), "nobody has looked at it")
		_ = b.Publish(t.Context(), chat, 9)
		published := time.Now()
		sleep(time.Minute)
		gaveUp := since()
		require.False(t, gaveUp.After(published))
		require.False(t, gaveUp.Before(published.Add(-time.Second)))
		sleep(time.Minute)
		require.Equal(t, gaveUp, since())

		take(t, s, 1)
		sleep(time.Minute)
		looked := time.Now()
		require.Equal(t, looked, since(), "nobody knows when it took that")
		sleep(time.Minute)
		require.Equal(t, looked, since())
		require.Equal(t, looked, b.Laggards(1)[0].StuckSince)
		takeAll(t, s)
		require.Zero(t, since())
		b.publish(chat, 10)
		sleep(time.Minute)
		require.Zero(t, since())
	})
}

// Promise 52.
func TestASuspectIsStuckSinceTheCleanerFoundItSo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithCleanInterval(time.Second))
		s := b.join(chat, "reader", broadcast.WithStallTimeout(time.Hour))
		began := time.Now()
		b.publish(chat, 1, 2)
		sleep(time.Minute)
		since := infoOf(t, b, chat, "reader").StuckSince
		require.WithinRange(t, since, began, began.Add(time.Second))
		take(t, s, 1)
		require.Zero(t, infoOf(t, b, chat, "reader").StuckSince)
	})
}

// lines is a log that tests can read.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, strings.TrimSpace(string(text)))
	return len(text), nil
}

// take returns what was logged since the last call.
func (l *lines) take() (all []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	all, l.all = l.all, nil
	return all
}

// logger returns a logger that writes to l what is at least Info, without the time.
func (l *lines) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

// Promise 56.
func TestAReaderThatRunsOutOfPatienceIsLoggedOnceAndSoIsItsReturn(t *testing.T) {
	for name, read := range map[string]func(t *testing.T, s *broadcast.Subscriber[int], n int){
		"TryNext": func(t *testing.T, s *broadcast.Subscriber[int], n int) { take(t, s, n) },
		"Chan": func(t *testing.T, s *broadcast.Subscriber[int], n int) {
			for range n {
				<-s.Chan()
			}
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var log lines
				b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithLogger(log.logger()))
				b.join(chat, "loses", broadcast.WithPatience(0), broadcast.WithBuffer(1))
				s := b.join(chat, "reader")
				if name == "Chan" {
					s.Chan()
				}
				for range 3 {
					takeAll := s.Stats().Pending
					read(t, s, int(takeAll))
					log.take()
					b.publish(chat, from(1, 20)...)
					pending := s.Stats().Pending
					require.Equal(t, []string{fmt.Sprintf(
						`level=INFO msg="broadcast: reader out of patience" strategy=DropOldest pending=%d chat=chat device=reader`, pending)}, log.take())
					read(t, s, 1)
					b.publish(chat, 21, 22)
					require.Empty(t, log.take())
					read(t, s, int(s.Stats().Pending))
					require.Equal(t, []string{`level=INFO msg="broadcast: reader caught up" chat=chat device=reader`}, log.take())
				}
			})
		})
	}
}

// Promise 56.
func TestOnePublishLogsAFewReadersByName(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var log lines
		b := newBroker[int](t, broadcast.WithBuffer(1), broadcast.WithLogger(log.logger()))
		for i := range 3 * piece {
			b.join(chat, fmt.Sprint(i))
		}
		b.publish(chat, 1, 2)
		all := log.take()
		require.Len(t, all, 17)
		require.Equal(t, fmt.Sprintf(`level=INFO msg="broadcast: more readers out of patience" readers=%d chat=chat`, 3*piece-16), all[16])
		require.EqualValues(t, 3*piece, b.Stats().OutOfPatience)
	})
}

// Promises 22 and 56. No lock is held, and nobody waits for the logger but its caller.
func TestALoggerThatIsToldOfAReaderMayHang(t *testing.T) {
	for _, message := range []string{"broadcast: reader out of patience", "broadcast: reader caught up"} {
		t.Run(message, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				hang := make(chan struct{})
				reached := false
				handler := handlerFunc(func(r slog.Record) {
					if r.Message == message {
						reached = true
						<-hang
					}
				})
				b := newBroker[int](t, broadcast.WithBuffer(4), broadcast.WithLogger(slog.New(handler)))
				defer close(hang)
				s := b.join(chat, "reader")
				ch := s.Chan()
				go func() {
					for i := range 20 {
						_ = b.Publish(context.Background(), chat, i)
					}
				}()
				sleep(time.Second)
				for range 2 {
					<-ch
				}
				sleep(time.Second)
				for range 4 {
					select {
					case <-ch:
					case <-time.After(time.Second):
					}
				}
				sleep(time.Second)
				require.True(t, reached)
				b.publish("another", 1)
				b.Stats()
				b.Laggards(1)
				require.NoError(t, inTime(t, async(b.Close)).err)
			})
		})
	}
}

// handlerFunc handles records at Info and above.
type handlerFunc func(r slog.Record)

func (f handlerFunc) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo
}
func (f handlerFunc) Handle(_ context.Context, r slog.Record) error { f(r); return nil }
func (f handlerFunc) WithAttrs([]slog.Attr) slog.Handler            { return f }
func (f handlerFunc) WithGroup(string) slog.Handler                 { return f }

// Promises 51 to 53.
func TestAZeroBrokerHasNothingToLookAt(t *testing.T) {
	for _, b := range []*broadcast.Broker[int]{nil, {}} {
		_, ok := b.ChatStats(chat)
		require.False(t, ok)
		require.Empty(t, slices.Collect(b.Subscriptions(chat)))
		require.Empty(t, b.Laggards(1))
	}
}
