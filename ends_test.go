package broadcast_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

var errUntil = errors.New("the reason of the context")

// end is a row of the table of ends: one way in which a subscription ends, and what is promised then.
type end struct {
	name     string
	opts     []broadcast.SubscribeOption // what the subscription needs to be able to end like this
	act      func(*auditedBroker[int], *broadcast.Subscriber[int])
	reason   error
	readable bool // what was buffered stays readable
}

// ends returns the table; it belongs to the bubble in which it is called. The subscriptions have messages waiting, a
// buffer that is full, and brokers without patience.
func ends(t *testing.T) []end {
	ctx, cancel := context.WithCancelCause(context.Background())
	t.Cleanup(func() { cancel(nil) })
	closeBroker := func(b *auditedBroker[int], _ *broadcast.Subscriber[int]) { _ = b.Close() }
	publish := func(b *auditedBroker[int], _ *broadcast.Subscriber[int]) { _ = b.TryPublish(chat, 0) }
	return []end{
		{"broker closed", nil, closeBroker, broadcast.ErrClosed, true},
		{"shutdown", nil, func(b *auditedBroker[int], _ *broadcast.Subscriber[int]) {
			soon, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = b.Shutdown(soon)
		}, broadcast.ErrClosed, true},
		{
			"too slow",
			[]broadcast.SubscribeOption{broadcast.WithSampling(broadcast.Disconnect)},
			publish, broadcast.ErrSlow, true,
		},
		{
			"stalled",
			[]broadcast.SubscribeOption{broadcast.WithStallTimeout(time.Minute)},
			func(*auditedBroker[int], *broadcast.Subscriber[int]) { sleep(2 * time.Minute) }, broadcast.ErrStalled, true,
		},
		{"replaced", nil, func(b *auditedBroker[int], s *broadcast.Subscriber[int]) {
			_, _ = b.Subscribe(s.Chat(), s.Device())
		}, broadcast.ErrReplaced, false},
		{"closed", nil, func(_ *auditedBroker[int], s *broadcast.Subscriber[int]) { _ = s.Close() }, broadcast.ErrClosed, false},
		{
			"until",
			[]broadcast.SubscribeOption{broadcast.Until(ctx)},
			func(*auditedBroker[int], *broadcast.Subscriber[int]) { cancel(errUntil); synctest.Wait() }, errUntil, false,
		},
		{
			"sampler panics",
			[]broadcast.SubscribeOption{broadcast.WithSampler(func(broadcast.Backlog[int], int) int { panic(errSampler) })},
			func(b *auditedBroker[int], s *broadcast.Subscriber[int]) {
				publish(b, s)
				s.TryNext() // which is when the sampler is called at the latest
			}, errSampler, false,
		},
	}
}

var errSampler = errors.New("the sampler's panic")

// forEnds runs a test in a bubble for each row of the table, with a subscription that has the messages 1 and 2 waiting.
func forEnds(t *testing.T, test func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end)) {
	t.Helper()
	var names []string
	bubble(t, func(t *testing.T) {
		for _, e := range ends(t) {
			names = append(names, e.name)
		}
	})
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				e := ends(t)[i]
				b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0))
				s := b.join(chat, "device", e.opts...)
				b.publish(chat, 1, 2)
				test(t, b, s, e)
			})
		})
	}
}

func TestAnEndHasItsReasonAndClosesDone(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		require.NoError(t, s.Err())
		select {
		case <-s.Done():
			t.Fatal("done before the end")
		default:
		}
		e.act(b, s)
		<-s.Done()
		require.ErrorIs(t, s.Err(), e.reason)
	})
}

func TestWhatWasBufferedAtTheEndStaysReadableOrIsGone(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		books := requireBooks(t, s)
		if e.readable {
			require.EqualValues(t, 2, books.Pending)
			require.Equal(t, []int{1, 2}, take(t, s, 2))
		} else {
			require.EqualValues(t, 2, books.Discarded)
		}
		require.Empty(t, takeAll(t, s))
	})
}

