// Package server is the server of termchat: rooms over WebSockets, files over HTTP, around one
// broker.
//
// A room is a chat of the broker, and a person in it is a device of that chat, by name. Messages
// and uploads are in the room's one log, so everybody sees them in the same order, and those who
// come back resume where they were.
package server

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/limit"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// ServerHandle is a running server. [Start] makes it.
type ServerHandle struct {
	server *server
	ln     net.Listener

	stop func()        // begins to stop
	cut  func()        // ends the time that stopping may take
	done chan struct{} // closed when nothing of the server is left
	err  error         // how it ended; written before done is closed
}

// Start serves on ln until ctx ends or Stop is called, and closes ln. It returns an error, and
// leaves nothing running, if cfg or the directory is bad.
func Start(ctx context.Context, ln net.Listener, cfg Config) (*ServerHandle, error) {
	s, err := newServer(cfg)
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	stopping, stop := context.WithCancel(ctx)
	cutting, cut := context.WithCancel(context.Background())
	h := &ServerHandle{server: s, ln: ln, stop: stop, cut: cut, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		defer cut()
		defer stop()
		h.err = errors.Join(s.serve(stopping, cutting, ln), s.close())
	}()
	return h, nil
}

// Addr returns where the server listens.
func (h *ServerHandle) Addr() string { return h.ln.Addr().String() }

// Stop refuses new requests at once, gives transfers a moment to finish, delivers what was
// accepted, closes each connection with 1001 when it has received everything, and returns when
// nothing of the server is left. If ctx ends first, Stop cuts what is left and returns ctx.Err().
// It may be called any number of times, from any goroutine.
func (h *ServerHandle) Stop(ctx context.Context) error {
	h.stop()
	select {
	case <-h.done:
		return h.err
	case <-ctx.Done():
		h.cut()
		<-h.done
		return ctx.Err()
	}
}

// Wait returns when nothing of the server is left. It returns nil if the server was stopped, by
// Stop or by its context, and nobody had to be cut off.
func (h *ServerHandle) Wait() error {
	<-h.done
	return h.err
}

// server is the inside of a ServerHandle.
type server struct {
	cfg     Config
	broker  *broadcast.Broker[wire.Message]
	sockets *broadcastws.Server[wire.Message]
	store   *store
	clients *limit.Limits // transfers of an address
	log     httpjson.Log

	ended   atomic.Bool     // set when stopping begins, read by each request
	slots   chan struct{}   // holds an element for each transfer; stopping fills it
	giveUp  context.Context // ends when transfers have to
	abandon context.CancelFunc
}

func newServer(cfg Config) (*server, error) {
	s := &server{
		cfg:     cfg,
		log:     httpjson.Log{Logger: cfg.Log},
		clients: limit.New(100, 100, cfg.MaxPerAddress),
		slots:   make(chan struct{}, max(1, cfg.MaxTransfers)),
	}
	var err error
	if s.store, err = openStore(cfg); err != nil {
		return nil, err
	}
	if s.broker, err = broadcast.New[wire.Message](cfg.brokerOptions()...); err != nil {
		return nil, errors.Join(err, s.store.close())
	}
	s.sockets, err = broadcastws.New(s.broker, broadcastws.Options[wire.Message]{
		Admit: s.admit, Event: broadcastws.AppendEventWithDevices, Receive: s.receive, Replay: cfg.Replay,
		Ping: cfg.PingInterval, WriteTimeout: cfg.WriteTimeout, CloseTimeout: cfg.CloseTimeout,
		MaxFrame: wire.MaxFrame, SendBuffer: cfg.SendBuffer, Logger: cfg.Log,
	})
	if err != nil {
		return nil, errors.Join(err, s.broker.Close(), s.store.close())
	}
	s.giveUp, s.abandon = context.WithCancel(context.Background())
	return s, nil
}

// close releases what newServer acquired.
func (s *server) close() error {
	s.abandon()
	return errors.Join(s.broker.Close(), s.store.close())
}

func (s *server) handler(addr net.Addr) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /rooms/{room}/socket", s.sockets)
	mux.Handle("POST /rooms/{room}/files", lingering(httpjson.Handler(s.upload)))
	mux.Handle("GET /rooms/{room}/files/{id}", httpjson.Handler(s.download))
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("GET /readyz", httpjson.Handler(func(http.ResponseWriter, *http.Request) error { return s.refusing() }))
	h := http.NewCrossOriginProtection().Handler(mux)
	return s.log.Handler(broadcastws.OnlyHosts(broadcastws.LocalHosts(addr), h))
}

// serve answers requests on ln until stopping ends. Then it drains, until cutting ends or the
// DrainTimeout is over.
func (s *server) serve(stopping, cutting context.Context, ln net.Listener) error {
	httpServer := &http.Server{
		Handler:           s.handler(ln.Addr()),
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		ReadTimeout:       s.cfg.HeaderTimeout + s.cfg.BodyIdle, // uploads move it on as they go
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(&s.log, "", 0),
	}
	return broadcastws.ServeUntil(stopping, httpServer, ln, s.cfg.DrainTimeout, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(cutting, cancel)()
		s.ended.Store(true)
		s.endTransfers(ctx) // before the broker: a file that is whole is still announced
		return errors.Join(s.broker.Shutdown(ctx), s.sockets.Drain(ctx))
	})
}

// refusing returns why the server refuses everything new, or nil before stopping begins.
func (s *server) refusing() error {
	if s.ended.Load() {
		return errStopping
	}
	return nil
}

// endTransfers gives uploads and downloads a moment to finish, and then ends them. When it has
// returned, no further one begins.
func (s *server) endTransfers(ctx context.Context) {
	grace, cancel := context.WithTimeout(ctx, s.cfg.UploadGrace)
	defer cancel()
	defer context.AfterFunc(grace, s.abandon)()
	for range cap(s.slots) {
		s.slots <- struct{}{} // soon, because those who have one end with giveUp
	}
}
