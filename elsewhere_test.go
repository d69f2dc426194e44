package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// soon is more than the time that it takes until other brokers know of a device.
const soon = 50 * time.Millisecond

// cluster is brokers of one engine, each with an observer of the presence in its chat.
type cluster struct {
	t         *testing.T
	engine    *memengine.Engine
	clients   []*memengine.Client
	brokers   []*broadcast.Broker[int]
	observers []*broadcast.Subscriber[int]
}

func newCluster(t *testing.T, n int, opts ...broadcast.Option) *cluster {
	t.Helper()
	e := memengine.New(1, time.Millisecond, 0)
	c := &cluster{t: t, engine: e}
	for range n {
		client := e.Client()
		b, err := broadcast.New[int](append(opts, broadcast.WithEngine(client))...)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		s, err := b.SubscribeAnonymous(chat, broadcast.WithPresence())
		require.NoError(t, err)
		c.clients, c.brokers, c.observers = append(c.clients, client), append(c.brokers, b), append(c.observers, s)
	}
	sleep(2 * time.Second) // until the brokers know of each other
	return c
}

func (c *cluster) join(broker int, device string, opts ...broadcast.SubscribeOption) *broadcast.Subscriber[int] {
	c.t.Helper()
	s, err := c.brokers[broker].Subscribe(chat, device, opts...)
	require.NoError(c.t, err)
	return s
}

// require fails the test unless every observer is told this next, and every broker has these
// devices.
func (c *cluster) require(events, devices string) {
	c.t.Helper()
	c.requireOf(len(c.brokers), events, devices)
}

// requireOf is require for the first n brokers.
func (c *cluster) requireOf(n int, events, devices string) {
	c.t.Helper()
	for i := range n {
		require.Equal(c.t, events, strings.ReplaceAll(told(c.observers[i]), "@0", ""), "events of broker %d", i)
		require.Equal(c.t, devices, strings.Join(c.brokers[i].Devices(chat), " "), "devices of broker %d", i)
	}
}

func TestDevicesOfAllBrokersArePresent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		ann := c.join(0, "ann")
		sleep(soon)
		c.require("+ann", "ann")
		bob := c.join(1, "bob")
		sleep(soon)
		c.require("+bob", "ann bob")
		require.NoError(t, ann.Close())
		sleep(soon)
		c.require("-ann", "bob")
		require.NoError(t, bob.Close())
		sleep(soon)
		c.require("-bob", "")
	})
}

// Counters and limits are those of one broker.
func TestOnlySubscriptionsOfTheBrokerCount(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, broadcast.WithMaxSubscribers(3))
		c.join(0, "ann")
		c.join(0, "bob")
		sleep(soon)
		require.Equal(t, 3, c.brokers[0].Stats().Subscribers)
		require.Equal(t, 1, c.brokers[1].Stats().Subscribers)
		stats, _ := c.brokers[1].ChatStats(chat)
		require.Equal(t, 1, stats.Subscribers)
		c.join(1, "carl")
		c.join(1, "dora")
		_, err := c.brokers[1].Subscribe(chat, "emil")
		require.ErrorIs(t, err, broadcast.ErrLimit)
		_, err = c.brokers[1].Subscribe(chat, "ann")
		require.ErrorIs(t, err, broadcast.ErrLimit, "it is elsewhere")
		c.join(1, "dora")
		n := 0
		for info := range c.brokers[1].Subscriptions(chat) {
			require.NotEqual(t, "ann", info.Device)
			n++
		}
		require.Equal(t, 3, n)
	})
}

// A chat that only has devices on other brokers has no subscription here.
func TestChatsAreThoseWithASubscriptionOfTheBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2, broadcast.WithChatIdle(time.Minute), broadcast.WithCleanInterval(time.Second))
		c.join(0, "ann")
		sleep(soon)
		require.NoError(t, c.observers[1].Close())
		require.Empty(t, c.brokers[1].Chats())
		require.Equal(t, []string{"ann"}, c.brokers[1].Devices(chat))
		sleep(time.Minute + time.Second)
		require.Zero(t, c.brokers[1].Stats().Chats, "a device elsewhere does not keep it")
		require.Empty(t, c.brokers[1].Devices(chat))
		require.Equal(t, []string{chat}, c.brokers[0].Chats())
	})
}

