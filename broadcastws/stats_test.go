package broadcastws_test

import (
	"context"
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// Promise 59.
func TestTheStatsOfAServerCountWhatItsClientsSee(t *testing.T) {
	s := start(t, nil)
	frames, bytes := uint64(0), uint64(0)
	read := func(c *client) {
		t.Helper()
		text, err := c.read()
		require.NoError(t, err)
		frames++
		bytes += uint64(len(text) + 2) // the head of a short frame
		if len(text) > 125 {
			bytes += 2
		}
	}
	one, two := s.connect("chat=c&device=1", nil), s.connect("chat=c&device=2", nil)
	read(one)
	read(two)
	assert.Equal(t, 2, s.server.Stats().Connections)
	assert.Equal(t, http.StatusBadRequest, s.refused("chat=", nil))
	assert.Equal(t, http.StatusBadRequest, s.refused("chat=", nil))
	s.publish("hello")
	read(one)
	read(two)

	newer := s.connect("chat=c&device=2", nil)
	read(newer)
	read(two) // Ended
	require.ErrorIs(t, s.reason(), broadcast.ErrReplaced)
	require.NoError(t, one.conn.CloseNow())
	require.ErrorIs(t, s.reason(), broadcastws.ErrLeft)
	assert.Equal(t, 1, s.server.Stats().Connections)
	drained := make(chan error)
	go func() { drained <- s.server.Drain(context.Background()) }()
	read(newer)
	newer.closed()
	require.NoError(t, <-drained)
	assert.Equal(t, http.StatusServiceUnavailable, s.refused("chat=c&device=3", nil))

	assert.Equal(t, broadcastws.Stats{
		Transport: "websocket", Opened: 3,
		Closed: map[string]uint64{
			"drained": 1, "ended": 0, "failed": 0, "kicked": 0, "left": 1, "overloaded": 0,
			"replaced": 1, "silent": 0, "slow": 0, "timeout": 0, "violation": 0,
		},
		Refused: map[int]uint64{400: 2, 503: 1},
		Batches: frames, Frames: frames, Bytes: bytes,
	}, s.server.Stats())
}

// Promise 59: however a socket ends.
func TestASocketWhoseWriterEndsIsCountedAsLeft(t *testing.T) {
	s := start(t, func(o *options) {
		o.Encode = func([]byte, broadcast.Delivery[string]) ([]byte, error) {
			runtime.Goexit()
			return nil, nil
		}
	})
	_ = s.dial("1")
	s.publish("a")
	require.ErrorIs(t, s.reason(), broadcastws.ErrLeft)
	stats := s.server.Stats()
	assert.Zero(t, stats.Connections)
	assert.EqualValues(t, 1, stats.Closed["left"])
}
