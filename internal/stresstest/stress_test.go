package stresstest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
	"github.com/fbd86cad/broadcast/internal/racedetector"
)

// The tests in this file run on real processors, because what they are about is that everything
// happens at once.

// stress is the first line of such a test: the test fails if it hangs, or if a goroutine is left
// when it has ended and its brokers have.
func stress(t *testing.T) {
	t.Helper()
	stop := watchdog(t)
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		goleak.VerifyNone(t, before)
		stop()
	})
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

// watchdog ends the test binary with the stacks of all goroutines unless stop is called within a
// minute.
func watchdog(t testing.TB) (stop func()) {
	timer := time.AfterFunc(time.Minute, func() {
		debug.SetTraceback("all")
		panic(t.Name() + " hangs")
	})
	return func() { timer.Stop() }
}

// chat is where the tests talk that need one chat only.
const chat = "chat"

func TestAHundredThousandOperationsFromSixteenGoroutinesBalance(t *testing.T) {
	stress(t)
	b := broadcasttest.New[int](t, broadcast.WithBuffer(8), broadcast.WithPatience(100*time.Microsecond), broadcast.WithPublishTimeout(time.Millisecond),
		broadcast.WithCleanInterval(time.Millisecond), broadcast.WithChatIdle(time.Millisecond), broadcast.WithStallTimeout(10*time.Millisecond))
	var (
		calls atomic.Uint64
		mu    sync.Mutex
		all   []*broadcast.Subscriber[int]
	)
	crowd(16, func(int) {
		var mine *broadcast.Subscriber[int]
		for i := range reduced(100_000) / 16 {
			chat := fmt.Sprint("chat ", rand.IntN(4))
			switch rand.IntN(10) {
			case 0:
				s, err := b.Subscribe(chat, fmt.Sprint("device ", rand.IntN(10)), broadcast.WithSampling(broadcast.Sampling(rand.IntN(5))))
				if assert.NoError(t, err) {
					mine = s
					mu.Lock()
					all = append(all, s)
					mu.Unlock()
				}
			case 1:
				if mine != nil {
					assert.NoError(t, mine.Close())
				}
			case 2, 3, 4:
				if mine != nil {
					mine.TryNext()
				}
			case 5:
				_ = b.TryPublish(chat, i)
				calls.Add(1)
			default:
				_ = b.Publish(t.Context(), chat, i)
				calls.Add(1)
			}
		}
	})
	require.NotZero(t, broadcasttest.CheckTotals(t, b, calls.Load(), all...).Accepted)
	require.NoError(t, b.Close())
	broadcasttest.CheckTotals(t, b, calls.Load(), all...)
}

// Promise 14: a tight loop, and readers that do nothing but read. All of it arrives, unless other
// programs keep the readers from their processor for longer than publishers are patient; hence a
// few attempts.
func TestHealthyReadersInATightLoopLoseNothing(t *testing.T) {
	for _, readers := range []int{1, 10, 100} {
		t.Run(fmt.Sprintf("readers=%d", readers), func(t *testing.T) {
			stress(t)
			var got float64
			for attempt := 0; attempt < 5 && got < 0.999; attempt++ {
				got = flood(t, readers, reduced(20_000))
			}
			require.GreaterOrEqual(t, got, 0.999)
		})
	}
}

// flood publishes messages in a tight loop and returns which part of them the readers have taken.
func flood(t *testing.T, readers, messages int) float64 {
	b := broadcasttest.New[int](t, broadcast.WithBuffer(100))
	var all sync.WaitGroup
	subs := make([]*broadcast.Subscriber[int], readers)
	for i := range readers {
		s := broadcasttest.Subscribe(t, b, chat, fmt.Sprint(i))
		subs[i] = s
		all.Go(func() {
			for range s.Messages(t.Context()) {
			}
		})
	}
	start := time.Now()
	for i := range messages {
		require.NoError(t, b.Publish(t.Context(), chat, i))
	}
	took := time.Since(start)
	require.NoError(t, b.Shutdown(t.Context()))
	all.Wait()
	stats := broadcasttest.CheckTotals(t, b, uint64(messages), subs...)
	got := float64(stats.Delivered) / float64(messages*readers)
	t.Logf("%.3f%% delivered, %d ns per delivery", 100*got, took.Nanoseconds()/int64(messages*readers))
	return got
}

// A reader is for one goroutine at a time. Two may share or repeat messages between them, and that
// is all.
func TestTwoGoroutinesThatReadOneSubscriberHarmNobody(t *testing.T) {
	if racedetector.Enabled {
		t.Skip("it is a misuse, and the race detector may say so")
	}
	stress(t)
	messages := reduced(20_000)
	b := broadcasttest.New[int](t, broadcast.WithBuffer(64))
	shared := broadcasttest.Subscribe(t, b, chat, "shared")
	other := broadcasttest.Subscribe(t, b, chat, "other", broadcast.WithSampling(broadcast.Block))
	ctx, stop := context.WithCancel(t.Context())
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			switch i {
			case 0:
				for range shared.All(ctx) {
				}
			case 1:
				for range shared.Messages(ctx) {
				}
			default:
				into := make([]broadcast.Delivery[int], 3)
				for ctx.Err() == nil {
					_, _ = shared.NextBatch(ctx, into)
				}
			}
		})
	}
	var got []int
	all.Go(func() { got = slices.Collect(other.Messages(context.Background())) })
	want := make([]int, messages)
	for i := range want {
		want[i] = i
		require.NoError(t, b.Publish(t.Context(), chat, i))
	}
	require.NoError(t, other.Err())
	stop()
	require.NoError(t, shared.Close()) // one of them may not have learned of the end of its context
	require.NoError(t, b.Shutdown(t.Context()))
	all.Wait()
	require.Equal(t, want, got)
}
