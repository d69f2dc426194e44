// Package smallmap provides a map that needs little memory for a few keys, and shrinks when keys
// are deleted. A Go map takes some 250 bytes for its first key, which adds up in a service with
// many maps of one or two keys each, and never shrinks.
//
// The cost of an operation does not depend on the number of keys. A larger map is a hash table that
// grows and shrinks by one bucket at a time (linear hashing, Litwin 1980).
package smallmap

import (
	"hash/maphash"
	"iter"
	"math/bits"
	"slices"

	"github.com/fbd86cad/broadcast/internal/chunks"
)

const (
	few     = 8 // up to this many keys are in a list, which is searched linearly
	most    = 8 // average number of keys in a bucket before a bucket is added
	least   = 2 // average number of keys in a bucket before one is removed
	changes = 2 // buckets added or removed in one operation; 1 would be enough to keep up
)

// A Map maps keys to values. The zero Map is empty. It is not safe for concurrent use.
type Map[K comparable, V any] struct {
	list []entry[K, V] // all entries, while many is nil
	many *table[K, V]
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

type table[K comparable, V any] struct {
	seed    maphash.Seed
	buckets chunks.List[[]hashed[K, V]]
	keys    int
	walks   int // iterations in progress; meanwhile no bucket is added or removed
}

type hashed[K comparable, V any] struct {
	hash uint64
	entry[K, V]
}

// Len returns the number of keys.
func (m *Map[K, V]) Len() int {
	if m.many != nil {
		return m.many.keys
	}
	return len(m.list)
}

// Get returns the value of a key, or the zero value if the key is not in the map.
func (m *Map[K, V]) Get(key K) (v V) {
	if e := m.find(key); e != nil {
		return e.value
	}
	return v
}

// Set sets the value of a key. It returns the previous value, or the zero value if there was none.
func (m *Map[K, V]) Set(key K, value V) (old V) {
	e := m.find(key)
	switch {
	case e != nil:
		old, e.value = e.value, value
		return old
	case m.many == nil && len(m.list) < few:
		add(&m.list, entry[K, V]{key, value})
		return old
	case m.many == nil:
		m.many = &table[K, V]{seed: maphash.MakeSeed()}
		m.many.buckets.Push(nil)
		for _, e := range m.list {
			m.many.set(e)
		}
		m.list = nil
	}
	m.many.set(entry[K, V]{key, value})
	return old
}

// Delete removes a key if it is in the map. An empty map retains no memory.
func (m *Map[K, V]) Delete(key K) {
	t := m.many
	if t == nil {
		if i := slices.IndexFunc(m.list, func(e entry[K, V]) bool { return e.key == key }); i >= 0 {
			remove(&m.list, i)
		}
		return
	}
	t.remove(key)
	if t.keys == 0 || t.keys <= few/2 && t.buckets.Len() == 1 && t.walks == 0 {
		m.many = nil
		for _, e := range *t.buckets.At(0) {
			add(&m.list, e.entry)
		}
	}
}

// All returns an iterator over the keys and values, in no particular order. The loop may change the
// map; a key that is added or deleted meanwhile may or may not be yielded.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		t := m.many
		if t == nil {
			var some [few]entry[K, V]
			for _, e := range some[:copy(some[:], m.list)] {
				if !yield(e.key, e.value) {
					return
				}
			}
			return
		}
		t.walks++
		defer func() { t.walks-- }()
		var some []hashed[K, V]
		for i := range t.buckets.Len() {
			some = append(some[:0], *t.buckets.At(i)...)
			for _, e := range some {
				if !yield(e.key, e.value) {
					return
				}
			}
		}
	}
}

// find returns the entry of a key, or nil.
func (m *Map[K, V]) find(key K) *entry[K, V] {
	if t := m.many; t != nil {
		b, i := t.find(t.hash(key), key)
		if i < 0 {
			return nil
		}
		return &(*b)[i].entry
	}
	for i := range m.list {
		if m.list[i].key == key {
			return &m.list[i]
		}
	}
	return nil
}

func (t *table[K, V]) hash(key K) uint64 { return maphash.Comparable(t.seed, key) }

// bucket returns the bucket for a hash. With 2^n to 2^(n+1)-1 buckets, the low n+1 bits of the hash
// are its index; if there is no such bucket, the low n bits are.
func (t *table[K, V]) bucket(hash uint64) *[]hashed[K, V] {
	n := uint64(t.buckets.Len())
	mask := uint64(1)<<bits.Len64(n) - 1
	i := hash & mask
	if i >= n {
		i &= mask >> 1
	}
	return t.buckets.At(int(i))
}

// origin returns the bucket that bucket i was split from, and is merged with again.
func (t *table[K, V]) origin(i int) *[]hashed[K, V] {
	return t.buckets.At(i &^ (1 << (bits.Len(uint(i)) - 1)))
}

// find returns the bucket of a key and its index there, which is negative if it is not there.
func (t *table[K, V]) find(hash uint64, key K) (b *[]hashed[K, V], i int) {
	b = t.bucket(hash)
	for i := range *b {
		if e := &(*b)[i]; e.hash == hash && e.key == key {
			return b, i
		}
	}
	return b, -1
}

// set adds a key that is not in the table.
func (t *table[K, V]) set(e entry[K, V]) {
	hash := t.hash(e.key)
	add(t.bucket(hash), hashed[K, V]{hash, e})
	t.keys++
	for range changes {
		n := t.buckets.Len()
		if t.keys <= most*n || t.walks > 0 {
			return
		}
		t.buckets.Push(nil)
		from, to := t.origin(n), t.buckets.At(n)
		all := *from
		goes := 0
		for _, e := range all {
			if t.bucket(e.hash) == to {
				goes++
			}
		}
		*from, *to = withRoom[hashed[K, V]](len(all)-goes), withRoom[hashed[K, V]](goes)
		for _, e := range all {
			add(t.bucket(e.hash), e)
		}
	}
}

// remove removes a key if it is in the table.
func (t *table[K, V]) remove(key K) {
	b, i := t.find(t.hash(key), key)
	if i < 0 {
		return
	}
	remove(b, i)
	t.keys--
	for range changes {
		n := t.buckets.Len()
		if t.keys >= least*n || n == 1 || t.walks > 0 {
			return
		}
		all := t.buckets.Pop()
		to := t.origin(n - 1)
		for _, e := range all {
			add(to, e)
		}
	}
}

// add appends an entry.
func add[E any](s *[]E, e E) {
	if n := len(*s); n == cap(*s) {
		*s = append(withRoom[E](n), *s...)
	}
	*s = append(*s, e)
}

// withRoom returns an empty slice with capacity for n entries and a few more.
func withRoom[E any](n int) []E { return make([]E, 0, 1+n+n/4) }

// remove removes entry i, and reduces the capacity if it is not needed.
func remove[E any](s *[]E, i int) {
	last := len(*s) - 1
	(*s)[i] = (*s)[last]
	clear((*s)[last:])
	*s = (*s)[:last]
	if n := cap(*s); last == 0 || n > 4 && last <= n/2 {
		*s = append([]E(nil), *s...)
	}
}
