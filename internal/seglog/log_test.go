package seglog

import (
	"runtime"
	"sync"
	"testing"
	"weak"

	"github.com/stretchr/testify/require"
)

func fill(l *Log[int], n int) {
	for range n {
		seq := l.Append(new(int(l.Head()) + 1))
		if uint64(seq) != l.Head() {
			panic("Append returns another position than the head")
		}
	}
}

func TestPositionsCountFromOne(t *testing.T) {
	l := New[string](0)
	require.Zero(t, l.Head())
	require.EqualValues(t, 1, l.Append(new("a")))
	require.EqualValues(t, 2, l.Append(new("b")))
	require.EqualValues(t, 2, l.Head())
}

func TestAReaderReachesAllThatWasAppendedAfterItsSegment(t *testing.T) {
	l := New[int](0)
	fill(&l, 100)
	at := l.Tail()
	fill(&l, 5_000)
	for seq := uint64(101); seq <= l.Head(); seq++ {
		at = at.Find(seq)
		require.Equal(t, int(seq), *at.At(seq))
		require.Equal(t, int(seq), at.From(seq)[0])
	}
	require.Nil(t, at.Find(l.Head()+maxSlots), "what is not there")
	require.Nil(t, at.Find(1), "what is before the segment")
}

func TestSegmentsGrowToTheirLimit(t *testing.T) {
	require.Equal(t, firstSlots, slotsAfter[int](0))
	require.Equal(t, 2*firstSlots, slotsAfter[int](firstSlots))
	require.Equal(t, maxSlots, slotsAfter[int](maxSlots))
	require.Equal(t, maxSlots, slotsAfter[struct{}](maxSlots))
	require.Equal(t, minFull, slotsAfter[[4096]byte](minFull), "large elements: fewer, but not too few")
	require.Equal(t, maxBytes/256, slotsAfter[[256]byte](maxSlots))
}

func TestTheLogHoldsItsWindow(t *testing.T) {
	l := New[int](0)
	from := l.Tail()
	fill(&l, 2_000)
	l.Keep(600, from)
	for range 3 {
		for seq := l.Head() - 599; seq <= l.Head(); seq++ {
			require.Equal(t, int(seq), *l.Find(seq).At(seq))
		}
		require.Nil(t, l.Find(l.Head()-600-2*maxSlots), "nor much more than that")
		fill(&l, 777)
	}
	l.Keep(0, nil)
	require.Same(t, l.Tail(), l.first)
}

func TestTheLogHoldsItsHistoryUntilItExpires(t *testing.T) {
	l := New[int](600)
	fill(&l, 2_000)
	for seq := uint64(1_401); seq <= 2_000; seq++ {
		require.Equal(t, int(seq), *l.Find(seq).At(seq))
	}
	require.Nil(t, l.Find(1_400-2*maxSlots), "nor much more than that")
	l.Expire(1_800)
	require.Equal(t, 1_801, *l.Find(1_801).At(1_801))
	require.Nil(t, l.Find(1_800-maxSlots))
	l.Keep(700, nil)
	fill(&l, 700)
	require.Equal(t, 2_001, *l.Find(2_001).At(2_001), "the window does not expire")
	l.Expire(2_700)
	l.Keep(0, nil)
	require.Same(t, l.Tail(), l.first)
}

func TestAdvanceStopsAtTheEndOfTheLog(t *testing.T) {
	l := New[int](0)
	at := l.Tail()
	require.Same(t, at, at.Advance(1))
	fill(&l, 1_000)
	require.Same(t, l.Tail(), at.Advance(l.Head()+1_000))
	require.True(t, at.Advance(500).Holds(500))
}

func TestAViewHoldsItsRunAndNothingThatCameLater(t *testing.T) {
	type payload struct{ _ [1 << 10]byte }
	l := New[*payload](0)
	var all []weak.Pointer[payload]
	appendOne := func() {
		p := new(payload)
		all = append(all, weak.Make(p))
		l.Append(&p)
	}
	l.Keep(600, nil)
	for range 600 {
		appendOne()
	}
	view := l.Find(101).View(300)
	require.EqualValues(t, 300, view.To())
	l.Keep(0, nil)
	for range 2_000 {
		appendOne()
	}
	runtime.GC()
	for seq := 101; seq <= 300; seq++ {
		require.NotNil(t, all[seq-1].Value(), seq)
	}
	for seq := 300 + maxSlots; seq < 2_000; seq++ {
		require.Nil(t, all[seq-1].Value(), seq)
	}
	for seq := uint64(101); seq < 300; seq += 7 {
		require.Same(t, all[seq-1].Value(), *view.At(seq))
	}
	require.Same(t, all[299].Value(), *view.At(300))
}

func TestWhatNobodyPointsAtIsCollected(t *testing.T) {
	type payload struct{ _ [64]byte }
	l := New[*payload](0)
	p := new(payload)
	taken := weak.Make(p)
	l.Append(&p)
	p = nil
	for range 2 * maxSlots {
		l.Append(new(*payload))
	}
	runtime.GC()
	require.Nil(t, taken.Value())
}

// The race detector watches.
func TestReadersNeedNoLock(t *testing.T) {
	const total = 50_000
	l := New[[3]uint64](0)
	start := l.Tail()
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			at, seq := start, uint64(1)
			for seq <= total {
				for head := l.Head(); seq <= head; seq++ {
					at = at.Find(seq)
					if *at.At(seq) != [3]uint64{seq, seq, seq} {
						t.Error("torn or foreign value")
						return
					}
				}
				runtime.Gosched()
			}
		})
	}
	for seq := uint64(1); seq <= total; seq++ {
		l.Append(&[3]uint64{seq, seq, seq})
	}
	readers.Wait()
}
