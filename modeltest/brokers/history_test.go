package brokers_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

var (
	histories   = flag.Int("histories", 500, "how many histories must be linearizable")
	historySeed = flag.Uint64("plan", 0, "make all histories from the plan of this seed")
)

// Three clients call brokers of one engine at the same time, while connections are cut, calls of
// the engine fail or take effect late, and brokers end and start. What the clients were answered
// must be what one log could have answered, as far as each broker promises to know it: each call
// takes effect at one moment between its beginning and its return, one that is uncertain also
// later, and one that is refused never.
func TestHistoriesOfCallsOnManyBrokersAreLinearizable(t *testing.T) {
	n := *histories
	if testing.Short() {
		n /= 5
	}
	seen := make(map[string]int)
	first := rand.Uint64()
	for i := range n {
		seed := first + uint64(i)
		if *historySeed != 0 {
			seed = *historySeed
		}
		var h history
		synctest.Test(t, func(t *testing.T) { h = record(t, seed) })
		h.count(seen)
		if !h.linearizable() {
			h.fail(t, seed)
		}
	}
	t.Logf("%d histories: %v", n, seen)
	if n < 100 || *historySeed != 0 {
		return
	}
	for _, what := range []string{
		"accepted", "refused", "uncertain", "uncertain, and delivered", "deliveries", "losses",
		"resumed", "not recovered",
	} {
		require.NotZero(t, seen[what], what)
	}
}

