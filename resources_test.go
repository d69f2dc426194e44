package broadcast_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Promise 27.
func TestNeitherIdleSubscriptionsNorPublishingHaveGoroutines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		b := newBroker[int](t, broadcast.WithStallTimeout(time.Minute), broadcast.WithPatience(0), broadcast.WithBuffer(10))
		before := goroutines()
		for i := range 100 {
			b.join(chat, fmt.Sprint(i), broadcast.Until(ctx), broadcast.WithSampling(lossy[i%len(lossy)]))
		}
		b.publish(chat, from(1, 1_000)...)
		require.LessOrEqual(t, goroutines(), before)
		require.NoError(t, b.Close()) // before its context ends
	})
}

// Promise 27: with everything there is in flight.
func TestNoGoroutineIsLeftAfterCloseOrShutdown(t *testing.T) {
	for name, end := range map[string]func(*auditedBroker[int]){
		"Close": func(b *auditedBroker[int]) { _ = b.Close() },
		"Shutdown": func(b *auditedBroker[int]) {
			soon, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = b.Shutdown(soon)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				before := goroutines()
				b := newBroker[int](t, broadcast.WithBuffer(2))
				for i := range 10 {
					b.join(chat, fmt.Sprint("chan ", i)).Chan()
					read(b, b.join(chat, fmt.Sprint("loop ", i)))
				}
				b.join(chat, "stuck", broadcast.WithSampling(broadcast.Block))
				fill(t, b, 2)
				queue(t.Context(), b, 3, 4)
				end(b)
				require.Equal(t, before, goroutines())
			})
		})
	}
}

// Promise 31. A bubble cannot report to its own test, so the test binary runs once more for each case.
func TestDeadlockedBubbleIsReported(t *testing.T) {
	const variable = "BROADCAST_TEST_DEADLOCK"
	cases := map[string]func(t *testing.T, b *auditedBroker[int]){
		"a reader waits and nobody publishes": func(t *testing.T, b *auditedBroker[int]) {
			_, _ = b.join(chat, "reader", broadcast.WithSampling(broadcast.Block)).Next(t.Context())
		},
		"a publisher waits and nobody reads": func(t *testing.T, b *auditedBroker[int]) {
			b.join(chat, "stuck", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1), broadcast.WithStallTimeout(0))
			b.publish(chat, 1)
			_ = b.Publish(t.Context(), chat, 2)
		},
		"Shutdown waits and nobody reads": func(t *testing.T, b *auditedBroker[int]) {
			b.join(chat, "stuck")
			b.publish(chat, 1)
			_ = b.Shutdown(context.Background())
		},
		"chats come and go, and then nothing": func(t *testing.T, b *auditedBroker[int]) {
			for i := range 10 {
				b.publish("before", i)
				_ = b.join(fmt.Sprint("chat ", i), "device").Close()
			}
			_, _ = b.join(chat, "reader", broadcast.WithStallTimeout(time.Minute)).Next(t.Context())
		},
	}
	if inside, ok := cases[os.Getenv(variable)]; ok {
		synctest.Test(t, func(t *testing.T) {
			inside(t, newBroker[int](t, broadcast.WithPublishTimeout(0)))
		})
		return
	}
	for name := range cases {
		t.Run(name, func(t *testing.T) {
			again := exec.Command(os.Args[0], "-test.run=^"+t.Name()[:len("TestDeadlockedBubbleIsReported")]+"$", "-test.timeout=10s")
			again.Env = append(os.Environ(), variable+"="+name)
			output, err := again.CombinedOutput()
			require.Error(t, err)
			require.Contains(t, string(output), "deadlock: all goroutines in bubble are blocked")
		})
	}
}

var thorough = flag.Bool("thorough", false, "make all the calls of the tests for flat memory, and not only a tenth of them")

// requireFlat fails the test if the heap grows with the number of calls of f. It is warmed up first.
func requireFlat(t *testing.T, calls int, f func(i int)) {
	t.Helper()
	if !*thorough {
		calls /= 10
	}
	if testing.Short() || raceEnabled {
		calls /= 10
	}
	for i := range calls / 10 {
		f(i)
	}
	before := heap()
	for i := range calls {
		f(calls + i)
	}
	require.Less(t, heap()-before, int64(100<<10), "bytes more after %d calls", calls)
}

// Promise 28.
func TestTheHeapIsFlatHoweverMuchIsPublishedToStuckReaders(t *testing.T) {
	strategies := map[string]broadcast.SubscribeOption{
		"sampler": broadcast.WithSampler(func(backlog broadcast.Backlog[[64]byte], _ [64]byte) int { return backlog.Len() / 2 }),
	}
	for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
		strategies[s.String()] = broadcast.WithSampling(s)
	}
	for name, strategy := range strategies {
		t.Run(name, func(t *testing.T) {
			b := newBroker[[64]byte](t, broadcast.WithPatience(0), broadcast.WithBuffer(16))
			for i := range 3 {
				b.join(chat, fmt.Sprint(i), strategy)
			}
			requireFlat(t, 10_000_000, func(int) { _ = b.TryPublish(chat, [64]byte{}) })
		})
	}
}

