package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

var patient = cluster.Config{Timeout: 5 * time.Second}

// soon is how long everything takes to settle that needs no check.
const soon = 100 * time.Millisecond

func TestAllNodesAreFedTheSameOrder(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		var logs []*core
		for i := range s.nodes {
			logs = append(logs, s.join(i, false))
		}
		var publishing sync.WaitGroup
		for i := range s.nodes {
			publishing.Go(func() {
				for j := range 100 {
					s.publish(i, fmt.Sprintf("%d.%d", i, j))
				}
			})
		}
		publishing.Wait()
		time.Sleep(soon)
		require.Len(t, logs[0].messages(), 300)
		require.Equal(t, logs[0].told(), logs[1].told())
		require.Equal(t, logs[0].told(), logs[2].told())
		require.Positive(t, s.nodes[0].Stats().Conflicts)
		require.Zero(t, s.nodes[0].Stats().Lost)
	})
}

func TestMessagesThatWaitFlyInOneBatch(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.join(0, false)
		before := s.engine.Calls().Append
		var publishing sync.WaitGroup
		for i := range 200 {
			publishing.Go(func() { s.publish(0, fmt.Sprint(i)) })
		}
		publishing.Wait()
		require.LessOrEqual(t, s.engine.Calls().Append-before, 2)
	})
}

func TestAnAppendOfWhichNothingIsHeardIsStoredOnce(t *testing.T) {
	for name, faults := range map[string]memengine.Faults{
		"the request is lost": {LostRequest: 1},
		"the answer is lost":  {LostAnswer: 1},
		"it comes late":       {Late: 1},
		"no error either":     {LostAnswer: 1, Silence: 1},
	} {
		for _, follows := range []bool{true, false} {
			t.Run(fmt.Sprint(name, " follows=", follows), func(t *testing.T) {
				run(t, 2, 0, patient, func(t *testing.T, s *system) {
					l := s.join(0, false)
					s.publish(1, "first")
					s.engine.SetFaults(faults)
					node := 0
					if !follows {
						node = 1
					}
					begin := time.Now()
					result := s.begin(node, "second")
					time.Sleep(5 * time.Millisecond)
					s.engine.SetFaults(memengine.Faults{})
					require.NoError(t, <-result)
					require.Less(t, time.Since(begin), 3*time.Second)
					time.Sleep(time.Second)
					s.publish(1, "third")
					time.Sleep(soon)
					require.Equal(t, []string{"first", "second", "third"}, l.messages())
					require.Zero(t, s.nodes[node].Stats().Uncertain)
				})
			})
		}
	}
}

// clogged is a driver whose Append blocks until it is told to go on.
type clogged struct {
	*memengine.Client
	goOn chan struct{} // closed
}

func (d clogged) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	_, err := d.Client.Open(ctx, sink)
	return d, err
}

func (d clogged) Append(
	chat string, after engine.Place, batch [][]byte, id string, done func(engine.Place, error),
) {
	<-d.goOn
	d.Client.Append(chat, after, batch, id, done)
}

func TestWhileAConnectionTakesNoDataNothingElseWaitsForIt(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		driver := clogged{s.engine.Client(), make(chan struct{})}
		s.nodes = append(s.nodes, cluster.Start(driver, patient))
		defer close(driver.goOn)
		a := s.join(1, true)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		begin := time.Now()
		err := s.nodes[1].Publish(ctx, "c", []byte("2"))
		require.ErrorIs(t, err, cluster.ErrUncertain)
		require.Equal(t, soon, time.Since(begin))
		s.publish(0, "3")
		time.Sleep(soon)
		require.Equal(t, []string{"1", "3"}, a.messages())
	})
}

func TestAnEpochThatNobodyAnswersIsBegunAgain(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.engine.SetFaults(memengine.Faults{LostRequest: 1, Silence: 1})
		l := s.joinChat(0, "c", false)
		time.Sleep(time.Second)
		s.engine.SetFaults(memengine.Faults{})
		time.Sleep(time.Second + soon)
		require.Len(t, l.told(), 1)
	})
}

