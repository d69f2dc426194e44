package exampletest

import (
	"net"
	"sync"
	"sync/atomic"
	"testing"
)

// Proxy passes bytes between clients and a server, as a network does, until it loses them or its
// connections are cut. Its methods may be called from any goroutine.
type Proxy struct {
	Addr string // for clients

	to      atomic.Value // string: the address of the server; set by To, read for each client
	swallow atomic.Bool  // set by Swallow, read for all that arrives

	mu    sync.Mutex
	ended bool
	conns []net.Conn
}

// NewProxy returns a Proxy that runs until the test ends.
func NewProxy(t testing.TB) *Proxy {
	ln := Listen(t)
	p := &Proxy{Addr: ln.Addr().String()}
	p.To("127.0.0.1:1") // where nobody listens
	var running sync.WaitGroup
	running.Go(func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", p.to.Load().(string))
			if err != nil || !p.keep(in, out) {
				_ = in.Close()
				continue
			}
			running.Go(func() { p.pass(in, out) })
			running.Go(func() { p.pass(out, in) })
		}
	})
	t.Cleanup(func() {
		p.mu.Lock()
		p.ended = true
		p.mu.Unlock()
		_ = ln.Close()
		p.Cut()
		running.Wait()
	})
	return p
}

// To sets the address of the server for new clients.
func (p *Proxy) To(addr string) { p.to.Store(addr) }

// Swallow makes the proxy lose everything that arrives, or pass it on again.
func (p *Proxy) Swallow(swallow bool) { p.swallow.Store(swallow) }

// Cut ends all connections.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// keep keeps connections for Cut. It reports whether the proxy still runs.
func (p *Proxy) keep(in, out net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		_ = out.Close()
		return false
	}
	p.conns = append(p.conns, in, out)
	return true
}

func (p *Proxy) pass(to, from net.Conn) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.swallow.Load() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
