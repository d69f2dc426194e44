// Package program is what the commands of the examples have in common: flags that the environment
// may set, a log, and where they listen.
package program

import (
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"

	"github.com/alexflint/go-arg"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

// Parse sets a struct with the tags of go-arg from args, and what args does not have from the
// environment, where names begin with that of the program, in capitals. The name of a subcommand
// may follow that of the program. If the user has asked for help, it ends the process with code 0,
// and if something is wrong, with 2, as Fail of the Parser does.
func Parse(program string, args []string, settings any) *arg.Parser {
	name, _, _ := strings.Cut(program, " ")
	config := arg.Config{Program: program, EnvPrefix: strings.ToUpper(name) + "_", Out: os.Stderr}
	p, err := arg.NewParser(config, settings)
	if err != nil {
		panic(err) // a tag is wrong
	}
	p.MustParse(args)
	return p
}

// Settings are those that all servers have.
type Settings struct {
	Secret    token.Key    `arg:"--secret,env:SECRET" placeholder:"BYTES" help:"32 or more, to sign tokens; without it, anybody on this machine may use any name"`
	TokenFor  string       `arg:"--token-for,env:TOKEN_FOR" placeholder:"NAME" help:"print a token, valid for 30 days, and exit"`
	Addr      string       `arg:"--addr,env:ADDR" help:"listen there; port 0 is any free one, systemd the socket that it has opened"`
	TLSCert   string       `arg:"--tls-cert,env:TLS_CERT" placeholder:"FILE" help:"certificate chain; with --tls-key, serves HTTPS"`
	TLSKey    string       `arg:"--tls-key,env:TLS_KEY" placeholder:"FILE" help:"key of the certificate"`
	LogFormat string       `arg:"--log-format,env:LOG_FORMAT" default:"text" placeholder:"FORMAT" help:"text or json"`
	Verbose   bool         `arg:"-v,--verbose,env:V" help:"also log each request and client"`
	Log       *slog.Logger `arg:"-"` // never nil
	Parser    *arg.Parser  `arg:"-"` // of Parse, to Fail
}

// Parse is like the function, for all, which has s embedded. It makes the Log. If the user has
// asked for a token, it prints that and ends the process.
func (s *Settings) Parse(program string, args []string, all any) {
	s.Parser = Parse(program, args, all)
	options := new(slog.HandlerOptions)
	if s.Verbose {
		options.Level = slog.LevelDebug
	}
	switch s.LogFormat {
	case "text":
		s.Log = slog.New(slog.NewTextHandler(os.Stderr, options))
	case "json":
		s.Log = slog.New(slog.NewJSONHandler(os.Stderr, options))
	default:
		s.Parser.Fail("the format of the log is neither text nor json: " + s.LogFormat)
	}
	if s.TokenFor == "" {
		return
	}
	signed, err := s.Secret.Issue(s.TokenFor, token.Age)
	if s.Secret == "" {
		err = errors.New("a token needs a -secret")
	}
	if err != nil {
		s.Parser.Fail(err.Error())
	}
	fmt.Println(signed)
	os.Exit(0)
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
		s.Parser.Fail("others can reach this address: set a secret (openssl rand -hex 32)")
	}
	url = ln.Addr().String()
	if s.TLSCert == "" && s.TLSKey == "" {
		return ln, "http://" + url, nil
	}
	pair, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
	if err != nil {
		return nil, "", errors.Join(err, ln.Close())
	}
	return tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{pair}}), "https://" + url, nil
}