// Promise 17: also if the subscription had ended before, in a way that left something to read.
func TestAfterASubscribersOwnCloseNothingIsReadable(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		require.NoError(t, s.Close())
		require.EqualValues(t, 2, requireBooks(t, s).Discarded)
		require.Empty(t, takeAll(t, s))
		require.ErrorIs(t, s.Err(), e.reason)
	})
}

// Next looks for the end, then at the context, then for a message.
func TestADoneContextWinsOverWhatIsReadableAfterTheEnd(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Next(done)
		if e.readable {
			require.Equal(t, context.Canceled, err)
			require.Equal(t, []int{1, 2}, payloads(takeAll(t, s)))
		} else {
			require.ErrorIs(t, err, e.reason)
		}
	})
}

// Promise 17.
func TestNextKeepsReturningTheReason(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		e.act(b, s)
		takeAll(t, s)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		for range 3 {
			_, err := s.Next(t.Context())
			require.ErrorIs(t, err, e.reason)
			require.Equal(t, s.Err(), err)
			_, err = s.Next(done) // the end comes before the context
			require.ErrorIs(t, err, e.reason)
			n, err := s.NextBatch(t.Context(), make([]broadcast.Delivery[int], 1))
			require.Zero(t, n)
			require.ErrorIs(t, err, e.reason)
			for range s.All(t.Context()) {
				t.Fatal("a message after the end")
			}
			for range s.Messages(t.Context()) {
				t.Fatal("a message after the end")
			}
		}
	})
}

func TestAWaitingNextReturnsTheReasonAtOnce(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		if len(e.opts) > 0 && e.name != "until" {
			t.Skip("ends only those that have messages waiting")
		}
		takeAll(t, s)
		next := async(func() error { _, err := s.Next(t.Context()); return err })
		synctest.Wait()
		require.Zero(t, elapsed(func() {
			e.act(b, s)
			require.ErrorIs(t, (<-next).err, e.reason)
		}))
	})
}

func TestTheFirstReasonStays(t *testing.T) {
	forEnds(t, func(t *testing.T, _ *auditedBroker[int], _ *broadcast.Subscriber[int], first end) {
		for i := range ends(t) {
			first, second := find(ends(t), first.name), ends(t)[i]
			b := newBroker[int](t, broadcast.WithBuffer(2), broadcast.WithPatience(0))
			s := b.join(chat, "device", append(second.opts, first.opts...)...)
			b.publish(chat, 1, 2)
			first.act(b, s)
			second.act(b, s)
			require.ErrorIs(t, s.Err(), first.reason, "after %s", second.name)
		}
	})
}

func find(ends []end, name string) end {
	for _, e := range ends {
		if e.name == name {
			return e
		}
	}
	panic(name)
}

func TestChanIsClosedAfterAnyEnd(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		c := s.Chan()
		synctest.Wait() // its goroutine offers a message that nobody takes
		e.act(b, s)
		synctest.Wait()
		_, open := <-c
		require.False(t, open)
		if e.readable { // what it had not sent
			require.Equal(t, []int{1, 2}, payloads(takeAll(t, s)))
		}
	})
}

// Promise 27: the bubble of a test fails if a goroutine is left in it. This one is about the time before Close.
func TestAnEndedSubscriptionHasNoGoroutineEvenIfNobodyReadsIt(t *testing.T) {
	forEnds(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], e end) {
		before := goroutines()
		s.Chan()
		require.Equal(t, before+1, goroutines())
		e.act(b, s)
		require.LessOrEqual(t, goroutines(), before)
	})
}

func TestErrorTextsBeginWithThePackage(t *testing.T) {
	for _, err := range []error{
		broadcast.ErrClosed, broadcast.ErrSlow, broadcast.ErrStalled, broadcast.ErrReplaced, broadcast.ErrOverloaded, broadcast.ErrLimit,
		broadcast.ErrInvalid, &broadcast.PanicError{Value: "value"}, &broadcast.PanicError{},
	} {
		require.Regexp(t, "^broadcast: ", err.Error())
	}
}
