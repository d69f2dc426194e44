package chunks

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The reference is a slice.
func TestItIsAList(t *testing.T) {
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 0))
		var l List[int]
		var reference []int
		for range 200 {
			grows := random.IntN(2) == 0
			for range random.IntN(3 * size) {
				if grows {
					v := random.Int()
					l.Push(v)
					reference = append(reference, v)
				} else if n := len(reference); n > 0 {
					if v := l.Pop(); v != reference[n-1] {
						t.Fatalf("%d, not %d, is removed", v, reference[n-1])
					}
					reference = reference[:n-1]
				}
			}
			require.Equal(t, len(reference), l.Len())
			for i, want := range reference {
				if *l.At(i) != want {
					t.Fatalf("element %d is %d, not %d", i, *l.At(i), want)
				}
			}
		}
	}
}

func TestNothingIsMovedWhenAListGrowsOrShrinks(t *testing.T) {
	const n = 100 * size
	var l List[int]
	places := make([]*int, n)
	for i := range n {
		l.Push(i)
		if i >= size {
			places[i] = l.At(i)
		}
	}
	for i := n - 1; i >= size; i-- {
		if l.At(i) != places[i] {
			t.Fatalf("element %d was moved", i)
		}
		l.Pop()
	}
}

func TestAListHoldsAtMostTwoChunksMoreThanItNeeds(t *testing.T) {
	var l List[int]
	for i := range 100 * size {
		l.Push(i)
	}
	for l.Len() > 0 {
		l.Pop()
		held, chunks := cap(l.first), 0
		if l.rest != nil {
			held, chunks = held+size*len(l.rest.chunks), cap(l.rest.chunks)
		}
		if held > l.Len()+2*size || chunks > l.Len()/size*4+4 {
			t.Fatalf("room for %d elements, and %d chunks, with %d", held, chunks, l.Len())
		}
	}
	require.Zero(t, l)
}

func TestAListThatGrowsAndShrinksByOneMakesNoChunkEachTime(t *testing.T) {
	for _, n := range []int{size / 4, size / 2, size, 2 * size, 3 * size} {
		var l List[int]
		for range n {
			l.Push(0)
		}
		require.Zero(t, testing.AllocsPerRun(100, func() {
			l.Push(0)
			l.Pop()
			l.Pop()
			l.Push(0)
		}), n)
	}
}

func TestAListLetsGoOfWhatIsRemoved(t *testing.T) {
	var l List[*int]
	for range 2 {
		l.Push(new(int))
	}
	l.Pop()
	require.Nil(t, l.first[:2][1])
}
