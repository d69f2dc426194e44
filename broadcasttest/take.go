package broadcasttest

import (
	"context"
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
)

// Take takes the next n deliveries of a subscription, presence included. If fewer come within that time the test fails at
// once, with those that came and with what has become of the subscription. Whether there are more than n, Take does not look:
// see [Silence].
//
// Take reads: nobody else may read the subscription at the same time.
func Take[T any](t testing.TB, s *broadcast.Subscriber[T], n int, within time.Duration) []broadcast.Delivery[T] {
	t.Helper()
	taken, err := take(s, n, within, func(broadcast.Delivery[T]) bool { return true })
	if err != nil {
		t.Fatalf("took %d of %d deliveries within %v:%s\n%s", len(taken), n, within, list(taken), condition(s, err))
	}
	return taken
}

// TakeMessages is [Take] for the messages alone: it skips presence, and fails the test also if a message was missed, as that would
// not show.
func TakeMessages[T any](t testing.TB, s *broadcast.Subscriber[T], n int, within time.Duration) []T {
	t.Helper()
	taken, err := take(s, n, within, func(d broadcast.Delivery[T]) bool { return d.Kind == broadcast.Published })
	if err != nil {
		t.Fatalf("took %d of %d messages within %v:%s\n%s", len(taken), n, within, list(taken), condition(s, err))
	}
	messages := make([]T, len(taken))
	for i, d := range taken {
		if d.Missed > 0 {
			t.Fatalf("took %d messages with others missed in between:%s\n%s", n, list(taken), condition(s, nil))
		}
		messages[i] = d.Message
	}
	return messages
}

// Silence fails the test if a subscription has anything to take, presence included, or gets it within that time, and names
// it. Before it passes it waits all that time; 0 looks only once. It also fails if the subscription ends or has ended: then
// silence proves nothing.
//
// Silence reads: nobody else may read the subscription at the same time, and what broke the silence is taken.
func Silence[T any](t testing.TB, s *broadcast.Subscriber[T], within time.Duration) {
	t.Helper()
	start := time.Now()
	came, err := take(s, 1, within, func(broadcast.Delivery[T]) bool { return true })
	switch {
	case err == nil:
		t.Fatalf("no silence: after %v came%s\n%s", time.Since(start), list(came), condition(s, nil))
	case s.Err() != nil:
		t.Fatalf("no silence, but an end:\n%s", condition(s, err))
	}
}

// take takes deliveries until it has n that count, or the time is over, or nothing is left after the end. The error is that
// of Next if there were fewer than n.
func take[T any](
	s *broadcast.Subscriber[T], n int, within time.Duration, counts func(broadcast.Delivery[T]) bool,
) (taken []broadcast.Delivery[T], err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	for len(taken) < n {
		d, err := next(ctx, s)
		if err != nil {
			return taken, err
		}
		if counts(d) {
			taken = append(taken, d)
		}
	}
	return taken, nil
}

// next is Next, except that it takes what waits also when ctx is done.
func next[T any](ctx context.Context, s *broadcast.Subscriber[T]) (broadcast.Delivery[T], error) {
	if d, ok := s.TryNext(); ok {
		return d, nil
	}
	return s.Next(ctx)
}

// takeSome takes n messages, or what comes until the end.
func takeSome[T any](s *broadcast.Subscriber[T], n int) {
	for range s.Messages(context.Background()) {
		if n--; n == 0 {
			return
		}
	}
}
