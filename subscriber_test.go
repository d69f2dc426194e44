package broadcast_test

import (
	"context"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/racedetector"
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

func TestTryNextBatchTakesWhatIsThereAndDoesNotWait(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(1000))
		s := b.join(chat, "device")
		into := make([]broadcast.Delivery[int], 300)
		require.Zero(t, s.TryNextBatch(into))
		b.publish(chat, from(1, 700)...)
		require.Zero(t, s.TryNextBatch(nil))
		var taken uint64
		for _, want := range [][]int{from(1, 300), from(301, 600), from(601, 700), nil} {
			n := s.TryNextBatch(into)
			require.Equal(t, want, payloads(into[:n]))
			taken += uint64(n)
			require.Equal(t, taken, requireBooks(t, s).Delivered)
		}
		b.publish(chat, 701)
		require.NoError(t, b.Close())
		require.Equal(t, 1, s.TryNextBatch(into))
		require.Zero(t, s.TryNextBatch(into))
	})
}

// Promises 4, 7 and 8.
func TestABatchIsDroppedIfTheStrategyActsWhileItIsCopied(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithPatience(0), broadcast.WithBuffer(2))
		s := b.join(chat, "device")
		b.publish(chat, 1, 2)
		into := make([]broadcast.Delivery[int], 4)
		require.Zero(t, broadcast.TakeBatchInTwoSteps(s, into, func() {
			require.Equal(t, []int{1, 2}, payloads(into[:2]))
			b.publish(chat, 3, 4)
		}))
		require.Equal(t, make([]broadcast.Delivery[int], 4), into)
		require.Equal(t, 2, s.TryNextBatch(into))
		require.Equal(t, []broadcast.Delivery[int]{{Chat: chat, Seq: 3, Missed: 2, Message: 3}, {Chat: chat, Seq: 4, Message: 4}}, bare(into[:2]...))
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

func TestALoopDoesNotHandOutWhatItsBodyHasTaken(t *testing.T) {
	for name, body := range map[string]func(s *broadcast.Subscriber[int]) []int{
		"TryNext": func(s *broadcast.Subscriber[int]) []int { return take(t, s, 1) },
		"Next": func(s *broadcast.Subscriber[int]) []int {
			d, _ := s.Next(context.Background())
			return []int{d.Message}
		},
		"NextBatch": func(s *broadcast.Subscriber[int]) []int {
			into := make([]broadcast.Delivery[int], 3)
			n, _ := s.NextBatch(context.Background(), into)
			return payloads(into[:n])
		},
		"Messages": func(s *broadcast.Subscriber[int]) (got []int) {
			for msg := range s.Messages(context.Background()) {
				if got = append(got, msg); len(got) == 3 {
					break
				}
			}
			return got
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				all, messages := b.join(chat, "all"), b.join(chat, "messages")
				b.publish(chat, from(1, 100)...)
				var got []int
				for d := range all.All(t.Context()) {
					got = append(append(got, d.Message), body(all)...)
					if len(got) == 100 {
						break
					}
				}
				require.Equal(t, from(1, 100), got)
				got = nil
				for msg := range messages.Messages(t.Context()) {
					got = append(append(got, msg), body(messages)...)
					if len(got) == 100 {
						break
					}
				}
				require.Equal(t, from(1, 100), got)
			})
		})
	}
}

// forLoops runs a test for each kind of loop that waits, in a bubble.
func forLoops(t *testing.T, test func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver)) {
	all := func(ctx context.Context, s *broadcast.Subscriber[int], body func()) error {
		for range s.All(ctx) {
			body()
		}
		return s.Err()
	}
	messages := func(ctx context.Context, s *broadcast.Subscriber[int], body func()) error {
		for range s.Messages(ctx) {
			body()
		}
		return s.Err()
	}
	for _, c := range []struct {
		name    string
		options []broadcast.SubscribeOption
		loop    loopOver
	}{
		{"All", nil, all},
		{"Messages", nil, messages},
		{"Messages one by one", []broadcast.SubscribeOption{broadcast.WithSampling(broadcast.Block)}, messages},
		{"All with presence", []broadcast.SubscribeOption{broadcast.WithPresence()}, all},
	} {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				test(t, b, b.join(chat, "device", c.options...), c.loop)
			})
		})
	}
}

// loopOver is a loop that runs body for each message, and returns why the subscription ended.
type loopOver func(ctx context.Context, s *broadcast.Subscriber[int], body func()) error

func TestALoopEndsAtOnceWithItsContext(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		for range 3 { // the subscription stays open
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			end := async(func() error { return loop(ctx, s, func() {}) })
			sleep(time.Second)
			b.publish(chat, 1)
			require.Equal(t, result{nil, 3 * time.Second}, <-end)
		}
	})
}

