package stream

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

// ServeUntil serves until ctx ends or the listener fails, and then ends the server in order.
func ServeUntil(
	ctx context.Context, server *http.Server, ln net.Listener, timeout time.Duration,
	shutdown ...func(context.Context) error,
) error {
	// Browsers open connections in advance. Shutdown would give each five seconds on which nothing
	// was asked.
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
	var errs []error
	select {
	case <-ctx.Done():
	case err := <-served:
		errs = append(errs, err)
		served <- nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	for _, end := range shutdown {
		errs = append(errs, end(ctx))
	}
	_ = ln.Close()
	<-served // says that it was closed: no connection begins any more
	unused.Range(func(conn, _ any) bool {
		_ = conn.(net.Conn).Close()
		return true
	})
	if err := server.Shutdown(ctx); err != nil {
		errs = append(errs, err, server.Close())
	}
	return errors.Join(errs...)
}
