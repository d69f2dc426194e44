package wsconn

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

func TestEachReadAndEachWriteHasADeadlineOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &Conn{Conn: near, ReadTimeout: time.Minute, WriteTimeout: time.Second}
		defer c.Close()
		began := time.Now()
		for range 3 {
			_, err := c.Write([]byte("x"))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			_, err = c.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		}
		assert.Equal(t, 3*(time.Minute+time.Second), time.Since(began))
	})
}

func TestEndReadingBoundsAllReadingAlsoThatWhichWaitsAlready(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		c := &Conn{Conn: near, ReadTimeout: time.Hour}
		defer c.Close()
		began := time.Now()
		time.AfterFunc(time.Minute, func() { c.EndReading(time.Second) })
		for range 2 {
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			assert.Equal(t, time.Minute+time.Second, time.Since(began))
		}
	})
}

func TestARequestThatAsksForNoWebSocketIsAnswered426(t *testing.T) {
	h := httpjson.Handler(CheckHandshake)
	for _, row := range []struct {
		connection, upgrade string
		status              int
	}{
		{"keep-alive, Upgrade", "WebSocket", http.StatusOK},
		{"upgrade", "h2c", http.StatusUpgradeRequired},
		{"keep-alive", "websocket", http.StatusUpgradeRequired},
		{"", "", http.StatusUpgradeRequired},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Connection", row.connection)
		r.Header.Set("Upgrade", row.upgrade)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		assert.Equal(t, row.status, w.Code, "%v", row)
		if row.status != http.StatusOK {
			assert.Equal(t, "websocket", w.Header().Get("Upgrade"))
		}
	}
}

func TestAHijackedConnectionIsKeptAndWritesWithADeadline(t *testing.T) {
	taken := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := &Hijacker{ResponseWriter: w, WriteTimeout: 50 * time.Millisecond, SendBuffer: 4 << 10}
		conn, rw, err := http.NewResponseController(h).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer conn.Close()
		assert.Same(t, h.Conn, conn)
		for err == nil {
			_, err = rw.Write(make([]byte, 1<<20)) // through the buffer, too
		}
		taken <- err
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	require.ErrorIs(t, exampletest.Receive(t, "the end of a write", taken), os.ErrDeadlineExceeded)
	exampletest.Ended(t, conn)
}
