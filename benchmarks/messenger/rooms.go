package messenger

import (
	"context"
	"sync"

	"github.com/coder/websocket"

	"github.com/fbd86cad/broadcast"
)

// outbox is how many frames may wait for a socket, in each of the rooms.
const outbox = 256

func send(ws *websocket.Conn, frame []byte) error {
	return ws.Write(context.Background(), websocket.MessageText, frame)
}

// broadcastRoom is this library.
type broadcastRoom struct{ broker *broadcast.Broker[[]byte] }

// NewBroadcast returns a room of this library.
func NewBroadcast() (Room, error) {
	broker, err := broadcast.New[[]byte](broadcast.WithBuffer(outbox))
	return broadcastRoom{broker}, err
}

func (r broadcastRoom) Join(device string) func(*websocket.Conn) {
	s, err := r.broker.Subscribe("chat", device)
	if err != nil {
		return func(*websocket.Conn) {} // closed
	}
	return func(ws *websocket.Conn) {
		defer s.Close()
		for frame := range s.Messages(context.Background()) {
			if send(ws, frame) != nil {
				return
			}
		}
	}
}

func (r broadcastRoom) Send(frame []byte) { _ = r.broker.Publish(context.Background(), "chat", frame) } // fails when closed
func (r broadcastRoom) Close()            { _ = r.broker.Close() }                                      // never fails

// hubRoom is the hub of WebSocket tutorials: a goroutine that owns the set of clients, and a
// channel for each. A client whose channel is full is cut off.
type hubRoom struct {
	join, leave chan *hubClient
	frames      chan []byte
	closing     chan struct{}
	closed      chan struct{}
}

type hubClient struct{ frames chan []byte }

// NewHub returns a room that is such a hub.
func NewHub() Room {
	h := &hubRoom{make(chan *hubClient), make(chan *hubClient), make(chan []byte), make(chan struct{}), make(chan struct{})}
	go h.run()
	return h
}

func (h *hubRoom) run() {
	defer close(h.closed)
	clients := make(map[*hubClient]bool)
	cut := func(c *hubClient) {
		if clients[c] {
			delete(clients, c)
			close(c.frames)
		}
	}
	for {
		select {
		case c := <-h.join:
			clients[c] = true
		case c := <-h.leave:
			cut(c)
		case frame := <-h.frames:
			for c := range clients {
				select {
				case c.frames <- frame:
				default:
					cut(c)
				}
			}
		case <-h.closing:
			for c := range clients {
				cut(c)
			}
			return
		}
	}
}

// tell gives one of the channels something, unless the hub is closed.
func tell[T any](h *hubRoom, c chan<- T, v T) bool {
	select {
	case c <- v:
		return true
	case <-h.closed:
		return false
	}
}

func (h *hubRoom) Join(string) func(*websocket.Conn) {
	c := &hubClient{make(chan []byte, outbox)}
	if !tell(h, h.join, c) {
		return func(*websocket.Conn) {}
	}
	return func(ws *websocket.Conn) {
		defer tell(h, h.leave, c)
		for frame := range c.frames {
			if send(ws, frame) != nil {
				return
			}
		}
	}
}

func (h *hubRoom) Send(frame []byte) { tell(h, h.frames, frame) }

func (h *hubRoom) Close() {
	close(h.closing)
	<-h.closed
}

// loopRoom writes to one socket after the other, without any goroutine in between: what the writing
// alone costs.
type loopRoom struct {
	mu      sync.Mutex
	clients []*loopClient
}

type loopClient struct {
	ws    *websocket.Conn
	ready chan struct{} // closed when ws is there
	done  chan struct{}
}

// NewLoop returns a room that is a loop. One client that does not read stops it.
func NewLoop() Room { return &loopRoom{} }

func (l *loopRoom) Join(string) func(*websocket.Conn) {
	c := &loopClient{ready: make(chan struct{}), done: make(chan struct{})}
	l.mu.Lock()
	l.clients = append(l.clients, c)
	l.mu.Unlock()
	return func(ws *websocket.Conn) {
		c.ws = ws
		close(c.ready)
		<-c.done
	}
}

func (l *loopRoom) Send(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.clients {
		<-c.ready
		_ = send(c.ws, frame) // who is gone notices that itself
	}
}

func (l *loopRoom) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.clients {
		close(c.done)
	}
	l.clients = nil
}
