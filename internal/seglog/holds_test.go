package seglog

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// The reference is a list.
func TestTheLogHoldsTheLargestSizeOfThoseThatAreAskedFor(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	l := New[int](0)
	var reference []uint64
	for range 20_000 {
		if random.IntN(2) == 0 || len(reference) == 0 {
			reference = append(reference, 1+random.Uint64N(50))
			l.Hold(reference[len(reference)-1], nil)
		} else {
			i := random.IntN(len(reference))
			l.Release(reference[i])
			reference = slices.Delete(reference, i, i+1)
		}
		if len(reference) == 0 {
			require.Nil(t, l.held, "nothing is left")
			continue
		}
		require.Equal(t, slices.Max(reference), l.Held())
	}
}

func TestTheLargestSizeIsFoundWithoutALookAtTheOthers(t *testing.T) {
	l := New[int](0)
	for size := range uint64(1_000) {
		l.Hold(1+size, nil)
	}
	l.held.bySize.Set(1<<20, &hold{size: 1 << 20, count: 1}) // would be met by a walk
	l.Release(1_000)
	require.EqualValues(t, 999, l.Held())
	l.Hold(3, nil)
	require.EqualValues(t, 999, l.Held())
}
