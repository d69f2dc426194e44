package registry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// named returns a map with so many names, and these in a random order.
func named(n int) (m *Map[int], names []string) {
	m = New[int]()
	for i := range n {
		names = append(names, fmt.Sprint("name ", i))
		insert(m, names[i], i)
	}
	rand.Shuffle(n, func(i, j int) { names[i], names[j] = names[j], names[i] })
	return m, names
}

// BenchmarkLoad looks names up, in a random order.
func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{16, 1_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("names=%d", n), func(b *testing.B) {
			m, names := named(n)
			for i := 0; b.Loop(); i++ {
				if i == n {
					i = 0
				}
				if _, ok := m.Load(names[i]); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}

// BenchmarkInsert inserts names and reports how long those of them took that had a table split,
// half of them at most, and how many entries and pointers one of them moved at most.
func BenchmarkInsert(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		b.Run(fmt.Sprintf("names=%d", n), func(b *testing.B) {
			var splits []time.Duration
			most := 0
			for b.Loop() {
				m := New[int]()
				for i := range n {
					name, moved, start := fmt.Sprint("name ", i), m.moved, time.Now()
					insert(m, name, i)
					if moved = m.moved - moved; moved > tableSize {
						splits = append(splits, time.Since(start))
					}
					most = max(most, moved)
				}
			}
			slices.Sort(splits)
			b.ReportMetric(float64(splits[len(splits)/2].Microseconds()), "µs/split")
			b.ReportMetric(float64(most), "moved")
		})
	}
}