func TestADeviceThatMovesToAnotherBrokerHasNeverLeft(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		first := c.join(0, "ann")
		sleep(soon)
		c.require("+ann", "ann")
		second := c.join(1, "ann")
		sleep(soon)
		c.requireOf(2, "", "ann")
		require.ErrorIs(t, first.Err(), broadcast.ErrReplaced)
		<-first.Done()
		require.EqualValues(t, 1, c.brokers[0].Stats().Replaced)
		require.Equal(t, []int{1, 2, 1}, []int{
			c.brokers[0].Stats().Subscribers, c.brokers[1].Stats().Subscribers, c.brokers[2].Stats().Subscribers,
		})
		told(c.observers[2]) // may hear that it was gone for a moment
		third := c.join(0, "ann")
		sleep(soon)
		c.requireOf(2, "", "ann")
		require.ErrorIs(t, second.Err(), broadcast.ErrReplaced)
		require.NoError(t, third.Err())
		require.NoError(t, third.Close())
		sleep(soon)
		c.requireOf(2, "-ann", "")
	})
}

// The subscription that a device had before a takeover here is not that of a ticket.
func TestOnlyTheSubscriptionOfItsTicketIsReplaced(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0)
		r := h.join("ann")
		h.fed.Here("ann")
		h.fed.Replaced("ann", 1<<62) // the ticket of another one
		require.NoError(t, r.Err())
		h.fed.Replaced("bob", 1)
		require.Zero(t, h.b.Stats().Replaced)
	})
}

func TestADeviceOnTwoBrokersIsPresentUntilItHasLeftBoth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0)
		o := h.b.joinAnonymous(chat, broadcast.WithPresence())
		r := h.join("ann")
		require.Equal(t, "+ann@0", told(o))
		h.fed.Here("ann")
		require.NoError(t, r.Close())
		require.Empty(t, told(o))
		require.Equal(t, []string{"ann"}, h.b.Devices(chat))
		require.Equal(t, 1, h.b.Stats().Subscribers)
		r = h.join("ann")
		require.Equal(t, 2, h.b.Stats().Subscribers)
		h.fed.Gone("ann")
		require.Equal(t, []string{"ann"}, h.b.Devices(chat))
		require.Empty(t, told(o))
		require.NoError(t, r.Close())
		require.Equal(t, "-ann@0", told(o))
		require.Empty(t, h.b.Devices(chat))
		h.fed.Here("bob")
		h.fed.Gone("bob")
		require.Equal(t, "+bob@0 -bob@0", told(o))
		h.fed.Gone("bob") // never again
		require.Empty(t, told(o))
		require.Equal(t, 1, h.b.Stats().Subscribers)
	})
}

func TestADeviceElsewhereHasAGraceToo(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0, broadcast.WithLeaveGrace(10*time.Second), broadcast.WithCleanInterval(time.Second))
		o := h.b.joinAnonymous(chat, broadcast.WithPresence())
		h.fed.Here("ann")
		require.Equal(t, "+ann@0", told(o))
		h.fed.Gone("ann")
		sleep(9 * time.Second)
		require.Empty(t, told(o))
		h.fed.Here("ann") // back, elsewhere
		sleep(time.Minute)
		require.Empty(t, told(o))
		h.fed.Gone("ann")
		r := h.join("ann") // back, here
		sleep(time.Minute)
		require.Empty(t, told(o))
		require.NoError(t, r.Close())
		h.fed.Here("ann") // moved
		sleep(time.Minute)
		require.Empty(t, told(o))
		require.Equal(t, 1, h.b.Stats().Subscribers)
		h.fed.Gone("ann")
		sleep(9 * time.Second)
		require.Equal(t, []string{"ann"}, h.b.Devices(chat))
		sleep(2 * time.Second)
		require.Equal(t, "-ann@0", told(o))
		require.Empty(t, h.b.Devices(chat))
	})
}

