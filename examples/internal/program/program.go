// Package program is what the commands of the examples have in common: flags that the environment
// may set, a log, and where they listen.
package program

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
)

// A Program is the settings that all commands have.
type Program struct {
	Flags *flag.FlagSet // to add others

	addr, certFile, keyFile, logFormat string
	verbose                            bool
	stderr                             io.Writer
}

// New returns a Program of that name, which listens on addr unless it is told otherwise.
func New(name, addr string, stderr io.Writer) *Program {
	p := &Program{Flags: flag.NewFlagSet(name, flag.ContinueOnError), stderr: stderr}
	p.Flags.SetOutput(stderr)
	p.Flags.StringVar(&p.addr, "addr", addr, "`address` to listen on; port 0 picks a free one; \"systemd\" is the socket that systemd has opened")
	p.Flags.StringVar(&p.certFile, "tls-cert", "", "`file` of a certificate chain; with -tls-key, serves HTTPS")
	p.Flags.StringVar(&p.keyFile, "tls-key", "", "`file` of the key of the certificate")
	p.Flags.BoolVar(&p.verbose, "v", false, "also log each request, and what single clients do")
	p.Flags.StringVar(&p.logFormat, "log-format", "text", "`format` of the log, text or json")
	return p
}

// Parse sets the flags: those of args, and of the others those that the environment has, as
// NAME_FLAG in capitals. It reports whether the program is to go on, or its exit code.
func (p *Program) Parse(args []string) (code int, ok bool) {
	err := p.Flags.Parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return 0, false
	}
	if err != nil { // of which the flags have told
		return 2, false
	}
	given := make(map[string]bool)
	p.Flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	p.Flags.VisitAll(func(f *flag.Flag) {
		name := strings.ToUpper(strings.ReplaceAll(p.Flags.Name()+"_"+f.Name, "-", "_"))
		if value, set := os.LookupEnv(name); set && !given[f.Name] {
			if bad := f.Value.Set(value); bad != nil {
				err = errors.Join(err, fmt.Errorf("%s: %w", name, bad))
			}
		}
	})
	switch {
	case err != nil:
		return p.Fail(2, err), false
	case p.Flags.NArg() > 0:
		return p.Fail(2, fmt.Errorf("unexpected argument %q", p.Flags.Arg(0))), false
	case p.logFormat != "text" && p.logFormat != "json":
		return p.Fail(2, fmt.Errorf("-log-format %s is neither text nor json", p.logFormat)), false
	}
	return 0, true
}

// Fail says what is wrong, and returns the code.
func (p *Program) Fail(code int, err error) int {
	fmt.Fprintf(p.stderr, "%s: %v\n", p.Flags.Name(), err)
	return code
}

// Log returns the log, as the flags want it.
func (p *Program) Log() *slog.Logger {
	options := &slog.HandlerOptions{Level: slog.LevelInfo}
	if p.verbose {
		options.Level = slog.LevelDebug
	}
	if p.logFormat == "json" {
		return slog.New(slog.NewJSONHandler(p.stderr, options))
	}
	return slog.New(slog.NewTextHandler(p.stderr, options))
}

// Listen listens where the flags say, and returns the URL. With TLS it speaks HTTP/1.1 alone, which
// WebSockets need.
func (p *Program) Listen() (ln net.Listener, url string, err error) {
	if p.addr == "systemd" {
		ln, err = net.FileListener(os.NewFile(3, "systemd")) // the first that it passes on
	} else {
		ln, err = net.Listen("tcp", p.addr)
	}
	if err != nil || p.certFile == "" && p.keyFile == "" {
		return ln, "http://" + addrOf(ln), err
	}
	pair, err := tls.LoadX509KeyPair(p.certFile, p.keyFile)
	if err != nil {
		return nil, "", errors.Join(err, ln.Close())
	}
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}}), "https://" + addrOf(ln), nil
}

func addrOf(ln net.Listener) string {
	if ln == nil {
		return ""
	}
	return ln.Addr().String()
}

// IsLocal reports whether only programs on this machine can reach a listener.
func IsLocal(ln net.Listener) bool {
	addr, ok := ln.Addr().(*net.TCPAddr)
	return ok && addr.IP.IsLoopback()
}
