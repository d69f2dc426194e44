// Package smallmap is a map that costs little memory while it has few keys: a Go map takes some 250 bytes for the first one, and a
// service may have a great many maps with one or two keys each.
package smallmap

import (
	"iter"
	"slices"
)

// few is up to how many keys are kept in a list, which is searched from one end to the other.
const few = 8

// Map is the map. The zero Map is empty. It is not safe for concurrent use.
type Map[K comparable, V any] struct {
	list []entry[K, V] // all, while many is nil
	many map[K]V
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// Len returns the number of keys.
func (m *Map[K, V]) Len() int { return len(m.list) + len(m.many) }

// Get returns the value of a key, the zero value if it has none.
func (m *Map[K, V]) Get(key K) V {
	if m.many != nil {
		return m.many[key]
	}
	if i := m.index(key); i >= 0 {
		return m.list[i].value
	}
	var none V
	return none
}

// Set gives a key a value, in place of the one that it has.
func (m *Map[K, V]) Set(key K, value V) {
	if m.many == nil && len(m.list) == few && m.index(key) < 0 {
		m.many = make(map[K]V, few+1)
		for _, e := range m.list {
			m.many[e.key] = e.value
		}
		m.list = nil
	}
	if m.many != nil {
		m.many[key] = value
	} else if i := m.index(key); i >= 0 {
		m.list[i].value = value
	} else {
		m.list = append(m.list, entry[K, V]{key, value})
	}
}

// Delete removes a key if it is there. An empty map holds nothing.
func (m *Map[K, V]) Delete(key K) {
	if m.many != nil {
		delete(m.many, key)
	} else if i := m.index(key); i >= 0 {
		m.list = slices.Delete(m.list, i, i+1)
	}
	if m.Len() == 0 {
		m.list, m.many = nil, nil
	}
}

func (m *Map[K, V]) index(key K) int {
	return slices.IndexFunc(m.list, func(e entry[K, V]) bool { return e.key == key })
}

// All returns an iterator over the keys and values, in no order. The loop may delete keys that it has got, and make no other change.
func (m *Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for i := len(m.list) - 1; i >= 0; i-- { // backwards: what is deleted moves only those that were
			if e := m.list[i]; !yield(e.key, e.value) {
				return
			}
		}
		for key, value := range m.many {
			if !yield(key, value) {
				return
			}
		}
	}
}
