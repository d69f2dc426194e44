package broadcast_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
	"github.com/fbd86cad/broadcast/internal/troubled"
	"github.com/stretchr/testify/require"
)

// nodes returns brokers of one engine.
func nodes(t *testing.T, e *memengine.Engine, n int, opts ...broadcast.Option) []*broadcast.Broker[string] {
	t.Helper()
	all := make([]*broadcast.Broker[string], n)
	for i := range all {
		b, err := broadcast.New[string](append([]broadcast.Option{broadcast.WithEngine(e.Client())}, opts...)...)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, b.Close()) })
		all[i] = b
	}
	return all
}

func TestBrokersOfOneEngineHaveOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 1000)
		brokers := nodes(t, e, 3, broadcast.WithHistory(100, 0))
		var readers []*broadcast.Subscriber[string]
		for i, b := range brokers {
			s, err := b.Subscribe("room", fmt.Sprint("device", i))
			require.NoError(t, err)
			readers = append(readers, s)
		}
		for i := range 30 {
			require.NoError(t, brokers[i%3].Publish(t.Context(), "room", fmt.Sprint(i)))
		}
		for _, s := range readers {
			for i := range 30 {
				d, err := s.Next(t.Context())
				require.NoError(t, err)
				require.Equal(t, fmt.Sprint(i), d.Message)
				require.EqualValues(t, i+1, d.Seq)
				require.Zero(t, d.Missed)
				require.False(t, d.Reset)
			}
			require.Equal(t, readers[0].Position(), s.Position())
		}
		require.Equal(t, []string{"device0", "device1", "device2"}, brokers[1].Devices("room"))
	})
}

func TestAPositionIsValidOnEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 1000)
		brokers := nodes(t, e, 2, broadcast.WithHistory(100, 0))
		s, err := brokers[0].Subscribe("room", "ann")
		require.NoError(t, err)
		for i := range 10 {
			require.NoError(t, brokers[0].Publish(t.Context(), "room", fmt.Sprint(i)))
		}
		for range 4 {
			_, err := s.Next(t.Context())
			require.NoError(t, err)
		}
		there, err := brokers[1].Subscribe("room", "ann", broadcast.Resume(s.Position()))
		require.NoError(t, err)
		require.True(t, there.Recovered())
		d, err := there.Next(t.Context())
		require.NoError(t, err)
		require.Equal(t, "4", d.Message)
		require.Zero(t, d.Missed)
		<-s.Done()
		require.ErrorIs(t, s.Err(), broadcast.ErrReplaced)
		e.Restart()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for i := range 3 {
			require.NoError(t, brokers[0].Publish(ctx, "room", fmt.Sprint("new", i)))
		}
		for {
			d, err := there.Next(ctx)
			require.NoError(t, err)
			if d.Reset {
				require.Equal(t, "new0", d.Message)
				require.EqualValues(t, 1, d.Seq)
				break
			}
		}
	})
}

func TestShutdownDeliversWhatTheBrokerHasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 1000)
		b := nodes(t, e, 1, broadcast.WithBuffer(1), broadcast.WithSampling(broadcast.Block))[0]
		s, err := b.Subscribe("room", "ann")
		require.NoError(t, err)
		for i := range 3 {
			require.NoError(t, b.Publish(t.Context(), "room", fmt.Sprint(i)))
			if i == 0 {
				continue
			}
			_, err := s.Next(t.Context())
			require.NoError(t, err)
		}
		result := make(chan error)
		go func() { result <- b.Shutdown(t.Context()) }()
		var got []string
		for d := range s.All(t.Context()) {
			got = append(got, d.Message)
		}
		require.Equal(t, []string{"2"}, got)
		require.NoError(t, <-result)
	})
}

// Promise 60.
func TestEachFigureOfTheEngineCountsWhatHasHappened(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := troubled.Broker(t)
		stats := b.Engine()
		require.NotZero(t, stats.Since)
		stats.Since = time.Time{}
		require.Equal(t, broadcast.EngineStats{
			Up: true, Peers: troubled.Peers, Fetched: troubled.Fetched, Gaps: troubled.Gaps, Lost: troubled.Lost,
			Conflicts: troubled.Conflicts, Uncertain: troubled.Uncertain, Resets: troubled.Resets,
		}, stats)
		require.EqualValues(t, troubled.AllResets, b.Stats().Resets)
		chat, ok := b.ChatStats("7")
		require.True(t, ok)
		require.EqualValues(t, troubled.ChatResets, chat.Resets)
		require.EqualValues(t, troubled.Lost, chat.Missed)
	})
}

// Promise 60.
func TestTheEngineIsUpOrAwaySinceThatChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 1000)
		client := e.Client()
		b, err := broadcast.New[string](broadcast.WithEngine(client))
		require.NoError(t, err)
		for _, step := range []struct {
			change func()
			up     bool
		}{
			{func() {}, true},
			{client.Cut, false},
			{client.Restore, true},
			{func() { require.NoError(t, b.Close()) }, false},
		} {
			changed := time.Now()
			step.change()
			time.Sleep(time.Minute)
			stats := b.Engine()
			require.Equal(t, step.up, stats.Up)
			require.WithinDuration(t, changed, stats.Since, 100*time.Millisecond)
		}
	})
}

// shut is a driver that cannot be opened.
type shut struct{ err error }

func (s shut) Open(context.Context, engine.Sink) (engine.Session, error) { return nil, s.err }

// Promise 60.
func TestTheReasonSaysWhyTheEngineIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		b, err := broadcast.New[string](broadcast.WithEngine(shut{errors.New("wrong password")}))
		require.NoError(t, err)
		defer b.Close()
		synctest.Wait()
		require.Equal(t, broadcast.EngineStats{Since: start, Reason: "wrong password"}, b.Engine())
	})
}

// Promise 60.
func TestPeersAreTheOtherBrokersThatAreAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := memengine.New(1, time.Millisecond, 1000)
		brokers := nodes(t, e, 2)
		client := e.Client()
		b, err := broadcast.New[string](broadcast.WithEngine(client))
		require.NoError(t, err)
		defer b.Close()
		require.Zero(t, b.Engine().Peers, "none has been heard")
		time.Sleep(3 * time.Second)
		require.Equal(t, 2, b.Engine().Peers)
		require.NoError(t, brokers[1].Close())
		time.Sleep(time.Second)
		require.Equal(t, 1, b.Engine().Peers)
		client.Cut()
		time.Sleep(time.Minute)
		require.Equal(t, 1, b.Engine().Peers, "those that were alive before")
	})
}

// Promise 60.
func TestWithoutAnEngineItsFiguresAreZero(t *testing.T) {
	b, err := broadcast.New[string]()
	require.NoError(t, err)
	defer b.Close()
	require.NoError(t, b.Publish(t.Context(), "room", "message"))
	require.Zero(t, b.Engine())
	require.Zero(t, new(broadcast.Broker[string]).Engine())
	require.Zero(t, b.Stats().Resets)
}
