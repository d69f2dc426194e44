package broadcast_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/racedetector"
)

// A subscriber exactly fills a size class of the allocator: with one more word it takes 16 bytes
// more.
func TestASubscriberTakes208Bytes(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the size is that of amd64")
	}
	require.EqualValues(t, 208, reflect.TypeFor[broadcast.Subscriber[int]]().Size())
}

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

// Promise 31. A bubble cannot report to its own test, so the test binary runs once more for each
// case.
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

// Promise 28: nothing is kept for it while it hangs.
func TestASamplerThatHangsIsGivenNoMoreMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[*[1024]byte](t, broadcast.WithPatience(0), broadcast.WithBuffer(10))
		hang := make(chan struct{})
		t.Cleanup(func() {
			close(hang)
			synctest.Wait()
		})
		b.join(chat, "hangs", broadcast.WithSampler(func(broadcast.Backlog[*[1024]byte], *[1024]byte) int {
			<-hang
			return 0
		}))
		var published []weak.Pointer[[1024]byte]
		publish := func() error {
			msg := new([1024]byte)
			published = append(published, weak.Make(msg))
			return b.Publish(t.Context(), chat, msg)
		}
		repeat(10, func() { require.NoError(t, publish()) })
		async(publish) // has the sampler run
		synctest.Wait()
		repeat(20_000, func() { require.NoError(t, publish()) })
		runtime.GC()
		live := 0
		for _, p := range published {
			if p.Value() != nil {
				live++
			}
		}
		require.LessOrEqual(t, live, 3*10+2*segment)
	})
}

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

// Promise 28: at the latest with the next segment, also in a chat where a reader has been far
// behind.
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

// Promise 28: also one for which a publisher was to sample that gave up, in a chat that stays
// silent.
func TestAnEndedSubscriberThatLaggedCanBeCollected(t *testing.T) {
	forStrategies(t, lossy[:3], func(t *testing.T, strategy broadcast.Sampling) {
		b := unaudited[int](t, broadcast.WithPatience(0), broadcast.WithPublishTimeout(time.Second))
		stays := b.join(chat, "stays", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(2))
		ended := func() weak.Pointer[broadcast.Subscriber[int]] {
			s := b.join(chat, "goes", broadcast.WithSampling(strategy), broadcast.WithBuffer(1))
			b.publish(chat, 1, 2)
			require.ErrorIs(t, b.Publish(t.Context(), chat, 3), broadcast.ErrOverloaded)
			require.NoError(t, s.Close())
			return weak.Make(s)
		}()
		runtime.GC()
		require.Nil(t, ended.Value())
		runtime.KeepAlive(stays)
		runtime.KeepAlive(b)
	})
}

// Promise 28: also one that was closed while its sampler ran.
func TestASubscriberThatWasClosedWhileItsSamplerRanHoldsNoMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[*[1024]byte](t, broadcast.WithPatience(0), broadcast.WithBuffer(10))
		s := b.join(chat, "device", broadcast.WithSampler(func(broadcast.Backlog[*[1024]byte], *[1024]byte) int {
			time.Sleep(time.Minute)
			return 0
		}))
		var published []weak.Pointer[[1024]byte]
		publish := func() error {
			msg := new([1024]byte)
			published = append(published, weak.Make(msg))
			return b.Publish(t.Context(), chat, msg)
		}
		repeat(10, func() { require.NoError(t, publish()) })
		publisher := async(publish)
		synctest.Wait()
		require.NoError(t, s.Close())
		require.NoError(t, (<-publisher).err)
		sleep(10 * time.Minute) // the chat is forgotten
		runtime.GC()
		for _, p := range published {
			require.True(t, p.Value() == nil)
		}
		runtime.KeepAlive(s)
	})
}

// Promise 28.
func TestSubscribeAndCloseInASilentChatLeaveNothing(t *testing.T) {
	b := unaudited[int](t)
	b.join(chat, "stays")
	requireFlat(t, 1_000_000, func(i int) { require.NoError(t, b.join(chat, fmt.Sprint(i)).Close()) })
	require.Equal(t, []string{"stays"}, b.Devices(chat))
}

