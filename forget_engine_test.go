package broadcast_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// acquainted returns brokers of one engine that know of each other, without readers.
func acquainted(t *testing.T, n int, opts ...broadcast.Option) *cluster {
	t.Helper()
	c := newCluster(t, 0)
	for range n {
		c.add(append([]broadcast.Option{broadcast.WithHistory(5, time.Hour), broadcast.WithChatIdle(idleHere)}, opts...)...)
	}
	sleep(2 * time.Second)
	return c
}

// publish publishes on a broker.
func (c *cluster) publish(broker int, messages ...int) {
	c.t.Helper()
	for _, m := range messages {
		require.NoError(c.t, c.brokers[broker].Publish(c.t.Context(), chat, m))
	}
}

// requireNothingOf requires that no broker has anything of a chat that was forgotten, in which a
// position was taken, and that the next one begins with 1.
func (c *cluster) requireNothingOf(forgotten broadcast.Position) {
	c.t.Helper()
	for _, b := range c.brokers {
		s, err := b.Subscribe(chat, "late", broadcast.Replay(5), broadcast.Resume(forgotten))
		require.NoError(c.t, err)
		require.Zero(c.t, s.Stats().Head-s.Stats().Joined)
		require.False(c.t, s.Recovered())
		_, ok, err := b.Last(c.t.Context(), chat)
		require.NoError(c.t, err)
		require.False(c.t, ok)
		require.NoError(c.t, s.Close())
	}
	s := c.join(0, "late")
	c.publish(1, 100)
	sleep(soon)
	require.Equal(c.t, []int{100}, take(c.t, s, 1))
	d, _, err := c.brokers[2].Last(c.t.Context(), chat)
	require.NoError(c.t, err)
	require.EqualValues(c.t, 1, d.Seq)
}

// Promise 72.
func TestForgetFreesTheNameOnAllBrokers(t *testing.T) {
	for name, prepare := range map[string]func(c *cluster){
		"a chat in the memory of all": func(c *cluster) {
			for i := range c.brokers {
				require.NoError(c.t, c.join(i, "ann").Close())
			}
		},
		"a chat in the memory of another": func(c *cluster) { require.NoError(c.t, c.join(1, "ann").Close()) },
		"a chat in nobody's memory":       func(*cluster) {},
		"a chat that has ended": func(c *cluster) {
			require.NoError(c.t, c.join(1, "ann").Close())
			require.NoError(c.t, c.brokers[2].EndChat(c.t.Context(), chat, errDone))
			requireEndElsewhere(c.t, c.brokers[0].Publish(c.t.Context(), chat, 9))
		},
		"a chat with a grace": func(c *cluster) { require.NoError(c.t, c.join(2, "bob").Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := acquainted(t, 3, broadcast.WithLeaveGrace(time.Minute))
				c.publish(0, 1, 2, 3)
				at, err := c.brokers[1].Head(t.Context(), chat)
				require.NoError(t, err)
				prepare(c)
				sleep(soon)
				require.NoError(t, c.brokers[0].Forget(t.Context(), chat))
				require.Zero(t, c.brokers[0].Stats().Chats)
				sleep(soon)
				for i, b := range c.brokers {
					require.Zero(t, b.Stats().Chats, "broker %d", i)
					require.Empty(t, b.Devices(chat))
					require.LessOrEqual(t, broadcast.Due(b), 1, "the chat, until the next visit")
				}
				sleep(time.Minute)
				for _, b := range c.brokers {
					require.Zero(t, broadcast.Due(b))
				}
				c.requireNothingOf(at)
			})
		})
	}
}

