// Package drain provides what a server with streams needs to shut down in order, because
// [http.Server.Shutdown] neither ends streams nor knows the connections that were hijacked from it.
package drain

import "sync"

// Gate counts those inside. Once it is shut, nobody can enter. The zero Gate is open. All methods
// may be called from any goroutine, and none blocks.
type Gate struct {
	mu     sync.Mutex
	inside int
	empty  chan struct{} // made by the first Shut, closed by the last who leaves after that
}

// Enter enters the gate, and returns true, if it is open; the caller must then call [Gate.Leave].
func (g *Gate) Enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty != nil {
		return false
	}
	g.inside++
	return true
}

// Leave undoes one Enter that returned true.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inside--
	if g.empty != nil && g.inside == 0 {
		close(g.empty)
	}
}

// Shut shuts the gate, if it is open, and returns a channel that is closed when nobody is inside
// any more.
func (g *Gate) Shut() (empty <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.empty == nil {
		g.empty = make(chan struct{})
		if g.inside == 0 {
			close(g.empty)
		}
	}
	return g.empty
}

// IsShut reports whether the gate is shut.
func (g *Gate) IsShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.empty != nil
}
