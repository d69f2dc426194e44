package natstest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/engine"
	"github.com/fbd86cad/broadcast/engine/enginetest"
)

// readAll reads until a subscription ends, or has n messages.
func readAll(t *testing.T, s *broadcast.Subscriber[string], n int) (got []string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	for len(got) < n {
		d, err := s.Next(ctx)
		if err != nil {
			return got, err
		}
		require.False(t, d.Reset)
		got = append(got, d.Message)
	}
	return got, nil
}

func TestAChatEndsAndTheNextOneOfItsNameBeginsAnew(t *testing.T) {
	s := startServer(t, options(t))
	opts := []broadcast.Option{broadcast.WithHistory(10, 0), broadcast.WithChatIdle(10 * time.Second)}
	a, b := newBroker(t, s.ClientURL(), opts...), newBroker(t, s.ClientURL(), opts...)
	reader, err := b.Subscribe("c", "ann")
	require.NoError(t, err)
	require.NoError(t, a.Publish(t.Context(), "c", "1"))
	require.NoError(t, b.Publish(t.Context(), "c", "2"))
	require.NoError(t, a.EndChat(t.Context(), "c", errors.New("done")))
	end := broadcast.ErrEnded.Error() + ": done"
	late, err := newBroker(t, s.ClientURL(), opts...).Subscribe("c", "bob", broadcast.Replay(10))
	require.NoError(t, err)
	for _, s := range []*broadcast.Subscriber[string]{reader, late} {
		got, err := readAll(t, s, 10)
		require.EqualError(t, err, end)
		require.ErrorIs(t, err, broadcast.ErrEnded)
		require.Equal(t, []string{"1", "2"}, got)
	}
	require.EqualError(t, b.Publish(t.Context(), "c", "3"), end)
	eventually(t, "the next chat", func() bool {
		err := b.Publish(t.Context(), "c", "new")
		require.True(t, err == nil || err.Error() == end, "%v", err)
		return err == nil
	})
	next, err := a.Subscribe("c", "ann", broadcast.Replay(10))
	require.NoError(t, err)
	require.True(t, next.Recovered())
	got, err := readAll(t, next, 1)
	require.NoError(t, err)
	require.Equal(t, []string{"new"}, got)
	require.EqualValues(t, 1, next.Stats().Head)
}

// A server that starts again knows its last sequence, although the record is gone.
func TestNoSequenceComesAgainAfterAPurge(t *testing.T) {
	o := options(t)
	s := startServer(t, o)
	session, _ := open(t, broadcastnats.Options{URL: s.ClientURL()})
	last, err := enginetest.Append(t.Context(), session, "c", engine.Place{Epoch: 1}, nil, "1")
	require.NoError(t, err)
	require.NoError(t, session.Purge(t.Context(), "c", last.Mark))
	stopServer(s)
	o.Port = server.RANDOM_PORT
	s = startServer(t, o)
	again, _ := open(t, broadcastnats.Options{URL: s.ClientURL()})
	next, err := enginetest.Append(t.Context(), again, "c", engine.Place{Epoch: 2}, nil, "2")
	require.NoError(t, err)
	require.Greater(t, next.Mark, last.Mark)
}
