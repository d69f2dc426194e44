package natstest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/internal/cluster"
)

// A world is three nodes that publish and read the same chats all the time, while a test does
// something to the servers or to the connections. At the end it checks what every node was fed.
type world struct {
	t         *testing.T
	options   broadcastnats.Options
	addresses []string // of the servers; each node uses another one
	nodes     []*node
	logs      []*log // of all nodes, also of those that have died

	accepted atomic.Int64 // messages so far; written by publishers, read to see that they get on

	mu       sync.Mutex
	attempts []attempt
}

var chats = []string{"a", "b", "c", "d", "e"}

// An attempt is one call of Publish.
type attempt struct {
	chat, message string
	err           error
}

// A node is one of the three, behind a proxy.
type node struct {
	*cluster.Node
	name       string
	proxy      *proxy
	publishing sync.WaitGroup
	quit       context.CancelFunc
}

// pause is that of each publisher after each message.
const pause = 5 * time.Millisecond

// timeout is that of the nodes, so that some publishers give up.
const timeout = time.Second

func startWorld(t *testing.T, o broadcastnats.Options, addresses ...string) *world {
	t.Helper()
	w := &world{t: t, options: o, addresses: addresses}
	for range 3 {
		w.startNode()
	}
	w.progress()
	return w
}

// startNode adds a node. It reads everything that the stream has.
func (w *world) startNode() {
	i := len(w.logs) / len(chats)
	n := &node{name: fmt.Sprint("node", i), proxy: newProxy(w.t, w.addresses[i%len(w.addresses)])}
	o := w.options
	o.URL = n.proxy.url()
	n.Node = cluster.Start(newEngine(w.t, o), cluster.Config{Timeout: timeout})
	ctx, cancel := context.WithCancel(context.Background())
	n.quit = cancel
	w.nodes = append(w.nodes, n)
	w.t.Cleanup(func() { w.stopNode(n) })
	for _, chat := range chats {
		l := &log{name: n.name, chat: chat, at: make(map[place]string), seen: make(map[string]bool)}
		w.logs = append(w.logs, l)
		n.Join(chat, l, true)
		for p := range 2 {
			n.publishing.Go(func() { w.publish(ctx, n, chat, fmt.Sprint(n.name, "/", p)) })
		}
	}
}

// stopNode ends a node. Messages in flight become uncertain.
func (w *world) stopNode(n *node) {
	if n.Node == nil {
		return
	}
	n.quit()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.Close(ctx)
	n.publishing.Wait()
	n.Node = nil
	w.nodes = slices.DeleteFunc(w.nodes, func(other *node) bool { return other == n })
}

// publish publishes messages until ctx is done.
func (w *world) publish(ctx context.Context, n *node, chat, publisher string) {
	for i := 0; ctx.Err() == nil; i++ {
		a := attempt{chat: chat, message: fmt.Sprint(publisher, "/", i)}
		a.err = n.Publish(ctx, chat, []byte(a.message))
		if a.err == nil {
			w.accepted.Add(1)
		}
		w.mu.Lock()
		w.attempts = append(w.attempts, a)
		w.mu.Unlock()
		time.Sleep(pause)
	}
}

// progress waits until all nodes can reach the engine, and some more messages are accepted.
func (w *world) progress() {
	w.t.Helper()
	eventually(w.t, "all nodes up", func() bool {
		return !slices.ContainsFunc(w.nodes, func(n *node) bool { return !n.Stats().Up })
	})
	w.someMore()
}

// someMore waits until some more messages are accepted.
func (w *world) someMore() {
	w.t.Helper()
	const some = 100
	before := w.accepted.Load()
	eventually(w.t, "messages accepted", func() bool { return w.accepted.Load() > before+some })
}

