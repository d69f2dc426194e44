package broadcast_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
	"github.com/fbd86cad/broadcast/internal/racedetector"
)

// The tests in this package are named after the sentences that they prove; the number in their
// comments is that of the promise. Nearly all of them run on the fake clock of a bubble, where a
// wait takes exactly as long as it should. A bubble also fails when a goroutine is left in it, so
// that each of these tests proves that nothing is left after Close.

// chat is where the tests talk that need one chat only.
const chat = "chat"

// patience is the default of WithPatience.
const patience = 10 * time.Millisecond

// lossy are the strategies of which publishers wait for a reader only for a moment.
var lossy = []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest, broadcast.DropRandom, broadcast.Disconnect}

// everyStrategy is every strategy but samplers.
var everyStrategy = append(lossy[:len(lossy):len(lossy)], broadcast.Block)

// auditedBroker is a broker that counts the calls of Publish and remembers its subscriptions, so
// that the books of all of them are checked at the end of each test, before and after Close.
type auditedBroker[T any] struct {
	*broadcast.Broker[T]
	t     testing.TB
	calls atomic.Uint64

	mu        sync.Mutex
	subs      []*broadcast.Subscriber[T]
	forgetful bool // remembers none
}

// newBroker returns a broker that ends, with balanced books, when the test does.
func newBroker[T any](t testing.TB, opts ...broadcast.Option) *auditedBroker[T] {
	t.Helper()
	b, err := broadcast.New[T](opts...)
	require.NoError(t, err)
	audited := &auditedBroker[T]{Broker: b, t: t}
	t.Cleanup(func() {
		defer func() { require.NoError(t, b.Close()) }()
		audited.requireBooks()
		require.NoError(t, b.Close())
		audited.requireBooks()
	})
	return audited
}

// unaudited returns a broker without audit, which would hold its subscribers for ever: for tests of
// what memory is let go.
func unaudited[T any](t testing.TB, opts ...broadcast.Option) *auditedBroker[T] {
	t.Helper()
	b, err := broadcast.New[T](opts...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return &auditedBroker[T]{Broker: b, t: t, forgetful: true}
}

func (b *auditedBroker[T]) Publish(ctx context.Context, chat string, msg T) error {
	b.calls.Add(1)
	return b.Broker.Publish(ctx, chat, msg)
}

func (b *auditedBroker[T]) TryPublish(chat string, msg T) error {
	b.calls.Add(1)
	return b.Broker.TryPublish(chat, msg)
}

func (b *auditedBroker[T]) Subscribe(chat, device string, opts ...broadcast.SubscribeOption) (*broadcast.Subscriber[T], error) {
	s, err := b.Broker.Subscribe(chat, device, opts...)
	b.remember(s, err)
	return s, err
}

func (b *auditedBroker[T]) SubscribeAnonymous(chat string, opts ...broadcast.SubscribeOption) (*broadcast.Subscriber[T], error) {
	s, err := b.Broker.SubscribeAnonymous(chat, opts...)
	b.remember(s, err)
	return s, err
}

// remember remembers what Subscribe has returned.
func (b *auditedBroker[T]) remember(s *broadcast.Subscriber[T], err error) {
	if err == nil && !b.forgetful {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.subs = append(b.subs, s)
	}
}

// join subscribes where nothing speaks against it.
func (b *auditedBroker[T]) join(chat, device string, opts ...broadcast.SubscribeOption) *broadcast.Subscriber[T] {
	b.t.Helper()
	s, err := b.Subscribe(chat, device, opts...)
	require.NoError(b.t, err)
	return s
}

// joinAnonymous is join without a device.
func (b *auditedBroker[T]) joinAnonymous(chat string, opts ...broadcast.SubscribeOption) *broadcast.Subscriber[T] {
	b.t.Helper()
	s, err := b.SubscribeAnonymous(chat, opts...)
	require.NoError(b.t, err)
	return s
}

// publish publishes messages that must all be accepted, and returns how long that took.
func (b *auditedBroker[T]) publish(chat string, msgs ...T) time.Duration {
	b.t.Helper()
	return elapsed(func() {
		for _, msg := range msgs {
			require.NoError(b.t, b.Publish(b.t.Context(), chat, msg))
		}
	})
}

// requireBooks fails the test unless the books of all subscriptions and of the broker balance.
func (b *auditedBroker[T]) requireBooks() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	broadcasttest.CheckTotals(b.t, b.Broker, b.calls.Load(), b.subs...)
}

