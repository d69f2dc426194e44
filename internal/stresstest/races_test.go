package stresstest

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	"github.com/fbd86cad/broadcast/broadcasttest"
)

var raceRounds = flag.Int("rounds", 400, "rounds of each race")

// A race is a small storm about one thing: many short rounds of it on real processors, best under
// the race detector. Nothing in it waits for time to pass, so that no timeout makes up for a
// wake-up that was lost: the round hangs then, and the watchdog shows where. Publishers have no
// patience at all in one round and endless patience in the next.
type race struct {
	publishers, messages int // so many publishers make at most so many messages each, in one round
	options              []broadcast.Option
	least                work // what must happen in ten rounds
}

// work counts what happened.
type work map[string]int

// run runs the rounds, each on a new broker. A race in which too little happens is none, and fails.
func (r race) run(t *testing.T, round func(w *witness, done work)) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	rounds := *raceRounds
	if testing.Short() {
		rounds = (rounds + 3) / 4
	}
	done := work{}
	for i := range rounds {
		stop := watchdog(t)
		patience := time.Duration(i%2) * time.Hour
		w := newWitness(t, r.publishers, r.messages, append(r.options, broadcast.WithPatience(patience), broadcast.WithPublishTimeout(0))...)
		round(w, done)
		require.NoError(t, w.broker.Close())
		w.verify()
		done["accepted"] += int(w.broker.Stats().Accepted)
		stop()
		if t.Failed() {
			return
		}
	}
	t.Logf("%d rounds: %v", rounds, done)
	for what, n := range r.least {
		require.GreaterOrEqual(t, 10*done[what], n*rounds, "too few to prove anything: %s", what)
	}
	goleak.VerifyNone(t, before)
}

// soon returns a context that somebody cancels within a moment.
func soon(all *sync.WaitGroup) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	yields := rand.IntN(8)
	all.Go(func() {
		for range yields {
			runtime.Gosched()
		}
		cancel()
	})
	return ctx
}

// shutdown shuts the broker down, which must lose nothing, and waits for readers.
func (w *witness) shutdown(readers *sync.WaitGroup) {
	w.t.Helper()
	require.NoError(w.t, w.broker.Shutdown(context.Background()))
	readers.Wait()
	require.Zero(w.t, w.broker.Stats().Discarded)
}

// join subscribes where nothing speaks against it.
func (w *witness) join(device string, opts ...broadcast.SubscribeOption) *watched {
	w.t.Helper()
	s, err := w.subscribe(chat, device, opts...)
	require.NoError(w.t, err)
	return s
}

// Promise 25, with cancelled waits of publishers and readers at once.
func TestRaceOfCancelledWaitsLosesNoPlaceAndNoWakeUp(t *testing.T) {
	const publishers, fickle, patient = 4, 4, 1
	race{
		publishers, fickle + patient,
		[]broadcast.Option{broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(2)},
		work{"accepted": 10 * publishers * patient, "publishes cancelled": 1, "waits cancelled": 1},
	}.run(t, func(w *witness, done work) {
		s := w.join("device")
		var readers, cancels sync.WaitGroup
		readers.Go(func() {
			for range publishers * (fickle + patient) {
				if s.next(soon(&cancels)) == context.Canceled {
					done["waits cancelled"]++
				}
			}
			s.readRest()
		})
		crowd(publishers, func(i int) {
			for n := range fickle {
				if err := w.publish(soon(&cancels), i, n, chat); err != nil {
					assert.ErrorIs(t, err, context.Canceled)
				}
			}
			for n := range patient { // what is in flight arrives, or somebody was not woken
				assert.NoError(t, w.publish(context.Background(), i, fickle+n, chat))
			}
		})
		w.shutdown(&readers)
		cancels.Wait()
		require.Equal(t, w.broker.Stats().Accepted, s.count)
		done["publishes cancelled"] += int(w.broker.Stats().Rejected)
	})
}

