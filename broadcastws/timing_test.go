package broadcastws_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// pipes is a service in a bubble of synctest: its connections are pipes, and time is fake. A pipe
// has no buffer, so a client that does not read makes the first write wait.
type pipes struct {
	service
	listener chan net.Conn
}

// inBubble runs a test with a service on the fake clock.
func inBubble(t *testing.T, change func(*options), test func(t *testing.T, p *pipes)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{service: service{t: t, log: new(logged), closed: make(chan error, 100)}, listener: make(chan net.Conn)}
		var err error
		p.broker, err = broadcast.New[string]()
		require.NoError(t, err)
		o := options{
			Admit:        admit,
			Observe:      broadcastws.Observer{Closed: func(reason error) { p.closed <- reason }},
			Logger:       slog.New(slog.NewTextHandler(p.log, nil)),
			Ping:         25 * time.Second,
			WriteTimeout: 10 * time.Second,
			CloseTimeout: 2 * time.Second,
		}
		if change != nil {
			change(&o)
		}
		p.server, err = broadcastws.New(p.broker, o)
		require.NoError(t, err)
		server := &http.Server{Handler: p.server}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(p) })
		test(t, p)
		require.NoError(t, p.broker.Close())
		require.NoError(t, p.server.Drain(context.Background()))
		require.NoError(t, server.Close())
		serving.Wait()
		assert.Empty(t, p.log.String())
	})
}

func (p *pipes) Accept() (net.Conn, error) {
	if conn, ok := <-p.listener; ok {
		return conn, nil
	}
	return nil, net.ErrClosed
}

func (p *pipes) Close() error {
	close(p.listener)
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

// pipe is the client's end of a connection.
type pipe struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

// dial connects to chat c, and returns when the handshake was answered.
func (p *pipes) dial(device string) *pipe {
	p.t.Helper()
	near, far := net.Pipe()
	p.listener <- far
	_, err := near.Write([]byte(strings.Replace(request, "device=1", "device="+device, 1)))
	require.NoError(p.t, err)
	c := &pipe{p.t, near, bufio.NewReader(near)}
	res, err := http.ReadResponse(c.r, nil)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusSwitchingProtocols, res.StatusCode)
	return c
}

// next reads a frame, and describes it.
func (c *pipe) next() string {
	c.t.Helper()
	first, payload, err := unmasked(c.r)
	require.NoError(c.t, err)
	switch first {
	case fin | opPing:
		return "ping"
	case fin | opClose:
		return fmt.Sprint("close ", binary.BigEndian.Uint16(payload))
	}
	var f frame
	require.NoError(c.t, json.Unmarshal(payload, &f))
	if f.Event != "" {
		return string(f.Event)
	}
	return f.Message
}

// answer sends a frame.
func (c *pipe) answer(frame string) {
	c.t.Helper()
	_, err := c.Write([]byte(frame))
	require.NoError(c.t, err)
}

// Promise 85.
func TestAQuietSocketGetsAPingAndAHeartbeatEachPing(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *pipes) {
		began := time.Now()
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		for i := range 10 {
			assert.Equal(t, "ping", c.next())
			assert.Equal(t, "heartbeat", c.next())
			assert.Equal(t, time.Duration(i+1)*25*time.Second, time.Since(began))
			c.answer(masked(fin|opPong, ""))
		}
		c.answer(closing(1000, ""))
		assert.Equal(t, "close 1000", c.next())
		require.ErrorIs(t, p.reason(), broadcastws.ErrLeft)
	})
}

// Promise 85.
func TestABusySocketGetsHeartbeatsToo(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		for range 24 {
			time.Sleep(time.Second)
			p.publish("x")
			assert.Equal(t, "x", c.next())
		}
		time.Sleep(time.Second)
		assert.Equal(t, "ping", c.next())
		assert.Equal(t, "heartbeat", c.next())
		require.NoError(t, c.Close())
		require.ErrorIs(t, p.reason(), broadcastws.ErrLeft)
	})
}

// Promise 85.
func TestAClientThatAnswersNoPingIsTakenForGone(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *pipes) {
		began := time.Now()
		c := p.dial("1")
		_, err := io.Copy(io.Discard, c.r) // reads, and says nothing
		require.NoError(t, err)
		assert.Equal(t, 2*25*time.Second+10*time.Second, time.Since(began))
		require.ErrorIs(t, p.reason(), broadcastws.ErrSilent)
	})
}

// Promise 84.
func TestAClientThatDoesNotReadIsClosedAfterTheWriteTimeout(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		began := time.Now()
		p.publish("x")
		require.ErrorIs(t, p.reason(), broadcastws.ErrTimeout)
		assert.Equal(t, 10*time.Second, time.Since(began), "no time is left for a close frame after a part of a frame")
		assert.Zero(t, p.broker.Stats().Subscribers)
	})
}