// requireBooks fails the test unless every message since the subscription joined is in its books
// exactly once (promise 6).
func requireBooks[T any](t testing.TB, s *broadcast.Subscriber[T]) broadcast.SubscriberStats {
	t.Helper()
	return broadcasttest.CheckBooks(t, s)
}

// bubble runs f in a synctest bubble. A goroutine that waits for a mutex stops the clock of its
// bubble, so that a deadlock there would last until the test binary is killed; the watchdog shows
// the goroutines before. When f has returned, publishers that it let go on come to rest before the
// books are checked.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer watchdog(t)()
	synctest.Test(t, func(t *testing.T) {
		f(t)
		synctest.Wait()
	})
}

// watchdog ends the test binary with the stacks of all goroutines unless stop is called within
// three minutes of real time. A test takes seconds, or on a busy machine up to a minute.
func watchdog(t testing.TB) (stop func()) {
	timer := time.AfterFunc(3*time.Minute, func() {
		debug.SetTraceback("all")
		panic(t.Name() + " hangs")
	})
	return func() { timer.Stop() }
}

// forBuffers runs a test in a bubble for buffers of several sizes, from the smallest.
func forBuffers(t *testing.T, test func(t *testing.T, n int)) {
	t.Helper()
	for _, n := range []int{1, 2, 3, 8, 100} {
		t.Run(fmt.Sprintf("buffer=%d", n), func(t *testing.T) {
			bubble(t, func(t *testing.T) { test(t, n) })
		})
	}
}

// forStrategies runs a test in a bubble for each of some strategies.
func forStrategies(t *testing.T, strategies []broadcast.Sampling, test func(t *testing.T, s broadcast.Sampling)) {
	t.Helper()
	for _, s := range strategies {
		t.Run(s.String(), func(t *testing.T) {
			bubble(t, func(t *testing.T) { test(t, s) })
		})
	}
}

// ways are the ways to read a subscription until its end.
var ways = map[string]func(context.Context, *broadcast.Subscriber[int]) []int{
	"Next": func(ctx context.Context, s *broadcast.Subscriber[int]) (got []int) {
		for {
			d, err := s.Next(ctx)
			if err != nil {
				return got
			}
			got = append(got, d.Message)
		}
	},
	"NextBatch": func(ctx context.Context, s *broadcast.Subscriber[int]) (got []int) {
		into := make([]broadcast.Delivery[int], 7)
		for {
			n, err := s.NextBatch(ctx, into)
			if err != nil {
				return got
			}
			got = append(got, payloads(into[:n])...)
		}
	},
	"All": func(ctx context.Context, s *broadcast.Subscriber[int]) (got []int) {
		for d := range s.All(ctx) {
			got = append(got, d.Message)
		}
		return got
	},
	"Messages": func(ctx context.Context, s *broadcast.Subscriber[int]) (got []int) {
		for msg := range s.Messages(ctx) {
			got = append(got, msg)
		}
		return got
	},
	"Chan": func(_ context.Context, s *broadcast.Subscriber[int]) (got []int) {
		for d := range s.Chan() {
			got = append(got, d.Message)
		}
		return got
	},
}

// forWays runs a test in a bubble for each strategy and each way to read.
func forWays(t *testing.T, test func(t *testing.T, strategy broadcast.Sampling, read func(context.Context, *broadcast.Subscriber[int]) []int)) {
	t.Helper()
	for name, read := range ways {
		t.Run(name, func(t *testing.T) {
			forStrategies(t, everyStrategy, func(t *testing.T, strategy broadcast.Sampling) { test(t, strategy, read) })
		})
	}
}

// elapsed returns how long f takes.
func elapsed(f func()) time.Duration {
	start := time.Now()
	f()
	return time.Since(start)
}