func TestAPublishThatEndsWhileItsMessageIsOnItsWayIsUncertain(t *testing.T) {
	run(t, 1, 0, cluster.Config{Timeout: time.Second}, func(t *testing.T, s *system) {
		l := s.join(0, false)
		s.engine.SetFaults(memengine.Faults{LostAnswer: 1, Silence: 1, Drop: 1})
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(soon, cancel)
		err := s.nodes[0].Publish(ctx, "c", []byte("message"))
		require.ErrorIs(t, err, cluster.ErrUncertain)
		require.ErrorIs(t, err, context.Canceled)
		require.EqualValues(t, 1, s.nodes[0].Stats().Uncertain)
		time.Sleep(10 * time.Second)
		require.Equal(t, []string{"message"}, l.messages(), "it was stored")

		err = s.try(0, "another")
		require.ErrorIs(t, err, cluster.ErrUncertain)
		require.ErrorIs(t, err, cluster.ErrTimeout)
	})
}

func TestAPublishThatEndsBeforeItsMessageIsOnItsWayIsNeverStored(t *testing.T) {
	run(t, 1, 0, cluster.Config{Timeout: time.Second}, func(t *testing.T, s *system) {
		l := s.join(0, false)
		s.clients[0].Cut()
		time.Sleep(soon)
		ctx, cancel := context.WithTimeout(t.Context(), soon)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, s.nodes[0].Publish(ctx, "c", []byte("a")))
		require.Equal(t, engine.ErrAway, s.try(0, "b"))
		s.clients[0].Restore()
		s.publish(0, "c")
		time.Sleep(time.Minute)
		require.Equal(t, []string{"c"}, l.messages())
		require.Zero(t, s.nodes[0].Stats().Uncertain)
	})
}

func TestAMessageIsUncertainIfTheEngineHasLostWhatWouldTell(t *testing.T) {
	for _, silence := range []float64{0, 1} {
		run(t, 2, 2, patient, func(t *testing.T, s *system) {
			s.join(0, false)
			s.engine.SetFaults(memengine.Faults{LostAnswer: 1, Silence: silence, Drop: 1})
			result := s.begin(0, "message")
			time.Sleep(3 * time.Millisecond)
			s.clients[0].Cut()
			s.engine.SetFaults(memengine.Faults{})
			s.publish(1, "a", "b", "c")
			s.clients[0].Restore()
			require.ErrorIs(t, <-result, cluster.ErrUncertain)
			s.publish(0, "d")
		})
	}
}

func TestAMessageForWhichNobodyWaitsIsNotTriedAgain(t *testing.T) {
	run(t, 1, 0, cluster.Config{Timeout: time.Second}, func(t *testing.T, s *system) {
		l := s.join(0, false)
		s.engine.SetFaults(memengine.Faults{LostRequest: 1, Silence: 1})
		require.ErrorIs(t, s.try(0, "1"), cluster.ErrUncertain)
		s.engine.SetFaults(memengine.Faults{})
		time.Sleep(5 * time.Second)
		s.publish(0, "2")
		time.Sleep(soon)
		require.Equal(t, []string{"2"}, l.messages())
	})
}

func TestABatchIsNotLargerThanAnEngineStores(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.join(0, false)
		var publishing sync.WaitGroup
		for range 10 {
			publishing.Go(func() { s.publish(0, strings.Repeat("x", 100<<10)) })
		}
		publishing.Go(func() { s.publish(0, strings.Repeat("x", 1<<20)) })
		publishing.Wait()
		n := 0
		for _, r := range s.engine.Order("c") {
			require.LessOrEqual(t, len(r.Batch), 2)
			n += len(r.Batch)
		}
		require.Equal(t, 11, n)
	})
}

func TestABatchThatTheEngineRefusesIsPublishedInPieces(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		l := s.join(0, false)
		s.engine.SetFaults(memengine.Faults{Refuse: 1})
		var publishing sync.WaitGroup
		for i := range 10 {
			publishing.Go(func() { s.publish(0, fmt.Sprint(i)) })
		}
		publishing.Wait()
		time.Sleep(soon)
		require.Len(t, l.messages(), 10)
	})
}

