// Package drain shuts down a server with streams. [http.Server.Shutdown] alone neither ends streams
// nor knows the connections that were hijacked.
package drain

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// Serve runs a server on ln until ctx ends, or the listener fails. Then it calls shutdown, which
// has until timeout to refuse new requests and to end the streams. The listener stays open
// meanwhile, so that new clients are told to come back and are not just refused a connection. Serve
// returns when the server has ended, with the errors of the listener and of shutdown. It closes ln.
func Serve(ctx context.Context, server *http.Server, ln net.Listener, timeout time.Duration, shutdown func(context.Context) error) error {
	fresh := unused{conns: make(map[net.Conn]struct{})}
	also := server.ConnState
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		fresh.note(conn, state)
		if also != nil {
			also(conn, state)
		}
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(ln) }()
	var failed error
	select {
	case <-ctx.Done():
	case failed = <-served:
		served <- nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	err := shutdown(ctx)
	fresh.close()
	err = errors.Join(err, closeHTTP(ctx, server))
	<-served // says that it was closed
	return errors.Join(failed, err)
}

// closeHTTP ends a server that already refuses all requests: each gets its answer, also one whose
// body is still arriving. What has not ended with ctx is cut.
func closeHTTP(ctx context.Context, server *http.Server) error {
	err := server.Shutdown(ctx)
	if err != nil {
		_ = server.Close() // only repeats what the closed listener says
	}
	return err
}

// unused are the connections on which nothing was asked yet. Browsers open some in advance, and
// [http.Server.Shutdown] would give each of them five seconds.
type unused struct {
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool // by close, after which new ones are closed at once
}

// note is part of the ConnState of a server.
func (u *unused) note(conn net.Conn, state http.ConnState) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case state != http.StateNew:
		delete(u.conns, conn)
	case u.closed:
		_ = conn.Close()
	default:
		u.conns[conn] = struct{}{}
	}
}

func (u *unused) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for conn := range u.conns {
		_ = conn.Close()
	}
}