// sleep lets d pass, what is due at its very end included.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// goroutines returns how many goroutines there are in the bubble once all that can go on have done
// so.
func goroutines() int {
	synctest.Wait()
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
	return strings.Count(stacks.String(), ", synctest bubble ")
}

// async calls f on a goroutine of its own and returns where its answer and the duration of the call
// will be.
func async(f func() error) <-chan result {
	answer := make(chan result, 1)
	go func() {
		start := time.Now()
		err := f()
		answer <- result{err, time.Since(start)}
	}()
	return answer
}

type result struct {
	err  error
	took time.Duration
}

// inTime returns the answer of a call that must not take an hour.
func inTime(t *testing.T, answer <-chan result) result {
	t.Helper()
	select {
	case r := <-answer:
		return r
	case <-time.After(time.Hour):
		require.FailNow(t, "it hangs")
		return result{}
	}
}

// from returns the numbers first to last.
func from(first, last int) []int {
	var numbers []int
	for i := first; i <= last; i++ {
		numbers = append(numbers, i)
	}
	return numbers
}

// takeAll takes what waits for a subscription now, and checks of each delivery what is promised of
// every one: that it comes after the one before, from the subscription's own chat, and that Missed
// is the hole in between.
func takeAll[T any](t testing.TB, s *broadcast.Subscriber[T]) []broadcast.Delivery[T] {
	t.Helper()
	books := requireBooks(t, s)
	var taken []broadcast.Delivery[T]
	for d, ok := s.TryNext(); ok; d, ok = s.TryNext() {
		if len(taken) > 0 {
			last := taken[len(taken)-1].Seq
			require.Greater(t, d.Seq, last, "taken twice, or not in order")
			require.Equal(t, last+1+d.Missed, d.Seq, "Missed is not the hole before %+v", d)
		}
		require.Equal(t, s.Chat(), d.Chat)
		taken = append(taken, d)
	}
	require.Len(t, taken, int(books.Pending), "not what was pending")
	require.Zero(t, requireBooks(t, s).Pending)
	return taken
}

// take takes the next n messages, which must be there, and returns them.
func take[T any](t testing.TB, s *broadcast.Subscriber[T], n int) []T {
	t.Helper()
	return payloads(broadcasttest.Take(t, s, n, 0))
}

// bare returns deliveries without their positions, which cannot be known in advance.
func bare[T any](deliveries ...broadcast.Delivery[T]) (bare []broadcast.Delivery[T]) {
	for _, d := range deliveries {
		bare = append(bare, broadcast.Delivery[T]{Chat: d.Chat, Seq: d.Seq, Missed: d.Missed, Message: d.Message})
	}
	return bare
}

// payloads returns the messages of deliveries.
func payloads[T any](deliveries []broadcast.Delivery[T]) []T {
	var messages []T
	for _, d := range deliveries {
		messages = append(messages, d.Message)
	}
	return messages
}

// read lets a goroutine take everything, until the subscription ends and wait is called, which
// returns it.
func read[T any](b *auditedBroker[T], s *broadcast.Subscriber[T]) (wait func() []broadcast.Delivery[T]) {
	var taken []broadcast.Delivery[T]
	done := make(chan struct{})
	ctx := b.t.Context()
	go func() {
		defer close(done)
		for d := range s.All(ctx) {
			taken = append(taken, d)
		}
	}()
	return func() []broadcast.Delivery[T] {
		<-done
		return taken
	}
}

// fill publishes as many messages as fit, numbered from 1, which takes no time.
func fill(t *testing.T, b *auditedBroker[int], n int) {
	t.Helper()
	require.Zero(t, b.publish(chat, from(1, n)...), "there was room for all of them")
}

// queue lets publishers wait in the chat one behind the other, each with one of the messages.
func queue(ctx context.Context, b *auditedBroker[int], msgs ...int) []<-chan result {
	var waiting []<-chan result
	for _, msg := range msgs {
		waiting = append(waiting, async(func() error { return b.Publish(ctx, chat, msg) }))
		synctest.Wait()
	}
	return waiting
}

