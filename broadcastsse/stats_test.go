package broadcastsse_test

import (
	"context"
	"io"
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// Promise 59.
func TestTheStatsOfAServerCountWhatItsClientsSee(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		opened := make(chan struct{}, 2) // the header of an answer may be seen earlier
		s := start(t, func(o *options) {
			hijack(o)
			o.Observe.Opened = func() { opened <- struct{}{} }
		})
		assert.Equal(t, http.StatusBadRequest, s.get("chat=").StatusCode)
		older := s.get("chat=c&device=1")
		newer := s.get("chat=c&device=1")
		<-opened
		<-opened
		replaced, err := io.ReadAll(older.Body)
		require.NoError(t, err)
		require.ErrorIs(t, s.reason(), broadcast.ErrReplaced)
		assert.Equal(t, 1, s.server.Stats().Connections)
		require.NoError(t, s.server.Drain(context.Background()))
		drained, err := io.ReadAll(newer.Body)
		require.NoError(t, err)

		stats := s.server.Stats()
		assert.Equal(t, "sse", stats.Transport)
		assert.Zero(t, stats.Connections)
		assert.Equal(t, []uint64{2, 1, 1}, []uint64{stats.Opened, stats.Closed["replaced"], stats.Closed["drained"]})
		assert.Equal(t, map[int]uint64{400: 1}, stats.Refused)
		assert.Equal(t, []uint64{4, 4}, []uint64{stats.Batches, stats.Frames}, "ready and ended, twice")
		assert.EqualValues(t, len(replaced)+len(drained), stats.Bytes)
	})
}

// Promise 59: however a stream ends.
func TestAStreamWhoseGoroutineEndsIsCountedAsClosed(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, func(o *options) {
			hijack(o)
			o.Encode = func([]byte, broadcast.Delivery[string]) ([]byte, error) {
				runtime.Goexit()
				return nil, nil
			}
		})
		_ = s.dial("1")
		s.publish("a")
		require.ErrorIs(t, s.reason(), broadcastsse.ErrLeft)
		stats := s.server.Stats()
		assert.Zero(t, stats.Connections)
		assert.EqualValues(t, 1, stats.Closed["left"])
	})
}
