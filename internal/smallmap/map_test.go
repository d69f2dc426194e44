package smallmap

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestItIsAMap(t *testing.T) {
	var m Map[int, *int]
	want := map[int]*int{}
	for step := range 20_000 {
		key := rand.IntN(1 + step%30)
		if rand.IntN(2) == 0 {
			value := new(step)
			m.Set(key, value)
			want[key] = value
		} else {
			m.Delete(key)
			delete(want, key)
		}
		require.Equal(t, len(want), m.Len())
		for key := range 31 {
			require.Same(t, want[key], m.Get(key))
		}
		require.Equal(t, want, maps.Collect(m.All()))
		for range m.All() {
			break
		}
	}
}

func TestALoopMayDeleteWhatItHasGot(t *testing.T) {
	for _, n := range []int{1, few, few + 1, 100} {
		var m Map[int, int]
		for i := range n {
			m.Set(i, i)
		}
		met := 0
		for key := range m.All() {
			if met++; key%3 != 0 {
				m.Delete(key)
			}
		}
		require.Equal(t, n, met)
		require.Equal(t, (n+2)/3, m.Len())
	}
}

func TestAnEmptyMapHoldsNothing(t *testing.T) {
	for _, n := range []int{1, few, few + 1, 100} {
		var m Map[int, int]
		for i := range n {
			m.Set(i, i)
		}
		for i := range n {
			m.Delete(i)
		}
		require.Zero(t, m)
	}
}

func TestAListLetsGoOfWhatIsDeleted(t *testing.T) {
	var m Map[int, *int]
	m.Set(1, new(1))
	m.Set(2, new(2))
	m.Delete(1)
	require.Nil(t, m.list[:2][1].value)
}
