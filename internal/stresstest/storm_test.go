package stresstest

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
)

var stormTime = flag.Duration("storm", 2*time.Second, "how long the storm blows")

const (
	stormPublishers = 8
	stormDevices    = 32
	stormCrowd      = 300  // onlookers, who do nothing but wait, in some rounds
	stormNames      = 64   // of devices: few enough for some to take over from each other
	stormMessages   = 4000 // that each publisher or device makes at most, in one round
)

// In a storm everything happens at once, on the real clock: publishers that give up, readers that
// change how they read, takeovers, closes from elsewhere, samplers that panic, chats that come and
// go, Stats all the time, and an end in the middle of it. No result can be predicted, but what the
// readers saw and what the books say must fit together.
func TestStormKeepsEveryBookBalanced(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	total := *stormTime
	if testing.Short() {
		total /= 4
	}
	var seen stormSeen
	missing := ""
	for start := time.Now(); !t.Failed(); {
		stop := watchdog(t)
		newStorm(t, &seen).blow()
		stop()
		elapsed := time.Since(start)
		if missing = seen.missing(); elapsed > total && missing == "" || elapsed > total+30*time.Second {
			break
		}
	}
	t.Log(&seen)
	require.Empty(t, missing, "too calm to prove anything")
}

// stormSeen counts what happened in all rounds.
type stormSeen struct {
	rounds, calls, deliveries, missed atomic.Int64
	ends                              [9]atomic.Int64
	reads                             [6]atomic.Int64
	drained                           atomic.Int64 // times that Shutdown returned nil
}

// stormEnds are the reasons for which subscriptions end in a storm.
var stormEnds = [...]error{
	broadcast.ErrClosed, broadcast.ErrSlow, broadcast.ErrStalled, broadcast.ErrReplaced, errStormUntil, errStormSampler, broadcast.ErrInvalid,
	errStormKick, errStormEnd,
}

var (
	errStormUntil   = errors.New("the cause of Until's context")
	errStormSampler = errors.New("the sampler panicked")
	errStormKick    = errors.New("the reason of Kick")
	errStormEnd     = errors.New("the reason of EndChat")
)

// missing says what has not happened yet, or not often enough, for the storm to prove anything.
func (n *stormSeen) missing() string {
	if n.calls.Load() < 1000 || n.deliveries.Load() < 1000 || n.missed.Load() < 100 || n.drained.Load() == 0 {
		return n.String()
	}
	for i := range n.reads {
		if n.reads[i].Load() == 0 {
			return fmt.Sprintf("way %d to read", i)
		}
	}
	for i, reason := range stormEnds {
		if n.ends[i].Load() == 0 {
			return reason.Error()
		}
	}
	return ""
}

// String sums up what happened.
func (n *stormSeen) String() string {
	s := fmt.Sprintf("%d rounds, %d drained, %d calls of Publish, %d deliveries, %d missed", n.rounds.Load(), n.drained.Load(),
		n.calls.Load(), n.deliveries.Load(), n.missed.Load())
	for i, reason := range stormEnds {
		s += fmt.Sprintf(", %d× %q", n.ends[i].Load(), reason)
	}
	return s
}

// A storm is one round of it, on one broker.
type storm struct {
	*witness
	seen   *stormSeen
	chats  int  // all publishers and devices choose among so many
	leaves bool // devices leave subscriptions behind without closing them
}

func newStorm(t *testing.T, seen *stormSeen) *storm {
	forgets := rand.IntN(2) == 0 // the cleaner forgets chats
	idle := time.Hour
	if forgets {
		idle = rand.N(time.Millisecond)
	}
	patience := max(0, rand.N(800*time.Microsecond)-400*time.Microsecond) // 0 in half of the rounds
	w := newWitness(t, stormPublishers+stormDevices, stormMessages,
		broadcast.WithPatience(patience),
		broadcast.WithPublishTimeout(patience+50*time.Microsecond+rand.N(time.Millisecond)),
		broadcast.WithCleanInterval(time.Millisecond/2),
		broadcast.WithChatIdle(idle),
		broadcast.WithBuffer(1+rand.IntN(12)),
		broadcast.WithLogger(slog.New(slog.NewTextHandler(io.Discard, &slog.HandlerOptions{Level: slog.LevelDebug}))),
	)
	w.forgets = forgets
	return &storm{witness: w, seen: seen, chats: 1 + rand.IntN(6), leaves: rand.IntN(2) == 0}
}

// blow runs one round.
func (s *storm) blow() {
	var publishing, others, looking sync.WaitGroup
	until := time.Now().Add(rand.N(100 * time.Millisecond))
	for p := range stormPublishers {
		publishing.Go(func() { s.publishAll(p, until) })
	}
	for d := range stormDevices {
		others.Go(func() { s.device(stormPublishers + d) })
	}
	if rand.IntN(4) == 0 {
		for i := range stormCrowd {
			others.Go(func() { s.onlooker(fmt.Sprint("onlooker ", i)) })
		}
	}
	over := make(chan struct{})
	looking.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				s.look()
			}
		}
	})
	s.end(&publishing)
	publishing.Wait()
	others.Wait()
	close(over)
	looking.Wait()
	s.verify()
	s.countEnds()
	s.seen.rounds.Add(1)
}