func TestWhatTheEngineHasTrimmedIsAHoleOfExactlyThatSize(t *testing.T) {
	run(t, 2, 3, patient, func(t *testing.T, s *system) {
		l := s.join(0, false)
		s.publish(1, "1", "2")
		time.Sleep(soon)
		s.clients[0].Cut()
		s.publish(1, "3", "4", "5", "6", "7")
		s.clients[0].Restore()
		time.Sleep(soon)
		require.Equal(t, []string{"1", "2", "5", "6", "7"}, l.messages())
		_, seq, missed := l.at()
		require.EqualValues(t, 2, missed)
		require.EqualValues(t, 7, seq)
		require.EqualValues(t, 2, s.nodes[0].Stats().Lost)
	})
}

func TestAnEngineThatLostItsMemoryIsAReset(t *testing.T) {
	for name, test := range map[string]struct {
		lose func(e *memengine.Engine)
		wait time.Duration // until it must have been noticed if nobody publishes
	}{
		"restart": {(*memengine.Engine).Restart, soon},
		"purge":   {func(e *memengine.Engine) { e.Purge("c") }, 31 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			for _, publisher := range []int{0, 1, 2} {
				run(t, 3, 0, patient, func(t *testing.T, s *system) {
					a, b := s.join(0, false), s.join(1, false)
					s.publish(publisher, "1", "2")
					time.Sleep(soon)
					test.lose(s.engine)
					s.publish(publisher, "3")
					time.Sleep(soon)
					require.Equal(t, []string{"1", "2", "3"}, a.messages())
					require.Equal(t, a.told(), b.told())
					epoch, seq, _ := a.at()
					require.EqualValues(t, 1, seq)
					require.EqualValues(t, 1, s.nodes[0].Stats().Resets)

					test.lose(s.engine)
					time.Sleep(test.wait)
					last, seq, _ := a.at()
					require.NotEqual(t, epoch, last, "also if nobody publishes")
					require.Zero(t, seq)
					require.Equal(t, a.told(), b.told())
				})
			}
		})
	}
}

func TestANodeIsFedWhatTheEngineKeepsAlsoAfterTheDeathOfThePublisher(t *testing.T) {
	run(t, 2, 5, patient, func(t *testing.T, s *system) {
		s.publish(0, "1", "2", "3", "4", "5", "6", "7")
		s.nodes[0].Close(t.Context())
		l := s.join(1, true)
		require.Equal(t, []string{"3", "4", "5", "6", "7"}, l.messages())
		epoch, _, _ := l.at()
		require.Equal(t, step{reset: true, epoch: epoch, seq: 2}, l.told()[0])
		none := s.join(1, false)
		require.Equal(t, []step{{reset: true, epoch: epoch, seq: 7}}, none.told())
		s.nodes = s.nodes[1:]
	})
}

// lazy is a driver that holds back the results of Heads, or of Read, until it is told to go on.
type lazy struct {
	*memengine.Client
	goOn chan struct{} // closed
	read bool
}

func (l lazy) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	_, err := l.Client.Open(ctx, sink)
	return l, err
}

func (l lazy) Heads(ctx context.Context, chats ...string) ([]engine.Record, error) {
	heads, err := l.Client.Heads(ctx, chats...)
	if !l.read {
		<-l.goOn
	}
	return heads, err
}

func (l lazy) Read(
	ctx context.Context, chat string, after engine.Place, most int,
) ([]engine.Record, error) {
	records, err := l.Client.Read(ctx, chat, after, most)
	if l.read {
		<-l.goOn
	}
	return records, err
}

func TestALogBeginsAfterWhatWasPublishedBeforeItJoined(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		driver := lazy{Client: s.engine.Client(), goOn: make(chan struct{})}
		s.nodes = append(s.nodes, cluster.Start(driver, patient))
		third := s.begin(1, "3")
		time.Sleep(soon)
		s.publish(0, "2")
		l := s.joinChat(1, "c", false)
		time.Sleep(soon)
		close(driver.goOn)
		require.NoError(t, <-third)
		time.Sleep(time.Second)
		require.Equal(t, []string{"3"}, l.messages())
	})
}