// finish ends the publishers, and waits until all nodes were fed what was accepted.
func (w *world) finish() {
	w.t.Helper()
	w.progress()
	for _, n := range w.nodes {
		n.quit()
	}
	for _, n := range w.nodes {
		n.publishing.Wait()
	}
	for _, chat := range chats {
		eventually(w.t, "the last message accepted", func() bool {
			err := w.nodes[0].Publish(context.Background(), chat, []byte(last))
			w.attempts = append(w.attempts, attempt{chat: chat, message: last, err: err})
			return err == nil
		})
	}
	for _, l := range w.living() {
		eventually(w.t, "the last message fed", func() bool { return l.has(last) })
	}
	for _, n := range slices.Clone(w.nodes) {
		w.t.Logf("%s: %+v", n.name, n.Stats())
		w.stopNode(n)
	}
}

// last is the last message of each chat. There may be several, because one may be uncertain.
const last = "last"

// living returns the logs of the nodes that have not died.
func (w *world) living() (logs []*log) {
	for _, l := range w.logs {
		if slices.ContainsFunc(w.nodes, func(n *node) bool { return n.name == l.name }) {
			logs = append(logs, l)
		}
	}
	return logs
}

// resets returns how often the nodes have seen that the stream had lost its memory of a chat.
func (w *world) resets() (n uint64) {
	for _, node := range w.nodes {
		n += node.Stats().Resets
	}
	return n
}

// checkAll checks what must hold if the stream has lost nothing: all nodes were fed the same
// messages, all those that were accepted, none that was refused, and none twice.
func (w *world) checkAll() {
	w.t.Helper()
	living := w.living()
	w.finish()
	w.check()
	for _, l := range living {
		assert.Zero(w.t, l.resets, "%s lost the memory of %s", l.name, l.chat)
		assert.Zero(w.t, l.holes, "%s lost messages of %s", l.name, l.chat)
		for _, a := range w.attempts {
			if a.err == nil && a.chat == l.chat && !l.has(a.message) {
				require.FailNow(w.t, "not fed, though accepted", "%s to %s", a.message, l.name)
			}
		}
	}
}

// check checks what must hold even if the stream has lost its memory.
func (w *world) check() {
	w.t.Helper()
	order := make(map[string]map[place]string)
	for _, l := range w.logs {
		assert.Empty(w.t, l.problem, "%s in %s", l.name, l.chat)
		if order[l.chat] == nil {
			order[l.chat] = make(map[place]string)
		}
		for at, message := range l.at {
			if other, ok := order[l.chat][at]; ok && other != message {
				require.FailNow(w.t, "two messages at one place", "%s and %s at %+v", other, message, at)
			}
		}
		maps.Copy(order[l.chat], l.at)
	}
	refused := 0
	for _, a := range w.attempts {
		if a.err == nil || errors.Is(a.err, cluster.ErrUncertain) {
			continue
		}
		refused++
		for _, l := range w.logs {
			if l.chat == a.chat && a.message != last && l.has(a.message) {
				require.FailNow(w.t, "fed, though refused", "%s to %s: %v", a.message, l.name, a.err)
			}
		}
	}
	w.t.Logf("%d of %d accepted, %d refused", w.accepted.Load(), len(w.attempts), refused)
}

// A place is where a message is in the order.
type place struct{ epoch, seq uint64 }

// A log is the log of one chat on one node. It is never full.
type log struct {
	name, chat string

	mu      sync.Mutex
	begun   bool
	now     place // of the last message
	at      map[place]string
	seen    map[string]bool // messages
	resets  int
	holes   uint64
	problem string
}

func (l *log) Reset(epoch, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.begun {
		l.resets++
	}
	if epoch <= l.now.epoch {
		l.problem = fmt.Sprintf("epoch %d after %d", epoch, l.now.epoch)
	}
	l.begun, l.now = true, place{epoch, seq}
}

func (l *log) Hole(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holes += n
	l.now.seq += n
}

func (l *log) Ready() {}

func (l *log) End(error, time.Time) {}

func (l *log) Forgotten() {}

func (l *log) InUse() bool { return false }

func (l *log) Feed(batch [][]byte, _ time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range batch {
		message := string(m)
		if l.seen[message] && message != last {
			l.problem = "fed twice: " + message
		}
		l.now.seq++
		l.at[l.now], l.seen[message] = message, true
	}
	return len(batch)
}

// has reports whether the log was fed a message.
func (l *log) has(message string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen[message]
}
