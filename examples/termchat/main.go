// Termchat is a chat for the terminal, and the library in a service that people talk through:
// rooms, presence, history, clients that come back and resume, and files. README.md explains how it
// works.
package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/charmbracelet/x/term"

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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // so that a second signal ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
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
	case err == nil:
		return exitOK
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
	cfg.Addr = defaultAddr
	cfg.Parse("termchat serve", args, &cfg.Flags)
	ln, _, err := cfg.Listen()
	if err != nil {
		return err
	}
	h, err := server.Start(ctx, ln, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "listening on %s\n", h.Addr())
	return h.Wait()
}

// clientFlags are those of all commands that talk to a server.
type clientFlags struct {
	Addr  string  `arg:"--addr,env:ADDR" help:"address of the server"`
	Room  string  `arg:"--room,env:ROOM" default:"general" help:"name of the room"`
	Name  *string `arg:"--name,env:NAME" help:"your name in the room; default that of the token, or $USER"`
	Token string  `arg:"--token,env:TOKEN" help:"your token, if the server wants one; better in the environment"`
	TLS   bool    `arg:"--tls,env:TLS" help:"the server speaks HTTPS"`
	TLSCA string  `arg:"--tls-ca,env:TLS_CA" placeholder:"FILE" help:"certificates to trust instead of the system's"`
}

// client sets f, and all, which has f embedded, from the args of a command.
func (c command) client(name string, f *clientFlags, all any, args []string) (o client.Options, err error) {
	f.Addr = defaultAddr
	program.Parse("termchat "+name, args, all)
	o = client.Options{Addr: f.Addr, Room: f.Room, Name: os.Getenv("USER"), Token: f.Token}
	if f.Name != nil {
		o.Name = *f.Name
	} else if f.Token != "" {
		_, o.Name = token.Read(f.Token) // the server verifies it
	}
	if f.TLS || f.TLSCA != "" {
		o.TLS = &tls.Config{}
	}
	if f.TLSCA != "" {
		certificates, err := os.ReadFile(f.TLSCA)
		if err != nil {
			return o, err
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(certificates) {
			return o, fmt.Errorf("%s has no certificate", f.TLSCA)
		}
	}
	return o, nil
}

func (c command) join(ctx context.Context, args []string) error {
	var f struct {
		clientFlags
		Plain bool `arg:"--plain,env:PLAIN" help:"lines on standard input and output instead of the full screen"`
	}
	o, err := c.client("join", &f.clientFlags, &f, args)
	if err != nil {
		return err
	}
	chat, err := client.New(o)
	if err != nil {
		return err
	}
	if f.Plain {
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
	var f struct {
		clientFlags
		File string `arg:"positional,required" help:"file to send"`
	}
	o, err := c.client("upload", &f.clientFlags, &f, args)
	if err != nil {
		return err
	}
	file, err := client.Upload(ctx, o, f.File, c.progress())
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s\n", file.ID)
	return nil
}

func (c command) download(ctx context.Context, args []string) error {
	var f struct {
		clientFlags
		File string `arg:"-o,env:O" help:"new file to write; the id, if not given: names from a server are no paths"`
		ID   string `arg:"positional,required" help:"of the file, as the room was told"`
	}
	o, err := c.client("download", &f.clientFlags, &f, args)
	if err != nil {
		return err
	}
	if f.File == "" && strings.ContainsAny(f.ID, `/\.`) {
		return fmt.Errorf("%q is not an id", f.ID)
	}
	path := cmp.Or(f.File, f.ID)
	if err := client.Download(ctx, o, f.ID, path, c.progress()); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s\n", path)
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
