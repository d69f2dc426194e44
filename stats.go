package broadcast

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
)

// SubscriberStats are the books of one subscription. Whenever none of its calls is in flight
//
//	Head - Joined = Delivered + Missed + Pending + Discarded
//
// and Head stands still once the subscription has ended.
type SubscriberStats struct {
	Delivered uint64 // messages taken
	Missed    uint64 // messages that the strategy removed, and those that were gone when the subscription resumed
	Pending   uint64 // messages that can still be taken
	Discarded uint64 // messages thrown away with the subscription when it ended
	Joined    uint64 // Seq after which the subscription, or its replay, began
	Head      uint64 // Seq of the last message accepted in the chat, or when the subscription ended
}

// Stats are the numbers of a broker. Whenever no call is in flight, the calls of Publish and TryPublish are Accepted +
// Rejected, and Delivered, Missed, Pending and Discarded are the sums over all subscriptions that ever were.
type Stats struct {
	Chats       int // chats held, including those without readers that are not forgotten yet
	Subscribers int // open subscriptions

	Accepted  uint64 // messages accepted, in chats or for nobody
	Rejected  uint64 // calls of Publish and TryPublish that returned an error
	Delivered uint64 // messages taken, each as often as it was taken
	Missed    uint64 // messages that strategies removed
	Pending   uint64 // messages that can still be taken
	Discarded uint64 // messages thrown away with a subscription that ended

	Replaced     uint64 // subscriptions ended by a takeover
	Disconnected uint64 // subscriptions ended by Disconnect
	Stalled      uint64 // subscriptions ended by the stall timeout
	ChatsCleaned uint64 // chats forgotten by the cleaner
}

// books are totals of subscriptions. Nothing is counted per message: delivered and pending follow from positions, and what has
// ended is added up. Differences may wrap around below 0; sums come out right.
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

// minus returns b without o, which counts no ends.
func (b books) minus(o books) books {
	b.delivered -= o.delivered
	b.missed -= o.missed
	b.pending -= o.pending
	b.discarded -= o.discarded
	return b
}

// statsLocked works the books of a subscription out from its position; the chat's lock is held.
func (s *Subscriber[T]) statsLocked() SubscriberStats {
	_, head := s.headLocked()
	position := s.position()
	overrun := s.lost(head) // what does not fit is lost already, even if the reader does not know
	stats := SubscriberStats{
		Delivered: position - s.joined - s.missed,
		Missed:    s.missed + overrun,
		Joined:    s.joined,
		Head:      head,
	}
	rest := head - position - overrun
	if s.gone() {
		stats.Discarded = rest
	} else {
		stats.Pending = rest
	}
	return stats
}

func (s *Subscriber[T]) booksLocked() books {
	st := s.statsLocked()
	return books{delivered: st.Delivered, missed: st.Missed, pending: st.Pending, discarded: st.Discarded}
}

// recountLocked brings the totals up to date with an ended subscription whose rest is being read.
func (c *chat[T]) recountLocked(s *Subscriber[T]) {
	e := s.end.Load()
	now := s.booksLocked()
	change := now.minus(e.counted)
	e.counted = now
	if c.dead {
		c.broker.past.add(change) // the chat's totals were moved there
	} else {
		c.past.add(change)
	}
}

// sumLocked returns the totals of a chat's subscriptions, open and ended.
func (c *chat[T]) sumLocked() books {
	sum := c.past
	for _, s := range c.readers.All() {
		sum.add(s.booksLocked())
	}
	return sum
}

// ledger is the totals of what is in no chat any more.
type ledger struct {
	rejected atomic.Uint64
	nowhere  stripes // accepted in no chat, for nobody

	mu       sync.Mutex
	books    books  // of subscriptions of chats that were forgotten
	accepted uint64 // in chats that were forgotten
	cleaned  uint64 // chats forgotten by the cleaner
}

func (h *ledger) add(b books) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.books.add(b)
}

// stripes is a counter that many goroutines add to: spread over cache lines, so that they do not hinder each other.
type stripes [8]struct {
	n atomic.Uint64
	_ [56]byte
}

func (s *stripes) add() { s[rand.Uint32()%uint32(len(s))].n.Add(1) }

func (s *stripes) sum() (sum uint64) {
	for i := range s {
		sum += s[i].n.Load()
	}
	return sum
}

// Stats returns the broker's numbers. It takes the lock of one chat after the other; the numbers of chats that go on
// meanwhile are of different moments.
func (b *Broker[T]) Stats() Stats {
	if !b.valid() {
		return Stats{}
	}
	b.census.Lock()
	defer b.census.Unlock()
	h := &b.past
	stats := Stats{Rejected: h.rejected.Load(), Accepted: h.nowhere.sum()}
	h.mu.Lock()
	sum := h.books
	stats.Accepted += h.accepted
	stats.ChatsCleaned = h.cleaned
	h.mu.Unlock()
	for _, c := range b.chats.All() {
		c.mu.Lock()
		if !c.dead {
			stats.Chats++
			stats.Subscribers += c.readers.Len()
			stats.Accepted += c.log.Head()
			sum.add(c.sumLocked())
		}
		c.mu.Unlock()
	}
	stats.Delivered, stats.Missed, stats.Pending, stats.Discarded = sum.delivered, sum.missed, sum.pending, sum.discarded
	stats.Replaced, stats.Disconnected, stats.Stalled = sum.replaced, sum.disconnected, sum.stalled
	return stats
}
