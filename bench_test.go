package broadcast_test

import (
	"context"
	"fmt"
	"runtime"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// payload is a message of 56 bytes.
type payload [7]int64

// benchBuffer is the buffer of each reader, and the capacity of each channel that it is compared to.
const benchBuffer = 100

// BenchmarkPublish is what a Publish costs beside readers that are stuck, each with DropOldest. The reference does the same by hand: a
// channel for each reader, from which the oldest is taken when it is full.
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

// besideStuck returns a function that publishes one message in a chat with readers that are stuck: full, and waited for once.
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

// BenchmarkFanOut publishes bursts of messages to readers that keep up, and waits after each until all of them have it. The reference does exactly
// the same with a channel for each reader.
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

// fanOut measures rounds. Each reader calls got for each message that it has, publish sends one to all, end makes the readers return.
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

// BenchmarkIdleSubscriber is about memory: what a subscriber costs that does nothing, with the default buffer, its name not counted.
func BenchmarkIdleSubscriber(b *testing.B) {
	b.Run("message=16B", func(b *testing.B) { reportIdle[[16]byte](b, oneChat, "B/subscriber") })
	b.Run("message=1KiB", func(b *testing.B) { reportIdle[[1024]byte](b, oneChat, "B/subscriber") })
}

// BenchmarkIdleChat is about memory: what a chat costs that has one reader and is quiet, the reader included.
func BenchmarkIdleChat(b *testing.B) {
	b.Run("message=16B", func(b *testing.B) { reportIdle[[16]byte](b, manyChats, "B/chat") })
	b.Run("message=1KiB", func(b *testing.B) { reportIdle[[1024]byte](b, manyChats, "B/chat") })
}

func oneChat(name string) (chat, device string)   { return "the chat of all", name }
func manyChats(name string) (chat, device string) { return name, "device" }

func reportIdle[T any](b *testing.B, where func(name string) (chat, device string), unit string) {
	var bytes float64
	for b.Loop() {
		bytes = idleBytes[T](b, where)
	}
	b.ReportMetric(bytes, unit)
	b.ReportMetric(0, "ns/op") // says nothing
}

// idleBytes returns what each of many subscriptions costs.
func idleBytes[T any](tb testing.TB, where func(name string) (chat, device string)) float64 {
	broker, err := broadcast.New[T]()
	require.NoError(tb, err)
	defer broker.Close()
	names := make([]string, 10_000)
	for i := range names {
		names[i] = strconv.Itoa(i)
	}
	_, err = broker.Subscribe(where("the first"))
	require.NoError(tb, err)

	before := heap()
	for _, name := range names {
		_, err := broker.Subscribe(where(name))
		require.NoError(tb, err)
	}
	after := heap()
	runtime.KeepAlive(names)
	return float64(after-before) / float64(len(names))
}