// Promise 28: whatever they did there, while others stay.
func TestAChatThatManyDevicesHaveLeftHoldsNoMoreThanThoseThatStayNeed(t *testing.T) {
	const devices = 20_000
	type subscriber = broadcast.Subscriber[int]
	for name, c := range map[string]struct {
		opts []broadcast.Option
		each []broadcast.SubscribeOption
		act  func(t *testing.T, b *auditedBroker[int], s *subscriber)
	}{
		"they were there": {},
		"they waited": {act: func(t *testing.T, _ *auditedBroker[int], s *subscriber) {
			soon, cancel := context.WithTimeout(t.Context(), 1)
			defer cancel()
			_, err := s.Next(soon)
			require.Error(t, err)
		}},
		"they waited, and followed presence": {
			each: []broadcast.SubscribeOption{broadcast.WithPresence(), broadcast.WithBuffer(1)},
			act: func(t *testing.T, _ *auditedBroker[int], s *subscriber) {
				soon, cancel := context.WithTimeout(t.Context(), 1)
				defer cancel()
				for _, err := s.Next(soon); err == nil; _, err = s.Next(soon) {
				}
			},
		},
		"they could stall": {each: []broadcast.SubscribeOption{broadcast.WithStallTimeout(time.Hour)}},
		"they were full": {
			opts: []broadcast.Option{broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block), broadcast.WithStallTimeout(0)},
			act: func(t *testing.T, b *auditedBroker[int], s *subscriber) {
				if s.Device() == fmt.Sprint(devices-1) {
					b.publish(chat, 1)
					require.Error(t, b.TryPublish(chat, 2))
				}
			},
		},
		"they were overrun, all with other buffers": {
			opts: []broadcast.Option{broadcast.WithPatience(0)},
			act: func(_ *testing.T, b *auditedBroker[int], s *subscriber) {
				var i int
				_, _ = fmt.Sscan(s.Device(), &i)
				_ = b.join(chat, s.Device(), broadcast.WithBuffer(1+i))
				if i == devices-1 {
					for range devices + 1 {
						b.publish(chat, 1)
					}
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := unaudited[int](t, c.opts...)
				stays := b.join(chat, "stays", broadcast.WithBuffer(1), broadcast.WithPresence(), broadcast.WithSampling(broadcast.DropOldest))
				before := heap()
				for i := range devices {
					s := b.join(chat, fmt.Sprint(i), c.each...)
					if c.act != nil {
						c.act(t, b, s)
					}
				}
				for i := range devices {
					_ = b.join(chat, fmt.Sprint(i)).Close() // a takeover, so that no list of them is needed here
				}
				sleep(idle)
				require.Equal(t, []string{"stays"}, b.Devices(chat))
				require.Less(t, heap()-before, int64(100<<10))
				runtime.KeepAlive(stays)
			})
		})
	}
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
	for way, read := range map[string]func(*broadcast.Subscriber[*[1024]byte]){
		"TryNext": func(s *broadcast.Subscriber[*[1024]byte]) { s.TryNext() },
		"Chan": func(s *broadcast.Subscriber[*[1024]byte]) {
			<-s.Chan()
			synctest.Wait() // the next one is offered
		},
	} {
		t.Run(way, func(t *testing.T) {
			forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
				b := newBroker[*[1024]byte](t, broadcast.WithPatience(0), broadcast.WithBuffer(10))
				s := b.join(chat, "device", broadcast.WithSampling(strategy))
				var published []weak.Pointer[[1024]byte]
				for range 11 {
					msg := new([1024]byte)
					published = append(published, weak.Make(msg))
					_ = b.TryPublish(chat, msg)
				}
				read(s)
				require.NoError(t, s.Close())
				b.publish(chat, make([]*[1024]byte, segment)...)
				runtime.GC()
				for i, p := range published {
					require.Nil(t, p.Value(), "message %d", i)
				}
				runtime.KeepAlive(s)
			})
		})
	}
}

// Promise 28: whatever went on in a chat, when it is quiet and all has been read, it holds its
// readers and nothing else.
func TestAQuietChatHoldsItsReadersAndNothingElse(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithPatience(time.Millisecond), broadcast.WithPublishTimeout(5*time.Millisecond))
			stays := hurlyBurly(t, b, rand.New(rand.NewPCG(seed, 0)))
			sleep(time.Minute)
			readAll(stays)
			b.publish(chat, 1) // some had yet to be told what they missed at the end
			readAll(stays)
			require.Empty(t, broadcast.Leftovers(b.Broker), "seed %d", seed)
			require.NoError(t, b.Close())
			require.Empty(t, broadcast.Leftovers(b.Broker), "seed %d", seed)
		})
	}
}

