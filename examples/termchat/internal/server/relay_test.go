package server

import (
	"io"
	"net"
	"sync"

	"github.com/stretchr/testify/require"
)

// relay stands between a client and the server, as a network that can fail.
type relay struct {
	ln     net.Listener
	server string

	mu    sync.Mutex
	down  bool
	conns []*net.TCPConn
	work  sync.WaitGroup
}

// relay makes a relay that works until the test ends.
func (s *service) relay() *relay {
	s.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(s.t, err)
	r := &relay{ln: ln, server: s.Addr()}
	r.work.Go(r.accept)
	s.t.Cleanup(func() {
		_ = ln.Close()
		r.cut()
		r.work.Wait()
	})
	return r
}

func (r *relay) addr() string { return r.ln.Addr().String() }

func (r *relay) accept() {
	for {
		in, err := r.ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", r.server)
		if err != nil {
			_ = in.Close()
			continue
		}
		r.add(in.(*net.TCPConn), out.(*net.TCPConn))
	}
}

func (r *relay) add(in, out *net.TCPConn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.conns = append(r.conns, in, out)
	if r.down {
		reset(in, out)
		return
	}
	r.work.Go(func() { _, _ = io.Copy(in, out); reset(in, out) })
	r.work.Go(func() { _, _ = io.Copy(out, in); reset(in, out) })
}

// cut ends all connections, as a network that loses its state.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	reset(r.conns...)
	r.conns = nil
}

// fail ends all connections, and lets no new one through until it is repaired.
func (r *relay) fail(down bool) {
	r.mu.Lock()
	r.down = down
	r.mu.Unlock()
	r.cut()
}

func reset(conns ...*net.TCPConn) {
	for _, conn := range conns {
		_ = conn.SetLinger(0)
		_ = conn.Close()
	}
}
