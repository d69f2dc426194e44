package broadcast_test

import (
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// withChat is WithChat where one chat has options of its own.
func withChat(name string, opts ...broadcast.ChatOption) broadcast.Option {
	return broadcast.WithChat(func(chat string) []broadcast.ChatOption {
		if chat == name {
			return opts
		}
		return nil
	})
}

// Promise 35.
func TestAChatHasTheOptionsOfItsName(t *testing.T) {
	t.Run("history", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithHistory(3, 0), withChat("short", broadcast.WithHistory(2, time.Minute)))
			for _, name := range []string{"short", "long"} {
				b.publish(name, from(1, 4)...)
			}
			require.Equal(t, from(3, 4), payloads(takeAll(t, b.join("short", "device", broadcast.Replay(9)))))
			require.Equal(t, from(2, 4), payloads(takeAll(t, b.join("long", "device", broadcast.Replay(9)))))
			sleep(time.Minute + 1)
			require.Empty(t, takeAll(t, b.join("short", "other", broadcast.Replay(9))))
			require.Len(t, takeAll(t, b.join("long", "other", broadcast.Replay(9))), 3)
		})
	})
	t.Run("no history", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithHistory(3, 0), withChat(chat, broadcast.WithHistory(0, 0)))
			b.publish(chat, 1)
			require.Zero(t, b.Stats().Chats)
			b.publish("another chat", 1)
			require.Equal(t, 1, b.Stats().Chats)
		})
	})
	t.Run("idle time", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, withChat(chat, broadcast.WithChatIdle(time.Hour)))
			require.NoError(t, b.join(chat, "device").Close())
			require.NoError(t, b.join("another chat", "device").Close())
			sleep(idle + interval)
			require.Equal(t, 1, b.Stats().Chats)
			sleep(time.Hour - idle - 1)
			require.Equal(t, 0, b.Stats().Chats)
		})
	})
	t.Run("leave grace", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, withChat(chat, broadcast.WithLeaveGrace(time.Second)))
			for _, name := range []string{chat, "another chat"} {
				follower := b.join(name, "follower", broadcast.WithPresence())
				require.NoError(t, b.join(name, "ann").Close())
				now := told(follower)
				sleep(time.Second)
				require.Equal(t, "+ann@0 -ann@0", strings.TrimSpace(now+" "+told(follower)))
				require.Equal(t, name == chat, now == "+ann@0")
			}
		})
	})
	t.Run("limit of subscribers", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, broadcast.WithMaxSubscribers(2), withChat(chat, broadcast.WithMaxSubscribers(1)))
			b.join(chat, "ann")
			_, err := b.Subscribe(chat, "ben")
			require.ErrorIs(t, err, broadcast.ErrLimit)
			b.join("another chat", "ann")
			b.join("another chat", "ben")
		})
	})
	t.Run("defaults of subscriptions", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			b := newBroker[int](t, withChat(
				chat, broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.DropNewest), broadcast.WithPatience(time.Millisecond),
			))
			s := b.join(chat, "device")
			roomy := b.join(chat, "roomy", broadcast.WithBuffer(2))
			other := b.join("another chat", "device")
			require.Equal(t, 2*time.Millisecond, b.publish(chat, 1, 2, 3))
			require.Zero(t, b.publish("another chat", 1, 2, 3))
			require.Equal(t, []int{1}, payloads(takeAll(t, s)))
			require.Equal(t, []int{1, 2}, payloads(takeAll(t, roomy)))
			require.Equal(t, []int{1, 2, 3}, payloads(takeAll(t, other)))
		})
	})
}

// Promise 35.
func TestANameIsAskedForWhenItHasNoChat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		var asked []string
		b := newBroker[int](t, broadcast.WithChat(func(name string) []broadcast.ChatOption {
			asked = append(asked, name)
			if name == "kept" {
				return []broadcast.ChatOption{broadcast.WithHistory(1, time.Minute)}
			}
			return nil
		}))
		require.Empty(t, asked)
		s := b.join("read", "ann") // asked
		b.join("read", "ben")
		b.publish("read", 1)
		b.publish("kept", 1, 2)    // asked once
		b.publish("nowhere", 1, 2) // asked twice
		_, err := b.Head(t.Context(), "head")
		require.NoError(t, err)
		_, _, err = b.Last(t.Context(), "last") // makes no chat
		require.NoError(t, err)
		_, err = b.Subscribe("", "ann")
		require.ErrorIs(t, err, broadcast.ErrInvalid)
		_, err = b.Subscribe("bad device", "")
		require.ErrorIs(t, err, broadcast.ErrInvalid)
		require.Equal(t, []string{"read", "kept", "nowhere", "nowhere", "head"}, asked)

		sleep(time.Hour) // those that nobody reads are forgotten
		b.join("kept", "ann")
		require.Equal(t, "kept", asked[len(asked)-1])
		require.NoError(t, s.Err())
		require.NoError(t, b.Close())
		_, err = b.Subscribe("closed", "ann")
		require.ErrorIs(t, err, broadcast.ErrClosed)
		require.ErrorIs(t, b.TryPublish("closed", 1), broadcast.ErrClosed)
		require.Len(t, asked, 6)
	})
}