func readAll(subs []*broadcast.Subscriber[int]) {
	for _, s := range subs {
		for _, ok := s.TryNext(); ok; _, ok = s.TryNext() {
		}
	}
}

// hurlyBurly publishes to readers of all strategies that read a little, wait a little, and go or
// stay. It returns those that stay.
func hurlyBurly(t *testing.T, b *auditedBroker[int], random *rand.Rand) (stay []*broadcast.Subscriber[int]) {
	var all sync.WaitGroup
	for i := range 30 {
		strategy := broadcast.WithSampling(broadcast.Sampling(i % 5))
		if i%6 == 5 {
			strategy = broadcast.WithSampler(func(backlog broadcast.Backlog[int], _ int) int { return backlog.Len() / 2 })
		}
		opts := []broadcast.SubscribeOption{strategy, broadcast.WithBuffer(1 + random.IntN(40)), broadcast.WithStallTimeout(time.Hour)}
		if random.IntN(3) == 0 {
			opts = append(opts, broadcast.WithPresence())
		}
		s := b.join(chat, fmt.Sprint(i), opts...)
		reads, pause, goes := random.IntN(200), time.Duration(random.IntN(300))*time.Microsecond, random.IntN(3) == 0
		all.Go(func() {
			for range reads {
				soon, cancel := context.WithTimeout(t.Context(), pause)
				_, _ = s.Next(soon)
				cancel()
				time.Sleep(pause)
			}
			if goes {
				_ = s.Close()
			}
		})
		if !goes {
			stay = append(stay, s)
		}
	}
	for range 4 {
		pause := time.Duration(random.IntN(1_000)) * time.Microsecond
		all.Go(func() {
			for i := range 300 {
				soon, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
				_ = b.Publish(soon, chat, i)
				cancel()
				_ = b.TryPublish(chat, i)
				time.Sleep(pause)
			}
		})
	}
	all.Wait()
	return stay
}

// bulk is a message that is large, and elsewhere: the log holds a pointer.
type bulk = *[1024]byte

// publishBulk publishes messages and returns a function that counts those that are still in memory.
func publishBulk(t *testing.T, b *auditedBroker[bulk], n int) (alive func() int) {
	t.Helper()
	var published []weak.Pointer[[1024]byte]
	for range n {
		msg := new([1024]byte)
		published = append(published, weak.Make(msg))
		b.publish(chat, msg)
	}
	return func() (n int) {
		runtime.GC()
		for _, p := range published {
			if p.Value() != nil {
				n++
			}
		}
		return n
	}
}

