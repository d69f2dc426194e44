package registry

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"maps"
	"math/rand/v2"
	"slices"
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
		if seed%2 == 0 {
			names *= 20
		}
		for range 20 * names {
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

// requireSound fails the test unless the directory leads to where each name is, and there is no
// table, and no directory, that is larger than the names need.
func requireSound(t *testing.T, m *Map[int]) {
	t.Helper()
	d := m.directory.Load()
	if d.tables == nil {
		return
	}
	require.Len(t, d.tables, 1<<d.bits)
	names, deepest := 0, 0
	for i := 0; i < len(d.tables); {
		tab := d.tables[i].Load()
		require.EqualValues(t, i, d.slot(tab.first))
		for range 1 << (d.bits - tab.bits) {
			require.Same(t, tab, d.tables[i].Load())
			i++
		}
		n := 0
		for j := range tab.buckets {
			for e := tab.buckets[j].Load(); e != nil; e = e.next.Load() {
				if d.bucket(e.hash) != &tab.buckets[j] {
					require.Fail(t, "a name is in a bucket where nobody finds it")
				}
				n++
			}
		}
		require.Equal(t, n, tab.count)
		names += n
		if tab.bits == d.bits {
			deepest++
		}
		if other := d.table(tab.first ^ 1<<(hashBits-tab.bits)); other.bits == tab.bits {
			require.Greater(t, tab.count+other.count, fewest, "two tables should have merged")
		}
	}
	require.Equal(t, m.count, names)
	require.Equal(t, m.deepest, deepest)
	require.NotZero(t, deepest, "the directory should have halved")
}

func TestTheTableShrinksWhenItIsEmptied(t *testing.T) {
	for _, order := range []func(m *Map[int], a, b string) int{
		func(*Map[int], string, string) int { return 0 },
		func(m *Map[int], a, b string) int { // table by table
			return cmp.Compare(maphash.String(m.seed, a), maphash.String(m.seed, b))
		},
	} {
		m := New[int]()
		var names []string
		change := func(f func(m *Map[int], name string), name string) {
			moved := m.moved
			if f(m, name); m.moved != moved {
				requireSound(t, m)
			}
		}
		for i := range 30_000 {
			names = append(names, fmt.Sprint(i))
			change(func(m *Map[int], name string) { insert(m, name, i) }, names[i])
		}
		require.GreaterOrEqual(t, len(m.directory.Load().tables), len(names)/most)
		slices.SortFunc(names, func(a, b string) int { return order(m, a, b) })
		for _, name := range names {
			change(remove, name)
		}
		require.Nil(t, m.directory.Load().tables)
		require.LessOrEqual(t, len(m.directory.Load().buckets), 2*minBuckets)
		require.Zero(t, m.LenLocked())
	}
}

// The lock is not held for long, however many names there are.
func TestNoChangeMovesManyNames(t *testing.T) {
	m := New[int]()
	const names, bound = 100_000, 3_000
	most := 0
	change := func(f func(m *Map[int], name string), i int) {
		before := m.moved
		f(m, fmt.Sprint(i))
		most = max(most, m.moved-before)
	}
	for i := range names {
		change(func(m *Map[int], name string) { insert(m, name, i) }, i)
	}
	t.Logf("at most %d when names came", most)
	require.Less(t, most, bound)
	most = 0
	for i := range names {
		change(remove, i)
	}
	t.Logf("at most %d when they went", most)
	require.Less(t, most, bound)
}

// Nothing is yielded twice, or left out, because tables split and merge meanwhile.
func TestALoopYieldsWhatStaysOnceWhateverComesAndGoes(t *testing.T) {
	for _, stay := range []int{1, 100, 2_000, 10_000} {
		m := New[int]()
		for i := range stay {
			insert(m, fmt.Sprint("stays ", i), i)
		}
		goes, n, seen := 0, 0, map[string]int{}
		for name := range m.All() {
			seen[name]++
			if n++; n%211 != 0 {
				continue
			}
			// Many come, and go, and come.
			if goes < 20_000 {
				for range 2_000 {
					insert(m, fmt.Sprint("goes ", goes), goes)
					goes++
				}
				continue
			}
			for goes > 0 {
				goes--
				remove(m, fmt.Sprint("goes ", goes))
			}
		}
		for i := range stay {
			require.Equal(t, 1, seen[fmt.Sprint("stays ", i)])
		}
		requireSound(t, m)
	}
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
				_, _ = m.Load(fmt.Sprint("goes ", i%4_000))
			}
		})
	}
	for range 2 {
		for i := range 4_000 { // enough for tables to split and merge
			insert(m, fmt.Sprint("goes ", i), i)
		}
		for i := range 4_000 {
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
