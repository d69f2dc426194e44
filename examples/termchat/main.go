// Termchat is a chat for the terminal, and the library in a service that people talk through:
// rooms, presence, history, clients that come back and resume, and files. README.md explains how it
// works.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/fbd86cad/broadcast/examples/internal/drain"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/plain"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/server"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/tui"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// Exit codes.
const (
	exitOK    = 0
	exitError = 1
	exitUsage = 2
)

func main() {
	os.Exit(run(drain.UntilSignal(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

const usage = `usage:
  termchat serve    [-addr HOST:PORT] [-dir DIR]
  termchat join     [-addr HOST:PORT] [-room ROOM] -name NAME [-plain]
  termchat upload   [-addr HOST:PORT] [-room ROOM] -name NAME FILE
  termchat download [-addr HOST:PORT] [-o FILE] ID
  termchat COMMAND -h lists the flags of a command
`

// command is one of the subcommands, with its flags parsed.
type command struct {
	flags  *flag.FlagSet
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
		if name == "-h" || name == "-help" || name == "--help" || name == "help" {
			return exitOK
		}
		return exitUsage
	}
	c := command{flag.NewFlagSet("termchat "+name, flag.ContinueOnError), stdin, stdout, stderr}
	c.flags.SetOutput(stderr)
	switch err := do(c, ctx, args[1:]); {
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

// parse parses the flags and returns the arguments after them, of which there must be n.
func (c command) parse(args []string, n int) ([]string, error) {
	if err := c.flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errUsage
	}
	if c.flags.NArg() != n {
		fmt.Fprintf(c.stderr, "termchat: %d arguments after the flags, not %d\n%s", c.flags.NArg(), n, usage)
		return nil, errUsage
	}
	return c.flags.Args(), nil
}

const defaultAddr = "127.0.0.1:7777"

// clientFlags are the flags that all commands that talk to a server have.
func (c command) clientFlags() *client.Options {
	o := &client.Options{}
	c.flags.StringVar(&o.Addr, "addr", defaultAddr, "`address` of the server")
	return o
}

func (c command) memberFlags() *client.Options {
	o := c.clientFlags()
	c.flags.StringVar(&o.Room, "room", "general", "`name` of the room")
	c.flags.StringVar(&o.Name, "name", os.Getenv("USER"), "your `name` in the room")
	return o
}

func (c command) serve(ctx context.Context, args []string) error {
	cfg := server.DefaultConfig()
	c.flags.StringVar(&cfg.Addr, "addr", cfg.Addr, "`address` to listen on; port 0 picks a free one")
	c.flags.StringVar(&cfg.Dir, "dir", cfg.Dir, "`directory` for uploads; made if there is none")
	c.flags.Int64Var(&cfg.MaxUpload, "max-upload", cfg.MaxUpload, "`bytes` of one upload")
	c.flags.Int64Var(&cfg.MaxStored, "max-stored", cfg.MaxStored, "`bytes` of all uploads together")
	c.flags.DurationVar(&cfg.HistoryAge, "history", cfg.HistoryAge, "how long a room's messages are kept")
	verbose := c.flags.Bool("v", false, "log more than warnings")
	if _, err := c.parse(args, 0); err != nil {
		return err
	}
	level := slog.LevelWarn
	if *verbose {
		level = slog.LevelDebug
	}
	cfg.Log = slog.New(slog.NewTextHandler(c.stderr, &slog.HandlerOptions{Level: level}))
	h, err := server.Start(ctx, cfg)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "listening on %s\n", h.Addr())
	return h.Wait()
}

func (c command) join(ctx context.Context, args []string) error {
	o := c.memberFlags()
	lines := c.flags.Bool("plain", false, "lines on standard input and output instead of the full screen")
	if _, err := c.parse(args, 0); err != nil {
		return err
	}
	chat, err := client.New(*o)
	if err != nil {
		return err
	}
	if *lines {
		return errors.Join(plain.Run(ctx, chat, c.stdin, c.stdout), chat.Close())
	}
	err = errors.Join(tui.Run(ctx, chat, c.stdin, c.stdout, tui.WithName(o.Name)), chat.Close())
	switch {
	case errors.Is(err, tui.ErrNoTerminal):
		return fmt.Errorf("%w; try -plain", err)
	case ctx.Err() != nil:
		return nil // a signal is one way to leave
	}
	return err
}

func (c command) upload(ctx context.Context, args []string) error {
	o := c.memberFlags()
	rest, err := c.parse(args, 1)
	if err != nil {
		return err
	}
	file, err := client.Upload(ctx, *o, rest[0], c.progress())
	if err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s\n", file.ID)
	return nil
}

func (c command) download(ctx context.Context, args []string) error {
	o := c.clientFlags()
	path := c.flags.String("o", "", "new `file` to write; the id, if not given: names from a server are no paths")
	rest, err := c.parse(args, 1)
	if err != nil {
		return err
	}
	if *path == "" {
		if strings.ContainsAny(rest[0], `/\.`) {
			return fmt.Errorf("%q is not an id", rest[0])
		}
		*path = rest[0]
	}
	if err := client.Download(ctx, *o, rest[0], *path, c.progress()); err != nil {
		return err
	}
	fmt.Fprintf(c.stdout, "%s\n", *path)
	return nil
}

// progress returns a function that draws a bar on standard error, if that is a terminal.
func (c command) progress() func(done, total int64) {
	const width = 30
	if !isTerminal(c.stderr) {
		return nil
	}
	drawn := int64(-1)
	return func(done, total int64) {
		if total <= 0 {
			return
		}
		percent := 100 * done / total
		if percent == drawn {
			return
		}
		drawn = percent
		full := int(percent * width / 100)
		fmt.Fprintf(c.stderr, "\r[%s%s] %3d %%", strings.Repeat("#", full), strings.Repeat(".", width-full), percent)
		if done == total {
			fmt.Fprintln(c.stderr)
		}
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
