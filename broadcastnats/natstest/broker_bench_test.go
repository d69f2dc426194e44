package natstest

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/engine"
)

// newBroker returns a broker that takes part in the order of a server.
func newBroker(b testing.TB, url string, opts ...broadcast.Option) *broadcast.Broker[string] {
	e := newEngine(b, broadcastnats.Options{URL: url})
	broker, err := broadcast.New[string](append(opts, broadcast.WithEngine(e))...)
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, broker.Close()) })
	return broker
}

// message is what the benchmarks publish.
var message = make([]byte, 100)

// BenchmarkLatency measures the time from a call of Publish until a waiting reader on another
// broker has the message, and the time of a publish to JetStream itself, one message at a time. It
// prints the medians. The brokers hand over the bytes of a message as they are, as JetStream does.
func BenchmarkLatency(b *testing.B) {
	s := startServer(b, options(b))
	bytes := broadcast.WithCodec(
		func(text string) ([]byte, error) { return []byte(text), nil },
		func(data []byte) (string, error) { return string(data), nil },
	)
	here, there := newBroker(b, s.ClientURL(), bytes), newBroker(b, s.ClientURL(), bytes)
	received := receive(b, there)
	js := admin(b, s.ClientURL())
	_, err := js.CreateStream(b.Context(), jetstream.StreamConfig{
		Name: "bare", Subjects: []string{"bare"}, RePublish: &jetstream.RePublish{Source: ">", Destination: "to.>"},
	})
	require.NoError(b, err)
	var delivered, bare []time.Duration
	text := string(message)
	for b.Loop() {
		begin := time.Now()
		require.NoError(b, here.Publish(b.Context(), "chat", text))
		delivered = append(delivered, (<-received).Sub(begin))
		begin = time.Now()
		_, err = js.PublishMsg(b.Context(), &nats.Msg{Subject: "bare", Data: message})
		require.NoError(b, err)
		bare = append(bare, time.Since(begin))
	}
	report := func(unit string, all []time.Duration, part float64) {
		slices.Sort(all)
		b.ReportMetric(float64(all[int(float64(len(all)-1)*part)].Microseconds()), unit)
	}
	report("µs/delivery", delivered, 0.5)
	report("µs/publish", bare, 0.5)
}

// receive reads the messages of a chat on a goroutine, and returns when each was received.
func receive(b *testing.B, broker *broadcast.Broker[string]) <-chan time.Time {
	reader, err := broker.Subscribe("chat", "reader")
	require.NoError(b, err)
	received := make(chan time.Time, 1)
	var reading sync.WaitGroup
	reading.Go(func() {
		for range reader.Messages(context.Background()) {
			received <- time.Now()
		}
	})
	b.Cleanup(func() {
		require.NoError(b, reader.Close())
		reading.Wait()
	})
	return received
}

// BenchmarkResume measures how long it takes to resume on a broker that does not know the chat,
// which has a history of 100 messages. It prints the median and the 99th percentile.
func BenchmarkResume(b *testing.B) {
	s := startServer(b, options(b))
	keep := broadcast.WithHistory(1000, 0)
	here, there := newBroker(b, s.ClientURL(), keep), newBroker(b, s.ClientURL(), keep)
	_, err := there.Head(b.Context(), "first") // connected
	require.NoError(b, err)
	var all []time.Duration
	for b.Loop() {
		chat := fmt.Sprint("chat", len(all))
		at, err := here.Head(b.Context(), chat)
		require.NoError(b, err)
		for i := range 100 {
			require.NoError(b, here.Publish(b.Context(), chat, fmt.Sprint(i)))
		}
		begin := time.Now()
		reader, err := there.Subscribe(chat, "reader", broadcast.Resume(at))
		require.NoError(b, err)
		d, err := reader.Next(b.Context())
		require.NoError(b, err)
		all = append(all, time.Since(begin))
		require.True(b, reader.Recovered())
		require.Equal(b, "0", d.Message)
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "µs-p50/resume")
	b.ReportMetric(float64(all[(len(all)-1)*99/100].Microseconds()), "µs-p99/resume")
}

// BenchmarkForget measures how long it takes to forget a chat with one message that three brokers
// have in memory. It prints the median and the 99th percentile.
func BenchmarkForget(b *testing.B) {
	s := startServer(b, options(b))
	var brokers []*broadcast.Broker[string]
	for range receivers {
		brokers = append(brokers, newBroker(b, s.ClientURL(), broadcast.WithHistory(10, 0)))
	}
	require.NoError(b, brokers[0].Forget(b.Context(), "first")) // they know of each other
	var all []time.Duration
	for b.Loop() {
		chat := fmt.Sprint("chat", len(all))
		for _, broker := range brokers {
			_, err := broker.Head(b.Context(), chat)
			require.NoError(b, err)
		}
		require.NoError(b, brokers[1].Publish(b.Context(), chat, "message"))
		begin := time.Now()
		require.NoError(b, brokers[0].Forget(b.Context(), chat))
		all = append(all, time.Since(begin))
		require.Zero(b, brokers[2].Stats().Chats)
	}
	slices.Sort(all)
	b.ReportMetric(float64(all[len(all)/2].Microseconds()), "µs-p50/forget")
	b.ReportMetric(float64(all[(len(all)-1)*99/100].Microseconds()), "µs-p99/forget")
}

// BenchmarkSubjects measures how much memory a server needs for a chat with one record of 100
// bytes: one operation is one chat. The stream is on disk.
func BenchmarkSubjects(b *testing.B) {
	s := startServer(b, options(b))
	session, err := newEngine(b, broadcastnats.Options{URL: s.ClientURL()}).Open(b.Context(), quiet{})
	require.NoError(b, err)
	defer func() { require.NoError(b, session.Close(b.Context())) }()
	before := heap()
	var n int
	for b.Loop() {
		n++
		stored := make(chan error, 1)
		session.Append(fmt.Sprint("chat", n), engine.Place{Epoch: 1}, [][]byte{message}, "id",
			func(_ engine.Place, err error) { stored <- err })
		require.NoError(b, <-stored)
	}
	b.ReportMetric(float64(heap()-before)/float64(n), "B/chat")
}

// quiet is a sink that does nothing.
type quiet struct{}

func (quiet) Stored(string, engine.Record) {}
func (quiet) Sent(string, []byte)          {}
func (quiet) Up(bool)                      {}
func (quiet) Failed(error)                 {}

// heap returns how much memory is in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
