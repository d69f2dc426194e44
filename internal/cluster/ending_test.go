package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// idle is how long the name of a chat is not free after its end.
const idle = time.Minute

var errDone = errors.New("job has failed: disk full")

// end ends chat c.
func (s *system) end(node int, reason error) error {
	return s.nodes[node].End(context.Background(), "c", reason, idle)
}

// requireEnded requires that a call found that chat c had ended.
func (s *system) requireEnded(err, reason error) {
	s.Helper()
	var ended *cluster.EndedError
	require.ErrorAs(s.T, err, &ended)
	if reason == nil {
		require.NoError(s.T, ended.Reason)
	} else {
		require.EqualError(s.T, ended.Reason, reason.Error())
	}
}

// last returns what a log was told last.
func (l *core) last() step {
	steps := l.told()
	return steps[len(steps)-1]
}

// requireOrder requires that chat c has these messages, and nothing after an end but another epoch.
func (s *system) requireOrder(messages ...string) {
	s.Helper()
	var got []string
	order := s.engine.Order("c")
	for i, r := range order {
		for _, m := range r.Batch {
			got = append(got, string(m))
		}
		if i > 0 && isEnd(order[i-1]) {
			require.Greater(s.T, r.Epoch, order[i-1].Epoch)
			require.Zero(s.T, r.Prev)
		}
	}
	require.Equal(s.T, messages, got)
}

// isEnd reports whether a record is an end.
func isEnd(r engine.Record) bool { return strings.Contains(r.ID, "!") }

// isForget reports whether a record is one of Forget.
func isForget(r engine.Record) bool { return strings.HasSuffix(r.ID, "!-1") }

// ends returns how many ends chat c had, those by Forget included.
func (s *system) ends() int { return s.count(isEnd) }

// forgets returns how often chat c was forgotten.
func (s *system) forgets() int { return s.count(isForget) }

// count counts records of chat c.
func (s *system) count(is func(engine.Record) bool) (n int) {
	for _, r := range s.engine.Order("c") {
		if is(r) {
			n++
		}
	}
	return n
}

func TestAChatEndsAtTheSamePlaceOnAllNodes(t *testing.T) {
	for name, reason := range map[string]error{"a reason": errDone, "none": nil, "an empty one": errors.New("")} {
		t.Run(name, func(t *testing.T) {
			run(t, 3, 0, patient, func(t *testing.T, s *system) {
				a, b := s.join(0, true), s.join(1, false)
				s.publish(2, "1")
				s.publish(0, "2")
				require.NoError(t, s.end(1, reason))
				for node := range s.nodes {
					s.requireEnded(s.try(node, "x"), reason)
					s.requireEnded(s.end(node, errors.New("another")), reason)
				}
				time.Sleep(soon)
				s.requireOrder("1", "2")
				require.Equal(t, 1, s.ends())
				epoch, _, _ := a.at()
				want := step{end: true, epoch: epoch, seq: 2}
				if reason != nil {
					want.message = reason.Error()
				}
				require.Equal(t, want, a.last())
				require.Equal(t, want, b.last())
				require.Equal(t, []string{"1", "2"}, b.messages())
			})
		})
	}
}

// The node that was given the reason knows more than its text.
func TestTheNodeThatEndsAChatKeepsTheReason(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		s.join(0, true)
		require.NoError(t, s.end(0, fmt.Errorf("wrapped: %w", errDone)))
		require.ErrorIs(t, s.try(0, "x"), errDone)
		require.NotErrorIs(t, s.try(1, "x"), errDone)
		require.EqualError(t, s.try(1, "x"), s.try(0, "x").Error())
	})
}

func TestALongReasonIsCutBetweenTwoCharacters(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		require.NoError(t, s.end(0, errors.New("x"+strings.Repeat("ä", 1000))))
		want := errors.New("x" + strings.Repeat("ä", 511)) // 1023 bytes
		for node := range s.nodes {
			s.requireEnded(s.try(node, "x"), want)
		}
	})
}

func TestAnEndIsBehindWhatItsNodeHasPublishedBefore(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		a := s.join(0, true)
		s.publish(0, "0")
		var before []<-chan error
		for i := range 3 {
			before = append(before, s.begin(0, fmt.Sprint(i+1)))
		}
		end := make(chan error, 1)
		go func() { end <- s.end(0, errDone) }()
		synctest.Wait()
		after := s.begin(0, "x")
		for _, result := range before {
			require.NoError(t, <-result)
		}
		require.NoError(t, <-end)
		s.requireEnded(<-after, errDone)
		time.Sleep(soon)
		s.requireOrder("0", "1", "2", "3")
		require.True(t, a.last().end)
	})
}

