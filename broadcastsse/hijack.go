package broadcastsse

import (
	"bytes"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// closeTimeout is how long a hijacked stream that has ended waits until the client has closed its
// side.
const closeTimeout = time.Second

// serveHijacked is serve on a hijacked connection.
func (s *Server[T]) serveHijacked(
	w http.ResponseWriter, r *http.Request, sub *broadcast.Subscriber[T], wish stream.Wish,
) error {
	head := headOf(w.Header())
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = sub.Close() // never fails
		s.core.Refuse(w, r, err)
		return err
	}
	_ = buffered // what a client sends behind its request concerns nobody
	o := &s.options
	c := stream.NewConn(conn, nil, 0, o.WriteTimeout, o.SendBuffer, s.core.ShortOf(r))
	out := s.core.NewOutlet(r, sub, wish, c, false)
	defer out.Close()
	s.core.Add(out)
	defer s.core.Remove(out)
	var writer sync.WaitGroup
	var reason error
	writer.Go(func() {
		defer c.Interrupt() // the reader
		reason = stream.ErrLeft
		if _, err := c.Write(head); err == nil {
			reason = s.run(out)
		}
		c.Hurry(closeTimeout)
	})
	awaitEnd(c)
	out.End(stream.ErrLeft)
	writer.Wait()
	if errors.Is(reason, stream.ErrLeft) {
		c.Close()
	} else {
		c.HangUp()
	}
	return reason
}

// awaitEnd reads until the client leaves, or the stream has ended. [io.Discard] would wait with a
// buffer of 8 KB.
func awaitEnd(c *stream.Conn) {
	var buffer [64]byte
	for {
		if _, err := c.Read(buffer[:]); err != nil {
			return
		}
	}
}

// headOf returns the head of an answer that ends with its connection.
func headOf(h http.Header) []byte {
	var head bytes.Buffer
	head.WriteString("HTTP/1.1 200 OK\r\nConnection: close\r\n")
	_ = h.WriteSubset(&head, map[string]bool{"Connection": true}) // a buffer takes everything
	head.WriteString("\r\n")
	return head.Bytes()
}
