// Package registry provides a map from names to values for many concurrent readers: a look-up takes
// no lock, writes to no shared memory, and does not allocate. A [sync.Map] would allocate for each
// look-up of a string. Names are inserted and deleted rarely, by one goroutine at a time.
package registry

import (
	"hash/maphash"
	"iter"
	"sync"
	"sync/atomic"
)

const (
	minBuckets = 16
	tableSize  = 1<<10 - 3 // buckets in a table, which takes 8 KiB in all
	most       = 1280      // names in a table before it splits
	fewest     = 256       // names in two tables together before they merge; a power of two
	hashBits   = 64
)

// A Map maps names to values. Make one with [New].
//
// It consists of linked lists in buckets. One writer at a time changes the atomic links while
// readers follow them. A deleted entry keeps its own link, so that a reader that has reached it
// finds the rest of the list.
//
// A small map has a single array of buckets, which doubles and halves. A large one has tables of a
// fixed size, each for the names whose hashes begin with the same bits, and a directory from the
// first bits of a hash to its table (extendible hashing, Fagin et al. 1979). A full table splits
// into two, each with one bit more; two tables that are nearly empty merge. A change therefore
// moves at most the names of two tables, and copies at most the directory, which has one pointer
// for about a thousand names. Moving a name creates a new entry, because the links differ; then
// pointers in the directory, or the directory itself, are replaced. A reader that has the old one
// finds what was there when it came.
type Map[V any] struct {
	seed      maphash.Seed
	mu        sync.Mutex // guards writing to all of the below
	directory atomic.Pointer[directory[V]]
	count     int
	deepest   int // number of tables with as many bits as the directory
	moved     int // number of entries and pointers copied so far, for tests
}

// bucket is a linked list of entries.
type bucket[V any] struct{ atomic.Pointer[entry[V]] }

type entry[V any] struct {
	hash  uint64
	name  string
	value V
	next  bucket[V]
}

// directory finds the bucket of a hash.
type directory[V any] struct {
	buckets []bucket[V]                // a power of two; nil if there are tables
	tables  []atomic.Pointer[table[V]] // by the first bits of the hash; nil if there are buckets
	bits    int                        // number of bits that index tables, at least one
}

// table holds the names whose hashes begin with the same bits.
type table[V any] struct {
	buckets [tableSize]bucket[V] // by the last 32 bits of the hash
	first   uint64               // these bits, followed by zeros
	bits    int                  // how many they are
	count   int                  // number of names; guarded by the lock
}

// New returns an empty map.
func New[V any]() *Map[V] {
	m := &Map[V]{seed: maphash.MakeSeed()}
	m.directory.Store(&directory[V]{buckets: make([]bucket[V], minBuckets)})
	return m
}

// Load returns the value of a name. It is safe for concurrent use, and does not block.
func (m *Map[V]) Load(name string) (v V, ok bool) {
	hash := maphash.String(m.seed, name)
	for e := m.directory.Load().bucket(hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.name == name {
			return e.value, true
		}
	}
	return v, false
}

// Lock locks the map for writing; Load does not wait for it. The methods whose names end in Locked
// need the lock.
func (m *Map[V]) Lock() { m.mu.Lock() }

// Unlock releases the lock.
func (m *Map[V]) Unlock() { m.mu.Unlock() }

// LenLocked returns the number of names.
func (m *Map[V]) LenLocked() int { return m.count }

// InsertLocked adds a name that is not in the map.
func (m *Map[V]) InsertLocked(name string, v V) {
	hash := maphash.String(m.seed, name)
	switch d := m.directory.Load(); {
	case d.tables != nil:
		if t := d.table(hash); t.count >= most {
			m.split(t)
		}
	case m.count >= len(d.buckets) && len(d.buckets) < tableSize:
		m.resize(2 * len(d.buckets))
	case m.count >= most:
		m.begin()
	}
	d := m.directory.Load()
	add(d.bucket(hash), &entry[V]{hash: hash, name: name, value: v})
	d.tally(hash, 1)
	m.count++
}

// DeleteLocked removes a name if it is in the map.
func (m *Map[V]) DeleteLocked(name string) {
	d, hash := m.directory.Load(), maphash.String(m.seed, name)
	link := d.bucket(hash)
	for e := link.Load(); e != nil; link, e = &e.next, e.next.Load() {
		if e.hash != hash || e.name != name {
			continue
		}
		link.Store(e.next.Load())
		d.tally(hash, -1)
		m.count--
		switch n := len(d.buckets); {
		case d.tables != nil:
			m.merge(d.table(hash))
		case n > minBuckets && m.count < n/8:
			m.resize(n / 2)
		}
		return
	}
}

// All returns an iterator over the names and values, without a lock. It yields every name that is
// in the map throughout, and may yield names that are inserted or deleted meanwhile.
func (m *Map[V]) All() iter.Seq2[string, V] {
	return func(yield func(string, V) bool) {
		// In the order of hashes, so that splits and merges in between do not matter.
		for from, more := uint64(0), true; more; {
			buckets, next := m.directory.Load().run(from)
			for i := range buckets {
				for e := buckets[i].Load(); e != nil; e = e.next.Load() {
					if e.hash >= from && !yield(e.name, e.value) {
						return
					}
				}
			}
			from, more = next, next != 0
		}
	}
}

// bucket returns the bucket of a hash.
func (d *directory[V]) bucket(hash uint64) *bucket[V] {
	if d.tables == nil {
		return &d.buckets[hash&uint64(len(d.buckets)-1)]
	}
	return d.table(hash).bucket(hash)
}

