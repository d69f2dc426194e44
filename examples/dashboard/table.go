package main

import (
	"math"
	"sync"
)

// sensors is the number of values.
const sensors = 500

// An update holds some values by sensor, or all of them. Number orders updates: a page that has all
// values as of number 7 ignores changes up to 7.
type update struct {
	Number uint64          `json:"number"`
	Values map[int]float64 `json:"values"`
}

// A table has the newest value of each sensor. Its methods may be called concurrently.
type table struct {
	mu      sync.Mutex
	number  uint64 // of the last update
	values  [sensors]float64
	changed map[int]float64 // since the last update
}

// set stores the value of a sensor.
func (t *table) set(id int, value float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	value = math.Round(100*value) / 100
	t.values[id] = value
	if t.changed == nil {
		t.changed = make(map[int]float64)
	}
	t.changed[id] = value
}

// takeChanges returns the values that have changed since its last call.
func (t *table) takeChanges() update {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.number++
	u := update{t.number, t.changed}
	t.changed = nil
	return u
}

// all returns all values.
func (t *table) all() update {
	t.mu.Lock()
	defer t.mu.Unlock()
	u := update{t.number, make(map[int]float64, sensors)}
	for id, value := range t.values {
		u.Values[id] = value
	}
	return u
}
