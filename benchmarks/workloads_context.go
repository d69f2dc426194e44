package main

import (
	"context"
	"slices"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

func contextWorkload() *Workload {
	w := &Workload{
		Name:  "context",
		Title: "Loops that can be cancelled",
		Work: "One message at a time, and rounds of 64, to readers whose loops end with a context that all of them have: what services usually write. " +
			"Those who read channels select among the two channels; this library's loop is given the context.",
		NotShown: "the libraries that hand out channels: they are read with the same select; and what ending costs.",
		Metrics:  []Metric{{Name: nsPerDelivery}},
	}
	contestants := slices.DeleteFunc(peers.All[Message](), func(p peers.Peer[Message]) bool { return !p.Cancellable })
	contestants = append(contestants, peers.Broadcast[Message]("broadcast-Next", peers.ByNext))
	for _, readers := range []int{10, 1_000} {
		for _, burst := range []int{1, 64} {
			w.Cases = append(w.Cases, Case{
				Name: roundsName(readers, burst),
				Contestants: contest(contestants, nobodyIsLeftOut, func(p peers.Peer[Message], plan Plan) (Sample, error) {
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					return inRounds(p, plan, peers.Config{Buffer: buffer, Context: ctx}, readers, burst)
				}),
			})
		}
	}
	return w
}
