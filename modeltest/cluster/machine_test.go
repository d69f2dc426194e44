package cluster_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// Whatever is done to three nodes and to the engine, one thing after the other, each node is fed
// exactly what the model says, and Publish returns what the model says.
func TestNodesMatchTheModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		keep := rapid.IntRange(0, 4).Draw(rt, "keep")
		plan := rapid.SliceOfN(rapid.Custom(drawOperation), 1, 25).Draw(rt, "plan")
		var difference string
		synctest.Test(t, func(*testing.T) { difference = play(plan, keep) })
		if difference != "" {
			rt.Fatal(difference)
		}
	})
}

const nodes = 3

// An operation is one step of a plan.
type operation struct {
	Kind    string
	Node    int
	N       int    // publish: messages
	Fault   string // publish: what goes wrong meanwhile
	History bool   // join
}

func drawOperation(t *rapid.T) operation {
	o := operation{
		Kind: rapid.SampledFrom([]string{
			"publish", "publish", "publish", "publish", "join", "join", "leave",
			"cut", "restore", "restore", "stick", "loosen", "restart", "purge", "close",
		}).Draw(t, "kind"),
		Node: rapid.IntRange(0, nodes-1).Draw(t, "node"),
	}
	switch o.Kind {
	case "publish":
		o.N = rapid.IntRange(1, 6).Draw(t, "n")
		o.Fault = rapid.SampledFrom(slices.Sorted(maps.Keys(faults))).Draw(t, "fault")
	case "join":
		o.History = rapid.Bool().Draw(t, "history")
	}
	return o
}

var faults = map[string]memengine.Faults{
	"":             {},
	"lost request": {LostRequest: 1},
	"lost answer":  {LostAnswer: 1},
	"late":         {Late: 1},
	"silence":      {LostAnswer: 1, Silence: 1},
	"drop":         {Drop: 1},
	"some drop":    {Drop: 0.5},
	"repeat":       {Repeat: 1},
	"reorder":      {Reorder: 0.5},
	"stale":        {Stale: 1},
	"fail":         {Fail: 1},
	"away":         {Away: 1},
}

const (
	faulty  = 10 * time.Millisecond // how long a fault lasts
	soon    = 3 * time.Second       // how long until everything is at rest that needs no check
	checked = 35 * time.Second      // after a check and what follows from it
)

// play carries out a plan. It returns the first difference from the model.
func play(plan []operation, keep int) (difference string) {
	m := &machine{engine: memengine.New(1, time.Millisecond, keep), keep: keep}
	for i := range nodes {
		m.start(i)
	}
	defer m.close()
	time.Sleep(soon)
	for i, o := range plan {
		m.do(o)
		if m.compare(); m.difference != "" {
			return fmt.Sprintf("operation %d, %+v: %s", i, o, m.difference)
		}
	}
	return ""
}

// machine is the nodes, and the model of them.
type machine struct {
	engine     *memengine.Engine
	clients    [nodes]*memengine.Client
	nodes      [nodes]*cluster.Node
	logs       [nodes]*log // nil where nobody has joined
	difference string

	// The model.

	keep  int
	epoch int      // how many times the engine has forgotten the chat
	begun bool     // the chat has a record in this epoch
	order []string // the messages of this epoch
	n     int      // messages published so far
	down  [nodes]bool
	feeds [nodes]*feed
}

func (m *machine) differ(format string, args ...any) {
	if m.difference == "" {
		m.difference = fmt.Sprintf(format, args...)
	}
}

func (m *machine) start(i int) {
	m.clients[i] = m.engine.Client()
	m.nodes[i] = cluster.Start(m.clients[i], cluster.Config{Timeout: 20 * time.Second})
	m.down[i] = false
}

func (m *machine) close() {
	for _, n := range m.nodes {
		n.Close(context.Background())
	}
	m.engine.Wait()
}

// do carries out an operation, and waits until all is at rest.
func (m *machine) do(o operation) {
	i := o.Node
	switch o.Kind {
	case "publish":
		m.publish(o)
	case "join":
		if m.logs[i] != nil && o.Node%2 == 0 {
			m.logs[i].feed.Leave()
		}
		m.logs[i], m.feeds[i] = new(log), &feed{epoch: -1, history: o.History}
		m.logs[i].join(m.nodes[i], o.History)
	case "leave":
		if m.logs[i] != nil {
			m.logs[i].feed.Leave()
			m.logs[i], m.feeds[i] = nil, nil
		}
	case "cut":
		m.clients[i].Cut()
		m.down[i] = true
	case "restore":
		m.clients[i].Restore()
		m.down[i] = false
	case "stick", "loosen":
		if m.logs[i] != nil {
			m.logs[i].stick(o.Kind == "stick")
			m.feeds[i].stuck = o.Kind == "stick"
		}
	case "restart":
		m.engine.Restart()
		m.forget()
	case "purge":
		m.engine.Purge("c")
		m.forget()
	case "close":
		m.nodes[i].Close(context.Background())
		m.logs[i], m.feeds[i] = nil, nil
		m.start(i)
	}
	if o.Kind == "purge" {
		m.settle(checked)
	}
	m.settle(soon)
}