func TestALoopWhoseContextEndsInItsBodyEndsAfterIt(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithCancel(t.Context())
		end := async(func() error {
			return loop(ctx, s, func() {
				cancel()
				sleep(time.Hour)
			})
		})
		sleep(time.Second) // it waits, and so is to be interrupted
		b.publish(chat, 1)
		require.Equal(t, result{nil, time.Second + time.Hour}, <-end)
	})
}

// What ends the outer loop must not be spent on the wait inside its body.
func TestALoopWhoseBodyWaitsAsWellEndsAtOnceWithItsContext(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithCancel(t.Context())
		end := async(func() error {
			return loop(ctx, s, func() {
				cancel()
				inner, cancelInner := context.WithTimeout(t.Context(), time.Second)
				defer cancelInner()
				_, err := s.Next(inner)
				require.ErrorIs(t, err, context.DeadlineExceeded)
			})
		})
		sleep(time.Second) // it waits, and so is to be interrupted
		b.publish(chat, 1)
		require.Equal(t, result{nil, 2 * time.Second}, <-end)
	})
}

// Promise 27: of a loop whose context ended in its body, which never returns.
func TestNothingIsLeftOfALoopThatWasInterruptedInItsBody(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		end := async(func() error { return loop(ctx, s, func() { <-release }) })
		synctest.Wait()
		b.publish(chat, 1)
		synctest.Wait()
		cancel()
		synctest.Wait()
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		close(release)
		require.NotContains(t, string(stacks), "interruptAt.func")
		<-end
	})
}

// A goroutine behind Chan that hangs in a sampler is waited for like a message.
func TestALoopThatWaitsForTheGoroutineBehindChanEndsWithItsContext(t *testing.T) {
	forLoops(t, func(t *testing.T, _ *auditedBroker[int], _ *broadcast.Subscriber[int], loop loopOver) {
		b := newBroker[int](t, broadcast.WithPatience(0))
		var all []*broadcast.Subscriber[int]
		for _, device := range []string{"hangs behind Chan", "hangs in Publish"} { // one or the other way about
			s := b.join(chat, device, broadcast.WithBuffer(1), broadcast.WithSampler(func(broadcast.Backlog[int], int) int {
				sleep(time.Hour)
				return 0
			}))
			s.Chan()
			all = append(all, s)
		}
		b.publish(chat, 1, 2)
		synctest.Wait()
		publish := async(func() error { return b.Publish(context.Background(), chat, 3) })
		synctest.Wait()
		require.NoError(t, b.Close())
		for _, s := range all {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			end := <-async(func() error { _ = loop(ctx, s, func() {}); return nil })
			require.LessOrEqual(t, end.took, time.Second)
		}
		require.NoError(t, (<-publish).err)
		sleep(2 * time.Hour) // until no sampler hangs
	})
}

func TestALoopAsksItsContextOnceAndLeavesNothingWithIt(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		asked := &counting{Context: ctx}
		end := async(func() error { return loop(asked, s, func() {}) })
		for i := range 10 {
			sleep(time.Second)
			b.publish(chat, i)
		}
		require.NoError(t, s.Close())
		require.ErrorIs(t, (<-end).err, broadcast.ErrClosed)
		require.EqualValues(t, 1, asked.asked.Load())
		require.EqualValues(t, 1, asked.left.Load())
	})
}

// That nothing is left running is what the bubble requires.
func TestALoopMayHaveAContextOfAnyKind(t *testing.T) {
	forLoops(t, func(t *testing.T, b *auditedBroker[int], s *broadcast.Subscriber[int], loop loopOver) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.Equal(t, result{nil, time.Second}, <-async(func() error { return loop(foreign{ctx}, s, func() {}) }))

		endless, cancel := context.WithCancel(t.Context())
		defer cancel()
		end := async(func() error { return loop(foreign{endless}, s, func() {}) })
		sleep(time.Second)
		require.NoError(t, s.Close())
		require.Equal(t, result{broadcast.ErrClosed, time.Second}, <-end)
	})
}

func TestALoopThatWaitsForEachMessageAllocatesNothingForIt(t *testing.T) {
	if racedetector.Enabled {
		t.Skip("the race detector allocates too")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := newBroker[int](t)
	s := b.join(chat, "device")
	taken, end := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(end)
		for range s.Messages(ctx) {
			taken <- struct{}{}
		}
	}()
	one := func() {
		b.publish(chat, 1)
		<-taken
	}
	repeat(100, one) // the runtime has to get what it needs to wait
	const messages = 1_000
	require.LessOrEqual(t, countAllocations(func() { repeat(messages, one) })/messages, 0.1)
	cancel()
	<-end
}
