package program

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestASignalEndsTheContext(t *testing.T) {
	ctx := UntilSignal()
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, self.Signal(syscall.SIGTERM))
	exampletest.Receive(t, "the end of the context", ctx.Done())
}

func TestTheFlagsSetTheLog(t *testing.T) {
	for format, want := range map[string]string{"text": "msg=hello", "json": `"msg":"hello"`} {
		var out bytes.Buffer
		p := New("name", "", io.Discard, &out)
		_, ok := p.Parse([]string{"-log-format", format})
		require.True(t, ok)
		p.Log().Info("hello")
		assert.Contains(t, out.String(), want)
		assert.False(t, p.Log().Enabled(context.Background(), slog.LevelDebug))
	}
	p := New("name", "", io.Discard, os.Stderr)
	_, ok := p.Parse([]string{"-v"})
	require.True(t, ok)
	assert.True(t, p.Log().Enabled(context.Background(), slog.LevelDebug))
}

func TestOnlyALoopbackAddressIsLocal(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, ":0": false, "0.0.0.0:0": false} {
		p := New("name", addr, io.Discard, os.Stderr)
		_, ok := p.Parse(nil)
		require.True(t, ok)
		ln, url, err := p.Listen()
		require.NoError(t, err)
		assert.Equal(t, want, broadcastws.LocalHosts(ln.Addr()) != nil, addr)
		assert.Equal(t, "http://"+ln.Addr().String(), url)
		require.NoError(t, ln.Close())
	}
}
