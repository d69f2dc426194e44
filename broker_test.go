package broadcast_test

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Promise 15.
func TestASubscriptionBeginsWithTheFirstMessageAfterSubscribe(t *testing.T) {
	forBuffers(t, func(t *testing.T, n int) {
		b := newBroker[int](t, broadcast.WithBuffer(n))
		b.join(chat, "keeps the chat")
		b.publish(chat, from(1, 2*n)...)
		s := b.join(chat, "late")
		require.Empty(t, takeAll(t, s))
		b.publish(chat, from(2*n+1, 3*n)...)
		require.Equal(t, from(2*n+1, 3*n), payloads(takeAll(t, s)))
	})
}

// Promise 15, with a publisher that does not stop for it.
func TestACutPointLiesBetweenTheCallAndTheReturnOfSubscribe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const total = 5_000
		b := newBroker[int](t, broadcast.WithBuffer(total))
		b.join(chat, "first")
		var begun, accepted atomic.Int64 // messages are numbered like their Seq
		var all sync.WaitGroup
		all.Go(func() {
			for i := range total {
				begun.Store(int64(i + 1))
				assert.NoError(t, b.Publish(t.Context(), chat, i+1))
				accepted.Store(int64(i + 1))
			}
		})
		for joiner := range 4 {
			all.Go(func() {
				for accepted.Load() < total {
					low := accepted.Load()
					s, err := b.Subscribe(chat, string(rune('a'+joiner)))
					high := begun.Load()
					if !assert.NoError(t, err) {
						return
					}
					joined := int(s.Stats().Joined)
					assert.LessOrEqual(t, int(low), joined)
					assert.LessOrEqual(t, joined, int(high))
					if joined == total {
						return // nothing is to come
					}
					if d, err := s.Next(t.Context()); assert.NoError(t, err) {
						assert.Equal(t, joined+1, d.Message)
						assert.Zero(t, d.Missed)
					}
				}
			})
		}
		all.Wait()
	})
}

// Promise 17.
func TestAfterItsOwnCloseNothingMoreIsDelivered(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1, 2, 3)
		for d := range s.All(t.Context()) {
			require.Equal(t, 1, d.Message) // the iterator may have read ahead
			require.NoError(t, s.Close())
		}
		b.publish(chat, 4)
		require.Empty(t, takeAll(t, s))
		require.EqualValues(t, 2, requireBooks(t, s).Discarded)
	})
}

// Promise 18.
func TestCloseCanBeCalledAnyNumberOfTimesInAnyOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		for first := range 3 {
			b := newBroker[int](t)
			s := b.join(chat, "device")
			closers := []func() error{
				s.Close,
				b.Close,
				func() error { _ = b.Shutdown(t.Context()); return nil },
			}
			for i := range 9 {
				require.NoError(t, closers[(first+i)%3]())
				<-s.Done()
				require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
			}
		}
	})
}

// Promise 18, from all sides at once; what is left is seen by the books and by the bubble.
func TestEverythingMayBeClosedWhileEverythingGoesOn(t *testing.T) {
	for closer, act := range map[string]func(*auditedBroker[int]){
		"Close": func(b *auditedBroker[int]) { _ = b.Close() },
		"Shutdown": func(b *auditedBroker[int]) {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = b.Shutdown(ctx)
		},
	} {
		t.Run(closer, func(t *testing.T) {
			for range 50 {
				bubble(t, func(t *testing.T) {
					b := newBroker[int](t, broadcast.WithBuffer(2))
					var all sync.WaitGroup
					var published atomic.Int64
					for worker := range 4 {
						all.Go(func() {
							for b.Publish(t.Context(), chat, worker) != broadcast.ErrBrokerClosed {
								if published.Add(1) == 100 {
									all.Go(func() { act(b) })
									all.Go(func() { act(b) })
								}
							}
						})
						all.Go(func() {
							for {
								s, err := b.Subscribe(chat, "device", broadcast.WithSampling(broadcast.Sampling(worker+1)))
								if err != nil {
									return
								}
								_, _ = s.Next(t.Context())
								if worker%2 == 0 {
									_ = s.Close()
								}
							}
						})
					}
					all.Wait()
				})
			}
		})
	}
}

// Promise 18: Close and Shutdown do not return before their effect is complete.
func TestWhatACloseDidIsThereWhenItReturns(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		require.NoError(t, s.Close())
		require.ErrorIs(t, s.Err(), broadcast.ErrClosed)
		require.Empty(t, b.Devices(chat))
		require.Empty(t, b.Chats())

		s = b.join(chat, "device")
		b.publish(chat, 1)
		require.NoError(t, b.Close())
		require.ErrorIs(t, s.Err(), broadcast.ErrBrokerClosed)
		require.ErrorIs(t, b.TryPublish(chat, 2), broadcast.ErrBrokerClosed)
		_, err := b.Subscribe(chat, "device")
		require.ErrorIs(t, err, broadcast.ErrBrokerClosed)
	})
}

