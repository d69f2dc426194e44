// Package wsconn provides the connection under a WebSocket. Once a connection is hijacked, net/http
// neither sets deadlines on it, nor limits it, nor closes it.
package wsconn

import (
	"errors"
	"net"
	"os"
	"sync"
	"time"
)

// Conn is a connection on which each write and each read has a deadline of its own. That includes
// the pings, pongs and closing frames that the WebSocket library writes by itself. Unlike a
// context, a deadline allocates nothing per write.
type Conn struct {
	net.Conn
	ReadTimeout, WriteTimeout time.Duration // 0: none

	mu  sync.Mutex
	end time.Time // no read goes on after it; zero: not set
}

// Write writes p within the timeout; otherwise the error is an [os.ErrDeadlineExceeded], and
// nothing can be written after it, because half of p may have been sent. Closing the connection
// then drops what the kernel still holds and resets it. Without that the kernel would retransmit
// for minutes, less and less often, and a client that reads again would learn of the end only with
// the next retransmission.
func (c *Conn) Write(p []byte) (int, error) {
	if c.WriteTimeout > 0 {
		if err := c.SetWriteDeadline(time.Now().Add(c.WriteTimeout)); err != nil {
			return 0, err
		}
	}
	n, err := c.Conn.Write(p)
	if tcp, ok := c.Conn.(interface{ SetLinger(seconds int) error }); ok && errors.Is(err, os.ErrDeadlineExceeded) {
		_ = tcp.SetLinger(0) // without it, the client learns of the end later
	}
	return n, err
}

// Read reads within the timeout; otherwise the error is an [os.ErrDeadlineExceeded].
func (c *Conn) Read(p []byte) (int, error) {
	if err := c.beforeRead(); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *Conn) beforeRead() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.end.IsZero():
		return c.SetReadDeadline(c.end)
	case c.ReadTimeout > 0:
		return c.SetReadDeadline(time.Now().Add(c.ReadTimeout))
	}
	return nil
}

// EndReading bounds all reading from now on, including a read in progress, for when only the
// closing handshake is left.
func (c *Conn) EndReading(within time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.end = time.Now().Add(within)
	_ = c.SetReadDeadline(c.end) // a connection that is closed has no reader
}
