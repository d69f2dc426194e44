package main

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
)

// Server is the messenger: an [http.Handler] around one broker. Make it with [NewServer]; [Server.Serve] runs it on a listener
// and shuts it down in order. To mount it in a server of your own, call [Server.Shutdown] before that of the
// http.Server, which neither knows nor waits for WebSockets.
type Server struct {
	cfg      Config
	log      *slog.Logger
	broker   *broadcast.Broker[message]
	origins  *http.CrossOriginProtection
	identity identityFunc
	handler  http.Handler

	mu       sync.Mutex
	draining bool                       // set once, by Shutdown; no socket enters afterwards
	conns    map[*deadlineConn]struct{} // of the open sockets, to cut them when time is over
	sockets  sync.WaitGroup             // the handlers of open sockets; grows only while draining is false
}

// NewServer returns a Server that is ready to serve, or an error that lists what the library found wrong with cfg.
func NewServer(cfg Config) (*Server, error) {
	broker, err := broadcast.New[message](cfg.brokerOptions()...)
	if err != nil {
		return nil, err
	}
	s := &Server{
		cfg:      cfg,
		log:      cfg.Log,
		broker:   broker,
		origins:  http.NewCrossOriginProtection(),
		identity: identity,
		conns:    make(map[*deadlineConn]struct{}),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.handler = s.routes()
	return s, nil
}

// ServeHTTP answers one request; that of a WebSocket takes as long as the socket is open.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.handler.ServeHTTP(w, r)
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/message", only(s.post, http.MethodPost))
	mux.Handle("/ws", only(s.watch, http.MethodGet))
	mux.Handle("/devices", only(s.devices, http.MethodGet, http.MethodHead))
	mux.Handle("/stats", only(s.stats, http.MethodGet, http.MethodHead))
	mux.Handle("/healthz", only(s.health, http.MethodGet, http.MethodHead))
	mux.Handle("/{$}", only(servePage, http.MethodGet, http.MethodHead))
	mux.Handle("/", answering(func(http.ResponseWriter, *http.Request) error {
		return refuse(http.StatusNotFound, "", "no such page")
	}))
	s.origins.SetDenyHandler(answering(func(http.ResponseWriter, *http.Request) error {
		return errForeign
	}))
	return s.origins.Handler(mux)
}

// Serve answers requests on ln until ctx ends. Then it shuts down: what it was asked before gets its answer, what was accepted is
// delivered, all sockets are closed, and nil is returned; or an error, if that took longer than the DrainTimeout. Serve closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		ReadTimeout:       s.cfg.BodyTimeout, // for the body of a request that is refused, too
		WriteTimeout:      s.cfg.answerTimeout(),
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	select {
	case err := <-served:
		return errors.Join(err, s.Close())
	case <-ctx.Done():
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.cfg.DrainTimeout)
	defer cancel()
	// The listener stays open meanwhile, so that whoever comes now is told to come back, not turned away without a word.
	err := s.Shutdown(ctx)
	closeHTTP(server)
	<-served
	return err
}

// closeHTTP ends a server whose requests are all refused by now, which takes each a moment. What is left after that are connections
// without a request: browsers open some in advance, and http.Server.Shutdown would wait five seconds for each.
func closeHTTP(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close() // only repeats what the closed listener says
	}
}

// Shutdown refuses new messages and new sockets from its first moment, delivers what was accepted, closes each socket with
// 1001 when it has got everything, and returns nil when the last one is closed. If ctx ends first it cuts those that are left
// and returns ctx.Err(). It returns only when no handler of a socket is running.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()

	err := s.broker.Shutdown(ctx)
	closed := make(chan struct{})
	go func() {
		s.sockets.Wait()
		close(closed)
	}()
	select {
	case <-closed:
		return err
	case <-ctx.Done():
		s.cut()
		<-closed
		return ctx.Err()
	}
}

// Close ends everything now: it is Shutdown without the time to deliver anything.
func (s *Server) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// enter counts one more socket, unless the server is shutting down: then it returns false.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	s.sockets.Add(1)
	return true
}

// leave counts one socket less, for which enter returned true.
func (s *Server) leave() {
	s.sockets.Done()
}

// remember makes conn one of those that cut closes, until the function that it returns is called.
func (s *Server) remember(conn *deadlineConn) (forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[conn] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, conn)
	}
}

// cut closes the connections of all sockets without a word.
func (s *Server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close() // its handler meets the error
	}
}

func (s *Server) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.draining
}
