package main

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestShutdownEndsQuietStreamsWithAWord(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 1)
	s.mustSay(1, "last words")
	s.End()
	require.NoError(t, s.Done())
	c.mustGet("last words")
	events := c.rest()
	require.Len(t, events, 1)
	assert.Equal(t, eventShutdown, events[0].name)
}

func TestDuringShutdownNewRequestsAreAnswered503WhileAcceptedMessagesAreDelivered(t *testing.T) {
	t.Parallel()
	s := start(t, slowly)
	slow := s.watch(1, 1)
	posted := s.sayBig("a client that does not read is stuck", func() bool { return s.broker.Stats().Pending > 20 })
	s.End()
	exampletest.Soon(t, "the server drains", func() bool { return s.Do(http.MethodGet, "/healthz", "").Status != http.StatusOK })
	for _, a := range []exampletest.Answer{
		s.Do(http.MethodGet, "/healthz", ""),
		s.say(1, "too late"),
		s.Do(http.MethodGet, "/events?chat=1&device=9", ""),
	} {
		assert.Equal(t, http.StatusServiceUnavailable, a.Status)
		assert.NotEmpty(t, a.Header.Get("Retry-After"))
	}
	for i := range posted {
		slow.mustGet(big(i))
	}
	events := slow.rest()
	require.Len(t, events, 1)
	assert.Equal(t, eventShutdown, events[0].name)
	require.NoError(t, s.Done())
}

func TestShutdownThatTakesTooLongCutsWhatIsLeftAndSaysSo(t *testing.T) {
	t.Parallel()
	server := newServer(t, func(c *Config) {
		slowly(c)
		c.DrainTimeout = 200 * time.Millisecond
	})
	s := &service{exampletest.Begin(t, server.Serve, exampletest.Listen(t)), server}
	stuck := s.watch(1, 1)
	s.sayBig("a client that does not read is stuck", func() bool { return s.broker.Stats().Pending > 20 })
	s.End()
	assert.ErrorIs(t, s.Done(), context.DeadlineExceeded)
	stuck.cut()
}

func TestAClientThatDoesNotReadHoldsUpShutdownForOneWriteDeadlineAtMost(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.WriteTimeout = 500 * time.Millisecond
	})
	stuck := s.watch(1, 1)
	s.sayBig("a client that does not read is stuck", func() bool {
		stats := s.broker.Stats()
		return stats.Pending > 5 || stats.Subscribers == 0 // on a slow machine its write has met the deadline by now
	})
	s.End()
	require.NoError(t, s.Done())
	stuck.cut()
}

func TestShutdownMayBeCalledAgain(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 1)
	require.NoError(t, s.Shutdown(t.Context()))
	assert.Equal(t, eventShutdown, c.next().name)
	require.NoError(t, s.Shutdown(t.Context()))
}

func TestMountedElsewhereShutdownLeavesNoStreamBehindEither(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer // of the handlers, read when they have ended
	server := newServer(t, func(c *Config) {
		slowly(c)
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	elsewhere := httptest.NewUnstartedServer(server)
	elsewhere.Config.ConnContext = server.limitSendBuffer
	elsewhere.Start()
	defer elsewhere.Close()
	s := &service{exampletest.At(t, elsewhere.Listener.Addr().String()), server}

	stuck := s.watch(1, 1)
	posted := s.sayBig("a client that does not read is stuck", func() bool { return s.broker.Stats().Pending > 50 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	logged := make(chan string, 1)
	go func() {
		assert.ErrorIs(t, s.Shutdown(ctx), context.Canceled)
		logged <- log.String()
	}()
	exampletest.Receive(t, "the end of the time", s.running.Done())
	events := stuck.rest()
	assert.Less(t, len(events), posted, "the stream went on though its time was over")
	assert.Contains(t, exampletest.Receive(t, "the end of the shutdown", logged), "stream ended")
}
