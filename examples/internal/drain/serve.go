package drain

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// UntilSignal returns a context that ends with the first SIGINT or SIGTERM. By then the signals have their usual effect back, so that
// a second one ends the process at once.
func UntilSignal() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		signal.Stop(signals)
		cancel()
	}()
	return ctx
}

// Serve runs a server on ln until ctx ends, or the listener fails. Then it calls shutdown, which has as long as timeout to refuse
// whatever is new and to end the streams. The listener stays open meanwhile, so that whoever comes then is told to come back, not turned
// away without a word. Serve returns when the server has ended, with the errors of the listener and of shutdown. It closes ln.
func Serve(ctx context.Context, server *http.Server, ln net.Listener, timeout time.Duration, shutdown func(context.Context) error) error {
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
	closeHTTP(ctx, server)
	<-served // says that it was closed
	return errors.Join(failed, err)
}

// closeHTTP ends a server that refuses everything by now, which takes each request a moment. What is left after a second, or at the end
// of ctx, it closes: browsers open connections in advance, on which nothing was ever asked, and [http.Server.Shutdown] would give
// each of them five seconds.
func closeHTTP(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		_ = server.Close() // only repeats what the closed listener says
	}
}
