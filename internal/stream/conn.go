package stream

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A Conn is a connection that was taken over from net/http, which from then on neither sets
// deadlines on it nor limits it. Each write is whole or the last, and has a deadline of its own.
//
// Methods may be called concurrently, except that one goroutine at a time reads.
type Conn struct {
	conn  net.Conn
	raw   syscall.RawConn // of a connection on which a write can be tried; nil: of another
	short func(bytes int) // called when a batch did not go out at once; may be nil

	// early is what the client has sent right behind its request. Only the reader uses it.
	early []byte

	readTimeout time.Duration
	readMu      sync.Mutex
	readEnd     time.Time // no read goes on after it; zero: not set. Guarded by readMu

	// writeMu is held while writing, as a net.Conn holds a lock of its own, so that frames do not
	// mix. Those who wait for it are the few that write to this client, and they wait as long as
	// one write may take. It guards the following.
	writeMu      turn
	writeTimeout time.Duration
	until        time.Time // when reading ends; set by Hurry
	last         error     // not nil: nothing can be written any more

	// interrupted is set once, before a deadline in the past, and read by writers after they have
	// set a later one: either they see it, or the deadline in the past comes last.
	interrupted atomic.Bool

	// try passes pending to attempt, which returns written and failed. attempt is stored as a value
	// so that a write allocates no closure. All are guarded by writeMu.
	pending []byte
	written int
	failed  error
	attempt func(fd uintptr) bool
}

// A turn is a lock that is held for long. Unlike a mutex, it lets time go on in a bubble of
// testing/synctest while somebody waits for it.
type turn chan struct{}

func (t turn) Lock()   { t <- struct{}{} }
func (t turn) Unlock() { <-t }

// NewConn returns a Conn. It asks the kernel to hold at most sendBuffer bytes that the client has
// not acknowledged.
//
// What the kernel buffers is a buffer too, beside that of the subscription, and one in which
// nothing is dropped or counted. By default it grows to megabytes: thousands of messages between a
// slow client and the first sign that it is slow.
func NewConn(
	conn net.Conn, early []byte, readTimeout, writeTimeout time.Duration, sendBuffer int,
	short func(bytes int),
) *Conn {
	c := &Conn{
		conn: conn, early: early, readTimeout: readTimeout, writeTimeout: writeTimeout, short: short,
		writeMu: make(turn, 1),
	}
	if tcp, ok := conn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = tcp.SetWriteBuffer(sendBuffer) // without it, a slow client is noticed later
	}
	c.raw = rawConn(conn)
	c.attempt = c.attemptWrite
	return c
}

// Send writes a batch and releases it. If the connection does not take the batch at once, Send
// keeps only what is left while it waits. Over TLS it cannot know, and keeps the batch.
//
// A client that does not read makes it return ErrTimeout. If part of the batch has gone out by
// then, nothing can be written after it.
func (c *Conn) Send(b *Batch) error {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	if c.last != nil {
		b.Release()
		return c.last
	}
	n, err := c.try(b.Buf)
	if err != nil || n == len(b.Buf) {
		b.Release()
		return c.remember(err)
	}
	if c.raw == nil {
		defer b.Release()
		return c.finish(net.Buffers{b.Buf}, 0)
	}
	rest, left := b.Rest(n), len(b.Buf)-n
	b.Release()
	if c.short != nil {
		c.short(left)
	}
	return c.finish(rest, n)
}

// Write writes p. It is for frames that are not part of a batch.
func (c *Conn) Write(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	return c.write(p)
}

// WriteLast writes p, and lets nothing be written after it.
func (c *Conn) WriteLast(p []byte) (int, error) {
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	n, err := c.write(p)
	if c.last == nil {
		c.last = net.ErrClosed
	}
	return n, err
}

func (c *Conn) write(p []byte) (int, error) {
	if c.last != nil {
		return 0, c.last
	}
	n, err := c.try(p)
	if err == nil && n < len(p) {
		err = c.finish(net.Buffers{p[n:]}, n)
	}
	if c.remember(err) != nil {
		return 0, err
	}
	return len(p), nil
}

// try writes as much as the connection takes without waiting.
func (c *Conn) try(p []byte) (n int, err error) {
	if c.raw == nil {
		return 0, nil
	}
	c.pending, c.written, c.failed = p, 0, nil
	err = c.raw.Write(c.attempt)
	c.pending = nil
	return c.written, errors.Join(err, c.failed)
}

