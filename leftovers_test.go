package broadcast_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Promise 28: whatever went on in a chat, when it is quiet and all has been read, it holds its readers and nothing else.
func TestAQuietChatHoldsItsReadersAndNothingElse(t *testing.T) {
	for seed := range uint64(20) {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithPatience(time.Millisecond), broadcast.WithPublishTimeout(5*time.Millisecond))
			stays := hurlyBurly(t, b, rand.New(rand.NewPCG(seed, 0)))
			sleep(time.Minute)
			readAll(stays)
			b.publish(chat, 1) // some had yet to be told what they missed at the end
			readAll(stays)
			require.Empty(t, broadcast.Leftovers(b.Broker), "seed %d", seed)
			require.NoError(t, b.Close())
			require.Empty(t, broadcast.Leftovers(b.Broker), "seed %d", seed)
		})
	}
}

func readAll(subs []*broadcast.Subscriber[int]) {
	for _, s := range subs {
		for _, ok := s.TryNext(); ok; _, ok = s.TryNext() {
		}
	}
}

// hurlyBurly publishes to readers of all strategies that read a little, wait a little, and go or stay. It returns those that stay.
func hurlyBurly(t *testing.T, b *auditedBroker[int], random *rand.Rand) (stay []*broadcast.Subscriber[int]) {
	var all sync.WaitGroup
	for i := range 30 {
		strategy := broadcast.WithSampling(broadcast.Sampling(i % 5))
		if i%6 == 5 {
			strategy = broadcast.WithSampler(func(backlog broadcast.Backlog[int], _ int) int { return backlog.Len() / 2 })
		}
		opts := []broadcast.SubscribeOption{strategy, broadcast.WithBuffer(1 + random.IntN(40)), broadcast.WithStallTimeout(time.Hour)}
		if random.IntN(3) == 0 {
			opts = append(opts, broadcast.WithPresence())
		}
		s := b.join(chat, fmt.Sprint(i), opts...)
		reads, pause, goes := random.IntN(200), time.Duration(random.IntN(300))*time.Microsecond, random.IntN(3) == 0
		all.Go(func() {
			for range reads {
				soon, cancel := context.WithTimeout(t.Context(), pause)
				_, _ = s.Next(soon)
				cancel()
				time.Sleep(pause)
			}
			if goes {
				_ = s.Close()
			}
		})
		if !goes {
			stay = append(stay, s)
		}
	}
	for range 4 {
		pause := time.Duration(random.IntN(1_000)) * time.Microsecond
		all.Go(func() {
			for i := range 300 {
				soon, cancel := context.WithTimeout(t.Context(), 3*time.Millisecond)
				_ = b.Publish(soon, chat, i)
				cancel()
				_ = b.TryPublish(chat, i)
				time.Sleep(pause)
			}
		})
	}
	all.Wait()
	return stay
}
