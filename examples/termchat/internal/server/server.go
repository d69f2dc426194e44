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
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/drain"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/sameorigin"
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

// Start listens and serves until ctx ends or Stop is called. It returns an error, and leaves
// nothing running, if cfg, the address or the directory is bad.
func Start(ctx context.Context, cfg Config) (*ServerHandle, error) {
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, err
	}
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
	cfg      Config
	log      *slog.Logger
	broker   *broadcast.Broker[message]
	store    *store
	origins  sameorigin.Guard
	identity identityFunc

	files   drain.Gate  // the handlers of uploads and downloads; shut first
	sockets drain.Gate  // the handlers of open sockets
	conns   drain.Conns // of these, to cut them when time is over

	mu   sync.Mutex
	cuts map[member]string // why somebody was cut off who could not be told; see noteCut

	slots   chan struct{}   // one taken by each upload
	giveUp  context.Context // ends when uploads and downloads have to
	abandon context.CancelFunc
}

// member is somebody in a room.
type member struct{ room, name string }

func newServer(cfg Config) (*server, error) {
	s := &server{
		cfg:      cfg,
		log:      cfg.Log,
		origins:  sameorigin.New(),
		identity: cfg.identity,
		cuts:     make(map[member]string),
		slots:    make(chan struct{}, max(1, cfg.MaxUploads)),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.identity == nil {
		s.identity = identity
	}
	var err error
	if s.store, err = openStore(cfg); err != nil {
		return nil, err
	}
	if s.broker, err = broadcast.New[message](cfg.brokerOptions()...); err != nil {
		return nil, errors.Join(err, s.store.close())
	}
	s.giveUp, s.abandon = context.WithCancel(context.Background())
	return s, nil
}

// close releases what newServer acquired.
func (s *server) close() error {
	s.abandon()
	return errors.Join(s.broker.Close(), s.store.close())
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/ws", httpjson.Only(s.join, http.MethodGet))
	mux.Handle("/files", httpjson.Only(s.upload, http.MethodPost))
	mux.Handle("/files/{id}", httpjson.Only(s.download, http.MethodGet, http.MethodHead))
	mux.Handle("/", httpjson.Only(httpjson.Refuse(httpjson.Errorf(http.StatusNotFound, "no such page")),
		http.MethodGet, http.MethodHead, http.MethodPost))
	return s.origins.Handler(mux)
}

// serve answers requests on ln until stopping ends. Then it drains, until cutting ends or the
// DrainTimeout is over.
func (s *server) serve(stopping, cutting context.Context, ln net.Listener) error {
	httpServer := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		ReadTimeout:       s.cfg.HeaderTimeout + s.cfg.BodyIdle, // uploads move it on as they go
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	return drain.Serve(stopping, httpServer, ln, s.cfg.DrainTimeout, func(ctx context.Context) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(cutting, cancel)()
		return s.drain(ctx)
	})
}

// drain refuses everything new, waits for files, then for the messages and the sockets.
func (s *server) drain(ctx context.Context) error {
	transferred, closed := s.files.Shut(), s.sockets.Shut()
	s.endTransfers(ctx, transferred) // before the broker: a file that is whole is still announced
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

// endTransfers gives uploads and downloads a moment to finish, and then ends them.
func (s *server) endTransfers(ctx context.Context, ended <-chan struct{}) {
	grace, cancel := context.WithTimeout(ctx, s.cfg.UploadGrace)
	defer cancel()
	select {
	case <-ended:
	case <-grace.Done():
		s.abandon()
		<-ended
	}
}

// maxCuts is how many reasons are kept, at most, for those who could not be told.
const maxCuts = 1024

// noteCut keeps why somebody was cut off to whom no closing frame could be sent. They are told when
// they come back.
func (s *server) noteCut(who member, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cuts) >= maxCuts {
		clear(s.cuts) // most of them will not come back
	}
	s.cuts[who] = reason
}

// takeCut returns what noteCut has kept, and forgets it.
func (s *server) takeCut(who member) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := s.cuts[who]
	delete(s.cuts, who)
	return reason
}
