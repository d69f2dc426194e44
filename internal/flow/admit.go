package flow

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrTimeout means that a publisher has waited for as long as it may.
	ErrTimeout = errors.New("timeout")
	// ErrFull means that a publisher would have to wait.
	ErrFull = errors.New("full")
)

// Piece is how many readers a publisher visits in one hold of the lock. Tests change it.
var Piece = 128

// retry is how soon a publisher looks again if it timed out while another one was still finding out
// whether there is room.
const retry = time.Millisecond

// A Log is what a gate needs to know of the log that it guards. Its methods are called with the
// lock held, except for Settle.
type Log interface {
	// Head returns the last position written.
	Head() uint64
	// Refusal returns why the log accepts nothing any more, or nil.
	Refusal() error
	// Patience returns how long publishers wait for a full reader that has no patience of its own,
	// before its strategy acts.
	Patience() time.Duration
	// Act applies the strategy of a reader without room, because the next message is about to be
	// accepted. It takes the reader off the lists, or makes it leave.
	Act(c *Cursor)
	// GiveUp is told of a reader that is out of patience from now on, and takes only under the lock.
	// waited says that publishers have waited for it, as they do not with TryAdmit, or with a reader
	// whose patience is 0.
	GiveUp(c *Cursor, waited bool)
	// Settle does what calls of Act have left to do without the lock. It runs no user code.
	Settle()
}

// TryAdmit makes room for a publisher that does not wait, and has no patience: strategies may act
// at once. It returns the log's refusal, or ErrFull if a reader that blocks is full or a publisher
// waits for one, because free places belong to waiting publishers. With an error it has changed no
// reader. The lock is held at the call and at the return; if there is much to do, it is released in
// between.
//
// While TryAdmit puts readers out of patience, no publisher is admitted that would have to be
// patient with them.
func (g *Gate) TryAdmit(l Log) (err error) {
	admitted, more := g.tryPiece(l)
	if more {
		g.overtaking++
		for rest := (pause{}); more && err == nil; err = l.Refusal() {
			looked := g.due.Earliest() > l.Head()
			g.Unlock()
			l.Settle()
			if looked { // else most of them have room
				rest.take()
			}
			g.Lock()
			admitted, more = g.tryPiece(l)
		}
		g.overtaking--
		g.Nudge()
	}
	if err == nil && !admitted {
		err = ErrFull
	}
	return err
}

// tryPiece does a piece of TryAdmit. Readers are put out of patience only after all have been
// visited and none blocks. From then on, the publisher is refused only if another one was admitted
// in the meantime.
func (g *Gate) tryPiece(l Log) (admitted, more bool) {
	head, leader, n := l.Head(), g.waiters.first, Piece
	if leader == nil && head < g.limit {
		return true, false
	}
	if leader != nil && leader.blocked {
		return false, false
	}
	if !g.lookSome(head, &n) {
		return false, true
	}
	g.limit = head
	if g.count(listBlocking) > 0 {
		return false, false
	}
	for c := g.lastFull((*group).blocking); c != nil; c = g.lastFull((*group).blocking) {
		if head >= c.Limit() {
			return false, false // the next call finds this reader first
		}
		if n--; n < 0 {
			return false, true
		}
		g.readmit(c, Following)
	}
	for c := g.lastFull((*group).others); c != nil; c = g.lastFull((*group).others) {
		if n--; n < 0 {
			return false, true
		}
		if g.decide(c, head, true, true) {
			l.GiveUp(c, false)
		}
	}
	if !g.actSome(l) {
		return false, true
	}
	if leader != nil && g.full != nil && g.full.head == head {
		g.full.head++ // the leader's patience goes on at the next head
	}
	return true, false
}

// Admit waits until the next message may be accepted, at most for the timeout; 0 means forever. The
// lock is held at the call. If Admit returns nil, it is held at the return. Otherwise it is free,
// and the error is the log's refusal, the error of ctx, or ErrTimeout. Waiting publishers are
// admitted in the order in which they came.
//
// The methods of ctx are user code, and may hang. They are called without the lock, before the
// publisher enters the queue and after it has left it, so that nobody waits behind them.
func (g *Gate) Admit(ctx context.Context, l Log, timeout time.Duration) error {
	head, looked, more := l.Head(), g.waiters.first == nil, false
	for n := Piece; looked && head >= g.limit && !g.lookSome(head, &n); n = Piece {
		g.Unlock()
		g.Lock()
		if err := l.Refusal(); err != nil {
			g.Unlock()
			return err
		}
		head, looked = l.Head(), g.waiters.first == nil
	}
	var p pass
	if looked {
		if head < g.limit {
			return nil
		}
		now := time.Now()
		if looked = !g.owesYield(head, now); looked {
			var room bool
			if room, more = g.room(&p, l, now, true); room {
				return nil
			}
		}
	}
	g.Unlock()
	l.Settle()
	var until time.Time // never, if zero
	if timeout > 0 {
		until = time.Now().Add(timeout)
	}
	if looked && !more {
		g.wakeParked()
	}
	w := newWaiter(ctx.Done())
	w.pass, w.mustWake, w.working = p, more, more
	g.Lock()
	g.enter(w, l, looked && head == l.Head())
	g.Unlock()
	err := g.wait(w, l, until)
	if err != errDone {
		return err
	}
	if err = ctx.Err(); err == nil { // ctx is done, but has no error
		err = context.Canceled
	}
	return err
}

