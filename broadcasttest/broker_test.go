package broadcasttest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

func TestNewEndsWithTheTest(t *testing.T) {
	var b *broadcast.Broker[string]
	requirePass(t, func(t testing.TB) {
		b = broadcasttest.New[string](t, broadcast.WithHistory(3, 0))
		publish(t, b, "room", "one")
		require.Equal(t, 1, b.Stats().Chats, "the option was lost")
	})
	require.ErrorIs(t, b.Publish(t.Context(), "room", "two"), broadcast.ErrBrokerClosed)
}

func TestTheBrokerMayEndBeforeTheTest(t *testing.T) {
	requirePass(t, func(t testing.TB) {
		b, s := room(t)
		require.NoError(t, s.Close())
		require.NoError(t, b.Shutdown(t.Context()))
	})
}

func TestNewSaysWhichOptionIsBad(t *testing.T) {
	requireFailure(t, func(t testing.TB) { broadcasttest.New[string](t, broadcast.WithBuffer(0)) }, `no broker: broadcast: invalid`, `buffer 0`)
}

func TestSubscribeEndsWithTheTest(t *testing.T) {
	b := broadcasttest.New[string](t)
	requirePass(t, func(t testing.TB) {
		broadcasttest.Subscribe(t, b, "room", "ann")
		require.Equal(t, []string{"ann"}, b.Devices("room"))
	})
	require.Empty(t, b.Devices("room"))
}

func TestSubscribeSaysWhyItWasRefused(t *testing.T) {
	b := broadcasttest.New[string](t)
	requireFailure(t, func(t testing.TB) { broadcasttest.Subscribe(t, b, "room", "") }, `"" not subscribed to "room": broadcast: invalid`)
	require.NoError(t, b.Close())
	requireFailure(t, func(t testing.TB) { broadcasttest.Subscribe(t, b, "room", "ann") }, `"ann" not subscribed to "room": broadcast: closed`)
}

func TestSubscribeAnonymousEndsWithTheTest(t *testing.T) {
	b := broadcasttest.New[string](t)
	requirePass(t, func(t testing.TB) {
		broadcasttest.SubscribeAnonymous(t, b, "room")
		require.Equal(t, 1, b.Stats().Subscribers)
		require.Empty(t, b.Devices("room"))
	})
	require.Zero(t, b.Stats().Subscribers)
	requireFailure(t, func(t testing.TB) { broadcasttest.SubscribeAnonymous(t, b, "") },
		`an anonymous reader not subscribed to "": broadcast: invalid`)
}

func TestStallTakesSomeMessagesAndThenNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, n := range []int{0, 1, 3} {
			b := broadcasttest.New[int](t)
			s := broadcasttest.Stall(t, b, "room", "ann", n, broadcast.WithPresence())
			broadcasttest.Subscribe(t, b, "room", "bob") // presence is no message
			for i := range 5 {
				publish(t, b, "room", i)
				synctest.Wait()
				require.EqualValues(t, min(i+1, n), broadcasttest.CheckBooks(t, s).Delivered)
			}
			require.NoError(t, s.Err())
		}
	})
}

func TestAStalledReaderIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[int](t)
		s := broadcasttest.Stall(t, b, "room", "ann", 1, broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Disconnect))
		publish(t, b, "room", 1, 2)
		synctest.Wait()
		publish(t, b, "room", 3)
		require.ErrorIs(t, s.Err(), broadcast.ErrSlow)
	})
}

func TestStallEndsWithTheTest(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		b := broadcasttest.New[string](t)
		var waits, stalls *broadcast.Subscriber[string]
		requirePass(t, func(t testing.TB) {
			broadcasttest.CheckLeaks(t)
			waits = broadcasttest.Stall(t, b, "room", "ann", 2)
			stalls = broadcasttest.Stall(t, b, "room", "bob", 0)
			publish(t, b, "room", "one")
		})
		require.ErrorIs(t, waits.Err(), broadcast.ErrClosed)
		require.ErrorIs(t, stalls.Err(), broadcast.ErrClosed)
	})
}

func TestStallSaysWhyItWasRefused(t *testing.T) {
	b := broadcasttest.New[string](t)
	requireFailure(t, func(t testing.TB) { broadcasttest.Stall(t, b, "", "ann", 0) }, `"ann" not subscribed to "": broadcast: invalid`)
}

func TestAwaitDevicesWaitsUntilTheyAreThere(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		b := broadcasttest.New[string](t)
		require.Empty(t, broadcasttest.AwaitDevices(t, b, "room", 0, 0))
		subscribed := make(chan *broadcast.Subscriber[string], 2)
		go func() {
			for _, device := range []string{"bob", "ann"} {
				time.Sleep(time.Millisecond)
				s, err := b.Subscribe("room", device)
				assert.NoError(t, err)
				subscribed <- s
			}
		}()
		require.Equal(t, []string{"ann", "bob"}, broadcasttest.AwaitDevices(t, b, "room", 2, time.Minute))
		go func() {
			assert.NoError(t, (<-subscribed).Close())
			assert.NoError(t, (<-subscribed).Close())
		}()
		require.Empty(t, broadcasttest.AwaitDevices(t, b, "room", 0, time.Minute))
	})
}

func TestAwaitDevicesSaysWhoIsThereInstead(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		b, _ := room(t)
		broadcasttest.Subscribe(t, b, "hall", "bob")
		requireFailure(t, func(t testing.TB) { broadcasttest.AwaitDevices(t, b, "room", 2, 2*time.Millisecond) },
			`within 2ms there were not 2 devices in "room", but 1: ["ann"]; chats with subscribers: ["hall" "room"]`)
		requireFailure(t, func(t testing.TB) { broadcasttest.AwaitDevices(t, b, "room", 0, 0) },
			`there were not 0 devices in "room", but 1: ["ann"]`)
	})
}

func TestAwaitSubscribersCountsAnonymousOnesToo(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		b := broadcasttest.New[string](t)
		broadcasttest.AwaitSubscribers(t, b, "room", 0, 0)
		go func() {
			time.Sleep(time.Millisecond)
			_, err := b.Subscribe("room", "ann")
			assert.NoError(t, err)
			time.Sleep(time.Millisecond)
			_, err = b.SubscribeAnonymous("room")
			assert.NoError(t, err)
		}()
		broadcasttest.AwaitSubscribers(t, b, "room", 2, time.Minute)
		requireFailure(t, func(t testing.TB) { broadcasttest.AwaitSubscribers(t, b, "room", 3, 2*time.Millisecond) },
			`within 2ms there were not 3 subscribers of "room", but 2; chats with subscribers: ["room"]`)
	})
}

func TestAwaitDevicesGivesUpInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broadcasttest.New[string](t)
		start := time.Now()
		requireFailure(t, func(t testing.TB) { broadcasttest.AwaitDevices(t, b, "room", 1, 2500*time.Microsecond) })
		require.Equal(t, 2500*time.Microsecond, time.Since(start))
	})
}
