package broadcast_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// The tests in this file are the rows of the table of bad input.

func TestANilContextIsInvalid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		require.ErrorIs(t, b.Publish(noContext, chat, 2), broadcast.ErrInvalid)
		_, err := s.Next(noContext)
		require.ErrorIs(t, err, broadcast.ErrInvalid)
		_, err = s.NextBatch(noContext, make([]broadcast.Delivery[int], 1))
		require.ErrorIs(t, err, broadcast.ErrInvalid)
		for range s.All(noContext) {
			t.Fatal("taken without a context")
		}
		for range s.Messages(noContext) {
			t.Fatal("taken without a context")
		}
		require.ErrorIs(t, b.Shutdown(noContext), broadcast.ErrInvalid)
		_, err = b.Subscribe(chat, "other", broadcast.Until(noContext))
		require.ErrorIs(t, err, broadcast.ErrInvalid)

		require.Equal(t, []string{"device"}, b.Devices(chat))
		require.NoError(t, s.Err())
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

func TestADoneContextIsRefusedWithItsError(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		done, cancel := context.WithCancelCause(t.Context())
		cancel(errUntil)
		require.Equal(t, context.Canceled, b.Publish(done, chat, 2))
		_, err := b.Subscribe(chat, "other", broadcast.Until(done))
		require.Equal(t, context.Canceled, err)
		_, err = b.Subscribe(chat, "device", broadcast.Until(done)) // and takes nothing over
		require.Equal(t, context.Canceled, err)
		require.NoError(t, s.Err())
		require.Equal(t, []string{"device"}, b.Devices(chat))
		require.Zero(t, s.Stats().Head)
	})
}

func TestABadNameIsInvalidAndQuotedAndCut(t *testing.T) {
	long := strings.Repeat("long", 65) // 260 bytes
	for name, test := range map[string]struct{ bad, quoted string }{
		"empty":           {"", `""`},
		"too long":        {long, `"longlong`},
		"very long":       {strings.Repeat("x", 1<<20), `"xxxx`},
		"not UTF-8":       {"caf\xe9", `"caf\xe9"`},
		"long, not UTF-8": {"\xff" + long[:200], `"\xfflong`},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				_, subscribeChat := b.Subscribe(test.bad, "device")
				_, subscribeDevice := b.Subscribe(chat, test.bad)
				_, subscribeAnonymous := b.SubscribeAnonymous(test.bad)
				for what, errs := range map[string][]error{
					"chat":   {b.Publish(t.Context(), test.bad, 1), b.TryPublish(test.bad, 1), subscribeChat, subscribeAnonymous},
					"device": {subscribeDevice},
				} {
					for _, err := range errs {
						require.ErrorIs(t, err, broadcast.ErrInvalid)
						require.ErrorContains(t, err, what)
						require.ErrorContains(t, err, test.quoted)
						require.Less(t, len(err.Error()), 200)
					}
				}
				require.Zero(t, b.Stats().Chats)
				require.Empty(t, b.Devices(test.bad))
			})
		})
	}
}

func TestANameOf256BytesIsGood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		name := strings.Repeat("ж", 128)
		b := newBroker[int](t)
		s := b.join(name, name)
		b.publish(name, 1)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

// badShared are the bad options that New and Subscribe share, each with a word of its error.
var badShared = map[string]broadcast.SharedOption{
	"buffer 0":           broadcast.WithBuffer(0),
	"buffer -1":          broadcast.WithBuffer(-1),
	"buffer 1048577":     broadcast.WithBuffer(1<<20 + 1),
	"buffer 2147483647":  broadcast.WithBuffer(math.MaxInt32),
	"Sampling(5)":        broadcast.WithSampling(5),
	"Sampling(255)":      broadcast.WithSampling(255),
	"stall timeout -1ns": broadcast.WithStallTimeout(-1),
	"patience -1s":       broadcast.WithPatience(-time.Second),
	"publish timeout 5s is not longer than patience 5s":     broadcast.WithPatience(5 * time.Second),
	"publish timeout 5s is not longer than patience 1h0m0s": broadcast.WithPatience(time.Hour),
	"nil sampler": broadcast.WithSampler[int](nil),
	"func(broadcast.Backlog[string], string) int": broadcast.WithSampler(func(broadcast.Backlog[string], string) int { return 0 }),
}

