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
// returns when the server has ended, with the errors of the listener and of shutdown: each request
// got its answer, or was cut after the timeout. It closes ln.
func Serve(ctx context.Context, server *http.Server, ln net.Listener, timeout time.Duration, shutdown func(context.Context) error) error {
	// Browsers open connections in advance. Shutdown would give five seconds to each on which
	// nothing was asked.
	var unused sync.Map
	also := server.ConnState
	server.ConnState = func(conn net.Conn, state http.ConnState) {
		if state == http.StateNew {
			unused.Store(conn, nil)
		} else {
			unused.Delete(conn)
		}
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
	_ = ln.Close()
	<-served // says that it was closed; no connection begins any more
	unused.Range(func(conn, _ any) bool {
		_ = conn.(net.Conn).Close()
		return true
	})
	if late := server.Shutdown(ctx); late != nil {
		err = errors.Join(err, late, server.Close())
	}
	return errors.Join(failed, err)
}