func TestAnEmptyChatHasTheSameEpochOnAllNodes(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		var logs []*core
		for i := range s.nodes {
			logs = append(logs, s.joinChat(i, "c", i == 1))
		}
		for _, l := range logs {
			<-l.born
			require.Equal(t, logs[0].told(), l.told())
		}
		s.publish(0, "1")
		time.Sleep(soon)
		require.Len(t, logs[2].told(), 2)
		require.Equal(t, logs[0].told(), logs[2].told())
	})
}

func TestALostTailIsFound(t *testing.T) {
	t.Run("after a reconnection", func(t *testing.T) {
		run(t, 2, 0, patient, func(t *testing.T, s *system) {
			l := s.join(0, false)
			s.clients[0].Cut()
			s.publish(1, "1", "2")
			s.clients[0].Restore()
			time.Sleep(soon)
			require.Equal(t, []string{"1", "2"}, l.messages())
		})
	})
	t.Run("soon after the chat was followed", func(t *testing.T) {
		run(t, 2, 0, patient, func(t *testing.T, s *system) {
			l := s.join(0, false)
			s.engine.SetFaults(memengine.Faults{Drop: 1})
			s.publish(1, "1", "2")
			time.Sleep(300 * time.Millisecond)
			require.Equal(t, []string{"1", "2"}, l.messages())
		})
	})
	t.Run("at any time", func(t *testing.T) {
		run(t, 2, 0, patient, func(t *testing.T, s *system) {
			l := s.join(0, false)
			time.Sleep(time.Minute)
			s.engine.SetFaults(memengine.Faults{Drop: 1})
			s.publish(1, "1", "2")
			time.Sleep(31 * time.Second)
			require.Equal(t, []string{"1", "2"}, l.messages())
		})
	})
}

func TestAGapIsReadAtOnce(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		l := s.join(0, false)
		time.Sleep(time.Second)
		s.engine.SetFaults(memengine.Faults{Drop: 1})
		s.publish(1, "1", "2")
		s.engine.SetFaults(memengine.Faults{})
		s.publish(1, "3")
		time.Sleep(10 * time.Millisecond)
		require.Equal(t, []string{"1", "2", "3"}, l.messages())
		require.EqualValues(t, 1, s.nodes[0].Stats().Gaps)
		require.EqualValues(t, 3, s.nodes[0].Stats().Fetched)
	})
}

func TestWhatIsHandedOverWhileANewEpochIsReadIsFedAtOnce(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		driver := lazy{s.engine.Client(), make(chan struct{}), true}
		s.nodes = append(s.nodes, cluster.Start(driver, patient))
		_, l := s.join(0, false), s.join(1, false)
		s.engine.Purge("c")
		time.Sleep(31 * time.Second) // a check has found that, and the epoch is being read
		s.publish(0, "1")
		time.Sleep(soon)
		close(driver.goOn)
		time.Sleep(soon)
		require.Equal(t, []string{"1"}, l.messages())
	})
}

func TestWhileTheEngineIsAwayPublishersWait(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		l := s.join(0, false)
		s.clients[0].Cut()
		s.clients[1].Cut()
		time.Sleep(soon)
		require.False(t, s.nodes[0].Stats().Up)
		a, b := s.begin(0, "1"), s.begin(1, "2")
		time.Sleep(4 * time.Second)
		s.clients[0].Restore()
		s.clients[1].Restore()
		require.NoError(t, <-a)
		require.NoError(t, <-b)
		time.Sleep(soon)
		require.ElementsMatch(t, []string{"1", "2"}, l.messages())
		require.True(t, s.nodes[0].Stats().Up)
	})
}

func TestWhileTheEngineIsAwayPublishersAreRefusedIfThatIsChosen(t *testing.T) {
	run(t, 1, 0, cluster.Config{Timeout: 5 * time.Second, Refuse: true}, func(t *testing.T, s *system) {
		l := s.join(0, false)
		l.setStuck(true)
		s.publish(0, "1")
		waiting := s.begin(0, "2") // for the feed
		s.clients[0].Cut()
		begin := time.Now()
		require.Equal(t, engine.ErrAway, <-waiting)
		require.Equal(t, engine.ErrAway, s.try(0, "3"))
		require.Less(t, time.Since(begin), 5*time.Millisecond)
		s.clients[0].Restore()
		l.setStuck(false)
		time.Sleep(soon)
		s.publish(0, "4")
		time.Sleep(soon)
		require.Equal(t, []string{"1", "4"}, l.messages())
	})
}