// reduced returns n, or less of it where time is short.
func reduced(n int) int {
	if testing.Short() {
		n /= 10
	}
	if racedetector.Enabled {
		n /= 5
	}
	return n
}

// crowd calls f on each of n goroutines, with the number of the goroutine, and waits for all of
// them.
func crowd(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// heap returns the bytes that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first has found unused, such as pools, the second frees
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// noContext is what a caller forgot.
var noContext context.Context

var errUntil = errors.New("the reason of the context")

// errDone is why chats end.
var errDone = errors.New("the job is done")

var errKick = errors.New("kicked for a reason")

var errSampler = errors.New("the sampler's panic")

// end is a row of the table of ends: one way in which a subscription ends, and what is promised
// then.
type end struct {
	name     string
	opts     []broadcast.SubscribeOption // what the subscription needs to be able to end like this
	act      func(*auditedBroker[int], *broadcast.Subscriber[int])
	reason   error
	readable bool // what was buffered stays readable
}

// ends returns the table; it belongs to the bubble in which it is called. The subscriptions have
// messages waiting, a buffer that is full, and brokers without patience.
func ends(t *testing.T) []end {
	ctx, cancel := context.WithCancelCause(context.Background())
	t.Cleanup(func() { cancel(nil) })
	closeBroker := func(b *auditedBroker[int], _ *broadcast.Subscriber[int]) { _ = b.Close() }
	publish := func(b *auditedBroker[int], _ *broadcast.Subscriber[int]) { _ = b.TryPublish(chat, 0) }
	return []end{
		{"broker closed", nil, closeBroker, broadcast.ErrBrokerClosed, true},
		{"shutdown", nil, func(b *auditedBroker[int], _ *broadcast.Subscriber[int]) {
			soon, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = b.Shutdown(soon)
		}, broadcast.ErrBrokerClosed, true},
		{
			"too slow",
			[]broadcast.SubscribeOption{broadcast.WithSampling(broadcast.Disconnect)},
			publish, broadcast.ErrSlow, true,
		},
		{"chat ended, and its name is free", nil, func(b *auditedBroker[int], s *broadcast.Subscriber[int]) {
			_ = b.EndChat(context.Background(), s.Chat(), errDone)
			if s.Err() == nil {
				sleep(time.Hour)
			}
		}, errDone, true},
		{
			"stalled",
			[]broadcast.SubscribeOption{broadcast.WithStallTimeout(2 * idle)},
			func(*auditedBroker[int], *broadcast.Subscriber[int]) { sleep(2*idle + interval) }, broadcast.ErrStalled, true,
		},
		{"replaced", nil, func(b *auditedBroker[int], s *broadcast.Subscriber[int]) {
			_, _ = b.Subscribe(s.Chat(), s.Device())
		}, broadcast.ErrReplaced, false},
		{"kicked", nil, func(b *auditedBroker[int], s *broadcast.Subscriber[int]) {
			b.Kick(s.Chat(), s.Device(), errKick)
		}, errKick, false},
		{"closed", nil, func(_ *auditedBroker[int], s *broadcast.Subscriber[int]) { _ = s.Close() }, broadcast.ErrClosed, false},
		{
			"until",
			[]broadcast.SubscribeOption{broadcast.Until(ctx)},
			func(*auditedBroker[int], *broadcast.Subscriber[int]) { cancel(errUntil); synctest.Wait() }, errUntil, false,
		},
		{
			"sampler panics",
			[]broadcast.SubscribeOption{broadcast.WithSampler(func(broadcast.Backlog[int], int) int { panic(errSampler) })},
			func(b *auditedBroker[int], s *broadcast.Subscriber[int]) {
				publish(b, s)
				s.TryNext() // which is when the sampler is called at the latest
			}, errSampler, false,
		},
	}
}

// forEnds runs a test in a bubble for each row of the table, with a subscription that has the
// messages 1 and 2 waiting.
func forEnds(t *testing.T, test func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end)) {
	t.Helper()
	var names []string
	bubble(t, func(t *testing.T) {
		for _, e := range ends(t) {
			names = append(names, e.name)
		}
	})
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := ends(t)[i]
				b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0))
				s := b.join(chat, "device", e.opts...)
				b.publish(chat, 1, 2)
				test(t, b, s, e)
			})
		})
	}
}

