// Package background supports work in the background. A [Tracker] counts goroutines, so that their
// owner can wait until none is left. A [Queue] orders items by when they are due. An [Agenda] is a
// queue with a timer, which visits the items when they are due.
package background

import "sync"

// A Tracker counts goroutines, or pieces of work, and waits for them. Unlike a [sync.WaitGroup], it
// may be entered while somebody waits: a goroutine leaves while it runs user code, which may hang,
// and enters again afterwards. The zero Tracker is empty. All methods are safe for concurrent use.
type Tracker struct {
	mu   sync.Mutex
	n    int
	zero chan struct{} // closed when n becomes 0; nil while nobody waits
}

// Enter adds one. It does not block.
func (t *Tracker) Enter() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
}

// Leave subtracts one. It does not block.
func (t *Tracker) Leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n--
	if t.n == 0 && t.zero != nil {
		close(t.zero)
		t.zero = nil
	}
}

// Wait blocks until the count is 0.
func (t *Tracker) Wait() {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return
	}
	if t.zero == nil {
		t.zero = make(chan struct{})
	}
	zero := t.zero
	t.mu.Unlock()
	<-zero
}

// Len returns the count.
func (t *Tracker) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}
