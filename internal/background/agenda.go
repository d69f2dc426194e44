package background

import (
	"sync"
	"time"
)

// piece is how many items an agenda removes in one hold of its lock.
const piece = 128

// An Agenda visits items when they are due. It has a single timer, set for the first item; there is
// no timer while there are no items. Each time an item is scheduled it is visited at most once; the
// visit may schedule it again.
//
// Make one with [NewAgenda], and end it with [Agenda.Stop]. All methods are safe for concurrent
// use. Only Stop blocks; the caller must not hold a lock that a visit takes. The other methods may
// be called with any lock held.
type Agenda[E Item] struct {
	slack time.Duration
	visit func(due []E) (then func())
	runs  Tracker // visits, including the one that the timer will start

	mu      sync.Mutex
	queue   Queue[E]
	timer   *time.Timer // nil until first needed
	armed   bool        // the timer is set, or has just fired
	at      time.Time   // when it fires
	stopped bool
}

// NewAgenda returns an agenda that calls visit with the items that are due, on a goroutine of its
// own, up to slack after the first of them was due, so that a visit handles several items. When
// items become due during a visit, another visit may begin. If visit returns a function, the agenda
// calls that too, but Stop does not wait for it.
func NewAgenda[E Item](slack time.Duration, visit func(due []E) (then func())) *Agenda[E] {
	return &Agenda[E]{slack: slack, visit: visit}
}

// Schedule schedules a visit of an item at the given time, or up to slack later. If a visit is
// scheduled before that already, Schedule does nothing.
func (a *Agenda[E]) Schedule(e E, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stopped {
		return
	}
	if due := e.appointment().due; due.IsZero() || at.Before(due) {
		a.queue.Set(e, at)
	}
	a.armLocked()
}

// ScheduleOnTime is like [Agenda.Schedule], but the visit must not be late: it may come up to slack
// early.
func (a *Agenda[E]) ScheduleOnTime(e E, at time.Time) { a.Schedule(e, at.Add(-a.slack)) }

// Len returns the number of scheduled items.
func (a *Agenda[E]) Len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.queue.Len()
}

// Stop ends the agenda, and waits for a visit that has begun. No item is visited afterwards.
func (a *Agenda[E]) Stop() {
	a.mu.Lock()
	a.stopped = true
	a.queue = Queue[E]{}
	if a.armed && a.timer.Stop() {
		a.armed = false
		a.runs.Leave()
	}
	a.mu.Unlock()
	a.runs.Wait()
}

// armLocked sets the timer for the first item. From now on, runs counts the visit that the timer
// will start.
func (a *Agenda[E]) armLocked() {
	if a.stopped || a.queue.Len() == 0 {
		return
	}
	at := a.queue.First().appointment().due.Add(a.slack)
	if a.armed && !at.Before(a.at) {
		return
	}
	if a.armed && !a.timer.Stop() {
		return // the timer has just fired, and run will set it again
	}
	if !a.armed {
		a.armed = true
		a.runs.Enter()
	}
	a.at = at
	if d := time.Until(at); a.timer == nil {
		a.timer = time.AfterFunc(d, a.run)
	} else {
		a.timer.Reset(d)
	}
}

// run is called by the timer.
func (a *Agenda[E]) run() {
	then := a.visit(a.take(time.Now()))
	a.mu.Lock()
	a.armLocked()
	a.mu.Unlock()
	a.runs.Leave()
	if then != nil {
		then()
	}
}

// take removes and returns the items that are due.
func (a *Agenda[E]) take(now time.Time) (due []E) {
	for more := true; more; {
		due, more = a.takeSome(due, now)
	}
	return due
}

// takeSome removes a bounded number of items that are due, and reports whether there may be more.
// In that case the timer still counts as armed, so that nobody sets it for those.
func (a *Agenda[E]) takeSome(due []E, now time.Time) (all []E, more bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for range piece {
		if a.queue.Len() == 0 || a.queue.First().appointment().due.After(now) {
			a.armed = false
			return due, false
		}
		e := a.queue.First()
		a.queue.Remove(e)
		due = append(due, e)
	}
	return due, true
}
