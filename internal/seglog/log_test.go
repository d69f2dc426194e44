package seglog

import (
	"math/rand/v2"
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

func TestTheLogHoldsWhatItIsAskedTo(t *testing.T) {
	l := New[int](0)
	from := l.Tail()
	fill(&l, 2_000)
	l.Hold(600, from)
	for range 3 {
		for seq := l.Head() - 599; seq <= l.Head(); seq++ {
			require.Equal(t, int(seq), *l.Find(seq).At(seq))
		}
		require.Nil(t, l.Find(l.Head()-600-2*maxSlots), "nor much more than that")
		fill(&l, 777)
	}
	l.Release(600)
	require.Same(t, l.Tail(), l.first)
}

// countSteps returns how many segments a search from the oldest one looks at.
func countSteps[T any](l *Log[T], seq uint64) (steps int) {
	for s := l.first; !s.Holds(seq); s = s.toward(seq) {
		steps++
	}
	return steps
}

func TestASearchCostsTheLogarithmOfWhatTheLogHolds(t *testing.T) {
	const history = 1 << 20
	l := New[int](history)
	fill(&l, history+history/2)
	for _, distance := range []uint64{1, 255, history / 3, history / 2, history - 1} {
		require.LessOrEqual(t, countSteps(&l, l.Head()-distance), 40, "of 4096 segments")
	}
	// What the search does not go by need not be there.
	for s, i := l.first, 0; s != l.tail; i++ {
		next := s.next.Load()
		if i >= 20 && s.base+20*maxSlots < l.Head() {
			s.next.Store(nil)
		}
		s = next
	}
	const seq = history + history/2 - 1_000
	require.Equal(t, seq, *l.Find(seq).At(seq))
	require.Equal(t, seq, *l.first.Advance(seq).At(seq))
	l.Expire(seq)
	require.Equal(t, seq+1, *l.first.At(seq + 1))
}

// Also if the reader stands before all that the log holds, and after it was let go of by all
// others.
func TestWhatAReaderStillHoldsIsReachedFromThereAsFast(t *testing.T) {
	const buffer = 1 << 18
	l := New[int](0)
	fill(&l, 10_000)
	from := l.Tail()
	fill(&l, buffer)
	require.Same(t, l.tail, l.first)
	l.Hold(buffer/2, from)
	require.True(t, l.first.Holds(l.Head()-buffer/2+1))
	l.Hold(buffer, from)
	require.True(t, l.first.Holds(l.Head()-buffer+1))
	require.LessOrEqual(t, countSteps(&l, l.Head()), 40, "of 1024 segments")
}

func TestTheLogHoldsNoSegmentTooMany(t *testing.T) {
	l := New[int](10_000)
	fill(&l, 10_000)
	for seq := range l.Head() {
		l.Expire(seq)
		require.True(t, l.first.Holds(seq+1), "expired up to %d", seq)
	}
}

// The reference is arithmetic: a segment is where the position is, or it is not there.
func TestSearchesFindTheSegmentWhateverTheLogHolds(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := New[[512]byte](3_000)
	held := uint64(0)
	for range 400 {
		for range random.IntN(200) {
			l.Append(new([512]byte))
		}
		head := l.Head()
		if random.IntN(10) == 0 {
			l.Seal()
		}
		if random.IntN(2) == 0 {
			l.Expire(head - min(head, random.Uint64N(4_000)))
		} else {
			if held > 0 {
				l.Release(held)
			}
			held = 1 + random.Uint64N(5_000)
			l.Hold(held, nil)
		}
		for range 20 {
			seq := 1 + random.Uint64N(head+100)
			if s := l.Find(seq); s != nil {
				require.True(t, s.Holds(seq))
			} else {
				require.True(t, seq <= l.first.base || seq > head)
			}
		}
	}
}

func TestReadersGoOnOverASeal(t *testing.T) {
	l := New[int](0)
	start := l.Tail()
	for n := range 50 {
		fill(&l, n%20)
		l.Seal()
		require.True(t, l.Sealed())
		tail := l.Tail()
		l.Seal()
		require.Same(t, tail, l.Tail(), "there is nothing more to seal")
	}
	at := start
	for seq := uint64(1); seq <= l.Head(); seq++ {
		at = at.Find(seq)
		require.Equal(t, int(seq), *at.At(seq))
		require.False(t, at.Holds(seq+uint64(len(at.From(seq)))), "an unwritten slot of a sealed segment")
	}
	require.Same(t, l.Tail(), at.Advance(l.Head()+1))
}

func TestAViewGoesOnOverASeal(t *testing.T) {
	l := New[int](0)
	start := l.Tail()
	fill(&l, 3)
	l.Seal()
	fill(&l, 3)
	view := start.View(5)
	for seq := range uint64(5) {
		require.Equal(t, int(seq+1), *view.At(seq + 1))
	}
}

func TestWhatIsBeforeASealIsCollected(t *testing.T) {
	type payload struct{ _ [64]byte }
	l := New[*payload](0)
	p := new(payload)
	taken := weak.Make(p)
	l.Append(&p)
	p = nil
	runtime.GC()
	require.NotNil(t, taken.Value())
	l.Seal()
	runtime.GC()
	require.Nil(t, taken.Value())
	require.EqualValues(t, 2, l.Append(&p))
}

func TestASealedLogHasNoLanes(t *testing.T) {
	l := New[int](0)
	fill(&l, 10*maxSlots)
	require.NotNil(t, l.lanes)
	l.Seal()
	require.Nil(t, l.lanes)
}

func TestAQuietLogHasNoLanes(t *testing.T) {
	l := New[int](0)
	fill(&l, maxSlots)
	require.Nil(t, l.lanes)
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
	l.Hold(700, nil)
	fill(&l, 700)
	require.Equal(t, 2_001, *l.Find(2_001).At(2_001), "what is held does not expire")
	l.Expire(2_700)
	l.Release(700)
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
	l.Hold(600, nil)
	for range 600 {
		appendOne()
	}
	view := l.Find(101).View(300)
	require.EqualValues(t, 300, view.To())
	l.Release(600)
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

func TestAViewHoldsNoSegmentThatItHasGoneBeyond(t *testing.T) {
	type payload struct{ _ [1 << 10]byte }
	for name, beyond := range map[string]func(v *View[*payload], seq uint64){
		"At":    func(v *View[*payload], seq uint64) { v.At(seq) },
		"After": func(v *View[*payload], seq uint64) { v.After(seq) },
	} {
		t.Run(name, func(t *testing.T) {
			l := New[*payload](0)
			start := l.Tail()
			var all []weak.Pointer[payload]
			for range 5 * maxSlots {
				p := new(payload)
				all = append(all, weak.Make(p))
				l.Append(&p)
			}
			view := start.View(5 * maxSlots)
			beyond(view, 4*maxSlots)
			runtime.GC()
			for seq := 1; seq <= 3*maxSlots; seq++ {
				require.Nil(t, all[seq-1].Value(), seq)
			}
			require.NotNil(t, *view.At(4*maxSlots + 1))
		})
	}
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
	const total = 50_050 // nothing orders the last one for readers, but the head
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
		if seq%100 == 0 {
			l.Seal()
		}
	}
	readers.Wait()
}