func TestOfConcurrentEndsOneSucceeds(t *testing.T) {
	for seed := range uint64(20) {
		run(t, 3, 0, patient, func(t *testing.T, s *system) {
			s.engine.SetFaults(memengine.Faults{Stale: 0.5, Drop: 0.5, Reorder: 0.5})
			logs := []*core{s.join(0, true), s.join(1, false)}
			var publishing, ending []<-chan error
			for i := range 30 {
				publishing = append(publishing, s.begin(i%3, fmt.Sprint(i)))
				if i%10 == 5 {
					result := make(chan error, 1)
					ending = append(ending, result)
					go func() { result <- s.end(i/10, fmt.Errorf("by %d", i/10)) }()
				}
				time.Sleep(time.Duration(seed) * 100 * time.Microsecond)
			}
			succeeded := 0
			var ended *cluster.EndedError
			for _, result := range ending {
				if err := <-result; err == nil {
					succeeded++
				} else {
					require.ErrorAs(t, err, &ended)
				}
			}
			require.Equal(t, 1, succeeded)
			accepted := 0
			for _, result := range publishing {
				if err := <-result; err == nil {
					accepted++
				} else {
					require.ErrorAs(t, err, &ended)
				}
			}
			s.engine.SetFaults(memengine.Faults{})
			time.Sleep(40 * time.Second)
			order := s.engine.Order("c")
			require.True(t, isEnd(order[len(order)-1]), "nothing follows the end")
			require.Equal(t, 1, s.ends())
			require.EqualValues(t, accepted, order[len(order)-1].Seq)
			for _, l := range logs {
				require.Equal(t, logs[0].last(), l.last())
				require.True(t, l.last().end)
			}
		})
	}
}

// A node that does not follow a chat learns of the end from the newest record alone.
func TestANodeThatOnlyPublishesLearnsOfTheEnd(t *testing.T) {
	for name, before := range map[string]func(s *system){
		"that has published before": func(s *system) { s.publish(1, "1") },
		"that has not":              func(*system) {},
		"that was disconnected": func(s *system) {
			s.publish(1, "1")
			s.clients[1].Cut()
			time.Sleep(soon)
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, 0, patient, func(t *testing.T, s *system) {
				before(s)
				require.NoError(t, s.end(0, errDone))
				s.clients[1].Restore()
				s.requireEnded(s.try(1, "x"), errDone)
				reads := s.engine.Calls().Read
				s.requireEnded(s.try(1, "x"), errDone)
				require.Equal(t, reads, s.engine.Calls().Read)
				require.Equal(t, 1, s.ends())
			})
		})
	}
}

func TestALogThatJoinsAfterTheEndIsToldOfIt(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1", "2")
		require.NoError(t, s.end(0, errDone))
		time.Sleep(idle - time.Second)
		history, none := s.join(1, true), s.joinChat(0, "c", false)
		<-none.born
		epoch, _, _ := history.at()
		end := step{end: true, epoch: epoch, seq: 2, message: errDone.Error()}
		require.Equal(t, []string{"1", "2"}, history.messages())
		require.Equal(t, end, history.last())
		require.Equal(t, []step{{reset: true, epoch: epoch, seq: 2}, end}, none.told())
	})
}

// Whoever comes when the name is free begins a chat of which nothing is left.
func TestWhenTheNameIsFreeThereIsANewChat(t *testing.T) {
	for name, faults := range map[string]memengine.Faults{
		"calm": {}, "answers that are out of date": {Stale: 1}, "failures": {Fail: 0.5},
	} {
		for first, begin := range map[string]func(s *system){
			"the node that ended it": func(s *system) { s.publish(0, "new") },
			"a node that was told":   func(s *system) { s.publish(1, "new") },
			"another node":           func(s *system) { s.publish(2, "new") },
			"a log": func(s *system) {
				require.Empty(s.T, s.join(2, true).messages())
				s.publish(1, "new")
			},
		} {
			t.Run(name+"/"+first, func(t *testing.T) {
				run(t, 3, 0, patient, func(t *testing.T, s *system) {
					told := s.join(1, true)
					s.publish(0, "1", "2")
					require.NoError(t, s.end(0, errDone))
					old, _, _ := told.at()
					s.engine.SetFaults(faults)
					time.Sleep(idle - 10*time.Millisecond)
					s.requireEnded(s.try(1, "x"), errDone)
					time.Sleep(10 * time.Millisecond)
					begin(s)
					late := s.join(2, true)
					s.publish(0, "newer")
					s.engine.SetFaults(memengine.Faults{})
					time.Sleep(40 * time.Second)
					require.Equal(t, []string{"new", "newer"}, late.messages())
					epoch, seq, missed := late.at()
					require.Greater(t, epoch, old)
					require.EqualValues(t, 2, seq)
					require.Zero(t, missed)
					require.Len(t, late.told(), 3, "a reset, and both messages")
					s.requireOrder("1", "2", "new", "newer")
					for _, n := range s.nodes {
						require.Zero(t, n.Stats().Resets, "nothing was lost")
						require.Zero(t, n.Stats().Lost)
					}
				})
			})
		}
	}
}