// Promise 28: also if nothing is published any more and somebody holds the handles. At once when
// nobody can take anything, and else when the cleaner comes.
func TestWhatEverybodyHasTakenIsLetGoOf(t *testing.T) {
	const (
		messages = 200
		age      = 10 * time.Minute
		comes    = interval // when the cleaner has come at the latest
	)
	type handles []*broadcast.Subscriber[bulk]
	takeEverything := func(handles handles) {
		for _, s := range handles {
			for _, ok := s.TryNext(); ok; _, ok = s.TryNext() {
			}
		}
	}
	closeAll := func(handles handles) {
		for _, s := range handles {
			_ = s.Close()
		}
	}
	for way, c := range map[string]struct {
		opts []broadcast.Option
		act  func(b *auditedBroker[bulk], handles handles)
	}{
		"the chat is quiet": {nil, func(_ *auditedBroker[bulk], handles handles) {
			takeEverything(handles)
			sleep(comes)
		}},
		"the chat is quiet, and one was behind for long": {nil, func(_ *auditedBroker[bulk], handles handles) {
			takeEverything(handles[1:])
			sleep(interval)
			takeEverything(handles)
			sleep(interval)
		}},
		"the chat is quiet, and the one that was behind has closed": {nil, func(_ *auditedBroker[bulk], handles handles) {
			takeEverything(handles[1:])
			sleep(time.Hour)
			closeAll(handles[:1])
			sleep(comes)
		}},
		"the last reader has closed": {nil, func(_ *auditedBroker[bulk], handles handles) {
			closeAll(handles)
		}},
		"the last reader has taken everything and closed": {nil, func(_ *auditedBroker[bulk], handles handles) {
			takeEverything(handles)
			closeAll(handles)
		}},
		"the broker was closed": {nil, func(b *auditedBroker[bulk], handles handles) {
			takeEverything(handles)
			_ = b.Close()
		}},
		"the broker was closed, and then everything was taken": {nil, func(b *auditedBroker[bulk], handles handles) {
			_ = b.Close()
			takeEverything(handles)
		}},
		"the broker was shut down": {nil, func(b *auditedBroker[bulk], handles handles) {
			shutdown := async(func() error { return b.Shutdown(b.t.Context()) })
			synctest.Wait()
			takeEverything(handles)
			require.NoError(b.t, (<-shutdown).err)
		}},
		"the chat has ended, and everything was taken until its name was free": {
			[]broadcast.Option{broadcast.WithHistory(messages, 0)},
			func(b *auditedBroker[bulk], handles handles) {
				b.endChat(chat)
				takeEverything(handles)
				sleep(idle)
			},
		},
		"the chat has ended, and everything was taken when its name was free": {nil, func(b *auditedBroker[bulk], handles handles) {
			b.endChat(chat)
			sleep(idle)
			takeEverything(handles)
		}},
		"the chat has ended, and somebody has kicked who did not drain": {nil, func(b *auditedBroker[bulk], handles handles) {
			b.endChat(chat)
			for _, s := range handles {
				require.True(b.t, b.Kick(chat, s.Device(), nil))
			}
		}},
		"somebody has forgotten the chat with its history": {
			[]broadcast.Option{broadcast.WithHistory(messages, 0)},
			func(b *auditedBroker[bulk], handles handles) {
				closeAll(handles)
				require.NoError(b.t, b.Forget(b.t.Context(), chat))
			},
		},
		"the history has expired": {
			[]broadcast.Option{broadcast.WithHistory(messages, age)},
			func(_ *auditedBroker[bulk], handles handles) {
				takeEverything(handles)
				sleep(age + comes)
			},
		},
		"the history has expired, and nobody is there": {
			[]broadcast.Option{broadcast.WithHistory(messages, age), broadcast.WithChatIdle(time.Hour)},
			func(_ *auditedBroker[bulk], handles handles) {
				closeAll(handles)
				sleep(age + comes)
			},
		},
		"the chat was forgotten with its history": {
			[]broadcast.Option{broadcast.WithHistory(messages, age), broadcast.WithChatIdle(0)},
			func(_ *auditedBroker[bulk], handles handles) {
				closeAll(handles)
				sleep(age + comes)
			},
		},
		"the broker was closed with its history": {
			[]broadcast.Option{broadcast.WithHistory(messages, 0)},
			func(b *auditedBroker[bulk], handles handles) {
				takeEverything(handles)
				_ = b.Close()
			},
		},
	} {
		t.Run(way, func(t *testing.T) {
			forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
				b := newBroker[bulk](t, append(c.opts, broadcast.WithSampling(strategy), broadcast.WithStallTimeout(0))...)
				handles := handles{b.join(chat, "one"), b.join(chat, "two")}
				alive := publishBulk(t, b, messages)
				require.Equal(t, messages, alive(), "nobody has taken them")
				c.act(b, handles)
				require.Zero(t, alive())
				runtime.KeepAlive(handles)
			})
		})
	}
}

// Promises 28 and 46: of a chat that has ended, nothing is held when its name is free but what fits
// the buffers of those who have not drained, rounded up to whole segments.
func TestNothingIsHeldOfAChatWhoseNameIsFreeButWhatFitsTheBuffers(t *testing.T) {
	forStrategies(t, everyStrategy, func(t *testing.T, strategy broadcast.Sampling) {
		const messages, buffer, segment = 2_000, 10, 256
		b := newBroker[bulk](t, broadcast.WithHistory(messages, 0), broadcast.WithSampling(strategy), broadcast.WithStallTimeout(0))
		alive := publishBulk(t, b, messages)
		s := b.join(chat, "device", broadcast.WithBuffer(buffer), broadcast.Replay(messages))
		b.endChat(chat)
		sleep(idle - 1)
		require.Equal(t, messages, alive())
		sleep(1)
		require.LessOrEqual(t, alive(), buffer+2*segment)
		require.Len(t, takeAll(t, s), buffer)
		require.Zero(t, alive())
	})
}

