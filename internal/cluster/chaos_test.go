package cluster_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

var (
	runs = flag.Int("runs", 200, "random runs of three nodes")
	seed = flag.Uint64("seed", 0, "the only run to make, if not 0")
)

// Three nodes on an engine that does everything wrong: this test checks what must hold
// nevertheless.
func TestWhateverTheEngineDoesTheOrderIsOneAndEveryLossIsCounted(t *testing.T) {
	seeds := []uint64{*seed}
	if *seed == 0 {
		seeds = seeds[:0]
		for range *runs {
			seeds = append(seeds, rand.Uint64())
		}
	}
	for _, seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			chaos(t, seed)
			if t.Failed() {
				t.Logf("run again with -seed=%d", seed)
			}
		})
	}
}

// An attempt is one call of Publish or, without a message, of End or Forget.
type attempt struct {
	chat        string
	message     string
	end, forget bool
	err         error
	began, done int // by a clock that counts calls and returns
}

// world is a random run.
type world struct {
	t      *testing.T
	random *rand.Rand // of the goroutine that makes the chaos
	engine *memengine.Engine
	config cluster.Config
	busy   float64

	forgets bool // the engine loses its memory now and then
	ends    bool // chats end
	trims   bool // it keeps only some records

	mu       sync.Mutex
	clock    int
	attempts []*attempt
	nodes    []*node
	logs     []*core // all that ever were
}

// node is a node that may die.
type node struct {
	name   string
	client *memengine.Client
	*cluster.Node
	logs       map[string]*core
	publishing sync.WaitGroup
	quit       context.CancelFunc
}

var chatNames = []string{"a", "b"}

func chaos(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	keep := 0
	if random.IntN(3) == 0 {
		keep = 1 + random.IntN(20)
	}
	w := &world{
		t:      t,
		random: random,
		engine: memengine.New(seed, time.Duration(1+random.IntN(3000))*time.Microsecond, keep),
		config: cluster.Config{
			Timeout: time.Duration(random.IntN(4)) * time.Second,
			Refuse:  random.IntN(4) == 0,
		},
	}
	if random.IntN(2) == 0 {
		w.busy = 0.3 * random.Float64()
	}
	w.forgets, w.trims, w.ends = random.IntN(3) == 0, keep > 0, random.IntN(3) == 0
	w.engine.SetFaults(randomFaults(random))
	for range 3 {
		w.start()
	}
	for range 30 + random.IntN(40) {
		time.Sleep(time.Duration(random.IntN(200)) * time.Millisecond)
		w.disturb()
	}
	w.engine.SetFaults(memengine.Faults{})
	for _, n := range w.nodes {
		n.quit()
		n.client.Restore()
	}
	for _, n := range w.nodes {
		n.publishing.Wait()
	}
	time.Sleep(40 * time.Second)
	w.check()
	for _, n := range w.nodes {
		n.Close(t.Context())
	}
	for _, l := range w.logs {
		l.timers.Wait()
	}
	w.engine.Wait()
	w.checkOutcomes()
}

// randomFaults returns faults of which some are frequent and some never occur.
func randomFaults(random *rand.Rand) (f memengine.Faults) {
	for _, p := range []*float64{
		&f.Drop, &f.Repeat, &f.Reorder, &f.Stale, &f.Fail, &f.Away, &f.Refuse,
		&f.LostRequest, &f.LostAnswer, &f.Late,
	} {
		if random.IntN(2) == 0 {
			*p = random.Float64() * random.Float64() / 2
		}
	}
	f.Silence = random.Float64()
	return f
}

// start starts a node, with its publishers and perhaps its logs.
func (w *world) start() {
	ctx, quit := context.WithCancel(context.Background())
	client := w.engine.Client()
	n := &node{
		name: fmt.Sprintf("n%d", w.random.Uint32()), client: client, quit: quit,
		Node: cluster.Start(client, w.config), logs: make(map[string]*core),
	}
	w.nodes = append(w.nodes, n)
	for _, chat := range chatNames {
		w.toggle(n, chat)
	}
	for i := range 1 + w.random.IntN(6) {
		random := rand.New(rand.NewPCG(w.random.Uint64(), 2))
		n.publishing.Go(func() { w.publish(ctx, n, i, random) })
	}
}

// toggle joins a log to a chat, or leaves with it.
func (w *world) toggle(n *node, chat string) {
	if l := n.logs[chat]; l != nil && w.random.IntN(4) > 0 {
		l.leave()
		delete(n.logs, chat)
		return
	}
	random := rand.New(rand.NewPCG(w.random.Uint64(), 3))
	l := newCore(n.name, chat, random, w.busy)
	w.logs = append(w.logs, l)
	if old := n.logs[chat]; old != nil {
		defer old.leave() // too late to matter
	}
	n.logs[chat] = join(n.Node, l, w.random.IntN(2) == 0)
}