// enter adds a waiter to the queue. If the waiter has visited the readers, it has marked some, and
// the last of those to make room wakes it, unless that happened before it was in the queue. looked
// says that it has visited them at the current head.
func (g *Gate) enter(w *waiter, l Log, looked bool) {
	leader := g.waiters.first
	g.waiters.push(w)
	g.makeFull().waits.begin()
	if leader != nil {
		w.blocked = leader.led && leader.blocked
		return
	}
	w.led, w.blocked = looked && (w.pass.begun || g.awaiting.Load() > 0), g.blocks()
	if !w.led || w.mustWake || l.Refusal() != nil {
		w.signal()
	}
}

// errDone means that the context of a publisher is done.
var errDone = errors.New("done")

// wait waits in the queue until the publisher is admitted or must give up. It runs no user code.
func (g *Gate) wait(w *waiter, l Log, timeout time.Time) error {
	var rest pause
	for more, done := false, false; ; {
		if more {
			rest.take()
		} else {
			done = g.sleep(w, g.lookAgain(w, l, timeout))
		}
		now := g.yield(w, l)
		g.Lock()
		var admitted bool
		var err error
		admitted, more, err = g.attempt(w, l, now, done || w.isDone(), timeout)
		if admitted || err != nil {
			g.waiters.remove(w)
			g.full.waits.end(time.Since(w.since))
		}
		if admitted {
			return nil
		}
		g.Unlock()
		l.Settle()
		if err != nil {
			return err
		}
		if !more && w.mustWake {
			w.mustWake = false
			g.wakeParked()
		}
	}
}

// sleep sleeps until the waiter is woken, its context is done, or the given time. It reports
// whether the context is done.
func (g *Gate) sleep(w *waiter, until time.Time) (done bool) {
	timer, due := timerAt(until)
	select {
	case <-w.ready:
	case <-due:
	case <-w.done:
		done = true
	}
	if timer != nil {
		timer.Stop()
	}
	return done
}

// timerAt returns a timer for a time, or nil for the zero time, so that a publisher that waits
// forever needs no timer.
func timerAt(t time.Time) (*time.Timer, <-chan time.Time) {
	if t.IsZero() {
		return nil, nil
	}
	timer := time.NewTimer(time.Until(t))
	return timer, timer.C
}

// lookAgain returns when the waiter must look again if nobody wakes it: at the end of patience if
// it leads, and at its timeout in any case.
func (g *Gate) lookAgain(w *waiter, l Log, timeout time.Time) time.Time {
	g.Lock()
	defer g.Unlock()
	next, now := timeout, time.Now()
	if w.timedOut {
		next = now.Add(retry)
	}
	if g.waiters.first == w {
		deadline := g.nextDeadline(l.Head(), now)
		if !deadline.IsZero() && (next.IsZero() || deadline.Before(next)) {
			next = deadline
		}
	}
	return next
}

// attempt admits the waiter if it leads and there is room, or returns why it must give up. A
// context that is done takes precedence over free room, but not once strategies act. If more is
// true, there is more to do before the result is known.
func (g *Gate) attempt(
	w *waiter, l Log, now time.Time, done bool, timeout time.Time,
) (admitted, more bool, err error) {
	if err := l.Refusal(); err != nil {
		return false, false, err
	}
	if done && !w.pass.acting {
		return false, false, errDone
	}
	if g.waiters.first == w {
		if admitted, more = g.lead(w, l, now); admitted {
			return true, false, nil
		}
	}
	if !timeout.IsZero() && !now.Before(timeout) {
		if w.timedOut = g.working(); !w.timedOut {
			return false, false, ErrTimeout
		}
	}
	return false, more, nil
}

// working reports whether a publisher is still finding out whether there is room. Until it has,
// others do not time out.
func (g *Gate) working() bool {
	leader := g.waiters.first
	return g.overtaking > 0 || leader.working || !leader.led
}

// lead calls room for the leading waiter.
func (g *Gate) lead(w *waiter, l Log, now time.Time) (room, more bool) {
	first := !w.led
	w.led = true
	room, more = g.room(&w.pass, l, now, first)
	w.blocked, w.working = w.blocked || g.blocks(), more
	return room, more
}
