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
	queue   []*crowd  // each at most once
	stopped bool
}

// crowd is readers that wait for the same messages.
type crowd struct {
	parking.Lot

	queued atomic.Bool   // the distributor has it: set by whoever enqueues, cleared by the worker before its last look
	round  parking.Round // how far the distributor has come; while queued
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
		c.round = c.Round()
		d.push(c)
	}
}

func (d *distributor) push(c *crowd) {
	d.mu.Lock()
	if !d.stopped {
		d.queue = append(d.queue, c)
	}
	d.mu.Unlock()
	d.work.Signal()
}

// pop waits for work; nil says stop.
func (d *distributor) pop() *crowd {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) == 0 && !d.stopped {
		d.work.Wait()
	}
	if d.stopped {
		return nil
	}
	c := d.queue[0]
	d.queue[0] = nil
	d.queue = d.queue[1:]
	if len(d.queue) == 0 {
		d.queue = nil // the array would creep forward for ever
	}
	return c
}

func (d *distributor) run() {
	for c := d.pop(); c != nil; c = d.pop() {
		if c.wakeSome() {
			d.push(c) // still queued
			continue
		}
		// A publisher that comes before the flag is down relies on this worker, so look once more after it.
		c.round = parking.Round{}
		c.queued.Store(false)
		d.wake(c)
	}
}

// wakeSome is one turn. It returns false when all were woken that were parked when the crowd was enqueued.
func (c *crowd) wakeSome() (more bool) {
	for range distributorRows {
		if !c.round.Wake() {
			return false
		}
	}
	return true
}
