package drain

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAGateThatIsShutLetsNobodyInAndIsEmptyWhenTheLastHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var g Gate
		require.True(t, g.Enter())
		require.True(t, g.Enter())
		g.Leave()
		assert.False(t, g.IsShut())
		empty, again := g.Shut(), g.Shut()
		assert.True(t, g.IsShut())
		assert.False(t, g.Enter())
		go func() {
			time.Sleep(time.Minute)
			g.Leave()
		}()
		began := time.Now()
		<-empty
		assert.Equal(t, time.Minute, time.Since(began))
		<-again
		<-g.Shut()
		assert.False(t, g.Enter())
	})
}

func TestAGateWithNobodyInsideIsEmptyAtOnce(t *testing.T) {
	var g Gate
	<-g.Shut()
}

func TestThoseThatWereRemovedAreNotCut(t *testing.T) {
	var all Conns
	one, other := net.Pipe()
	defer other.Close()
	kept, far := net.Pipe()
	defer far.Close()
	remove := all.Add(one)
	all.Add(kept)
	assert.Equal(t, 2, all.Len())
	remove()
	assert.Equal(t, 1, all.Len())
	all.Cut()
	assert.NoError(t, one.SetDeadline(time.Now()))
	assert.Error(t, kept.SetDeadline(time.Now()), "it was not cut")
}

func TestASignalEndsTheContext(t *testing.T) {
	ctx := UntilSignal()
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, self.Signal(syscall.SIGTERM))
	exampletest.Receive(t, "the end of the context", ctx.Done())
}

func TestAConnectionOnWhichNothingWasAskedHoldsUpNobodyForLong(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	accepted := make(chan net.Conn, 1)
	server.Config.ConnState = func(c net.Conn, _ http.ConnState) {
		select {
		case accepted <- c:
		default:
		}
	}
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	exampletest.Receive(t, "the connection", accepted)
	began := time.Now()
	closeHTTP(exampletest.Deadline(t), server.Config)
	assert.Less(t, time.Since(began), 5*time.Second)
	exampletest.Ended(t, conn)
}
