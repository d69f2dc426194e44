package broadcast

import (
	"sync"
	"sync/atomic"

	"github.com/fbd86cad/broadcast/internal/parking"
)

const (
	inlineRows         = 4 // up to so many rows of parked readers a publisher wakes itself; a larger crowd is the distributor's
	distributorWorkers = 2
	distributorRows    = 2 // woken in one turn of a crowd
)

// distributor wakes crowds of parked readers, so that publishers need not. Its workers take crowds from a queue and put one
// that is not awake yet back at the end after a bounded piece of work: a hot chat cannot starve a cold one.
type distributor struct {
	workers sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond // queue is not empty, or stopped
	queue   []turn    // each crowd at most once
	stopped bool
}

// crowd is readers that wait for the same messages.
type crowd struct {
	parking.Lot

	// errand is what the distributor has to do for the crowd. A publisher that has found somebody parked stores wanted; the worker that
	// begins a round stores begun before it looks at who is parked, and none at the end, unless it is wanted again.
	errand atomic.Int32
}

// The states of crowd.errand.
const (
	errandNone   = iota
	errandBegun  // a round has begun
	errandWanted // a round is to begin after this one; the crowd is in the queue, or will be
)

// turn is how far the distributor has come with a crowd.
type turn struct {
	crowd *crowd
	begun bool
	round parking.Round
}

func (d *distributor) start() {
	d.work.L = &d.mu
	for range distributorWorkers {
		d.workers.Go(d.run)
	}
}

// stop ends the workers and waits for them. Readers that are parked then are woken by the ends of their subscriptions.
func (d *distributor) stop() {
	d.mu.Lock()
	d.stopped = true
	d.queue = nil
	d.mu.Unlock()
	d.work.Broadcast()
	d.workers.Wait()
}

// wake wakes all that are parked, or lets a worker do it if they are many.
func (d *distributor) wake(c *crowd) {
	switch rows := c.Crowd(); {
	case rows == 0:
	case rows <= inlineRows:
		c.WakeAll()
	case c.errand.Load() != errandWanted && c.errand.Swap(errandWanted) == errandNone:
		d.push(turn{crowd: c})
	}
}

func (d *distributor) push(t turn) {
	d.mu.Lock()
	if !d.stopped {
		d.queue = append(d.queue, t)
	}
	d.mu.Unlock()
	d.work.Signal()
}

// pop waits for work; false says stop.
func (d *distributor) pop() (t turn, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) == 0 && !d.stopped {
		d.work.Wait()
	}
	if d.stopped {
		return t, false
	}
	t = d.queue[0]
	d.queue[0] = turn{}
	d.queue = d.queue[1:]
	if len(d.queue) == 0 {
		d.queue = nil // the array would creep forward for ever
	}
	return t, true
}

// swap puts a turn that is not over behind those that wait, and returns whose turn it is; false says stop.
func (d *distributor) swap(t turn) (turn, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || len(d.queue) == 0 {
		return t, !d.stopped
	}
	first := d.queue[0]
	d.queue[0] = turn{}
	d.queue = append(d.queue[1:], t)
	return first, true
}

func (d *distributor) run() {
	t, ok := d.pop()
	for ok {
		if t.wakeSome() {
			t, ok = d.swap(t)
		} else {
			t, ok = d.pop()
		}
	}
}

// wakeSome wakes a few. It returns false when all were woken for whom somebody has asked.
func (t *turn) wakeSome() (more bool) {
	if !t.begun {
		t.begun = true
		t.crowd.errand.Store(errandBegun)
		t.round = t.crowd.Round()
	}
	for range distributorRows {
		if !t.round.Wake() {
			t.begun = false
			return !t.crowd.errand.CompareAndSwap(errandBegun, errandNone)
		}
	}
	return true
}
