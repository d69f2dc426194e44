package broadcastws_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// Promise 82.
func TestEverySocketOfAChatGetsItsMessagesInOrder(t *testing.T) {
	s := start(t, nil)
	one, two, other := s.dial("1"), s.dial("2"), s.connect("chat=d&device=1", nil)
	require.Equal(t, broadcastws.Ready, other.next().Event)
	s.publish("a", "b", "c")
	assert.Equal(t, []string{"a", "b", "c"}, one.messages(3))
	assert.Equal(t, []string{"a", "b", "c"}, two.messages(3))
	require.NoError(t, s.broker.Publish(context.Background(), "d", "e"))
	assert.Equal(t, []string{"e"}, other.messages(1))
}

func TestAMessageIsJSONUnlessEncodeSaysOtherwise(t *testing.T) {
	s := start(t, nil)
	c := s.dial("1")
	s.publish(`"a"`)
	f := c.next()
	assert.NotEmpty(t, f.Position)
	f.Position = ""
	assert.Equal(t, frame{Chat: "c", Message: `"a"`, Seq: 1}, f)

	binary := start(t, func(o *options) {
		o.Binary = true
		o.Encode = func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) {
			return append(dst, "\xff"+d.Message...), nil
		}
	})
	c = binary.connect("chat=c&device=1", nil)
	kind, _, err := c.conn.Read(context.Background())
	require.NoError(t, err)
	assert.Equal(t, websocket.MessageBinary, kind)
	binary.publish("a")
	text, err := c.read()
	require.NoError(t, err)
	assert.Equal(t, "\xffa", string(text))
}

// Promise 83.
func TestASocketResumesAfterThePositionInItsQuery(t *testing.T) {
	s := start(t, nil, broadcast.WithHistory(2, 0))
	c := s.dial("1")
	s.publish("a", "b")
	c.next()
	position := c.next().Position
	require.NoError(t, c.conn.Close(websocket.StatusNormalClosure, ""))
	require.ErrorIs(t, s.reason(), broadcastws.ErrLeft)

	s.publish("c", "d")
	c = s.connect("chat=c&device=1&after="+position, nil)
	ready := c.next()
	assert.Equal(t, broadcastws.Ready, ready.Event)
	assert.True(t, ready.Recovered)
	assert.Equal(t, position, ready.Position)
	assert.Equal(t, []string{"c", "d"}, c.messages(2))

	s.publish("e")
	c = s.connect("chat=c&device=1&after="+position, nil)
	reset := c.next()
	assert.Equal(t, broadcastws.Reset, reset.Event)
	assert.False(t, reset.Recovered)
	assert.EqualValues(t, 1, reset.Missed)
	missed := c.next()
	assert.Equal(t, frame{Event: broadcastws.Missed, Chat: "c", Missed: 1}, missed)
	assert.Equal(t, []string{"d", "e"}, c.messages(2))

	c = s.connect("chat=c&device=1&after=nonsense", nil)
	assert.Equal(t, broadcastws.Reset, c.next().Event)
}

// Promise 83.
func TestASocketThatDoesNotResumeBeginsWithAReplay(t *testing.T) {
	s := start(t, func(o *options) { o.Replay = 2 }, broadcast.WithHistory(10, 0))
	s.publish("a", "b", "c")
	assert.Equal(t, []string{"b", "c"}, s.dial("1").messages(2))
}

func TestPresenceIsToldInEvents(t *testing.T) {
	s := start(t, func(o *options) {
		o.Admit = func(r *http.Request) (broadcastws.Ticket, error) {
			ticket, err := admit(r)
			ticket.Subscribe = []broadcast.SubscribeOption{broadcast.WithPresence()}
			return ticket, err
		}
	})
	c := s.dial("1")
	other := s.dial("2")
	assert.Equal(t, frame{Event: broadcastws.Joined, Chat: "c", Device: "2"}, c.next())
	s.publish("a")
	c.messages(1)
	_ = other.conn.CloseNow()
	assert.Equal(t, frame{Event: broadcastws.Left, Chat: "c", Device: "2", Seq: 1}, c.next())
}

// Promise 88.
func TestATakeoverClosesTheOlderSocketWith4001(t *testing.T) {
	s := start(t, nil)
	old := s.dial("1")
	s.dial("1")
	assert.EqualValues(t, 4001, old.ended().Code)
	require.ErrorIs(t, s.reason(), broadcast.ErrReplaced)
}

// Promise 88.
func TestAKickClosesTheSocketWith4003AndTheReason(t *testing.T) {
	s := start(t, nil)
	for reason, text := range map[error]string{
		nil: "kicked",
		fmt.Errorf("%w: be nice", broadcast.ErrKicked):  "kicked: be nice",
		fmt.Errorf("%w: not \xff", broadcast.ErrKicked): "kicked: not \uFFFD",
	} {
		c := s.dial("1")
		require.True(t, s.broker.Kick("c", "1", reason))
		closed := c.ended()
		assert.EqualValues(t, 4003, closed.Code)
		assert.Equal(t, text, closed.Reason)
		require.ErrorIs(t, s.reason(), broadcast.ErrKicked)
	}
}