func TestDevicesOfADeadBrokerLeave(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		c.join(2, "ann")
		sleep(soon)
		c.require("+ann", "ann")
		require.Equal(t, 2, c.brokers[0].Engine().Peers)
		c.clients[2].Cut()
		sleep(4 * time.Second)
		c.requireOf(2, "", "ann")
		sleep(3 * time.Second)
		c.requireOf(2, "-ann", "")
		require.Equal(t, 1, c.brokers[0].Engine().Peers)
		require.False(t, c.brokers[2].Engine().Up)
		c.clients[2].Restore()
		sleep(3 * time.Second)
		c.requireOf(2, "+ann", "ann")
	})
}

// Those who end say so.
func TestDevicesOfABrokerThatEndsLeaveAtOnce(t *testing.T) {
	for name, end := range map[string]func(b *broadcast.Broker[int]) error{
		"Close":    (*broadcast.Broker[int]).Close,
		"Shutdown": func(b *broadcast.Broker[int]) error { return b.Shutdown(context.Background()) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 2)
				c.join(1, "ann")
				sleep(soon)
				c.require("+ann", "ann")
				require.NoError(t, end(c.brokers[1]))
				sleep(soon)
				c.requireOf(1, "-ann", "")
				require.Zero(t, c.brokers[0].Engine().Peers)
			})
		})
	}
}

func TestKickReachesTheBrokerThatHasTheDevice(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		spam := errors.New("spam")
		for broker := range c.brokers {
			s := c.join(0, "ann", broadcast.WithBuffer(1))
			sleep(soon)
			c.require("+ann", "ann")
			require.False(t, c.brokers[broker].Kick(chat, "bob", nil))
			require.True(t, c.brokers[broker].Kick(chat, "ann", spam))
			sleep(soon)
			c.require("-ann", "")
			<-s.Done()
			require.EqualError(t, s.Err(), "spam")
			require.Equal(t, broker == 0, s.Err() == spam, "the reason itself, on the same broker")
			require.Equal(t, broker != 0, errors.Is(s.Err(), broadcast.ErrKicked))
			require.False(t, c.brokers[broker].Kick(chat, "ann", spam))
		}
		sleep(time.Minute)
		c.require("", "")
	})
}

func TestTheReasonOfAKickTravelsAsText(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		for reason, text := range map[error]string{
			nil:                 broadcast.ErrKicked.Error(),
			broadcast.ErrKicked: broadcast.ErrKicked.Error(),
			errors.New(""):      broadcast.ErrKicked.Error(),
			errKick:             errKick.Error(),
			fmt.Errorf("%w: %w", broadcast.ErrKicked, io.EOF): "broadcast: kicked: EOF",
			errors.New("not \xff"):                            "not \uFFFD",
			errors.New(strings.Repeat("x", 1024)):             strings.Repeat("x", 1024),
			errors.New(strings.Repeat("x", 1025)):             strings.Repeat("x", 1024),
			errors.New(strings.Repeat("x", 1023) + "\u00e9"):  strings.Repeat("x", 1023),
		} {
			s := c.join(0, "ann")
			sleep(soon)
			require.True(t, c.brokers[1].Kick(chat, "ann", reason))
			sleep(soon)
			require.ErrorIs(t, s.Err(), broadcast.ErrKicked)
			require.EqualError(t, s.Err(), text)
			require.NotErrorIs(t, s.Err(), io.EOF)
			require.Equal(t, text == broadcast.ErrKicked.Error(), s.Err() == broadcast.ErrKicked)
		}
	})
}

