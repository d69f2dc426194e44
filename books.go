package broadcast

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/fbd86cad/broadcast/internal/flow"
)

// books are totals over subscriptions. Nothing is counted per message: delivered and pending follow
// from positions, and subscriptions that end are added up. A difference may wrap around below 0;
// sums come out right.
type books struct {
	delivered, missed, pending, discarded uint64
	replaced, disconnected, stalled       uint64
}

func (b *books) add(o books) {
	b.delivered += o.delivered
	b.missed += o.missed
	b.pending += o.pending
	b.discarded += o.discarded
	b.replaced += o.replaced
	b.disconnected += o.disconnected
	b.stalled += o.stalled
}

// minus returns b minus o. It leaves the numbers of ends alone.
func (b books) minus(o books) books {
	b.delivered -= o.delivered
	b.missed -= o.missed
	b.pending -= o.pending
	b.discarded -= o.discarded
	return b
}

// statsLocked computes the counters of a subscription from its position.
func (s *Subscriber[T]) statsLocked() SubscriberStats {
	_, head := s.headLocked()
	position := s.at.Position()
	lost := s.lost(head) // already missed, though the reader has not noticed yet
	numbers, tail := s.numbers.Load(), s.tailLocked()
	holes := numbers.Lost(tail)
	stats := SubscriberStats{
		Delivered: position - s.joined - s.missed,
		Missed:    s.missed + lost + holes,
	}
	if !s.renumbered && numbers.Resets(tail) == 0 {
		stats.Joined = numbers.Number(s.joined)
	}
	stats.Head = stats.Joined + head - s.joined + holes
	rest := head - position - lost
	if s.gone() {
		stats.Discarded = rest
	} else {
		stats.Pending = rest
	}
	return stats
}

// booksLocked returns the counters of a subscription as books.
func (s *Subscriber[T]) booksLocked() books {
	st := s.statsLocked()
	return books{
		delivered: st.Delivered, missed: st.Missed, pending: st.Pending, discarded: st.Discarded,
	}
}

// updateTotalsLocked updates the totals with the counters of a subscription that has ended.
func (c *chat[T]) updateTotalsLocked(s *Subscriber[T]) {
	e := s.end.Load()
	now := s.booksLocked()
	change := now.minus(e.booked)
	e.booked = now
	if c.forgotten {
		c.shared.totals.add(change) // forget has moved the chat's totals there
		return
	}
	c.ended.add(change)
	if c.countedTwice != nil && s.statsMark == c.statsMark {
		c.countedTwice.add(change)
	}
}

// brokerTotals are the totals of a broker beyond those of its chats.
type brokerTotals struct {
	rejected    atomic.Uint64  // calls of Publish and TryPublish that returned an error
	withoutChat stripedCounter // messages accepted for chats that do not exist

	mu        sync.Mutex
	forgotten chatTotals // of the chats that were forgotten
	cleaned   uint64     // chats forgotten by the cleaner

	// call is the number of the last call of Stats. unseen are the totals of the chats that were
	// forgotten before that call had reached them.
	call   uint32
	unseen chatTotals
}

// chatTotals are the totals of one or more chats.
type chatTotals struct {
	books    books // of their subscriptions
	waits    flow.Waits
	accepted uint64
	resets   uint64
}

func (t *chatTotals) add(o chatTotals) {
	t.books.add(o.books)
	t.waits.Add(o.waits)
	t.accepted += o.accepted
	t.resets += o.resets
}

// add adds the counters of a subscription whose chat was forgotten.
func (t *brokerTotals) add(b books) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgotten.books.add(b)
}

// forget adds the totals of a chat that is forgotten. seen is the number of the last call of Stats
// that has reached it.
func (t *brokerTotals) forget(c chatTotals, seen uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forgotten.add(c)
	if seen != t.call {
		t.unseen.add(c)
	}
}

// begin begins a call of Stats. It returns its number and how many chats the cleaner has forgotten.
func (t *brokerTotals) begin() (call uint32, cleaned uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.call++
	t.unseen = t.forgotten
	return t.call, t.cleaned
}

// end ends a call of Stats. It returns the totals of the chats that the call did not reach.
func (t *brokerTotals) end() chatTotals {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.unseen
}

// stripedCounter is a counter that is spread over cache lines, so that goroutines which add to it
// at the same time do not slow each other down.
type stripedCounter [8]struct {
	n atomic.Uint64
	_ [56]byte
}

func (s *stripedCounter) add() { s[rand.Uint32()%uint32(len(s))].n.Add(1) }

func (s *stripedCounter) sum() (sum uint64) {
	for i := range s {
		sum += s[i].n.Load()
	}
	return sum
}
