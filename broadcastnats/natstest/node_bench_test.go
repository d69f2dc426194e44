//go:build unix

package natstest

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/internal/cluster"
)

// receivers is how many nodes receive what is published, one of which publishes it.
const receivers = 3

// publishers is how many goroutines publish at the same time.
const publishers = 200

// BenchmarkPublish compares publishing on one of three nodes with what the same costs without this
// driver: a stream with RePublish, and a core subscriber in place of each node. The server and all
// nodes are in this process, so the CPU time is that of all of them.
func BenchmarkPublish(b *testing.B) {
	for _, chats := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("nodes/chats=%d", chats), func(b *testing.B) { benchmarkNodes(b, chats) })
		b.Run(fmt.Sprintf("bare/chats=%d", chats), func(b *testing.B) { benchmarkBare(b, chats) })
	}
}

// counting is the log of a chat that counts.
type counting struct {
	ready   *sync.WaitGroup
	fed     *atomic.Int64 // written by feeds, read by the benchmark when all is done
	isReady sync.Once
}

func (c *counting) Reset(_, _ uint64)    {}
func (c *counting) Hole(uint64)          {}
func (c *counting) Ready()               { c.isReady.Do(c.ready.Done) }
func (c *counting) End(error, time.Time) {}
func (c *counting) Forgotten()           {}
func (c *counting) InUse() bool          { return false }

func (c *counting) Feed(batch [][]byte, _ time.Time) int {
	c.fed.Add(int64(len(batch)))
	return len(batch)
}

func benchmarkNodes(b *testing.B, chats int) {
	s := startServer(b, options(b))
	var nodes []*cluster.Node
	var ready sync.WaitGroup
	var fed atomic.Int64
	ready.Add(receivers * chats)
	for range receivers {
		n := cluster.Start(newEngine(b, broadcastnats.Options{URL: s.ClientURL()}), cluster.Config{})
		defer n.Close(context.Background())
		nodes = append(nodes, n)
		for i := range chats {
			n.Join(fmt.Sprint("chat", i), &counting{ready: &ready, fed: &fed}, false)
		}
	}
	ready.Wait()
	measure(b, chats, &fed, func(chat int) error {
		return nodes[0].Publish(context.Background(), fmt.Sprint("chat", chat), message)
	})
}

func benchmarkBare(b *testing.B, chats int) {
	s := startServer(b, options(b))
	js := admin(b, s.ClientURL())
	_, err := js.CreateStream(context.Background(), jetstream.StreamConfig{
		Name: "bare", Subjects: []string{"bare.p.>"}, MaxMsgsPerSubject: 1000, AllowDirect: true,
		RePublish: &jetstream.RePublish{Source: "bare.p.>", Destination: "bare.r.>"},
	})
	require.NoError(b, err)
	var fed atomic.Int64
	for range receivers {
		conn, err := nats.Connect(s.ClientURL())
		require.NoError(b, err)
		defer conn.Close()
		incoming := make(chan *nats.Msg, 64<<10)
		for i := range chats {
			_, err = conn.ChanSubscribe(fmt.Sprint("bare.r.chat", i), incoming)
			require.NoError(b, err)
		}
		require.NoError(b, conn.Flush())
		done := make(chan struct{})
		var tasks sync.WaitGroup
		tasks.Go(func() {
			for {
				select {
				case <-incoming:
					fed.Add(1)
				case <-done:
					return
				}
			}
		})
		defer tasks.Wait()
		defer close(done)
	}
	measure(b, chats, &fed, func(chat int) error {
		_, err := js.Publish(context.Background(), fmt.Sprint("bare.p.chat", chat), message)
		return err
	})
}

// measure publishes b.N messages, and waits until all receivers have them.
func measure(b *testing.B, chats int, fed *atomic.Int64, publish func(chat int) error) {
	var next atomic.Int64
	var publishing sync.WaitGroup
	b.ResetTimer()
	begin := cpu()
	for range publishers {
		publishing.Go(func() {
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				if err := publish(int(i) % chats); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	publishing.Wait()
	for begin := time.Now(); fed.Load() < int64(b.N*receivers) && time.Since(begin) < settle; {
		time.Sleep(time.Millisecond)
	}
	require.EqualValues(b, b.N*receivers, fed.Load())
	b.ReportMetric(float64(cpu()-begin)/float64(b.N)/1e3, "cpu-µs/op")
}

// cpu returns the CPU time that this process has used.
func cpu() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		panic(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkJoin is the time until a node is ready for 10 000 chats that exist.
func BenchmarkJoin(b *testing.B) {
	const chats = 10_000
	s := startServer(b, options(b))
	o := broadcastnats.Options{URL: s.ClientURL()}
	for i := range b.N + 1 {
		begin := time.Now()
		n := cluster.Start(newEngine(b, o), cluster.Config{})
		var ready sync.WaitGroup
		ready.Add(chats)
		for c := range chats {
			n.Join(fmt.Sprint("chat", c), &counting{ready: &ready, fed: new(atomic.Int64)}, true)
		}
		ready.Wait()
		if i == 0 {
			b.Logf("10 000 new chats: %v", time.Since(begin))
			b.ResetTimer()
		}
		n.Close(context.Background())
	}
}
