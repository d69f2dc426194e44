package drain

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAConnectionOnWhichNothingWasAskedHoldsUpNobodyForLong(t *testing.T) {
	accepted := make(chan net.Conn, 1)
	server := &http.Server{Handler: http.NotFoundHandler(), ConnState: func(c net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted <- c
		}
	}}
	s := exampletest.Serve(t, func(ctx context.Context, ln net.Listener) error {
		return Serve(ctx, server, ln, exampletest.Within, func(context.Context) error { return nil })
	}, exampletest.Listen(t))
	conn := s.Connect()
	exampletest.Receive(t, "the connection", accepted)
	began := time.Now()
	s.End()
	require.NoError(t, s.Done())
	assert.Less(t, time.Since(began), 5*time.Second)
	exampletest.Ended(t, conn)
}

func TestWhatTakesLongerThanTheTimeoutIsCut(t *testing.T) {
	asked := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		close(asked)
		<-r.Context().Done()
	})}
	s := exampletest.Begin(t, func(ctx context.Context, ln net.Listener) error {
		return Serve(ctx, server, ln, 50*time.Millisecond, func(context.Context) error { return nil })
	}, exampletest.Listen(t))
	conn := s.Connect()
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	exampletest.Receive(t, "the request", asked)
	s.End()
	require.ErrorIs(t, s.Done(), context.DeadlineExceeded)
	exampletest.Ended(t, conn)
}

func TestReadyEndsAndHealthyDoesNot(t *testing.T) {
	var ready Ready
	status := func(h httpjson.Handler) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		return w.Code
	}
	assert.Equal(t, http.StatusOK, status(ready.Answer))
	ready.End()
	assert.Equal(t, http.StatusServiceUnavailable, status(ready.Answer))
	assert.Equal(t, http.StatusOK, status(Healthy))
}
