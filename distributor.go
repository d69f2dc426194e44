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

	queued atomic.Bool // the distributor has it: set by whoever enqueues, cleared by the worker before its last look
}

// turn is how far the distributor has come with a crowd.
type turn struct {
	crowd *crowd
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
	case c.queued.CompareAndSwap(false, true):
		d.push(turn{c, c.Round()})
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

func (d *distributor) run() {
	for t, ok := d.pop(); ok; t, ok = d.pop() {
		if t.wakeSome() {
			d.push(t) // still queued
			continue
		}
		// A publisher that comes before the flag is down relies on this worker, so look once more after it.
		t.crowd.queued.Store(false)
		d.wake(t.crowd)
	}
}

// wakeSome takes the turn. It returns false when all were woken that were parked when the crowd was enqueued.
func (t *turn) wakeSome() (more bool) {
	for range distributorRows {
		if !t.round.Wake() {
			return false
		}
	}
	return true
}
