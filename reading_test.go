package broadcast_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

func TestNextWaitsForTheNextMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[string](t)
		s := b.join(chat, "device")
		time.AfterFunc(time.Second, func() { b.publish(chat, "hello") })
		require.Equal(t, time.Second, elapsed(func() {
			d, err := s.Next(t.Context())
			require.NoError(t, err)
			require.Equal(t, broadcast.Delivery[string]{Chat: chat, Seq: 1, Message: "hello"}, bare(d)[0])
		}))
	})
}

func TestTryNextDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		require.Zero(t, elapsed(func() {
			_, ok := s.TryNext()
			require.False(t, ok)
			b.publish(chat, 1)
			d, ok := s.TryNext()
			require.True(t, ok)
			require.Equal(t, 1, d.Message)
			_, ok = s.TryNext()
			require.False(t, ok)
		}))
	})
}

func TestNextBatchWaitsForOneMessageAndTakesWhatIsThere(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		into := make([]broadcast.Delivery[int], 4)
		batch := func() []int {
			n, err := s.NextBatch(t.Context(), into)
			require.NoError(t, err)
			return payloads(into[:n])
		}
		b.publish(chat, from(1, 6)...)
		require.Equal(t, from(1, 4), batch())
		require.Equal(t, from(5, 6), batch())
		time.AfterFunc(time.Second, func() { b.publish(chat, 7) })
		require.Equal(t, time.Second, elapsed(func() { require.Equal(t, []int{7}, batch()) }))
	})
}

func TestNextBatchShowsMissedBeforeItsFirstDelivery(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(2))
		s := b.join(chat, "device")
		b.publish(chat, 1, 2, 3, 4, 5)
		into := make([]broadcast.Delivery[int], 4)
		n, err := s.NextBatch(t.Context(), into)
		require.NoError(t, err)
		require.Equal(t, []broadcast.Delivery[int]{{Chat: chat, Seq: 4, Missed: 3, Message: 4}, {Chat: chat, Seq: 5, Message: 5}}, bare(into[:n]...))
	})
}

func TestAllAndMessagesYieldTheSame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		one, two := b.join(chat, "one"), b.join(chat, "two")
		b.publish(chat, from(1, 200)...)
		require.NoError(t, b.Close())
		var all, messages []int
		for d := range one.All(t.Context()) {
			all = append(all, d.Message)
		}
		for msg := range two.Messages(t.Context()) {
			messages = append(messages, msg)
		}
		require.Equal(t, from(1, 200), all)
		require.Equal(t, all, messages)
	})
}

func TestAnIteratorWaitsForMessagesAndEndsWithTheSubscription(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		var at []time.Duration
		start := time.Now()
		wait := async(func() error {
			for range s.All(t.Context()) {
				at = append(at, time.Since(start))
			}
			return s.Err()
		})
		sleep(time.Second)
		b.publish(chat, 1)
		sleep(time.Second)
		b.publish(chat, 2)
		sleep(time.Second)
		require.NoError(t, s.Close())
		require.Equal(t, result{broadcast.ErrClosed, 3 * time.Second}, <-wait)
		require.Equal(t, []time.Duration{time.Second, 2 * time.Second}, at)
	})
}

func TestAnIteratorThatStoppedBecauseOfItsContextLeavesTheSubscriptionOpen(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1, 2, 3)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for d := range s.All(ctx) {
			require.Equal(t, 1, d.Message)
			cancel() // a done context wins over the messages that wait, read ahead or not
		}
		require.NoError(t, s.Err())
		for msg := range s.Messages(t.Context()) {
			require.Equal(t, 2, msg)
			break
		}
		require.Equal(t, []int{3}, payloads(takeAll(t, s)))
	})
}

// Taken is what the loop's body has run with; what the iterator has read ahead still waits.
func TestWhatAnIteratorHasNotHandedOutIsPending(t *testing.T) {
	for _, n := range []int{1, 10, 63, 64, 65, 100} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t)
			all, messages := b.join(chat, "all"), b.join(chat, "messages")
			b.publish(chat, from(1, 100)...)
			for d := range all.All(t.Context()) {
				books := requireBooks(t, all)
				require.EqualValues(t, d.Message, books.Delivered)
				require.EqualValues(t, 100-d.Message, books.Pending)
				if d.Message == n {
					break
				}
			}
			for msg := range messages.Messages(t.Context()) {
				if msg == n {
					break
				}
			}
			for _, s := range []*broadcast.Subscriber[int]{all, messages} {
				require.EqualValues(t, n, requireBooks(t, s).Delivered)
				require.Equal(t, from(n+1, 100), payloads(takeAll(t, s)))
			}
		})
	}
}