// disturb does something to the nodes or to the engine.
func (w *world) disturb() {
	i := w.random.IntN(len(w.nodes))
	n := w.nodes[i]
	chat := chatNames[w.random.IntN(len(chatNames))]
	switch w.random.IntN(14) {
	case 0, 1:
		n.client.Cut()
	case 2, 3, 4:
		n.client.Restore()
	case 5, 6:
		w.toggle(n, chat)
	case 7:
		w.engine.SetFaults(randomFaults(w.random))
	case 8:
		if w.forgets {
			w.engine.Restart()
		}
	case 9:
		if w.forgets {
			w.engine.Purge(chat)
		}
	case 10: // the death of a node
		w.nodes = slices.Delete(w.nodes, i, i+1)
		ctx, cancel := context.WithCancel(context.Background())
		if w.random.IntN(2) == 0 {
			cancel() // at once: messages in flight remain uncertain
		}
		n.Close(ctx)
		cancel()
		n.quit()
		n.publishing.Wait()
		w.start()
	case 11:
		if l := n.logs[chat]; l != nil {
			l.setStuck(true)
			time.Sleep(time.Duration(w.random.IntN(500)) * time.Millisecond)
			l.setStuck(false)
		}
	case 12:
		if w.ends {
			idle := time.Duration(w.random.IntN(3)) * time.Duration(w.random.IntN(1000)) * time.Millisecond
			n.publishing.Go(func() { w.end(n, chat, idle) })
		}
	case 13:
		if w.ends {
			n.publishing.Go(func() { w.forget(n, chat) })
		}
	}
}

// forget forgets a chat.
func (w *world) forget(n *node, chat string) {
	a := w.attempt(chat, "")
	a.forget = true
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	w.returned(a, n.Forget(ctx, chat))
}

// attempt notes that a call begins.
func (w *world) attempt(chat, message string) *attempt {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	a := &attempt{chat: chat, message: message, began: w.clock}
	w.attempts = append(w.attempts, a)
	return a
}

// returned notes what a call has returned.
func (w *world) returned(a *attempt, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.clock++
	a.done, a.err = w.clock, err
}

// end ends a chat.
func (w *world) end(n *node, chat string, idle time.Duration) {
	a := w.attempt(chat, "")
	a.end = true
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	w.returned(a, n.End(ctx, chat, errors.New("the end"), idle))
}

// checkEnds checks that nothing follows an end but another chat, and how many ends there are.
func (w *world) checkEnds(chat string) {
	order := w.engine.Order(chat)
	stored, accepted, uncertain := 0, 0, 0
	for i, r := range order {
		if !isEnd(r) {
			continue
		}
		if !isForget(r) {
			stored++
		}
		if i+1 < len(order) && !isForget(order[i+1]) && (order[i+1].Epoch == r.Epoch || order[i+1].Prev != 0) {
			w.t.Errorf("chat %s: %+v follows the end %+v", chat, order[i+1], r)
		}
	}
	for _, a := range w.attempts {
		switch {
		case !a.end || a.chat != chat:
		case a.err == nil:
			accepted++
		case errors.Is(a.err, cluster.ErrUncertain):
			uncertain++
		}
	}
	if stored < accepted || stored > accepted+uncertain {
		w.t.Errorf("chat %s has ended %d times; %d were accepted, and %d are uncertain", chat, stored, accepted, uncertain)
	}
}

// checkForgets checks that no chat has messages from both before and after a call of Forget.
func (w *world) checkForgets(chat string) {
	epochs := make(map[string]uint64)
	for _, r := range w.engine.Order(chat) {
		for _, m := range r.Batch {
			epochs[string(m)] = r.Epoch
		}
	}
	for _, f := range w.attempts {
		if !f.forget || f.chat != chat || f.err != nil {
			continue
		}
		var before, after uint64 // the last epoch before, and the first after
		for _, a := range w.attempts {
			switch epoch := epochs[a.message]; {
			case epoch == 0 || a.err != nil:
			case a.done < f.began:
				before = max(before, epoch)
			case a.began > f.done && (after == 0 || epoch < after):
				after = epoch
			}
		}
		if before != 0 && before == after {
			w.t.Errorf("chat %s goes on in epoch %d after it was forgotten", chat, before)
		}
	}
}

// publish publishes until ctx is done.
func (w *world) publish(ctx context.Context, n *node, publisher int, random *rand.Rand) {
	for i := 0; ctx.Err() == nil; i++ {
		time.Sleep(time.Duration(random.IntN(50)) * time.Millisecond)
		chat := chatNames[random.IntN(len(chatNames))]
		a := w.attempt(chat, fmt.Sprintf("%s.%d.%d", n.name, publisher, i))
		call, cancel := context.Background(), context.CancelFunc(func() {})
		if random.IntN(4) == 0 || w.config.Timeout == 0 {
			call, cancel = context.WithTimeout(call, time.Duration(random.IntN(1000))*time.Millisecond)
		}
		w.returned(a, n.Publish(call, a.chat, []byte(a.message)))
		cancel()
	}
}

