package main

// hub is that of gorilla's chat example, which most WebSocket servers in Go begin with: a goroutine
// owns the set of clients, each of which has a channel. A client whose channel is full is cut off.
// It lives as long as the process.
type hub[T any] struct {
	join, leave chan chan T
	posts       chan T
}

// outbox is how much may wait for a client, as in the example. It is more than a burst.
const outbox = 256

func newHub[T any]() *hub[T] {
	h := &hub[T]{make(chan chan T), make(chan chan T), make(chan T, outbox)}
	go h.run()
	return h
}

func (h *hub[T]) run() {
	clients := make(map[chan T]bool)
	for {
		select {
		case c := <-h.join:
			clients[c] = true
		case c := <-h.leave:
			if clients[c] {
				delete(clients, c)
				close(c)
			}
		case post := <-h.posts:
			for c := range clients {
				select {
				case c <- post:
				default:
					close(c)
					delete(clients, c)
				}
			}
		}
	}
}

// enter returns the channel of a new client, which is closed when the client is cut off or left.
func (h *hub[T]) enter() chan T {
	c := make(chan T, outbox)
	h.join <- c
	return c
}