// The device takes over its subscription, here or there, before the kick arrives.
func TestAKickDoesNotEndASubscriptionThatItsBrokerDidNotKnow(t *testing.T) {
	for name, second := range map[string]int{"on the same broker": 0, "on another": 2} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				c := newCluster(t, 3)
				old := c.join(0, "ann")
				sleep(soon)
				c.require("+ann", "ann")
				newer := c.join(second, "ann")
				require.True(t, c.brokers[1].Kick(chat, "ann", nil))
				sleep(time.Minute)
				require.Error(t, old.Err())
				require.NoError(t, newer.Err())
				require.Equal(t, []string{"ann"}, c.brokers[0].Devices(chat))
				require.Equal(t, []string{"ann"}, c.brokers[1].Devices(chat))
				require.True(t, c.brokers[1].Kick(chat, "ann", nil), "now it knows")
				sleep(soon)
				require.ErrorIs(t, newer.Err(), broadcast.ErrKicked)
				require.Empty(t, c.brokers[2].Devices(chat))
			})
		})
	}
}

// The kick of the newest subscription reaches the older one before its takeover does.
func TestAKickOfADeviceOnTwoBrokersEndsBoth(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		old := c.join(0, "ann")
		sleep(soon)
		c.require("+ann", "ann")
		newer := c.join(1, "ann")
		require.True(t, c.brokers[1].Kick(chat, "ann", errKick))
		require.Equal(t, errKick, newer.Err())
		sleep(soon)
		require.Error(t, old.Err())
		c.require("-ann", "")
	})
}

// Nobody waits for the grace of a device that was kicked, wherever it is and wherever the others
// are.
func TestNoBrokerGivesAKickedDeviceAGrace(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3, broadcast.WithLeaveGrace(time.Hour))
		for broker := range c.brokers {
			c.join(0, "ann")
			sleep(soon)
			c.require("+ann", "ann")
			require.True(t, c.brokers[broker].Kick(chat, "ann", nil))
			sleep(soon)
			c.require("-ann", "")

			require.NoError(t, c.join(0, "ann").Close())
			sleep(soon)
			c.require("+ann", "ann")
			require.True(t, c.brokers[broker].Kick(chat, "ann", nil), "in its grace")
			sleep(soon)
			c.require("-ann", "")
		}
	})
}

func TestAKickedDeviceMaySubscribeAgainOnAnyBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 3)
		for broker := range c.brokers {
			c.join(0, "ann")
			sleep(soon)
			require.True(t, c.brokers[1].Kick(chat, "ann", nil))
			sleep(soon)
			c.require("+ann -ann", "")
			again := c.join(broker, "ann")
			sleep(time.Minute)
			require.NoError(t, again.Err())
			c.require("+ann", "ann")
			require.NoError(t, again.Close())
			sleep(soon)
			c.require("-ann", "")
		}
	})
}

// Kick returns while the engine is away, and has its effect when it is back.
func TestAKickWaitsForTheEngine(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		s := c.join(0, "ann")
		sleep(soon)
		c.clients[1].Cut()
		sleep(soon)
		require.True(t, c.brokers[1].Kick(chat, "ann", nil))
		sleep(time.Minute)
		require.NoError(t, s.Err())
		c.clients[1].Restore()
		sleep(soon)
		require.ErrorIs(t, s.Err(), broadcast.ErrKicked)
	})
}

// A handler that hangs when it is told of a kick holds up neither messages nor devices.
func TestAKickOfAnotherBrokerRunsEndHooksAside(t *testing.T) {
	bubble(t, func(t *testing.T) {
		goOn := make(chan struct{})
		hanging := false
		logger := slog.New(&journal{level: slog.LevelDebug, on: func(message string) {
			if strings.Contains(message, "ended") {
				hanging = true
				<-goOn
			}
		}})
		c := newCluster(t, 2, broadcast.WithLogger(logger))
		defer close(goOn)
		s := c.join(0, "ann")
		sleep(soon)
		require.True(t, c.brokers[1].Kick(chat, "ann", nil))
		sleep(soon)
		require.True(t, hanging)
		require.ErrorIs(t, s.Err(), broadcast.ErrKicked)
		c.join(1, "bob")
		require.NoError(t, c.brokers[1].Publish(t.Context(), chat, 1))
		sleep(soon)
		require.Equal(t, []string{"bob"}, c.brokers[0].Devices(chat))
		require.EqualValues(t, 1, c.observers[0].Stats().Pending)
	})
}

