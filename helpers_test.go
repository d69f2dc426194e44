package broadcast_test

import (
	"context"
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
)

// The tests in this package are named after the sentences that they prove; the number in their comments is that of the promise.
// Nearly all of them run on the fake clock of a bubble, where a wait takes exactly as long as it should. A bubble also
// fails when a goroutine is left in it, so that each of these tests proves that nothing is left after Close.

// chat is where the tests talk that need one chat only.
const chat = "chat"

// patience is the default of WithPatience.
const patience = 10 * time.Millisecond

// lossy are the strategies of which publishers wait for a reader only for a moment.
var lossy = []broadcast.Sampling{broadcast.DropOldest, broadcast.DropNewest, broadcast.DropRandom, broadcast.Disconnect}

// auditedBroker is a broker that counts the calls of Publish and remembers its subscriptions, so that the books of all of
// them are checked at the end of each test, before and after Close.
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

// unaudited returns a broker without audit, which would hold its subscribers for ever: for tests of what memory is let go.
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
	if err == nil && !b.forgetful {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.subs = append(b.subs, s)
	}
	return s, err
}

// join subscribes where nothing speaks against it.
func (b *auditedBroker[T]) join(chat, device string, opts ...broadcast.SubscribeOption) *broadcast.Subscriber[T] {
	b.t.Helper()
	s, err := b.Subscribe(chat, device, opts...)
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
	requireBrokerBooks(b.t, b.Broker, b.calls.Load(), b.subs...)
}

// requireBooks fails the test unless every message since the subscription joined is in its books exactly once (promise 6).
func requireBooks[T any](t testing.TB, s *broadcast.Subscriber[T]) broadcast.SubscriberStats {
	t.Helper()
	return broadcasttest.CheckBooks(t, s)
}

// requireBrokerBooks fails the test unless the broker, after that many calls of Publish and with these subscriptions, ended ones
// included, shows their sums.
func requireBrokerBooks[T any](t testing.TB, b *broadcast.Broker[T], calls uint64, subs ...*broadcast.Subscriber[T]) {
	t.Helper()
	var want, got broadcast.Stats
	for quiet := false; !quiet; quiet = b.Stats() == got { // on the real clock a cleaner may come in between, and end a reader
		got = b.Stats()
		want = sumOf(t, subs)
	}
	require.Equal(t, calls, got.Accepted+got.Rejected, "calls of Publish: %+v", got)
	require.Equal(t, want, broadcast.Stats{
		Subscribers: got.Subscribers,
		Delivered:   got.Delivered, Missed: got.Missed, Pending: got.Pending, Discarded: got.Discarded,
	}, "the broker's sums against those of its subscriptions")
}

// sumOf returns what the broker's Stats must say of these subscriptions.
func sumOf[T any](t testing.TB, subs []*broadcast.Subscriber[T]) (want broadcast.Stats) {
	t.Helper()
	for _, s := range subs {
		books := requireBooks(t, s)
		want.Delivered += books.Delivered
		want.Missed += books.Missed
		want.Pending += books.Pending
		want.Discarded += books.Discarded
		if s.Err() == nil {
			want.Subscribers++
		}
	}
	return want
}

// bubble runs f in a synctest bubble. A goroutine that waits for a mutex stops the clock of its bubble, so that a
// deadlock there would last until the test binary is killed; the watchdog shows the goroutines before.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	defer watchdog(t)()
	synctest.Test(t, f)
}

// watchdog ends the test binary with the stacks of all goroutines unless stop is called within a minute of real time.
func watchdog(t testing.TB) (stop func()) {
	timer := time.AfterFunc(time.Minute, func() {
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

// goroutines returns how many goroutines there are in the bubble once all that can go on have done so.
func goroutines() int {
	synctest.Wait()
	var stacks strings.Builder
	_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
	return strings.Count(stacks.String(), ", synctest bubble ")
}

// async calls f on a goroutine of its own and returns where its answer and the duration of the call will be.
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

// from returns the numbers first to last.
func from(first, last int) []int {
	var numbers []int
	for i := first; i <= last; i++ {
		numbers = append(numbers, i)
	}
	return numbers
}

// takeAll takes what waits for a subscription now, and checks of each delivery what is promised of every one: that it
// comes after the one before, from the subscription's own chat, and that Missed is the hole in between.
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

// read lets a goroutine take everything, until the subscription ends and wait is called, which returns it.
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
