// Termchat is a chat for the terminal, and the library in a service that people talk through:
// rooms, presence, history, clients that come back and resume, and files. README.md explains how it
// works.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/charmbracelet/x/term"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/program"
	"github.com/fbd86cad/broadcast/examples/internal/token"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/plain"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/server"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/tui"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

const exitOK, exitError, exitUsage = 0, 1, 2 // the exit codes

func main() {
	os.Exit(run(program.UntilSignal(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

const usage = `usage:
  termchat serve    [-addr HOST:PORT] [-dir DIR]
  termchat join     [-addr HOST:PORT] [-room ROOM] -name NAME [-plain]
  termchat upload   [-addr HOST:PORT] [-room ROOM] -name NAME FILE
  termchat download [-addr HOST:PORT] [-room ROOM] -name NAME [-o FILE] ID
  termchat COMMAND -h lists the flags of a command
`

const defaultAddr = "127.0.0.1:7777"

// command is one of the subcommands.
type command struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
}

// errUsage means that the arguments are bad, and that the user has been told why.
var errUsage = errors.New("usage")

// run is main with everything given to it. It returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	commands := map[string]func(command, context.Context, []string) error{
		"serve": command.serve, "join": command.join, "upload": command.upload, "download": command.download,
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	do, ok := commands[name]
	if !ok {
		fmt.Fprint(stderr, usage)
		if strings.TrimLeft(name, "-") == "help" || name == "-h" {
			return exitOK
		}
		return exitUsage
	}
	switch err := do(command{stdin, stdout, stderr}, ctx, args[1:]); {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return exitOK
	case errors.Is(err, errUsage):
		return exitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "termchat: interrupted")
		return exitError
	default:
		fmt.Fprintln(stderr, "termchat:", wire.Line(err.Error()))
		return exitError
	}
}

func (c command) serve(ctx context.Context, args []string) error {
	cfg := server.DefaultConfig()
	p := program.New("termchat", defaultAddr, c.stdout, c.stderr)
	f := p.Flags
	f.StringVar(&cfg.Dir, "dir", cfg.Dir, "`directory` for uploads; made if there is none")
	f.Int64Var(&cfg.MaxUpload, "max-upload", cfg.MaxUpload, "`bytes` of one upload")
	f.Int64Var(&cfg.MaxPerPerson, "max-per-person", cfg.MaxPerPerson, "`bytes` of all uploads of a person")
	f.Int64Var(&cfg.MaxStored, "max-stored", cfg.MaxStored, "`bytes` of all uploads together")
	f.DurationVar(&cfg.FileAge, "file-age", cfg.FileAge, "how long an upload is kept")
	f.IntVar(&cfg.HistoryBytes, "history-bytes", cfg.HistoryBytes, "`bytes` of the messages kept of all rooms")
	f.DurationVar(&cfg.HistoryAge, "history", cfg.HistoryAge, "how long a room's messages are kept")
	if code, ok := p.Parse(args); !ok {
		if code == exitOK {
			return flag.ErrHelp
		}
		return errUsage
	}
	cfg.Secret, cfg.Log = p.Secret, p.Log()
	ln, _, err := p.Listen()
	if err != nil {
		return err
	}
	if cfg.Secret == nil && broadcastws.LocalHosts(ln.Addr()) == nil {
		return errors.Join(ln.Close(), errors.New("others can reach this address: set TERMCHAT_SECRET (openssl rand -hex 32)"))
	}
	h, err := server.Start(ctx, ln, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "listening on %s\n", h.Addr())
	return h.Wait()
}

// client adds to flags of its own those of all commands that talk to a server, and parses them. It
// returns the arguments after them, of which there must be n.
func (c command) client(f *flag.FlagSet, args []string, n int) (o client.Options, rest []string, err error) {
	f.SetOutput(c.stderr)
	f.StringVar(&o.Addr, "addr", defaultAddr, "`address` of the server")
	f.StringVar(&o.Room, "room", "general", "`name` of the room")
	f.StringVar(&o.Name, "name", os.Getenv("USER"), "your `name` in the room; that of the token, if not given")
	f.StringVar(&o.Token, "token", "", "your `token`, if the server wants one; better as TERMCHAT_TOKEN")
	secure := f.Bool("tls", false, "the server speaks HTTPS")
	authority := f.String("tls-ca", "", "`file` of the certificates to trust instead of the system's")
	if err := program.Parse(f, args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, nil, err
		}
		return o, nil, errUsage
	}
	if f.NArg() != n {
		fmt.Fprintf(c.stderr, "termchat: %d arguments after the flags, not %d\n%s", f.NArg(), n, usage)
		return o, nil, errUsage
	}
	named := o.Token == ""
	f.Visit(func(given *flag.Flag) { named = named || given.Name == "name" })
	if !named {
		o.Name = token.Name(o.Token)
	}
	if *secure || *authority != "" {
		o.TLS = &tls.Config{}
	}
	if *authority != "" {
		certificates, err := os.ReadFile(*authority)
		if err != nil {
			return o, nil, err
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(certificates) {
			return o, nil, fmt.Errorf("%s has no certificate", *authority)
		}
	}
	return o, f.Args(), nil
}

// flags returns no flags yet. The environment may set those that are added, as TERMCHAT_NAME.
func flags() *flag.FlagSet { return flag.NewFlagSet("termchat", flag.ContinueOnError) }

func (c command) join(ctx context.Context, args []string) error {
	f := flags()
	lines := f.Bool("plain", false, "lines on standard input and output instead of the full screen")
	o, _, err := c.client(f, args, 0)
	if err != nil {
		return err
	}
	chat, err := client.New(o)
	if err != nil {
		return err
	}
	if *lines {
		return errors.Join(plain.Run(ctx, chat, c.stdin, c.stdout), chat.Close())
	}
	err = errors.Join(tui.Run(ctx, chat, c.stdin, c.stdout, o.Name), chat.Close())
	switch {
	case errors.Is(err, tui.ErrNoTerminal):
		return fmt.Errorf("%w; try -plain", err)
	case ctx.Err() != nil:
		return nil // a signal is one way to leave
	}
	return err
}

func (c command) upload(ctx context.Context, args []string) error {
	o, rest, err := c.client(flags(), args, 1)
	if err != nil {
		return err
	}
	file, err := client.Upload(ctx, o, rest[0], c.progress())
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s\n", file.ID)
	return nil
}

func (c command) download(ctx context.Context, args []string) error {
	f := flags()
	path := f.String("o", "", "new `file` to write; the id, if not given: names from a server are no paths")
	o, rest, err := c.client(f, args, 1)
	if err != nil {
		return err
	}
	if *path == "" {
		if strings.ContainsAny(rest[0], `/\.`) {
			return fmt.Errorf("%q is not an id", rest[0])
		}
		*path = rest[0]
	}
	if err := client.Download(ctx, o, rest[0], *path, c.progress()); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s\n", *path)
	return nil
}

// progress returns a function that draws a bar on standard error, if that is a terminal.
func (c command) progress() func(done, total int64) {
	const width = 30
	if f, ok := c.stderr.(*os.File); !ok || !term.IsTerminal(f.Fd()) {
		return nil
	}
	drawn := int64(-1)
	return func(done, total int64) {
		percent := 100 * done / max(1, total)
		if percent == drawn {
			return
		}
		drawn = percent
		full := int(percent * width / 100)
		fmt.Fprintf(c.stderr, "\r[%s%s] %3d %%", strings.Repeat("#", full), strings.Repeat(".", max(0, width-full)), percent)
		if done == total {
			fmt.Fprintln(c.stderr)
		}
	}
}
