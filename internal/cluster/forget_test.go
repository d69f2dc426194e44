package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// forget forgets chat c.
func (s *system) forget(node int) error {
	return s.nodes[node].Forget(context.Background(), "c")
}

// acquaint waits until all nodes know of each other.
func (s *system) acquaint() { time.Sleep(3 * time.Second) }

func TestAForgottenChatIsForgottenByAllNodesAndTheEngine(t *testing.T) {
	for who, logs := range map[string]struct{ history, none bool }{
		"a node that follows the chat": {history: true}, "one that does not": {none: true},
	} {
		t.Run(who, func(t *testing.T) {
			run(t, 3, 0, patient, func(t *testing.T, s *system) {
				a, b := s.join(0, logs.history), s.join(1, false)
				s.publish(0, "1", "2")
				s.acquaint()
				forgetter := 0
				if logs.none {
					forgetter = 2
				}
				require.NoError(t, s.forget(forgetter))
				require.Empty(t, s.engine.Kept("c"))
				old, _, _ := a.at()
				time.Sleep(soon)
				for _, l := range []*core{a, b} {
					require.Equal(t, step{forgot: true, epoch: old, seq: 2}, l.last())
				}
				time.Sleep(time.Minute)
				require.Empty(t, s.engine.Kept("c"), "nobody begins a chat that nobody wants")
				s.publish(1, "new")
				time.Sleep(soon)
				epoch, seq, missed := a.at()
				require.Greater(t, epoch, old)
				require.EqualValues(t, 1, seq)
				require.Zero(t, missed)
				require.Equal(t, []string{"1", "2", "new"}, a.messages())
				require.Zero(t, s.nodes[0].Stats().Resets, "nothing was lost")
			})
		})
	}
}

func TestAChatThatDoesNotExistMayBeForgotten(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		s.acquaint()
		require.NoError(t, s.forget(0))
		require.Empty(t, s.engine.Kept("c"))
		s.publish(1, "1")
		require.NoError(t, s.forget(0))
		require.NoError(t, s.forget(1))
		require.Empty(t, s.engine.Kept("c"))
	})
}

// Heads may not have the newest records yet.
func TestForgetDoesNotBelieveThatThereIsNothing(t *testing.T) {
	for seed := range 20 {
		run(t, 2, 0, patient, func(t *testing.T, s *system) {
			s.acquaint()
			s.engine.SetFaults(memengine.Faults{Stale: 1})
			time.Sleep(time.Duration(seed) * time.Millisecond)
			s.publish(0, "1")
			require.NoError(t, s.forget(1))
			s.engine.SetFaults(memengine.Faults{})
			require.Empty(t, s.engine.Kept("c"))
		})
	}
}

func TestAChatWithReadersOnAnyNodeIsInUse(t *testing.T) {
	for reader := range 3 {
		t.Run(fmt.Sprint("on node ", reader), func(t *testing.T) {
			run(t, 3, 0, patient, func(t *testing.T, s *system) {
				l := s.join(reader, true)
				s.publish(0, "1")
				s.acquaint()
				l.readers.Store(true)
				kept := len(s.engine.Kept("c"))
				for node := range s.nodes {
					require.Equal(t, cluster.ErrInUse, s.forget(node))
				}
				require.Equal(t, kept, len(s.engine.Kept("c")))
				require.Equal(t, "1", l.last().message)
				require.NoError(t, s.nodes[0].Forget(context.Background(), "another chat"))
				l.readers.Store(false)
				require.NoError(t, s.forget(0))
			})
		})
	}
}

// The log of a feed that is yet to take over counts too.
func TestAFeedThatIsJoiningCounts(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.join(0, true)
		s.acquaint()
		s.engine.SetFaults(memengine.Faults{LostAnswer: 1, Silence: 1})
		_ = s.begin(0, "1") // nobody takes over while it is in flight
		l := s.joinChat(0, "c", true)
		l.readers.Store(true)
		require.Equal(t, cluster.ErrInUse, s.forget(0))
		s.engine.SetFaults(memengine.Faults{})
	})
}

// An answer, and a question, may be lost.
func TestForgetAsksUntilAllNodesHaveAnswered(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		l := s.join(2, true)
		l.readers.Store(true)
		s.publish(0, "1")
		s.acquaint()
		s.engine.SetFaults(memengine.Faults{Drop: 0.5})
		for range 20 {
			require.Equal(t, cluster.ErrInUse, s.forget(0))
		}
	})
}

