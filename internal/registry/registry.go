// Package registry is a map from names to values that is read without a lock and without writing to shared memory: many
// goroutines look names up on a hot path while a few, rarely, insert and delete. A [sync.Map] would allocate for each look-up
// by a string.
package registry

import (
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"
)

const minBuckets = 16

// Map is the map. Make one with [New].
//
// It is a table of linked lists. Writers, one at a time, change only the atomic links; readers follow them. A deleted entry
// keeps its own link, so that a reader that stands on it finds the rest.
type Map[V any] struct {
	mu    sync.Mutex // guards writing to all of the below
	table atomic.Pointer[table[V]]
	count int
}

type table[V any] struct {
	seed    maphash.Seed
	buckets []atomic.Pointer[entry[V]] // as many as a power of two
}

type entry[V any] struct {
	hash  uint64
	name  string
	value V
	next  atomic.Pointer[entry[V]]
}

// New returns an empty map.
func New[V any]() *Map[V] {
	m := &Map[V]{}
	m.table.Store(&table[V]{maphash.MakeSeed(), make([]atomic.Pointer[entry[V]], minBuckets)})
	return m
}

// Load returns the value of a name. It neither waits nor writes.
func (m *Map[V]) Load(name string) (v V, ok bool) {
	t := m.table.Load()
	hash := maphash.String(t.seed, name)
	for e := t.bucket(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.name == name {
			return e.value, true
		}
	}
	return v, false
}

// Lock locks the map for writing, with Load going on. The methods that end in Locked need it.
func (m *Map[V]) Lock() { m.mu.Lock() }

// Unlock ends Lock.
func (m *Map[V]) Unlock() { m.mu.Unlock() }

// LenLocked returns the number of names.
func (m *Map[V]) LenLocked() int { return m.count }

// InsertLocked adds a name that is not in the map.
func (m *Map[V]) InsertLocked(name string, v V) {
	t := m.table.Load()
	if m.count >= len(t.buckets) {
		t = m.resize(2 * len(t.buckets))
	}
	t.insert(maphash.String(t.seed, name), name, v)
	m.count++
}

// DeleteLocked removes a name if it is in the map.
func (m *Map[V]) DeleteLocked(name string) {
	t := m.table.Load()
	hash := maphash.String(t.seed, name)
	link := t.bucket(hash)
	for e := link.Load(); e != nil; link, e = &e.next, e.next.Load() {
		if e.hash == hash && e.name == name {
			link.Store(e.next.Load())
			m.count--
			if len(t.buckets) > minBuckets && m.count < len(t.buckets)/8 {
				m.resize(len(t.buckets) / 2)
			}
			return
		}
	}
}

// All yields the names and values that are in the map throughout, and possibly some of those that come or go meanwhile.
func (m *Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		t := m.table.Load()
		for i := range t.buckets {
			for e := t.buckets[i].Load(); e != nil; e = e.next.Load() {
				if !yield(e.name, e.value) {
					return
				}
			}
		}
	}
}

// resize copies the entries to a table of n buckets, new entries because the links differ.
func (m *Map[V]) resize(n int) *table[V] {
	old := m.table.Load()
	t := &table[V]{old.seed, make([]atomic.Pointer[entry[V]], n)}
	for i := range old.buckets {
		for e := old.buckets[i].Load(); e != nil; e = e.next.Load() {
			t.insert(e.hash, e.name, e.value)
		}
	}
	m.table.Store(t)
	return t
}

func (t *table[V]) bucket(hash uint64) *atomic.Pointer[entry[V]] {
	return &t.buckets[hash&uint64(len(t.buckets)-1)]
}

func (t *table[V]) insert(hash uint64, name string, v V) {
	link := t.bucket(hash)
	e := &entry[V]{hash: hash, name: name, value: v}
	e.next.Store(link.Load())
	link.Store(e)
}
