package registry

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

func insert(m *Map[int], name string, v int) {
	m.Lock()
	defer m.Unlock()
	m.InsertLocked(name, v)
}

func remove(m *Map[int], name string) {
	m.Lock()
	defer m.Unlock()
	m.DeleteLocked(name)
}

// The reference is a map.
func TestRandomOperationsMatchAMap(t *testing.T) {
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 0))
		m, reference := New[int](), map[string]int{}
		names := 1 + random.IntN(500)
		for range 3_000 {
			name := fmt.Sprint(random.IntN(names))
			if _, ok := reference[name]; !ok && random.IntN(3) > 0 {
				reference[name] = random.Int()
				insert(m, name, reference[name])
			} else {
				delete(reference, name)
				remove(m, name)
			}
			v, ok := m.Load(name)
			want, there := reference[name]
			require.Equal(t, there, ok)
			require.Equal(t, want, v)
		}
		require.Equal(t, len(reference), m.LenLocked())
		require.Equal(t, reference, maps.Collect(m.All()))
	}
}

func TestAllStopsWhenTheLoopDoes(t *testing.T) {
	m := New[int]()
	for i := range 10 {
		insert(m, fmt.Sprint(i), i)
	}
	n := 0
	for range m.All() {
		n++
		break
	}
	require.Equal(t, 1, n)
}

func TestTheTableShrinksWhenItIsEmptied(t *testing.T) {
	m := New[int]()
	for i := range 10_000 {
		insert(m, fmt.Sprint(i), i)
	}
	for i := range 10_000 {
		remove(m, fmt.Sprint(i))
	}
	require.LessOrEqual(t, len(m.table.Load().buckets), 2*minBuckets)
	require.Zero(t, m.LenLocked())
}

// What stays in the map is found throughout, whatever happens to its neighbours.
func TestALookUpFindsWhatIsThereWhileOthersComeAndGo(t *testing.T) {
	m := New[int]()
	for i := range 50 {
		insert(m, fmt.Sprint("stays ", i), i)
	}
	var stop atomic.Bool
	var readers sync.WaitGroup
	for range 3 {
		readers.Go(func() {
			for i := 0; !stop.Load(); i++ {
				if v, ok := m.Load(fmt.Sprint("stays ", i%50)); !ok || v != i%50 {
					t.Error("not found")
					return
				}
				_, _ = m.Load(fmt.Sprint("goes ", i%1_000))
			}
		})
	}
	for range 5 {
		for i := range 1_000 {
			insert(m, fmt.Sprint("goes ", i), i)
		}
		for i := range 1_000 {
			remove(m, fmt.Sprint("goes ", i))
		}
	}
	stop.Store(true)
	readers.Wait()
}

func TestALookUpAllocatesNothing(t *testing.T) {
	m := New[int]()
	insert(m, "name", 1)
	name := fmt.Sprint("na", "me")
	require.Zero(t, testing.AllocsPerRun(100, func() { _, _ = m.Load(name) }))
}