func TestForgetWaitsForANodeThatCannotBeReached(t *testing.T) {
	run(t, 3, 0, cluster.Config{}, func(t *testing.T, s *system) {
		l := s.join(1, true)
		l.readers.Store(true)
		s.publish(0, "1")
		s.acquaint()
		s.clients[1].Cut()
		result := make(chan error, 1)
		go func() { result <- s.forget(0) }()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.Empty(t, result)
		s.clients[1].Restore()
		require.Equal(t, cluster.ErrInUse, <-result)
		s.clients[1].Cut()
		began := time.Now()
		require.NoError(t, s.forget(0), "once the node is considered dead")
		require.InDelta(t, 5.5, time.Since(began).Seconds(), 1)
	})
}

// A node that has just started does not know the others.
func TestANodeThatHasJustConnectedWaitsUntilItKnowsTheOthers(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		l := s.join(1, true)
		l.readers.Store(true)
		s.publish(1, "1")
		s.acquaint()
		s.engine.SetFaults(memengine.Faults{Drop: 1}) // so it hears nobody at first
		time.AfterFunc(500*time.Millisecond, func() { s.engine.SetFaults(memengine.Faults{}) })
		s.start(patient)
		require.Equal(t, cluster.ErrInUse, s.forget(2))
	})
}

func TestForgetGivesUp(t *testing.T) {
	t.Run("at its timeout", func(t *testing.T) {
		run(t, 2, 0, cluster.Config{Timeout: time.Second}, func(t *testing.T, s *system) {
			s.publish(0, "1")
			s.acquaint()
			s.clients[1].Cut()
			require.Equal(t, engine.ErrAway, s.forget(0))
			s.clients[0].Cut()
			require.Equal(t, engine.ErrAway, s.forget(0))
		})
	})
	t.Run("with its context", func(t *testing.T) {
		run(t, 2, 0, patient, func(t *testing.T, s *system) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			require.Equal(t, context.Canceled, s.nodes[0].Forget(ctx, "c"))
			s.acquaint()
			s.clients[1].Cut()
			ctx, cancel = context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			require.Equal(t, context.DeadlineExceeded, s.nodes[0].Forget(ctx, "c"))
		})
	})
	t.Run("at once if the node refuses", func(t *testing.T) {
		run(t, 1, 0, cluster.Config{Refuse: true}, func(t *testing.T, s *system) {
			s.acquaint()
			s.clients[0].Cut()
			time.Sleep(soon)
			began := time.Now()
			require.Equal(t, engine.ErrAway, s.forget(0))
			require.Zero(t, time.Since(began))
		})
	})
	t.Run("when the node ends", func(t *testing.T) {
		run(t, 2, 0, patient, func(t *testing.T, s *system) {
			s.acquaint()
			s.clients[1].Cut()
			result := make(chan error, 1)
			go func() { result <- s.forget(0) }()
			synctest.Wait()
			s.nodes[0].Settle(context.Background())
			time.Sleep(time.Second)
			require.Equal(t, cluster.ErrClosed, <-result)
			require.Equal(t, cluster.ErrClosed, s.forget(0))
		})
	})
}

// stubborn is a client that does not do everything.
type stubborn struct {
	*memengine.Client
	refuse, keep bool
	silent       *atomic.Bool // whether Append stores records without an answer
}

func (c stubborn) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	_, err := c.Client.Open(ctx, sink)
	return c, err
}

func (c stubborn) Append(
	chat string, after engine.Place, batch [][]byte, id string, done func(engine.Place, error),
) {
	switch {
	case c.refuse && isForget(engine.Record{ID: id}):
		done(engine.Place{}, engine.ErrRefused)
		return
	case c.silent.Load():
		done = func(engine.Place, error) {}
	}
	c.Client.Append(chat, after, batch, id, done)
}

func (c stubborn) Purge(ctx context.Context, chat string, mark uint64) error {
	if c.keep {
		return errors.New("not today")
	}
	return c.Client.Purge(ctx, chat, mark)
}

