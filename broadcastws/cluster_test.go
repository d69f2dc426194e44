package broadcastws_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// startTwo returns two servers whose brokers share an engine in memory.
func startTwo(t *testing.T) (a, b *service) {
	t.Helper()
	e := memengine.New(1, time.Millisecond, 0)
	t.Cleanup(e.Wait)
	a = start(t, nil, broadcast.WithEngine(e.Client()), broadcast.WithHistory(10, 0))
	b = start(t, nil, broadcast.WithEngine(e.Client()), broadcast.WithHistory(10, 0))
	return a, b
}

// knows waits until the broker knows that the device is present.
func (s *service) knows(device string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		_, err := s.broker.Head(context.Background(), "c")
		return err == nil && slices.Contains(s.broker.Devices("c"), device)
	}, 5*time.Second, time.Millisecond)
}

// Promises 70 and 88.
func TestAKickOnAnotherBrokerClosesTheSocket(t *testing.T) {
	a, b := startTwo(t)
	for device, reason := range map[string]error{
		"1": nil, "2": fmt.Errorf("%w: be nice", broadcast.ErrKicked),
	} {
		c := b.dial(device)
		a.knows(device)
		require.True(t, a.broker.Kick("c", device, reason))
		closed := c.ended()
		assert.EqualValues(t, 4003, closed.Code)
		assert.Equal(t, map[string]string{"1": "kicked", "2": "kicked: be nice"}[device], closed.Reason)
		require.ErrorIs(t, b.reason(), broadcast.ErrKicked)
	}
}

// Promise 88, with an engine.
func TestATakeoverOnAnotherBrokerClosesTheOlderSocket(t *testing.T) {
	a, b := startTwo(t)
	old := b.dial("1")
	a.knows("1")
	a.dial("1")
	assert.EqualValues(t, 4001, old.ended().Code)
	require.ErrorIs(t, b.reason(), broadcast.ErrReplaced)
}

// Promises 71 and 88.
func TestTheEndOfAChatOnAnotherBrokerClosesTheSocket(t *testing.T) {
	a, b := startTwo(t)
	c := b.dial("1")
	a.publish("a")
	require.NoError(t, a.broker.EndChat(context.Background(), "c", errTest))
	assert.Equal(t, []string{"a"}, c.messages(1))
	closed := c.ended()
	assert.Equal(t, websocket.StatusNormalClosure, closed.Code)
	assert.Contains(t, closed.Reason, errTest.Error())
	require.ErrorIs(t, b.reason(), broadcast.ErrEnded)
}

// Promises 72 and 88: a client that comes back after its chat was forgotten is told that its
// position is worth nothing, and gets the next chat.
func TestAClientOfAChatThatWasForgottenOnAnotherBrokerBeginsAnew(t *testing.T) {
	a, b := startTwo(t)
	c := b.dial("1")
	a.publish("a")
	position := c.next().Position
	require.Equal(t, broadcast.ErrInUse, a.broker.Forget(context.Background(), "c"))
	require.NoError(t, c.conn.CloseNow())
	require.NotNil(t, b.reason())
	require.NoError(t, a.broker.Forget(context.Background(), "c"))
	a.publish("b")
	c = b.connect("chat=c&device=1&after="+position, nil)
	reset := c.next()
	require.Equal(t, broadcastws.Reset, reset.Event)
	assert.Zero(t, reset.Missed, "nothing of the next chat")
	a.publish("c")
	assert.EqualValues(t, 2, c.next().Seq)
}
