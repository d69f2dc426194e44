// Messenger is the library in an HTTP service: devices post messages to chats, and everybody who watches a chat over a
// WebSocket gets them. README.md lists its endpoints, its close codes and the order in which it shuts down.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"

	"github.com/fbd86cad/broadcast/examples/internal/drain"
)

// What the process ends with.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	os.Exit(run(drain.UntilSignal(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with everything given to it: it serves until ctx ends and returns the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	log := slog.New(slog.NewTextHandler(stderr, nil))
	addr, cfg, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		return exitUsage // the flag package has said why
	}
	cfg.Log = log
	server, err := NewServer(cfg)
	if err != nil {
		fmt.Fprintln(stderr, "messenger:", err)
		return exitUsage
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		log.Error("cannot listen", "err", errors.Join(err, server.Close()))
		return exitError
	}
	fmt.Fprintf(stdout, "listening on http://%s\n", ln.Addr())
	if err := server.Serve(ctx, ln); err != nil {
		log.Error("did not end cleanly", "err", err)
		return exitError
	}
	return exitOK
}
