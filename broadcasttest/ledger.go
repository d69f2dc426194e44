package broadcasttest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/fbd86cad/broadcast"
)

// CheckBooks returns the counters of a subscription, open or ended. It fails the test unless they
// balance: every message since the subscription joined was delivered, missed or discarded, or is
// pending. Call it while nobody reads the subscription.
func CheckBooks[T any](t testing.TB, s *broadcast.Subscriber[T]) broadcast.SubscriberStats {
	t.Helper()
	b := s.Stats()
	if fault := unbalanced(b); fault != "" {
		t.Errorf("%s\n%s", fault, condition(s, nil))
	}
	return b
}

// unbalanced returns what is wrong with the sum of the counters, or "".
func unbalanced(b broadcast.SubscriberStats) string {
	came, accounted := b.Head-b.Joined, b.Delivered+b.Missed+b.Pending+b.Discarded
	if came != accounted {
		return fmt.Sprintf("the books account for %d of %d messages", accounted, came)
	}
	return ""
}

// CheckTotals returns the counters of a broker. It fails the test unless Subscribers, Delivered,
// Missed, Pending and Discarded are the sums over its subscriptions, and Accepted and Rejected add
// up to calls, the number of calls of Publish and TryPublish. It also checks each subscription as
// [CheckBooks] does. Pass all subscriptions that the broker ever had, open and ended. Call it while
// nobody uses the broker.
func CheckTotals[T any](
	t testing.TB, b *broadcast.Broker[T], calls uint64, subs ...*broadcast.Subscriber[T],
) broadcast.Stats {
	t.Helper()
	for {
		got := b.Stats()
		var sum broadcast.Stats
		for _, s := range subs {
			addTo(&sum, CheckBooks(t, s), s.Err() == nil)
		}
		if b.Stats() != got {
			continue // a cleaner or a context has ended a subscription meanwhile
		}
		if fault := unequal(got, sum, calls); fault != "" {
			t.Errorf("%s", fault)
		}
		return got
	}
}

// addTo adds the counters of a subscription to the sums of a broker.
func addTo(sum *broadcast.Stats, b broadcast.SubscriberStats, open bool) {
	sum.Delivered += b.Delivered
	sum.Missed += b.Missed
	sum.Pending += b.Pending
	sum.Discarded += b.Discarded
	if open {
		sum.Subscribers++
	}
}

// unequal returns how the counters of a broker differ from the sums over its subscriptions or from
// the number of calls, or "".
func unequal(got, sum broadcast.Stats, calls uint64) string {
	if n := got.Accepted + got.Rejected; n != calls {
		return fmt.Sprintf(
			"%d calls of Publish and TryPublish were accepted or rejected, of %d", n, calls)
	}
	got = broadcast.Stats{
		Subscribers: got.Subscribers,
		Delivered:   got.Delivered, Missed: got.Missed, Pending: got.Pending, Discarded: got.Discarded,
	}
	if got != sum {
		return fmt.Sprintf(
			"the broker's numbers are not the sums over its subscriptions:\ngot  %+v\nwant %+v", got, sum)
	}
	return ""
}

// A Ledger checks what is taken from one subscription, in the order in which it was taken. It fails
// the test if something came twice, out of order, or was lost without having been reported as
// missed. Its methods are safe for concurrent use. Make one with [NewLedger].
type Ledger[T any] struct {
	t testing.TB
	s *broadcast.Subscriber[T]

	mu         sync.Mutex
	deliveries []broadcast.Delivery[T]
	messages   uint64 // number of deliveries that are messages
	missed     uint64 // sum of their Missed
	last       uint64 // Seq of the last message; at first, where the subscription joined
	floor      uint64 // Seq of the last delivery, presence events included
}

// NewLedger returns a ledger for a subscription. It fails the test at once if something was taken
// already.
func NewLedger[T any](t testing.TB, s *broadcast.Subscriber[T]) *Ledger[T] {
	t.Helper()
	b := s.Stats()
	if b.Delivered > 0 {
		t.Fatalf("a ledger begins before anything is taken\n%s", condition(s, nil))
	}
	return &Ledger[T]{t: t, s: s, last: b.Joined, floor: b.Joined}
}

// Record checks deliveries that were just taken, and fails the test for each that is wrong. Then it
// goes on: the next delivery is compared with this one. For deliveries that arrived in another way,
// say through a socket, it is enough to set Chat, Seq, Missed and Kind.
func (l *Ledger[T]) Record(deliveries ...broadcast.Delivery[T]) {
	l.t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range deliveries {
		if fault := l.noteLocked(d); fault != "" {
			l.t.Errorf("%s; %q in %q has taken:%s", fault, l.s.Device(), l.s.Chat(), list(l.deliveries))
		}
	}
}

// Deliveries returns a copy of what was recorded.
func (l *Ledger[T]) Deliveries() []broadcast.Delivery[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.deliveries)
}

// Check does what [CheckBooks] does. It also fails the test unless everything that was taken was
// recorded, and no message was recorded as missed that was not. Call it when everything is recorded
// and while nobody reads the subscription.
func (l *Ledger[T]) Check() broadcast.SubscriberStats {
	l.t.Helper()
	b := CheckBooks(l.t, l.s)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages != b.Delivered {
		l.t.Errorf("messages recorded: %d, taken: %d\n%s", l.messages, b.Delivered, condition(l.s, nil))
	}
	if l.missed > b.Missed {
		l.t.Errorf("messages recorded as missed: %d, missed: %d\n%s",
			l.missed, b.Missed, condition(l.s, nil))
	}
	return b
}

// noteLocked records a delivery and returns what is wrong with it, or "".
func (l *Ledger[T]) noteLocked(d broadcast.Delivery[T]) (fault string) {
	isMessage, hole := d.Kind == broadcast.Published, d.Seq-l.last-1
	switch {
	case d.Chat != l.s.Chat():
		fault = fmt.Sprintf("#%d is of the chat %q", d.Seq, d.Chat)
	case d.Seq < l.floor || isMessage && d.Seq == l.floor:
		fault = fmt.Sprintf("#%d came after #%d", d.Seq, l.floor)
	case isMessage && d.Missed != hole:
		fault = fmt.Sprintf("#%d came after #%d and says that %d were missed before it, not %d",
			d.Seq, l.last, d.Missed, hole)
	}
	l.deliveries = append(l.deliveries, d)
	l.floor = d.Seq
	if isMessage {
		l.messages++
		l.missed += d.Missed
		l.last = d.Seq
	}
	return fault
}