// Promise 28.
func TestAStuckReaderPinsAtMostItsBuffer(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[*[1024]byte](t, broadcast.WithPatience(0))
		stuck := b.join(chat, "stuck", broadcast.WithSampling(strategy), broadcast.WithBuffer(10))
		healthy := b.join(chat, "healthy")
		async(func() error {
			for range healthy.All(t.Context()) {
			}
			return nil
		})
		var published []weak.Pointer[[1024]byte]
		for range 20_000 {
			msg := new([1024]byte)
			published = append(published, weak.Make(msg))
			_ = b.TryPublish(chat, msg)
		}
		synctest.Wait()
		runtime.GC()
		live := 0
		for _, p := range published {
			if p.Value() != nil {
				live++
			}
		}
		require.LessOrEqual(t, live, 10+segment)
		runtime.KeepAlive(stuck)
	})
}

// segment is more messages than one segment of a chat's log holds.
const segment = 512

// Promise 28: however many read it, and however late.
func TestAMessageIsStoredOnce(t *testing.T) {
	b := newBroker[[1024]byte](t)
	for i := range 1_000 {
		b.join(chat, fmt.Sprint(i))
	}
	before := heap()
	b.publish(chat, make([][1024]byte, 200)...)
	require.Less(t, heap()-before, int64(1<<20), "200 messages of 1 KiB for 1000 readers")
}

// Promise 28: at the latest with the next segment, also in a chat where a reader has been far behind.
func TestWhatAllHaveTakenCanBeCollected(t *testing.T) {
	const buffer = 5 * segment
	for name, past := range map[string]func(s *broadcast.Subscriber[*[1024]byte], fallBehind func()){
		"nobody was behind":            func(*broadcast.Subscriber[*[1024]byte], func()) {},
		"who was behind has caught up": func(s *broadcast.Subscriber[*[1024]byte], fallBehind func()) { fallBehind(); takeAll(t, s) },
		"who was behind has closed":    func(s *broadcast.Subscriber[*[1024]byte], fallBehind func()) { fallBehind(); _ = s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
				b := newBroker[*[1024]byte](t, broadcast.WithPatience(0))
				one := b.join(chat, "one")
				two := b.join(chat, "two", broadcast.WithBuffer(buffer), broadcast.WithSampling(strategy))
				past(two, func() { b.publish(chat, make([]*[1024]byte, buffer+1)...) })

				taken := func() weak.Pointer[[1024]byte] {
					msg := new([1024]byte)
					b.publish(chat, msg)
					return weak.Make(msg)
				}()
				for range segment {
					takeAll(t, one)
					takeAll(t, two)
					b.publish(chat, nil)
				}
				runtime.GC()
				require.Nil(t, taken.Value())
				runtime.KeepAlive(b)
			})
		})
	}
}

// Promise 28: in whatever way it was read.
func TestWhatWasTakenCanBeCollectedInWhateverWayItWasRead(t *testing.T) {
	const messages = 1 + segment
	type subscriber = broadcast.Subscriber[*[1024]byte]
	for way, readAll := range map[string]func(t *testing.T, s *subscriber){
		"Next": func(t *testing.T, s *subscriber) {
			for range messages {
				_, err := s.Next(t.Context())
				require.NoError(t, err)
			}
		},
		"NextBatch": func(t *testing.T, s *subscriber) {
			for n := 0; n < messages; {
				more, err := s.NextBatch(t.Context(), make([]broadcast.Delivery[*[1024]byte], 20))
				require.NoError(t, err)
				n += more
			}
		},
		"All": func(t *testing.T, s *subscriber) {
			for d := range s.All(t.Context()) {
				if d.Seq == messages {
					break
				}
			}
		},
		"Messages": func(t *testing.T, s *subscriber) {
			n := 0
			for range s.Messages(t.Context()) {
				if n++; n == messages {
					break
				}
			}
		},
		"Chan": func(_ *testing.T, s *subscriber) {
			for range messages {
				<-s.Chan()
			}
		},
	} {
		t.Run(way, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[*[1024]byte](t, broadcast.WithBuffer(messages))
				s := b.join(chat, "reader")
				taken := func() weak.Pointer[[1024]byte] {
					msg := new([1024]byte)
					b.publish(chat, msg)
					return weak.Make(msg)
				}()
				b.publish(chat, make([]*[1024]byte, segment)...)
				runtime.GC()
				require.NotNil(t, taken.Value(), "nobody has taken it")
				readAll(t, s)
				runtime.GC()
				require.Nil(t, taken.Value())
				runtime.KeepAlive(b)
			})
		})
	}
}

