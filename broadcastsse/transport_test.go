package broadcastsse_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// counted is a listener whose connections count their writes.
type counted struct {
	net.Listener
	writes atomic.Int64
}

func (l *counted) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &countedConn{conn, &l.writes}, err
}

type countedConn struct {
	net.Conn
	writes *atomic.Int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

// Promise 82.
func TestABatchIsOneWriteToTheConnection(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		var batches atomic.Int64
		var o options
		hijack(&o)
		s := prepare(t, func(to *options) {
			to.Hijack = o.Hijack
			to.Observe.Batch = func(int, int) { batches.Add(1) }
		})
		s.http = httptest.NewUnstartedServer(s)
		listener := &counted{Listener: s.http.Listener}
		s.http.Listener = listener
		s.http.Start()
		t.Cleanup(s.end)
		c := s.dial("1")
		for range 20 {
			for range 50 {
				s.publish(strings.Repeat("x", 100))
			}
			c.messages(50)
		}
		require.NoError(t, s.server.Drain(context.Background()))
		c.ended()
		head := int64(0) // goes with the first batch
		if o.Hijack {
			head = 1
		}
		assert.Equal(t, batches.Load()+head, listener.writes.Load())
	})
}

func TestAStreamOverHTTP2DeliversAndEnds(t *testing.T) {
	s := prepare(t, nil)
	s.http = httptest.NewUnstartedServer(s)
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	t.Cleanup(s.end)
	one, two := s.dial("1"), s.dial("2")
	require.Equal(t, 2, one.res.ProtoMajor)
	s.publish("a", "b")
	assert.Equal(t, []string{"a", "b"}, one.messages(2))
	assert.Equal(t, []string{"a", "b"}, two.messages(2))
	_ = one.res.Body.Close()
	require.ErrorIs(t, s.reason(), broadcastsse.ErrLeft)
	require.NoError(t, s.server.Drain(context.Background()))
	_, d := two.ended()
	assert.Equal(t, 1001, d.Code)
}

func TestDrainCutsAStreamOverHTTP2ThatIsNotRead(t *testing.T) {
	s := prepare(t, func(o *options) { o.WriteTimeout = time.Hour }, broadcast.WithPatience(0))
	s.http = httptest.NewUnstartedServer(s)
	s.http.EnableHTTP2 = true
	s.http.StartTLS()
	t.Cleanup(s.end)
	s.dial("1")
	for s.broker.Stats().Missed == 0 {
		s.publish(strings.Repeat("x", 100_000))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, s.server.Drain(ctx), context.DeadlineExceeded)
	require.ErrorIs(t, s.reason(), broadcastsse.ErrDrained)
	assert.Zero(t, s.broker.Stats().Subscribers)
}

// Promise 84.
func TestAClientThatStopsReadingIsEndedAndHoldsUpNobody(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, func(o *options) {
			hijack(o)
			o.WriteTimeout = time.Second
		}, broadcast.WithPatience(0))
		s.dial("stuck")
		healthy := s.dial("healthy")
		go func() {
			for s.broker.Publish(context.Background(), "c", strings.Repeat("x", 10_000)) == nil {
				time.Sleep(100 * time.Microsecond)
			}
		}()
		for len(s.broker.Devices("c")) > 1 {
			healthy.next()
		}
		assert.Equal(t, []string{"healthy"}, s.broker.Devices("c"))
		require.ErrorIs(t, s.reason(), broadcastsse.ErrTimeout)
	})
}

// A service with streams ends in the order of the package documentation. A request whose body is
// still on its way then gets its answer.
//
// Promise 89.
func TestARequestThatIsStillArrivingIsAnsweredAtTheEndOfTheService(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		began := make(chan struct{})
		s := start(t, hijack)
		s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodPost {
				s.server.ServeHTTP(w, r)
				return
			}
			close(began)
			body, err := io.ReadAll(r.Body)
			if err != nil || s.broker.Publish(r.Context(), "c", string(body)) != nil {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}))
		c := s.dial("1")
		body, send := io.Pipe()
		answered := make(chan int, 1)
		go func() {
			res, err := http.Post(s.http.URL, "text/plain", body)
			if !assert.NoError(t, err) {
				answered <- 0
				return
			}
			_ = res.Body.Close()
			answered <- res.StatusCode
		}()
		_, err := io.WriteString(send, "half ")
		require.NoError(t, err)
		<-began

		require.NoError(t, s.broker.Shutdown(context.Background()))
		require.NoError(t, s.server.Drain(context.Background()))
		c.ended()
		shut := make(chan error, 1)
		go func() { shut <- s.http.Config.Shutdown(context.Background()) }()
		_, err = io.WriteString(send, "whole")
		require.NoError(t, err)
		require.NoError(t, send.Close())
		assert.Equal(t, http.StatusServiceUnavailable, <-answered)
		require.NoError(t, <-shut)
	})
}

