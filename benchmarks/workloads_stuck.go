package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

const nsPerPublish = "ns/publish"

func nameOf(s broadcast.Sampling) string { return "broadcast-" + s.String() }

// strategy is this library with a strategy; under its plain name with the default one.
func strategy(s broadcast.Sampling) peers.Peer[Message] {
	name := nameOf(s)
	if s == broadcast.DropOldest {
		name = peers.NameOurs
	}
	return peers.Broadcast[Message](name, peers.ByMessages, broadcast.WithSampling(s))
}

func stuckWorkload() *Workload {
	w := &Workload{
		Name:  "stuck",
		Title: "Publishing beside stuck readers",
		Work: "One reader is healthy and checks that it gets everything; the others have joined and never read. Messages are published in rounds of 64, " +
			"of which only the publishing is measured. All stuck readers are full, and have been waited for, before.",
		NotShown: "the one moment of patience that the first stuck readers of a chat cost, 10 ms.",
		Metrics:  []Metric{{Name: nsPerPublish}},
		Axis:     "stuck readers",
	}
	ours := []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest, broadcast.Disconnect}
	var all []peers.Peer[Message]
	for _, s := range ours {
		all = append(all, strategy(s))
	}
	all = append(all, peers.All[Message]()[1:]...)
	var cases []string
	for _, n := range []int{1, 100, 10_000, 100_000} {
		c := Case{
			Name:  fmt.Sprintf("stuck=%d", n),
			X:     float64(n),
			Heavy: n >= 10_000,
			Large: n > 10_000,
			Contestants: contest(all, func(p peers.Peer[Message]) string { return p.NoStuck }, func(p peers.Peer[Message], plan Plan) (Sample, error) {
				return besideStuck(p, plan, n)
			}),
		}
		cases = append(cases, c.Name)
		w.Cases = append(w.Cases, c)
	}
	for _, s := range ours {
		w.Targets = append(w.Targets, atMost(s.String()+": slowest / fastest number of stuck readers", 1.5,
			largestOverSmallest(strategy(s).Name, nsPerPublish, cases...)))
	}
	w.Targets = append(w.Targets, atLeast("10 000 stuck readers: hub / ours", 1_000, over("stuck=10000", peers.NameHub)))
	return w
}

func besideStuck(p peers.Peer[Message], plan Plan, stuck int) (Sample, error) {
	const burst = 64
	bus, crowd := p.Open(peers.Config{Buffer: buffer, Stuck: true}), newCrowd()
	all := names(stuck + 1)
	for _, name := range all[1:] {
		bus.Join("chat", name)
	}
	crowd.add(bus.Join("chat", all[0]), burst)
	t := talk{publish: bus.Publisher("chat")}
	var publishing time.Duration
	round := func() {
		began := time.Now()
		t.say(burst)
		publishing += time.Since(began)
	}
	rounds, err := crowd.warmUp(plan, 2*buffer/burst+1, round) // fills them
	if err == nil {
		publishing = 0
		_, err = crowd.repeat(rounds, round)
	}
	bus.Close()
	return Sample{nsPerPublish: float64(publishing.Nanoseconds()) / float64(burst*rounds)}, cmp.Or(err, crowd.leave())
}
