// Sse is the library behind Server-Sent Events: messages are posted to chats, and everybody who watches a chat gets them over
// a plain HTTP response, which a browser's own EventSource resumes by itself after any interruption. README.md lists
// its endpoints and its events.
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

func main() {
	os.Exit(run(drain.UntilSignal(), os.Args[1:], os.Stdout, os.Stderr))
}

// run is main with everything given to it: it serves until ctx ends and returns the exit code, 2 for what the caller got wrong.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	addr, cfg, err := parseFlags(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2 // the flag package has said why
	}
	cfg.Log = slog.New(slog.NewTextHandler(stderr, nil))
	server, err := NewServer(cfg)
	if err != nil {
		fmt.Fprintln(stderr, "sse:", err)
		return 2
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		cfg.Log.Error("cannot listen", "err", errors.Join(err, server.Shutdown(ctx)))
		return 1
	}
	fmt.Fprintf(stdout, "listening on http://%s\n", ln.Addr())
	if err := server.Serve(ctx, ln); err != nil {
		cfg.Log.Error("did not end cleanly", "err", err)
		return 1
	}
	return 0
}

// parseFlags returns the address to listen on and the configuration. What is wrong with args is also written to stderr; the
// ranges of the values are the library's to check.
func parseFlags(args []string, stderr io.Writer) (addr string, cfg Config, err error) {
	cfg = DefaultConfig()
	flags := flag.NewFlagSet("sse", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&addr, "addr", "127.0.0.1:8080", "`address` to listen on; port 0 picks a free one")
	flags.IntVar(&cfg.Buffer, "buffer", cfg.Buffer, "`messages` that a stream may be behind")
	flags.IntVar(&cfg.History, "history", cfg.History, "`messages` of each chat that are kept for streams that come back")
	flags.DurationVar(&cfg.HistoryAge, "history-age", cfg.HistoryAge, "how long they are kept at most; 0 for no limit")
	flags.DurationVar(&cfg.Heartbeat, "heartbeat", cfg.Heartbeat, "longest silence on a stream")
	if err := flags.Parse(args); err != nil {
		return "", Config{}, err
	}
	if flags.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", flags.Arg(0))
		fmt.Fprintln(stderr, "sse:", err)
		flags.Usage()
		return "", Config{}, err
	}
	return addr, cfg, nil
}
