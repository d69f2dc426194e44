package main

import (
	"cmp"
	"fmt"
	"runtime"
	"sync"

	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

func chatsWorkload() *Workload {
	w := &Workload{
		Name:  "chats",
		Title: "1 000 chats of two readers, publishers on all processors",
		Work: "Each publisher has its share of the chats and goes around them, one message to each, so many times a round; then all wait until every reader " +
			"has every message of its chat.",
		NotShown: "many processors: how much chats contend with each other shows only there.",
		Metrics:  []Metric{{Name: nsPerDelivery}},
	}
	for _, burst := range []int{1, 8, 64} {
		name := fmt.Sprintf("chats=1000/burst=%d", burst)
		w.Cases = append(w.Cases, Case{
			Name: name,
			Contestants: contest(peers.All[Message](), func(p peers.Peer[Message]) string { return p.NoChats }, func(p peers.Peer[Message], plan Plan) (Sample, error) {
				return inChats(p, plan, 1_000, 2, burst)
			}),
		})
		w.Targets = append(w.Targets, atLeast(name+": hub / ours", 4, over(name, peers.NameHub)))
	}
	return w
}

func inChats(p peers.Peer[Message], plan Plan, chats, readers, burst int) (Sample, error) {
	bus, crowd := p.Open(peers.Config{Buffer: buffer}), newCrowd()
	chatNames, devices := names(chats), names(readers)
	for _, chat := range chatNames {
		for _, device := range devices {
			crowd.add(bus.Join(chat, device), burst)
		}
	}
	talks := make([]*talk, chats)
	for i, chat := range chatNames {
		talks[i] = &talk{publish: bus.Publisher(chat)}
	}
	team := newTeam(runtime.GOMAXPROCS(0), func(member, members int) {
		for range burst {
			for i := member; i < chats; i += members {
				talks[i].say(1)
			}
		}
	})
	perRound, err := crowd.time(plan, 1, team.work)
	team.dismiss()
	bus.Close()
	return Sample{nsPerDelivery: float64(perRound.Nanoseconds()) / float64(chats*readers*burst)}, cmp.Or(err, crowd.leave())
}

// A team is goroutines that do the same work at the same time, again and again.
type team struct {
	starts     []chan struct{}
	working    sync.WaitGroup
	goroutines sync.WaitGroup
}

func newTeam(members int, work func(member, members int)) *team {
	t := &team{}
	for i := range members {
		start := make(chan struct{}, 1)
		t.starts = append(t.starts, start)
		t.goroutines.Go(func() {
			for range start {
				work(i, members)
				t.working.Done()
			}
		})
	}
	return t
}

// work returns when all members have done theirs once.
func (t *team) work() {
	t.working.Add(len(t.starts))
	for _, start := range t.starts {
		start <- struct{}{}
	}
	t.working.Wait()
}

func (t *team) dismiss() {
	for _, start := range t.starts {
		close(start)
	}
	t.goroutines.Wait()
}
