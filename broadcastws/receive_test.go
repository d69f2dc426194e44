package broadcastws_test

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// send sends a text message.
func (c *client) send(text string) {
	c.t.Helper()
	require.NoError(c.t, c.conn.Write(context.Background(), websocket.MessageText, []byte(text)))
}

func TestReceiveGetsWhatAClientSendsAndMayAnswerItAlone(t *testing.T) {
	s := start(t, func(o *options) {
		o.Admit = func(r *http.Request) (broadcastws.Ticket, error) {
			ticket, err := admit(r)
			ticket.Value = "ticket of " + ticket.Device
			return ticket, err
		}
		o.Receive = func(ctx context.Context, c *broadcastws.Conn, message []byte) error {
			return c.Send(fmt.Appendf(nil, `{"message":"%v: %s"}`, c.Ticket().Value, message))
		}
	})
	one, two := s.dial("1"), s.dial("2")
	one.send("a")
	one.send("b")
	assert.Equal(t, []string{"ticket of 1: a", "ticket of 1: b"}, one.messages(2))
	s.publish("to all")
	assert.Equal(t, []string{"to all"}, two.messages(1))
}

// Promise 87.
func TestTextThatIsNotUTF8IsNotSentAndEndsNothing(t *testing.T) {
	for _, binary := range []bool{false, true} {
		failed := make(chan error, 1)
		s := start(t, func(o *options) {
			o.Binary = binary
			o.Receive = func(_ context.Context, c *broadcastws.Conn, message []byte) error {
				failed <- c.Send([]byte{0xff})
				return c.Send([]byte(`{"message":"next"}`))
			}
		})
		c := s.dial("1")
		c.send("a")
		if binary {
			require.NoError(t, <-failed)
			text, err := c.read()
			require.NoError(t, err)
			assert.Equal(t, []byte{0xff}, text)
		} else {
			require.ErrorIs(t, <-failed, broadcast.ErrInvalid)
		}
		assert.Equal(t, []string{"next"}, c.messages(1))
	}
}

func TestOneAdmitServesSocketsAndStreams(t *testing.T) {
	both := func(*http.Request) (broadcastws.Ticket, error) {
		return broadcastws.Ticket{Chat: "c", Device: "1"}, nil
	}
	b, err := broadcast.New[string]()
	require.NoError(t, err)
	defer func() { _ = b.Close() }()
	_, err = broadcastws.New(b, broadcastws.Options[string]{Admit: both})
	require.NoError(t, err)
	_, err = broadcastsse.New(b, broadcastsse.Options[string]{Admit: both})
	require.NoError(t, err)
}

// Promise 88.
func TestAClientThatSendsWhereNothingIsReceivedIsClosedWith1008(t *testing.T) {
	s := start(t, nil)
	c := s.dial("1")
	c.send("a")
	assert.Equal(t, websocket.StatusPolicyViolation, c.ended().Code)
	assert.EqualError(t, s.reason(), "this socket only sends")
}

// Promises 88 and 90.
func TestAnErrorOfReceiveClosesTheSocketAsTheTableSays(t *testing.T) {
	for name, test := range map[string]struct {
		receive func() error
		code    websocket.StatusCode
		text    string
		logged  string
	}{
		"refusal":    {func() error { return &broadcastws.Refusal{Text: "not you"} }, 1008, "not you", ""},
		"overloaded": {func() error { return fmt.Errorf("post: %w", broadcast.ErrOverloaded) }, 1013, "overloaded", ""},
		"closed":     {func() error { return broadcast.ErrClosed }, 1001, "the server is shutting down", ""},
		"nil":        {func() error { return (*broadcastws.Refusal)(nil) }, 1011, "internal error", "nil *Refusal"},
		"error":      {func() error { return errTest }, 1011, "internal error", errTest.Error()},
		"panic":      {func() error { panic(errTest) }, 1011, "internal error", "panic: " + errTest.Error()},
	} {
		s := start(t, func(o *options) {
			o.Receive = func(context.Context, *broadcastws.Conn, []byte) error { return test.receive() }
		})
		c := s.dial("1")
		c.send("a")
		closed := c.ended()
		assert.Equal(t, test.code, closed.Code, name)
		assert.Equal(t, test.text, closed.Reason, name)
		require.Error(t, s.reason(), name)
		if test.logged == "" {
			assert.Empty(t, s.log.String(), name)
			continue
		}
		for _, want := range []string{test.logged, "level=ERROR", "method=GET", "path=/", "remote=127.0.0.1:"} {
			assert.Contains(t, s.log.String(), want, name)
		}
	}
}

// Promise 90.
func TestReceiveThatEndsItsGoroutineLeavesNothingBehind(t *testing.T) {
	s := start(t, func(o *options) {
		o.Receive = func(context.Context, *broadcastws.Conn, []byte) error {
			runtime.Goexit()
			return nil
		}
	})
	c := s.dial("1")
	c.send("a")
	_, err := c.read()
	require.Error(t, err)
	require.ErrorIs(t, s.reason(), broadcastws.ErrLeft)
	assert.Zero(t, s.broker.Stats().Subscribers)
}