func TestABadOptionIsRefusedByName(t *testing.T) {
	bad := map[string]broadcast.Option{
		"publish timeout -1ns":               broadcast.WithPublishTimeout(-1),
		"publish timeout 10ms is not longer": broadcast.WithPublishTimeout(patience),
		"clean interval 0s":                  broadcast.WithCleanInterval(0),
		"clean interval -1ns":                broadcast.WithCleanInterval(-1),
		"chat idle time -1ns":                broadcast.WithChatIdle(-1),
		"-1 chats":                           broadcast.WithMaxChats(-1),
		"-1 subscribers":                     broadcast.WithMaxSubscribers(-1),
		"option 0 is nil":                    nil,
		"nil function for chats":             broadcast.WithChat(nil),
		"history of -1":                      broadcast.WithHistory(-1, 0),
		"age of the history -1ns":            broadcast.WithHistory(1, -1),
		"leave grace -1ns":                   broadcast.WithLeaveGrace(-1),
	}
	for name, o := range badShared {
		bad[name] = o
	}
	for name, o := range bad {
		t.Run(name, func(t *testing.T) {
			b, err := broadcast.New[int](o)
			require.ErrorIs(t, err, broadcast.ErrInvalid)
			require.ErrorContains(t, err, strings.SplitN(name, "[", 2)[0])
			require.Nil(t, b)
		})
	}
}

func TestABadOptionOfASubscriptionIsRefusedByName(t *testing.T) {
	bad := map[string]broadcast.SubscribeOption{
		"option 0 is nil": nil,
		"nil context":     broadcast.Until(noContext),
	}
	for name, o := range badShared {
		bad[name] = o
	}
	for name, o := range bad {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t)
				s, err := b.Subscribe(chat, "device", o)
				require.ErrorIs(t, err, broadcast.ErrInvalid)
				require.ErrorContains(t, err, strings.SplitN(name, "[", 2)[0])
				require.Nil(t, s)
				require.Equal(t, broadcast.Stats{}, b.Stats())

				open := b.join(chat, "device")
				_, err = b.Subscribe(chat, "device", o) // and takes nothing over
				require.ErrorIs(t, err, broadcast.ErrInvalid)
				require.NoError(t, open.Err())
			})
		})
	}
}

func TestTheErrorListsEveryBadOption(t *testing.T) {
	bubble(t, func(t *testing.T) {
		before := goroutines()
		_, err := broadcast.New[int](broadcast.WithBuffer(0), broadcast.WithPatience(-1), nil, broadcast.WithSampling(9),
			broadcast.WithMaxChats(-7), broadcast.WithPublishTimeout(1), broadcast.WithBuffer(-8))
		for _, part := range []string{"buffer 0", "patience -1ns", "option 2", "Sampling(9)", "-7 chats", "publish timeout 1ns", "buffer -8"} {
			require.ErrorContains(t, err, part)
		}
		require.Equal(t, before, goroutines(), "nothing is started")

		b := newBroker[int](t)
		_, err = b.Subscribe(chat, "device", broadcast.WithBuffer(0), nil, broadcast.WithStallTimeout(-1), broadcast.WithPatience(-2))
		_, anonymous := b.SubscribeAnonymous("", broadcast.WithBuffer(0), nil, broadcast.WithStallTimeout(-1))
		require.ErrorContains(t, anonymous, `chat "" is empty`)
		require.ErrorContains(t, err, "patience -2ns")
		for _, part := range []string{"buffer 0", "option 1", "stall timeout -1ns"} {
			require.ErrorContains(t, err, part)
			require.ErrorContains(t, anonymous, part)
		}
	})
}

