package broadcastsse_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastsse"
)

// serving is a server that runs with ServeUntil.
type serving struct {
	t     *testing.T
	addr  string
	end   context.CancelFunc
	ended chan error
}

func serveUntil(
	t *testing.T, server *http.Server, timeout time.Duration,
	shutdown ...func(context.Context) error,
) *serving {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	s := &serving{t, ln.Addr().String(), cancel, make(chan error, 1)}
	go func() { s.ended <- broadcastsse.ServeUntil(ctx, server, ln, timeout, shutdown...) }()
	t.Cleanup(cancel)
	return s
}

// connect opens a connection and sends something.
func (s *serving) connect(request string) net.Conn {
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	_, err = io.WriteString(conn, request)
	require.NoError(s.t, err)
	return conn
}

// cut waits until the server has ended a connection.
func (s *serving) cut(conn net.Conn) {
	_, err := io.Copy(io.Discard, conn)
	var late net.Error
	require.False(s.t, errors.As(err, &late) && late.Timeout(), "the connection is still open")
}

// Promise 89.
func TestServeUntilWaitsForNoConnectionOnWhichNothingWasAsked(t *testing.T) {
	accepted := make(chan struct{}, 1)
	server := &http.Server{ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted <- struct{}{}
		}
	}}
	s := serveUntil(t, server, time.Minute)
	conn := s.connect("")
	<-accepted
	began := time.Now()
	s.end()
	require.NoError(t, <-s.ended)
	assert.Less(t, time.Since(began), 5*time.Second)
	s.cut(conn)
}

// Promise 89.
func TestServeUntilCutsWhatTakesLongerThanTheTimeout(t *testing.T) {
	asked := make(chan struct{})
	hanging := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})
	s := serveUntil(t, &http.Server{Handler: hanging}, 50*time.Millisecond)
	conn := s.connect("GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	<-asked
	s.end()
	require.ErrorIs(t, <-s.ended, context.DeadlineExceeded)
	s.cut(conn)
}

// Promise 89.
func TestServeUntilAnswersNewClientsWhileItEndsInOrder(t *testing.T) {
	first, second := errors.New("first"), errors.New("second")
	var s *serving
	var order []error
	ends := func(err error) func(context.Context) error {
		return func(ctx context.Context) error {
			_, limited := ctx.Deadline()
			assert.True(t, limited)
			response, asked := http.Get("http://" + s.addr)
			if assert.NoError(t, asked) {
				assert.NoError(t, response.Body.Close())
			}
			order = append(order, err)
			return err
		}
	}
	server := &http.Server{Handler: http.NotFoundHandler()}
	s = serveUntil(t, server, time.Minute, ends(first), ends(second))
	s.end()
	err := <-s.ended
	require.ErrorIs(t, err, first)
	require.ErrorIs(t, err, second)
	assert.Equal(t, []error{first, second}, order)
	_, err = net.Dial("tcp", s.addr)
	require.Error(t, err, "the listener is open")
	http.DefaultClient.CloseIdleConnections()
}

// Promise 89.
func TestServeUntilEndsWhenTheListenerFails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	called := false
	end := func(context.Context) error {
		called = true
		return nil
	}
	err = broadcastsse.ServeUntil(context.Background(), new(http.Server), ln, time.Minute, end)
	require.ErrorIs(t, err, net.ErrClosed)
	assert.True(t, called)
}
