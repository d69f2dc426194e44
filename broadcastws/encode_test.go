package broadcastws_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// Promise 82.
func TestAMessageIsEncodedOnceWhateverTheNumberOfSockets(t *testing.T) {
	var encoded atomic.Int64
	s := start(t, func(o *options) {
		o.Encode = func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) {
			encoded.Add(1)
			assert.Zero(t, d.Missed)
			return fmt.Appendf(dst, `{"message":%q}`, d.Message), nil
		}
	})
	var clients []*client
	for i := range 20 {
		clients = append(clients, s.dial(fmt.Sprint(i)))
	}
	const messages = 200
	for i := range messages {
		s.publish(fmt.Sprint(i))
		for _, c := range clients {
			assert.Equal(t, []string{fmt.Sprint(i)}, c.messages(1))
		}
	}
	// Sockets that are woken at the same moment may both encode, but not all of them do.
	assert.GreaterOrEqual(t, encoded.Load(), int64(messages))
	assert.Less(t, encoded.Load(), int64(messages*len(clients)/2))
}

// Promise 83.
func TestAnEncodeThatFailsIsMissedByAllAndLoggedOnce(t *testing.T) {
	s := start(t, func(o *options) {
		o.Encode = func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) {
			switch d.Message {
			case "error":
				return dst, errTest
			case "panic":
				panic("as the test wants")
			case "not UTF-8":
				return append(dst, 0xff), nil
			}
			return fmt.Appendf(dst, `{"message":%q}`, d.Message), nil
		}
	})
	clients := []*client{s.dial("1"), s.dial("2"), s.dial("3")}
	failed := []string{"error", "panic", "not UTF-8"}
	for _, m := range failed {
		s.publish(m)
		for _, c := range clients {
			assert.Equal(t, frame{Event: broadcastws.Missed, Chat: "c", Missed: 1}, c.next())
		}
	}
	s.publish("good")
	for _, c := range clients {
		assert.Equal(t, []string{"good"}, c.messages(1))
	}
	for i := range failed {
		found := strings.Count(s.log.String(), fmt.Sprintf("seq=%d ", i+1))
		assert.GreaterOrEqual(t, found, 1)
		assert.LessOrEqual(t, found, len(clients), "twice only if they meet")
	}
}

// Promise 90.
func TestAnEventThatPanicsOrIsNotUTF8IsReplacedByTheDefault(t *testing.T) {
	for _, event := range []func([]byte, broadcastws.Event) []byte{
		func([]byte, broadcastws.Event) []byte { panic("as the test wants") },
		func([]byte, broadcastws.Event) []byte { return []byte{0xff} },
	} {
		s := start(t, func(o *options) { o.Event = event })
		c := s.dial("1")
		s.publish("a")
		assert.Equal(t, []string{"a"}, c.messages(1))
		assert.Contains(t, s.log.String(), "Event failed")
	}
}

func TestCompressionIsForThoseWhoAskForIt(t *testing.T) {
	s := start(t, func(o *options) { o.Compression = true })
	long := strings.Repeat("all the same ", 5000)
	compressing := func(device string) *client {
		return s.connect("chat=c&device="+device, &websocket.DialOptions{CompressionMode: websocket.CompressionNoContextTakeover})
	}
	clients := []*client{compressing("1")}
	require.Equal(t, broadcastws.Ready, clients[0].next().Event)
	s.publish(long) // to one alone
	assert.Equal(t, []string{long}, clients[0].messages(1))

	clients = append(clients, compressing("2"), s.connect("chat=c&device=3", nil))
	for _, c := range clients[1:] {
		require.Equal(t, broadcastws.Ready, c.next().Event)
	}
	for _, m := range []string{"x", long, ""} {
		s.publish(m)
		for _, c := range clients {
			assert.Equal(t, []string{m}, c.messages(1))
		}
	}
}

func TestCompressionMakesLongMessagesShort(t *testing.T) {
	for _, test := range []struct {
		on    bool
		offer string
		most  int
	}{
		{true, "Sec-WebSocket-Extensions: permessage-deflate\r\n", 1000},
		{true, "", 1 << 20},
		{false, "Sec-WebSocket-Extensions: permessage-deflate\r\n", 1 << 20},
	} {
		s := start(t, func(o *options) { o.Compression = test.on })
		_, r, _ := s.raw(strings.Replace(request, "Upgrade: websocket\r\n", "Upgrade: websocket\r\n"+test.offer, 1))
		_, _, err := unmasked(r) // ready
		require.NoError(t, err)
		s.publish(strings.Repeat("all the same ", 1000))
		first, payload, err := unmasked(r)
		require.NoError(t, err)
		compressed := test.on && test.offer != ""
		assert.Equal(t, compressed, first&rsv1 != 0)
		assert.Equal(t, compressed, len(payload) < 1000)
	}
}

// Promise 90.
func TestAnObserverThatPanicsEndsNothing(t *testing.T) {
	s := start(t, func(o *options) {
		closed := o.Observe.Closed
		o.Observe = broadcastws.Observer{
			Opened:  func() { panic("of Opened") },
			Refused: func(int) { panic("of Refused") },
			Batch:   func(int, int) { panic("of Batch") },
			Closed: func(reason error) {
				closed(reason)
				panic("of Closed")
			},
		}
	})
	c := s.dial("1")
	assert.Equal(t, http.StatusBadRequest, s.refused("chat=", nil))
	s.publish("a")
	assert.Equal(t, []string{"a"}, c.messages(1))
	require.NoError(t, s.server.Drain(context.Background()))
	assert.EqualValues(t, 1001, c.ended().Code)
	require.ErrorIs(t, s.reason(), broadcastws.ErrDrained)
	for _, want := range []string{"Opened", "Refused", "Batch", "Closed", "method=GET path=/ remote=127.0.0.1:"} {
		assert.Contains(t, s.log.String(), want)
	}
}