// Promise 88.
func TestTheEndOfAChatClosesItsSocketsWith1000AndTheReasonAfterWhatTheyCanTake(t *testing.T) {
	s := start(t, nil, broadcast.WithHistory(10, 0))
	c := s.dial("1")
	s.publish("a", "b")
	require.NoError(t, s.broker.EndChat(context.Background(), "c", errTest))
	late := s.connect("chat=c&device=2&after="+c.next().Position, nil)
	assert.Equal(t, []string{"b"}, c.messages(1))
	require.Equal(t, broadcastws.Ready, late.next().Event)
	assert.Equal(t, []string{"b"}, late.messages(1))
	for _, c := range []*client{c, late} {
		closed := c.ended()
		assert.Equal(t, websocket.StatusNormalClosure, closed.Code)
		assert.Contains(t, closed.Reason, errTest.Error())
		require.ErrorIs(t, s.reason(), broadcast.ErrEnded)
	}
}

func TestATicketWithoutADeviceIsAnonymous(t *testing.T) {
	s := start(t, nil)
	one, two := s.dial(""), s.dial("")
	s.publish("a")
	assert.Equal(t, []string{"a"}, one.messages(1))
	assert.Equal(t, []string{"a"}, two.messages(1))
	assert.Empty(t, s.broker.Devices("c"))
}

// Promise 89.
func TestShutdownDeliversAndClosesWith1001(t *testing.T) {
	s := start(t, nil)
	c := s.dial("1")
	s.publish("a", "b")
	require.NoError(t, s.broker.Shutdown(context.Background()))
	assert.Equal(t, []string{"a", "b"}, c.messages(2))
	assert.Equal(t, websocket.StatusGoingAway, c.ended().Code)
	require.ErrorIs(t, s.reason(), broadcast.ErrBrokerClosed)
	require.NoError(t, s.server.Drain(context.Background()))
	assert.Equal(t, http.StatusServiceUnavailable, s.refused("chat=c&device=1", nil))
}

// Promise 89.
func TestDrainDeliversWhatWasAcceptedAndLeavesTheBrokerAlone(t *testing.T) {
	s := start(t, nil)
	c := s.dial("1")
	s.publish("a", "b")
	drained := make(chan error, 1)
	go func() { drained <- s.server.Drain(context.Background()) }()
	assert.Equal(t, []string{"a", "b"}, c.messages(2))
	assert.Equal(t, websocket.StatusGoingAway, c.ended().Code)
	require.NoError(t, <-drained)
	require.ErrorIs(t, s.reason(), broadcastws.ErrDrained)
	s.publish("c")
	assert.Equal(t, http.StatusServiceUnavailable, s.refused("chat=c&device=1", nil))
}

func TestDrainCutsWhoIsLeftWhenItsContextEnds(t *testing.T) {
	s := start(t, func(o *options) { o.CloseTimeout = 5 * time.Second })
	c := s.dial("1")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.server.Drain(ctx), context.DeadlineExceeded) // c does not answer
	require.ErrorIs(t, s.reason(), broadcastws.ErrDrained)
	_ = c
}

func TestAClientThatLeavesEndsItsSubscription(t *testing.T) {
	s := start(t, nil)
	c := s.dial("1")
	require.NoError(t, c.conn.Close(websocket.StatusNormalClosure, "bye"))
	require.ErrorIs(t, s.reason(), broadcastws.ErrLeft)
	assert.Zero(t, s.broker.Stats().Subscribers)

	c = s.dial("1")
	_ = c.conn.CloseNow()
	require.ErrorIs(t, s.reason(), broadcastws.ErrLeft)
	assert.Zero(t, s.broker.Stats().Subscribers)
}

func TestServeDeliversASubscriptionMadeElsewhere(t *testing.T) {
	s := start(t, nil)
	served := make(chan error, 1)
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.server.Check(w, r) {
			return
		}
		sub, err := s.broker.Subscribe("c", "made elsewhere")
		if assert.NoError(t, err) {
			served <- s.server.Serve(w, r, broadcastws.Ticket{}, sub)
		}
	}))
	c := s.dial("1")
	s.publish("a")
	assert.Equal(t, []string{"a"}, c.messages(1))
	go func() { assert.NoError(t, s.server.Drain(context.Background())) }()
	c.ended()
	require.ErrorIs(t, <-served, broadcastws.ErrDrained)
}

func TestServeHTTPReturnsWhenTheHandshakeIsAnswered(t *testing.T) {
	s := start(t, nil)
	returned := make(chan struct{})
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.ServeHTTP(w, r)
		close(returned)
	}))
	c := s.dial("1")
	select {
	case <-returned:
	case <-time.After(within):
		require.Fail(t, "it has not returned")
	}
	s.publish("after it")
	require.Equal(t, []string{"after it"}, c.messages(1))
}
