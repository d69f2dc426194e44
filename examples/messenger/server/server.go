// Package server is the messenger: an HTTP service in which people who have logged in post messages
// to chats, and watch chats over WebSockets. It shows what a service needs that strangers can
// reach.
package server

import (
	"cmp"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"log"
	"net"
	"net/http"
	"slices"
	"strings"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/limit"
	"github.com/fbd86cad/broadcast/examples/internal/names"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

const replay = 50 // messages that a newcomer begins with

// A Server is the messenger: an [http.Handler] around one broker. [Server.Serve] runs it on a
// listener and ends it in order. All methods are safe for concurrent use.
type Server struct {
	http.Handler // may be wrapped before Serve

	cfg     Config
	key     token.Key // the Secret or the Key, or one that nobody knows
	broker  *broadcast.Broker[*note]
	sockets *broadcastws.Server[*note]
	policy  string // the Content-Security-Policy of the page

	kept    *lru.Cache[*note, struct{}]  // the newest of all chats, by when they came
	used    *lru.Cache[string, struct{}] // the chats, by when they were last used
	clients *limit.Limits                // by address
	posters *limit.Limits                // by name
	sending singleflight.Group           // of posts, by name and key
	sent    *lru.Cache[string, struct{}] // the posts that were accepted, by name and key
	log     httpjson.Log
}

// New returns a Server that is ready to serve, or an error that says what is wrong with cfg.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{
		cfg:     cfg,
		key:     cmp.Or(cfg.Secret, cfg.Key, token.Key(rand.Text())),
		log:     httpjson.Log{Logger: cfg.Log},
		clients: limit.New(cfg.HandshakeRate, cfg.Burst, cfg.Connections),
		posters: limit.New(cfg.PostRate, cfg.Burst, cfg.Burst),
	}
	if cfg.Secret == "" && len(cfg.Hosts) == 0 {
		s.cfg.Hosts = broadcastws.LocalHosts(&net.TCPAddr{IP: net.IPv6loopback})
	}
	var err error
	s.cfg.Operators = slices.Clone(cfg.Operators)
	for i, name := range cfg.Operators { // as they log in
		if s.cfg.Operators[i], err = names.Clean("operator", name); err != nil {
			return nil, err
		}
	}
	s.kept, _ = lru.NewWithEvict(cfg.HistoryBytes/maxNote, func(n *note, _ struct{}) { n.Store(nil) })
	s.used, _ = lru.New[string, struct{}](max(1, 2*cfg.MaxChats)) // fails only for a size below 1
	s.sent, _ = lru.New[string, struct{}](10_000)
	s.broker, err = broadcast.New[*note](append([]broadcast.Option{
		broadcast.WithBuffer(cfg.Buffer),
		broadcast.WithSampling(broadcast.Disconnect), // instead of gaps: clients resume
		broadcast.WithHistory(cfg.History, cfg.HistoryAge),
		broadcast.WithMaxChats(cfg.MaxChats),
		broadcast.WithLeaveGrace(cfg.LeaveGrace),
		broadcast.WithLogger(cfg.Log),
		broadcast.WithCodec(marshal, s.unmarshal),
	}, cfg.Options...)...)
	if err != nil {
		return nil, err
	}
	s.sockets, err = broadcastws.New(s.broker, broadcastws.Options[*note]{
		Admit: s.admit, Encode: encode, Event: broadcastws.AppendEventWithDevices, Replay: replay,
		Subprotocols: []string{appName}, Origins: cfg.Nodes,
		Ping: cfg.Ping, WriteTimeout: cfg.WriteTimeout, Logger: cfg.Log,
	})
	if err != nil {
		return nil, errors.Join(err, s.broker.Close())
	}
	s.policy = policy
	protection := http.NewCrossOriginProtection()
	for _, node := range cfg.Nodes {
		_ = protection.AddTrustedOrigin(node) // broadcastws.New has checked it
		s.policy += " " + node + " " + strings.Replace(node, "http", "ws", 1)
	}
	s.Handler = s.log.Handler(broadcastws.OnlyHosts(s.cfg.Hosts, protection.Handler(s.routes())))
	return s, nil
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /login", s.whoAmI)
	mux.Handle("POST /login", httpjson.Handler(s.login))
	mux.HandleFunc("POST /logout", s.logout)
	mux.Handle("POST /chats/{chat}/messages", httpjson.Handler(s.post))
	mux.Handle("GET /chats/{chat}/socket", s.sockets)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {}) // the process is alive
	mux.Handle("GET /readyz", httpjson.Handler(func(_ http.ResponseWriter, r *http.Request) error {
		if e := s.broker.Engine(); !e.Up && !e.Since.IsZero() {
			return broadcast.ErrAway
		}
		_, _, err := s.broker.Last(r.Context(), "any chat")
		if errors.Is(err, broadcast.ErrLimit) {
			return nil // with an engine, Last makes a chat: a full node still serves those it has
		}
		return err // once the shutdown has begun
	}))
	if len(s.cfg.Operators) > 0 {
		mux.Handle("GET /debug/broadcast", httpjson.Handler(s.debug))
	}
	return mux
}

// pageHTML is the whole client: markup, style and script in one file, which loads nothing else.
//
//go:embed page.html
var pageHTML string

// policy lets the browser run only the script and the style that have the number of an answer: text
// that got into the page as markup would have no effect. The origins of nodes follow at its end.
const policy = "default-src 'none'; script-src 'nonce-NONCE'; style-src 'nonce-NONCE'; img-src data:; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'"

func (s *Server) page(w http.ResponseWriter, _ *http.Request) {
	numbered := strings.NewReplacer("NONCE", rand.Text())
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", numbered.Replace(s.policy))
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	_, _ = numbered.WriteString(w, pageHTML) // fails only when the client has gone
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
		server.ConnState = s.clients.ConnState(func() { s.log.Refused("too many connections") })
	}
	return broadcastws.ServeUntil(ctx, server, ln, s.cfg.DrainTimeout, s.broker.Shutdown, s.sockets.Drain)
}
