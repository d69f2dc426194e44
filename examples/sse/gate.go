package main

import "sync"

// gate counts who is inside, until it is shut: then nobody enters any more, and it can be waited for the last one to leave. The zero
// gate is open.
type gate struct {
	mu     sync.Mutex
	shut   bool           // set once
	inside sync.WaitGroup // grows only while shut is false
}

// enter reports whether the gate is open; whoever entered must leave.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shut {
		return false
	}
	g.inside.Add(1)
	return true
}

func (g *gate) leave() { g.inside.Done() }

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.shut = true
}

func (g *gate) isShut() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut
}

// wait returns when everybody has left a gate that is shut.
func (g *gate) wait() { g.inside.Wait() }
