package broadcasttest

import (
	"context"
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
)

// Take takes the next n deliveries of a subscription, presence events included. If fewer come
// within the given time, it fails the test at once and shows those that came and the state of the
// subscription. Take does not check that there are no more than n; use [Silence] for that.
//
// Take reads: nobody else may read the subscription at the same time.
func Take[T any](
	t testing.TB, s *broadcast.Subscriber[T], n int, within time.Duration,
) []broadcast.Delivery[T] {
	t.Helper()
	taken, err := take(s, n, within, func(broadcast.Delivery[T]) bool { return true })
	if err != nil {
		t.Fatalf("took %d of %d deliveries within %v:%s\n%s",
			len(taken), n, within, list(taken), condition(s, err))
	}
	return taken
}

// TakeMessages is [Take] for messages alone: it skips presence events. It also fails the test if a
// message was missed, because the result would not show that.
func TakeMessages[T any](
	t testing.TB, s *broadcast.Subscriber[T], n int, within time.Duration,
) []T {
	t.Helper()
	taken, err := take(s, n, within, func(d broadcast.Delivery[T]) bool {
		return d.Kind == broadcast.Published
	})
	if err != nil {
		t.Fatalf("took %d of %d messages within %v:%s\n%s",
			len(taken), n, within, list(taken), condition(s, err))
	}
	messages := make([]T, len(taken))
	for i, d := range taken {
		if d.Missed > 0 {
			t.Fatalf("took %d messages with others missed in between:%s\n%s",
				n, list(taken), condition(s, nil))
		}
		messages[i] = d.Message
	}
	return messages
}

// Silence fails the test, and shows what came, if there is anything to take from a subscription
// within the given time, presence events included. It always waits for all that time before it
// passes; with 0 it looks only once. It also fails if the subscription ends or has ended, because
// then silence proves nothing.
//
// Silence reads: nobody else may read the subscription at the same time, and what broke the silence
// is taken.
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

// take takes deliveries until n of them count, the time is over, or the subscription has ended and
// nothing is left. If fewer than n count, the error is that of Next.
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

// next is like Next, but takes a message that waits even if ctx is done.
func next[T any](ctx context.Context, s *broadcast.Subscriber[T]) (broadcast.Delivery[T], error) {
	if d, ok := s.TryNext(); ok {
		return d, nil
	}
	return s.Next(ctx)
}

// takeSome takes n messages, or fewer if the subscription ends.
func takeSome[T any](s *broadcast.Subscriber[T], n int) {
	for range s.Messages(context.Background()) {
		if n--; n == 0 {
			return
		}
	}
}
