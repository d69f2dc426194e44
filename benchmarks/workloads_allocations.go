package main

import (
	"iter"
	"runtime"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

const (
	allocsPerPublish  = "allocations/publish"
	allocsPerDelivery = "allocations/delivery"
)

func allocationsWorkload() *Workload {
	const name = "readers=10"
	w := &Workload{
		Name:     "allocations",
		Title:    "Allocations",
		Work:     "1 000 messages are published to ten readers with room for all of them, who then take them; so many times.",
		NotShown: "how large they are.",
		Metrics:  []Metric{{Name: allocsPerPublish}, {Name: allocsPerDelivery}},
		Cases:    []Case{{Name: name}},
	}
	all := append(peers.All[Message](),
		peers.Broadcast[Message]("broadcast-All", peers.ByAll), peers.Broadcast[Message]("broadcast-Next", peers.ByNext))
	w.Cases[0].Contestants = contest(all, nobodyIsLeftOut, allocations)
	w.Targets = append(w.Targets, atMost("a Publish", 0.05, of(name, peers.NameOurs, allocsPerPublish)))
	for _, p := range all {
		if p.Kind == peers.Ours {
			w.Targets = append(w.Targets, atMost("a delivery: "+p.Name, 0.01, of(name, p.Name, allocsPerDelivery)))
		}
	}
	return w
}

func allocations(p peers.Peer[Message], plan Plan) (Sample, error) {
	const readers, burst = 10, 1_000
	repetitions := 50
	if plan.Short {
		repetitions = 10
	}
	bus := p.Open(peers.Config{Buffer: burst})
	end := sync.OnceFunc(bus.Close)
	defer end()
	var seqs []iter.Seq[Message]
	for _, name := range names(readers) {
		seqs = append(seqs, bus.Join("chat", name))
	}
	t := talk{publish: bus.Publisher("chat")}
	defer time.AfterFunc(roundDeadline, end).Stop() // else somebody who has lost a message would wait for it for ever
	var publishing, reading uint64
	for range repetitions {
		first := t.seq + 1
		publishing += allocationsOf(func() { t.say(burst) })
		var err error
		reading += allocationsOf(func() {
			for _, seq := range seqs {
				if err == nil {
					err = takeAll(seq, first, t.seq)
				}
			}
		})
		if err != nil {
			return nil, err
		}
	}
	n := float64(repetitions * burst)
	return Sample{allocsPerPublish: float64(publishing) / n, allocsPerDelivery: float64(reading) / n / readers}, nil
}

// takeAll takes these messages.
func takeAll(seq iter.Seq[Message], from, to int64) error {
	for m := range seq {
		if m[wordSeq] != from {
			return disorder(m[wordSeq], from)
		}
		if from++; from > to {
			return nil
		}
	}
	return disorder(finish, from)
}

func allocationsOf(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}