// What the engine does, Forget tells.
func TestForgetTellsWhatBecameOfTheChat(t *testing.T) {
	for name, c := range map[string]struct {
		client stubborn
		want   error
		after  time.Duration
	}{
		"the record is refused":         {stubborn{refuse: true}, engine.ErrRefused, 0},
		"the record is not answered":    {stubborn{}, cluster.ErrUncertain, 0},
		"the records cannot be removed": {stubborn{keep: true}, cluster.ErrUncertain, time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			config := cluster.Config{Timeout: time.Second}
			run(t, 1, 0, config, func(t *testing.T, s *system) {
				s.publish(0, "1")
				c.client.Client, c.client.silent = s.engine.Client(), new(atomic.Bool)
				s.nodes = append(s.nodes, cluster.Start(c.client, config))
				s.publish(1, "2")
				s.acquaint()
				c.client.silent.Store(!c.client.refuse && !c.client.keep)
				began := time.Now()
				require.ErrorIs(t, s.forget(1), c.want)
				require.GreaterOrEqual(t, time.Since(began), c.after)
				require.NotEmpty(t, s.engine.Kept("c"))
				require.Equal(t, c.want == engine.ErrRefused, s.ends() == 0)
				require.NoError(t, s.forget(0))
				require.Empty(t, s.engine.Kept("c"))
			})
		})
	}
}

// Each message is part of the chat that is forgotten or of the next.
func TestMessagesGoOnBesideForget(t *testing.T) {
	for name, faults := range map[string]memengine.Faults{
		"calm": {}, "faults": {
			Drop: 0.2, Repeat: 0.2, Reorder: 0.2, Stale: 0.2, Fail: 0.2, LostAnswer: 0.2, LostRequest: 0.2, Late: 0.2,
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 3, 0, cluster.Config{Timeout: time.Minute}, func(t *testing.T, s *system) {
				s.publish(0, "0")
				s.acquaint()
				s.engine.SetFaults(faults)
				want := []string{"0"}
				for i := range 20 {
					message := fmt.Sprint(i + 1)
					results := []<-chan error{s.begin(i%3, message), s.beginForget((i + 1) % 3), s.beginForget((i + 2) % 3)}
					for j, result := range results {
						switch err := <-result; {
						case err != nil: // its answer was lost, and then what would tell was removed
							require.ErrorIs(t, err, cluster.ErrUncertain)
							require.Equal(t, "faults", name)
						case j == 0:
							want = append(want, message)
						}
					}
				}
				s.engine.SetFaults(memengine.Faults{})
				time.Sleep(time.Second) // what is late arrives
				require.NoError(t, s.forget(0))
				require.Empty(t, s.engine.Kept("c"))
				require.Subset(t, s.order(), want)
			})
		})
	}
}

// beginForget begins to forget chat c, and returns how that ends.
func (s *system) beginForget(node int) <-chan error {
	result := make(chan error, 1)
	go func() { result <- s.forget(node) }()
	return result
}

// late is a client of which records and answers arrive late, but no notes.
type late struct {
	*memengine.Client
	by time.Duration
}

func (c late) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	_, err := c.Client.Open(ctx, lateSink{sink, c.by})
	return c, err
}

func (c late) Append(
	chat string, after engine.Place, batch [][]byte, id string, done func(engine.Place, error),
) {
	c.Client.Append(chat, after, batch, id, func(p engine.Place, err error) {
		if err == nil {
			time.Sleep(c.by)
		}
		done(p, err)
	})
}

type lateSink struct {
	engine.Sink
	by time.Duration
}

func (s lateSink) Stored(chat string, r engine.Record) {
	time.AfterFunc(s.by, func() { s.Sink.Stored(chat, r) })
}

// A call forgets what was accepted before, also if it learns only then of another call before.
func TestACallOfForgetBeforeDoesNotCount(t *testing.T) {
	for first := range 2 {
		t.Run(fmt.Sprint("on node ", first), func(t *testing.T) {
			run(t, 1, 0, patient, func(t *testing.T, s *system) {
				client := late{s.engine.Client(), 25 * time.Millisecond}
				s.nodes = append(s.nodes, cluster.Start(client, patient))
				s.publish(0, "1")
				s.join(1, true)
				s.acquaint()
				forgotten := make(chan error, 1)
				go func() { forgotten <- s.forget(first) }()
				for s.forgets() == 0 {
					time.Sleep(time.Millisecond)
				}
				s.publish(0, "2")
				require.NoError(t, s.forget(1))
				require.NoError(t, <-forgotten)
				require.Empty(t, s.engine.Kept("c"))
			})
		})
	}
}

