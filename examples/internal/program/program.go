// Package program is what the commands of the examples have in common: flags that the environment
// may set, a log, and where they listen.
package program

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alexflint/go-arg"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

// UntilSignal returns a context that the first SIGINT or SIGTERM cancels. From then on the signals
// have their usual effect again, so a second one ends the process at once.
func UntilSignal() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// ErrUsage is in the errors that mean bad flags or a bad environment. ErrHelp is returned when the
// user has got what they asked for, and nothing remains to be done.
var (
	ErrUsage = errors.New("bad settings, see -h")
	ErrHelp  = arg.ErrHelp
)

// Parse sets a struct with the tags of go-arg from args, and what args does not have from the
// environment, where names begin with that of the program, in capitals. The name of a subcommand
// may follow that of the program.
func Parse(program string, settings any, args []string, help io.Writer) error {
	name, _, _ := strings.Cut(program, " ")
	p, err := arg.NewParser(arg.Config{Program: program, EnvPrefix: strings.ToUpper(name) + "_"}, settings)
	if err == nil {
		err = p.Parse(args)
	}
	switch {
	case errors.Is(err, ErrHelp):
		p.WriteHelp(help)
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrUsage, err)
	}
	return err
}

// Settings are those that all servers have.
type Settings struct {
	Secret    token.Key    `arg:"--secret,env:SECRET" placeholder:"BYTES" help:"32 or more that sign tokens; safer in the environment. Without it, all is local, and anybody may use any name"`
	TokenFor  string       `arg:"--token-for,env:TOKEN_FOR" placeholder:"NAME" help:"print a token, valid for 30 days, and exit"`
	Addr      string       `arg:"--addr,env:ADDR" help:"listen there; port 0 is any free one, systemd the socket that it has opened"`
	TLSCert   string       `arg:"--tls-cert,env:TLS_CERT" placeholder:"FILE" help:"certificate chain; with --tls-key, serves HTTPS"`
	TLSKey    string       `arg:"--tls-key,env:TLS_KEY" placeholder:"FILE" help:"key of the certificate"`
	LogFormat string       `arg:"--log-format,env:LOG_FORMAT" default:"text" placeholder:"FORMAT" help:"text or json"`
	Verbose   bool         `arg:"-v,--verbose,env:V" help:"also log each request and client"`
	Log       *slog.Logger `arg:"-"` // never nil
}

// Parse is like the function, for all, which has s embedded. It makes the Log.
func (s *Settings) Parse(program string, all any, args []string, stdout, stderr io.Writer) error {
	if err := Parse(program, all, args, stderr); err != nil {
		return err
	}
	options := new(slog.HandlerOptions)
	if s.Verbose {
		options.Level = slog.LevelDebug
	}
	switch s.LogFormat {
	case "text":
		s.Log = slog.New(slog.NewTextHandler(stderr, options))
	case "json":
		s.Log = slog.New(slog.NewJSONHandler(stderr, options))
	default:
		return fmt.Errorf("%w: the format of the log is neither text nor json: %q", ErrUsage, s.LogFormat)
	}
	if s.TokenFor == "" {
		return nil
	}
	signed, err := s.Secret.Issue(s.TokenFor)
	if s.Secret == "" {
		err = errors.New("a token needs a -secret")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUsage, err)
	}
	fmt.Fprintln(stdout, signed)
	return ErrHelp
}

// Listen listens where the settings say, and returns the URL. Without a Secret, that must be an
// address that others cannot reach. With TLS it speaks HTTP/1.1 alone, which WebSockets need.
func (s *Settings) Listen() (ln net.Listener, url string, err error) {
	if s.Addr == "systemd" {
		ln, err = net.FileListener(os.NewFile(3, "systemd")) // the first that it passes on
	} else {
		ln, err = net.Listen("tcp", s.Addr)
	}
	if err != nil {
		return nil, "", err
	}
	if s.Secret == "" && broadcastws.LocalHosts(ln.Addr()) == nil {
		err = fmt.Errorf("%w: others can reach this address: set a secret (openssl rand -hex 32)", ErrUsage)
		return nil, "", errors.Join(err, ln.Close())
	}
	url = "http://" + ln.Addr().String()
	if s.TLSCert == "" && s.TLSKey == "" {
		return ln, url, nil
	}
	pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
	if err != nil {
		return nil, "", errors.Join(err, ln.Close())
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}}
	return tls.NewListener(ln, config), "https" + strings.TrimPrefix(url, "http"), nil
}