func TestALogWithoutRoomHoldsBackThePublishersOfItsNodeAndNobodyElse(t *testing.T) {
	run(t, 2, 0, cluster.Config{Timeout: time.Second}, func(t *testing.T, s *system) {
		stuck, other := s.join(0, false), s.join(1, false)
		stuck.setStuck(true)
		s.publish(0, "1") // the place of a message that it has no room for is certain
		require.Equal(t, cluster.ErrTimeout, s.try(0, "2"))
		s.publish(1, "3", "4")
		require.NoError(t, s.nodes[0].Publish(t.Context(), "another", nil))
		time.Sleep(soon)
		require.Equal(t, []string{"1", "3", "4"}, other.messages())
		require.Empty(t, stuck.messages())
		stuck.setStuck(false)
		time.Sleep(soon)
		require.Equal(t, other.told(), stuck.told())
	})
}

// eager is a log that takes one message at a time, and says at once that it has room again.
type eager struct{ *core }

func (l eager) Feed(batch [][]byte, made time.Time) int {
	n := l.core.Feed(batch[:1], made)
	if len(batch) > 1 {
		l.room()
	}
	return n
}

// A log should not block. But it may run code of users.
func TestALogThatBlocksDelaysNoOther(t *testing.T) {
	const blocked = 20 // more than there are processors, and than goroutines that feed
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		var blockers []*core
		for i := range blocked {
			blockers = append(blockers, s.joinChat(0, fmt.Sprint("blocked", i), false))
		}
		l := s.join(0, false)
		time.Sleep(soon)
		goOn := make(chan struct{})
		for _, b := range blockers {
			b.blocks(goOn)
			require.NoError(t, s.nodes[0].Publish(t.Context(), b.chat, []byte("x")))
		}
		time.Sleep(blocked * 20 * time.Millisecond)
		for range 3 {
			s.publish(0, "1")
			time.Sleep(25 * time.Millisecond)
		}
		fed := len(l.messages())
		close(goOn)
		require.Equal(t, 3, fed)
		time.Sleep(soon)
		for _, b := range blockers {
			require.Len(t, b.messages(), 1)
		}
		require.LessOrEqual(t, feeding(), runtime.GOMAXPROCS(0))
	})
}

// feeding returns how many goroutines feed logs, or wait until they may.
func feeding() int {
	stacks := make([]byte, 1<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	return bytes.Count(stacks, []byte("(*feeders).run("))
}

func TestRoomThatComesBeforeFeedHasReturnedIsNotForgotten(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		l := newCore("0", "c", rand.New(rand.NewPCG(1, 1)), 0)
		f := s.nodes[0].Join("c", eager{l}, false)
		l.mu.Lock()
		l.feed = f
		l.mu.Unlock()
		<-l.born
		var publishing sync.WaitGroup
		for i := range 200 {
			publishing.Go(func() { s.publish(0, fmt.Sprint(i)) })
		}
		publishing.Wait()
		time.Sleep(soon)
		require.Len(t, l.messages(), 200)
	})
}

func TestWhatTheQueueOfAFeedCannotHoldIsReadAgain(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		stuck, other := s.join(0, false), s.join(1, false)
		stuck.setStuck(true)
		for i := range 1000 {
			s.publish(1, fmt.Sprint(i))
		}
		fetched := s.nodes[0].Stats().Fetched
		stuck.setStuck(false)
		time.Sleep(time.Second)
		require.Equal(t, other.told(), stuck.told())
		require.Greater(t, s.nodes[0].Stats().Fetched, fetched+500)
	})
}

func TestAHerdOfChatsJoinsInBatches(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		const herd = 10_000
		for i := range s.nodes {
			begin, before := time.Now(), s.engine.Calls()
			var logs []*core
			for j := range herd {
				logs = append(logs, s.joinChat(i, fmt.Sprint("c", j), true))
			}
			for _, l := range logs {
				<-l.born
			}
			calls := s.engine.Calls()
			require.Less(t, time.Since(begin), 100*time.Millisecond)
			require.LessOrEqual(t, calls.Follow-before.Follow, herd/1000+2)
			require.LessOrEqual(t, calls.Heads-before.Heads, herd/100)
		}
	})
}

