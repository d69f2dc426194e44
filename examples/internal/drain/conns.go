package drain

import (
	"io"
	"sync"
)

// Conns is a set of connections that can be cut all at once. The zero Conns is empty. All methods
// may be called from any goroutine.
type Conns struct {
	mu   sync.Mutex
	open map[io.Closer]struct{}
}

// Add adds c to the connections that Cut closes, until the function that it returns is called.
func (s *Conns) Add(c io.Closer) (remove func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open == nil {
		s.open = make(map[io.Closer]struct{})
	}
	s.open[c] = struct{}{}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.open, c)
	}
}

// Cut closes all connections at once, without a closing handshake. Connections that are added later
// stay open.
func (s *Conns) Cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.open {
		_ = c.Close() // its handler meets the error
	}
}

// Len returns the number of connections.
func (s *Conns) Len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.open)
}