// shutDown begins a Shutdown and returns where its answer will be.
func shutDown(ctx context.Context, b *auditedBroker[int]) <-chan result {
	answer := async(func() error { return b.Shutdown(ctx) })
	synctest.Wait()
	return answer
}

// shutDownWithin is Shutdown with a context that ends after a second.
func shutDownWithin(b *auditedBroker[int]) error {
	soon, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	return b.Shutdown(soon)
}

// requireAllEnded fails the test unless all subscriptions have ended, and who waits for that was
// told.
func requireAllEnded(t *testing.T, b *auditedBroker[int]) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, s := range b.subs {
		require.Error(t, s.Err())
		select {
		case <-s.Done():
		default:
			require.FailNow(t, "not done")
		}
	}
}

// endings end a subscription that waits.
var endings = map[string]func(*auditedBroker[int], *broadcast.Subscriber[int]){
	"closed":        func(_ *auditedBroker[int], s *broadcast.Subscriber[int]) { _ = s.Close() },
	"replaced":      func(b *auditedBroker[int], s *broadcast.Subscriber[int]) { b.join(s.Chat(), s.Device()) },
	"broker closed": func(b *auditedBroker[int], _ *broadcast.Subscriber[int]) { _ = b.Close() },
}

// fullChat returns a broker, and a reader of its chat for which publishers must wait: it has taken
// none of its n messages.
func fullChat(t *testing.T, n int, opts ...broadcast.SubscribeOption) (*auditedBroker[int], *broadcast.Subscriber[int]) {
	t.Helper()
	b := newBroker[int](t, broadcast.WithPublishTimeout(0), broadcast.WithCleanInterval(time.Second))
	s := b.join(chat, "full", append(opts, broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(n))...)
	fill(t, b, n)
	return b, s
}

// told takes what waits for a follower and returns it as text: messages as "1", comings and goings
// as "+ann@1" and "-ann@1", with the Seq that they carry.
func told(s *broadcast.Subscriber[int]) string {
	var all []string
	for d, ok := s.TryNext(); ok; d, ok = s.TryNext() {
		all = append(all, telling(d))
	}
	return strings.Join(all, " ")
}

func telling(d broadcast.Delivery[int]) string {
	switch d.Kind {
	case broadcast.Joined:
		return fmt.Sprintf("+%s@%d", d.Device, d.Seq)
	case broadcast.Left:
		return fmt.Sprintf("-%s@%d", d.Device, d.Seq)
	case broadcast.Resync:
		return "resync"
	}
	return fmt.Sprint(d.Message)
}

// segment is more messages than one segment of a chat's log holds.
const segment = 512

var thorough = flag.Bool("thorough", false, "make all the calls of the tests for flat memory, and not only a tenth of them")

// requireFlat fails the test if the heap grows with the number of calls of f. It is warmed up
// first.
func requireFlat(t *testing.T, calls int, f func(i int)) {
	t.Helper()
	if !*thorough {
		calls /= 10
	}
	if testing.Short() || racedetector.Enabled {
		calls /= 10
	}
	for i := range calls / 10 {
		f(i)
	}
	before := heap()
	for i := range calls {
		f(calls + i)
	}
	require.Less(t, heap()-before, int64(100<<10), "bytes more after %d calls", calls)
}

func repeat(n int, f func()) time.Duration {
	return elapsed(func() {
		for range n {
			f()
		}
	})
}

// countAllocations returns how often f allocates. Nothing else may run.
func countAllocations(f func()) float64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return float64(after.Mallocs - before.Mallocs)
}

// piece is how many readers are looked at in one hold of a chat's lock.
const piece = 128

// Cleaners act between the time when something is due and one interval later.
const (
	idle     = 5 * time.Minute // the defaults
	interval = time.Minute
)

// payload is a message of 56 bytes.
type payload [7]int64
