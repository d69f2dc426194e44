package main

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestShutdownClosesQuietSocketsWith1001(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 1)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		code, reason := w.closed()
		assert.Equal(t, websocket.StatusGoingAway, code)
		assert.Contains(t, reason, "shutting down")
	}()
	s.End()
	require.NoError(t, s.Done())
	exampletest.Receive(t, "the end of the socket", closed)
}

func TestDuringShutdownPostsAndSocketsAreAnswered503WhileAcceptedMessagesAreDelivered(t *testing.T) {
	t.Parallel()
	s := start(t, slowly)
	slow := s.raw(1, 1)
	posted := s.fill(1, 5)

	s.End()
	exampletest.Soon(t, "the server drains", func() bool {
		return s.Do(http.MethodGet, "/healthz", "").Status == http.StatusServiceUnavailable
	})
	for range 3 {
		a := s.Say("too late", 7, 1)
		assert.Equal(t, http.StatusServiceUnavailable, a.Status)
		assert.NotEmpty(t, a.Header.Get("Retry-After"))
		_, res := s.handshake("/ws?chat=1&device=9")
		assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		assert.NotEmpty(t, res.Header.Get("Retry-After"))
	}
	assert.Equal(t, http.StatusOK, s.Do(http.MethodGet, "/stats", "").Status)
	assert.Equal(t, uint64(posted), s.broker.Stats().Accepted)

	frames, code, _ := slow.rest()
	assert.Equal(t, 1001, code)
	require.Len(t, frames, posted)
	for i, f := range frames {
		require.Equal(t, uint64(i+1), f.Seq)
		require.Zero(t, f.Missed)
		require.Equal(t, big, f.Text)
	}
	require.NoError(t, s.Done())
}

func TestAPostThatWaitsWhenShutdownBeginsIsAnswered503(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Sampling, c.Buffer, c.PublishTimeout = broadcast.Block, 1, within
	})
	stuck := s.raw(1, 1)
	refused := make(chan exampletest.Answer, 1)
	go func() {
		for {
			if a := s.Say(big, 7, 1); a.Status != http.StatusAccepted {
				refused <- a
				return
			}
		}
	}()
	exampletest.Soon(t, "a post waits", func() bool { return s.broker.Stats().Pending > 0 && s.quietFor(100*time.Millisecond) })
	s.End()
	a := exampletest.Receive(t, "a refusal", refused)
	assert.Equal(t, http.StatusServiceUnavailable, a.Status)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	_, code, _ := stuck.rest()
	assert.Equal(t, 1001, code)
	require.NoError(t, s.Done())
}

func TestAClientThatDoesNotReadHoldsUpShutdownForOneWriteDeadlineAtMost(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.WriteTimeout = 300 * time.Millisecond
	})
	stuck := s.raw(1, 1)
	s.fill(1, 1)
	s.End()
	require.NoError(t, s.Done())
	stuck.ended()
}

func TestAClientThatDoesNotCloseHoldsUpShutdownForOneCloseTimeoutAtMost(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.CloseTimeout = 200 * time.Millisecond })
	silent := s.raw(1, 1)
	silent.ready()
	s.End()
	require.NoError(t, s.Done())
	opcode, payload, err := silent.frame()
	require.NoError(t, err)
	assert.Equal(t, byte(opClose), opcode)
	assert.Equal(t, []byte{0x03, 0xe9}, payload[:2]) // 1001
	silent.ended()
}

func TestShutdownThatTakesTooLongCutsWhatIsLeftAndSaysSo(t *testing.T) {
	t.Parallel()
	server := newServer(t, func(c *Config) {
		slowly(c)
		c.DrainTimeout = 200 * time.Millisecond
	})
	s := &service{exampletest.Begin(t, server.Serve, exampletest.Listen(t)), server}
	stuck := s.raw(1, 1)
	s.fill(1, 1)
	s.End()
	assert.ErrorIs(t, s.Done(), context.DeadlineExceeded)
	stuck.ended()
}

func TestShutdownAndCloseMayBeCalledAgain(t *testing.T) {
	s := start(t, nil)
	open := s.raw(1, 1)
	require.NoError(t, s.Close())
	open.ended()
	require.NoError(t, s.Close())
	require.NoError(t, s.Shutdown(context.Background()))
}
