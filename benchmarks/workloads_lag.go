package main

import (
	"cmp"
	"fmt"
	"iter"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

func lagWorkload() *Workload {
	const name = "readers=1000/lagging=10"
	w := &Workload{
		Name:  "lag",
		Title: "Readers that are too slow, by strategy",
		Work: "Rounds of 64 messages to 1 000 readers, of which ten take only 32 in each round, so that they are full most of the time. The others check that they " +
			"get everything.",
		NotShown: "what each strategy leaves to the slow ones. Block has the publisher wait for them, by design.",
		Metrics:  []Metric{{Name: nsPerDelivery}},
	}
	ours := []peers.Peer[Message]{
		strategy(broadcast.DropOldest), strategy(broadcast.DropNewest), strategy(broadcast.DropRandom), strategy(broadcast.Disconnect),
		peers.Broadcast[Message]("broadcast-WithSampler", peers.ByMessages, broadcast.WithSampler(dropHalfway)),
	}
	all := append(ours, peers.All[Message]()[1:]...)
	w.Cases = []Case{{Name: name, Contestants: contest(all, func(p peers.Peer[Message]) string { return p.NoStuck }, lagging)}}
	for _, p := range ours[1:] {
		w.Targets = append(w.Targets, atMost(p.Name+" / DropOldest", 4, over(name, p.Name)))
	}
	return w
}

// dropHalfway is a sampler that looks at one message.
func dropHalfway(backlog broadcast.Backlog[Message], _ Message) int { return backlog.Len() / 2 }

func lagging(p peers.Peer[Message], plan Plan) (Sample, error) {
	const readers, slow, burst = 1_000, 10, 64
	bus, crowd := p.Open(peers.Config{Buffer: buffer, Stuck: true}), newCrowd()
	all := names(readers)
	var allowances []chan int
	for _, name := range all[:slow] {
		allowances = append(allowances, crowd.addLagging(bus.Join("chat", name)))
	}
	for _, name := range all[slow:] {
		crowd.add(bus.Join("chat", name), burst)
	}
	t := talk{publish: bus.Publisher("chat")}
	perRound, err := crowd.time(plan, 8, func() {
		for _, allowance := range allowances {
			allowance <- burst / 2
		}
		t.say(burst)
	})
	for _, allowance := range allowances {
		close(allowance)
	}
	bus.Close()
	return Sample{nsPerDelivery: float64(perRound.Nanoseconds()) / float64(burst*readers)}, cmp.Or(err, crowd.leave())
}

// addLagging adds a reader that takes so many messages a round as it is allowed, which are in
// order, and not more. When its loop ends, it has nothing to do any more.
func (c *crowd) addLagging(seq iter.Seq[Message]) (allowance chan int) {
	c.size++
	allowance = make(chan int, 1)
	c.goroutines.Go(func() {
		left, last := <-allowance, int64(0)
		for m := range seq {
			if m[wordSeq] <= last {
				c.fail(fmt.Errorf("a slow reader: %w", disorder(m[wordSeq], last+1)))
			}
			last = m[wordSeq]
			if left--; left > 0 {
				continue
			}
			c.done()
			left = <-allowance
			if left == 0 {
				return
			}
		}
		if left > 0 {
			c.done()
		}
		for range allowance {
			c.done()
		}
	})
	return allowance
}
