package broadcasttest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcasttest"
)

func TestTakeWaitsForDeliveries(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		b, s := room(t)
		publish(t, b, "room", "early")
		go func() { assert.NoError(t, b.Publish(t.Context(), "room", "late")) }()
		got := broadcasttest.Take(t, s, 2, time.Minute)
		broadcasttest.Equal(t, got, []broadcast.Delivery[string]{
			{Chat: "room", Seq: 1, Message: "early"},
			{Chat: "room", Seq: 2, Message: "late"},
		})
	})
}

func TestTakeTakesNoMoreThanItWasAskedFor(t *testing.T) {
	b, s := room(t)
	publish(t, b, "room", "one", "two", "three")
	require.Len(t, broadcasttest.Take(t, s, 2, 0), 2)
	require.Empty(t, broadcasttest.Take(t, s, 0, 0))
	require.EqualValues(t, 1, s.Stats().Pending)
}

func TestTakeSaysWhatCameInstead(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		b, s := room(t, broadcast.WithBuffer(2))
		publish(t, b, "room", "one", "two", "three")
		requireFailure(t, func(t testing.TB) { broadcasttest.Take(t, s, 3, time.Millisecond) }, lines(
			`took 2 of 3 deliveries within 1ms:`,
			`	room #2: "two" (missed before it: 1)`,
			`	room #3: "three"`,
			`the subscription of "ann" to "room" is open: `+
				`joined after #0, head #3, delivered 2, missed 1, pending 0, discarded 0`,
		))
	})
}

func TestTakeSaysHowTheSubscriptionEnded(t *testing.T) {
	b, s := room(t)
	publish(t, b, "room", "one")
	require.NoError(t, b.Close())
	requireFailure(t, func(t testing.TB) { broadcasttest.Take(t, s, 2, time.Hour) },
		`took 1 of 2 deliveries within 1h0m0s:`, `	room #1: "one"`,
		`is ended (broadcast: closed by the broker): joined after #0, head #1, delivered 1`)
}

func TestTakeSaysWhatIsNoSubscription(t *testing.T) {
	requireFailure(t, func(t testing.TB) { broadcasttest.Take[string](t, nil, 1, time.Hour) }, `broadcast: invalid`)
}

func TestTakeWaitsExactlyAsLongAsItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := room(t)
		for _, within := range []time.Duration{0, time.Nanosecond, time.Hour} {
			start := time.Now()
			requireFailure(t, func(t testing.TB) { broadcasttest.Take(t, s, 1, within) })
			require.Equal(t, within, time.Since(start))
		}
		go func() {
			time.Sleep(time.Hour)
			assert.NoError(t, b.Publish(t.Context(), "room", "hello"))
		}()
		broadcasttest.Silence(t, s, time.Hour-1)
		broadcasttest.Take(t, s, 1, time.Second)
	})
}

func TestTakeTakesPresenceAndTakeMessagesDoesNot(t *testing.T) {
	b, s := room(t, broadcast.WithPresence())
	bob := broadcasttest.Subscribe(t, b, "room", "bob")
	publish(t, b, "room", "hello")
	require.NoError(t, bob.Close())
	publish(t, b, "room", "goodbye")
	require.Equal(t, []string{"hello"}, broadcasttest.TakeMessages(t, s, 1, time.Minute))
	got := broadcasttest.Take(t, s, 2, time.Minute)
	broadcasttest.Equal(t, got, []broadcast.Delivery[string]{
		{Chat: "room", Seq: 1, Kind: broadcast.Left, Device: "bob"},
		{Chat: "room", Seq: 2, Message: "goodbye"},
	})
	broadcasttest.Subscribe(t, b, "room", "cleo")
	requireFailure(t, func(t testing.TB) { broadcasttest.Take(t, s, 2, 0) }, "\troom #2: Joined cleo\n")
}

func TestTakeMessagesSaysWhatCameInstead(t *testing.T) {
	b, s := room(t)
	publish(t, b, "room", "one")
	requireFailure(t, func(t testing.TB) { broadcasttest.TakeMessages(t, s, 2, time.Millisecond) },
		`took 1 of 2 messages within 1ms:`, `	room #1: "one"`, `is open: joined after #0, head #1`)
}

func TestTakeMessagesFailsIfOneWasMissed(t *testing.T) {
	b, s := room(t, broadcast.WithBuffer(2))
	publish(t, b, "room", "one", "two", "three")
	requireFailure(t, func(t testing.TB) { broadcasttest.TakeMessages(t, s, 2, 0) },
		`took 2 messages with others missed in between:`, `	room #2: "two" (missed before it: 1)`, `missed 1`)
}

func TestSilenceTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, s := room(t)
		start := time.Now()
		broadcasttest.Silence(t, s, 0)
		require.Zero(t, time.Since(start))
		broadcasttest.Silence(t, s, time.Hour)
		require.Equal(t, time.Hour, time.Since(start))
	})
}

func TestSilenceNamesWhatCame(t *testing.T) {
	bothClocks(t, func(t *testing.T) {
		b, s := room(t)
		publish(t, b, "room", "boo")
		requireFailure(t, func(t testing.TB) { broadcasttest.Silence(t, s, 0) },
			`no silence: after `, `came`, `	room #1: "boo"`, `is open: joined after #0, head #1, delivered 1`)
	})
}

func TestSilenceFailsAsSoonAsSomethingComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s := room(t)
		go func() {
			time.Sleep(time.Second)
			assert.NoError(t, b.Publish(t.Context(), "room", "boo"))
		}()
		requireFailure(t, func(t testing.TB) { broadcasttest.Silence(t, s, time.Hour) }, "no silence: after 1s came\n\troom #1: \"boo\"")
	})
}

func TestTheSilenceOfAnEndedSubscriptionMeansNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		_, s := room(t, broadcast.Until(ctx))
		go func() {
			time.Sleep(time.Second)
			cancel(errors.New("gone home"))
		}()
		for _, within := range []time.Duration{time.Hour, 0} {
			requireFailure(t, func(t testing.TB) { broadcasttest.Silence(t, s, within) },
				`no silence, but an end:`, `the subscription of "ann" to "room" is ended (gone home): joined after #0`)
		}
	})
}

func TestLongMessagesAndManyAreCut(t *testing.T) {
	b, s := room(t)
	for range 100 {
		publish(t, b, "room", strings.Repeat("ä", 1000))
	}
	failures := failuresOf(t, func(t testing.TB) { broadcasttest.Take(t, s, 101, 0) })
	require.Len(t, failures, 1)
	require.Contains(t, failures[0], "ä…\n")
	require.Contains(t, failures[0], "\n\troom #10: ")
	require.Contains(t, failures[0], "\n\t… and 80 more …\n\troom #91: ")
	require.Contains(t, failures[0], "\n\troom #100: ")
	require.Less(t, len(failures[0]), 21*250)
}

func TestMessagesAreShownOnOneLine(t *testing.T) {
	type order struct {
		Dish  string
		Table int
	}
	for _, test := range []struct {
		message any
		want    string
	}{
		{"a\nb", `"a\nb"`},
		{[]byte("soup"), `"soup"`},
		{order{"soup", 3}, `{Dish:soup Table:3}`},
		{&order{"a\nb", 3}, `"&{Dish:a\nb Table:3}"`},
		{nil, `<nil>`},
	} {
		b := broadcasttest.New[any](t)
		s := broadcasttest.Subscribe(t, b, "room", "ann")
		publish(t, b, "room", test.message)
		requireFailure(t, func(t testing.TB) { broadcasttest.Silence(t, s, 0) }, "\troom #1: "+test.want+"\n")
	}
}
