package parking

import (
	"runtime"
	"sync"
)

const (
	inlineRows = 4 // up to this many rows of parked goroutines are woken by Wake itself
	workers    = 2
	itemRows   = 2 // rows woken in one step of a work item
)

// A Distributor wakes parked goroutines in the background, where they are many. Its workers take
// work items from a queue. After a bounded step, an unfinished item goes back to the end of the
// queue, so that a large lot cannot starve a small one.
//
// The zero Distributor queues what it is given until [Distributor.Start]. All other methods are
// safe for concurrent use. Only Stop blocks.
type Distributor struct {
	workers sync.WaitGroup

	mu      sync.Mutex
	work    sync.Cond // signaled when the queue is not empty, or stopped is set
	queue   []item    // contains each lot at most once
	stopped bool
}

// The values of [Lot.wake]. A caller that finds a goroutine parked stores wakeWanted, and queues
// the lot if the value was wakeIdle. The worker that begins a round stores wakeBegun before it
// looks for parked goroutines, and wakeIdle at the end of the round, unless another round is
// wanted.
const (
	wakeIdle   = iota
	wakeBegun  // a round has begun; it may miss a goroutine that parks now
	wakeWanted // a round will begin: the lot is in the queue, or will be after the current round
)

// item is a lot and how far its round has come, or work of another kind.
type item struct {
	lot   *Lot
	begun bool
	round Round

	step func() (more bool) // in place of lot, which is nil
}

// Start starts the workers. Call it once. Stop ends them.
func (d *Distributor) Start() {
	d.work.L = &d.mu
	for range workers {
		d.workers.Go(d.run)
	}
}

// Stop ends the workers, and waits until each has finished its current step. Items that are queued,
// before or after, are not worked on any more.
func (d *Distributor) Stop() {
	d.mu.Lock()
	d.stopped = true
	d.queue = nil
	d.mu.Unlock()
	d.work.Broadcast()
	d.workers.Wait()
}

// Len returns the number of queued work items.
func (d *Distributor) Len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.queue)
}

// Wake wakes all goroutines that are parked in a lot. If they are many, a worker does it.
func (d *Distributor) Wake(l *Lot) {
	switch rows := l.parkedRows(); {
	case rows == 0:
	case rows <= inlineRows:
		l.WakeAll()
	default:
		d.WakeLater(l)
	}
}

// WakeLater lets a worker wake all goroutines that are parked in a lot.
func (d *Distributor) WakeLater(l *Lot) {
	if l.parkedRows() > 0 && l.wake.load() != wakeWanted && l.wake.swap(wakeWanted) == wakeIdle {
		d.push(item{lot: l})
	}
}

// Do lets a worker call step until it returns false. Other items have their turn in between, so
// step should return quickly. It must not call Stop.
func (d *Distributor) Do(step func() (more bool)) { d.push(item{step: step}) }

func (d *Distributor) push(i item) {
	d.mu.Lock()
	if !d.stopped {
		d.queue = append(d.queue, i)
	}
	d.mu.Unlock()
	d.work.Signal()
}

// pop waits for an item. It returns false when the distributor is stopped.
func (d *Distributor) pop() (i item, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(d.queue) == 0 && !d.stopped {
		d.work.Wait()
	}
	if d.stopped {
		return i, false
	}
	i = d.queue[0]
	d.queue[0] = item{}
	d.queue = d.queue[1:]
	if len(d.queue) == 0 {
		d.queue = nil // release the array
	}
	return i, true
}

// swap puts an unfinished item at the end of the queue, and returns the next one. It returns false
// when the distributor is stopped.
func (d *Distributor) swap(i item) (item, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || len(d.queue) == 0 {
		return i, !d.stopped
	}
	first := d.queue[0]
	d.queue[0] = item{}
	d.queue = append(d.queue[1:], i)
	return first, true
}

func (d *Distributor) run() {
	i, ok := d.pop()
	for ok {
		if i.do() {
			i, ok = d.swap(i)
		} else {
			i, ok = d.pop()
		}
	}
}

// do does one step. It returns false if the item is finished.
func (i *item) do() (more bool) {
	if i.step == nil {
		return i.wakeSome()
	}
	more = i.step()
	runtime.Gosched() // an item that never finishes must not occupy a CPU for a whole time slice
	return more
}

// wakeSome wakes a few goroutines. It returns false when the round is over and no other one is
// wanted.
func (i *item) wakeSome() (more bool) {
	if !i.begun {
		i.begun = true
		i.lot.wake.store(wakeBegun) // before the round, which wakes all that have parked by now
		i.round = i.lot.Round()
	}
	for range itemRows {
		if !i.round.Wake() {
			i.begun = false
			return !i.lot.wake.compareAndSwap(wakeBegun, wakeIdle)
		}
	}
	return true
}
