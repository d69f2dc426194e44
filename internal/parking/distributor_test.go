package parking

import (
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// parkedLot returns a lot with somebody parked in so many rows.
func parkedLot(rows int) (l *Lot, spots []*Spot) {
	l = new(Lot)
	for l.parkedRows() < rows {
		s := l.NewSpot()
		s.Park()
		spots = append(spots, s)
	}
	return l, spots
}

func TestALotThatIsWantedDuringARoundGetsAnother(t *testing.T) {
	var d Distributor // without workers: the test is one
	l, spots := parkedLot(3 * inlineRows)
	d.Wake(l)
	d.Wake(l)
	require.Equal(t, 1, d.Len(), "a lot is in the queue once")
	i, ok := d.pop()
	require.True(t, ok)
	woken := 0
	for ; woken <= inlineRows*rowSize; woken += tokens(spots[woken:]...) {
		require.True(t, i.wakeSome())
	}

	for _, s := range spots[:woken] { // they took something, and wait again when the next message comes
		s.Park()
	}
	d.Wake(l)
	require.Zero(t, d.Len(), "its round goes on")
	require.Zero(t, tokens(spots...), "it is too large for whoever calls")
	for i.wakeSome() {
	}
	require.Equal(t, len(spots), tokens(spots...))
	require.Zero(t, l.parkedRows())

	d.Wake(l)
	require.Zero(t, d.Len(), "nobody is parked")
	for _, s := range spots {
		s.Park()
	}
	d.Wake(l)
	require.Equal(t, 1, d.Len(), "it is not served for ever")
}

func TestWhoParksAgainDuringARoundIsLeftInPeace(t *testing.T) {
	var d Distributor // without workers: the test is one
	l, spots := parkedLot(3 * inlineRows)
	d.Wake(l)
	i, ok := d.pop()
	require.True(t, ok)
	require.True(t, i.wakeSome())
	woken := tokens(spots...)
	for _, s := range spots[:woken] {
		s.Park()
	}
	for i.wakeSome() {
	}
	require.Equal(t, len(spots)-woken, tokens(spots...), "nobody has asked for those who parked again")
}

func TestAFewAreWokenAtOnceAndLaterOnlyIfAsked(t *testing.T) {
	var d Distributor
	l, spots := parkedLot(inlineRows)
	d.Wake(l)
	require.Equal(t, len(spots), tokens(spots...))
	require.Zero(t, d.Len())
	d.WakeLater(l)
	require.Zero(t, d.Len(), "nobody is parked")
	spots[0].Park()
	d.WakeLater(l)
	require.Equal(t, 1, d.Len())
	require.Zero(t, tokens(spots...))
}

func TestALargeLotDoesNotHoldUpASmallOne(t *testing.T) {
	var d Distributor // without workers: the test is one
	large, _ := parkedLot(100)
	small, spots := parkedLot(1)
	d.Wake(large)
	d.WakeLater(small)
	i, ok := d.pop()
	require.True(t, ok)
	require.True(t, i.do())
	i, ok = d.swap(i)
	require.True(t, ok)
	require.Same(t, small, i.lot)
	require.False(t, i.do())
	require.Equal(t, 1, tokens(spots...))
}

func TestWorkersWakeAllAndDoWhatTheyAreGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Distributor
		d.Start()
		l, spots := parkedLot(3 * inlineRows)
		d.Wake(l)
		var steps atomic.Int64
		d.Do(func() bool { return steps.Add(1) < 10 })
		synctest.Wait()
		require.Equal(t, len(spots), tokens(spots...))
		require.EqualValues(t, 10, steps.Load())
		d.Stop()
	})
}

func TestStopWaitsForTheStepAndDropsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var d Distributor
		d.Start()
		release := make(chan struct{})
		for range workers {
			d.Do(func() bool {
				<-release
				return true
			})
		}
		synctest.Wait() // each worker is at one
		d.Do(func() bool { panic("was dropped") })
		stopped := make(chan struct{})
		go func() {
			d.Stop()
			close(stopped)
		}()
		synctest.Wait()
		select {
		case <-stopped:
			t.Fatal("Stop did not wait")
		default:
		}
		close(release)
		<-stopped
		d.Do(func() bool { panic("came too late") })
		require.Zero(t, d.Len())
		d.Stop()
	})
}

// Goroutines that come and go wait for each number of a counter; whoever raises it calls the
// distributor. If one wake-up were lost, they would wait for ever.
func TestTheDistributorLosesNoWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in a bubble, because it notices that
		const waiters, numbers = 500, 400
		var (
			l      Lot
			d      Distributor
			number atomic.Int64
			all    sync.WaitGroup
		)
		d.Start()
		for range waiters {
			all.Go(func() {
				s := l.NewSpot()
				defer s.Release()
				for seen := int64(0); seen < numbers; {
					if n := number.Load(); n != seen {
						seen = n
						continue
					}
					s.Park()
					if number.Load() == seen {
						<-s.Woken()
					}
				}
			})
		}
		for i := range numbers {
			number.Add(1)
			if slices.Contains([]int{1, 2}, i%3) {
				d.Wake(&l)
			} else {
				d.WakeLater(&l)
			}
			runtime.Gosched()
		}
		all.Wait()
		d.Stop()
		require.Zero(t, l.Taken())
	})
}
