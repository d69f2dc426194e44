package broadcast_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// benchBuffer is the buffer of each reader, and the capacity of each channel that it is compared
// to.
const benchBuffer = 100

// BenchmarkPublish is what a Publish costs beside readers that are stuck, each with DropOldest. The
// reference does the same by hand: a channel for each reader, from which the oldest is taken when
// it is full.
func BenchmarkPublish(b *testing.B) {
	for _, stuck := range []int{1, 100, 10_000} {
		b.Run(fmt.Sprintf("stuck=%d", stuck), func(b *testing.B) {
			publish := besideStuck(b, stuck)
			for b.Loop() {
				publish()
			}
		})
		b.Run(fmt.Sprintf("stuck=%d/reference=raw-channel", stuck), func(b *testing.B) {
			channels := make([]chan payload, stuck)
			for i := range channels {
				channels[i] = make(chan payload, benchBuffer)
			}
			for b.Loop() {
				for _, c := range channels {
					if len(c) == cap(c) {
						<-c
					}
					c <- payload{}
				}
			}
		})
	}
}

// besideStuck returns a function that publishes one message in a chat with readers that are stuck:
// full, and waited for once.
func besideStuck(tb testing.TB, stuck int) (publish func()) {
	broker, err := broadcast.New[payload](broadcast.WithBuffer(benchBuffer), broadcast.WithPublishTimeout(0))
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, broker.Close()) })
	for i := range stuck {
		_, err := broker.Subscribe(chat, strconv.Itoa(i))
		require.NoError(tb, err)
	}
	publish = func() {
		if err := broker.Publish(context.Background(), chat, payload{}); err != nil {
			tb.Fatal(err)
		}
	}
	for range 2 * benchBuffer {
		publish()
	}
	return publish
}

// BenchmarkRefusal is what a message costs that is refused because of Block readers that are full:
// a TryPublish, and a Publish that waits in vain for a microsecond, which is what one costs beside
// a single reader.
func BenchmarkRefusal(b *testing.B) {
	for _, readers := range []int{1, 20_000} {
		for name, publish := range map[string]func(*broadcast.Broker[payload]) error{
			"TryPublish": func(broker *broadcast.Broker[payload]) error { return broker.TryPublish(chat, payload{}) },
			"Publish": func(broker *broadcast.Broker[payload]) error {
				return broker.Publish(context.Background(), chat, payload{})
			},
		} {
			b.Run(fmt.Sprintf("readers=%d/call=%s", readers, name), func(b *testing.B) {
				broker, err := broadcast.New[payload](broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block),
					broadcast.WithPatience(time.Nanosecond), broadcast.WithPublishTimeout(time.Microsecond))
				require.NoError(b, err)
				defer broker.Close()
				for i := range readers {
					_, err := broker.Subscribe(chat, strconv.Itoa(i))
					require.NoError(b, err)
				}
				require.NoError(b, broker.TryPublish(chat, payload{}))
				for b.Loop() {
					if publish(broker) == nil {
						b.Fatal("accepted")
					}
				}
			})
		}
	}
}

// BenchmarkSampler is what a Publish costs beside one reader that never reads, whose sampler looks
// at all of its buffer.
func BenchmarkSampler(b *testing.B) {
	for _, buffer := range []int{benchBuffer, 5_000} {
		b.Run(fmt.Sprintf("buffer=%d", buffer), func(b *testing.B) {
			smallest := func(backlog broadcast.Backlog[payload], next payload) int {
				drop, least := backlog.Len(), next[0]
				for i := range backlog.Len() {
					if n := backlog.At(i)[0]; n < least {
						drop, least = i, n
					}
				}
				return drop
			}
			broker, err := broadcast.New[payload](broadcast.WithBuffer(buffer), broadcast.WithSampler(smallest))
			require.NoError(b, err)
			defer broker.Close()
			_, err = broker.Subscribe(chat, "stuck")
			require.NoError(b, err)
			publish := func() {
				if err := broker.Publish(context.Background(), chat, payload{rand.Int64()}); err != nil {
					b.Fatal(err)
				}
			}
			for range 2 * buffer {
				publish()
			}
			for b.Loop() {
				publish()
			}
		})
	}
}

