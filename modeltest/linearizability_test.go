package modeltest_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/flow"
)

var (
	histories = flag.Int("histories", 2_000, "how many histories must be linearizable")
	planSeed  = flag.Uint64("plan", 0, "make all histories from the plan of this seed")
)

// Three goroutines call one chat at the same time, on real processors. What they were answered must
// be what they could have been answered one after the other: each call at one moment between its
// beginning and its return.
func TestHistoriesOfConcurrentCallsAreLinearizable(t *testing.T) {
	n := *histories
	if testing.Short() {
		n /= 4
	}
	piece := flow.Piece
	defer func() { flow.Piece = piece }()
	seen := map[string]int{}
	seed := rand.Uint64()
	for i := range n {
		s := seed + uint64(i)
		if *planSeed != 0 {
			s = *planSeed
		}
		flow.Piece = piece
		if s%2 == 1 {
			flow.Piece = 1 // as if there were many readers
		}
		stop := deadline(fmt.Sprintf("a history of plan %d", s))
		h := newPlan(s).run(t)
		stop()
		h.count(seen)
		requireLinearizable(t, s, h)
	}
	t.Logf("%d histories: %v", n, seen)
	if *planSeed != 0 {
		return
	}
	require.GreaterOrEqual(t, seen["overlapping histories"], n/10, "too orderly to prove anything")
	for _, what := range []string{
		"accepted", "refused", "cancelled publishes", "cancelled waits", "deliveries", "losses", "ended by Close", "ended by ErrSlow", "replaced",
		"refused because closed", "accepted while cancelled",
	} {
		require.NotZero(t, seen[what], what)
	}
}

// deadline ends the test binary, with the stacks of all goroutines, unless stop is called soon.
func deadline(what string) (stop func()) {
	timer := time.AfterFunc(30*time.Second, func() {
		debug.SetTraceback("all")
		panic(what + " hangs")
	})
	return func() { timer.Stop() }
}

// requireLinearizable fails the test, with the history, unless it is linearizable.
func requireLinearizable(t *testing.T, seed uint64, h history) {
	t.Helper()
	if porcupine.CheckOperationsTimeout(chatModel, h, 10*time.Second) == porcupine.Ok {
		return
	}
	result, info := porcupine.CheckOperationsVerbose(chatModel, h, 10*time.Second)
	picture := filepath.Join(t.ArtifactDir(), fmt.Sprintf("history-%d.html", seed))
	require.NoError(t, porcupine.VisualizePath(chatModel, info, picture))
	t.Fatalf("%s; a picture is %s, kept with -artifacts; the same calls again with -plan %d\n%v", result, picture, seed, h)
}

// history is what was called and what was answered.
type history []porcupine.Operation

// String prints a history by the beginnings of its calls.
func (h history) String() string {
	var s strings.Builder
	slices.SortFunc(h, func(x, y porcupine.Operation) int { return int(x.Call - y.Call) })
	for _, o := range h {
		who := fmt.Sprintf("client %d", o.ClientId)
		if o.ClientId == observer {
			who = "observer"
		}
		fmt.Fprintf(&s, "%3d to %3d  %s  %s\n", o.Call, o.Return, who, chatModel.DescribeOperation(o.Input, o.Output))
	}
	return s.String()
}

// count adds up what happened.
func (h history) count(seen map[string]int) {
	overlapping := false
	for i, o := range h {
		for _, other := range h[:i] {
			overlapping = overlapping || o.ClientId != other.ClientId && o.Call < other.Return && other.Call < o.Return
		}
		a := o.Output.(answer)
		switch c := o.Input.(*call); {
		case c.kind == publish || c.kind == tryPublish:
			switch a.err {
			case nil:
				seen["accepted"]++
				if c.cancel == cancelledMeanwhile {
					seen["accepted while cancelled"]++
				}
			case context.Canceled:
				seen["cancelled publishes"]++
			case broadcast.ErrOverloaded:
				seen["refused"]++
			case broadcast.ErrBrokerClosed:
				seen["refused because closed"]++
			}
		case a.ok:
			seen["deliveries"]++
			if a.missed > 0 {
				seen["losses"]++
			}
		case c.kind == next:
			switch a.err {
			case context.Canceled:
				seen["cancelled waits"]++
			case broadcast.ErrBrokerClosed:
				seen["ended by Close"]++
			case broadcast.ErrSlow:
				seen["ended by ErrSlow"]++
			case broadcast.ErrReplaced:
				seen["replaced"]++
			}
		}
	}
	if overlapping {
		seen["overlapping histories"]++
	}
}

// recorder makes the calls of a plan on a broker and records them.
type recorder struct {
	t      *testing.T
	broker *broadcast.Broker[int]
	clock  atomic.Int64 // no two moments are the same
	subs   [maxReaders]*broadcast.Subscriber[int]
	late   sync.WaitGroup // those who cancel

	mu      sync.Mutex
	history history
}

const observer = clients // who calls before the clients come and after they have gone

