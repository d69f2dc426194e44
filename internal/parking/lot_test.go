package parking

import (
	"math/bits"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// tokens returns how many of the spots have been woken, and takes their tokens.
func tokens(spots ...*Spot) (n int) {
	for _, s := range spots {
		select {
		case <-s.Woken():
			n++
		default:
		}
	}
	return n
}

func newSpots(l *Lot, n int) []*Spot {
	spots := make([]*Spot, n)
	for i := range spots {
		spots[i] = l.NewSpot()
	}
	return spots
}

func TestThoseWhoAreParkedAreWokenAndOnlyThey(t *testing.T) {
	var l Lot
	l.WakeAll()
	require.Zero(t, l.parkedRows())
	// One row, several, several sections.
	for _, n := range []int{1, 2, few, few + 1, 100, 2*rowSize*rowSize + 1} {
		spots := newSpots(&l, n)
		l.WakeAll()
		require.Zero(t, tokens(spots...))
		parked := map[*Spot]bool{spots[n-1]: true}
		for range n / 3 {
			parked[spots[rand.IntN(n)]] = true
		}
		for s := range parked {
			s.Park()
			s.Park()
			require.True(t, s.Parked())
		}
		require.Positive(t, l.parkedRows())
		l.WakeAll()
		for _, s := range spots {
			require.False(t, s.Parked())
			require.Equal(t, parked[s], tokens(s) == 1)
			require.Zero(t, tokens(s), "one token each")
		}
		require.Zero(t, l.parkedRows())
	}
}

func TestARoundMeetsRowsThatAreNewerThanItself(t *testing.T) {
	var l Lot
	newSpots(&l, few+1)
	round := l.Round()
	late := newSpots(&l, 3*rowSize)
	for _, s := range late {
		s.Park()
	}
	for round.Wake() {
	}
	require.Equal(t, len(late), tokens(late...))
}

func TestATokenIsLeftForWhoeverComesLater(t *testing.T) {
	var l Lot
	s := l.NewSpot()
	s.Wake()
	s.Wake()
	require.Equal(t, 1, tokens(s))
	require.Zero(t, tokens(s))
}

func TestARoundWakesRowByRowWhoWasParkedBeforeIt(t *testing.T) {
	var l Lot
	spots := newSpots(&l, few+2*rowSize)
	for _, s := range spots {
		s.Park()
	}
	require.Equal(t, 3, l.parkedRows())
	round := l.Round()
	for _, row := range []int{few, rowSize, rowSize} {
		require.True(t, round.Wake())
		require.Equal(t, row, tokens(spots...))
		spots[0].Park()
	}
	require.False(t, round.Wake())
	require.Zero(t, tokens(spots...))
	l.WakeAll()
	require.Equal(t, 1, tokens(spots...))
	require.False(t, new(Round).Wake(), "the zero Round is over")
}

func TestAReleasedSpotIsUsedAgainAndItsLastOwnerHarmsNobody(t *testing.T) {
	var l Lot
	spots := newSpots(&l, 1000)
	for _, s := range spots[:500] {
		s.Release()
		s.Release()
	}
	require.Equal(t, 500, l.Taken())
	again := newSpots(&l, 500)
	require.Equal(t, (1000-few+rowSize-1)/rowSize, rows(&l), "no more room than is needed")
	for _, s := range spots[:500] {
		s.Park() // late
		s.Release()
	}
	for _, s := range again {
		s.Park()
	}
	l.WakeAll()
	require.Zero(t, tokens(spots...))
	require.Equal(t, 500, tokens(again...))
}

// rows returns how many rows a lot has, beside the first.
func rows(l *Lot) (n int) {
	for _, s := range l.loadSections() {
		n += bits.OnesCount64(s.used)
	}
	return n
}

func TestALotHoldsNoMoreRowsThanThereAreSpots(t *testing.T) {
	const n = 3 * rowSize * rowSize
	var l Lot
	spots := newSpots(&l, n)
	require.Len(t, l.loadSections(), 3)
	rand.Shuffle(n, func(i, j int) { spots[i], spots[j] = spots[j], spots[i] })
	for len(spots) > 1 {
		spots[0].Release()
		spots = spots[1:]
		if len(spots)%100 == 0 {
			require.LessOrEqual(t, rows(&l), len(spots)+1)
		}
	}
	require.LessOrEqual(t, rows(&l), 2)
	require.LessOrEqual(t, len(l.loadSections()), 2)
	again := newSpots(&l, n)
	for _, s := range append(again, spots[0]) {
		s.Park()
	}
	l.WakeAll()
	require.Equal(t, n+1, tokens(append(again, spots[0])...))
}

// The first rows are filled first, so that others become empty.
func TestAnEmptyRowIsKeptForThoseWhoComeAndGo(t *testing.T) {
	var l Lot
	newSpots(&l, few+rowSize)
	l.NewSpot().Release()
	spare := l.spare
	require.NotNil(t, spare)
	s := l.NewSpot()
	require.Same(t, spare, s.row)
	s.Release()
	require.Equal(t, 2, rows(&l))
}

func TestAnEmptyLotHoldsNothing(t *testing.T) {
	var l Lot
	for range 3 {
		for _, s := range newSpots(&l, 200) {
			s.Park()
			s.Release()
			l.WakeAll()
		}
		require.Nil(t, l.sections.Load())
		require.Nil(t, l.spare)
		require.Zero(t, l.Taken())
	}
}

// Goroutines that come and go wait for each number of a counter; whoever raises it wakes them. If
// one wake-up were lost, they would wait for ever.
func TestNoWakeUpIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // in a bubble, because it notices that
		const waiters, numbers = 150, 400
		var (
			l      Lot
			number atomic.Int64
			all    sync.WaitGroup
		)
		for range waiters {
			all.Go(func() {
				s := l.NewSpot()
				defer func() { s.Release() }()
				for seen := int64(0); seen < numbers; {
					if n := number.Load(); n != seen {
						seen = n
						if rand.IntN(10) == 0 {
							s.Release()
							s = l.NewSpot()
						}
						continue
					}
					s.Park()
					if number.Load() == seen {
						<-s.Woken()
					}
				}
			})
		}
		for range numbers / 4 {
			for range 4 {
				all.Go(func() {
					number.Add(1)
					l.WakeAll()
				})
			}
			if rand.IntN(2) == 0 {
				synctest.Wait()
			}
		}
		all.Wait()
		require.Zero(t, l.Taken())
	})
}