// BenchmarkTicks is how long each Publish of a ticker takes, 20 ms after the last, beside a reader
// with a buffer of 1 that takes one message in 25 ms.
func BenchmarkTicks(b *testing.B) {
	for _, patience := range []time.Duration{10 * time.Millisecond, 0} {
		b.Run(fmt.Sprintf("patience=%v", patience), func(b *testing.B) {
			broker, err := broadcast.New[payload](broadcast.WithBuffer(1), broadcast.WithPatience(patience))
			require.NoError(b, err)
			s, err := broker.Subscribe(chat, "slow")
			require.NoError(b, err)
			var reader sync.WaitGroup
			reader.Go(func() {
				for range s.Messages(context.Background()) {
					time.Sleep(25 * time.Millisecond)
				}
			})
			ticker := time.NewTicker(20 * time.Millisecond)
			defer ticker.Stop()
			var took time.Duration
			for b.Loop() {
				<-ticker.C
				took += elapsed(func() { require.NoError(b, broker.Publish(context.Background(), chat, payload{})) })
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N), "ns/publish")
			b.ReportMetric(0, "ns/op") // says nothing
			require.NoError(b, broker.Close())
			reader.Wait()
		})
	}
}

// BenchmarkComingBack is what a Publish costs beside a device with a buffer of 1 that never reads:
// it stays, or every 5 ms it takes over from itself, or closes and comes back under a new name.
func BenchmarkComingBack(b *testing.B) {
	for _, how := range []string{"stays", "takes-over", "new-name"} {
		b.Run("device="+how, func(b *testing.B) {
			broker, err := broadcast.New[payload](broadcast.WithBuffer(1))
			require.NoError(b, err)
			defer broker.Close()
			name := 0
			subscribe := func() *broadcast.Subscriber[payload] {
				s, err := broker.Subscribe(chat, strconv.Itoa(name))
				require.NoError(b, err)
				return s
			}
			s := subscribe()
			ctx, stop := context.WithCancel(context.Background())
			var device sync.WaitGroup
			device.Go(func() {
				for ctx.Err() == nil && how != "stays" {
					time.Sleep(5 * time.Millisecond)
					if how == "new-name" {
						_ = s.Close()
						name++
					}
					s = subscribe()
				}
			})
			for b.Loop() {
				if err := broker.Publish(context.Background(), chat, payload{}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "publishes/s")
			stop()
			device.Wait()
		})
	}
}

// BenchmarkFanOut publishes bursts of messages to readers that keep up, and waits after each until
// all of them have it. The reference does exactly the same with a channel for each reader.
func BenchmarkFanOut(b *testing.B) {
	ways := []struct {
		name string
		read func(ctx context.Context, s *broadcast.Subscriber[payload], got func())
	}{
		{"Messages", func(ctx context.Context, s *broadcast.Subscriber[payload], got func()) {
			for range s.Messages(ctx) {
				got()
			}
		}},
		{"All", func(ctx context.Context, s *broadcast.Subscriber[payload], got func()) {
			for range s.All(ctx) {
				got()
			}
		}},
		{"Next", func(ctx context.Context, s *broadcast.Subscriber[payload], got func()) {
			for {
				if _, err := s.Next(ctx); err != nil {
					return
				}
				got()
			}
		}},
		{"NextBatch", func(ctx context.Context, s *broadcast.Subscriber[payload], got func()) {
			into := make([]broadcast.Delivery[payload], 16)
			for {
				n, err := s.NextBatch(ctx, into)
				if err != nil {
					return
				}
				for range n {
					got()
				}
			}
		}},
	}
	for _, readers := range []int{1, 10, 100, 1_000} {
		for _, burst := range []int{1, 64} {
			for _, way := range ways {
				b.Run(fmt.Sprintf("readers=%d/burst=%d/way=%s", readers, burst, way.name), func(b *testing.B) {
					broker, err := broadcast.New[payload](broadcast.WithBuffer(benchBuffer))
					require.NoError(b, err)
					var subscribers []*broadcast.Subscriber[payload]
					for i := range readers {
						s, err := broker.Subscribe(chat, strconv.Itoa(i))
						require.NoError(b, err)
						subscribers = append(subscribers, s)
					}
					fanOut(b, readers, burst,
						func(i int, got func()) { way.read(context.Background(), subscribers[i], got) },
						func() {
							if err := broker.Publish(context.Background(), chat, payload{}); err != nil {
								b.Fatal(err)
							}
						},
						func() { require.NoError(b, broker.Close()) })
				})
			}
			b.Run(fmt.Sprintf("readers=%d/burst=%d/reference=raw-channel", readers, burst), func(b *testing.B) {
				channels := make([]chan payload, readers)
				for i := range channels {
					channels[i] = make(chan payload, benchBuffer)
				}
				fanOut(b, readers, burst,
					func(i int, got func()) {
						for range channels[i] {
							got()
						}
					},
					func() {
						for _, c := range channels {
							c <- payload{}
						}
					},
					func() {
						for _, c := range channels {
							close(c)
						}
					})
			})
		}
	}
}

// fanOut measures rounds. Each reader calls got for each message that it has, publish sends one to
// all, end makes the readers return.
func fanOut(b *testing.B, readers, burst int, read func(i int, got func()), publish, end func()) {
	var round, all sync.WaitGroup
	for i := range readers {
		all.Go(func() {
			left := burst
			read(i, func() {
				if left--; left == 0 {
					left = burst
					round.Done()
				}
			})
		})
	}
	for b.Loop() {
		round.Add(readers)
		for range burst {
			publish()
		}
		round.Wait()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*burst*readers), "ns/delivery")
	end()
	all.Wait()
}