// Promise 28.
func TestWhatIsPublishedInAChatWithoutReadersIsLetGoOf(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[bulk](t, broadcast.WithChatIdle(time.Hour))
		require.NoError(t, b.join(chat, "device").Close())
		alive := publishBulk(t, b, 100)
		sleep(interval)
		require.Equal(t, 1, b.Stats().Chats)
		require.Zero(t, alive())
	})
}

// Promise 28: in whatever way it ended.
func TestAHandleThatHasEndedHoldsNothingWhenItHasTakenTheLastMessage(t *testing.T) {
	forStrategies(t, lossy, func(t *testing.T, strategy broadcast.Sampling) {
		b := newBroker[bulk](t, broadcast.WithPatience(0), broadcast.WithBuffer(50), broadcast.WithStallTimeout(10*time.Minute))
		s := b.join(chat, "device", broadcast.WithSampling(strategy))
		alive := publishBulk(t, b, 80) // with Disconnect it ends in between
		sleep(time.Hour)
		require.Error(t, s.Err())
		pending := requireBooks(t, s).Pending
		require.NotZero(t, pending)
		for range pending {
			_, ok := s.TryNext()
			require.True(t, ok)
		}
		require.Zero(t, alive())
		runtime.KeepAlive(s)
	})
}

// Promise 28, in figures: 200 chats that were busy once and are quiet now.
func TestQuietChatsHoldNoMessages(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const chats, messages = 200, 488
		b := unaudited[[]byte](t, broadcast.WithBuffer(messages))
		var handles []*broadcast.Subscriber[[]byte]
		for i := range chats {
			handles = append(handles, b.join(fmt.Sprint(i), "device"))
		}
		before := heap()
		for i, s := range handles {
			for range messages {
				b.publish(fmt.Sprint(i), make([]byte, 1024))
			}
			for range messages {
				_, ok := s.TryNext()
				require.True(t, ok)
			}
		}
		sleep(interval)
		kept := heap() - before
		t.Logf("%d bytes for each chat", kept/chats)
		require.Less(t, kept, int64(chats<<10))
		runtime.KeepAlive(handles)
	})
}

// What is let go of is not missing: readers go on where they were, in whatever way they read,
// however long the pauses.
func TestReadersGoOnWhereTheyWereAfterTheCleanerHasBeenThere(t *testing.T) {
	type subscriber = broadcast.Subscriber[int]
	for way, readUpTo := range map[string]func(s *subscriber, last int) []int{
		"Next": func(s *subscriber, last int) (got []int) {
			for len(got) == 0 || got[len(got)-1] < last {
				d, err := s.Next(context.Background())
				if err != nil {
					return got
				}
				got = append(got, d.Message)
			}
			return got
		},
		"Messages": func(s *subscriber, last int) (got []int) {
			for msg := range s.Messages(context.Background()) {
				if got = append(got, msg); msg == last {
					break
				}
			}
			return got
		},
		"Chan": func(s *subscriber, last int) (got []int) {
			for d := range s.Chan() {
				if got = append(got, d.Message); d.Message == last {
					break
				}
			}
			return got
		},
	} {
		t.Run(way, func(t *testing.T) {
			forStrategies(t, append(lossy, broadcast.Block), func(t *testing.T, strategy broadcast.Sampling) {
				b := newBroker[int](t, broadcast.WithSampling(strategy))
				bursts := []int{1, 3, 8, 1, 100, 20, 1, 1, 250}
				last := 0
				for _, n := range bursts {
					last += n
				}
				got := make([][]int, 3)
				var all sync.WaitGroup
				for i := range got {
					s := b.join(chat, fmt.Sprint(i))
					all.Go(func() { got[i] = readUpTo(s, last) })
				}
				published := 0
				for _, n := range bursts {
					b.publish(chat, from(published+1, published+n)...)
					published += n
					sleep(3 * interval)
				}
				all.Wait()
				for i := range got {
					require.Equal(t, from(1, last), got[i])
				}
			})
		})
	}
}