// A log may join while the records are removed.
func TestForgetWaitsForTheEngineAlsoIfALogJoins(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		s.acquaint()
		forgotten := make(chan error, 1)
		go func() { forgotten <- s.forget(0) }()
		for s.forgets() == 0 {
			time.Sleep(10 * time.Microsecond)
		}
		l := s.joinChat(0, "c", true)
		require.NoError(t, <-forgotten)
		for _, r := range s.engine.Kept("c") {
			require.Empty(t, r.Batch, "that of the next chat has none")
		}
		<-l.born
		require.Empty(t, l.messages())
	})
}

// A node does not know who has come while it was away.
func TestANodeThatWasAwayWaitsUntilItKnowsTheOthers(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		s.acquaint()
		s.clients[0].Cut()
		s.start(patient)
		s.join(1, true).readers.Store(true)
		s.acquaint()
		s.engine.SetFaults(memengine.Faults{Drop: 1}) // so it hears nobody at first
		time.AfterFunc(500*time.Millisecond, func() { s.engine.SetFaults(memengine.Faults{}) })
		s.clients[0].Restore()
		time.Sleep(5 * time.Millisecond)
		require.Equal(t, cluster.ErrInUse, s.forget(0))
	})
}

// Questions of two nodes may have the same number.
func TestAnswersToAnotherNodeDoNotCount(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		s.join(2, true).readers.Store(true)
		s.acquaint()
		other := func(node int) error { return s.nodes[node].Forget(context.Background(), "another chat") }
		for range 20 {
			result := make(chan error, 1)
			go func() { result <- other(1) }()
			require.Equal(t, cluster.ErrInUse, s.forget(0))
			require.NoError(t, <-result)
			require.NoError(t, other(0)) // so that the numbers are the same again
			require.Equal(t, cluster.ErrInUse, s.forget(1))
		}
	})
}

// stubborn starts node 1 with a client that may do less than everything, and acquaints it.
func (s *system) stubborn(config cluster.Config, c stubborn) (silent *atomic.Bool) {
	c.Client, c.silent = s.engine.Client(), new(atomic.Bool)
	s.nodes = append(s.nodes, cluster.Start(c, config))
	s.publish(1, "1")
	s.acquaint()
	return c.silent
}

func TestForgetThatHasNotBegunIsNotUncertain(t *testing.T) {
	run(t, 1, 0, cluster.Config{}, func(t *testing.T, s *system) {
		s.stubborn(cluster.Config{}, stubborn{}).Store(true)
		first := make(chan error, 1)
		go func() { first <- s.forget(1) }()
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, s.nodes[1].Forget(ctx, "c"))
		require.NoError(t, <-first, "its record is read")
	})
}

// Its record may be the last one that the engine has stored before it lost its memory.
func TestForgetOfWhichNobodyWillKnowIsUncertain(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		silent := s.stubborn(patient, stubborn{})
		l := s.join(1, true)
		silent.Store(true)
		s.engine.SetFaults(memengine.Faults{LostRequest: 1})
		result := make(chan error, 1)
		go func() { result <- s.forget(1) }()
		time.Sleep(time.Second)
		s.engine.SetFaults(memengine.Faults{})
		l.setStuck(true)
		s.engine.Restart()
		time.Sleep(time.Second)
		s.publish(0, "2", "3")
		require.ErrorIs(t, <-result, cluster.ErrUncertain)
		l.setStuck(false)
	})
}

func TestForgetForWhichNobodyWaitsIsNotTriedAgain(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		s.acquaint()
		s.engine.SetFaults(memengine.Faults{LostRequest: 1})
		require.ErrorIs(t, s.forget(0), cluster.ErrUncertain)
		s.engine.SetFaults(memengine.Faults{})
		s.publish(0, "2")
		time.Sleep(time.Minute)
		require.Zero(t, s.forgets())
	})
}

