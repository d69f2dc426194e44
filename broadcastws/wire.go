package broadcastws

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/fbd86cad/broadcast/internal/stream"
)

// A wire is the connection that the WebSocket library uses. The library reads from it, and writes
// only close frames, each in one call of Write; other frames bypass the library and go to the same
// Conn. Nothing is written after a close frame (RFC 6455, 5.5.1).
type wire struct {
	*stream.Conn

	// closing is set when a close frame is written, and read at the end, when nothing is written any
	// more.
	closing atomic.Bool

	// readErr is stored by the reader when a read fails, and loaded after the library has returned
	// an error. nil means that the connection works and the client has broken the protocol.
	readErr atomic.Pointer[error]
}

func (w *wire) Read(p []byte) (n int, err error) {
	n, err = w.Conn.Read(p)
	if err != nil {
		failed := err // or every read would allocate
		w.readErr.Store(&failed)
	}
	return n, err
}

// Write writes what the library writes: a close frame.
func (w *wire) Write(p []byte) (int, error) {
	if len(p) < 2 || p[0]&opMask != opClose {
		return w.Conn.Write(p)
	}
	w.closing.Store(true)
	if len(p) > 4 && !utf8.Valid(p[4:]) { // the library returns what it got
		if _, err := w.WriteLast(closeFrame(invalidPayload)); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return w.WriteLast(p)
}

// pong answers a ping. The library would cut the connection if a pong had to wait for five seconds,
// but it may have to wait for a batch, which has the WriteTimeout.
func (w *wire) pong(payload []byte) {
	_, _ = w.Conn.Write(append([]byte{final | opPong, byte(len(payload))}, payload...))
}

// invalidPayload is the close code for text that is not UTF-8.
const invalidPayload = 1007

// closeFrame returns a close frame without a text.
func closeFrame(code uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{final | opClose, 2}, code)
}

// Close implements [net.Conn] for the library, which closes when it has sent its last frame. The
// connection remains open, so that the socket can end it without losing that frame.
func (w *wire) Close() error {
	w.Interrupt()
	return nil
}

// The library must not set deadlines.

func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

var _ net.Conn = (*wire)(nil)