// The race detector watches: what all have taken is let go of while they go on.
func TestNothingIsLostWhereTheCleanerMeetsReadersAndPublishers(t *testing.T) {
	const messages, readers = 20_000, 4
	b := newBroker[int](t, broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(8))
	var all sync.WaitGroup
	for i := range readers {
		s := b.join(chat, fmt.Sprint(i))
		all.Go(func() {
			next := 1
			for msg := range s.Messages(t.Context()) {
				if msg != next {
					t.Errorf("%d instead of %d", msg, next)
					return
				}
				if next++; next > messages {
					return
				}
				if next%7 == i {
					runtime.Gosched()
				}
			}
		})
	}
	stop := make(chan struct{})
	var cleaner sync.WaitGroup
	cleaner.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				broadcast.ReleaseTaken(b.Broker, chat)
				runtime.Gosched()
			}
		}
	})
	b.publish(chat, from(1, messages)...)
	all.Wait()
	close(stop)
	cleaner.Wait()
}

// "Nothing ticks": neither in a quiet chat, nor beside a reader that is stuck.
func TestTheCleanerComesOnceForWhatWasTakenAndTwiceIfSomebodyIsBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		sleep(idle + interval) // it has been there because the chat was new
		require.Zero(t, broadcast.Due(b.Broker))
		b.publish(chat, 1, 2, 3)
		require.Equal(t, 1, broadcast.Due(b.Broker))
		takeAll(t, s)
		sleep(interval)
		require.Zero(t, broadcast.Due(b.Broker))

		b.publish(chat, 4)
		sleep(interval)
		require.Equal(t, 1, broadcast.Due(b.Broker), "it is behind")
		sleep(interval)
		require.Zero(t, broadcast.Due(b.Broker), "it may be so for ever")
	})
}

// A chat without anything in it that was taken is not worth a visit.
func TestReadersThatComeAndGoInASilentChatDoNotCallTheCleaner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		b.join(chat, "stays")
		sleep(idle + interval)
		require.NoError(t, b.join(chat, "goes").Close())
		require.Zero(t, broadcast.Due(b.Broker))
	})
}

// Promise 28: what has yet to be taken is in as few segments as if the cleaner never came.
func TestNoSegmentIsBegunForEachMessageBesideAReaderThatIsBehind(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const messages = 100
		b := newBroker[[1024]byte](t)
		behind, healthy := b.join(chat, "behind"), b.join(chat, "healthy")
		before := heap()
		for range messages {
			b.publish(chat, [1024]byte{})
			take(t, healthy, 1)
			sleep(3 * interval)
		}
		require.Less(t, heap()-before, int64(2*messages*1024))
		runtime.KeepAlive(behind)
	})
}

// Also if it comes for other reasons meanwhile.
func TestTheCleanerLetsGoOfWhatWasTakenAlthoughItComesEarlierForThoseWhoLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[bulk](t, broadcast.WithLeaveGrace(time.Second))
		behind := b.join(chat, "stays")
		alive := publishBulk(t, b, 10)
		for range 10 {
			require.NoError(t, b.join(chat, "goes").Close())
			sleep(2 * time.Second)
		}
		for _, ok := behind.TryNext(); ok; _, ok = behind.TryNext() {
		}
		sleep(interval)
		require.Zero(t, alive())
		runtime.KeepAlive(behind)
	})
}

// Promise 28: a reader may store its place just after somebody has taken it away, because it does
// so without the lock. The next time that it takes the lock, or gives up, it lets go of that.
func TestAReaderOffTheListKeepsNoPlaceThatItStoredTooLate(t *testing.T) {
	for name, read := range map[string]func(*testing.T, *broadcast.Subscriber[int]){
		"it reads on": func(t *testing.T, s *broadcast.Subscriber[int]) { take(t, s, 1) },
		"it gives up": func(t *testing.T, s *broadcast.Subscriber[int]) {
			done, cancel := context.WithCancel(t.Context())
			cancel()
			_, err := s.Next(done)
			require.ErrorIs(t, err, context.Canceled)
		},
	} {
		t.Run(name, func(t *testing.T) {
			const n = 64
			b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(n))
			s := b.join(chat, "device")
			store := broadcast.KeepPlace(s)
			b.publish(chat, from(1, n+1)...)
			require.False(t, broadcast.HasPlace(s), "it is off the list")
			store()
			read(t, s)
			require.False(t, broadcast.HasPlace(s))
		})
	}
}

