package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// The code of docs/recipes.md is in this file word for word, and runs.
func TestTheCodeOfTheRecipesIsThatOfTheirExamples(t *testing.T) {
	recipes, err := os.ReadFile("docs/recipes.md")
	require.NoError(t, err)
	tests, err := os.ReadFile("recipes_test.go")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(recipes), -1)
	require.NotEmpty(t, blocks)
	flat := func(text string) string { return regexp.MustCompile(`(?m)^\t+`).ReplaceAllString(text, "") }
	for _, block := range blocks {
		require.Contains(t, flat(string(tests)), flat(block[1]))
	}
}

type Flags map[string]bool

// newFlags returns a broker whose chats keep their latest value.
func newFlags() (*broadcast.Broker[Flags], error) {
	return broadcast.New[Flags](
		broadcast.WithHistory(1, 0), // the latest value, for readers that come later
		broadcast.WithBuffer(1),     // a slow reader gets the latest value next
		broadcast.WithPatience(0),   // and publishers do not wait for it
	)
}

// watchFlags calls apply with the current flags, and again whenever they change.
func watchFlags(ctx context.Context, b *broadcast.Broker[Flags], apply func(Flags)) error {
	s, err := b.SubscribeAnonymous("flags", broadcast.Replay(1))
	if err != nil {
		return err
	}
	defer s.Close()
	for d := range s.All(ctx) {
		apply(d.Message)
	}
	return s.Err()
}

func Example_latestValue() {
	b := must(newFlags())
	ctx := context.Background()
	for range 1000 {
		check(b.Publish(ctx, "flags", Flags{"dark": false}))
	}
	check(b.Publish(ctx, "flags", Flags{"dark": true}))
	var watchers sync.WaitGroup
	var mu sync.Mutex
	dark := 0
	for range 2000 {
		watchers.Go(func() {
			watch, stop := context.WithCancel(ctx)
			check(watchFlags(watch, b, func(f Flags) {
				mu.Lock()
				defer mu.Unlock()
				if f["dark"] {
					dark++
				}
				stop()
			}))
		})
	}
	watchers.Wait()
	check(b.Close())
	fmt.Println(dark)
	// Output: 2000
}

func Example_snapshotThenChanges() {
	b := must(broadcast.New[string](broadcast.WithHistory(100, 0)))
	defer b.Close()
	ctx := context.Background()
	render := func() { fmt.Println("page: order 1") }
	check(b.Publish(ctx, "orders", "order 1"))

	head, err := b.Head(ctx, "orders") // first the position, then the page
	check(err)
	render()
	check(b.Publish(ctx, "orders", "order 2")) // meanwhile

	s, err := b.SubscribeAnonymous("orders", broadcast.Resume(head))
	check(err)
	d, err := s.Next(ctx)
	check(err)
	fmt.Println(d.Message)
	// Output:
	// page: order 1
	// order 2
}

// newJobs returns a broker for job logs, one chat each, kept for an hour after the job ends.
func newJobs() (*broadcast.Broker[string], error) {
	return broadcast.New[string](
		broadcast.WithHistory(10_000, 0),
		broadcast.WithChatIdle(time.Hour),
		broadcast.WithSampling(broadcast.Disconnect), // a slow reader comes back and resumes
	)
}

// runJob runs a job and ends its log with the job's result.
func runJob(b *broadcast.Broker[string], id string, job func(log func(line string)) error) error {
	ctx := context.Background()
	err := job(func(line string) { _ = b.Publish(ctx, id, line) })
	return b.EndChat(ctx, id, err)
}

// followJob sends a job's log after a position, or from the start if the position is zero. It
// returns ErrEnded when the log has ended; if the job failed, the error wraps that failure too.
func followJob(
	ctx context.Context, b *broadcast.Broker[string], id string, from broadcast.Position,
	send func(broadcast.Delivery[string]),
) error {
	s, err := b.SubscribeAnonymous(id, broadcast.Resume(from), broadcast.Replay(10_000))
	if err != nil {
		return err
	}
	defer s.Close()
	for d := range s.All(ctx) {
		send(d)
	}
	if err := s.Err(); err != nil {
		return err
	}
	return ctx.Err()
}

func Example_jobLog() {
	b := must(newJobs())
	defer b.Close()
	errFailed := errors.New("a test fails")
	check(runJob(b, "job 7", func(log func(string)) error {
		log("build")
		log("test")
		return errFailed
	}))
	var first broadcast.Position
	err := followJob(context.Background(), b, "job 7", first, func(d broadcast.Delivery[string]) {
		fmt.Println(d.Message)
		if first == (broadcast.Position{}) {
			first = d.Position() // what a browser sends as its Last-Event-ID
		}
	})
	fmt.Println(errors.Is(err, broadcast.ErrEnded), errors.Is(err, errFailed))
	err = followJob(context.Background(), b, "job 7", first, func(d broadcast.Delivery[string]) {
		fmt.Println("resumed:", d.Message)
	})
	fmt.Println(errors.Is(err, errFailed))
	// Output:
	// build
	// test
	// true true
	// resumed: test
	// true
}

func Example_ticksAndReliableMessages() {
	b := must(broadcast.New[string](broadcast.WithChat(func(chat string) []broadcast.ChatOption {
		if strings.HasPrefix(chat, "ticks/") {
			return []broadcast.ChatOption{
				broadcast.WithHistory(1, 0), broadcast.WithBuffer(1), broadcast.WithPatience(0),
			}
		}
		return []broadcast.ChatOption{
			broadcast.WithHistory(1000, time.Hour), broadcast.WithSampling(broadcast.Disconnect),
		}
	})))
	defer b.Close()
	ticks := must(b.Subscribe("ticks/room", "ann"))
	moves := must(b.Subscribe("moves/room", "ann"))
	for i := range 3 {
		check(b.Publish(context.Background(), "ticks/room", fmt.Sprint("tick ", i)))
		check(b.Publish(context.Background(), "moves/room", fmt.Sprint("move ", i)))
	}
	show(ticks)
	show(moves)
	// Output:
	// tick 2 missed: 2
	// move 0 missed: 0
	// move 1 missed: 0
	// move 2 missed: 0
}

// A Source runs a producer while somebody reads.
type Source struct {
	Produce func(ctx context.Context)

	mu      sync.Mutex
	readers int
	stop    context.CancelFunc
}

// Enter starts the producer if this is the first reader. The last reader to leave stops it.
func (s *Source) Enter() (leave func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.readers++; s.readers == 1 {
		ctx, stop := context.WithCancel(context.Background())
		s.stop = stop
		go s.Produce(ctx)
	}
	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.readers--; s.readers == 0 {
			s.stop()
		}
	})
}

func Example_producerWhileSomebodyReads() {
	b := must(broadcast.New[int](broadcast.WithPatience(0)))
	defer b.Close()
	stopped := make(chan struct{})
	source := Source{Produce: func(ctx context.Context) {
		defer close(stopped)
		for i := 1; b.Publish(ctx, "camera", i) == nil; i++ {
			time.Sleep(time.Millisecond)
		}
	}}
	s := must(b.SubscribeAnonymous("camera")) // first, to miss nothing
	leave := source.Enter()
	fmt.Println(must(s.Next(context.Background())).Message)
	check(s.Close())
	leave()
	<-stopped
	// Output: 1
}
