package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// core is the log of one chat on one node, as the core would have it. Its readers may hold it back.
type core struct {
	node string
	chat string
	feed *cluster.Feed // set before the first call that is short; guarded by mu

	mu      sync.Mutex
	random  *rand.Rand
	busy    float64       // the probability that a call of Feed is short
	stuck   bool          // Feed takes nothing
	goOn    chan struct{} // Feed waits until it is closed, if not nil
	left    time.Time
	timers  sync.WaitGroup
	born    chan struct{} // closed by Ready
	running atomic.Int32  // calls; at most one
	readers atomic.Bool   // whether there are any: tests set it

	fault  error
	steps  []step
	epoch  uint64
	seq    uint64
	missed uint64
}

// A step is what a log was told.
type step struct {
	reset   bool
	hole    uint64
	end     bool
	forgot  bool
	epoch   uint64
	seq     uint64
	message string // of the end, its reason; otherwise if neither reset nor hole
}

func newCore(node, chat string, random *rand.Rand, busy float64) *core {
	return &core{node: node, chat: chat, random: random, busy: busy, born: make(chan struct{})}
}

// enter begins a call of a method. There is one at a time, and the first one is Reset.
func (l *core) enter(first bool) (leave func()) {
	others := l.running.Add(1) - 1
	l.mu.Lock()
	switch {
	case others > 0:
		l.fault = errors.New("two calls at a time")
	case l.epoch == 0 && !first:
		l.fault = errors.New("a call before Reset")
	case !l.left.IsZero() && time.Now().After(l.left): // on the fake clock: not just then
		l.fault = errors.New("a call after Leave")
	}
	return func() {
		l.mu.Unlock()
		l.running.Add(-1)
	}
}

func (l *core) Reset(epoch, seq uint64) {
	defer l.enter(true)()
	if epoch == 0 || epoch == l.epoch {
		l.fault = fmt.Errorf("reset from epoch %d to %d", l.epoch, epoch)
	}
	l.epoch, l.seq = epoch, seq
	l.steps = append(l.steps, step{reset: true, epoch: epoch, seq: seq})
}

func (l *core) Hole(n uint64) {
	defer l.enter(false)()
	l.seq += n
	l.missed += n
	l.steps = append(l.steps, step{hole: n, epoch: l.epoch, seq: l.seq})
}

func (l *core) Feed(batch [][]byte, _ time.Time) (n int) {
	defer l.enter(false)()
	if l.goOn != nil {
		<-l.goOn
	}
	n = len(batch)
	switch {
	case l.stuck:
		n = 0
	case l.random.Float64() < l.busy:
		n = l.random.IntN(n)
		wait := time.Duration(l.random.IntN(20)) * time.Millisecond
		l.timers.Go(func() {
			time.Sleep(wait)
			l.room()
		})
	}
	for _, message := range batch[:n] {
		l.seq++
		l.steps = append(l.steps, step{epoch: l.epoch, seq: l.seq, message: string(message)})
	}
	return n
}

func (l *core) End(reason error, _ time.Time) {
	defer l.enter(false)()
	s := step{end: true, epoch: l.epoch, seq: l.seq}
	if reason != nil {
		s.message = reason.Error()
	}
	l.steps = append(l.steps, s)
}

func (l *core) Forgotten() {
	defer l.enter(false)()
	l.steps = append(l.steps, step{forgot: true, epoch: l.epoch, seq: l.seq})
}

func (l *core) InUse() bool { return l.readers.Load() }

func (l *core) Ready() {
	defer l.enter(false)()
	close(l.born)
}

// room tells the feed that there is room.
func (l *core) room() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.feed != nil {
		l.feed.Room() // with a lock that Feed takes, as the core does
	}
}

// setStuck makes Feed take nothing, or something again.
func (l *core) setStuck(stuck bool) {
	l.mu.Lock()
	l.stuck = stuck
	l.mu.Unlock()
	if !stuck {
		l.room()
	}
}

// blocks makes Feed block until a channel is closed.
func (l *core) blocks(goOn chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.goOn = goOn
}

// leave leaves the chat.
func (l *core) leave() {
	l.mu.Lock()
	f := l.feed
	l.feed, l.left = nil, time.Now()
	l.mu.Unlock()
	f.Leave()
}

// told returns what the log was told so far.
func (l *core) told() (steps []step) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.steps)
}

// messages returns the messages that the log was fed.
func (l *core) messages() (all []string) {
	for _, s := range l.told() {
		if s.message != "" && !s.end {
			all = append(all, s.message)
		}
	}
	return all
}

// at returns where the log is, and how many messages it has missed.
func (l *core) at() (epoch, seq, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch, l.seq, l.missed
}

// join joins a new log to a chat.
func join(n *cluster.Node, l *core, history bool) *core {
	f := n.Join(l.chat, l, history)
	l.mu.Lock()
	l.feed = f
	l.mu.Unlock()
	l.room()
	return l
}

// system is an engine and its nodes, for tests without chance.
type system struct {
	*testing.T
	engine  *memengine.Engine
	clients []*memengine.Client
	nodes   []*cluster.Node
}

// run runs a test in a bubble, with an engine that keeps the given number of records per chat, or
// all, and with some nodes.
func run(t *testing.T, nodes, keep int, config cluster.Config, test func(t *testing.T, s *system)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &system{T: t, engine: memengine.New(1, time.Millisecond, keep)}
		for range nodes {
			s.start(config)
		}
		defer func() {
			for _, n := range s.nodes {
				n.Close(context.Background())
			}
			s.engine.Wait()
		}()
		test(t, s)
	})
}

// start starts another node.
func (s *system) start(config cluster.Config) {
	client := s.engine.Client()
	s.clients = append(s.clients, client)
	s.nodes = append(s.nodes, cluster.Start(client, config))
}

// join joins a log to chat c on a node, and waits until it is ready.
func (s *system) join(node int, history bool) *core {
	l := s.joinChat(node, "c", history)
	<-l.born
	return l
}

func (s *system) joinChat(node int, chat string, history bool) *core {
	l := newCore(fmt.Sprint(node), chat, rand.New(rand.NewPCG(1, 1)), 0)
	return join(s.nodes[node], l, history)
}

// publish publishes messages in chat c, one after the other.
func (s *system) publish(node int, messages ...string) {
	s.Helper()
	for _, m := range messages {
		require.NoError(s.T, s.try(node, m))
	}
}

// try publishes a message in chat c.
func (s *system) try(node int, message string) error {
	return s.nodes[node].Publish(context.Background(), "c", []byte(message))
}

// begin begins to publish a message in chat c, and returns how that ends.
func (s *system) begin(node int, message string) <-chan error {
	result := make(chan error, 1)
	go func() { result <- s.try(node, message) }()
	synctest.Wait()
	return result
}
