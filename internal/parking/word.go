package parking

import "sync/atomic"

// word is an [atomic.Uint64]. In builds with the race detector, tests run goroutines in all orders
// of its operations: see step.
type word struct{ v atomic.Uint64 }

func (w *word) load() uint64 {
	step()
	return w.v.Load()
}

func (w *word) store(v uint64) {
	step()
	w.v.Store(v)
}

func (w *word) swap(v uint64) (old uint64) {
	step()
	return w.v.Swap(v)
}

func (w *word) or(mask uint64) {
	step()
	w.v.Or(mask)
}

func (w *word) compareAndSwap(old, v uint64) bool {
	step()
	return w.v.CompareAndSwap(old, v)
}
