package reservoir

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// reference is a queue in the plainest way: elements in their order, each with the slot that it is
// in.
type reference []element

type element struct {
	seq  uint64
	slot int
}

func (r reference) in(slot int) int {
	return slices.IndexFunc(r, func(e element) bool { return e.slot == slot })
}

func TestElementsComeOutInTheOrderInWhichTheyCame(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 0))
		var q Queue[uint64]
		var want reference
		limit := 1 + random.IntN(4*chunk)
		for seq := uint64(1); seq <= 20_000; seq++ {
			switch {
			case random.IntN(3) == 0 && len(want) > 0:
				got, value := q.Pop()
				require.Equal(t, want[0].seq, got)
				require.Equal(t, want[0].seq, value)
				hole, last := want[0].slot, want.in(len(want)-1)
				want[last].slot = hole
				want = want[1:]
			case len(want) < limit:
				q.Push(seq, seq)
				want = append(want, element{seq, len(want)})
			default:
				slot := random.IntN(len(want))
				q.Replace(slot, seq, seq)
				i := want.in(slot)
				want = append(slices.Delete(want, i, i+1), element{seq, slot})
			}
			require.Equal(t, len(want), q.Len())
			if len(want) > 0 {
				oldest, _ := q.Oldest()
				require.Equal(t, want[0].seq, oldest)
			}
		}
	}
}

func TestAQueueThatEmptiesLetsGoOfItsSlots(t *testing.T) {
	var q Queue[*int]
	for seq := range uint64(10 * chunk) {
		q.Push(seq, new(int))
	}
	for q.Len() > 0 {
		q.Pop()
	}
	require.LessOrEqual(t, len(q.chunks), 2)
	for _, c := range q.chunks {
		for _, s := range c {
			require.Nil(t, s.value)
		}
	}
}

func TestAQueueOfOneHasOneSlot(t *testing.T) {
	var q Queue[int]
	q.Push(1, 1)
	require.Len(t, q.chunks[0], 1)
}

func BenchmarkReplace(b *testing.B) {
	for _, n := range []int{256, 1 << 16, 1 << 20} {
		b.Run(fmt.Sprintf("buffer=%d", n), func(b *testing.B) {
			var q Queue[[56]byte]
			for i := range n {
				q.Push(uint64(i), [56]byte{})
			}
			for i := range b.N {
				q.Replace(rand.IntN(n), uint64(i), [56]byte{})
			}
		})
	}
}