func TestANodeIsHandedOnlyTheChatsThatItFeeds(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		l := s.join(0, false)
		time.Sleep(soon)
		before := s.engine.Calls().Stored
		s.publish(1, "1", "2", "3")
		time.Sleep(soon)
		require.Equal(t, before+3, s.engine.Calls().Stored)
		l.leave()
		time.Sleep(soon)
		s.publish(1, "4")
		s.publish(0, "5")
		time.Sleep(time.Minute)
		require.Equal(t, before+3, s.engine.Calls().Stored)
		require.Equal(t, []string{"1", "2", "3"}, l.messages())
	})
}

func TestALaterJoinTakesOver(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		first := s.join(0, true)
		s.publish(0, "1")
		time.Sleep(soon)
		second := s.join(0, true)
		first.leave() // too late to matter
		s.publish(0, "2")
		time.Sleep(soon)
		require.Equal(t, []string{"1"}, first.messages())
		require.Equal(t, []string{"1", "2"}, second.messages())

		s.engine.SetFaults(memengine.Faults{LostAnswer: 1})
		result := s.begin(0, "3")
		s.engine.SetFaults(memengine.Faults{})
		third := s.join(0, true)
		require.NoError(t, <-result)
		time.Sleep(soon)
		require.Equal(t, []string{"1", "2"}, second.messages())
		require.Equal(t, []string{"1", "2", "3"}, third.messages())
	})
}

func TestALogThatTakesOverIsToldNothingOfWhatTheEngineHasForgotten(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.join(0, false)
		time.Sleep(soon)
		s.clients[0].Cut()
		l := s.joinChat(0, "c", false)
		s.engine.Restart()
		s.clients[0].Restore()
		<-l.born
		require.Len(t, l.told(), 1)
		time.Sleep(time.Second)
		require.Len(t, l.told(), 1)
	})
}

// A node knows what it has published, whatever an answer that is out of date says.
func TestALogThatJoinsIsReadyWithWhatItsNodeHasPublished(t *testing.T) {
	for _, history := range []bool{false, true} {
		run(t, 1, 0, patient, func(t *testing.T, s *system) {
			for i := range uint64(50) {
				s.publish(0, fmt.Sprint(i))
				s.engine.SetFaults(memengine.Faults{Stale: 1})
				_, seq, _ := s.join(0, history).at()
				require.Equal(t, i+1, seq)
				s.engine.SetFaults(memengine.Faults{})
			}
		})
	}
}

func TestCloseEndsWaitingPublishers(t *testing.T) {
	run(t, 1, 0, cluster.Config{}, func(t *testing.T, s *system) {
		l := s.join(0, false)
		s.engine.SetFaults(memengine.Faults{LostRequest: 1, Silence: 1})
		flying := s.begin(0, "1")
		waiting := s.begin(0, "2")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		s.nodes[0].Close(ctx)
		s.nodes = nil
		err := <-flying
		require.ErrorIs(t, err, cluster.ErrUncertain)
		require.ErrorIs(t, err, cluster.ErrClosed)
		require.Equal(t, cluster.ErrClosed, <-waiting)
		require.Empty(t, l.messages())
	})
}

func TestCloseWaitsForMessagesInFlight(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		l := s.join(1, false)
		s.publish(0, "0")
		s.engine.SetFaults(memengine.Faults{LostAnswer: 1})
		flying, waiting := s.begin(0, "1"), s.begin(0, "2")
		time.AfterFunc(soon, func() { s.engine.SetFaults(memengine.Faults{}) })
		closed := make(chan struct{})
		go func() {
			s.nodes[0].Close(t.Context())
			close(closed)
		}()
		synctest.Wait()
		require.Equal(t, cluster.ErrClosed, <-waiting)
		require.Equal(t, cluster.ErrClosed, s.try(0, "3"))
		require.NoError(t, <-flying)
		<-closed
		time.Sleep(soon)
		require.Equal(t, []string{"0", "1"}, l.messages())
		s.nodes = s.nodes[1:]
	})
}

// slow is a log that takes its time.
type slow struct{ *core }

