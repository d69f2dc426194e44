package ring

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

func contents(q *Queue[string]) []string {
	out := []string{}
	for i := range q.Len() {
		out = append(out, q.At(i))
	}
	return out
}

func TestElementsComeOutInTheOrderInWhichTheyWentIn(t *testing.T) {
	var q Queue[string]
	for i, v := range []string{"a", "b", "c"} {
		q.Push(uint64(i), v)
	}
	require.Equal(t, []string{"a", "b", "c"}, contents(&q))
	seq, v := q.Oldest()
	require.EqualValues(t, 0, seq)
	require.Equal(t, "a", v)
	for i, want := range []string{"a", "b", "c"} {
		seq, v := q.Pop()
		require.EqualValues(t, i, seq)
		require.Equal(t, want, v)
	}
	require.Zero(t, q.Len())
}

func TestReplaceDropsOneAndAddsTheNewest(t *testing.T) {
	for i, want := range [][]string{{"b", "c", "d"}, {"a", "c", "d"}, {"a", "b", "d"}} {
		var q Queue[string]
		for seq, v := range []string{"a", "b", "c"} {
			q.Push(uint64(seq), v)
		}
		q.Replace(i, 3, "d")
		require.Equal(t, want, contents(&q))
	}
}

func TestAtPanicsBeyondTheEnd(t *testing.T) {
	var q Queue[string]
	require.Panics(t, func() { q.At(0) })
	q.Push(1, "a")
	require.NotPanics(t, func() { q.At(0) })
	require.Panics(t, func() { q.At(1) })
	require.Panics(t, func() { q.At(-1) })
}

func TestWhatWasPoppedIsLetGo(t *testing.T) {
	var q Queue[*int]
	q.Push(1, new(int))
	q.Pop()
	for _, s := range q.slots {
		require.Nil(t, s.value)
	}
}

// The reference is a slice.
func TestRandomOperationsMatchASlice(t *testing.T) {
	type element struct {
		seq   uint64
		value int
	}
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 0))
		var q Queue[int]
		var reference []element
		for step := range 400 {
			e := element{uint64(step), random.Int()}
			switch n := len(reference); {
			case n > 0 && random.IntN(3) == 0:
				seq, v := q.Pop()
				require.Equal(t, reference[0], element{seq, v})
				reference = reference[1:]
			case n > 0 && random.IntN(2) == 0:
				i := random.IntN(n)
				q.Replace(i, e.seq, e.value)
				reference = append(slices.Delete(reference, i, i+1), e)
			default:
				q.Push(e.seq, e.value)
				reference = append(reference, e)
			}
			require.Equal(t, len(reference), q.Len(), "seed %d", seed)
			for i, e := range reference {
				if q.At(i) != e.value {
					t.Fatalf("seed %d, step %d: element %d is %d, not %d", seed, step, i, q.At(i), e.value)
				}
			}
		}
	}
}