// Promise 84.
func TestAPingThatArrivesBehindABatchThatIsNotReadIsAnsweredAfterIt(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		p.publish("x")
		synctest.Wait()
		c.answer(masked(fin|opPing, "p"))
		time.Sleep(10*time.Second - 1)
		assert.Equal(t, "x", c.next())
		first, payload, err := unmasked(c.r)
		require.NoError(t, err)
		assert.EqualValues(t, fin|opPong, first)
		assert.Equal(t, "p", string(payload))
		require.NoError(t, c.Close())
		require.ErrorIs(t, p.reason(), broadcastws.ErrLeft)
	})
}

// Promise 84.
func TestAClientMayTakeTheWriteTimeoutForEachBatch(t *testing.T) {
	inBubble(t, func(o *options) { o.Ping = time.Hour }, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		for range 10 {
			p.publish("x")
			time.Sleep(10*time.Second - 1)
			assert.Equal(t, "x", c.next())
		}
		require.NoError(t, c.Close())
		require.ErrorIs(t, p.reason(), broadcastws.ErrLeft)
	})
}

// Promise 89.
func TestAClientThatDoesNotAnswerACloseFrameIsCutAfterTheCloseTimeout(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		began := time.Now()
		require.NoError(t, p.broker.Close())
		assert.Equal(t, "ended", c.next())
		assert.Equal(t, "close 1001", c.next())
		_, err := c.r.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		assert.Equal(t, 2*time.Second, time.Since(began))
		require.ErrorIs(t, p.reason(), broadcast.ErrClosed)
	})
}

// Promises 59 and 89.
func TestDrainCutsAClientThatDoesNotReadWhenItsContextEnds(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, p *pipes) {
		p.dial("1")
		p.dial("2")
		began := time.Now()
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		require.ErrorIs(t, p.server.Drain(ctx), context.DeadlineExceeded)
		assert.Equal(t, 3*time.Second, time.Since(began))
		require.ErrorIs(t, p.reason(), broadcastws.ErrDrained)
		require.ErrorIs(t, p.reason(), broadcastws.ErrDrained)
		assert.Zero(t, p.broker.Stats().Subscribers)
	})
}

// Promise 86.
func TestAPaceGathersMessagesIntoOneWrite(t *testing.T) {
	const pace = 20 * time.Millisecond
	var writes, frames atomic.Int64
	inBubble(t, func(o *options) {
		o.Pace = pace
		o.Observe.Batch = func(n, _ int) {
			writes.Add(1)
			frames.Add(int64(n))
		}
	}, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		go func() {
			for range 400 {
				p.publish("x")
				time.Sleep(5 * time.Millisecond)
			}
		}()
		began := time.Now()
		for range 400 {
			assert.Equal(t, "x", c.next())
		}
		synctest.Wait()
		assert.EqualValues(t, 1+400, frames.Load(), "with the ready event")
		assert.LessOrEqual(t, writes.Load(), 2+int64(time.Since(began)/pace))
		assert.GreaterOrEqual(t, writes.Load(), int64(90))

		time.Sleep(time.Second) // a message after a pause is not delayed
		began = time.Now()
		p.publish("y")
		assert.Equal(t, "y", c.next())
		assert.Zero(t, time.Since(began))

		p.publish("z") // a message that waits for its pace does not delay the end
		synctest.Wait()
		began = time.Now()
		require.NoError(t, p.broker.Close())
		assert.Equal(t, "z", c.next())
		assert.Zero(t, time.Since(began))
		require.NoError(t, c.Close())
		_ = p.reason()
	})
}

// Promise 86.
func TestAFullBatchIsFollowedAtOnceWhateverThePace(t *testing.T) {
	inBubble(t, func(o *options) {
		o.Pace = time.Second
		o.BatchBytes = 1000
	}, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		began := time.Now()
		go func() {
			for range 100 {
				p.publish(strings.Repeat("x", 100))
			}
		}()
		for range 90 { // what is left is no full batch
			c.next()
		}
		assert.LessOrEqual(t, time.Since(began), time.Second)
		require.NoError(t, c.Close())
		_ = p.reason()
	})
}

// Promise 84: and what it has not read of an answer to it alone does not go missing without an end.
func TestASendToAClientThatDoesNotReadEndsTheSocketAfterTheWriteTimeout(t *testing.T) {
	sent := make(chan error, 1)
	receive := func(_ context.Context, c *broadcastws.Conn, _ []byte) error {
		sent <- c.Send([]byte("answer"))
		return nil
	}
	inBubble(t, func(o *options) { o.Receive = receive }, func(t *testing.T, p *pipes) {
		c := p.dial("1")
		assert.Equal(t, "ready", c.next())
		began := time.Now()
		c.answer(masked(fin|opText, "question"))
		require.ErrorIs(t, p.reason(), broadcastws.ErrTimeout)
		assert.Equal(t, 10*time.Second, time.Since(began))
		require.ErrorIs(t, <-sent, broadcastws.ErrTimeout)
		require.NoError(t, c.Close())
	})
}
