package broadcast

import (
	"runtime"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/internal/chunks"
)

// This file keeps the open subscriptions of a chat: those of devices, and anonymous ones.

// pieceSize is the largest number of readers that are visited, or ended, in one hold of a chat's
// lock.
const pieceSize = 128

// longYield is the duration from which a yield shows that other goroutines keep the CPUs busy.
const longYield = 100 * time.Microsecond

// yield lets other goroutines take the lock between two pieces. Tests replace it.
var yield = runtime.Gosched

// openCountLocked returns the number of open subscriptions.
func (c *chat[T]) openCountLocked() int {
	return c.readers.Len() - c.presence.Absent() - c.feed.awayLocked() + c.anonymousCountLocked()
}

// addLocked adds an open subscription. It returns the one that its device had, if any.
func (c *chat[T]) addLocked(s *Subscriber[T]) (old *Subscriber[T]) {
	if s.device != "" {
		return c.readers.Set(s.device, s)
	}
	if c.anonymous == nil {
		c.anonymous = new(chunks.List[*Subscriber[T]])
	}
	s.index = int32(c.anonymous.Len())
	c.anonymous.Push(s)
	return nil
}

// removeAnonymousLocked removes an anonymous subscription.
func (c *chat[T]) removeAnonymousLocked(s *Subscriber[T]) {
	if moved := c.anonymous.Pop(); moved != s {
		*c.anonymous.At(int(s.index)), moved.index = moved, s.index
	}
	if c.anonymous.Len() == 0 {
		c.anonymous = nil
	}
}

// eachDeviceLocked calls visit for the devices that are present, with their subscribers, or nil for
// those in their leave grace. In between it releases the lock for a moment; devices that come or go
// meanwhile may or may not be visited.
func (c *chat[T]) eachDeviceLocked(visit func(device string, s *Subscriber[T])) {
	var p pieces
	for device, s := range c.readers.All() {
		visit(device, s)
		p.visited(&c.gate)
	}
}

// eachReaderLocked calls visit for the open subscriptions. In between it releases the lock for a
// moment; subscriptions that begin or end meanwhile may or may not be visited, and an anonymous one
// may be visited twice.
func (c *chat[T]) eachReaderLocked(visit func(s *Subscriber[T])) {
	var p pieces
	for _, s := range c.readers.All() {
		if s != nil && s.end.Load() == nil {
			visit(s)
		}
		p.visited(&c.gate)
	}
	// Backwards, because the last one moves to the place of one that ends.
	for i := c.anonymousCountLocked() - 1; i >= 0; i = min(i, c.anonymousCountLocked()) - 1 {
		visit(*c.anonymous.At(i))
		p.visited(&c.gate)
	}
}

// openReaders returns the open subscriptions. It visits them as eachReaderLocked does.
func (c *chat[T]) openReaders() []*Subscriber[T] {
	c.gate.Lock()
	n := c.openCountLocked()
	c.gate.Unlock()
	all := make([]*Subscriber[T], 0, n+pieceSize)
	c.gate.Lock()
	defer c.gate.Unlock()
	c.eachReaderLocked(func(s *Subscriber[T]) { all = append(all, s) })
	return all
}

// anonymousCountLocked returns the number of anonymous subscriptions.
func (c *chat[T]) anonymousCountLocked() int {
	if c.anonymous == nil {
		return 0
	}
	return c.anonymous.Len()
}

// pieces counts the readers visited with a lock held, and releases the lock for a moment after each
// pieceSize readers.
type pieces struct {
	readers int
	rushed  bool // does not yield, because that takes long
}

func (p *pieces) visited(lock sync.Locker) {
	if p.readers++; p.readers%pieceSize > 0 {
		return
	}
	lock.Unlock()
	if !p.rushed { // without a yield, others get the lock only after a millisecond
		start := time.Now()
		yield()
		p.rushed = time.Since(start) >= longYield
	}
	lock.Lock()
}
