// Package messenger is one small messenger, JSON in by POST and out through WebSockets, with
// exchangeable insides: what hands a frame to the sockets is this library, or the hub of channels
// that WebSocket tutorials show, or a plain loop.
package messenger

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"sync"

	"github.com/coder/websocket"
)

// Room hands frames to the sockets of a chat.
type Room interface {
	// Join makes a place for a client. The function that it returns writes what is sent from now on
	// to the client's socket, until that is closed or the room is.
	Join(device string) (serve func(*websocket.Conn))

	// Send hands one frame to everybody.
	Send(frame []byte)

	// Close ends all that serve.
	Close()
}

// Post is what a client posts, and what the others get.
type Post struct {
	Text string `json:"text"`
	By   int    `json:"by"`
	Chat int    `json:"chat"`
}

// Server is a messenger with one room.
type Server struct {
	room Room
	http *http.Server
	addr string

	mu       sync.Mutex
	sockets  map[*websocket.Conn]bool
	handlers sync.WaitGroup
}

type connectionKey struct{}

// Start starts a messenger on a free port of the loopback interface.
func Start(room Room) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{room: room, addr: listener.Addr().String(), sockets: make(map[*websocket.Conn]bool)}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /message", s.post)
	mux.HandleFunc("GET /ws", s.watch)
	s.http = &http.Server{
		Handler: mux,
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			return context.WithValue(ctx, connectionKey{}, c)
		},
	}
	s.handlers.Go(func() { _ = s.http.Serve(listener) }) // until Close
	return s, nil
}

// Addr returns host and port.
func (s *Server) Addr() string { return s.addr }

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	var p Post
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&p); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	frame, err := json.Marshal(p) // once for all
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s.room.Send(frame)
	w.WriteHeader(http.StatusAccepted)
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	s.handlers.Add(1)
	defer s.handlers.Done()
	if r.URL.Query().Has("small") { // so that little is on the way when a client stops reading
		if c, ok := r.Context().Value(connectionKey{}).(*net.TCPConn); ok {
			_ = c.SetWriteBuffer(1)
		}
	}
	serve := s.room.Join(r.URL.Query().Get("device"))
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	s.mu.Lock()
	s.sockets[ws] = true
	s.mu.Unlock()
	closed := ws.CloseRead(context.Background())
	serve(ws)
	_ = ws.CloseNow()
	<-closed.Done()
}

// Close ends everything: the room, the sockets, also those whose clients do not read, and the
// handlers.
func (s *Server) Close() {
	s.room.Close()
	_ = s.http.Close()
	s.mu.Lock()
	for ws := range s.sockets {
		_ = ws.CloseNow()
	}
	s.mu.Unlock()
	s.handlers.Wait()
}
