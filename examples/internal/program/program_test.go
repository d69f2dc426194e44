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

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestASignalEndsTheContext(t *testing.T) {
	ctx := UntilSignal()
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	require.NoError(t, self.Signal(syscall.SIGTERM))
	exampletest.Receive(t, "the end of the context", ctx.Done())
}

// parse returns the settings that flags set, and what the log writes.
func parse(t *testing.T, addr string, args ...string) (*Settings, *bytes.Buffer) {
	t.Helper()
	s, out := &Settings{Addr: addr}, new(bytes.Buffer)
	require.NoError(t, s.Parse("name", s, args, io.Discard, out))
	return s, out
}

func TestTheFlagsSetTheLog(t *testing.T) {
	for format, want := range map[string]string{"text": "msg=hello", "json": `"msg":"hello"`} {
		s, out := parse(t, "", "-log-format", format)
		s.Log.Info("hello")
		assert.Contains(t, out.String(), want)
		assert.False(t, s.Log.Enabled(context.Background(), slog.LevelDebug))
	}
	s, _ := parse(t, "", "-v")
	assert.True(t, s.Log.Enabled(context.Background(), slog.LevelDebug))
}

func TestTheHelpDoesNotShowTheSecret(t *testing.T) {
	const secret = "0123456789abcdef0123456789abcdef"
	t.Setenv("NAME_SECRET", secret)
	s, _ := parse(t, "")
	assert.Equal(t, secret, string(s.Secret))
	var out bytes.Buffer
	require.ErrorIs(t, s.Parse("name", new(Settings), []string{"-h"}, io.Discard, &out), ErrHelp)
	assert.Contains(t, out.String(), "NAME_SECRET")
	assert.NotContains(t, out.String(), secret)
}

func TestWithoutASecretOnlyALoopbackAddressIsAllowed(t *testing.T) {
	for addr, local := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, ":0": false, "0.0.0.0:0": false} {
		s, _ := parse(t, addr)
		ln, url, err := s.Listen()
		if !local {
			require.ErrorIs(t, err, ErrUsage, addr)
			s.Secret = "0123456789abcdef0123456789abcdef"
			ln, url, err = s.Listen()
		}
		require.NoError(t, err, addr)
		assert.Equal(t, "http://"+ln.Addr().String(), url)
		require.NoError(t, ln.Close())
	}
}