func TestForgetGoesOnWhenTheEngineIsBack(t *testing.T) {
	run(t, 1, 0, cluster.Config{}, func(t *testing.T, s *system) {
		s.acquaint()
		s.engine.SetFaults(memengine.Faults{Fail: 1})
		result := make(chan error, 1)
		go func() { result <- s.forget(0) }()
		time.Sleep(time.Second)
		s.clients[0].Cut()
		time.Sleep(2*time.Minute - 20*time.Second) // of the checks of the chat, the next one is far away
		s.engine.SetFaults(memengine.Faults{})
		s.clients[0].Restore()
		time.Sleep(time.Second)
		require.Len(t, result, 1)
		require.NoError(t, <-result)
	})
}

// Also when the engine does not say what is in the chat.
func TestForgetEndsWithItsNode(t *testing.T) {
	for name, c := range map[string]struct {
		after time.Duration
		close bool
	}{
		"soon": {time.Second, true}, "late": {2 * time.Minute, true}, "before it is closed": {time.Second, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, 0, cluster.Config{}, func(t *testing.T, s *system) {
				s.acquaint()
				s.engine.SetFaults(memengine.Faults{Fail: 1})
				result := make(chan error, 1)
				go func() { result <- s.forget(0) }()
				time.Sleep(c.after)
				if c.close {
					s.nodes[0].Close(context.Background())
					s.nodes = nil
				} else {
					s.nodes[0].Settle(context.Background())
				}
				synctest.Wait()
				require.Len(t, result, 1)
				require.Equal(t, cluster.ErrClosed, <-result)
			})
		})
	}
}

// A node to which the record is not handed over asks for it before it is removed.
func TestALogThatHasMissedForgetIsToldOfIt(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.nodes = append(s.nodes, cluster.Start(forgetful{s.engine.Client()}, patient))
		l := s.join(1, true)
		s.publish(0, "1")
		s.acquaint()
		require.NoError(t, s.forget(0))
		time.Sleep(soon)
		require.True(t, l.last().forgot)
	})
}

// forgetful is a client that does not hand over records of Forget.
type forgetful struct{ *memengine.Client }

func (c forgetful) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	return c.Client.Open(ctx, forgetfulSink{sink})
}

type forgetfulSink struct{ engine.Sink }

func (s forgetfulSink) Stored(chat string, r engine.Record) {
	if !isForget(r) {
		s.Sink.Stored(chat, r)
	}
}

// The records are there until then.
func TestForgetWaitsUntilAllLogsWereTold(t *testing.T) {
	for node := range 2 {
		t.Run(fmt.Sprint("node ", node), func(t *testing.T) {
			run(t, 2, 0, patient, func(t *testing.T, s *system) {
				l := newCore("", "c", rand.New(rand.NewPCG(1, 1)), 0)
				s.nodes[node].Join("c", tardy{l}, true)
				<-l.born
				s.publish(0, "1")
				s.acquaint()
				require.NoError(t, s.forget(0))
				require.True(t, l.last().forgot)
			})
		})
	}
}

// tardy is a log that takes its time to forget.
type tardy struct{ *core }

func (l tardy) Forgotten() {
	time.Sleep(500 * time.Millisecond)
	l.core.Forgotten()
}

func TestForgetDoesNotWaitForALogWithoutRoom(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		l := s.join(1, true)
		l.setStuck(true)
		s.publish(0, "1")
		s.acquaint()
		began := time.Now()
		require.NoError(t, s.forget(0))
		require.InDelta(t, 1, time.Since(began).Seconds(), 0.1)
		require.Empty(t, s.engine.Kept("c"))
		l.setStuck(false)
		time.Sleep(soon)
		require.True(t, l.last().forgot)
		require.Equal(t, []string{"1"}, l.messages())
	})
}

// lame is a client of which some calls of Purge fail, without any effect.
type lame struct {
	*memengine.Client
	fails *atomic.Int32 // how many will
}

func (c lame) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	_, err := c.Client.Open(ctx, sink)
	return c, err
}

func (c lame) Purge(ctx context.Context, chat string, mark uint64) error {
	if c.fails.Add(-1) >= 0 {
		return errors.New("not now")
	}
	return c.Client.Purge(ctx, chat, mark)
}

func TestForgetTriesAgainToRemoveTheChat(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		client := lame{s.engine.Client(), new(atomic.Int32)}
		s.nodes = append(s.nodes, cluster.Start(client, patient))
		s.publish(0, "1")
		s.acquaint()
		client.fails.Store(5)
		require.NoError(t, s.forget(1))
		require.Empty(t, s.engine.Kept("c"))
	})
}

