package main

import (
	"fmt"
	"time"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

const (
	percentDelivered = "% delivered"
	msPerFlood       = "ms/20 000 messages"

	floodMessages = 20_000
	patience      = 10 * time.Millisecond // the library's default
)

// defaultBuffer is the library's.
const defaultBuffer = 256

func floodWorkload(name, title string, size int) *Workload {
	w := &Workload{
		Name:  name,
		Title: title,
		Work: "20 000 messages in a tight loop (fewer where that would take too long) to readers that keep reading. Peers that make the publisher wait must " +
			"deliver everything; this library and the hub deliver what they can, in order and nothing twice.",
		NotShown: "readers that wait for something other than a processor for longer than the patience of 10 ms: they lose messages here by design.",
		Metrics:  []Metric{{Name: nsPerDelivery}, {Name: percentDelivered}},
		Axis:     "readers",
	}
	for _, readers := range []int{10, 100, 1_000, 10_000} {
		c := floodCase(fmt.Sprintf("readers=%d", readers), flood{readers: readers, buffer: size, messages: floodMessages})
		c.X, c.Heavy = float64(readers), readers >= 10_000
		c.Large = c.Heavy || size != buffer
		share := 99.9
		if readers >= 10_000 {
			share = 99
		}
		w.Targets = append(w.Targets, enoughArrives(c.Name, share))
		if readers > 10 {
			w.Targets = append(w.Targets, atLeast(c.Name+": best library that waits / ours", 5, bestLibraryOverOurs(c.Name)))
		}
		w.Cases = append(w.Cases, c)
	}
	return w
}

func busyFloodWorkload() *Workload {
	w := &Workload{
		Name:  "flood-busy",
		Title: "A flood when processors are short",
		Work: "As above with a buffer of 100, and 5 µs of work for each message; or beside four goroutines that do nothing but use the processors. What takes " +
			"the time is that, so look at what is delivered.",
		NotShown: "processors that other processes use: a broker can not see that.",
		Metrics:  []Metric{{Name: nsPerDelivery}, {Name: percentDelivered}},
	}
	for _, readers := range []int{20, 100} {
		f := flood{readers: readers, buffer: buffer, messages: 100_000 / readers, work: 5 * time.Microsecond}
		w.Cases = append(w.Cases, floodCase(fmt.Sprintf("readers=%d/work=5us", readers), f))
	}
	w.Cases = append(w.Cases, floodCase("readers=4/hogs=4", flood{readers: 4, buffer: buffer, messages: floodMessages, hogs: 4}))
	for _, c := range w.Cases {
		w.Targets = append(w.Targets, enoughArrives(c.Name, 99))
	}
	return w
}

func floodCase(name string, f flood) Case {
	return Case{Name: name, Contestants: contest(peers.All[Message](), nobodyIsLeftOut, f.sample)}
}

func enoughArrives(c string, share float64) Target {
	return atLeast(c+": % delivered", share, of(c, peers.NameOurs, percentDelivered))
}

func floodBesideStuckWorkload() *Workload {
	w := &Workload{
		Name:  "flood-stuck",
		Title: "The same flood, with stuck readers in the room",
		Work: "As above with a buffer of 100, but some of the readers never read. Peers skip those that are full, and lose messages of healthy readers in the " +
			"same way.",
		NotShown: "stuck readers that come and go: each costs publishers a moment of patience.",
		Metrics:  []Metric{{Name: nsPerDelivery}, {Name: msPerFlood}, {Name: percentDelivered}},
	}
	name := func(readers, stuck int) string { return fmt.Sprintf("readers=%d/stuck=%d", readers, stuck) }
	for _, readers := range []int{100, 1_000} {
		for _, stuck := range []int{0, 1, readers / 10} {
			f := flood{readers: readers - stuck, stuck: stuck, buffer: buffer, messages: floodMessages}
			w.Cases = append(w.Cases, Case{
				Name:        name(readers, stuck),
				Contestants: contest(peers.All[Message](), func(p peers.Peer[Message]) string { return p.NoStuck }, f.sample),
			})
			if stuck > 0 {
				w.Targets = append(w.Targets,
					enoughArrives(name(readers, stuck), 99.9),
					atMost(name(readers, stuck)+": time less one patience / time with nobody stuck", 1.25,
						lessOnePatience(name(readers, stuck), name(readers, 0))))
			}
		}
	}
	return w
}

// lessOnePatience compares two cases of ours.
func lessOnePatience(c, base string) func(*Result) (float64, bool) {
	return func(r *Result) (float64, bool) {
		with, ok := r.Median(c, peers.NameOurs, msPerFlood)
		without, ok2 := r.Median(base, peers.NameOurs, msPerFlood)
		if !ok || !ok2 || without == 0 {
			return 0, false
		}
		return (with - float64(patience.Milliseconds())) / without, true
	}
}

// sample lets a peer do its work once.
func (f flood) sample(p peers.Peer[Message], plan Plan) (Sample, error) {
	o, err := f.run(p, plan)
	if err != nil {
		return nil, err
	}
	return Sample{
		nsPerDelivery:    float64(o.took.Nanoseconds()) / float64(max(1, o.delivered)),
		percentDelivered: 100 * float64(o.delivered) / float64(max(1, o.published*f.readers)),
		msPerFlood:       float64(o.took.Nanoseconds()) / 1e6 * floodMessages / float64(max(1, o.published)),
	}, nil
}