// run makes the calls of a plan: the first ones, then those of all clients at the same time, and
// then looks at what is left.
func (p *plan) run(t *testing.T) history {
	b, err := broadcast.New[int](broadcast.WithPatience(p.patience), broadcast.WithPublishTimeout(p.timeout))
	require.NoError(t, err)
	defer b.Close()
	r := &recorder{t: t, broker: b}
	for _, c := range p.first {
		r.call(observer, c)
	}
	var all sync.WaitGroup
	var here atomic.Int32
	for client, calls := range p.clients {
		all.Go(func() {
			for here.Add(1); here.Load() < clients; {
				runtime.Gosched()
			}
			for _, c := range calls {
				falter()
				r.call(client, c)
			}
		})
	}
	all.Wait()
	r.late.Wait()
	for reader, s := range r.subs {
		if s == nil {
			continue
		}
		r.call(observer, &call{kind: stats, reader: reader})
		for r.call(observer, &call{kind: tryNext, reader: reader}).ok {
		}
		r.call(observer, &call{kind: next, reader: reader, cancel: alreadyDone})
		r.call(observer, &call{kind: stats, reader: reader})
	}
	r.markCrowded()
	if flow.Piece == 1 {
		r.addActs()
	}
	return r.history
}

// addActs adds, for each reader that was too slow, the moment when a publisher ended it. If a
// publisher has many readers to visit, that is before its message is accepted, which another call
// may see in between.
func (r *recorder) addActs() {
	slow := map[int]bool{}
	began, returned := int64(math.MaxInt64), int64(0)
	for _, o := range r.history {
		switch c := o.Input.(*call); {
		case c.kind == next && o.Output.(answer).err == broadcast.ErrSlow:
			slow[c.reader] = true
		case c.kind == publish || c.kind == tryPublish:
			began, returned = min(began, o.Call), max(returned, o.Return)
		}
	}
	for reader := range slow {
		r.history = append(r.history, porcupine.Operation{
			ClientId: observer, Input: &call{kind: acted, reader: reader}, Call: began, Output: answer{}, Return: returned,
		})
	}
}

// markCrowded marks the calls of Publish that may have found another publisher waiting, behind whom
// they have to queue.
func (r *recorder) markCrowded() {
	for i, o := range r.history {
		for _, other := range r.history[:i] {
			c, d := o.Input.(*call), other.Input.(*call)
			if c.waits && d.waits && o.Call < other.Return && other.Call < o.Return {
				c.crowded, d.crowded = true, true
			}
		}
	}
}

// call makes a call and records it, unless the subscription that it is about was refused.
func (r *recorder) call(client int, c *call) answer {
	if c.kind.reads() && r.subs[c.reader] == nil {
		return answer{}
	}
	ctx, stop := r.context(c.cancel)
	defer stop()
	began := r.clock.Add(1)
	a := r.do(ctx, c)
	o := porcupine.Operation{ClientId: client, Input: c, Call: began, Output: a, Return: r.clock.Add(1)}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.history = append(r.history, o)
	if c.kind == closeBegins { // three steps, in this order
		for _, next := range []kind{closeRefuses, closeEnds} {
			o.Input = &call{kind: next}
			r.history = append(r.history, o)
		}
	}
	return a
}

func (r *recorder) do(ctx context.Context, c *call) (a answer) {
	var d broadcast.Delivery[int]
	s := r.subs[c.reader]
	switch c.kind {
	case publish:
		a.err = known(r.broker.Publish(ctx, "chat", c.message))
	case tryPublish:
		a.err = known(r.broker.TryPublish("chat", c.message))
	case subscribe:
		r.subs[c.reader], a.err = r.broker.Subscribe("chat", fmt.Sprint("device ", c.device),
			broadcast.WithSampling(c.strategy), broadcast.WithBuffer(c.buffer))
	case next:
		d, a.err = s.Next(ctx)
		a.err, a.ok = known(a.err), a.err == nil
	case tryNext:
		d, a.ok = s.TryNext()
	case closeReader:
		a.err = s.Close()
	case stats:
		a.stats = s.Stats()
	case closeBegins:
		a.err = r.broker.Close()
	}
	a.seq, a.missed, a.message = int(d.Seq), int(d.Missed), d.Message
	return a
}

// known returns the error that another one is, so that it can be compared with ==.
func known(err error) error {
	for _, e := range []error{
		broadcast.ErrBrokerClosed, broadcast.ErrClosed, broadcast.ErrSlow, broadcast.ErrReplaced, broadcast.ErrOverloaded, context.Canceled,
	} {
		if errors.Is(err, e) {
			return e
		}
	}
	return err
}

// context returns a context that is cancelled when a call says.
func (r *recorder) context(when cancel) (ctx context.Context, stop func()) {
	ctx, stop = context.WithCancel(context.Background())
	switch when {
	case alreadyDone:
		stop()
	case cancelledMeanwhile:
		moment := 1 << rand.IntN(12)
		r.late.Go(func() {
			for range moment {
				runtime.Gosched()
			}
			stop()
		})
	}
	return faltering{ctx}, stop
}

// faltering is a context that yields the processor now and then when it is asked, so that calls
// overlap in the middle of what they do.
type faltering struct{ context.Context }

func (f faltering) Err() error { falter(); return f.Context.Err() }

func (f faltering) Done() <-chan struct{} { falter(); return f.Context.Done() }

func falter() {
	for rand.IntN(3) == 0 {
		runtime.Gosched()
	}
}
