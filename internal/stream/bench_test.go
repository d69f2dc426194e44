package stream

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"

	"github.com/fbd86cad/broadcast"
)

// BenchmarkDeliver hands a burst of 64 messages to each of 1 000 connections, which write nothing.
// It measures what a delivery costs besides waking the connection and the system call.
func BenchmarkDeliver(b *testing.B) {
	c, err := New(newBroker(b), config(), new(Problems))
	if err != nil {
		b.Fatal(err)
	}
	const clients, burst = 1000, 64
	outlets := make([]*Outlet[string], clients)
	for i := range outlets {
		sub, err := c.broker.Subscribe("c", fmt.Sprint(i))
		if err != nil {
			b.Fatal(err)
		}
		outlets[i] = c.NewOutlet(httptest.NewRequest("GET", "/", nil), sub, Wish{}, discard{}, false)
		defer outlets[i].Close()
	}
	message := string(make([]byte, 150))
	for b.Loop() {
		for range burst {
			if err := c.broker.Publish(context.Background(), "c", message); err != nil {
				b.Fatal(err)
			}
		}
		for _, o := range outlets {
			for d, ok := o.sub.TryNext(); ok; d, ok = o.sub.TryNext() {
				if err := o.sendFrom(d); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*clients*burst), "ns/delivery")
}

func newBroker(tb testing.TB, opts ...broadcast.Option) *broadcast.Broker[string] {
	b, err := broadcast.New[string](opts...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Close() })
	return b
}
