package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

// The metrics of a large broker.
const (
	secondsToSetUp   = "s set-up"
	megabytes        = "MB of heap"
	msToPublish      = "ms for a message to each chat"
	msLongestPause   = "ms longest pause"
	msLongestCall    = "ms longest call"
	subscribersAChat = 100
)

func millionWorkload() *Workload {
	w := &Workload{
		Name:  "million",
		Title: "Many subscribers in one process",
		Work: "So many subscribers, 100 in each chat, without goroutines; then one message to each chat; then everybody takes it. A pause is one of the garbage " +
			"collector; a call is one of Subscribe or Publish.",
		NotShown: "the goroutines, sockets and TLS sessions of so many clients, which cost far more.",
		Metrics: []Metric{
			{Name: secondsToSetUp}, {Name: megabytes}, {Name: msToPublish}, {Name: msLongestPause}, {Name: msLongestCall},
		},
	}
	for _, n := range []int{100_000, 1_000_000} {
		c := Case{Name: fmt.Sprintf("subscribers=%d", n), Heavy: true, Large: n > 100_000}
		c.Contestants = contest(peers.All[Message](), func(p peers.Peer[Message]) string {
			if p.Kind == peers.Ours {
				return ""
			}
			return "a million channels of the default buffer are 14 GB, or a million goroutines"
		}, func(_ peers.Peer[Message], _ Plan) (Sample, error) { return crowded(n) })
		w.Cases = append(w.Cases, c)
	}
	million := w.Cases[1].Name
	w.Targets = []Target{
		atMost("a million: MB of heap", 450, of(million, peers.NameOurs, megabytes)),
		atMost("a million: ms longest pause", 100, of(million, peers.NameOurs, msLongestPause)),
		atMost("a million: ms longest call", 100, of(million, peers.NameOurs, msLongestCall)),
	}
	return w
}

func crowded(n int) (Sample, error) {
	ctx := context.Background()
	broker, err := broadcast.New[Message]()
	if err != nil {
		return nil, err
	}
	defer broker.Close()
	chats, devices := names(n/subscribersAChat), names(subscribersAChat)
	all := make([]*broadcast.Subscriber[Message], 0, n)
	before := memory()
	pauses := pausesSoFar()

	var longest time.Duration
	clock := func(call func() error) error {
		began := time.Now()
		err := call()
		longest = max(longest, time.Since(began))
		return err
	}
	began := time.Now()
	for _, chat := range chats {
		for _, device := range devices {
			err := clock(func() error {
				s, err := broker.Subscribe(chat, device)
				all = append(all, s)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
	setUp := time.Since(began)
	began = time.Now()
	for _, chat := range chats {
		if err := clock(func() error { return broker.Publish(ctx, chat, Message{wordSeq: 1}) }); err != nil {
			return nil, err
		}
	}
	published := time.Since(began)
	heap := memory() - before // with the messages
	pause := longestPause(pauses)
	for _, s := range all {
		if d, ok := s.TryNext(); !ok || d.Message[wordSeq] != 1 || d.Missed > 0 {
			return nil, fmt.Errorf("%s in %s did not get the message: %w", s.Device(), s.Chat(), errOrder)
		}
		if _, ok := s.TryNext(); ok {
			return nil, fmt.Errorf("%s in %s got two messages: %w", s.Device(), s.Chat(), errOrder)
		}
	}
	if stats := broker.Stats(); stats.Delivered != uint64(n) || stats.Pending != 0 {
		return nil, errors.New("the broker's books do not balance")
	}
	return Sample{
		secondsToSetUp: setUp.Seconds(), megabytes: float64(heap) / 1e6, msToPublish: ms(published),
		msLongestPause: ms(pause), msLongestCall: ms(longest),
	}, nil
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// pausesSoFar returns how many collections there were.
func pausesSoFar() uint32 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.NumGC
}

// longestPause returns the longest pause since then, of those that are still known.
func longestPause(since uint32) (longest time.Duration) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	known := uint32(len(m.PauseNs))
	for n := max(since, m.NumGC-min(m.NumGC, known)); n < m.NumGC; n++ {
		longest = max(longest, time.Duration(m.PauseNs[n%known]))
	}
	return longest
}
