package broadcast_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Promise 25: one place at a time for many, some of whom give up just then. Who frees it has taken the message, or has been replaced.
func TestRaceForEachFreedPlaceHasAWinner(t *testing.T) {
	const waiters, messages = 10, 2
	race{
		waiters, messages,
		[]broadcast.Option{broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(1)},
		work{"accepted": 10 * waiters * messages / 2, "given up": 1, "replaced": 1},
	}.run(t, func(w *witness, done work) {
		s := w.join("device")
		var readers, cancels sync.WaitGroup
		readers.Go(func() {
			for s.next(context.Background()) == nil {
				if rand.IntN(8) != 0 {
					continue
				}
				if newer, err := w.subscribe(chat, "device"); err == nil {
					s.readRest()
					s = newer
				}
			}
		})
		crowd(waiters, func(i int) {
			for n := range messages {
				ctx := context.Background()
				if i%2 == 1 {
					ctx = soon(&cancels)
				}
				if err := w.publish(ctx, i, n, chat); err != nil {
					assert.ErrorIs(t, err, context.Canceled)
					assert.Equal(t, 1, i%2, "it did not give up")
				}
			}
		})
		cancels.Wait()
		require.NoError(t, w.broker.Close())
		readers.Wait()
		done["given up"] += int(w.broker.Stats().Rejected)
		done["replaced"] += int(w.broker.Stats().Replaced)
	})
}

// A message wakes all readers that wait, be they few or a crowd, and also those that gave up waiting a moment ago and wait again.
func TestRaceOfMessagesAndWaitsWakesAllReaders(t *testing.T) {
	const messages = 3
	race{1, messages, nil, work{"accepted": 10 * messages, "waits cancelled": 1}}.run(t, func(w *witness, done work) {
		crowd := []int{1, 2, 3, 5, 8, 13, 20, 70}[rand.IntN(8)]
		if rand.IntN(100) == 0 {
			crowd = 300
		}
		var readers, cancels, have sync.WaitGroup
		var canceled atomic.Int64
		for i := range crowd {
			s := w.join(fmt.Sprint(i), broadcast.WithSampling(broadcast.Block))
			readers.Go(func() {
				for {
					if i%8 == 0 {
						switch s.next(soon(&cancels)) {
						case nil:
							have.Done()
						case context.Canceled:
							canceled.Add(1)
						}
					}
					if err := s.next(context.Background()); err != nil {
						assert.ErrorIs(t, err, broadcast.ErrClosed)
						return
					}
					have.Done()
				}
			})
		}
		for n := range messages {
			have.Add(crowd)
			require.NoError(t, w.publish(context.Background(), 0, n, chat))
			have.Wait()
		}
		w.shutdown(&readers)
		cancels.Wait()
		done["waits cancelled"] += int(canceled.Load())
	})
}