// The model is worth what it refuses: histories as above, in which one answer is not what it was.
func TestAHistoryWithAWrongAnswerIsNotLinearizable(t *testing.T) {
	for name, spoil := range map[string]func(h history) (done bool){
		"a message is delivered twice": func(h history) bool {
			first, second := h.deliveries()
			if second == nil {
				return false
			}
			d, r := *second.Input.(*deed), second.Output.(result)
			r.message = first.Output.(result).message
			second.Input, second.Output = &d, r
			return true
		},
		"two messages are swapped on one broker": func(h history) bool {
			first, second := h.deliveries()
			if second == nil {
				return false
			}
			a, b := first.Output.(result), second.Output.(result)
			a.message, b.message = b.message, a.message
			first.Output, second.Output = a, b
			return true
		},
		"a message is missing": func(h history) bool {
			first, second := h.deliveries()
			if second == nil {
				return false
			}
			a, b := first.Output.(result), second.Output.(result)
			a.message, b.seq = b.message, a.seq
			first.Output = a
			b.seq++
			b.missed = 1
			second.Output = b
			return true
		},
		"a message is delivered that was refused": func(h history) bool {
			return h.change(publishes, func(d *deed, r *result) bool {
				r.err = broadcast.ErrAway
				return d.at > 0
			})
		},
		"a message was accepted that nobody gets": func(h history) bool {
			return h.change(publishes, func(d *deed, r *result) bool {
				if r.err == nil || r.uncertain() {
					return false
				}
				r.err = nil
				return true
			})
		},
		"a broker does not know what it has accepted": func(h history) bool {
			known := make(map[int]bool)
			return h.change(asksHead, func(d *deed, r *result) bool {
				for _, o := range h {
					if other := o.Input.(*deed); other.kind == accepted && o.Return < h.callOf(d) {
						known[other.broker] = true
					}
				}
				r.seq = 0
				return known[d.broker]
			})
		},
		"a broker forgets what it has shown": func(h history) bool {
			if slices.ContainsFunc(h, func(o porcupine.Operation) bool { return o.Output.(result).uncertain() }) {
				return false // its message may be stored after that
			}
			return h.change(restsAt, func(_ *deed, r *result) bool {
				r.seq--
				return r.seq >= 0
			})
		},
		"a position that was reached is not recovered": func(h history) bool {
			return h.change(subscribes, func(d *deed, r *result) bool {
				if d.resume == none || d.trimmed || !r.recovered {
					return false
				}
				r.seq--
				return true
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			found := 0
			for seed := uint64(1); found < 20; seed++ {
				require.Less(t, seed, uint64(1000), "there is no history to spoil")
				var h history
				synctest.Test(t, func(t *testing.T) { h = record(t, seed) })
				if !h.linearizable() {
					h.fail(t, seed)
				}
				if !spoil(h) {
					continue
				}
				found++
				require.False(t, h.linearizable(), "with seed %d:\n%v", seed, h)
			}
		})
	}
}

// history is what was called and what was answered.
type history []porcupine.Operation

func (h history) linearizable() bool {
	return porcupine.CheckOperationsTimeout(logModel, h, 20*time.Second) == porcupine.Ok
}

// fail fails the test, with the history.
func (h history) fail(t *testing.T, seed uint64) {
	t.Helper()
	result, info := porcupine.CheckOperationsVerbose(logModel, h, 20*time.Second)
	picture := filepath.Join(t.ArtifactDir(), fmt.Sprintf("history-%d.html", seed))
	require.NoError(t, porcupine.VisualizePath(logModel, info, picture))
	t.Fatalf("%s; a picture is %s, kept with -artifacts; the same calls again with -plan %d\n%v", result, picture, seed, h)
}

// String prints a history by the beginnings of its calls.
func (h history) String() string {
	var s strings.Builder
	slices.SortFunc(h, func(x, y porcupine.Operation) int { return int(x.Call - y.Call) })
	for _, o := range h {
		until := fmt.Sprint(o.Return)
		if o.Return == forever {
			until = "?"
		}
		fmt.Fprintf(&s, "%3d to %3s  client %d  %s\n", o.Call, until, o.ClientId, logModel.DescribeOperation(o.Input, o.Output))
	}
	return s.String()
}

// deliveries returns two deliveries of one reader that follow each other, or nil.
func (h history) deliveries() (first, second *porcupine.Operation) {
	last := make(map[int]*porcupine.Operation)
	for i := range h {
		d := h[i].Input.(*deed)
		if d.kind != gets {
			continue
		}
		if first = last[d.reader]; first != nil {
			return first, &h[i]
		}
		last[d.reader] = &h[i]
	}
	return nil, nil
}

// change changes the result of the first deed of a kind for which that reports true.
func (h history) change(kind deedKind, change func(d *deed, r *result) bool) bool {
	for i, o := range h {
		d, r := o.Input.(*deed), o.Output.(result)
		if d.kind == kind && change(d, &r) {
			h[i].Output = r
			return true
		}
	}
	return false
}

// callOf returns when a deed began.
func (h history) callOf(d *deed) int64 {
	return h[slices.IndexFunc(h, func(o porcupine.Operation) bool { return o.Input == d })].Call
}

// count adds up what happened.
func (h history) count(seen map[string]int) {
	for _, o := range h {
		d, r := o.Input.(*deed), o.Output.(result)
		switch {
		case d.kind == publishes && r.err == nil:
			seen["accepted"]++
		case d.kind == publishes && r.uncertain():
			seen["uncertain"]++
			if d.at > 0 {
				seen["uncertain, and delivered"]++
			}
		case d.kind == publishes:
			seen["refused"]++
		case d.kind == gets:
			seen["deliveries"]++
			if r.missed > 0 {
				seen["losses"]++
			}
		case d.kind == subscribes && d.resume != none && r.recovered:
			seen["resumed"]++
		case d.kind == subscribes && d.resume != none:
			seen["not recovered"]++
		}
	}
}

// annotate notes at which Seq readers have seen each message.
func (h history) annotate() {
	at := make(map[int]int)
	for _, o := range h {
		if r := o.Output.(result); r.message != 0 && at[r.message] == 0 {
			at[r.message] = r.seq
		}
	}
	for _, o := range h {
		if d := o.Input.(*deed); d.kind == publishes {
			d.at = at[d.message]
		}
	}
}

// forever is the return of a call that may take effect at any time.
const forever = math.MaxInt64

const (
	callers     = 3
	observer    = callers // who calls when the clients have gone
	callsOfEach = 7
)

// recorder makes calls and records them.
type recorder struct {
	engine  *memengine.Engine
	keep    int
	timeout time.Duration
	clock   atomic.Int64 // no two moments are the same

	mu        sync.Mutex
	clients   [nodes]*memengine.Client
	brokers   [nodes]*broadcast.Broker[int]
	numbers   [nodes]int // of the brokers, in the history
	started   int
	readers   []*recorded
	messages  int
	positions []broadcast.Position
	history   history
}

// recorded is a subscription.
type recorded struct {
	*broadcast.Subscriber[int]
	number, broker int
}

// record makes the calls of a seed. How they overlap is not determined by it.
func record(t *testing.T, seed uint64) history {
	random := rand.New(rand.NewPCG(seed, 1))
	r := &recorder{keep: []int{0, 0, 1, 3}[random.IntN(4)], timeout: 3 * time.Second}
	if random.IntN(2) == 0 {
		r.timeout = 20 * time.Millisecond
	}
	r.engine = memengine.New(seed, time.Millisecond, r.keep)
	defer r.engine.Wait()
	for i := range nodes {
		r.start(t, i)
	}
	defer func() {
		for _, b := range r.brokers {
			_ = b.Close()
		}
	}()
	var all, troubles sync.WaitGroup
	stop := make(chan struct{})
	troubles.Go(func() { r.trouble(t, rand.New(rand.NewPCG(seed, 2)), stop) })
	for client := range callers {
		all.Go(func() { r.calls(client, rand.New(rand.NewPCG(seed, uint64(10+client)))) })
	}
	all.Wait()
	close(stop)
	troubles.Wait()
	r.rest(t, random)
	r.history.annotate()
	return r.history
}

// start starts a broker.
func (r *recorder) start(t *testing.T, i int) {
	client := r.engine.Client()
	b, err := broadcast.New[int](
		broadcast.WithEngine(client), broadcast.WithPublishTimeout(r.timeout), broadcast.WithHistory(1000, 0),
		broadcast.WithBuffer(1000), broadcast.WithPatience(0), broadcast.WithCodec(encode, decode),
	)
	require.NoError(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clients[i], r.brokers[i], r.numbers[i] = client, b, r.started
	r.started++
}

func encode(message int) ([]byte, error) { return json.Marshal(message) }

// decode takes its time, so that what a broker shows is behind what it knows.
func decode(data []byte) (message int, err error) {
	time.Sleep(time.Duration(rand.IntN(3)*rand.IntN(300)) * time.Microsecond)
	err = json.Unmarshal(data, &message)
	return message, err
}

// trouble makes trouble until stop is closed.
func (r *recorder) trouble(t *testing.T, random *rand.Rand, stop <-chan struct{}) {
	kinds := slices.Sorted(maps.Keys(faults))
	for {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(1+random.IntN(20)) * time.Millisecond):
		}
		i := random.IntN(nodes)
		switch random.IntN(10) {
		case 0, 1:
			r.clients[i].Cut()
		case 2, 3, 4:
			r.clients[i].Restore()
		case 5:
			if r.started < mostBrokers {
				_ = r.brokers[i].Close()
				r.start(t, i)
			}
		default:
			r.engine.SetFaults(faults[kinds[random.IntN(len(kinds))]])
		}
	}
}