// BenchmarkOverrunReader is a publish, and a take by a reader that was overrun and stays behind by
// its buffer, beside what the chat keeps for those who come later.
func BenchmarkOverrunReader(b *testing.B) {
	for _, history := range []int{0, 1 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("history=%d", history), func(b *testing.B) {
			broker, err := broadcast.New[int](broadcast.WithHistory(history, 0), broadcast.WithPatience(0))
			require.NoError(b, err)
			defer broker.Close()
			s, err := broker.Subscribe(chat, "device")
			require.NoError(b, err)
			publish := func(n int) {
				for range n {
					if err := broker.Publish(context.Background(), chat, 1); err != nil {
						b.Fatal(err)
					}
				}
			}
			publish(history + 1_000)
			for b.Loop() {
				publish(1)
				if _, ok := s.TryNext(); !ok {
					b.Fatal("nothing to take")
				}
			}
		})
	}
}

// BenchmarkReadersOverrunAtOnce is a publish that overruns many readers, each with a buffer of
// another size.
func BenchmarkReadersOverrunAtOnce(b *testing.B) {
	for _, readers := range []int{1_000, 8_000} {
		b.Run(fmt.Sprintf("readers=%d", readers), func(b *testing.B) {
			var took time.Duration
			for b.Loop() {
				broker, err := broadcast.New[int](broadcast.WithPatience(0))
				require.NoError(b, err)
				publish := func() { require.NoError(b, broker.Publish(context.Background(), chat, 1)) }
				for buffer := readers; buffer > 0; buffer-- { // all of them will be full at the same moment
					_, err := broker.Subscribe(chat, strconv.Itoa(buffer), broadcast.WithBuffer(buffer))
					require.NoError(b, err)
					publish()
				}
				took += elapsed(publish)
				require.NoError(b, broker.Close())
			}
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*readers), "ns/reader")
			b.ReportMetric(0, "ns/op") // says nothing
		})
	}
}

