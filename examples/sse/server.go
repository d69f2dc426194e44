package main

import (
	"context"
	_ "embed"
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

// Server is an [http.Handler] around one broker. Make it with [NewServer]; [Server.Serve] runs it on a listener and shuts it down in
// order. To mount it in a server of your own, call [Server.Shutdown] before that of the http.Server, which would wait for streams
// that do not end by themselves.
type Server struct {
	cfg     Config
	log     *slog.Logger
	broker  *broadcast.Broker[message]
	origins sameorigin.Guard
	handler http.Handler

	streams drain.Gate      // the handlers of open streams
	running context.Context // ends when streams have to end at once
	cut     context.CancelFunc
}

// NewServer returns a Server that is ready to serve, or an error that lists what is wrong with cfg.
func NewServer(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	broker, err := broadcast.New[message](cfg.brokerOptions()...)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Log, broker: broker, origins: sameorigin.New()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.running, s.cut = context.WithCancel(context.Background())

	mux := http.NewServeMux()
	mux.Handle("/events", httpjson.Only(s.events, http.MethodGet)) // no HEAD: its answer would never end
	mux.Handle("/message", httpjson.Only(s.post, http.MethodPost))
	mux.Handle("/healthz", httpjson.Only(s.health, http.MethodGet, http.MethodHead))
	mux.Handle("/{$}", httpjson.Only(page.Handler(pageHTML), http.MethodGet, http.MethodHead))
	mux.Handle("/", httpjson.Refuse(httpjson.Errorf(http.StatusNotFound, "no such page")))
	s.handler = s.origins.Handler(mux)
	return s, nil
}

// ServeHTTP answers one request; that for a stream takes as long as the stream.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// Serve answers requests on ln until ctx ends. Then it shuts down: see [Server.Shutdown], which gets the DrainTimeout. It returns nil if
// everything accepted was delivered. Serve closes ln.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		ReadTimeout:       s.cfg.BodyTimeout, // also for a body that nobody wants; it does not concern streams once they have begun
		WriteTimeout:      s.cfg.BodyTimeout + s.cfg.PublishTimeout + s.cfg.WriteTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		ConnContext:       s.limitSendBuffer,
	}
	return drain.Serve(ctx, server, ln, s.cfg.DrainTimeout, func(ctx context.Context) error {
		defer context.AfterFunc(ctx, func() { _ = server.Close() })() // frees streams that are stuck in a write
		return s.Shutdown(ctx)
	})
}

// limitSendBuffer keeps the kernel from growing the buffer of a connection to megabytes, in which thousands of messages would count as
// delivered before a client that does not read is seen to be slow.
func (s *Server) limitSendBuffer(ctx context.Context, conn net.Conn) context.Context {
	if tcp, ok := conn.(interface{ SetWriteBuffer(int) error }); ok {
		_ = tcp.SetWriteBuffer(s.cfg.SendBuffer) // without it, a slow client is noticed later
	}
	return ctx
}

// Shutdown refuses new messages and new streams from its first moment, lets every stream deliver what was accepted and tell its
// client goodbye, and returns nil when the last one has ended. If ctx ends first, the streams that are left end with the write that
// they are in, and it returns ctx.Err(). No stream's handler is running when it returns.
func (s *Server) Shutdown(ctx context.Context) error {
	ended := s.streams.Shut()
	err := s.broker.Shutdown(ctx)
	stop := context.AfterFunc(ctx, s.cut)
	<-ended
	if !stop() && err == nil {
		err = ctx.Err()
	}
	return err
}

// health answers GET /healthz: 503 once the server is shutting down, so that a load balancer sends clients elsewhere.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	if s.streams.IsShut() {
		return errDraining
	}
	httpjson.Write(w, http.StatusOK, map[string]string{"status": "ok"})
	return nil
}

// authorize returns why a request may not act for a device in a chat.
func (s *Server) authorize(r *http.Request, chat, device httpjson.ID) error {
	if s.cfg.Authorize == nil {
		return nil
	}
	if err := s.cfg.Authorize(r, chat, device); err != nil {
		s.log.Debug("not allowed", "chat", chat, "device", device, "err", err)
		return errForbidden
	}
	return nil
}
