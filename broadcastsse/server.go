package broadcastsse

import (
	"context"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// A Server is an [http.Handler] that answers each request with the deliveries of a subscription, as
// a stream of events. All methods are safe for concurrent use.
type Server[T any] struct {
	options Options[T]
	core    *stream.Core[T]
}

// New returns a Server. The error is a [broadcast.ErrInvalid] that lists every bad option. New
// starts no goroutine: a server without streams need not be drained.
func New[T any](b *broadcast.Broker[T], o Options[T]) (*Server[T], error) {
	o, problems := o.withDefaults()
	s := &Server[T]{options: o}
	config := o.config()
	config.Answer = s.askToReturn
	var err error
	if s.core, err = stream.New(b, config, problems); err != nil {
		return nil, err
	}
	return s, nil
}

// ServeHTTP subscribes for a request, delivers until the subscription or the stream ends, and
// returns.
//
// The subscription takes over from an older one of its device. So everything that can refuse the
// request is checked before it is made: first what Check checks, then Admit. It is made before the
// answer begins, so a client that has received the first event gets everything published from then
// on.
func (s *Server[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.Check(w, r) {
		return
	}
	wish := stream.WishOf(lastID(r))
	t, sub := s.core.Subscribe(w, r, wish)
	if sub != nil {
		defer s.core.Leave()
		defer s.core.End(t, stream.AboutOf(r))
		_ = s.serve(w, r, sub, wish) // the Observer knows
	}
}

// Check reports whether a request can become a stream, whoever sends it. If it returns false, it
// has answered the request: with 405 for a method other than GET, 421 for a foreign host, 403 for a
// foreign origin, 503 during and after Drain, 501 for a response that cannot be flushed or has no
// deadlines, and 204 for a browser whose last stream must not be resumed. An EventSource gets,
// instead of the 503, a stream that ends at once and tells it when to reconnect.
func (s *Server[T]) Check(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case !s.core.Check(w, r):
		return false
	case isTerminal(lastID(r)):
		s.header(w, r)
		w.WriteHeader(http.StatusNoContent)
		return false
	case !canStream(w):
		text := "this response cannot be streamed"
		s.core.Refuse(w, r, &stream.Refusal{Status: http.StatusNotImplemented, Text: text})
		return false
	}
	return true
}

// Serve is the second half of ServeHTTP, for a subscription that you have made after Check returned
// true. It blocks until the stream has ended, closes the subscription, and returns the reason,
// which is never nil. If it refuses the request, it answers it, closes the subscription, and
// returns the reason too. The ticket is not used.
func (s *Server[T]) Serve(
	w http.ResponseWriter, r *http.Request, _ Ticket, sub *broadcast.Subscriber[T],
) error {
	if err := s.core.EnterOrRefuse(w, r); err != nil {
		_ = sub.Close() // never fails
		return err
	}
	defer s.core.Leave()
	return s.serve(w, r, sub, stream.WishOf(lastID(r)))
}

// Drain stops the server and leaves the broker open. It refuses new streams, lets each stream
// deliver what its chat had accepted by the time of the call, ends it, and returns when the last
// one has ended. If ctx ends first, Drain closes the remaining connections at once, and returns
// ctx.Err() when they have ended. After [broadcast.Broker.Shutdown] it only waits.
func (s *Server[T]) Drain(ctx context.Context) error { return s.core.Drain(ctx) }

// Stats returns the counters of the server, which packages broadcastdebug, broadcastprom and
// broadcastotel present. It does not block.
func (s *Server[T]) Stats() Stats { return s.core.Stats() }

// lastID returns where a client wants to resume. A browser that reconnects repeats the query of its
// first request; what it has seen since is in the header.
func lastID(r *http.Request) string {
	if id := r.Header.Get("Last-Event-ID"); id != "" {
		return id
	}
	return r.URL.Query().Get("after")
}

// askToReturn answers an EventSource that is refused temporarily, and reports whether it did. An
// EventSource gives up after a status other than 200, so it gets a stream that ends at once and
// tells it when to reconnect. It is recognised by its Accept header.
func (s *Server[T]) askToReturn(
	w http.ResponseWriter, r *http.Request, refusal *stream.Refusal,
) bool {
	if refusal.RetryAfter <= 0 || r.Header.Get("Accept") != "text/event-stream" {
		return false
	}
	s.header(w, r)
	wait := max(refusal.RetryAfter, time.Second) // as Retry-After, which is in seconds
	text := framer{wait}.appendRetry(nil)
	text = appendLines(text, ": ", []byte(refusal.Error())) // a comment, for people
	_, _ = w.Write(append(text, '\n'))                      // the client may have gone
	return true
}

// header sets the header of a stream.
func (s *Server[T]) header(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no") // nginx would hold events back
	h.Set("X-Content-Type-Options", "nosniff")
	if origin := r.Header.Get("Origin"); s.core.Trusts(origin) {
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Credentials", "true")
		h.Add("Vary", "Origin")
	}
}
