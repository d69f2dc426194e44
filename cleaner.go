package broadcast

import (
	"container/heap"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// cleaner ends stalled readers and forgets idle chats. Nothing ticks: there is one timer, armed for the first chat that is due.
//
// WithCleanInterval is how late it may be. A quarter of it is spent on gathering what is due at about the same time, and
// readers are looked at twice per half of it, so that a stall that began right after a look is still ended in time.
type cleaner[T any] struct {
	broker *Broker[T]
	slack  time.Duration // how much later than due a chat is visited, to visit many at once
	sample time.Duration // how often readers that could stall are looked at

	logging atomic.Bool // a run is logging: set and cleared by it; the next run, if it hangs, logs nothing

	mu      sync.Mutex
	queue   dueChats[T]
	timer   *time.Timer // nil until first needed
	armed   bool        // the timer will run, at:
	at      time.Time
	stopped bool
}

func (cl *cleaner[T]) init(b *Broker[T]) {
	quarter := max(b.config.cleanInterval/4, 1)
	cl.broker, cl.slack, cl.sample = b, quarter, quarter
}

// schedule makes the cleaner visit a chat at the given time or a little later, if it would not come earlier anyway.
func (cl *cleaner[T]) schedule(c *chat[T], at time.Time) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	switch {
	case cl.stopped:
		return
	case c.due.IsZero():
		c.due = at
		heap.Push(&cl.queue, c)
	case at.Before(c.due):
		c.due = at
		heap.Fix(&cl.queue, c.dueIndex)
	}
	cl.armLocked()
}

// scheduleAt is schedule for what must be done on time.
func (cl *cleaner[T]) scheduleAt(c *chat[T], at time.Time) { cl.schedule(c, at.Add(-cl.slack)) }

// armLocked sets the timer for the first chat in the queue. The run that it will start is counted from now on.
func (cl *cleaner[T]) armLocked() {
	if cl.stopped || len(cl.queue) == 0 {
		return
	}
	at := cl.queue[0].due.Add(cl.slack)
	if cl.armed && !at.Before(cl.at) {
		return
	}
	if cl.armed && !cl.timer.Stop() {
		return // it is about to run, and will set the timer again
	}
	if !cl.armed {
		cl.armed = true
		cl.broker.background.enter()
	}
	cl.at = at
	if d := time.Until(at); cl.timer == nil {
		cl.timer = time.AfterFunc(d, cl.run)
	} else {
		cl.timer.Reset(d)
	}
}

// stop ends the cleaner. A run that has begun is waited for by others.
func (cl *cleaner[T]) stop() {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.stopped = true
	cl.queue = nil
	if cl.armed && cl.timer.Stop() {
		cl.armed = false
		cl.broker.background.leave()
	}
}

// run visits the chats that are due.
func (cl *cleaner[T]) run() {
	var r cleanReport[T]
	for _, c := range cl.take(time.Now()) {
		cl.visit(c, &r)
	}
	cl.mu.Lock()
	cl.armLocked()
	cl.mu.Unlock()
	cl.broker.announce(r.stalled)
	cl.broker.background.leave() // Close does not wait for the logger
	cl.report(&r)
}

// take returns the chats that are due.
func (cl *cleaner[T]) take(now time.Time) (due []*chat[T]) {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.armed = false
	for len(cl.queue) > 0 && !cl.queue[0].due.After(now) {
		c := heap.Pop(&cl.queue).(*chat[T])
		c.due = time.Time{}
		due = append(due, c)
	}
	return due
}

// cleanReport is what a run did.
type cleanReport[T any] struct {
	stalled []*Subscriber[T]
	cleaned []*chat[T]
}