// Two nodes that find the name free at the same time begin one chat.
func TestNodesThatFindTheNameFreeAgreeOnTheNextChat(t *testing.T) {
	run(t, 3, 0, patient, func(t *testing.T, s *system) {
		require.NoError(t, s.end(0, nil))
		time.Sleep(idle)
		results := []<-chan error{s.begin(0, "a"), s.begin(1, "b"), s.begin(2, "c")}
		for _, result := range results {
			require.NoError(t, <-result)
		}
		l := s.join(0, true)
		require.Len(t, l.messages(), 3)
		_, seq, _ := l.at()
		require.EqualValues(t, 3, seq)
	})
}

// A log that was disconnected when the name became free is told everything nevertheless, unless
// somebody has begun another chat.
func TestALogThatWasAwayIsToldOfTheEnd(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		l := s.join(1, true)
		s.clients[1].Cut()
		time.Sleep(soon)
		s.publish(0, "1", "2")
		require.NoError(t, s.end(0, errDone))
		time.Sleep(2 * idle)
		s.clients[1].Restore()
		time.Sleep(soon)
		require.Equal(t, []string{"1", "2"}, l.messages())
		require.True(t, l.last().end)
	})
}

func TestAnEndIsStoredOnceWhateverBecomesOfItsAppend(t *testing.T) {
	for name, faults := range map[string]memengine.Faults{
		"a lost request":        {LostRequest: 1},
		"a lost answer":         {LostAnswer: 1},
		"a late record":         {Late: 1},
		"no answer":             {LostAnswer: 1, Silence: 1},
		"no answer and nothing": {LostRequest: 1, Silence: 1},
		"away":                  {Away: 1},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, 2, 0, patient, func(t *testing.T, s *system) {
				l := s.join(1, true)
				s.publish(0, "1")
				s.engine.SetFaults(faults)
				result := make(chan error, 1)
				go func() { result <- s.end(0, errDone) }()
				time.Sleep(10 * time.Millisecond)
				s.engine.SetFaults(memengine.Faults{})
				require.NoError(t, <-result)
				time.Sleep(10 * time.Second)
				require.Equal(t, 1, s.ends())
				s.requireOrder("1")
				require.True(t, l.last().end)
				require.Zero(t, s.nodes[0].Stats().Uncertain)
			})
		})
	}
}

func TestAnEndThatIsCutOffOnItsWayIsUncertain(t *testing.T) {
	run(t, 2, 0, cluster.Config{Timeout: time.Second}, func(t *testing.T, s *system) {
		s.publish(0, "1")
		s.engine.SetFaults(memengine.Faults{LostAnswer: 1, Silence: 1})
		result := make(chan error, 1)
		go func() { result <- s.end(0, errDone) }()
		time.Sleep(10 * time.Millisecond)
		s.clients[0].Cut()
		require.ErrorIs(t, <-result, cluster.ErrUncertain)
		s.engine.SetFaults(memengine.Faults{})
		s.requireEnded(s.try(1, "x"), errDone)
		require.ErrorIs(t, s.end(0, nil), engine.ErrAway)
		s.clients[0].Restore()
		s.requireEnded(s.end(0, nil), errDone)
		require.Equal(t, 1, s.ends())
	})
}

// What was published before the end waits for room, and the end behind it.
func TestAnEndWaitsForRoomBehindTheMessages(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		l := s.join(1, true)
		l.setStuck(true)
		s.publish(0, "1", "2")
		require.NoError(t, s.end(0, errDone))
		time.Sleep(soon)
		require.Empty(t, l.messages())
		require.False(t, l.last().end)
		s.requireEnded(s.try(1, "x"), errDone)
		l.setStuck(false)
		time.Sleep(soon)
		require.Equal(t, []string{"1", "2"}, l.messages())
		require.True(t, l.last().end)
	})
}