// pipes is a listener whose connections are pipes, for the fake clock.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p pipes) Close() error {
	close(p)
	return nil
}

func (p pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// impatient returns a server whose timeouts are for short requests, and must not end a stream.
func impatient(h http.Handler) *http.Server {
	return &http.Server{Handler: h, ReadTimeout: 3 * time.Second, WriteTimeout: 3 * time.Second}
}

// inBubble runs a test with a service on the fake clock, for both kinds of streams. dial returns
// the client's end of a connection to chat c.
func inBubble(
	t *testing.T, change func(*options),
	test func(t *testing.T, s *service, dial func(device string) (net.Conn, *client)),
) {
	t.Helper()
	both(t, func(t *testing.T, hijack func(*options)) {
		synctest.Test(t, func(t *testing.T) {
			s := prepare(t, func(o *options) {
				o.Ping, o.WriteTimeout = 25*time.Second, 10*time.Second
				hijack(o)
				if change != nil {
					change(o)
				}
			})
			server, listener := impatient(s.server), make(pipes)
			var serving sync.WaitGroup
			serving.Go(func() { _ = server.Serve(listener) })
			var ends []net.Conn
			test(t, s, func(device string) (net.Conn, *client) {
				near, far := net.Pipe()
				listener <- far
				ends = append(ends, near)
				req := httptest.NewRequest(http.MethodGet, "/?chat=c&device="+device, nil)
				require.NoError(t, req.Write(near))
				res, r := answer(t, near)
				return near, &client{t, res, r}
			})
			for _, end := range ends {
				_ = end.Close()
			}
			require.NoError(t, s.broker.Close())
			require.NoError(t, s.server.Drain(context.Background()))
			require.NoError(t, server.Close())
			serving.Wait()
		})
	})
}

// answer reads the head of an answer.
func answer(t *testing.T, conn net.Conn) (*http.Response, *bufio.Reader) {
	t.Helper()
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, res.StatusCode)
	return res, r
}

// Promise 85.
func TestAQuietStreamGetsAHeartbeatEachPing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *service, dial func(string) (net.Conn, *client)) {
		began := time.Now()
		_, c := dial("1")
		assert.Equal(t, "ready", c.next().name)
		for i := range 10 {
			assert.Equal(t, "heartbeat", c.next().name)
			assert.Equal(t, time.Duration(i+1)*25*time.Second, time.Since(began))
		}
	})
}

// Promise 84.
func TestAClientThatDoesNotReadIsEndedAfterTheWriteTimeout(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *service, dial func(string) (net.Conn, *client)) {
		_, c := dial("1")
		assert.Equal(t, "ready", c.next().name)
		began := time.Now()
		s.publish("x")
		require.ErrorIs(t, s.reason(), broadcastsse.ErrTimeout)
		assert.Equal(t, 10*time.Second, time.Since(began))
	})
}

// Promises 59 and 89.
func TestDrainCutsAClientThatDoesNotReadWhenItsContextEnds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, s *service, dial func(string) (net.Conn, *client)) {
		_, c := dial("1")
		assert.Equal(t, "ready", c.next().name)
		s.publish("x")
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		require.ErrorIs(t, s.server.Drain(ctx), context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(began))
		require.ErrorIs(t, s.reason(), broadcastsse.ErrDrained)
		assert.Zero(t, s.broker.Stats().Subscribers)
	})
}

// The deadline of a write over HTTP/2 ends the stream, whether anything is being written or not.
//
// Promise 85.
func TestAQuietStreamOverHTTP2OutlivesTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := prepare(t, func(o *options) { o.Ping, o.WriteTimeout = 25*time.Second, 10*time.Second })
		var protocols http.Protocols
		protocols.SetUnencryptedHTTP2(true)
		server, listener := impatient(s.server), make(pipes)
		server.Protocols = &protocols
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(listener) })
		transport := &http.Transport{Protocols: &protocols}
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
			near, far := net.Pipe()
			listener <- far
			return near, nil
		}
		began := time.Now()
		res, err := (&http.Client{Transport: transport}).Get("http://test/?chat=c")
		require.NoError(t, err)
		require.Equal(t, 2, res.ProtoMajor)
		c := &client{t, res, bufio.NewReader(res.Body)}
		assert.Equal(t, "ready", c.next().name)
		for i := range 3 {
			assert.Equal(t, "heartbeat", c.next().name)
			assert.Equal(t, time.Duration(i+1)*25*time.Second, time.Since(began))
		}
		require.NoError(t, s.broker.Close())
		c.ended()
		require.NoError(t, res.Body.Close())
		transport.CloseIdleConnections()
		require.NoError(t, s.server.Drain(context.Background()))
		require.NoError(t, server.Close())
		serving.Wait()
	})
}
