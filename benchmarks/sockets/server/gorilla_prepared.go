package main

import (
	"bufio"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// maxFlush is how many frames are written at once: a burst.
const maxFlush = 64

type prepared = *websocket.PreparedMessage

// gorillaPrepared is the best that can be made of gorilla without changing the hub: a message is
// framed once for all clients, and all frames that wait for a client are one write. The library
// writes each prepared frame by itself, so the connection under it collects them.
func gorillaPrepared() (http.Handler, func(int64) error, error) {
	h := newHub[prepared]()
	watch := gorillaCollected(h, func(ws *websocket.Conn, first prepared, more <-chan prepared) error {
		if err := ws.WritePreparedMessage(first); err != nil {
			return err
		}
		for range min(len(more), maxFlush-1) {
			if err := ws.WritePreparedMessage(<-more); err != nil {
				return err
			}
		}
		return nil
	})
	publish := func(number int64) error {
		frame, err := websocket.NewPreparedMessage(websocket.TextMessage, message(number))
		if err == nil {
			h.posts <- frame
		}
		return err
	}
	return watch, publish, nil
}

// gorillaBatches also changes the hub: it takes all messages that wait for it, and a client's
// channel holds such batches, which costs one operation on it for many messages.
func gorillaBatches() (http.Handler, func(int64) error, error) {
	h := newHub[[]prepared]()
	posts := make(chan prepared, outbox)
	go func() {
		for first := range posts {
			batch := []prepared{first}
			for range min(len(posts), maxFlush-1) {
				batch = append(batch, <-posts)
			}
			h.posts <- batch
		}
	}()
	write := func(ws *websocket.Conn, first []prepared, more <-chan []prepared) error {
		for batch, n := first, 0; ; batch = <-more {
			for _, frame := range batch {
				if err := ws.WritePreparedMessage(frame); err != nil {
					return err
				}
			}
			if n += len(batch); n >= maxFlush || len(more) == 0 {
				return nil
			}
		}
	}
	publish := func(number int64) error {
		frame, err := websocket.NewPreparedMessage(websocket.TextMessage, message(number))
		if err == nil {
			posts <- frame
		}
		return err
	}
	return gorillaCollected(h, write), publish, nil
}

// gorillaCollected is a server whose connections collect what write writes.
func gorillaCollected[T any](
	h *hub[T], write func(ws *websocket.Conn, first T, more <-chan T) error,
) http.Handler {
	upgrader := websocket.Upgrader{
		ReadBufferSize: 256, WriteBufferSize: 256, WriteBufferPool: new(sync.Pool),
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hijacker := &collectingHijacker{ResponseWriter: w}
		ws, err := upgrader.Upgrade(hijacker, r, nil)
		if err != nil {
			return // Upgrade has answered
		}
		conn := hijacker.conn
		outbox := h.enter()
		go func() {
			gorillaRead(ws)
			h.leave <- outbox
		}()
		go gorillaWrite(ws, outbox, func(first T) error {
			conn.collect()
			if err := write(ws, first, outbox); err != nil {
				return err
			}
			return conn.flush()
		})
	})
}

// collectingHijacker hands over a connection that can collect writes.
type collectingHijacker struct {
	http.ResponseWriter
	conn *collectingConn
}

// Hijack implements [http.Hijacker].
func (h *collectingHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &collectingConn{Conn: conn}
	rw.Writer.Reset(h.conn)
	return h.conn, rw, nil
}

// collectingConn is a connection on which the writes between collect and flush become one. The
// writer of the socket calls both; its reader may write a pong meanwhile, which is collected, too.
type collectingConn struct {
	net.Conn

	mu     sync.Mutex
	frames *[]byte // nil: nothing is being collected
}

// collected holds buffers, so that a quiet connection has none.
var collected = sync.Pool{New: func() any { return new([]byte) }}

func (c *collectingConn) collect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.frames = collected.Get().(*[]byte)
}

// flush writes what was collected.
func (c *collectingConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	frames := c.frames
	c.frames = nil
	if err := c.Conn.SetWriteDeadline(time.Now().Add(writeWait)); err != nil {
		return err
	}
	_, err := c.Conn.Write(*frames)
	*frames = (*frames)[:0]
	collected.Put(frames)
	return err
}

// Write implements [net.Conn].
func (c *collectingConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frames != nil {
		*c.frames = append(*c.frames, p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// SetWriteDeadline implements [net.Conn]. The library sets the deadline before each frame; that of
// frames that are collected is set once, with the write.
func (c *collectingConn) SetWriteDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.frames != nil {
		return nil
	}
	return c.Conn.SetWriteDeadline(t)
}
