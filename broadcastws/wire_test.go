package broadcastws

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/internal/stream"
)

// Promise 87.
func TestNothingIsWrittenAfterACloseFrame(t *testing.T) {
	near, far := net.Pipe()
	w := &wire{Conn: stream.NewConn(far, nil, 0, time.Minute, 1<<10, nil)}
	got := make(chan string)
	go func() {
		text, _ := io.ReadAll(near)
		got <- string(text)
	}()
	_, err := w.Write(closeFrame(1000))
	require.NoError(t, err)
	_, err = w.Conn.Write([]byte("data"))
	require.ErrorIs(t, err, net.ErrClosed)
	w.Conn.Close()
	assert.Equal(t, string(closeFrame(1000)), <-got)
}
