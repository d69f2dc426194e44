package main

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

const (
	p50  = "µs p50"
	p99  = "µs p99"
	p999 = "µs p99.9"
)

// The surroundings in which latency is measured.
const (
	alone       = "beside=nobody"
	besideStill = "beside=1000-stuck"
	besideHot   = "beside=hot-chat"
)

func latencyWorkload() *Workload {
	w := &Workload{
		Name:  "latency",
		Title: "From Publish to the reader",
		Work: "One message after the other to one reader, each published when the one before has arrived, at once or 1 ms later: alone; with 1 000 stuck readers " +
			"in the chat; and beside another chat of ten readers into which somebody publishes without a pause.",
		NotShown: "much of the scheduler, if the next message follows at once: two goroutines that hand over to each other keep their processor. With a gap the " +
			"reader has to get one again; beside the hot chat there is none to spare, alone one has to be woken. There p99.9 is of less than a thousand messages.",
		Metrics: []Metric{{Name: p50}, {Name: p99}, {Name: p999}},
	}
	skips := map[string]func(peers.Peer[Message]) string{
		alone:       nobodyIsLeftOut,
		besideStill: func(p peers.Peer[Message]) string { return p.NoStuck },
		besideHot:   func(p peers.Peer[Message]) string { return p.NoChats },
	}
	for _, gap := range []time.Duration{0, time.Millisecond} {
		name := func(beside string) string { return fmt.Sprintf("gap=%v/%s", gap, beside) }
		for _, beside := range []string{alone, besideStill, besideHot} {
			w.Cases = append(w.Cases, Case{
				Name: name(beside),
				Contestants: contest(peers.All[Message](), skips[beside], func(p peers.Peer[Message], plan Plan) (Sample, error) {
					return latency(p, plan, beside, gap)
				}),
			})
		}
		for _, m := range w.Metrics {
			if gap > 0 && m.Name == p999 {
				continue // of some hundreds of messages
			}
			against := func(beside string) func(*Result) (float64, bool) {
				return ratio(turns{name(beside), peers.NameOurs}, turns{name(alone), peers.NameOurs}, m.Name)
			}
			w.Targets = append(w.Targets,
				atMost(fmt.Sprintf("%s, gap %v: beside 1 000 stuck / alone", m.Name, gap), 1.2, against(besideStill)),
				atMost(fmt.Sprintf("%s, gap %v: beside a hot chat / alone", m.Name, gap), 5, against(besideHot)))
		}
	}
	return w
}

func latency(p peers.Peer[Message], plan Plan, beside string, gap time.Duration) (Sample, error) {
	if gap > 0 {
		plan.Sample *= 3 // there are few messages
	}
	bus, crowd := p.Open(peers.Config{Buffer: buffer, Stuck: beside == besideStill}), newCrowd()
	if beside == besideStill {
		for _, name := range names(1_000) {
			bus.Join("chat", name)
		}
	}
	delays := make([]int64, 0, 1<<20)
	crowd.addWith(bus.Join("chat", "reader"), 1, func(m Message) {
		if len(delays) < cap(delays) {
			delays = append(delays, now()-m[wordAt])
		}
	})
	t := talk{publish: bus.Publisher("chat")}
	cool := func() {}
	if beside == besideHot {
		cool = heat(bus)
	}
	one := func() {
		t.seq++
		t.publish(Message{wordSeq: t.seq, wordAt: now()})
	}
	rounds, err := crowd.warmUp(plan, 3*buffer, one) // which fills those that are stuck
	if gap > 0 && err == nil {
		atOnce := one
		one = func() {
			time.Sleep(gap)
			atOnce()
		}
		rounds, err = crowd.warmUp(plan, 1, one)
	}
	if err == nil {
		delays = delays[:0]
		_, err = crowd.repeat(rounds, one)
	}
	cool()
	bus.Close()
	if err := cmp.Or(err, crowd.leave()); err != nil {
		return nil, err
	}
	slices.Sort(delays)
	µs := func(part float64) float64 { return float64(quantile(delays, part)) / 1e3 }
	return Sample{p50: µs(0.5), p99: µs(0.99), p999: µs(0.999)}, nil
}

// heat makes another chat hot, until cool is called.
func heat(bus peers.Bus[Message]) (cool func()) {
	for _, name := range names(10) {
		seq := bus.Join("hot", name)
		go func() { // it ends with the bus
			for range seq {
			}
		}()
	}
	publish := bus.Publisher("hot")
	var stop atomic.Bool
	var publisher sync.WaitGroup
	publisher.Go(func() {
		for !stop.Load() {
			publish(Message{})
		}
	})
	time.Sleep(5 * time.Millisecond) // until it is hot
	return func() {
		stop.Store(true)
		publisher.Wait()
	}
}