func TestTheLimitsOfOptionsAreGood(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithBuffer(1), broadcast.WithBuffer(1<<20), broadcast.WithPatience(0), broadcast.WithPublishTimeout(0),
			broadcast.WithCleanInterval(1), broadcast.WithChatIdle(0), broadcast.WithMaxChats(0), broadcast.WithMaxSubscribers(0),
			broadcast.WithStallTimeout(0), broadcast.WithLogger(nil))
		s := b.join(chat, "device", broadcast.WithPatience(math.MaxInt64))
		b.publish(chat, 1)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}

func TestABufferIsNotAllocatedInAdvance(t *testing.T) {
	b := newBroker[[1024]byte](t, broadcast.WithBuffer(1<<20))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for i := range 10 {
		for s := broadcast.DropOldest; s <= broadcast.Block; s++ {
			b.join(chat, s.String()+string(rune('0'+i)), broadcast.WithSampling(s))
		}
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "50 subscribers with buffers of 1 GiB")
}

func TestBrokerOptionsAreNoSubscribeOptions(t *testing.T) {
	for _, o := range []broadcast.Option{
		broadcast.WithPublishTimeout(0), broadcast.WithCleanInterval(1), broadcast.WithChatIdle(0),
		broadcast.WithMaxChats(0), broadcast.WithMaxSubscribers(0), broadcast.WithLogger(nil),
	} {
		_, ok := o.(broadcast.SubscribeOption)
		require.False(t, ok)
	}
	for _, o := range []broadcast.Option{
		broadcast.WithPublishTimeout(0), broadcast.WithCleanInterval(1), broadcast.WithMaxChats(0), broadcast.WithLogger(nil),
		broadcast.WithChat(func(string) []broadcast.ChatOption { return nil }),
	} {
		_, ok := o.(broadcast.ChatOption)
		require.False(t, ok, "they are of the broker alone")
	}
	_, ok := broadcast.Until(context.Background()).(broadcast.Option)
	require.False(t, ok)
}

// No option needs a type argument, and one that mentions the message type infers it.
func TestOptionsInferTheMessageType(t *testing.T) {
	bubble(t, func(t *testing.T) {
		newBroker[string](t,
			broadcast.WithBuffer(64),
			broadcast.WithSampler(func(backlog broadcast.Backlog[string], next string) int { return backlog.Len() }),
		)
	})
}

// "With WithHistory a Publish or TryPublish that would make a chat over the limit returns ErrLimit
// as well."
func TestWithAHistoryPublishAndTryPublishReturnErrLimitOverMaxChats(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithMaxChats(1), broadcast.WithHistory(1, 0))
		b.publish("one", 1)
		require.ErrorIs(t, b.Publish(t.Context(), "two", 1), broadcast.ErrLimit)
		require.ErrorIs(t, b.TryPublish("two", 1), broadcast.ErrLimit)
		require.NoError(t, b.TryPublish("one", 2))
		require.EqualValues(t, 2, b.Stats().Rejected)
	})
}

func TestOverALimitSubscribeReturnsErrLimitAndTouchesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithMaxChats(2), broadcast.WithMaxSubscribers(3), broadcast.WithChatIdle(time.Minute), broadcast.WithCleanInterval(time.Second))
		for _, device := range []string{"a", "b", "c"} {
			b.join("one", device)
		}
		b.join("two", "a")
		before := b.Stats()

		_, err := b.Subscribe("three", "a")
		require.ErrorIs(t, err, broadcast.ErrLimit)
		require.ErrorContains(t, err, "2 chats")
		_, err = b.Subscribe("one", "d")
		require.ErrorIs(t, err, broadcast.ErrLimit)
		require.ErrorContains(t, err, "3 subscribers")
		require.Equal(t, before, b.Stats())
		b.publish("three", 1) // to no chat: accepted, and not a chat

		b.join("two", "b") // where there is room
		s := b.join("one", "a")
		b.join("one", "a") // a takeover is never refused
		require.ErrorIs(t, s.Err(), broadcast.ErrReplaced)
		require.NoError(t, b.subs[1].Close())
		b.join("one", "d")
	})
}