func TestTheContextOfReceiveEndsWithTheSocketAndHasTheValuesOfTheRequest(t *testing.T) {
	type key struct{}
	received := make(chan any, 1)
	s := start(t, func(o *options) {
		o.Receive = func(ctx context.Context, _ *broadcastws.Conn, _ []byte) error {
			received <- ctx.Value(key{})
			<-ctx.Done()
			return ctx.Err()
		}
	})
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "value")))
	}))
	c := s.dial("1")
	c.send("a")
	assert.Equal(t, "value", <-received)
	require.NoError(t, s.broker.Close())
	assert.Equal(t, websocket.StatusGoingAway, c.ended().Code)
	require.ErrorIs(t, s.reason(), broadcast.ErrClosed)
	assert.Empty(t, s.log.String())
}

// Promise 87.
func TestAMessageMayHaveMaxFrameBytesAndNoMore(t *testing.T) {
	s := start(t, func(o *options) {
		o.MaxFrame = 10
		o.Receive = func(_ context.Context, c *broadcastws.Conn, message []byte) error {
			return c.Send(fmt.Appendf(nil, `{"message":"%s"}`, message))
		}
	})
	c := s.dial("1")
	c.send(strings.Repeat("x", 10))
	assert.Equal(t, []string{strings.Repeat("x", 10)}, c.messages(1))
	c.send(strings.Repeat("x", 11))
	assert.Equal(t, websocket.StatusMessageTooBig, c.closed().Code)
	assert.EqualError(t, s.reason(), "message too big")
}

// Promise 89: an end that a client meets when it posts comes no sooner than to others.
func TestAClientThatPostsToWhatHasEndedGetsWhatWasAcceptedBefore(t *testing.T) {
	var broker *broadcast.Broker[string]
	received := make(chan error, 2)
	receive := func(ctx context.Context, _ *broadcastws.Conn, message []byte) error {
		err := broker.Publish(ctx, "c", string(message))
		received <- err
		return err
	}
	for want, test := range map[error]struct {
		end  func() error
		code string
	}{
		broadcast.ErrEnded: {
			func() error { return broker.EndChat(context.Background(), "c", nil) }, "close 1000",
		},
		broadcast.ErrBrokerClosed: {
			func() error { return broker.Shutdown(context.Background()) }, "close 1001",
		},
	} {
		inBubble(t, func(o *options) { o.Receive = receive }, func(t *testing.T, p *pipes) {
			broker = p.broker
			c := p.dial("1")
			assert.Equal(t, "ready", c.next())
			p.publish("first") // which the connection waits to write
			synctest.Wait()
			for range 100 {
				p.publish("x")
			}
			ended := make(chan error, 1)
			go func() { ended <- test.end() }()
			synctest.Wait()
			c.answer(masked(fin|opText, "late"))
			require.ErrorIs(t, <-received, want)
			synctest.Wait()
			assert.Equal(t, "first", c.next())
			for range 100 {
				assert.Equal(t, "x", c.next())
			}
			assert.Equal(t, "ended", c.next())
			assert.Equal(t, test.code, c.next())
			c.answer(closing(1000, ""))
			require.ErrorIs(t, p.reason(), want)
			require.NoError(t, <-ended)
		})
	}
}

// Promise 88: an error that only looks like the end of the chat ends the socket nevertheless.
func TestAnEndOfAnotherChatEndsTheSocketOfWhoMeetsIt(t *testing.T) {
	inBubble(t, func(o *options) {
		o.Receive = func(context.Context, *broadcastws.Conn, []byte) error { return broadcast.ErrEnded }
	}, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		synctest.Wait()
		began := time.Now()
		c.answer(masked(fin|opText, "a"))
		assert.Equal(t, "ended", c.next())
		assert.Equal(t, "close 1000", c.next())
		assert.Zero(t, time.Since(began))
		c.answer(closing(1000, ""))
		require.ErrorIs(t, p.reason(), broadcast.ErrEnded)
	})
}

// Promise 59: also if it is a write that meets the broken connection, and Receive ends with it.
func TestABrokenSocketWhoseClientIsBeingReceivedCountsAsLeft(t *testing.T) {
	inBubble(t, func(o *options) {
		o.Receive = func(ctx context.Context, _ *broadcastws.Conn, _ []byte) error {
			<-ctx.Done()
			return ctx.Err()
		}
	}, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		c.answer(masked(fin|opText, "a"))
		synctest.Wait()
		require.NoError(t, c.Close())
		p.publish("b")
		require.ErrorIs(t, p.reason(), broadcastws.ErrLeft)
		assert.EqualValues(t, 1, p.server.Stats().Closed["left"])
	})
}
