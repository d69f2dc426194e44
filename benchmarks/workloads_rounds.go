package main

import (
	"cmp"
	"fmt"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// buffer is what readers may be behind where a workload does not say otherwise.
const buffer = 100

const nsPerDelivery = "ns/delivery"

func roundsWorkload() *Workload {
	w := &Workload{
		Name:  "rounds",
		Title: "Rounds of 64 messages",
		Work: "One publisher sends 64 messages back to back to all readers and waits until each has all of them. Buffers hold 100 messages, so nobody " +
			"loses any: every reader checks that.",
		NotShown: "what a message costs that comes alone (singles), and readers that do something with it.",
		Metrics:  []Metric{{Name: nsPerDelivery}},
		Axis:     "readers",
	}
	contestants := append(peers.All[Message](),
		peers.Broadcast[Message]("broadcast-All", peers.ByAll), peers.Broadcast[Message]("broadcast-Next", peers.ByNext))
	for _, readers := range []int{10, 100, 1_000, 10_000} {
		w.Cases = append(w.Cases, roundsCase(contestants, readers, 64))
	}
	for _, t := range []struct {
		readers   int
		library   float64
		raw       float64
		rawNeeded bool
	}{{10, 3, 0, false}, {100, 4, 0, false}, {1_000, 6, 3.5, true}, {10_000, 15, 10, true}} {
		name := roundsName(t.readers, 64)
		w.Targets = append(w.Targets, atLeast(fmt.Sprintf("%d readers: best library / ours", t.readers), t.library, bestLibraryOverOurs(name)))
		if t.rawNeeded {
			w.Targets = append(w.Targets, atLeast(fmt.Sprintf("%d readers: raw channels / ours", t.readers), t.raw, rawOverOurs(name)))
		}
	}
	return w
}

func shortRoundsWorkload() *Workload {
	name := roundsName(1_000, 8)
	return &Workload{
		Name:     "short-rounds",
		Title:    "Rounds of 8 messages",
		Work:     "The same with 8 messages a round: the cost of waking each reader is shared by few.",
		NotShown: "as above.",
		Metrics:  []Metric{{Name: nsPerDelivery}},
		Cases:    []Case{roundsCase(peers.All[Message](), 1_000, 8)},
		Targets:  []Target{atLeast("1 000 readers: best library / ours", 1.5, bestLibraryOverOurs(name))},
	}
}

func singlesWorkload() *Workload {
	w := &Workload{
		Name:     "singles",
		Title:    "One message at a time",
		Work:     "Rounds of a single message: all readers are parked, or about to park, when it comes. The cost is that of waking goroutines.",
		NotShown: "when each single reader gets it (latency); with one reader, most is the way back to the publisher, which is the same for all.",
		Metrics:  []Metric{{Name: nsPerDelivery}},
		Axis:     "readers",
	}
	for _, readers := range []int{1, 10, 100, 1_000, 10_000} {
		c := roundsCase(peers.All[Message](), readers, 1)
		w.Cases = append(w.Cases, c)
		bound := 1.25
		switch {
		case readers == 1:
			bound = 1.4
		case readers >= 1_000:
			bound = 1.1
		}
		w.Targets = append(w.Targets,
			atMost(fmt.Sprintf("%d readers: ours / raw channels", readers), bound, inverse(rawOverOurs(c.Name))),
			atMost(fmt.Sprintf("%d readers: ours / best library", readers), 1.1, inverse(bestLibraryOverOurs(c.Name))))
	}
	return w
}

func roundsName(readers, burst int) string { return fmt.Sprintf("readers=%d/burst=%d", readers, burst) }

func roundsCase(all []peers.Peer[Message], readers, burst int) Case {
	return Case{
		Name:  roundsName(readers, burst),
		X:     float64(readers),
		Heavy: readers >= 10_000,
		Contestants: contest(all, func(p peers.Peer[Message]) string {
			if readers > p.MaxReaders && p.MaxReaders > 0 {
				return fmt.Sprintf("with %d readers a round takes many seconds", readers)
			}
			return ""
		}, func(p peers.Peer[Message], plan Plan) (Sample, error) {
			return inRounds(p, plan, peers.Config{Buffer: buffer}, readers, burst)
		}),
	}
}

func inRounds(p peers.Peer[Message], plan Plan, config peers.Config, readers, burst int) (Sample, error) {
	bus, crowd := p.Open(config), newCrowd()
	for _, name := range names(readers) {
		crowd.add(bus.Join("chat", name), burst)
	}
	t := talk{publish: bus.Publisher("chat")}
	perRound, err := crowd.time(plan, 1, func() { t.say(burst) })
	bus.Close()
	return Sample{nsPerDelivery: float64(perRound.Nanoseconds()) / float64(readers*burst)}, cmp.Or(err, crowd.leave())
}