// Promise 28: also if it finds that its strategy is being applied, and gives up.
func TestAReaderThatWaitsForItsStrategyKeepsNoPlaceThatItStoredTooLate(t *testing.T) {
	const n = 64
	b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(n), broadcast.WithSampling(broadcast.DropRandom))
	s := b.join(chat, "device")
	store := broadcast.KeepPlace(s)
	b.publish(chat, from(1, n+1)...)
	done, cancel := context.WithCancel(t.Context())
	cancel()
	broadcast.SampleMeanwhile(s, func() {
		store()
		_, err := s.Next(done)
		require.ErrorIs(t, err, context.Canceled)
		require.False(t, broadcast.HasPlace(s))
	})
}

// Promise 28.
func TestASubscriptionThatEndsAsItBeginsToWaitLeavesNothing(t *testing.T) {
	b := newBroker[int](t)
	s := b.join(chat, "device")
	require.NoError(t, s.Close())
	broadcast.BeginToWait(s)
	require.Empty(t, broadcast.Leftovers(b.Broker))
}

// The tests in this file hold the library to what it says of its costs, with bounds that a busy
// machine does not break. The benchmarks measure the same things exactly.

func TestAnIdleSubscriberCostsAtMost400Bytes(t *testing.T) {
	if racedetector.Enabled {
		t.Skip("the race detector's own bytes would count")
	}
	small, large := idleBytes[[16]byte](t, oneChat), idleBytes[[1024]byte](t, oneChat)
	t.Logf("%.0f bytes, with messages of 1 KiB %.0f", small, large)
	require.LessOrEqual(t, small, 400.0)
	require.LessOrEqual(t, large, 400.0)
}

func TestAnIdleSubscriberThatSharesItsContextCostsAtMost400Bytes(t *testing.T) {
	if racedetector.Enabled {
		t.Skip("the race detector's own bytes would count")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	bytes := idleBytes[[16]byte](t, oneChat, func(int) broadcast.SubscribeOption { return broadcast.Until(ctx) })
	t.Logf("%.0f bytes", bytes)
	require.LessOrEqual(t, bytes, 400.0)
}

// For the strategy that needs to do nothing.
func TestAPublishCostsTheSameBesideOneStuckReaderAndTenThousand(t *testing.T) {
	if racedetector.Enabled {
		t.Skip("not what a user pays")
	}
	few, many := besideStuck(t, 1), besideStuck(t, 10_000)
	const repetitions, calls = 25, 1_000
	var beside1, beside10k []time.Duration
	for range repetitions { // by turns, so that a machine that is slow for a while is so for both
		beside1 = append(beside1, repeat(calls, few))
		beside10k = append(beside10k, repeat(calls, many))
	}
	one, tenThousand := median(beside1)/calls, median(beside10k)/calls
	t.Logf("%v beside 1 stuck reader, %v beside 10 000", one, tenThousand)
	require.Less(t, tenThousand, 5*one+100*time.Nanosecond) // a look at each of them would take 10 µs and more
}

// besideFull returns a chat with full readers, half of them with Block. Nobody has waited for them
// yet.
func besideFull(tb testing.TB, readers int, opts ...broadcast.Option) *auditedBroker[int] {
	b := newBroker[int](tb, append(opts, broadcast.WithBuffer(1))...)
	for i := range readers {
		b.join(chat, strconv.Itoa(i), broadcast.WithSampling([]broadcast.Sampling{broadcast.Block, broadcast.DropOldest}[i%2]))
	}
	require.NoError(tb, b.TryPublish(chat, 1))
	return b
}

func TestTryPublishIsRefusedAfterALookAtOneFullReader(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := besideFull(t, 100)
		require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrOverloaded)
		broadcast.HidingFull(b.Broker, chat, 1, func() {
			for range 3 {
				require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrOverloaded)
			}
		})
	})
}