// Promise 19.
func TestASecondSubscriptionOfADeviceTakesOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		old := b.join(chat, "phone")
		b.publish(chat, 1)
		s := b.join(chat, "phone")
		require.ErrorIs(t, old.Err(), broadcast.ErrReplaced)
		require.NoError(t, s.Err())
		require.Equal(t, []string{"phone"}, b.Devices(chat))

		b.publish(chat, 2)
		require.Empty(t, takeAll(t, old))
		require.Equal(t, []int{2}, payloads(takeAll(t, s)))
		require.EqualValues(t, 1, b.Stats().Replaced)
	})
}

// Promise 19.
func TestALateCloseOfTheReplacedDoesNotTouchTheWinner(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		until, cancel := context.WithCancel(t.Context())
		old := b.join(chat, "phone", broadcast.Until(until))
		s := b.join(chat, "phone")
		require.NoError(t, old.Close())
		cancel()
		synctest.Wait()

		require.NoError(t, s.Err())
		require.ErrorIs(t, old.Err(), broadcast.ErrReplaced)
		require.Equal(t, []string{"phone"}, b.Devices(chat))
		b.publish(chat, 1)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

func TestTheSameDeviceInTwoChatsIsTwoSubscriptions(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		red, blue := b.join("red", "phone"), b.join("blue", "phone")
		b.publish("red", 1)
		b.publish("blue", 2)
		require.Equal(t, []int{1}, payloads(takeAll(t, red)))
		require.Equal(t, []int{2}, payloads(takeAll(t, blue)))
	})
}

func TestATakeoverByADeviceThatLeftIsAPlainSubscribe(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		require.NoError(t, b.join(chat, "phone").Close())
		b.join(chat, "phone")
		require.Zero(t, b.Stats().Replaced)
	})
}

func TestDevicesAndChatsAreSorted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		names := strings.Split("abcdefghijklmnopqrstuvwxyz", "")
		for _, i := range rand.Perm(len(names)) {
			b.join(names[i], "device")
			b.join(chat, names[i])
		}
		require.Equal(t, names, b.Devices(chat))
		require.Equal(t, slices.Insert(slices.Clone(names), 3, chat), b.Chats())
		require.Empty(t, b.Devices("nowhere"))
	})
}

func TestASubscriptionKnowsItsChatAndDevice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		s := newBroker[int](t).join("the chat", "the device")
		require.Equal(t, "the chat", s.Chat())
		require.Equal(t, "the device", s.Device())
	})
}

func TestUntilEndsTheSubscriptionWithTheCauseOfItsContext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Minute, errUntil)
		defer cancel()
		b := newBroker[int](t)
		s := b.join(chat, "device", broadcast.Until(ctx))
		require.Equal(t, time.Minute, elapsed(func() { <-s.Done() }))
		require.Equal(t, errUntil, s.Err())
		require.Empty(t, b.Devices(chat))
	})
}

// note is a message that names where it is from: publisher by sent it to chat as its nth.
type note struct {
	chat   string
	by, n  int
	copies [8]int // all n: a message that was put together from two would show here
}

func newNote(chat string, by, n int) note {
	return note{chat: chat, by: by, n: n, copies: [8]int{n, n, n, n, n, n, n, n}}
}