func TestRaceOfSubscribeAndCloseBesideAPublisherLeavesNothing(t *testing.T) {
	const messages, churners, turns = 30, 3, 4
	race{1, messages, nil, work{"accepted": 10 * messages, "taken in between": 1}}.run(t, func(w *witness, done work) {
		stays := w.join("stays", broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(4))
		var readers, publisher sync.WaitGroup
		readers.Go(stays.readRest)
		publisher.Go(func() {
			for n := range messages {
				assert.NoError(t, w.publish(context.Background(), 0, n, chat))
			}
		})
		var taken atomic.Int64
		crowd(churners, func(i int) {
			for n := range turns {
				s, err := w.subscribe(chat, fmt.Sprint(i), broadcast.WithSampling(broadcast.Sampling((i+n)%5)), broadcast.WithBuffer(1+n%3))
				if !assert.NoError(t, err) {
					return
				}
				for range n {
					runtime.Gosched()
					if d, ok := s.TryNext(); ok {
						s.took(d)
						taken.Add(1)
					}
				}
				assert.NoError(t, s.Close())
			}
		})
		publisher.Wait()
		require.Equal(t, []string{"stays"}, w.broker.Devices(chat))
		require.NoError(t, w.broker.Shutdown(context.Background()))
		readers.Wait()
		require.EqualValues(t, messages, stays.count)
		done["taken in between"] += int(taken.Load())
	})
}

// Promises 4, 7 and 8: a batch is copied before it is taken, and the strategy may act meanwhile.
func TestRaceOfBatchesAndDropsTellsEachLossAndRepeatsNothing(t *testing.T) {
	const publishers, messages = 2, 60
	race{
		publishers, messages, nil,
		work{"accepted": 10 * publishers * messages, "taken in batches": 10, "missed": 10},
	}.run(t, func(w *witness, done work) {
		readers := make([]*watched, 3)
		for i := range readers {
			readers[i] = w.join(fmt.Sprint(i), broadcast.WithBuffer(3+i), broadcast.WithSampling(broadcast.Sampling(i)))
		}
		var reading sync.WaitGroup
		var batches atomic.Int64
		for _, s := range readers {
			reading.Go(func() {
				into := make([]broadcast.Delivery[parcel], 4)
				for {
					n := s.TryNextBatch(into)
					for _, d := range into[:n] {
						s.took(d)
					}
					if n > 1 {
						batches.Add(1)
					}
					if n > 0 {
						continue
					}
					if s.Err() != nil {
						s.readRest()
						return
					}
					runtime.Gosched()
				}
			})
		}
		crowd(publishers, func(i int) {
			for n := range messages {
				assert.NoError(t, w.publish(context.Background(), i, n, chat))
			}
		})
		require.NoError(t, w.broker.Close())
		reading.Wait()
		done["taken in batches"] += int(batches.Load())
		for _, s := range readers {
			done["missed"] += int(s.missed)
		}
	})
}

// Promises 43 to 45.
func TestRaceOfEndChatAndPublishersLosesNothingThatWasAccepted(t *testing.T) {
	const publishers, messages, enough, enders = 4, 40, 20, 2
	reason := errors.New("done")
	race{
		publishers, messages,
		[]broadcast.Option{
			broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(4),
			broadcast.WithHistory(publishers*messages, 0), broadcast.WithChatIdle(time.Hour),
		},
		work{"accepted": 10 * enough, "refused": 10},
	}.run(t, func(w *witness, done work) {
		early := w.join("early")
		var readers, ending sync.WaitGroup
		readers.Go(early.readRest)
		var accepted, first atomic.Int64
		var late [enders]*watched
		crowd(publishers, func(i int) {
			for n := range messages {
				if err := w.publish(context.Background(), i, n, chat); err != nil {
					assert.ErrorIs(t, err, reason)
					assert.ErrorIs(t, err, broadcast.ErrEnded)
					return
				}
				if accepted.Add(1) != enough {
					continue
				}
				for i := range enders {
					ending.Go(func() {
						if err := w.broker.EndChat(context.Background(), chat, reason); err == nil {
							first.Add(1)
						} else {
							assert.ErrorIs(t, err, reason)
						}
						late[i] = w.join(fmt.Sprint("late ", i), broadcast.Replay(publishers*messages))
						late[i].readRest()
					})
				}
			}
		})
		ending.Wait()
		readers.Wait()
		require.EqualValues(t, 1, first.Load())
		for _, s := range append(late[:], early) {
			require.ErrorIs(t, s.Err(), reason)
			require.EqualValues(t, accepted.Load(), s.count)
		}
		require.Empty(t, w.broker.Devices(chat))
		done["refused"] += int(w.broker.Stats().Rejected)
		require.NoError(t, w.broker.Shutdown(context.Background()))
	})
}

