package natstest

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/broadcastnats"
	"github.com/fbd86cad/broadcast/engine"
)

// No test leaves a goroutine behind, of a driver or of a server.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// settle bounds every wait for something that has to happen. Nothing waits for it to pass.
const settle = 30 * time.Second

// options returns the options of a server that listens on a port that is free.
func options(t testing.TB) *server.Options {
	return &server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(),
		NoSigs: true, NoLog: true,
	}
}

// startServer starts a server, which the test stops.
func startServer(t testing.TB, o *server.Options) *server.Server {
	t.Helper()
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { stopServer(s) })
	require.True(t, s.ReadyForConnections(settle))
	return s
}

func stopServer(s *server.Server) {
	s.Shutdown()
	s.WaitForShutdown()
}

// admin returns a connection for what the driver does not do.
func admin(t testing.TB, urls string) jetstream.JetStream {
	t.Helper()
	conn, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	return js
}

// newEngine returns a driver.
func newEngine(t testing.TB, o broadcastnats.Options) engine.Engine {
	t.Helper()
	e, err := broadcastnats.New(o)
	require.NoError(t, err)
	return e
}

// A proxy forwards connections to a server, and cuts them.
type proxy struct {
	listener net.Listener
	target   string
	tasks    sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]bool // open, on both sides
	cut    bool
	silent bool
	full   chan struct{} // closed when data may flow again; nil while it does
}

// newProxy returns a proxy in front of an address, which the test stops.
func newProxy(t testing.TB, target string) *proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{listener: listener, target: target, conns: make(map[net.Conn]bool)}
	p.tasks.Go(p.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		p.setFull(false)
		p.setCut(true)
		p.tasks.Wait()
	})
	return p
}

func (p *proxy) url() string { return fmt.Sprintf("nats://%v", p.listener.Addr()) }

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.tasks.Go(func() { p.forward(client) })
	}
}

// forward forwards a connection until it is cut, or one of its ends closes it.
func (p *proxy) forward(client net.Conn) {
	defer p.close(client)
	if !p.open(client) {
		return
	}
	upstream, err := net.Dial("tcp", p.target)
	if err != nil {
		return
	}
	defer p.close(upstream)
	if !p.open(upstream) {
		return
	}
	var copies sync.WaitGroup
	for _, pair := range [][2]net.Conn{{client, upstream}, {upstream, client}} {
		copies.Go(func() {
			p.copy(pair[0], pair[1])
			p.close(client)
			p.close(upstream)
		})
	}
	copies.Wait()
}

func (p *proxy) copy(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		p.awaitFlow()
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if p.isSilent() {
			continue
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// open notes a connection. It returns false while connections are cut.
func (p *proxy) open(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = true
	return !p.cut
}

func (p *proxy) close(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
	_ = c.Close()
}

// setCut cuts all connections, and those to come, or lets them through again.
func (p *proxy) setCut(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cut = cut
	for c := range p.conns {
		if cut {
			_ = c.Close()
		}
	}
}

// setSilent makes the proxy drop all data, so that neither side notices anything else, or forward
// it again. Connections of which it has dropped some are of no use any more.
func (p *proxy) setSilent(silent bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = silent
	for c := range p.conns {
		if !silent {
			_ = c.Close()
		}
	}
}

func (p *proxy) isSilent() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.silent
}

// setFull makes the proxy take no more data, as a server that has stopped does, or forward it
// again.
func (p *proxy) setFull(full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case full && p.full == nil:
		p.full = make(chan struct{})
	case !full && p.full != nil:
		close(p.full)
		p.full = nil
	}
}

// awaitFlow waits while the proxy takes no data.
func (p *proxy) awaitFlow() {
	p.mu.Lock()
	full := p.full
	p.mu.Unlock()
	if full != nil {
		<-full
	}
}