// check checks what the logs were fed, once everything is at rest.
func (w *world) check() {
	for _, chat := range chatNames {
		order := w.engine.Order(chat)
		where := make(map[[2]uint64]string)
		var last engine.Record
		for _, r := range order {
			for i, m := range r.Batch {
				at := [2]uint64{r.Epoch, r.Seq - uint64(len(r.Batch)) + 1 + uint64(i)}
				if _, ok := where[at]; ok {
					w.t.Errorf("chat %s: two messages at %v", chat, at)
				}
				where[at] = string(m)
			}
			last = r
		}
		for _, l := range w.logs {
			if l.chat == chat {
				w.checkLog(l, where)
			}
		}
		for _, n := range w.nodes {
			l := n.logs[chat]
			if l == nil {
				continue
			}
			l.mu.Lock()
			forgotten := isForget(last) && len(l.steps) > 0 && l.steps[len(l.steps)-1].forgot // perhaps before
			if !forgotten && (l.epoch != last.Epoch || l.seq != last.Seq) {
				w.t.Errorf("log of %s on %s is at %d %d, the order at %v", chat, l.node, l.epoch, l.seq, last.Place)
			}
			select {
			case <-l.born:
			default:
				w.t.Errorf("log of %s on %s is not ready", chat, l.node)
			}
			l.mu.Unlock()
		}
	}
}

// checkLog checks that a log was fed a part of the order, and knows exactly what it has missed.
func (w *world) checkLog(l *core, where map[[2]uint64]string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fault != nil {
		w.t.Errorf("log of %s on %s: %v", l.chat, l.node, l.fault)
	}
	seen := make(map[string]bool)
	epochs := make(map[uint64]bool)
	if !w.forgets && len(l.steps) > 0 {
		for _, s := range l.steps[1:] {
			if s.reset && !w.ends || s.hole > 0 && !w.trims {
				w.t.Errorf("log of %s on %s: %+v, though nothing was lost", l.chat, l.node, s)
			}
		}
	}
	var at step
	for _, s := range l.steps {
		switch {
		case s.reset:
			if epochs[s.epoch] {
				w.t.Errorf("log of %s on %s: epoch %d twice", l.chat, l.node, s.epoch)
			}
			epochs[s.epoch] = true
		case s.hole > 0:
			if s.epoch != at.epoch || s.seq != at.seq+s.hole {
				w.t.Errorf("log of %s on %s: hole %+v after %+v", l.chat, l.node, s, at)
			}
		case s.forgot:
			if s.epoch != at.epoch || s.seq != at.seq {
				w.t.Errorf("log of %s on %s: %+v after %+v", l.chat, l.node, s, at)
			}
		case s.end:
			if s.epoch != at.epoch || s.seq != at.seq || at.end || s.message != "the end" {
				w.t.Errorf("log of %s on %s: %+v after %+v", l.chat, l.node, s, at)
			}
		default:
			if at.end || at.forgot {
				w.t.Errorf("log of %s on %s: %+v after the end", l.chat, l.node, s)
			}
			if s.epoch != at.epoch || s.seq != at.seq+1 {
				w.t.Errorf("log of %s on %s: %+v after %+v", l.chat, l.node, s, at)
			}
			if want := where[[2]uint64{s.epoch, s.seq}]; s.message != want || seen[s.message] {
				w.t.Errorf("log of %s on %s: %+v, the order has %q", l.chat, l.node, s, want)
			}
			seen[s.message] = true
		}
		at = s
	}
}

// checkOutcomes checks what Publish has returned against the order.
func (w *world) checkOutcomes() {
	place := make(map[string]int)
	n := 0
	for _, chat := range chatNames {
		for _, r := range w.engine.Order(chat) {
			for _, m := range r.Batch {
				if n++; place[string(m)] != 0 {
					w.t.Errorf("%s was stored twice", m)
				}
				place[string(m)] = n
			}
		}
	}
	for _, chat := range chatNames {
		w.checkEnds(chat)
		w.checkForgets(chat)
	}
	for _, a := range w.attempts {
		switch stored := place[a.message] != 0; {
		case a.end, a.forget:
		case a.err == nil && !stored:
			w.t.Errorf("%s was accepted, and is not stored", a.message)
		case a.err != nil && stored && !errors.Is(a.err, cluster.ErrUncertain):
			w.t.Errorf("%s was refused with %v, and is stored", a.message, a.err)
		}
	}
	w.checkRealTime(place)
}

// checkRealTime checks that a message comes before every other that was published after it was
// accepted.
func (w *world) checkRealTime(place map[string]int) {
	for _, chat := range chatNames {
		var all []*attempt
		for _, a := range w.attempts {
			if a.chat == chat && place[a.message] != 0 {
				all = append(all, a)
			}
		}
		slices.SortFunc(all, func(a, b *attempt) int { return place[a.message] - place[b.message] })
		latest := 0 // beginning of those so far
		for _, a := range all {
			if a.err == nil && a.done < latest {
				w.t.Errorf("%s comes after a message that was published when it was accepted", a.message)
			}
			latest = max(latest, a.began)
		}
	}
}