// on returns one of the brokers, and its number.
func (r *recorder) on(random *rand.Rand) (b *broadcast.Broker[int], number int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := random.IntN(nodes)
	return r.brokers[i], r.numbers[i]
}

// calls makes some calls of one client.
func (r *recorder) calls(client int, random *rand.Rand) {
	var own []*recorded
	for range callsOfEach {
		time.Sleep(time.Duration(random.IntN(4000)) * time.Microsecond)
		b, number := r.on(random)
		switch n := random.IntN(20); {
		case n < 8:
			r.publish(client, random, b, number)
		case n < 10:
			if s := r.subscribe(client, random, b, number); s != nil {
				own = append(own, s)
			}
		case n < 12:
			r.head(client, asksHead, b, number)
		case n < 14:
			r.last(client, b, number)
		case len(own) > 0:
			r.next(client, own[random.IntN(len(own))], time.Duration(random.IntN(30))*time.Millisecond)
		}
	}
}

// do makes a call and records it, unless it has no result.
func (r *recorder) do(client int, d *deed, call func() (result, bool)) {
	d.trimmed = r.keep > 0
	o := porcupine.Operation{ClientId: client, Input: d, Call: r.clock.Add(1)}
	got, ok := call()
	o.Output, o.Return = got, r.clock.Add(1)
	if got.uncertain() {
		o.Return = forever
	}
	if ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.history = append(r.history, o)
	}
}

// publish publishes the next message.
func (r *recorder) publish(client int, random *rand.Rand, b *broadcast.Broker[int], broker int) {
	r.mu.Lock()
	if r.messages == mostMessages {
		r.mu.Unlock()
		return
	}
	r.messages++
	message := r.messages
	r.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if random.IntN(4) == 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(random.IntN(4000))*time.Microsecond)
		defer cancel()
	}
	var err error
	r.do(client, &deed{kind: publishes, broker: broker, message: message}, func() (result, bool) {
		err = b.Publish(ctx, room, message)
		return result{err: err}, true
	})
	if err == nil {
		r.do(client, &deed{kind: accepted, broker: broker, message: message}, func() (result, bool) {
			return result{}, true
		})
	}
}