// Promise 72.
func TestForgetOfAChatThatIsReadOnAnyBrokerChangesNothing(t *testing.T) {
	for name, subscribe := range map[string]func(c *cluster) (done func()){
		"a device": func(c *cluster) func() {
			s := c.join(1, "ann")
			return func() { require.NoError(c.t, s.Close()) }
		},
		"nobody that others know": func(c *cluster) func() {
			s, err := c.brokers[1].SubscribeAnonymous(chat)
			require.NoError(c.t, err)
			return func() { require.NoError(c.t, s.Close()) }
		},
		"a reader that drains": func(c *cluster) func() {
			s := c.join(1, "ann", broadcast.Replay(5))
			require.NoError(c.t, c.brokers[0].EndChat(c.t.Context(), chat, errDone))
			return func() { require.Equal(c.t, "1 2 3", drained(c.t, s)) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := acquainted(t, 3)
				c.publish(0, 1, 2, 3)
				done := subscribe(c)
				at, err := c.brokers[1].Head(t.Context(), chat)
				require.NoError(t, err)
				for _, b := range c.brokers {
					require.Equal(t, broadcast.ErrInUse, b.Forget(t.Context(), chat))
				}
				d, ok, err := c.brokers[2].Last(t.Context(), chat)
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, at, d.Position())
				done()
				sleep(soon)
				require.NoError(t, c.brokers[0].Forget(t.Context(), chat))
				sleep(soon)
				c.requireNothingOf(at)
			})
		})
	}
}

// Promise 72: also while it waits for other brokers.
func TestForgetWithAnEngineThatIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := acquainted(t, 2, broadcast.WithPublishTimeout(time.Second))
		c.publish(0, 1)
		c.clients[1].Cut()
		require.Equal(t, broadcast.ErrAway, c.brokers[0].Forget(t.Context(), chat))
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.Equal(t, context.DeadlineExceeded, c.brokers[0].Forget(ctx, chat))
		c.clients[1].Restore()
		result := make(chan error, 1)
		c.clients[0].Cut()
		go func() { result <- c.brokers[0].Forget(t.Context(), chat) }()
		synctest.Wait()
		require.NoError(t, c.brokers[0].Close())
		require.Equal(t, broadcast.ErrBrokerClosed, <-result)
		require.Equal(t, broadcast.ErrBrokerClosed, c.brokers[0].Forget(t.Context(), chat))
	})
}

// Promise 72: a reader that comes too late goes on with the next chat.
func TestAReaderThatComesTooLateToKeepItsChatGetsTheNext(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0, broadcast.WithHistory(5, time.Hour), broadcast.WithLeaveGrace(time.Minute))
		require.True(t, h.feed(3))
		require.NoError(t, h.b.join(chat, "gone").Close())
		old := h.tail().position(t)
		s := h.b.join(chat, "ann", broadcast.Replay(1))
		h.fed.Forgotten()
		_, ok, err := h.b.Last(t.Context(), chat)
		require.NoError(t, err)
		require.False(t, ok, "the history is forgotten")
		late := h.join("bob", broadcast.Replay(5), broadcast.Resume(old))
		require.Equal(t, "ann bob gone", strings.Join(h.b.Devices(chat), " "), "nobody has left")
		sleep(2 * time.Minute)
		require.Equal(t, "ann bob", strings.Join(h.b.Devices(chat), " "))
		h.reset(2, 0)
		require.True(t, h.feed(1))
		d, ok := s.TryNext()
		require.True(t, ok)
		require.Equal(t, 3, d.Message, "it was buffered")
		d, ok = s.TryNext()
		require.True(t, ok)
		require.True(t, d.Reset)
		require.Equal(t, 4, d.Message)
		d, ok = late.TryNext()
		require.True(t, ok)
		late.got(d)
		require.NoError(t, s.Close())
		require.NoError(t, late.Close())
		d, ok, err = h.b.Last(t.Context(), chat)
		require.NoError(t, err)
		require.True(t, ok, "that of the next chat is not")
		require.Equal(t, 4, d.Message)
	})
}

// Promise 72: like a reader that drains when the name is free.
func TestAReaderThatDrainsEndsWhenItsChatIsForgotten(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0, broadcast.WithHistory(5, 0), broadcast.WithChatIdle(idleHere))
		require.True(t, h.feed(3))
		s := h.b.join(chat, "ann", broadcast.Replay(5))
		h.fed.End(errDone, time.Now().Add(idleHere))
		require.NoError(t, s.Err())
		h.fed.Forgotten()
		sleep(time.Millisecond)
		requireEndElsewhere(t, s.Err())
		require.Equal(t, "1 2 3", drained(t, s))
		require.Zero(t, h.b.Stats().Chats)
	})
}