// Promises 43 and 46: of a chat whose name is free at once, and is used again.
func TestRaceOfEndChatForgetAndSubscribeLeavesNothing(t *testing.T) {
	const publishers, messages, churners, turns = 2, 20, 3, 6
	reason := errors.New("done")
	race{
		publishers, messages,
		[]broadcast.Option{broadcast.WithBuffer(2), broadcast.WithChatIdle(0), broadcast.WithHistory(4, 0)},
		work{"ended": 10, "refused": 1},
	}.run(t, func(w *witness, done work) {
		w.forgets = true
		var publishing sync.WaitGroup
		for i := range publishers {
			publishing.Go(func() {
				for n := range messages {
					if err := w.publish(context.Background(), i, n, chat); err != nil {
						assert.ErrorIs(t, err, reason)
					}
					runtime.Gosched()
				}
			})
		}
		var ended atomic.Int64
		crowd(churners, func(i int) {
			for n := range turns {
				s, err := w.subscribe(chat, fmt.Sprint(i), broadcast.WithSampling(broadcast.Sampling((i+n)%3)), broadcast.Replay(n))
				if !assert.NoError(t, err) {
					return
				}
				switch (i + n) % 3 {
				case 0:
					_ = w.broker.EndChat(context.Background(), chat, reason)
					s.readRest()
					assert.ErrorIs(t, s.Err(), reason)
					ended.Add(1)
				case 1:
					assert.NoError(t, s.Close())
					_ = w.broker.Forget(context.Background(), chat)
				default:
					if d, ok := s.TryNext(); ok {
						s.took(d)
					}
				}
			}
		})
		_ = w.broker.EndChat(context.Background(), chat, reason) // publishers may wait
		publishing.Wait()
		done["ended"] += int(ended.Load())
		done["refused"] += int(w.broker.Stats().Rejected)
		require.NoError(t, w.broker.Close())
	})
}

// Promise 19.
func TestRaceOfTakeoversLeavesOneWinner(t *testing.T) {
	const takers, turns = 3, 4
	least := work{"accepted": 10 * takers * turns, "replaced": 10 * (takers*turns - 1)}
	race{takers, turns + 1, nil, least}.run(t, func(w *witness, done work) {
		winners := make([]*watched, takers)
		crowd(takers, func(i int) {
			for n := range turns {
				s, err := w.subscribe(chat, "phone")
				if !assert.NoError(t, err) {
					return
				}
				assert.NoError(t, w.publish(context.Background(), i, n, chat))
				if d, ok := s.TryNext(); ok {
					s.took(d)
				}
				if old := winners[i]; old != nil {
					<-old.Done()
					assert.ErrorIs(t, old.Err(), broadcast.ErrReplaced)
					assert.NoError(t, old.Close())
				}
				winners[i] = s
			}
		})
		open := slices.DeleteFunc(winners, func(s *watched) bool { return s.Err() != nil })
		require.Len(t, open, 1)
		require.Equal(t, []string{"phone"}, w.broker.Devices(chat))
		require.NoError(t, w.publish(context.Background(), 0, turns, chat))
		require.NoError(t, w.broker.Close())
		open[0].readRest()
		require.Equal(t, turns, open[0].last[0])
		done["replaced"] += int(w.broker.Stats().Replaced)
	})
}