// settle waits until all is at rest.
func (m *machine) settle(after time.Duration) {
	time.Sleep(after)
	for i, f := range m.feeds {
		if f != nil && !m.down[i] {
			m.begun = true // by an empty record, if there is no message
		}
	}
	for i, f := range m.feeds {
		if f != nil && !m.down[i] {
			f.learn(m)
		}
		if f != nil {
			f.pass()
		}
	}
}

// forget is what happens to the chat when the engine loses its memory.
func (m *machine) forget() {
	if m.begun {
		m.order, m.begun = nil, false
		m.epoch++
	}
}

// publish publishes messages, one after the other. Each is accepted, unless its node cannot reach
// the engine, or its log has yet to take what was there before.
func (m *machine) publish(o operation) {
	if m.keep > 0 && m.feeds[o.Node] == nil {
		// A node that only publishes forgets the chat after a minute. Otherwise what tells whether
		// a message was stored may be trimmed.
		m.settle(2 * checked)
	}
	for range o.N {
		m.n++
		message := fmt.Sprint(m.n)
		m.engine.SetFaults(faults[o.Fault])
		var calm sync.WaitGroup
		calm.Go(func() {
			time.Sleep(faulty)
			m.engine.SetFaults(memengine.Faults{})
		})
		err := m.nodes[o.Node].Publish(context.Background(), "c", []byte(message))
		calm.Wait()
		var want error
		switch f := m.feeds[o.Node]; {
		case m.down[o.Node]:
			want = engine.ErrAway
		case f != nil && f.taken < len(f.events):
			want = cluster.ErrTimeout
		default:
			m.order, m.begun = append(m.order, message), true
		}
		if err != want {
			m.differ("publishing %s: %v instead of %v", message, err, want)
		}
		if faults[o.Fault].Drop > 0 {
			m.settle(checked) // otherwise what a node has missed may be trimmed, or not
		}
		m.settle(soon)
	}
}

// feed is the model of what a log is told.
type feed struct {
	history bool
	stuck   bool
	epoch   int // that the node knows, -1 before the first
	known   int // messages of that epoch that it knows
	events  []event
	taken   int // how many of them the log has taken
}

// event is what a log is told: a message, or a mark, which needs no room.
type event struct {
	text string
	mark bool
}

func (f *feed) mark(what string, n int) {
	f.events = append(f.events, event{fmt.Sprint(what, " ", n), true})
}

// learn makes the node of the feed know the order.
func (f *feed) learn(m *machine) {
	trimmed := 0
	if m.keep > 0 {
		trimmed = max(0, len(m.order)-m.keep)
	}
	switch {
	case f.epoch == -1 && !f.history:
		f.known = len(m.order)
		f.mark("reset", f.known)
	case f.epoch != m.epoch:
		f.known = trimmed
		f.mark("reset", f.known)
	case f.known < trimmed:
		f.mark("hole", trimmed-f.known)
		f.known = trimmed
	}
	f.epoch = m.epoch
	for ; f.known < len(m.order); f.known++ {
		f.events = append(f.events, event{text: m.order[f.known]})
	}
}

// pass makes the log take what it has room for.
func (f *feed) pass() {
	for f.taken < len(f.events) && (!f.stuck || f.events[f.taken].mark) {
		f.taken++
	}
}

// compare compares what the logs were told with the model.
func (m *machine) compare() {
	for i, f := range m.feeds {
		if f == nil {
			continue
		}
		var want []string
		for _, e := range f.events[:f.taken] {
			want = append(want, e.text)
		}
		if got := m.logs[i].told(); !slices.Equal(got, want) {
			m.differ("node %d was told %q instead of %q", i, got, want)
		}
	}
}

// log is the log of a node. It implements [cluster.Log].
type log struct {
	mu     sync.Mutex
	feed   *cluster.Feed
	stuck  bool
	events []string
}

func (l *log) join(n *cluster.Node, history bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.feed = n.Join("c", l, history)
}

func (l *log) stick(stuck bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stuck = stuck
	l.feed.Room()
}

func (l *log) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.events)
}

func (l *log) mark(what string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, fmt.Sprint(what, " ", n))
}

func (l *log) Reset(_, seq uint64)  { l.mark("reset", seq) }
func (l *log) Hole(n uint64)        { l.mark("hole", n) }
func (l *log) End(error, time.Time) { l.mark("end", 0) }       // nobody ends the chat
func (l *log) Forgotten()           { l.mark("forgotten", 0) } // nor forgets it
func (l *log) InUse() bool          { return false }
func (l *log) Ready()               {}

func (l *log) Feed(batch [][]byte, _ time.Time) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stuck {
		return 0
	}
	for _, message := range batch {
		l.events = append(l.events, string(message))
	}
	return len(batch)
}
