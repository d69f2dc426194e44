// Package server is the messenger: an HTTP service in which people who have logged in post messages
// to chats, and watch chats over WebSockets. It shows what a service needs that strangers can
// reach.
package server

import (
	"context"
	"crypto/rand"
	"errors"
	"log"
	"net"
	"net/http"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastdebug"
	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/limit"
	"github.com/fbd86cad/broadcast/examples/internal/names"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

// A Server is the messenger: an [http.Handler] around one broker. [Server.Serve] runs it on a
// listener and ends it in order. All methods are safe for concurrent use.
type Server struct {
	http.Handler

	cfg     Config
	key     token.Key // the Secret, or one that nobody knows
	broker  *broadcast.Broker[*note]
	sockets *broadcastws.Server[*note]

	operators []string // as they log in

	shelf   shelf
	used    *lru.Cache[string, struct{}] // the chats, by when they were last used
	clients *limit.Limits                // by address
	posters *limit.Limits                // by name
	sent    *lru.Cache[string, bool]     // by name and key, whether it was accepted
	log     httpjson.Log
}

// New returns a Server that is ready to serve, or an error that says what is wrong with cfg.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		key:     cfg.Secret,
		log:     httpjson.Log{Logger: cfg.Log},
		shelf:   shelf{limit: cfg.HistoryBytes, age: cfg.HistoryAge},
		clients: limit.New(cfg.HandshakeRate, cfg.Burst, cfg.Connections),
		posters: limit.New(cfg.PostRate, cfg.Burst, cfg.Burst),
	}
	if cfg.Secret == "" {
		s.key = token.Key(rand.Text())
		if cfg.Hosts == nil {
			s.cfg.Hosts = broadcastws.LocalHosts(&net.TCPAddr{IP: net.IPv6loopback})
		}
	}
	for _, name := range cfg.Operators {
		name, err := names.Clean("operator", name)
		if err != nil {
			return nil, err
		}
		s.operators = append(s.operators, name)
	}
	s.used, _ = lru.New[string, struct{}](max(1, 2*cfg.MaxChats)) // fails only for a size below 1
	s.sent, _ = lru.New[string, bool](10_000)
	var err error
	s.broker, err = broadcast.New[*note](append([]broadcast.Option{
		broadcast.WithBuffer(cfg.Buffer),
		broadcast.WithSampling(broadcast.Disconnect), // instead of gaps: clients resume
		broadcast.WithHistory(cfg.History, cfg.HistoryAge),
		broadcast.WithMaxChats(cfg.MaxChats),
		broadcast.WithLeaveGrace(cfg.LeaveGrace),
		broadcast.WithLogger(cfg.Log),
	}, cfg.Broker...)...)
	if err != nil {
		return nil, err
	}
	s.sockets, err = broadcastws.New(s.broker, broadcastws.Options[*note]{
		Admit: s.admit, Encode: encode, Event: broadcastws.AppendEventWithDevices, Replay: replay,
		Subprotocols: []string{appName},
		Ping:         cfg.Ping, WriteTimeout: cfg.WriteTimeout, Logger: cfg.Log,
	})
	if err != nil {
		return nil, errors.Join(err, s.broker.Close())
	}
	s.Handler = s.log.Handler(broadcastws.OnlyHosts(s.cfg.Hosts, http.NewCrossOriginProtection().Handler(s.routes())))
	return s, nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range map[string]httpjson.Handler{
		"GET /{$}":                    s.page,
		"GET /login":                  s.whoAmI,
		"POST /login":                 s.login,
		"POST /logout":                s.logout,
		"POST /chats/{chat}/messages": s.post,
		"GET /stats":                  s.stats,
		"GET /readyz":                 s.ready,
	} {
		mux.Handle(pattern, handler)
	}
	mux.Handle("GET /chats/{chat}/socket", s.sockets)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {}) // the process is alive
	if len(s.operators) > 0 {
		page := broadcastdebug.Handler(s.broker, s.sockets)
		mux.Handle("GET /debug/broadcast", s.forOperators(page))
	}
	return mux
}

// ready answers GET /readyz with 503 once the shutdown has begun.
func (s *Server) ready(_ http.ResponseWriter, r *http.Request) error {
	_, _, err := s.broker.Last(r.Context(), "any chat")
	if errors.Is(err, broadcast.ErrClosed) {
		return errStopping
	}
	return err
}

// stats answers GET /stats, for those who have logged in, with the counts of the broker.
func (s *Server) stats(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.who(r); err != nil {
		return err
	}
	httpjson.Write(w, http.StatusOK, s.broker.Stats())
	return nil
}

// Close ends the server at once. After Serve it does nothing.
func (s *Server) Close() error { return s.broker.Close() }

// Serve serves on ln until ctx ends or the listener fails. Then it refuses posts, delivers what was
// accepted, and answers each request; it returns an error if that took the DrainTimeout.
func (s *Server) Serve(ctx context.Context, ln net.Listener) error {
	server := &http.Server{
		Handler: s, ErrorLog: log.New(&s.log, "", 0),
		ReadTimeout: s.cfg.BodyTimeout, WriteTimeout: 2 * s.cfg.BodyTimeout, MaxHeaderBytes: 16 << 10,
	}
	if !s.cfg.Proxy { // whose connections carry all clients
		server.ConnState = func(conn net.Conn, state http.ConnState) {
			s.clients.Count(conn, state, func() { s.log.Refused("too many connections") })
		}
	}
	return broadcastws.ServeUntil(ctx, server, ln, s.cfg.DrainTimeout, s.broker.Shutdown, s.sockets.Drain)
}