func TestMessagesAreRefusedWhileAChatThatHasEndedIsForgotten(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		s.acquaint()
		require.NoError(t, s.end(0, errDone))
		s.engine.SetFaults(memengine.Faults{LostRequest: 1, Silence: 1})
		results := []<-chan error{s.beginForget(0)}
		time.Sleep(soon) // it is in flight
		results = append(results, s.beginForget(0))
		time.Sleep(soon) // it waits
		began := time.Now()
		s.requireEnded(s.try(0, "2"), errDone)
		require.Less(t, time.Since(began), soon)
		s.engine.SetFaults(memengine.Faults{})
		for _, result := range results {
			require.NoError(t, <-result)
		}
		require.Empty(t, s.engine.Kept("c"))
	})
}

// The name of a chat that has ended is not free for some time, unless the chat is forgotten.
func TestAChatThatHasEndedMayBeForgotten(t *testing.T) {
	for node := range 3 {
		run(t, 3, 0, patient, func(t *testing.T, s *system) {
			l := s.join(0, true)
			s.publish(0, "1")
			s.acquaint()
			require.NoError(t, s.end(1, errDone))
			s.requireEnded(s.try(2, "x"), errDone)
			require.NoError(t, s.forget(node))
			require.Empty(t, s.engine.Kept("c"))
			time.Sleep(soon)
			require.True(t, l.last().forgot)
			s.publish(2, "2")
			s.publish(0, "3")
			time.Sleep(soon)
			require.Equal(t, []string{"1", "2", "3"}, s.order())
			epoch, seq, _ := l.at()
			require.EqualValues(t, 2, seq)
			require.NotZero(t, epoch)
		})
	}
}

func TestAChatWhoseNameIsFreeMayBeForgotten(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		require.NoError(t, s.end(0, errDone))
		time.Sleep(idle)
		require.NotEmpty(t, s.engine.Kept("c"))
		require.NoError(t, s.forget(1))
		require.Empty(t, s.engine.Kept("c"))
	})
}

// order returns the messages of chat c, and of those of its name before.
func (s *system) order() (messages []string) {
	for _, r := range s.engine.Order("c") {
		for _, m := range r.Batch {
			messages = append(messages, string(m))
		}
	}
	return messages
}

// A log that joins where the chat was forgotten is told nothing of it, though Heads and Read may
// still have it.
func TestWhatWasForgottenIsNotShownToTheNextLog(t *testing.T) {
	for messages := range 10 { // which answers are out of date depends on it
		run(t, 2, 0, patient, func(t *testing.T, s *system) {
			l := s.join(0, true)
			for i := range 1 + messages {
				s.publish(0, fmt.Sprint(i))
			}
			s.acquaint()
			s.engine.SetFaults(memengine.Faults{Stale: 1})
			result := s.beginForget(0)
			for !l.last().forgot {
				time.Sleep(100 * time.Microsecond)
			}
			next := s.join(0, true)
			require.NoError(t, <-result)
			s.engine.SetFaults(memengine.Faults{})
			time.Sleep(soon)
			require.Empty(t, next.messages())
		})
	}
}

// It need not be asked for again and again.
func TestALogThatJoinsWhereAChatWasForgottenIsReadyAtOnce(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.join(0, true)
		s.publish(0, "1")
		s.acquaint()
		require.NoError(t, s.forget(0))
		time.Sleep(soon)
		began := time.Now()
		require.Empty(t, s.join(0, true).messages())
		require.Less(t, time.Since(began), minBackoff)
	})
}

// minBackoff is the shortest wait of a node after an answer that it does not believe.
const minBackoff = 10 * time.Millisecond

// A node says that it lives as soon as it is connected, and not only with its next heartbeat.
func TestReadersOfANodeThatHasJustConnectedCount(t *testing.T) {
	for name, connect := range map[string]func(s *system){
		"for the first time": func(s *system) { s.start(patient) },
		"again": func(s *system) {
			s.start(patient)
			s.join(1, true)
			s.clients[1].Cut()
			time.Sleep(6 * time.Second) // it is considered dead
			s.clients[1].Restore()
			synctest.Wait()
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 1, 0, patient, func(t *testing.T, s *system) {
				s.publish(0, "1")
				s.acquaint()
				connect(s)
				s.join(1, true).readers.Store(true)
				require.Equal(t, cluster.ErrInUse, s.forget(0))
			})
		})
	}
}