// bucket returns the bucket of a hash.
func (t *table[V]) bucket(hash uint64) *bucket[V] {
	return &t.buckets[uint64(uint32(hash))*tableSize>>32]
}

// table returns the table of a hash. The directory must have tables.
func (d *directory[V]) table(hash uint64) *table[V] {
	return d.tables[d.slot(hash)].Load()
}

// slot returns the index in tables of a hash.
func (d *directory[V]) slot(hash uint64) uint64 {
	return hash >> (uint(hashBits-d.bits) % hashBits)
}

// run returns the buckets of the hashes that follow from, possibly with some before it, and the
// first hash after them, or 0 if there is none.
func (d *directory[V]) run(from uint64) (buckets []bucket[V], next uint64) {
	if d.tables == nil {
		return d.buckets, 0
	}
	t := d.table(from)
	return t.buckets[:], t.first + 1<<(hashBits-t.bits)
}

// tally adds n to the number of names in the table of a hash.
func (d *directory[V]) tally(hash uint64, n int) {
	if d.tables != nil {
		d.table(hash).count += n
	}
}

// add adds a new entry to a bucket.
func add[V any](b *bucket[V], e *entry[V]) {
	e.next.Store(b.Load())
	b.Store(e)
}

// copyTo copies all entries of some buckets, each to the bucket that to returns.
func (m *Map[V]) copyTo(buckets []bucket[V], to func(hash uint64) *bucket[V]) {
	for i := range buckets {
		for e := buckets[i].Load(); e != nil; e = e.next.Load() {
			add(to(e.hash), &entry[V]{hash: e.hash, name: e.name, value: e.value})
			m.moved++
		}
	}
}

// resize makes the map one with n buckets and no tables.
func (m *Map[V]) resize(n int) {
	d := &directory[V]{buckets: make([]bucket[V], n)}
	m.each(m.directory.Load(), func(buckets []bucket[V]) { m.copyTo(buckets, d.bucket) })
	m.directory.Store(d)
}

// each calls f with the buckets of a directory that has no tables or two.
func (m *Map[V]) each(d *directory[V], f func(buckets []bucket[V])) {
	if d.tables == nil {
		f(d.buckets)
	}
	for i := range d.tables {
		f(d.tables[i].Load().buckets[:])
	}
}

// begin turns a map without tables into one with two.
func (m *Map[V]) begin() {
	d := &directory[V]{tables: make([]atomic.Pointer[table[V]], 2), bits: 1}
	m.divide(d, 0, 0, m.directory.Load().buckets)
	m.directory.Store(d)
}

// split replaces a table by two.
func (m *Map[V]) split(t *table[V]) {
	d := m.directory.Load()
	if t.bits == d.bits {
		d = m.double(d)
	}
	m.divide(d, t.first, t.bits, t.buckets[:])
}

// divide puts two new tables into a directory, for the names in some buckets, whose hashes begin
// with the same bits.
func (m *Map[V]) divide(d *directory[V], first uint64, bits int, buckets []bucket[V]) {
	half := uint64(1) << (hashBits - 1 - bits) // the next bit
	lower := &table[V]{first: first, bits: bits + 1}
	upper := &table[V]{first: first | half, bits: bits + 1}
	m.copyTo(buckets, func(hash uint64) *bucket[V] {
		t := lower
		if hash&half != 0 {
			t = upper
		}
		t.count++
		return t.bucket(hash)
	})
	m.enter(d, lower)
	m.enter(d, upper)
	if bits+1 == d.bits {
		m.deepest += 2
	}
}

// enter puts a table into a directory.
func (m *Map[V]) enter(d *directory[V], t *table[V]) {
	at := d.slot(t.first)
	for i := range uint64(1) << (d.bits - t.bits) {
		d.tables[at+i].Store(t)
		m.moved++
	}
}

// merge merges a table with its neighbor, whose bits differ in the last one, if both are nearly
// empty. It goes on with the result as far as possible.
func (m *Map[V]) merge(t *table[V]) {
	for {
		d := m.directory.Load()
		other := d.table(t.first ^ 1<<(hashBits-t.bits))
		if other.bits != t.bits || t.count+other.count > fewest {
			return
		}
		if t.bits == 1 {
			m.deepest = 0
			m.resize(fewest)
			return
		}
		merged := &table[V]{first: t.first & other.first, bits: t.bits - 1, count: t.count + other.count}
		for _, old := range []*table[V]{t, other} {
			m.copyTo(old.buckets[:], merged.bucket)
		}
		m.enter(d, merged)
		if t.bits == d.bits {
			if m.deepest -= 2; m.deepest == 0 {
				m.halve(d)
			}
		}
		t = merged
	}
}

// double returns a directory with one bit more, and makes it that of the map.
func (m *Map[V]) double(old *directory[V]) *directory[V] {
	d := &directory[V]{tables: make([]atomic.Pointer[table[V]], 2*len(old.tables)), bits: old.bits + 1}
	for i := range d.tables {
		d.tables[i].Store(old.tables[i/2].Load())
		m.moved++
	}
	m.deepest = 0
	m.directory.Store(d)
	return d
}

// halve makes the directory one bit shorter, when no table needs that bit.
func (m *Map[V]) halve(old *directory[V]) {
	d := &directory[V]{tables: make([]atomic.Pointer[table[V]], len(old.tables)/2), bits: old.bits - 1}
	for i := range d.tables {
		t := old.tables[2*i].Load()
		d.tables[i].Store(t)
		if t.bits == d.bits {
			m.deepest++
		}
		m.moved++
	}
	m.directory.Store(d)
}