// The newest record that was handed over counts as one that Heads returns.
func TestAnEndThatIsHandedOverBeforeTheAnswerOfHeadsIsSeen(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		s.publish(0, "1")
		driver := lazy{Client: s.engine.Client(), goOn: make(chan struct{})}
		s.nodes = append(s.nodes, cluster.Start(driver, patient))
		l := s.joinChat(1, "c", false)
		time.Sleep(soon)
		require.NoError(t, s.end(0, errDone))
		time.Sleep(soon)
		close(driver.goOn)
		time.Sleep(soon)
		require.True(t, l.last().end)
		require.Empty(t, l.messages())
	})
}

// While what was purged can still be read, a log is told of the next chat alone, however long the
// old one was.
func TestALongChatThatWasPurgedIsNotShown(t *testing.T) {
	for messages := range 30 {
		run(t, 3, 0, patient, func(t *testing.T, s *system) {
			for i := range 200 + messages { // which answers are out of date depends on it
				s.publish(0, fmt.Sprint(i))
			}
			require.NoError(t, s.end(0, errDone))
			time.Sleep(idle)
			s.publish(1, "new")
			s.engine.SetFaults(memengine.Faults{Stale: 0.5})
			l := s.join(2, true)
			s.engine.SetFaults(memengine.Faults{})
			time.Sleep(soon)
			require.Equal(t, []string{"new"}, l.messages())
			require.Zero(t, s.nodes[2].Stats().Resets)
		})
	}
}

// A hoarder reads what was purged too.
type hoarder struct {
	*memengine.Client
	engine *memengine.Engine
}

func (h hoarder) Open(ctx context.Context, sink engine.Sink) (engine.Session, error) {
	_, err := h.Client.Open(ctx, sink)
	return h, err
}

func (h hoarder) Read(_ context.Context, chat string, after engine.Place, most int) (all []engine.Record, _ error) {
	for _, r := range h.engine.Order(chat) {
		if r.Mark > after.Mark && len(all) < most {
			all = append(all, r)
		}
	}
	return all, nil
}

func TestWhatWasPurgedIsNotShownBesideTheNextChat(t *testing.T) {
	for _, messages := range []int{1, 200} {
		run(t, 1, 0, patient, func(t *testing.T, s *system) {
			for i := range messages {
				s.publish(0, fmt.Sprint(i))
			}
			require.NoError(t, s.end(0, errDone))
			time.Sleep(idle)
			s.publish(0, "new")
			s.nodes = append(s.nodes, cluster.Start(hoarder{s.engine.Client(), s.engine}, patient))
			require.Equal(t, []string{"new"}, s.join(1, true).messages())
			require.Zero(t, s.nodes[1].Stats().Resets)
		})
	}
}

// What the engine has of an older epoch without an end is part of the chat.
func TestALongOlderEpochIsFedIfItHasNoEnd(t *testing.T) {
	run(t, 1, 0, patient, func(t *testing.T, s *system) {
		time.Sleep(soon)
		var last engine.Place
		var want []string
		for i := range 202 {
			want = append(want, fmt.Sprint(i))
			after := engine.Place{Epoch: 1, Seq: last.Seq, Mark: last.Mark}
			if i >= 200 {
				after.Epoch, after.Seq = 2, uint64(i-200)
			}
			places := make(chan engine.Place, 1)
			s.clients[0].Append("c", after, [][]byte{[]byte(want[i])}, want[i], func(p engine.Place, _ error) { places <- p })
			last = <-places
		}
		l := s.join(0, true)
		require.Equal(t, want, l.messages())
		require.EqualValues(t, 1, s.nodes[0].Stats().Resets)
	})
}

func TestALongReasonThatIsNotUTF8IsCut(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		require.NoError(t, s.end(0, errors.New(strings.Repeat("\x80", 2000))))
		for node := range s.nodes {
			var ended *cluster.EndedError
			require.ErrorAs(t, s.try(node, "x"), &ended)
			require.Greater(t, len(ended.Reason.Error()), 1000)
		}
	})
}

// A pointerError is an error whose nil pointer has no text.
type pointerError struct{ text string }

func (e *pointerError) Error() string { return e.text }

func TestAReasonMayBeANilPointer(t *testing.T) {
	run(t, 2, 0, patient, func(t *testing.T, s *system) {
		require.NoError(t, s.end(0, (*pointerError)(nil)))
		s.requireEnded(s.try(1, "x"), errors.New("<nil>"))
	})
}
