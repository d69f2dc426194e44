package main

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestShutdownEndsQuietStreamsWithAWord(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 1)
	s.mustSay(1, "last words")
	s.end()
	require.NoError(t, s.done())
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
	s.end()
	soon(t, "the server drains", func() bool { return s.do(http.MethodGet, "/healthz", "").status != http.StatusOK })
	for _, a := range []answer{
		s.do(http.MethodGet, "/healthz", ""),
		s.say(1, "too late"),
		s.do(http.MethodGet, "/events?chat=1&device=9", ""),
	} {
		assert.Equal(t, http.StatusServiceUnavailable, a.status)
		assert.NotEmpty(t, a.header.Get("Retry-After"))
	}
	for i := range posted {
		slow.mustGet(big(i))
	}
	events := slow.rest()
	require.Len(t, events, 1)
	assert.Equal(t, eventShutdown, events[0].name)
	require.NoError(t, s.done())
}

func TestShutdownThatTakesTooLongCutsWhatIsLeftAndSaysSo(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := begin(t, ln, func(c *Config) {
		slowly(c)
		c.DrainTimeout = 200 * time.Millisecond
	})
	stuck := s.watch(1, 1)
	s.sayBig("a client that does not read is stuck", func() bool { return s.broker.Stats().Pending > 20 })
	s.end()
	assert.ErrorIs(t, s.done(), context.DeadlineExceeded)
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
	s.end()
	require.NoError(t, s.done())
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
	cfg := DefaultConfig()
	slowly(&cfg)
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	server, err := NewServer(cfg)
	require.NoError(t, err)
	elsewhere := httptest.NewUnstartedServer(server)
	elsewhere.Config.ConnContext = server.limitSendBuffer
	elsewhere.Start()
	defer elsewhere.Close()
	defer http.DefaultClient.CloseIdleConnections()
	s := &service{Server: server, t: t, addr: elsewhere.Listener.Addr().String(), http: http.DefaultClient}

	stuck := s.watch(1, 1)
	posted := s.sayBig("a client that does not read is stuck", func() bool { return s.broker.Stats().Pending > 50 })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	logged := make(chan string)
	go func() {
		assert.ErrorIs(t, s.Shutdown(ctx), context.Canceled)
		logged <- log.String()
	}()
	<-s.running.Done()
	events := stuck.rest()
	assert.Less(t, len(events), posted, "the stream went on though its time was over")
	assert.Contains(t, <-logged, "stream ended")
}
