// Messenger is a production reference of a service on the library: people post messages to chats
// over HTTP, and watch chats over WebSockets. Its README maps it to the library.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/program"
	"github.com/fbd86cad/broadcast/examples/messenger/server"
)

func main() { os.Exit(run(program.UntilSignal(), os.Args[1:], os.Stdout, os.Stderr)) }

// run serves until ctx ends, and returns the exit code: 2 for a bad flag, 1 for any other error.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cfg := server.DefaultConfig()
	p := program.New("messenger", "127.0.0.1:8080", stdout, stderr)
	f := p.Flags
	f.Func("hosts", "`names` of the server, between commas (default any, or without a secret those of this machine)", func(v string) error {
		cfg.Hosts = strings.Split(v, ",")
		return nil
	})
	f.BoolVar(&cfg.Proxy, "proxy", false, "a proxy is in front, and sets X-Forwarded-For and X-Forwarded-Proto")
	f.Func("operators", "comma-separated `names` of the users who may see /debug/broadcast, with every chat and device (default nobody)", func(v string) error {
		cfg.Operators = strings.FieldsFunc(v, func(r rune) bool { return r == ',' })
		return nil
	})
	f.Float64Var(&cfg.PostRate, "post-rate", cfg.PostRate, "posts of a person a second")
	f.Float64Var(&cfg.HandshakeRate, "handshake-rate", cfg.HandshakeRate, "logins and sockets of an address a second")
	f.IntVar(&cfg.Burst, "burst", cfg.Burst, "how many of either at once")
	f.IntVar(&cfg.Connections, "connections", cfg.Connections, "connections of an address")
	f.IntVar(&cfg.Buffer, "buffer", cfg.Buffer, "`messages` that a socket may be behind")
	f.IntVar(&cfg.History, "history", cfg.History, "`messages` kept of each chat; 0 for none")
	f.IntVar(&cfg.HistoryBytes, "history-bytes", cfg.HistoryBytes, "`bytes` of the messages kept of all chats")
	f.IntVar(&cfg.MaxChats, "max-chats", cfg.MaxChats, "`chats` in all")
	f.DurationVar(&cfg.DrainTimeout, "drain-timeout", cfg.DrainTimeout, "how long the end may take")
	if code, ok := p.Parse(args); !ok {
		return code
	}
	cfg.Secret, cfg.Log = p.Secret, p.Log()
	s, err := server.New(cfg)
	if err != nil {
		return p.Fail(2, err)
	}
	defer s.Close()
	ln, url, err := p.Listen()
	if err != nil {
		return p.Fail(1, err)
	}
	if cfg.Secret == nil && broadcastws.LocalHosts(ln.Addr()) == nil {
		return p.Fail(2, errors.New("others can reach this address: set MESSENGER_SECRET (openssl rand -hex 32)"))
	}
	fmt.Fprintln(stdout, "listening on", url)
	if cfg.Secret == nil {
		fmt.Fprintln(stdout, "anybody on this machine may come in under any name: open it in two tabs")
	}
	if err := s.Serve(ctx, ln); err != nil {
		return p.Fail(1, err)
	}
	return 0
}