// Promise 28: a chat that stays silent has nothing else to remind it of readers that are gone.
func TestReadersThatEndWhileTheyWaitLeaveNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := unaudited[int](t)
		b.join(chat, "stays")
		for way, end := range map[string]func(*broadcast.Subscriber[int]){
			"closed":   func(s *broadcast.Subscriber[int]) { _ = s.Close() },
			"replaced": func(s *broadcast.Subscriber[int]) { _ = b.join(chat, s.Device()).Close() },
		} {
			requireFlat(t, 100_000, func(i int) {
				s := b.join(chat, way)
				waiting := async(func() error { _, err := s.Next(t.Context()); return err })
				synctest.Wait()
				end(s)
				require.Error(t, (<-waiting).err)
			})
		}
	})
}

// Promise 28: with every kind of end, while the chat, the context of Until and the broker live on.
func TestAnEndedSubscriberCanBeCollected(t *testing.T) {
	forEnds(t, func(t *testing.T, _ *auditedBroker[int], _ *broadcast.Subscriber[int], e end) {
		b := unaudited[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0))
		stays := b.join(chat, "stays")
		ended := func() weak.Pointer[broadcast.Subscriber[int]] {
			s := b.join(chat, "goes", e.opts...)
			b.publish(chat, 1, 2)
			e.act(b, s)
			require.Error(t, s.Err())
			return weak.Make(s)
		}()
		synctest.Wait()
		runtime.GC()
		require.Nil(t, ended.Value())
		runtime.KeepAlive(stays)
		runtime.KeepAlive(b)
		runtime.KeepAlive(e)
	})
}

// Promise 28.
func TestSubscribeAndCloseInASilentChatLeaveNothing(t *testing.T) {
	b := unaudited[int](t)
	b.join(chat, "stays")
	requireFlat(t, 1_000_000, func(i int) { require.NoError(t, b.join(chat, fmt.Sprint(i)).Close()) })
	require.Equal(t, []string{"stays"}, b.Devices(chat))
}

// Promise 28.
func TestTakeoversInASilentChatLeaveNothing(t *testing.T) {
	b := unaudited[int](t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	requireFlat(t, 1_000_000, func(int) { b.join(chat, "phone", broadcast.Until(ctx)) })
}

// Promise 28.
func TestWaitsThatWereCancelledLeaveNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b, full := fullChat(t, 1)
		s := b.join("silent", "device")
		requireFlat(t, 100_000, func(int) {
			brief, cancel := context.WithTimeout(t.Context(), 1)
			defer cancel()
			_, err := s.Next(brief)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			brief, cancel = context.WithTimeout(t.Context(), 1)
			defer cancel()
			require.ErrorIs(t, b.Publish(brief, chat, 2), context.DeadlineExceeded)
		})
		require.NoError(t, full.Err())
	})
}

// Promise 28.
func TestChatsThatWereUsedOnceLeaveNothingAfterTheCleaner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := unaudited[int](t)
		requireFlat(t, 1_000, func(i int) {
			for j := range 1_000 {
				name := fmt.Sprintf("chat %d of %d", j, i)
				s := b.join(name, "device")
				b.publish(name, 1)
				require.NoError(t, s.Close())
			}
			sleep(idle + interval)
			require.Zero(t, b.Stats().Chats)
		})
	})
}

// Promise 28.
func TestPublishesToNamesThatAreNoChatsLeaveNothing(t *testing.T) {
	b := newBroker[int](t)
	requireFlat(t, 1_000_000, func(i int) { b.publish(fmt.Sprint("nobody ", i), i) })
	require.Zero(t, b.Stats().Chats)
	require.Empty(t, b.Chats())
}

// Promise 28: also if somebody still holds it, and whether its close was the first end or not.
func TestASubscriberThatWasClosedHoldsNoMessages(t *testing.T) {
	forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[*[1024]byte](t, broadcast.WithPatience(0), broadcast.WithBuffer(10))
		s := b.join(chat, "device", broadcast.WithSampling(strategy))
		var published []weak.Pointer[[1024]byte]
		for range 11 {
			msg := new([1024]byte)
			published = append(published, weak.Make(msg))
			_ = b.TryPublish(chat, msg)
		}
		s.TryNext()
		require.NoError(t, s.Close())
		b.publish(chat, make([]*[1024]byte, segment)...)
		runtime.GC()
		for i, p := range published {
			require.Nil(t, p.Value(), "message %d", i)
		}
		runtime.KeepAlive(s)
	})
}
