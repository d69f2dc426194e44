package broadcastws_test

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"io"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/racedetector"
)

var clients = flag.Int("clients", 400, "how many clients the tests of memory have")

// heap returns how many bytes are in use.
func heap() int { return int(memory().HeapAlloc) }

func memory() (m runtime.MemStats) {
	for range 3 { // what pools hold survives one collection
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return m
}

// A quiet connection has two stacks of 4 KB, and nothing of net/http.
func TestAQuietConnectionTakesLittleMemory(t *testing.T) {
	if racedetector.Enabled {
		t.Skip("the race detector makes stacks larger")
	}
	s := start(t, func(o *options) { o.Observe.Closed = nil })
	began := memory()
	for i := range *clients {
		_, r, _ := s.raw(strings.Replace(request, "device=1", fmt.Sprintf("device=%d", i), 1))
		_, _, err := unmasked(r)
		require.NoError(t, err)
	}
	var stacks, heap int
	assert.Eventually(t, func() bool { // when all wait again
		quiet := memory()
		stacks = int(quiet.StackInuse-began.StackInuse) / *clients
		heap = int(quiet.HeapAlloc-began.HeapAlloc) / *clients
		return stacks < 10<<10 && heap < 14<<10
	}, within, 10*time.Millisecond)
	t.Logf("a connection: %d bytes of stacks, %d bytes of heap, the latter of both ends", stacks, heap)
}

// Promise 84.
func TestAClientThatNeverReadsHoldsAFewKilobytes(t *testing.T) {
	s := start(t, patient, broadcast.WithPatience(0))
	more := heapOfStuckClients(t, s, *clients, func() { s.raw(s.named()) })
	assert.Less(t, more, 6<<10)
}

// Over TLS a write cannot be tried, so a client that does not read keeps a whole batch, and its
// encrypted form.
func TestAClientThatNeverReadsHoldsABatchOverTLS(t *testing.T) {
	s := start(t, patient, broadcast.WithPatience(0))
	s.http.Close()
	s.http = httptest.NewUnstartedServer(s)
	s.http.StartTLS()
	more := heapOfStuckClients(t, s, *clients/10, func() {
		conn, err := tls.Dial("tcp", s.http.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.NetConn().Close() })
		_, err = io.WriteString(conn, s.named())
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, 200)) // most of the answer
		require.NoError(t, err)
	})
	assert.Less(t, more, 64<<10)
}

// patient is for clients that never read, and are kept.
func patient(o *options) {
	o.WriteTimeout, o.Ping = time.Hour, time.Hour
	o.Observe.Closed = nil
}

// named returns a handshake of a device of its own.
func (s *service) named() string {
	device := fmt.Sprintf("device=%d", s.devices.Add(1))
	return strings.Replace(request, "device=1", device, 1)
}

// heapOfStuckClients connects clients, publishes until none of them takes anything, and returns by
// how much the heap has grown meanwhile, by client.
func heapOfStuckClients(t *testing.T, s *service, n int, connect func()) int {
	t.Helper()
	for range n {
		connect()
	}
	for s.broker.Stats().Subscribers < n {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(20 * time.Millisecond) // until all have sent their first frame
	connected := heap()
	before := uint64(0)
	for same := 0; same < 20; same++ { // bursts of which nobody has taken anything
		if now := s.broker.Stats().Delivered; now != before {
			before, same = now, 0
		}
		for range 256 {
			require.NoError(t, s.broker.Publish(context.Background(), "c", strings.Repeat("x", 100)))
		}
		time.Sleep(20 * time.Millisecond)
	}
	more := (heap() - connected) / n
	t.Logf("a client that does not read: %d bytes more", more)
	return more
}