// visit does what is due in a chat, and schedules the next visit if there will be something.
func (cl *cleaner[T]) visit(c *chat[T], r *cleanReport[T]) {
	now := time.Now()
	c.mu.Lock()
	next := c.endStalledLocked(now, r)
	kept, expires := c.historyLocked(now)
	leaves := c.leaveLocked(now)
	idle := c.emptySince.Add(cl.broker.config.chatIdle)
	empty := c.readers.Len() == 0 && !c.dead
	c.mu.Unlock()
	c.wakeFollowers()
	over := empty && !kept && leaves.IsZero() && !now.Before(idle)
	if over && cl.broker.forget(c) {
		cl.broker.past.mu.Lock()
		cl.broker.past.cleaned++
		cl.broker.past.mu.Unlock()
		r.cleaned = append(r.cleaned, c)
		return
	}
	next = earliest(next, expires)
	switch {
	case over: // somebody has just come, or waits; look again
		next = earliest(next, now)
	case empty && now.Before(idle):
		next = earliest(next, idle)
	}
	if !next.IsZero() {
		cl.schedule(c, next)
	}
	if !leaves.IsZero() {
		cl.scheduleAt(c, leaves)
	}
}

func (cl *cleaner[T]) report(r *cleanReport[T]) {
	b := cl.broker
	if b.config.logger == nil || len(r.stalled)+len(r.cleaned) == 0 || !cl.logging.CompareAndSwap(false, true) {
		return
	}
	defer cl.logging.Store(false)
	for _, s := range r.stalled {
		b.log(slog.LevelDebug, "stalled reader cleaned", s.chat.name, s.device)
	}
	b.logEnded(r.stalled)
	for _, c := range r.cleaned {
		b.log(slog.LevelDebug, "chat cleaned", c.name, "")
	}
	if n := len(r.stalled); n > 0 {
		b.log(slog.LevelWarn, "stalled readers cleaned", "", "", slog.Int("readers", n))
	}
}

// stallWatch is what the cleaner knows of a reader with a stall timeout. Guarded by the chat's lock.
type stallWatch struct {
	timeout   time.Duration
	since     time.Time // when it was first seen with messages waiting and this much delivered; zero if none waited
	delivered uint64
}

// endStalledLocked ends the readers that have had messages waiting and taken none for their timeout. It returns when to
// look again, or the zero time if no reader has messages waiting: then the next publisher calls.
func (c *chat[T]) endStalledLocked(now time.Time, r *cleanReport[T]) (next time.Time) {
	for _, s := range c.readers.All() {
		w := s.stall
		if w == nil {
			continue
		}
		stats := s.statsLocked()
		if stats.Pending == 0 {
			w.since = time.Time{}
			continue
		}
		if w.since.IsZero() || w.delivered != stats.Delivered {
			w.since, w.delivered = now, stats.Delivered
			s.set(slow) // Messages reports each message from now on
		}
		due := w.since.Add(w.timeout)
		if !now.Before(due) && c.endLocked(s, ErrStalled, true) {
			c.past.stalled++
			r.stalled = append(r.stalled, s)
			continue
		}
		next = earliest(next, due)
		next = earliest(next, now.Add(c.broker.cleaner.sample))
	}
	c.observed = !next.IsZero()
	return next
}

// observeLocked calls the cleaner when messages may wait for readers that could stall, unless it looks at them already.
func (c *chat[T]) observeLocked() {
	if c.stallers > 0 && !c.observed {
		c.observed = true
		c.broker.cleaner.schedule(c, time.Now().Add(c.broker.cleaner.sample))
	}
}

// emptiedLocked notes that the last reader has left.
func (c *chat[T]) emptiedLocked() {
	c.emptySince = time.Now()
	c.broker.cleaner.schedule(c, c.emptySince.Add(c.broker.config.chatIdle))
}

// earliest returns the earlier of two times, of which the zero one is never.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// dueChats is the chats that the cleaner is to visit, as a [heap.Interface] by time.
type dueChats[T any] []*chat[T]

func (q dueChats[T]) Len() int           { return len(q) }
func (q dueChats[T]) Less(i, j int) bool { return q[i].due.Before(q[j].due) }

func (q dueChats[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].dueIndex, q[j].dueIndex = i, j
}

// Push is for package heap.
func (q *dueChats[T]) Push(x any) {
	c := x.(*chat[T])
	c.dueIndex = len(*q)
	*q = append(*q, c)
}

// Pop is for package heap.
func (q *dueChats[T]) Pop() any {
	last := len(*q) - 1
	c := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return c
}
