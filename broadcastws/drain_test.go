package broadcastws_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// A service that ends while it is busy: what was accepted reaches every client, and every client is
// told that the server goes away.
//
// Promise 89.
func TestEveryAcceptedMessageReachesEveryClientBefore1001WhenABusyServiceEnds(t *testing.T) {
	const readers, publishers = 50, 4
	s := start(t, nil, broadcast.WithSampling(broadcast.Block))
	var received, messages atomic.Int64
	var away atomic.Int64
	var reading sync.WaitGroup
	for i := range readers {
		conn, r, _ := s.raw(strings.Replace(request, "device=1", fmt.Sprintf("device=%d", i), 1))
		reading.Go(func() {
			for {
				first, payload, err := unmasked(r)
				switch {
				case err != nil:
					return
				case first == fin|opClose:
					if bytes.HasPrefix(payload, []byte{1001 >> 8, 1001 & 0xff}) {
						away.Add(1)
					}
					_, _ = io.WriteString(conn, closing(1001, ""))
				case bytes.Contains(payload, []byte(`"message"`)):
					received.Add(1)
				case !bytes.Contains(payload, []byte(`"ready"`)) && !bytes.Contains(payload, []byte(`"ended"`)):
					assert.Fail(t, "unexpected frame", "%s", payload)
				}
			}
		})
	}
	var publishing sync.WaitGroup
	for range publishers {
		publishing.Go(func() {
			for s.broker.Publish(context.Background(), "c", "x") == nil {
				messages.Add(1)
			}
		})
	}
	for messages.Load() < 1000 {
		time.Sleep(time.Millisecond)
	}
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(t, s.broker.Shutdown(ctx))
	require.NoError(t, s.server.Drain(ctx))
	publishing.Wait()
	reading.Wait()
	assert.EqualValues(t, s.broker.Stats().Accepted, messages.Load())
	assert.Equal(t, messages.Load()*readers, received.Load())
	assert.EqualValues(t, readers, away.Load())
}

// A service with sockets ends in the order of the package documentation. A request whose body is
// still on its way then gets its answer.
//
// Promise 89.
func TestARequestThatIsStillArrivingIsAnsweredAtTheEndOfTheService(t *testing.T) {
	began := make(chan struct{})
	s := start(t, nil)
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
	drained := make(chan error, 1)
	go func() { drained <- s.server.Drain(context.Background()) }()
	c.ended()
	require.NoError(t, <-drained)
	shut := make(chan error, 1)
	go func() { shut <- s.http.Config.Shutdown(context.Background()) }()
	_, err = io.WriteString(send, "whole")
	require.NoError(t, err)
	require.NoError(t, send.Close())
	assert.Equal(t, http.StatusServiceUnavailable, <-answered)
	require.NoError(t, <-shut)
}
