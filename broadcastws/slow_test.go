package broadcastws_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// Promises 59 and 84.
func TestABatchThatGoesOutInPiecesArrivesWholeWithAPingInBetween(t *testing.T) {
	var short atomic.Int64
	s := start(t, func(o *options) {
		o.WriteTimeout = within
		o.Observe.Short = func(bytes int) { short.Add(int64(bytes)) }
	}, broadcast.WithSampling(broadcast.Block))
	conn, r, _ := s.raw(request)
	const messages = 1000
	go func() {
		for i := range messages {
			_ = s.broker.Publish(context.Background(), "c", fmt.Sprint(i, strings.Repeat(" ", 10_000)))
		}
	}()
	for deadline := time.Now().Add(within); short.Load() == 0 && time.Now().Before(deadline); {
		time.Sleep(time.Millisecond)
	}
	require.NotZero(t, short.Load(), "the kernel has taken everything")
	_, err := conn.Write([]byte(masked(fin|opPing, "p"))) // answered behind what is stuck
	require.NoError(t, err)
	pongs := 0
	for i := -1; i < messages; { // the first is the ready event
		first, payload, err := unmasked(r)
		require.NoError(t, err)
		if first == fin|opPong {
			pongs++
			continue
		}
		require.EqualValues(t, fin|opText, first)
		if i >= 0 {
			require.Contains(t, string(payload[:60]), fmt.Sprintf(`"message":"%d `, i))
		}
		i++
	}
	assert.Equal(t, 1, pongs)
	stats := s.server.Stats()
	assert.EqualValues(t, short.Load(), stats.ShortBytes)
	assert.NotZero(t, stats.ShortWrites)
}

// Promise 84.
func TestAClientThatStopsReadingIsResetAndHoldsUpNobody(t *testing.T) {
	s := start(t, func(o *options) { o.WriteTimeout = time.Second }, broadcast.WithPatience(0))
	_, _, _ = s.raw(strings.Replace(request, "device=1", "device=stuck", 1))
	healthy := s.dial("healthy")
	go func() {
		for {
			if s.broker.Publish(context.Background(), "c", strings.Repeat("x", 10_000)) != nil {
				return
			}
			time.Sleep(100 * time.Microsecond)
		}
	}()
	for len(s.broker.Devices("c")) > 1 {
		healthy.next()
	}
	assert.Equal(t, []string{"healthy"}, s.broker.Devices("c"))
	require.ErrorIs(t, s.reason(), broadcastws.ErrTimeout)
}

// Promise 84.
func TestASlowSubscriptionIsClosedWith1013AfterWhatItHad(t *testing.T) {
	s := start(t, nil,
		broadcast.WithSampling(broadcast.Disconnect), broadcast.WithBuffer(10), broadcast.WithPatience(0))
	c := s.dial("1")
	text := strings.Repeat("x", 1<<18)
	for s.broker.Stats().Disconnected == 0 {
		require.NoError(t, s.broker.Publish(context.Background(), "c", text))
	}
	last := uint64(0)
	for {
		f := c.next()
		if f.Event == broadcastws.Ended {
			assert.Equal(t, 1013, f.Code)
			break
		}
		assert.Equal(t, last+1, f.Seq)
		last = f.Seq
	}
	assert.EqualValues(t, 1013, c.closed().Code)
	assert.GreaterOrEqual(t, last, uint64(10))
	require.ErrorIs(t, s.reason(), broadcast.ErrSlow)
}