func (l slow) Feed(batch [][]byte, made time.Time) int {
	time.Sleep(time.Second)
	return l.core.Feed(batch, made)
}

func TestCloseWaitsForALog(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		l := newCore("0", "c", rand.New(rand.NewPCG(1, 1)), 0)
		s.nodes[0].Join("c", slow{l}, false)
		s.publish(0, "1")
		time.Sleep(soon)
		begin := time.Now()
		s.nodes[0].Close(t.Context())
		s.nodes = nil
		require.Equal(t, []string{"1"}, l.messages())
		require.Greater(t, time.Since(begin), time.Second/2)
	})
}

func TestAfterCloseThereIsNothing(t *testing.T) {
	run(t, 1, 0, cluster.Config{}, func(t *testing.T, s *system) {
		n := s.nodes[0]
		n.Close(t.Context())
		s.nodes = nil
		require.Equal(t, cluster.ErrClosed, n.Publish(t.Context(), "c", nil))
		l := newCore("0", "c", rand.New(rand.NewPCG(1, 1)), 0)
		f := n.Join("c", l, true)
		f.Room()
		f.Leave()
		require.Empty(t, l.told())
	})
}

func TestANodeOpensTheEngineAsSoonAsItCan(t *testing.T) {
	run(t, 0, 0, patient, func(t *testing.T, s *system) {
		s.engine.SetFaults(memengine.Faults{Fail: 1})
		s.start(patient)
		result := s.begin(0, "1")
		time.Sleep(3 * time.Second)
		require.False(t, s.nodes[0].Stats().Up)
		s.engine.SetFaults(memengine.Faults{})
		require.NoError(t, <-result)
	})
}

func TestAContextThatIsDoneIsRefusedAtOnce(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errors.New("cause"))
		require.Equal(t, context.Canceled, s.nodes[0].Publish(ctx, "c", nil))
	})
}

// A node that reads all that there is of a chat, because of a new epoch, has been fed a part of it.
func TestWhatWasFedInAnOlderEpochIsNotFedAgain(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		l := s.join(0, false)
		s.publish(0, "1")
		s.publish(0, "2")
		order := s.engine.Order("c")
		last := order[len(order)-1].Place
		s.clients[0].Append("c", engine.Place{Epoch: last.Epoch + 1, Mark: last.Mark}, [][]byte{[]byte("3")}, "x",
			func(engine.Place, error) {})
		time.Sleep(soon)
		require.Equal(t, []string{"1", "2", "3"}, l.messages())
		require.EqualValues(t, 1, s.nodes[0].Stats().Resets)
	})
}

// A receding client reads all but the last record, reconnects, and then says once that there was
// none.
type receding struct {
	*memengine.Client
	sink  engine.Sink
	reads int // one at a time
	stale atomic.Bool
}

func (r *receding) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	r.sink = sink
	_, err := r.Client.Open(ctx, sink)
	return r, err
}

func (r *receding) Read(
	ctx context.Context, chat string, after engine.Place, most int,
) ([]engine.Record, error) {
	records, err := r.Client.Read(ctx, chat, after, most)
	switch r.reads++; r.reads {
	case 1:
		return records[:len(records)-1], err
	case 2:
		r.stale.Store(true)
		r.sink.Up(true)
		return nil, nil
	}
	return records, err
}

func (r *receding) Heads(ctx context.Context, chats ...string) ([]engine.Record, error) {
	heads, err := r.Client.Heads(ctx, chats...)
	if r.stale.Swap(false) {
		all, err := r.Client.Read(ctx, chats[0], engine.Place{}, 100)
		return []engine.Record{all[len(all)-2]}, err
	}
	return heads, err
}

// Also if the log has come to a record before that when an answer is out of date.
func TestALogThatIsOnItsWayIsNotReadyBeforeWhatItsNodeHasPublished(t *testing.T) {
	run(t, 0, 0, patient, func(t *testing.T, s *system) {
		s.nodes = append(s.nodes, cluster.Start(&receding{Client: s.engine.Client()}, patient))
		s.publish(0, "1", "2", "3")
		require.Equal(t, []string{"1", "2", "3"}, s.join(0, true).messages())
	})
}
