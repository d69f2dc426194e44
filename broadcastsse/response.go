package broadcastsse

import (
	"context"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// serve answers a request that was checked with a stream, and returns the reason of its end.
func (s *Server[T]) serve(
	w http.ResponseWriter, r *http.Request, sub *broadcast.Subscriber[T], wish stream.Wish,
) error {
	s.header(w, r)
	if s.options.Hijack && r.ProtoMajor == 1 && canHijack(w) {
		return s.serveHijacked(w, r, sub, wish)
	}
	if r.ProtoMajor == 1 {
		// Without chunks, and closed at the end, a batch is one write instead of three.
		w.Header().Set("Transfer-Encoding", "identity")
	}
	sink := &response{
		w: w, control: http.NewResponseController(w), timeout: s.options.WriteTimeout,
	}
	out := s.core.NewOutlet(r, sub, wish, sink, false)
	defer out.Close()
	s.core.Add(out)
	defer s.core.Remove(out)
	defer sink.finish()
	left := context.AfterFunc(r.Context(), func() { out.End(stream.ErrLeft) })
	defer left()
	return s.run(out)
}

// run delivers until the end, and tells the client why it ends.
func (s *Server[T]) run(out *stream.Outlet[T]) (reason error) {
	reason = stream.ErrLeft // in case a function of the options ends the goroutine
	defer func() { s.core.TellClosed(out.About(), reason) }()
	s.core.TellOpened(out.About())
	reason = out.Run()
	if !errors.Is(reason, stream.ErrLeft) && !errors.Is(reason, stream.ErrTimeout) {
		code, text := s.core.CloseCodeOf(reason, out.About())
		_ = out.SendEnded(code, text, reason) // the client may as well have gone
	}
	return reason
}

// A response is the sink of a stream that net/http writes. Each write has its own deadline, because
// the WriteTimeout of the http.Server would end the stream.
type response struct {
	w       http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration

	mu   sync.Mutex
	over bool // nothing is written any more: the stream was cut, or its handler has returned
}

// Send writes a batch.
func (r *response) Send(b *stream.Batch) error {
	defer b.Release()
	if err := r.extend(); err != nil {
		return err
	}
	_, err := r.w.Write(b.Buf)
	if err == nil {
		err = r.control.Flush()
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && !r.isOver() {
		return stream.ErrTimeout
	}
	r.relax()
	return err
}

// isOver reports whether the stream was cut, which a write cannot tell from its deadline.
func (r *response) isOver() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.over
}

// extend sets the deadline of the next write.
func (r *response) extend() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return errors.New("the stream was cut")
	}
	return r.control.SetWriteDeadline(time.Now().Add(r.timeout))
}

// relax removes the deadline of a finished write. Over HTTP/2 the deadline would end an idle
// stream.
func (r *response) relax() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		_ = r.control.SetWriteDeadline(time.Time{}) // where it fails, so does the next write
	}
}

// Cut implements [stream.Cutter].
func (r *response) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.over = true
		_ = r.control.SetWriteDeadline(time.Unix(1, 0)) // who writes meets the error
	}
}

// finish says that the handler returns, after which its ResponseWriter must not be used.
func (r *response) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over = true
}

// canStream reports whether a response can be flushed and has deadlines.
func canStream(w http.ResponseWriter) bool {
	flush := has(w, func(w any) bool {
		_, ok := w.(interface{ FlushError() error })
		if !ok {
			_, ok = w.(http.Flusher)
		}
		return ok
	})
	return flush && has(w, func(w any) bool {
		_, ok := w.(interface{ SetWriteDeadline(time.Time) error })
		return ok
	})
}

// canHijack reports whether a connection can be taken over.
func canHijack(w http.ResponseWriter) bool {
	return has(w, func(w any) bool {
		_, ok := w.(http.Hijacker)
		return ok
	})
}

// has reports whether a ResponseWriter, or one that it wraps, has a method. It finds those that
// [http.ResponseController] finds.
func has(w http.ResponseWriter, method func(any) bool) bool {
	for !method(w) {
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
	return true
}
