package main

import (
	"bufio"
	"net"
	"net/http"
	"time"
)

// deadlineConn is a connection on which every write has a deadline of its own: frames, and also the pings, pongs and
// closing frames that the WebSocket library writes by itself. A write to a client that does not read ends with
// [os.ErrDeadlineExceeded]. It costs no memory per write, unlike a context.
type deadlineConn struct {
	net.Conn
	timeout time.Duration
}

func (c *deadlineConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// hijacker is a ResponseWriter that gives the connection away as a deadlineConn and keeps it: closing the connection itself
// is the only thing that ends a WebSocket at once, whatever it is doing.
type hijacker struct {
	http.ResponseWriter
	writeTimeout time.Duration
	sendBuffer   int
	conn         *deadlineConn // set by Hijack
}

// Hijack implements [http.Hijacker].
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	// What the kernel buffers is a buffer too, beside the broker's, and one in which nothing is dropped or counted. By
	// default it grows to megabytes: thousands of messages between a slow client and the first sign that it is slow.
	if tcp, ok := conn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = tcp.SetWriteBuffer(h.sendBuffer) // without it, a slow client is noticed later
	}
	h.conn = &deadlineConn{Conn: conn, timeout: h.writeTimeout}
	rw.Writer.Reset(h.conn)
	return h.conn, rw, nil
}
