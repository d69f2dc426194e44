package main

import (
	"context"
	_ "embed"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/drain"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/page"
	"github.com/fbd86cad/broadcast/examples/internal/sameorigin"
)

// pageHTML is the whole client: markup, style and script in one file, which loads nothing else.
//
//go:embed page.html
var pageHTML string

// Server is the messenger: an [http.Handler] around one broker. Make it with [NewServer]; [Server.Serve] runs it on a listener
// and shuts it down in order. To mount it in a server of your own, call [Server.Shutdown] before that of the
// http.Server, which neither knows nor waits for WebSockets.
type Server struct {
	cfg      Config
	log      *slog.Logger
	broker   *broadcast.Broker[message]
	origins  sameorigin.Guard
	identity identityFunc
	handler  http.Handler

	sockets drain.Gate  // the handlers of open sockets; shut by Shutdown
	conns   drain.Conns // of these, to cut them when time is over
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
		origins:  sameorigin.New(),
		identity: identity,
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
	mux.Handle("/message", httpjson.Only(s.post, http.MethodPost))
	mux.Handle("/ws", httpjson.Only(s.watch, http.MethodGet))
	mux.Handle("/devices", httpjson.Only(s.devices, http.MethodGet, http.MethodHead))
	mux.Handle("/stats", httpjson.Only(s.stats, http.MethodGet, http.MethodHead))
	mux.Handle("/healthz", httpjson.Only(s.health, http.MethodGet, http.MethodHead))
	mux.Handle("/{$}", httpjson.Only(page.Handler(pageHTML), http.MethodGet, http.MethodHead))
	mux.Handle("/", httpjson.Refuse(httpjson.Errorf(http.StatusNotFound, "no such page")))
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
	return drain.Serve(ctx, server, ln, s.cfg.DrainTimeout, s.Shutdown)
}

// Shutdown refuses new messages and new sockets from its first moment, delivers what was accepted, closes each socket with
// 1001 when it has got everything, and returns nil when the last one is closed. If ctx ends first it cuts those that are left
// and returns ctx.Err(). It returns only when no handler of a socket is running.
func (s *Server) Shutdown(ctx context.Context) error {
	closed := s.sockets.Shut()
	err := s.broker.Shutdown(ctx)
	select {
	case <-closed:
		return err
	case <-ctx.Done():
		s.conns.Cut()
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