// What has been read ahead is not safe from sampling either: the buffer is what it was said to be.
func TestSamplingTakesWhatAnIteratorHasReadAhead(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(4))
		s := b.join(chat, "device")
		b.publish(chat, 1, 2, 3, 4)
		var got []broadcast.Delivery[int]
		for d := range s.All(t.Context()) {
			got = append(got, d)
			if d.Seq == 1 {
				b.publish(chat, 5, 6, 7, 8)
			}
			if d.Seq == 8 {
				break
			}
		}
		require.Equal(t, []int{1, 5, 6, 7, 8}, payloads(got))
		require.EqualValues(t, 3, got[1].Missed)
	})
}

func TestTheWaysToReadCanBeMixed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, from(1, 100)...)
		var got []int
		for d := range s.All(t.Context()) {
			got = append(got, d.Message)
			break
		}
		got = append(got, take(t, s, 1)...)
		into := make([]broadcast.Delivery[int], 3)
		n, err := s.NextBatch(t.Context(), into)
		require.NoError(t, err)
		got = append(got, payloads(into[:n])...)
		for msg := range s.Messages(t.Context()) {
			got = append(got, msg)
			break
		}
		d, err := s.Next(t.Context())
		require.NoError(t, err)
		got = append(got, d.Message)
		for len(got) < 100 { // the last, because it goes on offering
			got = append(got, (<-s.Chan()).Message)
		}
		require.Equal(t, from(1, 100), got)
	})
}

func TestChanIsForSelect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		require.Equal(t, s.Chan(), s.Chan())
		time.AfterFunc(time.Second, func() { b.publish(chat, 1) })
		require.Equal(t, time.Second, elapsed(func() {
			select {
			case d := <-s.Chan():
				require.Equal(t, broadcast.Delivery[int]{Chat: chat, Seq: 1, Message: 1}, bare(d)[0])
			case <-time.After(time.Minute):
				t.Fatal("nothing came")
			}
		}))
	})
}

func TestChanMayBeShared(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		got := make(chan int, 200)
		for range 4 {
			go func() {
				for d := range s.Chan() {
					got <- d.Message
				}
			}()
		}
		b.publish(chat, from(1, 200)...)
		require.NoError(t, b.Shutdown(t.Context()))
		synctest.Wait()
		close(got)
		var all []int
		for msg := range got {
			all = append(all, msg)
		}
		require.ElementsMatch(t, from(1, 200), all)
	})
}

// A message that Chan offers is pending until it is received, so that the buffer is no larger with Chan than without.
func TestWhatChanOffersIsPending(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(2), broadcast.WithSampling(broadcast.DropNewest))
		s := b.join(chat, "device")
		c := s.Chan()
		b.publish(chat, 1, 2)
		synctest.Wait()
		require.EqualValues(t, 2, requireBooks(t, s).Pending)
		b.publish(chat, 3)
		synctest.Wait()
		require.EqualValues(t, 1, requireBooks(t, s).Missed)
		require.Equal(t, 1, (<-c).Message)
		synctest.Wait()
		require.Equal(t, broadcast.SubscriberStats{Delivered: 1, Missed: 1, Pending: 1, Head: 3}, requireBooks(t, s))
	})
}

func TestIteratorsGoNoFurtherThanTheLastMessage(t *testing.T) {
	for _, n := range []int{1, 2, 15, 16, 17, 100} {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t)
			s := b.join(chat, "device")
			var got []int
			go func() {
				for msg := range s.Messages(context.Background()) {
					got = append(got, msg)
				}
			}()
			for round := range 3 {
				b.publish(chat, from(round*n+1, round*n+n)...)
				synctest.Wait()
				require.Equal(t, from(1, round*n+n), got)
				require.EqualValues(t, len(got), requireBooks(t, s).Delivered)
			}
		})
	}
}
