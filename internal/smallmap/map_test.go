package smallmap

import (
	"maps"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The reference is a Go map.
func TestItIsAMap(t *testing.T) {
	for _, keys := range []int{3, 30, 3_000} {
		var m Map[int, *int]
		want := map[int]*int{}
		for step := range 20_000 {
			key := rand.IntN(1 + step%keys)
			if rand.IntN(2) == 0 {
				value := new(step)
				m.Set(key, value)
				want[key] = value
			} else {
				m.Delete(key)
				delete(want, key)
			}
			if key = rand.IntN(keys); m.Get(key) != want[key] || m.Len() != len(want) {
				t.Fatalf("key %d of %d", key, len(want))
			}
			if step%100 == 0 {
				require.Equal(t, want, maps.Collect(m.All()))
				for range m.All() {
					break
				}
			}
		}
	}
}

func TestALoopMayDeleteWhatItHasGot(t *testing.T) {
	for _, n := range []int{1, few, few + 1, 100, 10_000} {
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

// Each key that is there throughout is met once.
func TestALoopMayChangeTheMap(t *testing.T) {
	for _, n := range []int{few - 1, 100, 10_000} {
		var m Map[int, int]
		for i := range n {
			m.Set(i, i)
			m.Set(-1-i, i)
		}
		met := make(map[int]int)
		for key := range m.All() {
			met[key]++
			for range 3 {
				m.Delete(-1 - rand.IntN(n))
				m.Set(n+rand.IntN(n), 0)
			}
		}
		for i := range n {
			require.Equal(t, 1, met[i])
		}
		m.Set(n, 0)
		for i := range 2 * n { // no bucket came or went meanwhile; now they do
			m.Delete(n + i)
			m.Delete(-1 - i)
		}
		require.Equal(t, n, m.Len())
		if m.many != nil {
			require.Less(t, m.many.buckets.Len(), n/least+few)
		}
	}
}

func TestAnEmptyMapHoldsNothing(t *testing.T) {
	for _, n := range []int{1, few, few + 1, 100, 10_000} {
		var m Map[int, int]
		for i := range n {
			m.Set(i, i)
		}
		for i := range n {
			m.Delete(i)
		}
		require.Zero(t, m)
		for i := range n {
			m.Set(i, i)
		}
		for key := range m.All() {
			m.Delete(key)
		}
		require.Zero(t, m)
	}
}

func TestAMapHoldsNoMoreThanItNeeds(t *testing.T) {
	const n = 100_000
	var m Map[int, *int]
	room := func() (entries int) {
		if m.many == nil {
			return cap(m.list)
		}
		for i := range m.many.buckets.Len() {
			entries += 1 + cap(*m.many.buckets.At(i)) // the bucket itself is as large as an entry
		}
		return entries
	}
	for i := range n {
		m.Set(i, nil)
		if i%1_000 == 0 {
			require.LessOrEqual(t, room(), few+3*m.Len()/2)
		}
	}
	for i := range n {
		m.Delete(i)
		if i%1_000 == 0 {
			require.LessOrEqual(t, room(), few+5*m.Len()/2)
		}
	}
}

func TestNoOperationMovesManyKeys(t *testing.T) {
	const n = 100_000
	var m Map[int, int]
	buckets := func() int {
		if m.many == nil {
			return 1
		}
		return m.many.buckets.Len()
	}
	for i := range 2 * n {
		before := buckets()
		if i < n {
			m.Set(i, i)
		} else {
			m.Delete(i - n)
		}
		if change := buckets() - before; change < -2 || change > 2 {
			t.Fatalf("%d buckets more in one operation", change)
		}
	}
}

func TestAListLetsGoOfWhatIsDeleted(t *testing.T) {
	var m Map[int, *int]
	for i := range few {
		m.Set(i, new(1))
	}
	for i := range few - 1 {
		m.Delete(i)
		for _, e := range m.list[len(m.list):cap(m.list)] {
			require.Nil(t, e.value)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	var m Map[int, int]
	for i := range 100_000 {
		m.Set(i, i)
	}
	for i := 0; b.Loop(); i++ {
		_ = m.Get(i % 100_000)
	}
}