// finish writes the rest of something of which n bytes have gone out, within the timeout.
func (c *Conn) finish(rest net.Buffers, n int) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.writeTimeout)); err != nil {
		return c.remember(err)
	}
	if c.interrupted.Load() {
		return c.remember(net.ErrClosed)
	}
	m, err := rest.WriteTo(c.conn)
	switch {
	case c.interrupted.Load():
		return c.remember(net.ErrClosed)
	case err == nil:
		if c.raw != nil { // which has no deadline otherwise
			err = c.conn.SetWriteDeadline(time.Time{})
		}
		return c.remember(err)
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return c.remember(err)
	case n > 0 || m > 0 || c.raw == nil:
		// Closing the connection then drops what the kernel still holds and resets it. Without that
		// the kernel would repeat it for minutes, less and less often, and a client that reads
		// again would learn of the end only with the next attempt.
		c.resetOnClose()
		_ = c.remember(err)
		return ErrTimeout
	}
	_ = c.conn.SetWriteDeadline(time.Time{})
	return ErrTimeout
}

// remember stores an error after which nothing can be written, and returns it.
func (c *Conn) remember(err error) error {
	if err != nil && !errors.Is(err, ErrTimeout) && c.last == nil {
		c.last = err
	}
	return err
}

func (c *Conn) resetOnClose() {
	if tcp, ok := c.transport().(interface{ SetLinger(seconds int) error }); ok {
		_ = tcp.SetLinger(0) // without it, the client learns of the end later
	}
}

// transport returns the connection below TLS, if there is TLS.
func (c *Conn) transport() net.Conn {
	if secure, ok := c.conn.(interface{ NetConn() net.Conn }); ok {
		return secure.NetConn()
	}
	return c.conn
}

// Read reads within the timeout.
func (c *Conn) Read(p []byte) (int, error) {
	if len(c.early) > 0 {
		n := copy(p, c.early)
		if c.early = c.early[n:]; len(c.early) == 0 {
			c.early = nil
		}
		return n, nil
	}
	if err := c.setReadDeadline(); err != nil {
		return 0, err
	}
	return c.conn.Read(p)
}

func (c *Conn) setReadDeadline() error {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	switch {
	case !c.readEnd.IsZero():
		return c.conn.SetReadDeadline(c.readEnd)
	case c.readTimeout > 0:
		return c.conn.SetReadDeadline(time.Now().Add(c.readTimeout))
	}
	return nil
}

// Hurry prepares for the end of the connection. From now on, all reads together must finish within
// the timeout, and so must each write.
func (c *Conn) Hurry(timeout time.Duration) {
	until := time.Now().Add(timeout)
	c.endReading(until)
	c.writeMu.Lock()
	defer c.writeMu.Unlock()
	c.writeTimeout, c.until = min(c.writeTimeout, timeout), until
}

func (c *Conn) endReading(at time.Time) {
	c.readMu.Lock()
	defer c.readMu.Unlock()
	if c.readEnd.IsZero() || at.Before(c.readEnd) {
		c.readEnd = at
		_ = c.conn.SetReadDeadline(at) // a connection that is closed has no reader
	}
}

// Interrupt makes reads and writes in progress fail, and all later reads. The connection stays
// open.
func (c *Conn) Interrupt() {
	c.interrupted.Store(true)
	past := time.Unix(1, 0)
	c.endReading(past)
	_ = c.conn.SetWriteDeadline(past) // likewise
}

// Cut closes the connection at once. Over TLS it does not say goodbye, which would take five
// seconds with a client that does not read.
func (c *Conn) Cut() {
	c.resetOnClose()
	_ = c.transport().Close() // whoever uses it meets the error
}

// HangUp closes the connection so that the client gets what was written: it says that nothing
// follows, and reads until the client has closed its side too, or the timeout given to Hurry is
// over. A connection that is closed while something is unread resets, and what is on its way to the
// client is lost.
func (c *Conn) HangUp() {
	c.writeMu.Lock()
	whole, until := c.last == nil || errors.Is(c.last, net.ErrClosed), c.until
	c.writeMu.Unlock()
	half, ok := c.conn.(interface{ CloseWrite() error })
	if whole && ok && half.CloseWrite() == nil {
		_ = c.conn.SetReadDeadline(until)
		buffer := make([]byte, 512)
		for {
			if _, err := c.conn.Read(buffer); err != nil {
				break
			}
		}
	}
	_ = c.conn.Close()
}

// Close closes the connection.
func (c *Conn) Close() { _ = c.conn.Close() }

// LocalAddr and RemoteAddr are those of the connection.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the address of the client.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }
