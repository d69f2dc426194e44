// Package server is the server of termchat: rooms over WebSockets, files over HTTP, around one broker.
//
// A room is a chat of the broker, somebody in it is a device of that chat, by name. What is said and what is uploaded is in the
// room's one log, so everybody sees it in the same order, and who comes back resumes where they were.
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
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// ServerHandle is a server that runs. [Start] makes it.
type ServerHandle struct {
	server *server
	ln     net.Listener

	stop func()        // begins to stop
	cut  func()        // ends the time that stopping may take
	done chan struct{} // closed when nothing of the server is left
	err  error         // how it ended; written before done is closed
}

// Start listens and serves until ctx ends or Stop is called. The error is what is wrong with cfg, the address or the directory;
// nothing is left running then.
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

// Stop refuses whatever comes from its first moment, gives uploads that are on their way a moment to end, delivers what was accepted,
// closes each connection with 1001 when it has got everything, and returns when nothing of the server is left. If ctx
// ends first it cuts what is left and returns ctx.Err(). It may be called any number of times, from anywhere.
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

// Wait returns when nothing of the server is left, and how it ended: nil if it was stopped, by Stop or by its context, and
// nobody had to be cut off.
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
	origins  *http.CrossOriginProtection
	identity identityFunc

	mu       sync.Mutex
	draining bool                    // set once; nobody enters afterwards
	conns    map[*wire.Conn]struct{} // of the open sockets, to cut them when time is over
	cuts     map[member]string       // why somebody was cut off who could not be told; see noteCut
	sockets  sync.WaitGroup          // the handlers of open sockets; grows only while draining is false
	files    sync.WaitGroup          // the handlers of uploads and downloads; grows only while draining is false

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
		origins:  http.NewCrossOriginProtection(),
		identity: cfg.identity,
		conns:    make(map[*wire.Conn]struct{}),
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

// close frees what newServer took.
func (s *server) close() error {
	s.abandon()
	return errors.Join(s.broker.Close(), s.store.close())
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/ws", only(s.join, http.MethodGet))
	mux.Handle("/files", only(s.upload, http.MethodPost))
	mux.Handle("/files/{id}", only(s.download, http.MethodGet, http.MethodHead))
	mux.Handle("/", only(func(http.ResponseWriter, *http.Request) error {
		return refuse(http.StatusNotFound, "no such page")
	}, http.MethodGet, http.MethodHead, http.MethodPost))
	s.origins.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		answerError(w, errForeign)
	}))
	return s.origins.Handler(mux)
}

// serve answers requests on ln until stopping ends. Then it drains, until cutting ends or the DrainTimeout is over.
func (s *server) serve(stopping, cutting context.Context, ln net.Listener) error {
	httpServer := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: s.cfg.HeaderTimeout,
		ReadTimeout:       s.cfg.HeaderTimeout + s.cfg.BodyIdle, // uploads move it on as they go
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	served := make(chan error, 1)
	go func() { served <- httpServer.Serve(ln) }()
	var failed error
	select {
	case failed = <-served:
	case <-stopping.Done():
	}
	ctx, cancel := context.WithTimeout(cutting, s.cfg.DrainTimeout)
	defer cancel()
	// The listener stays open meanwhile, so that whoever comes now is told to come back, not turned away without a word.
	drained := s.drain(ctx)
	s.closeHTTP(ctx, httpServer)
	if failed == nil {
		<-served // what it says is that it was closed
	}
	return errors.Join(failed, drained)
}

// drain refuses everything new, waits for files, then for the messages and the sockets.
func (s *server) drain(ctx context.Context) error {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()

	s.endTransfers(ctx) // before the broker: a file that is whole is still announced
	err := s.broker.Shutdown(ctx)
	closed := waited(&s.sockets)
	select {
	case <-closed:
		return err
	case <-ctx.Done():
		s.cut()
		<-closed
		return ctx.Err()
	}
}

// endTransfers gives uploads and downloads a moment and then ends them.
func (s *server) endTransfers(ctx context.Context) {
	ended := waited(&s.files)
	grace, cancel := context.WithTimeout(ctx, s.cfg.UploadGrace)
	defer cancel()
	select {
	case <-ended:
	case <-grace.Done():
		s.abandon()
		<-ended
	}
}

// waited returns a channel that is closed when nobody is left in a group that grows no more.
func waited(group *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		group.Wait()
		close(done)
	}()
	return done
}

// closeHTTP ends a server whose requests are all refused by now. What takes longer are downloads, which have as long as
// ctx, and connections without a request, for which http.Server.Shutdown would wait five seconds each.
func (s *server) closeHTTP(ctx context.Context, httpServer *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := httpServer.Shutdown(ctx); err != nil {
		_ = httpServer.Close() // only repeats what the closed listener says
	}
}

// enter counts one more in a group, unless the server is stopping: then it returns false.
func (s *server) enter(group *sync.WaitGroup) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining {
		return false
	}
	group.Add(1)
	return true
}

// remember makes conn one of those that cut closes, until the function that it returns is called.
func (s *server) remember(conn *wire.Conn) (forget func()) {
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
func (s *server) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		_ = conn.Close() // its handler meets the error
	}
}

// maxCuts is how many reasons are kept for those who could not be told.
const maxCuts = 1024

// noteCut keeps why somebody was cut off whose connection had no place for a closing frame. They are told when they come back.
func (s *server) noteCut(who member, reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.cuts) >= maxCuts {
		clear(s.cuts) // most of them will not come back
	}
	s.cuts[who] = reason
}

// takeCut returns what noteCut has kept, once.
func (s *server) takeCut(who member) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	reason := s.cuts[who]
	delete(s.cuts, who)
	return reason
}
