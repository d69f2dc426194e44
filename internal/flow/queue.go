package flow

import "time"

// waiter is a publisher that waits for room. Guarded by the lock, except for the channels.
type waiter struct {
	ready    chan struct{}   // has a token when the waiter must look again
	done     <-chan struct{} // of its context; nil if that is never done
	pass     pass            // how far it has come while it leads
	working  bool            // it leads, and has yet to find out whether there is room
	timedOut bool            // its timeout is over, but another publisher is working
	mustWake bool            // it has yet to call wakeParked; used by its goroutine alone
	led      bool            // it has led, and has visited the readers

	// blocked is set when the waiter, as leader, finds a full reader that blocks, or enters while
	// the leader has blocked set. TryAdmit must not overtake it.
	blocked bool

	since time.Time // when it began to wait

	next, prev *waiter
}

func newWaiter(done <-chan struct{}) *waiter {
	return &waiter{ready: make(chan struct{}, 1), done: done, since: time.Now()}
}

// isDone reports whether the context is done.
func (w *waiter) isDone() bool {
	select {
	case <-w.done:
		return true
	default:
		return false
	}
}

// signal makes the waiter look again. It does not block.
func (w *waiter) signal() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// waiters is a queue of waiting publishers. The first one leads: it visits the readers. When it is
// admitted or gives up, the next one leads.
type waiters struct {
	first, last *waiter
}

func (q *waiters) push(w *waiter) {
	if q.last == nil {
		q.first = w
	} else {
		q.last.next, w.prev = w, q.last
	}
	q.last = w
}

// remove removes a waiter. If it led, the next one leads.
func (q *waiters) remove(w *waiter) {
	led := q.first == w
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		q.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		q.last = w.prev
	}
	if led && q.first != nil {
		q.first.signal()
	}
}
