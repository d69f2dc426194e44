// Package program is what the commands of the examples have in common: flags that the environment
// may set, a log, and where they listen.
package program

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/names"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

// UntilSignal returns a context that the first SIGINT or SIGTERM cancels. From then on the signals
// have their usual effect again, so a second one ends the process at once.
func UntilSignal() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// Parse sets flags from args, and those that args does not have from the environment, where they
// are called NAME_FLAG, in capitals. Arguments after the flags remain. The error is [flag.ErrHelp]
// if the user has asked for help; any other error has been printed.
func Parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		return err
	}
	given := make(map[string]bool)
	f.Visit(func(set *flag.Flag) { given[set.Name] = true })
	var bad error
	f.VisitAll(func(set *flag.Flag) {
		name := strings.ToUpper(strings.ReplaceAll(f.Name()+"_"+set.Name, "-", "_"))
		if value, ok := os.LookupEnv(name); ok && !given[set.Name] {
			if err := f.Set(set.Name, value); err != nil {
				bad = errors.Join(bad, fmt.Errorf("%s: %w", name, err))
			}
		}
	})
	if bad != nil {
		fmt.Fprintf(f.Output(), "%s: %v\n", f.Name(), bad)
	}
	return bad
}

// A Server holds the settings that all servers have.
type Server struct {
	Flags  *flag.FlagSet // to add others
	Secret token.Key     // signs the tokens of users; nil: anybody may use any name

	addr, certFile, keyFile, logFormat, tokenFor string
	verbose                                      bool
	stdout, stderr                               io.Writer
}

// New returns a Server of that name, which listens on addr by default.
func New(name, addr string, stdout, stderr io.Writer) *Server {
	s := &Server{Flags: flag.NewFlagSet(name, flag.ContinueOnError), stdout: stdout, stderr: stderr}
	f := s.Flags
	f.SetOutput(stderr)
	f.Func("secret", "32 or more random `bytes` that sign the tokens of users; safer in the environment.\nWithout it the server listens on a local address only, and anybody may use any name", func(secret string) error {
		if s.Secret = token.Key(secret); len(secret) < 32 {
			return errors.New("it has fewer than 32 bytes")
		}
		return nil
	})
	f.StringVar(&s.tokenFor, "token-for", "", "print a token for the user of this `name`, valid for 30 days, and exit")
	f.StringVar(&s.addr, "addr", addr, "`address` to listen on; port 0 picks a free one; \"systemd\" uses the socket that systemd has opened")
	f.StringVar(&s.certFile, "tls-cert", "", "`file` of a certificate chain; with -tls-key, serves HTTPS")
	f.StringVar(&s.keyFile, "tls-key", "", "`file` of the key of the certificate")
	f.BoolVar(&s.verbose, "v", false, "also log each request, and the events of each client")
	f.Func("log-format", "`format` of the log, text or json (default text)", func(format string) error {
		if s.logFormat = format; format != "text" && format != "json" {
			return errors.New("neither text nor json")
		}
		return nil
	})
	return s
}

// Parse sets the flags. If ok is false, the program must exit with the code.
func (s *Server) Parse(args []string) (code int, ok bool) {
	switch err := Parse(s.Flags, args); {
	case errors.Is(err, flag.ErrHelp):
		return 0, false
	case err != nil:
		return 2, false
	case s.Flags.NArg() > 0:
		return s.Fail(2, fmt.Errorf("unexpected argument %q", s.Flags.Arg(0))), false
	case s.tokenFor == "":
		return 0, true
	case s.Secret == nil:
		return s.Fail(2, errors.New("a token needs a -secret")), false
	}
	name, err := names.Clean("name", s.tokenFor)
	if err != nil {
		return s.Fail(2, err), false
	}
	fmt.Fprintln(s.stdout, s.Secret.Sign(name, time.Now().Add(token.Age)))
	return 0, false
}

// Fail says what is wrong, and returns the code.
func (s *Server) Fail(code int, err error) int {
	fmt.Fprintf(s.stderr, "%s: %v\n", s.Flags.Name(), err)
	return code
}

// Log returns the log, as the flags want it.
func (s *Server) Log() *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if s.verbose {
		options.Level = slog.LevelDebug
	}
	if s.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(s.stderr, options))
	}
	return slog.New(slog.NewTextHandler(s.stderr, options))
}

// Listen listens where the flags say, and returns the URL. With TLS it speaks HTTP/1.1 alone, which
// WebSockets need.
func (s *Server) Listen() (ln net.Listener, url string, err error) {
	if s.addr == "systemd" {
		ln, err = net.FileListener(os.NewFile(3, "systemd")) // the first that it passes on
	} else {
		ln, err = net.Listen("tcp", s.addr)
	}
	if err != nil {
		return nil, "", err
	}
	addr := ln.Addr().String()
	if s.certFile == "" && s.keyFile == "" {
		return ln, "http://" + addr, nil
	}
	pair, err := tls.LoadX509KeyPair(s.certFile, s.keyFile)
	if err != nil {
		return nil, "", errors.Join(err, ln.Close())
	}
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}}), "https://" + addr, nil
}
