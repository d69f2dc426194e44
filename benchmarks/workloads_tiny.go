package main

import (
	"cmp"
	"fmt"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

const nsOfPublishing = "ns/publish alone"

func tinyWorkload() *Workload {
	w := &Workload{
		Name:  "tiny-buffer",
		Title: "One reader with a buffer of 1 among healthy ones",
		Work: "Rounds of 64 messages to so many readers, one of which may have a buffer of 1 and reads as fast as it can, or not at all. The first figure is a " +
			"round over its messages, the second the publishing alone. The others check that they get everything.",
		NotShown: "how much the tiny reader misses; and peers, to whom a small channel among large ones is nothing special.",
		Metrics:  []Metric{{Name: nsPerPublish}, {Name: nsOfPublishing}},
	}
	for _, readers := range []int{1_000, 10_000} {
		name := func(tiny string) string { return fmt.Sprintf("readers=%d/tiny=%s", readers, tiny) }
		for _, tiny := range []string{"none", "reading", "stuck"} {
			w.Cases = append(w.Cases, Case{
				Name:        name(tiny),
				Heavy:       readers >= 10_000,
				Contestants: contest(peers.All[Message]()[:1], nobodyIsLeftOut, func(_ peers.Peer[Message], plan Plan) (Sample, error) { return besideTiny(plan, readers, tiny) }),
			})
		}
		for _, tiny := range []string{"reading", "stuck"} {
			w.Targets = append(w.Targets, atMost(fmt.Sprintf("%d readers, the tiny one %s / none", readers, tiny), 2,
				ratio(turns{name(tiny), peers.NameOurs}, turns{name("none"), peers.NameOurs}, nsPerPublish)))
		}
	}
	return w
}

func besideTiny(plan Plan, readers int, tiny string) (Sample, error) {
	const burst = 64
	bus, crowd := peers.OpenBroadcast[Message](peers.Config{Buffer: buffer}, peers.ByMessages), newCrowd()
	for _, name := range names(readers) {
		crowd.add(bus.Join("chat", name), burst)
	}
	if tiny != "none" {
		seq := bus.JoinWith("chat", "tiny", broadcast.WithBuffer(1))
		if tiny == "reading" {
			crowd.goroutines.Go(func() {
				last := int64(0)
				for m := range seq {
					if m[wordSeq] <= last {
						crowd.fail(disorder(m[wordSeq], last+1))
					}
					last = m[wordSeq]
				}
			})
		}
	}
	t := talk{publish: bus.Publisher("chat")}
	var publishing time.Duration
	round := func() {
		began := time.Now()
		t.say(burst)
		publishing += time.Since(began)
	}
	rounds, err := crowd.warmUp(plan, 3, round)
	var took time.Duration
	if err == nil {
		publishing = 0
		took, err = crowd.repeat(rounds, round)
	}
	bus.Close()
	n := float64(burst * max(1, rounds))
	return Sample{nsPerPublish: float64(took.Nanoseconds()) / n, nsOfPublishing: float64(publishing.Nanoseconds()) / n}, cmp.Or(err, crowd.leave())
}