// callsForChats are the calls that need the options of a chat.
var callsForChats = map[string]func(b *auditedBroker[int], chat string) error{
	"Subscribe": func(b *auditedBroker[int], chat string) error {
		_, err := b.Subscribe(chat, "device")
		return err
	},
	"SubscribeAnonymous": func(b *auditedBroker[int], chat string) error {
		_, err := b.SubscribeAnonymous(chat)
		return err
	},
	"Publish":    func(b *auditedBroker[int], chat string) error { return b.Publish(b.t.Context(), chat, 1) },
	"TryPublish": func(b *auditedBroker[int], chat string) error { return b.TryPublish(chat, 1) },
	"EndChat":    func(b *auditedBroker[int], chat string) error { return b.EndChat(b.t.Context(), chat, nil) },
	"Head": func(b *auditedBroker[int], chat string) error {
		_, err := b.Head(b.t.Context(), chat)
		return err
	},
}

// Promise 35.
func TestBadOptionsOfAChatAreTheErrorOfTheCall(t *testing.T) {
	for name, call := range callsForChats {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				b := newBroker[int](t, withChat(
					"bad", broadcast.WithHistory(-1, -2), nil, broadcast.WithBuffer(0), broadcast.WithPatience(5*time.Second),
					broadcast.WithMaxSubscribers(-3), broadcast.WithChatIdle(-4), broadcast.WithLeaveGrace(-5),
					broadcast.WithSampler(func(broadcast.Backlog[string], string) int { return 0 }),
				))
				err := call(b, "bad")
				require.ErrorIs(t, err, broadcast.ErrInvalid)
				for _, part := range []string{
					`options of chat "bad"`, "history of -1", "age of the history -2ns", "option 1 is nil", "buffer 0",
					"publish timeout 5s is not longer than patience 5s", "-3 subscribers", "idle time -4ns", "leave grace -5ns",
					"is not for messages of type int",
				} {
					require.ErrorContains(t, err, part)
				}
				require.Zero(t, b.Stats().Chats)
				require.NoError(t, call(b, "good"))
			})
		})
	}
}

// Promise 35: with those of the subscription.
func TestTheErrorListsTheBadOptionsOfTheChatAndOfTheSubscription(t *testing.T) {
	bubble(t, func(t *testing.T) {
		b := newBroker[int](t, withChat(chat, broadcast.WithBuffer(-7)))
		_, err := b.Subscribe(chat, "device", broadcast.WithBuffer(-8))
		require.ErrorContains(t, err, "buffer -7")
		require.ErrorContains(t, err, "buffer -8")
	})
}

// Promise 35.
func TestAPanicOfTheFunctionForChatsLeavesTheCallWithNothingHeld(t *testing.T) {
	for name, call := range callsForChats {
		for how, leave := range map[string]func(){"panic": func() { panic("no such chat") }, "Goexit": runtime.Goexit} {
			t.Run(name+" "+how, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					leaves := true
					b := newBroker[int](t, broadcast.WithChat(func(string) []broadcast.ChatOption {
						if leaves {
							leave()
						}
						return nil
					}))
					done := make(chan any)
					go func() {
						defer close(done)
						defer func() {
							if r := recover(); r != nil {
								done <- r
							}
						}()
						_ = call(b, chat)
					}()
					if how == "panic" {
						require.Equal(t, "no such chat", <-done)
					}
					<-done
					require.Zero(t, b.Stats().Chats)
					leaves = false
					require.NoError(t, call(b, chat))
				}) // and the books balance: what was to be published is rejected
			})
		}
	}
}

// Promise 35.
func TestTheFunctionForChatsIsCalledWithoutALock(t *testing.T) {
	for name, call := range callsForChats {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				var b *auditedBroker[int]
				b = newBroker[int](t, broadcast.WithChat(func(name string) []broadcast.ChatOption {
					if name == chat {
						b.join("another chat", "device")
						b.publish("another chat", 1)
						b.Stats()
					}
					return nil
				}))
				require.NoError(t, call(b, chat))
				require.NotEmpty(t, b.Chats())
			})
		})
	}
}

// Promise 35.
func TestSeveralThatAskForANameAtOnceGetOneChat(t *testing.T) {
	for range reduced(1_000) {
		var asked atomic.Int32
		b := newBroker[int](t, broadcast.WithChat(func(string) []broadcast.ChatOption {
			asked.Add(1)
			return []broadcast.ChatOption{broadcast.WithHistory(8, 0)}
		}))
		crowd(8, func(i int) {
			if i%2 == 0 {
				b.join(chat, fmt.Sprint(i))
			} else {
				b.publish(chat, i)
			}
		})
		require.Equal(t, 1, b.Stats().Chats)
		require.Len(t, takeAll(t, b.join(chat, "last", broadcast.Replay(math.MaxUint16))), 4)
		require.LessOrEqual(t, asked.Load(), int32(8))
		require.NoError(t, b.Close())
	}
}
