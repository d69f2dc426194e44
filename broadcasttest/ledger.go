package broadcasttest

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/fbd86cad/broadcast"
)

// CheckBooks returns the books of a subscription, open or ended, and fails the test unless they balance: every message
// since it joined was delivered, missed or discarded, or is pending. Call it while nobody reads the subscription.
func CheckBooks[T any](t testing.TB, s *broadcast.Subscriber[T]) broadcast.SubscriberStats {
	t.Helper()
	b := s.Stats()
	if fault := unbalanced(b); fault != "" {
		t.Errorf("%s\n%s", fault, condition(s, nil))
	}
	return b
}

// unbalanced says what is wrong with the sums of books; nothing, if they balance.
func unbalanced(b broadcast.SubscriberStats) string {
	if came, accounted := b.Head-b.Joined, b.Delivered+b.Missed+b.Pending+b.Discarded; came != accounted {
		return fmt.Sprintf("the books account for %d of %d messages", accounted, came)
	}
	return ""
}

// Ledger is shown what is taken from one subscription, in the order in which it was taken, and fails the test when something came
// twice, in another order, or not at all without having been reported as missed. Its methods may be called from any
// goroutine.
type Ledger[T any] struct {
	t testing.TB
	s *broadcast.Subscriber[T]

	mu         sync.Mutex
	deliveries []broadcast.Delivery[T]
	messages   uint64 // how many of the deliveries are messages
	missed     uint64 // the sum of their Missed
	last       uint64 // Seq of the last message, at first of where the subscription joined
	floor      uint64 // Seq of the last delivery, presence included
}

// NewLedger returns the ledger of a subscription. It fails the test at once if something was taken already.
func NewLedger[T any](t testing.TB, s *broadcast.Subscriber[T]) *Ledger[T] {
	t.Helper()
	b := s.Stats()
	if b.Delivered > 0 {
		t.Fatalf("a ledger begins before anything is taken\n%s", condition(s, nil))
	}
	return &Ledger[T]{t: t, s: s, last: b.Joined, floor: b.Joined}
}

// Record notes deliveries that were just taken. Of deliveries that have come another way, say through a socket, it is enough to know Chat,
// Seq, Missed and Kind. It goes on after a fault: the next delivery is compared with this one.
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

// Deliveries returns what was recorded.
func (l *Ledger[T]) Deliveries() []broadcast.Delivery[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.deliveries)
}

// Check does what [CheckBooks] does, and also fails the test unless all that was taken was recorded, and nothing was recorded as missed that
// was not. Call it while nobody reads the subscription and when everything is recorded.
func (l *Ledger[T]) Check() broadcast.SubscriberStats {
	l.t.Helper()
	b := CheckBooks(l.t, l.s)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.messages != b.Delivered {
		l.t.Errorf("messages recorded: %d, taken: %d\n%s", l.messages, b.Delivered, condition(l.s, nil))
	}
	if l.missed > b.Missed {
		l.t.Errorf("messages recorded as missed: %d, missed: %d\n%s", l.missed, b.Missed, condition(l.s, nil))
	}
	return b
}

// noteLocked notes a delivery and says what is wrong with it, if anything is.
func (l *Ledger[T]) noteLocked(d broadcast.Delivery[T]) (fault string) {
	isMessage, hole := d.Kind == broadcast.Published, d.Seq-l.last-1
	switch {
	case d.Chat != l.s.Chat():
		fault = fmt.Sprintf("#%d is of the chat %q", d.Seq, d.Chat)
	case d.Seq < l.floor || isMessage && d.Seq == l.floor:
		fault = fmt.Sprintf("#%d came after #%d", d.Seq, l.floor)
	case isMessage && d.Missed != hole:
		fault = fmt.Sprintf("#%d came after #%d and says that %d were missed before it, not %d", d.Seq, l.last, d.Missed, hole)
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
