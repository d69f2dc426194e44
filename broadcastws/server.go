package broadcastws

import (
	"context"
	"net/http"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/stream"
)

// A Server is an [http.Handler] that upgrades each request to a WebSocket and sends the deliveries
// of a subscription to it. All methods are safe for concurrent use.
type Server[T any] struct {
	options Options[T]
	core    *stream.Core[T]
}

// New returns a Server. The error is a [broadcast.ErrInvalid] that lists every bad option. New
// starts no goroutine: a server without sockets need not be drained.
func New[T any](b *broadcast.Broker[T], o Options[T]) (*Server[T], error) {
	o, problems := o.withDefaults()
	core, err := stream.New(b, o.config(), problems)
	if err != nil {
		return nil, err
	}
	return &Server[T]{o, core}, nil
}

// ServeHTTP subscribes for a request, answers the handshake, and returns. The socket delivers until
// it or the subscription ends; Drain waits for that.
//
// The subscription takes over from an older one of its device. So everything that can refuse the
// request is checked before it is made: first what Check checks, then Admit. It is made before the
// handshake is answered, so a client whose socket is open gets everything published from then on. A
// client that reconnects resumes with after=POSITION in its query.
func (s *Server[T]) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !s.Check(w, r) {
		return
	}
	wish := wishOf(r)
	t, sub := s.core.Subscribe(w, r, wish)
	if sub == nil {
		return
	}
	var k *socket[T]
	defer func() {
		if k == nil { // refused
			defer s.core.Leave()
			s.core.End(t, stream.AboutOf(r))
		}
	}()
	if k, _ = s.open(w, r, t, sub, wish); k == nil {
		return
	}
	// A goroutine of net/http that waited here would keep its stack and its buffers, which take as
	// much memory as the socket.
	go func() {
		defer s.core.Leave()
		defer func() { s.core.End(t, k.out.About()) }()
		_ = k.run() // the Observer knows
	}()
}

// Check reports whether a request can become a WebSocket, whoever sends it. If it returns false, it
// has answered the request: with 405 for a method other than GET, 421 for a foreign host, 403 for a
// foreign origin, 503 during and after Drain, 426 for a request that does not ask for a WebSocket,
// 400 for a malformed handshake, and 501 for a connection that cannot be taken over.
func (s *Server[T]) Check(w http.ResponseWriter, r *http.Request) bool {
	if !s.core.Check(w, r) {
		return false
	}
	if refusal := checkHandshake(w, r); refusal != nil {
		s.core.Refuse(w, r, refusal)
		return false
	}
	return true
}

// Serve is the second half of ServeHTTP, for a subscription that you have made after Check returned
// true. It blocks until the socket has ended, closes the subscription, and returns the reason,
// which is never nil. If it refuses the request, it answers it, closes the subscription, and
// returns the reason too. Such a socket takes twice the memory of one of ServeHTTP, because the
// handler's goroutine waits.
func (s *Server[T]) Serve(
	w http.ResponseWriter, r *http.Request, t Ticket, sub *broadcast.Subscriber[T],
) error {
	if err := s.core.EnterOrRefuse(w, r); err != nil {
		_ = sub.Close() // never fails
		return err
	}
	defer s.core.Leave()
	k, err := s.open(w, r, t, sub, wishOf(r))
	if err != nil {
		return err
	}
	return k.run()
}

// Drain stops the server and leaves the broker open. It refuses new sockets, lets each socket
// deliver what its chat had accepted by the time of the call, closes it with 1001, and returns when
// the last one is closed. If ctx ends first, Drain closes the remaining connections at once, and
// returns ctx.Err() when they have ended. After [broadcast.Broker.Shutdown] it only waits.
func (s *Server[T]) Drain(ctx context.Context) error { return s.core.Drain(ctx) }

// Stats returns the counters of the server, which packages broadcastdebug, broadcastprom and
// broadcastotel present. It does not block.
func (s *Server[T]) Stats() Stats { return s.core.Stats() }

// wishOf returns what the query asks for.
func wishOf(r *http.Request) stream.Wish { return stream.WishOf(r.URL.Query().Get("after")) }
