// Messenger is a production reference of a service on the library: people post messages to chats
// over HTTP, and watch chats over WebSockets. Its README maps it to the library.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/fbd86cad/broadcast/examples/internal/program"
	"github.com/fbd86cad/broadcast/examples/messenger/server"
)

func main() { os.Exit(run(program.UntilSignal(), os.Args[1:], os.Stdout, os.Stderr)) }

// run serves until ctx ends, and returns the exit code: 2 for bad settings, 1 for any other error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	err := serve(ctx, args, stdout, stderr)
	if err == nil || errors.Is(err, program.ErrHelp) {
		return 0
	}
	fmt.Fprintln(stderr, "messenger:", err)
	if errors.Is(err, program.ErrUsage) {
		return 2
	}
	return 1
}

func serve(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	cfg := server.DefaultConfig()
	if err := cfg.Parse("messenger", &cfg, args, stdout, stderr); err != nil {
		return err
	}
	s, err := server.New(cfg)
	if err != nil {
		return fmt.Errorf("%w: %w", program.ErrUsage, err)
	}
	defer s.Close()
	ln, url, err := cfg.Listen()
	if err != nil {
		return err
	}
	fmt.Fprintln(stdout, "listening on", url)
	if cfg.Secret == "" {
		fmt.Fprintln(stdout, "anybody on this machine may come in under any name: open it in two tabs")
	}
	return s.Serve(ctx, ln)
}