// The subscription of another ticket is not meant.
func TestOnlyTheSubscriptionOfItsTicketIsKicked(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0)
		r := h.join("ann")
		h.fed.Kicked("ann", 1, "")
		h.fed.Kicked("ann", 0, "")
		h.fed.Kicked("bob", 1, "")
		h.fed.Kicked("bob", 0, "")
		require.NoError(t, r.Err())
		require.Equal(t, []string{"ann"}, h.b.Devices(chat))
	})
}

// An event says where it is in the order, and nobody who resumes there loses anything.
func TestAnEventBesideAMarkIsBeforeIt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0, broadcast.WithHistory(10, 0))
		r := h.join("ann", broadcast.WithPresence())
		h.feed(2)
		h.fed.Here("bob")
		h.hole(3)
		h.fed.Here("carl")
		h.reset(2, 0)
		h.fed.Gone("bob")
		h.feed(1)
		h.fed.Gone("carl")
		var seqs []uint64
		var kinds []broadcast.Kind
		for d, ok := r.TryNext(); ok; d, ok = r.TryNext() {
			r.got(d)
			seqs, kinds = append(seqs, d.Seq), append(kinds, d.Kind)
			resumed := h.b.joinAnonymous(chat, broadcast.Resume(d.Position()))
			require.Equal(t, d.Position(), resumed.Position())
		}
		require.Equal(t, []uint64{1, 2, 2, 2, 2, 1, 1}, seqs)
		require.Equal(t, broadcast.Joined, kinds[2])
		require.Equal(t, broadcast.Left, kinds[4])
		require.Equal(t, broadcast.Published, kinds[5])
		r.check()
	})
}

// A reader that loses the messages around a mark gets the events before the mark is shown to it.
func TestAnEventAmongLostMessagesIsNotBehindTheirMark(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0, broadcast.WithHistory(10, 0))
		r := h.join("ann", broadcast.WithPresence(), broadcast.WithBuffer(1), broadcast.WithPatience(0))
		h.feed(2)
		h.hole(3)
		h.feed(3)
		h.fed.Here("bob")
		h.feed(1)
		d, ok := r.TryNext()
		require.True(t, ok)
		require.Equal(t, broadcast.Joined, d.Kind)
		require.EqualValues(t, 2, d.Seq)
		r.got(d)
		waysByHand["TryNext"](r, 5)
		require.EqualValues(t, 9, r.last.seq)
		require.EqualValues(t, 8, r.check().Missed)
	})
}

// A node that has left a chat may still be told something once.
func TestNewsAfterTheEndChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		h := newHand(t, 1, 0)
		h.fed.Here("bob")
		r := h.join("ann")
		require.NoError(t, h.b.Close())
		h.fed.Here("carl")
		h.fed.Gone("bob")
		h.fed.Replaced("ann", 1)
		h.fed.Kicked("ann", 1, "")
		h.fed.Kicked("bob", 0, "")
		synctest.Wait()
		require.ErrorIs(t, r.Err(), broadcast.ErrBrokerClosed)
		require.Zero(t, h.b.Stats().Subscribers)
	})
}

// A pointerError is an error whose nil pointer has no text.
type pointerError struct{ text string }

func (e *pointerError) Error() string { return e.text }

// Promise 70.
func TestTheReasonOfAKickMayBeANilPointer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		c := newCluster(t, 2)
		s := c.join(1, "ann")
		sleep(soon)
		require.True(t, c.brokers[0].Kick(chat, "ann", (*pointerError)(nil)))
		sleep(soon)
		require.ErrorIs(t, s.Err(), broadcast.ErrKicked)
		require.EqualError(t, s.Err(), "<nil>")
	})
}
