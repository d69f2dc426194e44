package main

import (
	"fmt"
	"runtime"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

const bytesEach = "bytes"

func memoryWorkload() *Workload {
	w := &Workload{
		Name:  "memory",
		Title: "Memory of what is idle",
		Work: "Heap and stacks for each subscriber of one chat, with a buffer of 256 messages; and for each chat with one reader, before its first message and " +
			"after that was taken. Names are not counted.",
		NotShown: "goroutines of readers: one that waits has a stack of at least 2 KiB, the same for all.",
		Metrics:  []Metric{{Name: bytesEach}},
		Cases: []Case{
			memoryCase[[16]byte]("of=subscriber/message=16B", 10_000, idleSubscriber),
			memoryCase[[1024]byte]("of=subscriber/message=1KiB", 1_000, idleSubscriber),
			memoryCase[[16]byte]("of=quiet-chat/message=16B", 2_000, quietChat),
			memoryCase[[1024]byte]("of=quiet-chat/message=1KiB", 500, quietChat),
			memoryCase[[16]byte]("of=used-chat/message=16B", 2_000, usedChat),
			memoryCase[[1024]byte]("of=used-chat/message=1KiB", 500, usedChat),
		},
	}
	for i, bound := range []float64{400, 400, 1024} {
		name := w.Cases[i].Name
		w.Targets = append(w.Targets, atMost(name+": bytes", bound, of(name, peers.NameOurs, bytesEach)))
	}
	return w
}

// holding is what is counted.
type holding int

const (
	idleSubscriber holding = iota // one more in a chat
	quietChat                     // with one reader
	usedChat                      // with one reader that has taken a message
)

func memoryCase[T any](name string, n int, what holding) Case {
	c := Case{Name: name}
	for _, p := range peers.All[T]() {
		skip := ""
		if what != idleSubscriber {
			skip = p.NoChats
		}
		c.Contestants = append(c.Contestants, Contestant{
			Name: p.Name, Kind: p.Kind, Skip: skip,
			Run: func(plan Plan) (Sample, error) {
				if plan.Short {
					return bytesOf(p, n/5, what)
				}
				return bytesOf(p, n, what)
			},
		})
	}
	return c
}

func bytesOf[T any](p peers.Peer[T], n int, what holding) (Sample, error) {
	bus := p.Open(peers.Config{Buffer: defaultBuffer})
	all := names(n)
	bus.Join("first", "first")
	before := memory()
	for _, name := range all {
		if what == idleSubscriber {
			bus.Join("first", name)
			continue
		}
		seq := bus.Join(name, "reader")
		if what == usedChat {
			bus.Publisher(name)(*new(T))
			for range seq {
				break
			}
		}
	}
	after := memory()
	runtime.KeepAlive(all)
	bus.Close()
	if after <= before {
		return nil, fmt.Errorf("memory went from %d to %d bytes", before, after)
	}
	return Sample{bytesEach: float64(after-before) / float64(n)}, nil
}

// memory returns what is in use.
func memory() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