func TestAForgottenChatMakesRoomForAnother(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, broadcast.WithMaxChats(1), broadcast.WithChatIdle(time.Minute), broadcast.WithCleanInterval(time.Second))
		require.NoError(t, b.join("one", "a").Close())
		sleep(time.Minute + time.Second)
		b.join("two", "a")
	})
}

func TestAfterCloseEverythingAnswersErrClosed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		require.NoError(t, b.Close())
		require.ErrorIs(t, b.Publish(t.Context(), chat, 1), broadcast.ErrBrokerClosed)
		require.ErrorIs(t, b.TryPublish(chat, 1), broadcast.ErrBrokerClosed)
		_, err := b.Subscribe(chat, "device")
		require.ErrorIs(t, err, broadcast.ErrBrokerClosed)
		_, err = b.SubscribeAnonymous(chat)
		require.ErrorIs(t, err, broadcast.ErrBrokerClosed)
		require.NoError(t, b.Close())

		// Arguments are checked before that, contexts after.
		require.ErrorIs(t, b.TryPublish("", 1), broadcast.ErrInvalid)
		done, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, b.Publish(done, chat, 1), broadcast.ErrBrokerClosed)
	})
}

func TestAZeroBrokerAnswersWithErrors(t *testing.T) {
	for name, b := range map[string]*broadcast.Broker[int]{"zero": {}, "nil": nil} {
		t.Run(name, func(t *testing.T) {
			requireUnusable(t, b.Publish(t.Context(), chat, 1))
			requireUnusable(t, b.TryPublish(chat, 1))
			_, err := b.Subscribe(chat, "device")
			requireUnusable(t, err)
			_, err = b.SubscribeAnonymous(chat)
			requireUnusable(t, err)
			requireUnusable(t, b.Shutdown(t.Context()))
			require.NotPanics(t, func() { _ = b.Close() })
			require.Empty(t, b.Chats())
			require.Empty(t, b.Devices(chat))
			require.Zero(t, b.Stats().Accepted)
		})
	}
}

func TestAZeroSubscriberAnswersWithErrors(t *testing.T) {
	for name, s := range map[string]*broadcast.Subscriber[int]{"zero": {}, "nil": nil} {
		t.Run(name, func(t *testing.T) {
			_, err := s.Next(t.Context())
			requireUnusable(t, err)
			_, err = s.NextBatch(t.Context(), make([]broadcast.Delivery[int], 1))
			requireUnusable(t, err)
			requireUnusable(t, s.Err())
			_, ok := s.TryNext()
			require.False(t, ok)
			require.Zero(t, s.TryNextBatch(make([]broadcast.Delivery[int], 1)))
			for range s.All(t.Context()) {
				t.Fatal("a message from nowhere")
			}
			for range s.Messages(t.Context()) {
				t.Fatal("a message from nowhere")
			}
			<-s.Done()
			_, open := <-s.Chan()
			require.False(t, open)
			require.NotPanics(t, func() { _ = s.Close() })
			require.Empty(t, s.Chat()+s.Device())
			require.Zero(t, s.Stats())
		})
	}
}

func requireUnusable(t *testing.T, err error) {
	t.Helper()
	require.Error(t, err)
	require.True(t, errors.Is(err, broadcast.ErrInvalid) || errors.Is(err, broadcast.ErrClosed), err)
}

func TestAnEmptyBatchIsInvalid(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t)
		s := b.join(chat, "device")
		b.publish(chat, 1)
		_, err := s.NextBatch(t.Context(), nil)
		require.ErrorIs(t, err, broadcast.ErrInvalid)
		require.Equal(t, []int{1}, payloads(takeAll(t, s)))
	})
}
