package broadcast

import "sync"

const (
	distributorWorkers = 2
	distributorBatch   = 128 // readers woken in one turn of a chat
)

// distributor wakes crowds of parked readers, so that publishers need not. Its workers take chats from a queue and put a chat
// that is not done back at the end after a bounded piece of work: a hot chat cannot starve a cold one.
type distributor[T any] struct {
	workers sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond     // queue is not empty, or stopped
	queue   []*parking[T] // each at most once
	stopped bool
}

func (d *distributor[T]) start() {
	d.work.L = &d.mu
	for range distributorWorkers {
		d.workers.Go(d.run)
	}
}

// stop ends the workers and waits for them. Readers that are parked then are woken by the ends of their subscriptions.
func (d *distributor[T]) stop() {
	d.mu.Lock()
	d.stopped = true
	d.queue = nil
	d.mu.Unlock()
	d.work.Broadcast()
	d.workers.Wait()
}

// enqueue makes a worker wake the readers that a message came for.
func (d *distributor[T]) enqueue(p *parking[T]) {
	if p.queued.CompareAndSwap(false, true) {
		d.push(p)
	}
}

func (d *distributor[T]) push(p *parking[T]) {
	d.mu.Lock()
	if !d.stopped {
		d.queue = append(d.queue, p)
	}
	d.mu.Unlock()
	d.work.Signal()
}

// pop waits for work; nil says stop.
func (d *distributor[T]) pop() *parking[T] {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) == 0 && !d.stopped {
		d.work.Wait()
	}
	if d.stopped {
		return nil
	}
	p := d.queue[0]
	d.queue[0] = nil
	d.queue = d.queue[1:]
	if len(d.queue) == 0 {
		d.queue = nil // the array would creep forward for ever
	}
	return p
}

func (d *distributor[T]) run() {
	batch := make([]*Subscriber[T], distributorBatch)
	for p := d.pop(); p != nil; p = d.pop() {
		if p.wakeSome(batch) {
			d.push(p) // still queued
			continue
		}
		// A publisher that comes before the flag is down relies on this worker, so look once more after it.
		p.queued.Store(false)
		p.wake()
	}
}