// Patience is for each reader once: who comes later looks at none of those for which another has
// waited in vain.
func TestPublishersAreRefusedWithoutALookAtReadersThatUsedTheirPatienceUp(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := besideFull(t, 100, broadcast.WithPublishTimeout(2*patience))
		require.ErrorIs(t, b.Publish(t.Context(), chat, 2), broadcast.ErrOverloaded)
		broadcast.HidingFull(b.Broker, chat, 0, func() {
			for range 3 {
				require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrOverloaded)
				waiting := queue(t.Context(), b, 3, 4)
				require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrOverloaded)
				for _, w := range waiting {
					require.Equal(t, result{broadcast.ErrOverloaded, 2 * patience}, <-w)
				}
			}
		})
	})
}

// Promise 26: the last one lets it go on. Each time before it would look at all that are still
// full.
func TestAPublisherIsNotWokenByTheEndOfOneOfManyFullReaders(t *testing.T) {
	for name, end := range map[string]func(s *broadcast.Subscriber[int]){
		"makes room": func(s *broadcast.Subscriber[int]) { s.TryNext() },
		"closes":     func(s *broadcast.Subscriber[int]) { _ = s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := besideFull(t, 100)
				waiting := queue(t.Context(), b, 2)[0]
				for i, s := range b.subs {
					woken := broadcast.Deafening(b.Broker, chat, 0, func() { end(s) })
					require.Equal(t, i == len(b.subs)-1, woken, "reader %d", i)
				}
				require.Equal(t, result{}, <-waiting)
			})
		})
	}
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func TestPublishAllocatesAtMostOnceIn20Messages(t *testing.T) {
	if racedetector.Enabled {
		t.Skip("the race detector allocates too")
	}
	for _, readers := range []int{0, 1, 100} {
		t.Run(fmt.Sprintf("readers=%d", readers), func(t *testing.T) {
			publish := besideStuck(t, readers)
			const messages = 10_000
			require.LessOrEqual(t, countAllocations(func() { repeat(messages, publish) })/messages, 0.05)
		})
	}
}

func TestADeliveryAllocatesNothing(t *testing.T) {
	if racedetector.Enabled {
		t.Skip("the race detector allocates too")
	}
	const burst = 200
	into := make([]broadcast.Delivery[payload], 32)
	for name, read := range map[string]func(s *broadcast.Subscriber[payload]) error{
		"Next": func(s *broadcast.Subscriber[payload]) (err error) {
			for range burst {
				_, err = s.Next(t.Context())
			}
			return err
		},
		"TryNext": func(s *broadcast.Subscriber[payload]) error {
			for range burst {
				s.TryNext()
			}
			return nil
		},
		"NextBatch": func(s *broadcast.Subscriber[payload]) (err error) {
			for n := 0; n < burst && err == nil; {
				var more int
				more, err = s.NextBatch(t.Context(), into)
				n += more
			}
			return err
		},
		"All": func(s *broadcast.Subscriber[payload]) error {
			for d := range s.All(t.Context()) {
				if d.Seq%burst == 0 {
					break
				}
			}
			return nil
		},
		"Messages": func(s *broadcast.Subscriber[payload]) error {
			n := 0
			for range s.Messages(t.Context()) {
				if n++; n == burst {
					break
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBroker[payload](t)
			s := b.join(chat, "device")
			const bursts = 50
			var allocations float64
			for range bursts {
				b.publish(chat, make([]payload, burst)...)
				allocations += countAllocations(func() { require.NoError(t, read(s)) })
				require.Zero(t, requireBooks(t, s).Pending)
			}
			require.Less(t, allocations/(bursts*burst), 0.05) // a loop has a few, its deliveries none
		})
	}
}

// A reader that was overrun once does not keep a buffer's memory for ever.
func TestAReaderThatHasCaughtUpHoldsNoBacklog(t *testing.T) {
	const buffer = 10_000
	b := unaudited[[256]byte](t, broadcast.WithPatience(0))
	s := b.join(chat, "device", broadcast.WithSampling(broadcast.DropNewest), broadcast.WithBuffer(buffer))
	before := heap()
	for range buffer + 10 {
		require.NoError(t, b.TryPublish(chat, [256]byte{}))
	}
	for range buffer {
		s.TryNext()
	}
	require.NoError(t, b.TryPublish(chat, [256]byte{}))
	s.TryNext()
	require.Less(t, heap()-before, int64(256<<10))
	runtime.KeepAlive(s)
}