// publishNotes lets several goroutines publish each some notes, by turns in each of the chats, and
// returns those that were accepted.
func publishNotes(b *auditedBroker[note], publishers, each int, chats ...string) map[note]bool {
	var mu sync.Mutex
	accepted := make(map[note]bool)
	var all sync.WaitGroup
	for by := range publishers {
		all.Go(func() {
			for n := range each {
				msg := newNote(chats[n%len(chats)], by, n)
				if b.Publish(b.t.Context(), msg.chat, msg) == nil {
					mu.Lock()
					accepted[msg] = true
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return accepted
}

// Promise 1.
func TestMessagesOfOnePublisherAreTakenInItsOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[note](t, broadcast.WithBuffer(10))
		var readers []func() []broadcast.Delivery[note]
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			readers = append(readers, read(b, b.join(chat, s.String(), broadcast.WithSampling(s))))
		}
		publishNotes(b, 8, 500, chat)
		require.NoError(t, b.Shutdown(t.Context()))
		for _, wait := range readers {
			last := map[int]int{}
			for _, d := range wait() {
				if before, ok := last[d.Message.by]; ok {
					require.Greater(t, d.Message.n, before)
				}
				last[d.Message.by] = d.Message.n
			}
			require.Len(t, last, 8)
		}
	})
}

// Promises 2 and 4: with one Seq for one message and Seqs that rise, no two subscriptions can
// differ in the order of what both took, and none takes a message twice.
func TestAllSubscriptionsTakeTheirCommonMessagesInTheSameOrder(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[note](t, broadcast.WithBuffer(10), broadcast.WithPatience(0))
		var readers []func() []broadcast.Delivery[note]
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			for _, device := range []string{"-1", "-2"} {
				readers = append(readers, read(b, b.join(chat, s.String()+device, broadcast.WithSampling(s))))
			}
		}
		publishNotes(b, 8, 500, chat)
		require.NoError(t, b.Shutdown(t.Context()))

		at := map[uint64]note{}
		seqs := map[note]uint64{}
		for _, wait := range readers {
			var last uint64
			for _, d := range wait() {
				require.Greater(t, d.Seq, last)
				last = d.Seq
				if msg, ok := at[d.Seq]; ok {
					require.Equal(t, msg, d.Message, "Seq %d", d.Seq)
				}
				at[d.Seq] = d.Message
				seqs[d.Message] = d.Seq
			}
		}
		require.Len(t, seqs, len(at), "one message at two Seqs")
	})
}

// Promise 3.
func TestAPublishThatReturnedBeforeAnotherBeganHasTheSmallerSeq(t *testing.T) {
	bubble(t, func(t *testing.T) {
		const publishers, each = 8, 500
		type span struct{ began, returned, seq int64 }
		b := newBroker[*span](t, broadcast.WithBuffer(publishers*each))
		s := b.join(chat, "reader")

		var ticks atomic.Int64
		var all sync.WaitGroup
		for range publishers {
			all.Go(func() {
				for range each {
					msg := &span{began: ticks.Add(1)}
					assert.NoError(t, b.Publish(t.Context(), chat, msg))
					msg.returned = ticks.Add(1)
				}
			})
		}
		all.Wait()

		var spans []*span
		for _, d := range takeAll(t, s) {
			d.Message.seq = int64(d.Seq)
			spans = append(spans, d.Message)
		}
		require.Len(t, spans, publishers*each)

		// Sweep by time: whoever begins now must come after all that have returned by now.
		begins, returns := slices.Clone(spans), slices.Clone(spans)
		slices.SortFunc(begins, func(x, y *span) int { return cmp.Compare(x.began, y.began) })
		slices.SortFunc(returns, func(x, y *span) int { return cmp.Compare(x.returned, y.returned) })
		var newest int64
		for _, msg := range begins {
			for returns[0].returned < msg.began {
				newest = max(newest, returns[0].seq)
				returns = returns[1:]
			}
			require.Greater(t, msg.seq, newest)
		}
	})
}

// Promises 4 and 5.
func TestWhatIsTakenWasAcceptedInThatChatWholeAndOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[note](t, broadcast.WithBuffer(4), broadcast.WithPublishTimeout(20*time.Millisecond))
		chats := []string{"red", "green", "blue"}
		var readers []func() []broadcast.Delivery[note]
		for _, chat := range chats {
			for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
				readers = append(readers, read(b, b.join(chat, s.String(), broadcast.WithSampling(s))))
			}
		}
		// Nobody reads it until it is ended, so that messages are refused meanwhile.
		stuck := b.join("green", "stuck", broadcast.WithSampling(broadcast.Block))
		time.AfterFunc(time.Second, func() { _ = stuck.Close() })

		accepted := publishNotes(b, 8, 300, chats...)
		require.NotZero(t, b.Stats().Rejected)
		require.NoError(t, b.Shutdown(t.Context()))
		for i, wait := range readers {
			taken := map[note]bool{}
			for _, d := range wait() {
				require.True(t, accepted[d.Message], "invented: %+v", d)
				require.False(t, taken[d.Message], "twice: %+v", d)
				require.Equal(t, chats[i/5], d.Message.chat)
				taken[d.Message] = true
			}
		}
	})
}

// T is handed on without copying what it points to.
func TestAllReadersGetTheSameMessage(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[*note](t)
		one, two := b.join(chat, "one"), b.join(chat, "two")
		msg := &note{}
		b.publish(chat, msg)
		require.Same(t, msg, take(t, one, 1)[0])
		require.Same(t, msg, take(t, two, 1)[0])
	})
}