// The name of a chat that has ended may become free while the record of Forget is in flight.
func TestForgetGoesOnWhenTheNameBecomesFreeMeanwhile(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.join(0, true)
		s.publish(0, "1")
		s.acquaint()
		require.NoError(t, s.end(0, errDone))
		time.Sleep(idle - time.Second)
		s.engine.SetFaults(memengine.Faults{LostRequest: 1})
		result := s.beginForget(0)
		time.Sleep(2 * time.Second)
		s.engine.SetFaults(memengine.Faults{})
		require.NoError(t, <-result)
		require.Empty(t, s.join(0, true).messages(), "and it is ready")
	})
}

// What a context says of its end is no error of Forget.
func TestForgetReturnsTheErrorOfItsContext(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		s.acquaint()
		s.clients[1].Cut()
		ctx, cancel := context.WithCancelCause(context.Background())
		time.AfterFunc(time.Second, func() { cancel(cluster.ErrInUse) })
		require.Equal(t, context.Canceled, s.nodes[0].Forget(ctx, "c"))
	})
}

// Readers that come to the calling node meanwhile count, as those on others do.
func TestAReaderThatComesToTheCallingNodeMeanwhileCounts(t *testing.T) {
	run(t, 2, 0, cluster.Config{}, func(t *testing.T, s *system) {
		s.publish(0, "1")
		s.acquaint()
		s.clients[1].Cut()
		result := s.beginForget(0)
		time.Sleep(time.Second)
		s.join(0, true).readers.Store(true)
		require.Equal(t, cluster.ErrInUse, <-result)
	})
}

func TestCallsOfForgetInARowHaveOneRecord(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		s.acquaint()
		var results []<-chan error
		for range 200 {
			results = append(results, s.beginForget(0))
		}
		published := s.begin(0, "2")
		for _, result := range append(results, published) {
			require.NoError(t, <-result)
		}
		require.LessOrEqual(t, s.ends(), 5)
	})
}

// An engine that can be reached, but stores nothing, is away too.
func TestWhoeverWaitsForAnEngineThatStoresNothingIsToldThatItIsAway(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		s.engine.SetFaults(memengine.Faults{Away: 1})
		require.Equal(t, engine.ErrAway, s.try(0, "2"))
		s.engine.SetFaults(memengine.Faults{})
		s.publish(0, "3")
	})
}

// Also if the call before failed.
func TestWhoeverWaitsForAReaderIsNotToldThatTheEngineIsAway(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		l := s.join(0, true)
		l.setStuck(true)
		s.publish(0, "1")
		s.engine.SetFaults(memengine.Faults{Fail: 1})
		s.clients[0].Cut()
		s.clients[0].Restore() // whereupon Heads fails
		require.Equal(t, cluster.ErrTimeout, s.try(0, "2"))
		s.engine.SetFaults(memengine.Faults{})
		l.setStuck(false)
		s.publish(0, "3")
	})
}

// Answers wake the call, which need not wait until it asks again, and then nothing is left of it.
func TestForgetTakesNoLongerThanTheAnswers(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		s.publish(1, "1")
		s.acquaint()
		for range 20 {
			began := time.Now()
			require.NoError(t, s.forget(0))
			require.Less(t, time.Since(began), 2*minBackoff)
		}
		require.Zero(t, s.nodes[0].Polls())
	})
}

// The name is free then, but the records are still there.
func TestForgetIsUncertainIfItsNodeEndsBeforeTheRemoval(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		client := stubborn{Client: s.engine.Client(), keep: true, silent: new(atomic.Bool)}
		n := cluster.Start(client, patient)
		s.acquaint()
		result := make(chan error, 1)
		go func() { result <- n.Forget(context.Background(), "c") }()
		time.Sleep(time.Second)
		require.Equal(t, 1, s.forgets())
		n.Close(context.Background())
		synctest.Wait()
		require.Len(t, result, 1, "it has returned")
		err := <-result
		require.ErrorIs(t, err, cluster.ErrUncertain)
		require.ErrorIs(t, err, cluster.ErrClosed)
	})
}