// BenchmarkReadersFullTogether is a publish that finds many readers full, and how long another call
// that needs the chat's lock waits meanwhile: the longest of many.
func BenchmarkReadersFullTogether(b *testing.B) {
	for _, strategy := range lossy {
		for _, readers := range []int{1_000, 10_000, 100_000} {
			b.Run(fmt.Sprintf("%v/readers=%d", strategy, readers), func(b *testing.B) {
				var took, waited []time.Duration
				for b.Loop() {
					broker, err := broadcast.New[int](broadcast.WithSampling(strategy), broadcast.WithBuffer(1))
					require.NoError(b, err)
					for i := range readers {
						_, err := broker.Subscribe(chat, strconv.Itoa(i))
						require.NoError(b, err)
					}
					require.NoError(b, broker.TryPublish(chat, 1))
					published := make(chan struct{})
					go func() {
						defer close(published)
						took = append(took, elapsed(func() { _ = broker.TryPublish(chat, 2) }))
					}()
					longest := time.Duration(0)
					for done := false; !done; {
						longest = max(longest, elapsed(func() { _, _ = broker.Head(context.Background(), chat) }))
						select {
						case <-published:
							done = true
						default:
						}
					}
					waited = append(waited, longest)
					require.NoError(b, broker.Close())
				}
				slices.Sort(took)
				slices.Sort(waited)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "publish-µs")
				b.ReportMetric(float64(waited[len(waited)/2].Microseconds()), "beside-µs")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// BenchmarkReplay is what it costs to begin half way in the history.
func BenchmarkReplay(b *testing.B) {
	for _, history := range []int{1 << 10, 1 << 20} {
		b.Run(fmt.Sprintf("history=%d", history), func(b *testing.B) {
			broker, err := broadcast.New[int](broadcast.WithHistory(history, 0), broadcast.WithPatience(0))
			require.NoError(b, err)
			defer broker.Close()
			for range history {
				if err := broker.Publish(context.Background(), chat, 1); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if _, err := broker.Subscribe(chat, "device", broadcast.Replay(history/2)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkIdleSubscriber is about memory: what a subscriber costs that does nothing, with the
// default buffer, its name not counted.
func BenchmarkIdleSubscriber(b *testing.B) {
	b.Run("message=16B", func(b *testing.B) { reportIdle[[16]byte](b, oneChat, "B/subscriber") })
	b.Run("message=1KiB", func(b *testing.B) { reportIdle[[1024]byte](b, oneChat, "B/subscriber") })
	shared, cancel := context.WithCancel(context.Background())
	defer cancel()
	b.Run("until=shared", func(b *testing.B) {
		reportIdle[[16]byte](b, oneChat, "B/subscriber", func(int) broadcast.SubscribeOption { return broadcast.Until(shared) })
	})
	var own []context.Context
	for range idlers {
		ctx, cancel := context.WithCancel(shared)
		defer cancel()
		own = append(own, ctx)
	}
	b.Run("until=own", func(b *testing.B) { // what context.AfterFunc takes is part of it
		reportIdle[[16]byte](b, oneChat, "B/subscriber", func(i int) broadcast.SubscribeOption { return broadcast.Until(own[i]) })
	})
}

// BenchmarkIdleChat is about memory: what a chat costs that has one reader and is quiet, the reader
// included.
func BenchmarkIdleChat(b *testing.B) {
	b.Run("message=16B", func(b *testing.B) { reportIdle[[16]byte](b, manyChats, "B/chat") })
	b.Run("message=1KiB", func(b *testing.B) { reportIdle[[1024]byte](b, manyChats, "B/chat") })
}

// BenchmarkIdleReader is about memory: what a subscriber costs that a goroutine reads, which waits
// after its first message.
func BenchmarkIdleReader(b *testing.B) {
	show := func(v any) { _, _ = fmt.Fprintln(io.Discard, v) } // some of a stack, as the body of any loop
	ways := []struct {
		name string
		read func(ctx context.Context, s *broadcast.Subscriber[payload])
	}{
		{"Messages", func(ctx context.Context, s *broadcast.Subscriber[payload]) {
			for msg := range s.Messages(ctx) {
				show(msg)
			}
		}},
		{"All", func(ctx context.Context, s *broadcast.Subscriber[payload]) {
			for d := range s.All(ctx) {
				show(d)
			}
		}},
		{"Next", func(ctx context.Context, s *broadcast.Subscriber[payload]) {
			for d, err := s.Next(ctx); err == nil; d, err = s.Next(ctx) {
				show(d)
			}
		}},
		{"Chan", func(_ context.Context, s *broadcast.Subscriber[payload]) {
			for d := range s.Chan() {
				show(d)
			}
		}},
	}
	for _, way := range ways {
		b.Run("way="+way.name, func(b *testing.B) {
			var bytes float64
			for b.Loop() {
				bytes = readerBytes(b, way.read)
			}
			b.ReportMetric(bytes, "B/reader")
			b.ReportMetric(0, "ns/op") // says nothing
		})
	}
}

// readerBytes returns what each of many subscriptions costs, the goroutine that reads it included.
func readerBytes(b *testing.B, read func(ctx context.Context, s *broadcast.Subscriber[payload])) float64 {
	broker, err := broadcast.New[payload]()
	require.NoError(b, err)
	names := make([]string, 10_000)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var readers sync.WaitGroup
	before := heap() + stacks()
	for _, name := range names {
		s, err := broker.Subscribe(chat, name)
		require.NoError(b, err)
		readers.Go(func() { read(ctx, s) })
	}
	require.NoError(b, broker.Publish(ctx, chat, payload{}))
	for broker.Stats().Delivered < uint64(len(names)) {
		runtime.Gosched()
	}
	time.Sleep(10 * time.Millisecond) // until they wait
	after := heap() + stacks()
	require.NoError(b, broker.Close())
	readers.Wait()
	return float64(after-before) / float64(len(names))
}

// stacks returns the bytes of the stacks of goroutines.
func stacks() int64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.StackInuse)
}

func oneChat(name string) (chat, device string)   { return "the chat of all", name }
func manyChats(name string) (chat, device string) { return name, "device" }

func reportIdle[T any](
	b *testing.B, where func(name string) (chat, device string), unit string, options ...func(i int) broadcast.SubscribeOption,
) {
	var bytes float64
	for b.Loop() {
		bytes = idleBytes[T](b, where, options...)
	}
	b.ReportMetric(bytes, unit)
	b.ReportMetric(0, "ns/op") // says nothing
}

// idlers is how many subscriptions idleBytes makes.
const idlers = 10_000

// idleBytes returns what each of many subscriptions costs, its options included.
func idleBytes[T any](
	tb testing.TB, where func(name string) (chat, device string), options ...func(i int) broadcast.SubscribeOption,
) float64 {
	broker, err := broadcast.New[T]()
	require.NoError(tb, err)
	defer broker.Close()
	names := make([]string, idlers)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	_, err = broker.Subscribe(where("the first"))
	require.NoError(tb, err)

	before := heap()
	for i, name := range names {
		chat, device := where(name)
		var opts []broadcast.SubscribeOption
		for _, option := range options {
			opts = append(opts, option(i))
		}
		_, err := broker.Subscribe(chat, device, opts...)
		require.NoError(tb, err)
	}
	after := heap()
	runtime.KeepAlive(names)
	return float64(after-before) / float64(len(names))
}

// BenchmarkHistory measures the memory that a message takes in a full history.
func BenchmarkHistory(b *testing.B) {
	b.Run("message=16B", func(b *testing.B) { reportHistory[[16]byte](b) })
	b.Run("message=1KiB", func(b *testing.B) { reportHistory[[1024]byte](b) })
}

func reportHistory[T any](b *testing.B) {
	const chats, kept = 100, 1_000
	var bytes float64
	for b.Loop() {
		broker, err := broadcast.New[T](broadcast.WithHistory(kept, 0))
		require.NoError(b, err)
		before := heap()
		var message T
		for i := range 3 * kept * chats {
			require.NoError(b, broker.Publish(context.Background(), strconv.Itoa(i%chats), message))
		}
		bytes = float64(heap()-before) / chats / kept
		require.NoError(b, broker.Close())
	}
	b.ReportMetric(bytes, "B/message")
	b.ReportMetric(0, "ns/op") // says nothing
}

// subscribers is the number of subscribers of BenchmarkPublishBesideScrapes. docs/operating.md has
// the figures for a million.
var subscribers = flag.Int("subscribers", 10_000, "idle subscribers beside which BenchmarkPublishBesideScrapes publishes")

// BenchmarkPublishBesideScrapes measures how long Publish takes beside idle subscribers, ten in
// each chat. Seconds in which one call looks at all of them alternate with seconds without such a
// call. About 20 000 messages a second go to random chats.
func BenchmarkPublishBesideScrapes(b *testing.B) {
	for _, scrape := range []struct {
		call string
		look func(broker *broadcast.Broker[payload])
	}{
		{"Stats", func(broker *broadcast.Broker[payload]) { broker.Stats() }},
		{"Laggards", func(broker *broadcast.Broker[payload]) { broker.Laggards(50) }},
	} {
		b.Run("call="+scrape.call, func(b *testing.B) {
			broker, err := broadcast.New[payload]()
			require.NoError(b, err)
			defer broker.Close()
			chats := make([]string, *subscribers/10)
			for i := range chats {
				chats[i] = strconv.Itoa(i)
				for device := range 10 {
					_, err := broker.Subscribe(chats[i], strconv.Itoa(device))
					require.NoError(b, err)
				}
			}
			publish := func() {
				if err := broker.Publish(context.Background(), chats[rand.IntN(len(chats))], payload{}); err != nil {
					b.Fatal(err)
				}
			}
			var alone, beside, scrapes []time.Duration // the 99th percentile of each second; each look
			for n := 0; b.Loop(); n++ {
				for turn := range 2 {
					if (n+turn)%2 == 0 {
						alone = append(alone, percentile(latencies(time.Second, publish), 99))
						continue
					}
					var scraper sync.WaitGroup
					scraper.Go(func() { scrapes = append(scrapes, elapsed(func() { scrape.look(broker) })) })
					beside = append(beside, percentile(latencies(time.Second, publish), 99))
					scraper.Wait()
				}
			}
			median := func(all []time.Duration) float64 { return float64(percentile(all, 50)) }
			b.ReportMetric(median(alone), "p99-ns/alone")
			b.ReportMetric(median(beside), "p99-ns/scraped")
			b.ReportMetric(median(beside)/median(alone), "scraped/alone")
			b.ReportMetric(median(scrapes)/1e6, "ms/scrape")
			b.ReportMetric(0, "ns/op") // says nothing
		})
	}
}

// latencies calls f 20 times a millisecond, and returns how long each call took.
func latencies(d time.Duration, f func()) (all []time.Duration) {
	for began := time.Now(); time.Since(began) < d; time.Sleep(time.Millisecond) {
		for range 20 {
			all = append(all, elapsed(f))
		}
	}
	return all
}

// percentile returns the value that so many percent are below. It sorts all.
func percentile(all []time.Duration, percent int) time.Duration {
	slices.Sort(all)
	return all[min(len(all)-1, len(all)*percent/100)]
}

// BenchmarkEndOfContext ends the context that many subscriptions have in Until. MB is by how much
// the memory of the process grows by that, in its first round.
func BenchmarkEndOfContext(b *testing.B) {
	const subscribers = 50_000
	var started, grown float64
	for b.Loop() {
		b.StopTimer()
		broker, err := broadcast.New[payload]()
		require.NoError(b, err)
		ctx, cancel := context.WithCancel(context.Background())
		var all []*broadcast.Subscriber[payload]
		for i := range subscribers {
			s, err := broker.Subscribe(chat, strconv.Itoa(i), broadcast.Until(ctx))
			require.NoError(b, err)
			all = append(all, s)
		}
		runtime.GC()
		before, memory := runtime.NumGoroutine(), obtained()
		b.StartTimer()
		cancel()
		now := runtime.NumGoroutine()
		for _, s := range all {
			for s.Err() == nil {
				runtime.Gosched()
			}
		}
		b.StopTimer()
		started, grown = float64(now-before), max(grown, obtained()-memory)
		require.NoError(b, broker.Close())
		b.StartTimer()
	}
	b.ReportMetric(started, "goroutines")
	b.ReportMetric(grown/1e6, "MB")
}

// obtained returns how many bytes of memory the process has obtained from the system.
func obtained() float64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.Sys)
}

// The benchmarks in this file are about what must not grow with the readers of one chat, or no
// faster than they do.

// BenchmarkFollowersJoinAtOnce lets devices join a chat, each on a goroutine of its own, that
// follow the presence of all, until all know of all.
func BenchmarkFollowersJoinAtOnce(b *testing.B) {
	for _, followers := range []int{1_000, 2_000, 4_000, 8_000, 16_000} {
		b.Run(fmt.Sprintf("followers=%d", followers), func(b *testing.B) {
			var told, resyncs atomic.Int64
			var joining time.Duration
			for b.Loop() {
				broker, err := broadcast.New[payload]()
				require.NoError(b, err)
				var joined, all sync.WaitGroup
				joined.Add(followers)
				start := time.Now()
				for i := range followers {
					all.Go(func() {
						s, err := broker.Subscribe(chat, strconv.Itoa(i), broadcast.WithPresence())
						joined.Done()
						require.NoError(b, err)
						for d := range s.All(context.Background()) {
							told.Add(1)
							switch d.Kind {
							case broadcast.Resync:
								resyncs.Add(1)
							case broadcast.Published:
								return
							}
						}
					})
				}
				joined.Wait()
				joining += time.Since(start)
				require.NoError(b, broker.Publish(context.Background(), chat, payload{}))
				all.Wait()
				require.NoError(b, broker.Close())
			}
			joins := float64(b.N * followers)
			b.ReportMetric(float64(joining.Nanoseconds())/joins, "ns/join")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/joins, "ns/follower")
			b.ReportMetric(float64(told.Load())/joins, "told/follower")
			b.ReportMetric(float64(resyncs.Load())/joins, "resyncs/follower")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkPublishBeside measures how long publishers of a chat wait while something else goes
// through its readers, who are stuck: the median, the 99th percentile and the longest.
func BenchmarkPublishBeside(b *testing.B) {
	ways := []struct {
		name string
		opts []broadcast.Option
		do   func(*broadcast.Broker[payload])
	}{
		{"nothing", nil, nil},
		{"cleaner", []broadcast.Option{broadcast.WithStallTimeout(time.Hour), broadcast.WithCleanInterval(40 * time.Millisecond)}, nil},
		{"Stats", nil, func(broker *broadcast.Broker[payload]) { broker.Stats() }},
		{"Devices", nil, func(broker *broadcast.Broker[payload]) { broker.Devices(chat) }},
	}
	for _, readers := range []int{1_000, 20_000, 100_000} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("readers=%d/beside=%s", readers, way.name), func(b *testing.B) {
				broker, err := broadcast.New[payload](append(way.opts, broadcast.WithPatience(0))...)
				require.NoError(b, err)
				for i := range readers {
					_, err := broker.Subscribe(chat, strconv.Itoa(i))
					require.NoError(b, err)
				}
				stop, stopped := make(chan struct{}), make(chan struct{})
				go func() {
					defer close(stopped)
					for way.do != nil {
						select {
						case <-stop:
							return
						default:
							way.do(broker)
						}
					}
				}()
				var took []time.Duration
				for b.Loop() {
					took = append(took, elapsed(func() { _ = broker.Publish(context.Background(), chat, payload{}) }))
					time.Sleep(100 * time.Microsecond)
				}
				close(stop)
				<-stopped
				require.NoError(b, broker.Close())
				slices.Sort(took)
				b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
				b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
				b.ReportMetric(float64(took[len(took)-1].Microseconds()), "max-µs")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
