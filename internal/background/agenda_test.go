package background

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

const slack = time.Second

// diary is an agenda, and what it has visited: the names of each visit and when it was.
type diary struct {
	*Agenda[*job]
	start  time.Time
	visits []string
}

func newDiary(also func(due []*job)) *diary {
	d := &diary{start: time.Now()}
	d.Agenda = NewAgenda(slack, func(due []*job) func() {
		var names []string
		for _, j := range due {
			names = append(names, j.name)
		}
		slices.Sort(names)
		d.visits = append(d.visits, strings.Join(names, "+")+"@"+time.Since(d.start).String())
		if also != nil {
			also(due)
		}
		return nil
	})
	return d
}

func (d *diary) in(after time.Duration) time.Time { return d.start.Add(after) }

// inBubble runs a test on the fake clock.
func inBubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

// pass lets time pass, and what is due then happen.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestWhatIsDueAtAboutTheSameTimeIsVisitedTogether(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDiary(nil)
		for name, after := range map[string]time.Duration{"a": time.Minute, "b": time.Minute + slack, "c": time.Minute + slack + 1} {
			d.Schedule(&job{name: name}, d.in(after))
		}
		require.Equal(t, 3, d.Len())
		pass(time.Hour)
		require.Equal(t, []string{"a+b@1m1s", "c@1m2.000000001s"}, d.visits)
		require.Zero(t, d.Len())
		require.Zero(t, d.runs.Len(), "nothing ticks")
	})
}

func TestWhatMustBeOnTimeIs(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDiary(nil)
		d.ScheduleOnTime(&job{name: "a"}, d.in(time.Minute))
		pass(time.Hour)
		require.Equal(t, []string{"a@1m0s"}, d.visits)
	})
}

func TestAnItemIsVisitedAtTheEarliestTimeThatItIsScheduledFor(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDiary(nil)
		j, later := &job{name: "a"}, &job{name: "b"}
		d.Schedule(later, d.in(10*time.Minute))
		for _, after := range []time.Duration{3 * time.Minute, 5 * time.Minute, time.Minute, 2 * time.Minute} {
			d.Schedule(j, d.in(after))
		}
		require.Equal(t, 2, d.Len())
		pass(time.Hour)
		require.Equal(t, []string{"a@1m1s", "b@10m1s"}, d.visits)
	})
}

func TestAVisitMayScheduleTheItemAgain(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		var d *diary
		d = newDiary(func(due []*job) {
			if len(d.visits) < 3 {
				d.Schedule(due[0], time.Now())
			}
		})
		d.Schedule(&job{name: "a"}, d.start)
		pass(time.Hour)
		require.Equal(t, []string{"a@1s", "a@2s", "a@3s"}, d.visits)
	})
}

func TestStopWaitsForAVisitAndForNothingElse(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		visits := 0
		hangs := make(chan struct{})
		a := NewAgenda(slack, func([]*job) func() {
			visits++
			time.Sleep(time.Minute)
			return func() { <-hangs }
		})
		start := time.Now()
		a.Schedule(new(job), start)
		a.Schedule(new(job), start.Add(time.Hour))
		pass(slack)
		a.Stop()
		require.Equal(t, slack+time.Minute, time.Since(start))
		require.Zero(t, a.Len())
		a.Schedule(new(job), start)
		a.Stop()
		pass(24 * time.Hour)
		require.Equal(t, 1, visits)
		close(hangs)
	})
}

func TestFewItemsAreTakenOutInOneHold(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		const items, few = 1_281, 128
		visited := 0
		a := NewAgenda(slack, func(due []*job) func() {
			visited += len(due)
			return nil
		})
		now := time.Now()
		for range items {
			a.Schedule(new(job), now)
		}
		some, more := a.takeSome(nil, now)
		require.Len(t, some, few)
		require.True(t, more)
		pass(slack)
		require.Equal(t, items-few, visited, "all at once all the same")
	})
}

// Between the moment when the timer runs out and the one when its run has the lock.
func TestATimerThatHasRunOutIsNotSetOnceMore(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		d := newDiary(nil)
		ran := 0
		d.timer, d.armed, d.at = time.AfterFunc(1, func() { ran++ }), true, d.in(1)
		d.runs.Enter()
		pass(2)
		d.Schedule(&job{name: "a"}, d.in(-time.Minute))
		pass(time.Hour)
		require.Equal(t, 1, ran)
		d.run()
		require.Equal(t, []string{"a@1h0m0.000000002s"}, d.visits)
		require.Zero(t, d.runs.Len())
	})
}

// Items are due all the time, while the timer is being set and while it runs out.
func TestNoItemIsForgottenAndStopAwaitsTheLastVisit(t *testing.T) {
	for range 20 {
		var scheduled sync.WaitGroup
		var visiting, visited atomic.Int64
		a := NewAgenda(1, func(due []*job) func() {
			visiting.Add(1)
			defer visiting.Add(-1)
			visited.Add(int64(len(due)))
			return nil
		})
		const goroutines, each = 4, 500
		for range goroutines {
			scheduled.Go(func() {
				for i := range each {
					a.Schedule(new(job), time.Now().Add(time.Duration(i%3)))
				}
			})
		}
		scheduled.Wait()
		require.Eventually(t, func() bool { return visited.Load() == goroutines*each }, 10*time.Second, time.Millisecond)
		for range 100 {
			a.Schedule(new(job), time.Now())
		}
		a.Stop()
		require.Zero(t, visiting.Load())
		require.Zero(t, a.runs.Len())
	}
}