// Promise 18.
func TestRaceOfCloseAndPublishLeavesWhatWasAcceptedReadable(t *testing.T) {
	const publishers, messages, enough = 4, 40, 20
	race{
		publishers, messages,
		[]broadcast.Option{broadcast.WithBuffer(4)},
		work{"accepted": 10 * enough, "refused": 10},
	}.run(t, func(w *witness, done work) {
		var readers, closers sync.WaitGroup
		for strategy := broadcast.DropOldest; strategy <= broadcast.Block; strategy++ {
			readers.Go(w.join(strategy.String(), broadcast.WithSampling(strategy)).readRest)
		}
		var accepted atomic.Int64
		crowd(publishers, func(i int) {
			for n := range messages {
				if err := w.publish(context.Background(), i, n, chat); err != nil {
					assert.ErrorIs(t, err, broadcast.ErrBrokerClosed)
					return
				}
				if accepted.Add(1) == enough {
					for range 2 {
						closers.Go(func() {
							assert.NoError(t, w.broker.Close())
							assert.ErrorIs(t, w.broker.TryPublish("other", parcel{}), broadcast.ErrBrokerClosed)
							w.calls.Add(1)
						})
					}
				}
			}
		})
		closers.Wait()
		readers.Wait()
		require.EqualValues(t, accepted.Load(), w.readers[broadcast.Block].count)
		done["refused"] += int(w.broker.Stats().Rejected) - 2
	})
}

// Promise 29.
func TestRaceOfShutdownAndEightPublishersLosesNothingThatWasAccepted(t *testing.T) {
	const publishers, messages, enough = 8, 40, 20
	race{
		publishers, messages,
		[]broadcast.Option{broadcast.WithSampling(broadcast.Block), broadcast.WithBuffer(4)},
		work{"accepted": 10 * enough, "refused": 10},
	}.run(t, func(w *witness, done work) {
		var readers, shutdown sync.WaitGroup
		for _, device := range []string{"a", "b", "c"} {
			readers.Go(w.join(device).readRest)
		}
		var accepted atomic.Int64
		crowd(publishers, func(i int) {
			for n := range messages {
				if err := w.publish(context.Background(), i, n, chat); err != nil {
					assert.ErrorIs(t, err, broadcast.ErrBrokerClosed)
					return
				}
				if accepted.Add(1) == enough {
					shutdown.Go(func() { assert.NoError(t, w.broker.Shutdown(context.Background())) })
				}
			}
		})
		shutdown.Wait()
		readers.Wait()
		for _, s := range w.readers {
			require.EqualValues(t, accepted.Load(), s.count)
		}
		done["refused"] += int(w.broker.Stats().Rejected)
	})
}

// Promise 23.
func TestRaceOfReadersThatCallTheBrokerDeadlocksNobody(t *testing.T) {
	const messages = 6
	const readers = int(broadcast.Block) + 1
	race{
		readers + 1, messages,
		[]broadcast.Option{broadcast.WithBuffer(1)},
		work{"accepted": 10 * messages, "calls while reading": 10 * messages},
	}.run(t, func(w *witness, done work) {
		var reading, cancels sync.WaitGroup
		var calls atomic.Int64
		for i := range readers {
			s := w.join(fmt.Sprint(i), broadcast.WithSampling(broadcast.Sampling(i)))
			reading.Go(func() {
				n := 0
				for d := range s.All(context.Background()) {
					s.took(d)
					if n == messages {
						continue
					}
					switch (n + i) % 4 {
					case 0:
						_ = w.publish(noContext, i, n, chat)
					case 1:
						_ = w.publish(soon(&cancels), i, n, chat)
					case 2:
						if other, err := w.subscribe(chat, "other"); err == nil {
							assert.NoError(t, other.Close())
						}
					case 3:
						broadcasttest.CheckBooks(t, s.Subscriber)
						w.broker.Stats()
						w.broker.Devices(chat)
					}
					n++
					calls.Add(1)
				}
			})
		}
		for n := range messages {
			require.NoError(t, w.publish(context.Background(), readers, n, chat))
		}
		require.NoError(t, w.broker.Shutdown(context.Background()))
		reading.Wait()
		cancels.Wait()
		done["calls while reading"] += int(calls.Load())
	})
}

// Promise 25: one place at a time for many, some of whom give up just then. Who frees it has taken
// the message, or has been replaced.
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

// A message wakes all readers that wait, be they few or a crowd, and also those that gave up
// waiting a moment ago and wait again.
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
						assert.ErrorIs(t, err, broadcast.ErrBrokerClosed)
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