// subscribe subscribes a reader.
func (r *recorder) subscribe(
	client int, random *rand.Rand, b *broadcast.Broker[int], broker int,
) (s *recorded) {
	d := &deed{kind: subscribes, broker: broker, resume: none, replay: []int{0, 0, 2, 1000}[random.IntN(4)]}
	opts := []broadcast.SubscribeOption{broadcast.Replay(d.replay)}
	r.mu.Lock()
	if n := len(r.positions); n > 0 && random.IntN(3) > 0 {
		p := r.positions[random.IntN(n)]
		_, seq := split(p)
		d.resume, d.replay = int(seq), 0
		opts = []broadcast.SubscribeOption{broadcast.Resume(p)}
	}
	d.reader = len(r.readers)
	if d.reader == mostReaders {
		r.mu.Unlock()
		return nil
	}
	r.readers = append(r.readers, nil)
	r.mu.Unlock()
	return r.subscribeWith(client, d, b, opts...)
}

// subscribeWith returns nil if Subscribe returns an error.
func (r *recorder) subscribeWith(
	client int, d *deed, b *broadcast.Broker[int], opts ...broadcast.SubscribeOption,
) (begun *recorded) {
	r.do(client, d, func() (result, bool) {
		from := time.Now()
		s, err := b.SubscribeAnonymous(room, opts...)
		if err != nil {
			return result{}, false
		}
		_, seq := split(s.Position())
		r.mu.Lock()
		defer r.mu.Unlock()
		begun = &recorded{Subscriber: s, number: d.reader, broker: d.broker}
		r.readers[d.reader] = begun
		return result{seq: int(seq), recovered: s.Recovered(), late: time.Since(from) >= time.Second}, true
	})
	return begun
}

// next waits for the next message of a reader, and reports whether there was one.
func (r *recorder) next(client int, s *recorded, wait time.Duration) (ok bool) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	r.do(client, &deed{kind: gets, broker: s.broker, reader: s.number}, func() (result, bool) {
		d, err := s.Next(ctx)
		ok = err == nil
		if ok {
			r.know(d.Position())
		}
		return result{seq: int(d.Seq), missed: int(d.Missed), message: d.Message}, ok
	})
	return ok
}

func (r *recorder) know(p broadcast.Position) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.positions = append(r.positions, p)
}

func (r *recorder) head(client int, kind deedKind, b *broadcast.Broker[int], broker int) {
	r.do(client, &deed{kind: kind, broker: broker}, func() (result, bool) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		p, err := b.Head(ctx, room)
		_, seq := split(p)
		if err == nil {
			r.know(p)
		}
		return result{seq: int(seq)}, err == nil
	})
}

func (r *recorder) last(client int, b *broadcast.Broker[int], broker int) {
	r.do(client, &deed{kind: asksLast, broker: broker}, func() (result, bool) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		d, ok, err := b.Last(ctx, room)
		if err != nil || !ok {
			return result{}, err == nil
		}
		return result{seq: int(d.Seq), message: d.Message}, true
	})
}

// rest ends the trouble, and looks at what is left: every broker has the whole log, and every
// reader gets it.
func (r *recorder) rest(t *testing.T, random *rand.Rand) {
	r.engine.SetFaults(memengine.Faults{})
	again := random.IntN(2) == 0
	for _, client := range r.clients {
		if again {
			client.Cut()
		}
		client.Restore()
	}
	if time.Sleep(10 * time.Second); !again {
		time.Sleep(30 * time.Second) // until the next check
	}
	for i, b := range r.brokers {
		r.head(observer, restsAt, b, r.numbers[i])
		d := &deed{kind: subscribes, broker: r.numbers[i], reader: len(r.readers), resume: none, replay: 1000}
		if d.reader < mostReaders {
			r.readers = append(r.readers, nil)
			require.NotNil(t, r.subscribeWith(observer, d, b, broadcast.Replay(1000)))
		}
	}
	for _, s := range r.readers {
		if s == nil || errors.Is(s.Err(), broadcast.ErrBrokerClosed) {
			continue
		}
		require.NoError(t, s.Err())
		for r.next(observer, s, time.Millisecond) {
		}
		r.do(observer, &deed{kind: rests, broker: s.broker, reader: s.number}, func() (result, bool) {
			return result{}, true
		})
	}
}
