package main

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast/benchmarks/messenger"
	"github.com/fbd86cad/broadcast/benchmarks/peers"
)

const (
	usPerFrame        = "µs/frame"
	messagesPerSecond = "messages/s"
	p99Millis         = "ms p99"
	kilobytes         = "kB/connection"

	stoppedClients = 10
)

func messengerWorkload() *Workload {
	w := &Workload{
		Name:  "messenger",
		Title: "A messenger over loopback",
		Work: "So many WebSocket clients in one chat; messages are posted as JSON by HTTP, one after the other, and rounds end when every client has all frames, " +
			"each checked. The same server with three insides: this library; the hub of WebSocket tutorials, which cuts off clients that are too slow; and a loop " +
			"that writes to one socket after the other, which is what the system calls alone cost. Each frame is marshalled once. Also with " +
			strconv.Itoa(stoppedClients) + " clients more that have stopped reading. p99 is from the beginning of the POST to a client; memory is that of both ends.",
		NotShown: "TLS, compression, a network; and the clients use the same processors.",
		Metrics:  []Metric{{Name: usPerFrame}, {Name: messagesPerSecond}, {Name: p99Millis}, {Name: kilobytes}},
	}
	name := func(clients, burst, stopped int) string {
		return fmt.Sprintf("clients=%d/burst=%d/stopped=%d", clients, burst, stopped)
	}
	for _, clients := range []int{200, 1_000} {
		for _, burst := range []int{1, 64} {
			for _, stopped := range []int{0, stoppedClients} {
				c := Case{Name: name(clients, burst, stopped), Heavy: clients > 200 || burst > 1 || stopped > 0, Large: clients > 200}
				c.Contestants = messengerContestants(clients, burst, stopped)
				w.Cases = append(w.Cases, c)
				w.Targets = append(w.Targets, atLeast(c.Name+": messages per second, ours / hub", 0.8,
					ratio(turns{c.Name, peers.NameOurs}, turns{c.Name, peers.NameHub}, messagesPerSecond)))
			}
			w.Targets = append(w.Targets, atMost(name(clients, burst, stoppedClients)+": p99 / without the stopped", 1.2,
				ratio(turns{name(clients, burst, stoppedClients), peers.NameOurs}, turns{name(clients, burst, 0), peers.NameOurs}, p99Millis)))
		}
	}
	return w
}

func messengerContestants(clients, burst, stopped int) []Contestant {
	contestant := func(name string, kind peers.Kind, room func() (messenger.Room, error)) Contestant {
		return Contestant{Name: name, Kind: kind, Run: func(plan Plan) (Sample, error) { return messaging(room, plan, clients, burst, stopped) }}
	}
	all := []Contestant{
		contestant(peers.NameOurs, peers.Ours, messenger.NewBroadcast),
		contestant(peers.NameHub, peers.Pattern, func() (messenger.Room, error) { return messenger.NewHub(), nil }),
		contestant("writes-only", peers.Floor, func() (messenger.Room, error) { return messenger.NewLoop(), nil }),
	}
	if stopped > 0 {
		all[2].Skip = "a client that does not read would stop it"
	}
	return all
}

// textSize is how long texts are, beside the number.
const textSize = 100

func messaging(newRoom func() (messenger.Room, error), plan Plan, clients, burst, stopped int) (Sample, error) {
	room, err := newRoom()
	if err != nil {
		return nil, err
	}
	server, err := messenger.Start(room)
	if err != nil {
		room.Close()
		return nil, err
	}
	all := names(clients + stopped)
	connections := make([]*messenger.Client, 0, len(all))
	leave := func() {
		server.Close()
		for _, c := range connections {
			c.Close()
		}
	}
	before := memory()
	crowd := newCrowd()
	sent := make([]atomic.Int64, 1<<20) // when, by number
	delays := make([][]int64, clients)  // stored before sent, loaded after it
	for i, name := range all {
		c, err := messenger.Dial(server.Addr(), name, i >= clients)
		if err != nil {
			leave()
			return nil, cmp.Or(crowd.leave(), err)
		}
		connections = append(connections, c)
		if i < clients {
			crowd.addWith(numbered(c), burst, func(m Message) {
				if delay := now() - sent[m[wordSeq]].Load(); delays[i] != nil {
					delays[i] = append(delays[i], delay)
				}
			})
		}
	}
	perConnection := (float64(memory()) - float64(before)) / float64(len(all)) / 1e3

	poster := messenger.NewPoster(server.Addr())
	defer poster.Close()
	t := talk{publish: func(m Message) {
		sent[m[wordSeq]].Store(now())
		if err := poster.Post(messenger.Post{Text: numberedText(m[wordSeq]), By: 7, Chat: 1}); err != nil {
			crowd.fail(err)
		}
	}}
	warm := 1
	if stopped > 0 {
		warm = 600/burst + 1 // until nothing more fits on the way to those that have stopped
	}
	round := func() { t.say(burst) }
	rounds, err := crowd.warmUp(plan, warm, round)
	rounds = min(rounds, (len(sent)-1-int(t.seq))/burst)
	var took time.Duration
	if err == nil {
		for i := range delays { // between rounds nobody reads
			delays[i] = make([]int64, 0, rounds*burst)
		}
		took, err = crowd.repeat(rounds, round)
	}
	leave()
	if err := cmp.Or(err, crowd.leave()); err != nil {
		return nil, err
	}
	messages := float64(rounds * burst)
	together := slices.Concat(delays...)
	slices.Sort(together)
	return Sample{
		usPerFrame: float64(took.Microseconds()) / messages / float64(clients), messagesPerSecond: messages / took.Seconds(),
		p99Millis: float64(quantile(together, 0.99)) / 1e6, kilobytes: perConnection,
	}, nil
}

// numberedText is a text that begins with a number.
func numberedText(n int64) string { return fmt.Sprintf("%012d%*s", n, textSize, "") }

// textAt is where the text begins in a frame.
const textAt = len(`{"text":"`)

var errFrame = errors.New("a frame without a number")

// numbered returns the messages that come to a client. The loop ends with the connection, or with a
// frame that is not a message.
func numbered(c *messenger.Client) iter.Seq[Message] {
	return func(yield func(Message) bool) {
		for frame := range c.Frames() {
			n, err := numberOf(frame)
			if err != nil || !yield(Message{wordSeq: n}) {
				return
			}
		}
	}
}

func numberOf(frame []byte) (int64, error) {
	if len(frame) < textAt+12 {
		return 0, errFrame
	}
	n := int64(0)
	for _, digit := range frame[textAt : textAt+12] {
		if digit < '0' || digit > '9' {
			return 0, errFrame
		}
		n = 10*n + int64(digit-'0')
	}
	return n, nil
}
