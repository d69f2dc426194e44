package cluster_test

import (
	"context"
	"errors"
	"fmt"
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

// kept returns how many records the engine has of chat c.
func (s *system) kept() int {
	s.Helper()
	session, err := s.engine.Client().Open(context.Background(), deaf{})
	require.NoError(s.T, err)
	records, err := session.Read(context.Background(), "c", engine.Place{}, 1000)
	require.NoError(s.T, err)
	require.NoError(s.T, session.Close(context.Background()))
	return len(records)
}

// deaf is a sink that hears nothing.
type deaf struct{}

func (deaf) Stored(string, engine.Record) {}
func (deaf) Sent(string, []byte)          {}
func (deaf) Up(bool)                      {}

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
				require.Zero(t, s.kept())
				old, _, _ := a.at()
				time.Sleep(soon)
				for _, l := range []*core{a, b} {
					require.Equal(t, step{forgot: true, epoch: old, seq: 2}, l.last())
				}
				time.Sleep(time.Minute)
				require.Zero(t, s.kept(), "nobody begins a chat that nobody wants")
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
		require.Zero(t, s.kept())
		s.publish(1, "1")
		require.NoError(t, s.forget(0))
		require.NoError(t, s.forget(1))
		require.Zero(t, s.kept())
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
			require.Zero(t, s.kept())
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
				kept := s.kept()
				for node := range s.nodes {
					require.Equal(t, cluster.ErrInUse, s.forget(node))
				}
				require.Equal(t, kept, s.kept())
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
			synctest.Wait()
			require.Equal(t, engine.ErrAway, s.forget(0))
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
				require.NotZero(t, s.kept())
				require.Equal(t, c.want == engine.ErrRefused, s.ends() == 0)
				require.NoError(t, s.forget(0))
				require.Zero(t, s.kept())
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
				require.Zero(t, s.kept())
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
			require.Zero(t, s.kept())
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
		require.NotZero(t, s.kept())
		require.NoError(t, s.forget(1))
		require.Zero(t, s.kept())
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