// publishAll is a publisher: it publishes to one chat for a while, and then to another, until the
// broker is closed or the time is over.
func (s *storm) publishAll(id int, until time.Time) {
	r := rand.New(rand.NewPCG(rand.Uint64(), 0))
	chat, burst := "", 0
	for number := 0; number < stormMessages && time.Now().Before(until); number++ {
		if burst--; burst < 0 {
			chat, burst = fmt.Sprint(r.IntN(s.chats)), r.IntN(40)
			runtime.Gosched() // or, on one processor, nobody else comes to anything
		}
		if err := s.publishSomehow(r, id, number, chat); errors.Is(err, broadcast.ErrClosed) {
			return
		}
	}
}

// publishSomehow makes one message of a publisher.
func (s *storm) publishSomehow(r *rand.Rand, id, number int, chat string) (err error) {
	switch r.IntN(4) {
	case 0:
		err = s.publish(noContext, id, number, chat)
	case 1:
		ctx, cancel := context.WithTimeout(context.Background(), rand.N(200*time.Microsecond))
		err = s.publish(ctx, id, number, chat)
		cancel()
	default:
		err = s.publish(context.Background(), id, number, chat)
	}
	s.seen.calls.Add(1)
	if err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, broadcast.ErrOverloaded) &&
		!errors.Is(err, broadcast.ErrClosed) && !errors.Is(err, errStormEnd) {
		s.t.Errorf("Publish: %v", err)
	}
	return err
}

// look calls what may be called at any time, from anywhere.
func (s *storm) look() {
	switch rand.IntN(16) {
	case 0:
		s.broker.Stats()
	case 1:
		s.broker.Devices(fmt.Sprint(rand.IntN(s.chats)))
	case 2:
		s.broker.Chats()
	case 3:
		s.endSomething()
	}
	s.mu.Lock()
	var r *watched
	if n := len(s.readers); n > 0 {
		r = s.readers[max(0, n-1-rand.IntN(2*stormDevices))]
	}
	s.mu.Unlock()
	if r == nil {
		return
	}
	r.Stats()
	if rand.IntN(32) == 0 {
		assert.NoError(s.t, r.Close())
		assert.Error(s.t, r.Err(), "Close returned")
	}
	runtime.Gosched()
}

// endSomething ends a subscription or, where its name is free soon, a chat.
func (s *storm) endSomething() {
	chat := fmt.Sprint(rand.IntN(s.chats))
	switch n := rand.IntN(64); {
	case n < 8:
		s.broker.Kick(chat, fmt.Sprint(rand.IntN(stormNames)), errStormKick)
	case n == 8 && s.forgets:
		err := s.broker.EndChat(context.Background(), chat, errStormEnd)
		if err != nil && !errors.Is(err, errStormEnd) {
			assert.Equal(s.t, broadcast.ErrBrokerClosed, err)
		}
	case n == 9 && s.forgets:
		err := s.broker.Forget(context.Background(), chat)
		if err != nil && err != broadcast.ErrInUse {
			assert.Equal(s.t, broadcast.ErrBrokerClosed, err)
		}
	}
}

// end ends the broker in the middle of it all, or when all publishers are done.
func (s *storm) end(publishing *sync.WaitGroup) {
	if rand.IntN(4) == 0 {
		publishing.Wait()
	} else {
		time.Sleep(rand.N(100 * time.Millisecond))
	}
	if rand.IntN(2) == 0 {
		var closing sync.WaitGroup
		for range 3 {
			closing.Go(func() { assert.NoError(s.t, s.broker.Close()) })
		}
		closing.Wait()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), rand.N(100*time.Millisecond))
	defer cancel()
	switch err := s.broker.Shutdown(ctx); {
	case err == nil:
		s.seen.drained.Add(1)
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, r := range s.readers {
			if errors.Is(r.Err(), broadcast.ErrClosed) {
				assert.Zero(s.t, r.Stats().Pending, "pending after Shutdown")
			}
		}
	default:
		assert.ErrorIs(s.t, err, context.DeadlineExceeded)
	}
	assert.NoError(s.t, s.broker.Close())
}

// countEnds counts the reasons for which subscriptions ended.
func (s *storm) countEnds() {
	for _, r := range s.readers {
		reason := slices.IndexFunc(stormEnds[:], func(e error) bool { return errors.Is(r.Err(), e) })
		if assert.GreaterOrEqual(s.t, reason, 0, "%v", r.Err()) {
			s.seen.ends[reason].Add(1)
		}
	}
}
