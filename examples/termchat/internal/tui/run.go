package tui

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
)

// ErrNoTerminal is why there is no full screen: input or output are no terminal, or $TERM says that
// it cannot draw.
var ErrNoTerminal = errors.New("no terminal that can show a full screen")

// config is what options change.
type config struct {
	name          string
	environ       []string
	width, height int // of what is not a terminal
}

// An Option changes how Run shows a chat.
type Option func(*config)

// WithName tells the own name, for the status line.
func WithName(name string) Option { return func(c *config) { c.name = name } }

// WithEnvironment gives other variables than the process's: TERM, NO_COLOR and what else describes
// a terminal.
func WithEnvironment(environ []string) Option { return func(c *config) { c.environ = environ } }

// WithSize is the size of the screen if out is not a terminal.
func WithSize(width, height int) Option {
	return func(c *config) { c.width, c.height = width, height }
}

// Run shows a chat on the terminal that in and out are, until the user leaves, in ends, ctx ends,
// or SIGINT, SIGTERM or SIGHUP arrives (a second signal has its usual effect). It returns nil if
// the user has left or in has ended, and otherwise why. It cancels and waits for whatever it has
// started, a transfer too, and leaves the terminal as it was: the alternate screen left, the cursor
// shown, the modes restored. It does not close c.
//
// The one thing that can outlive Run is Bubble Tea's reader of in: while a read that cannot be
// interrupted lasts, and in the moment in which more keys come in one go with the one that has
// ended Run, half a second is waited for it, and no longer.
//
// The chat's end does not end Run: what has been said and why it is over can be read until the user
// leaves.
func Run(ctx context.Context, c Chat, in io.Reader, out io.Writer, opts ...Option) error {
	cfg := config{environ: os.Environ(), width: 80, height: 24}
	for _, opt := range opts {
		opt(&cfg)
	}
	_, err := run(ctx, c, in, out, cfg)
	return err
}

// run is Run, and returns what was on the screen at last.
func run(ctx context.Context, c Chat, in io.Reader, out io.Writer, cfg config) (*model, error) {
	if !drawable(in, out, getenv(cfg.environ, "TERM")) {
		return nil, ErrNoTerminal
	}
	ctx, release := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer release()
	context.AfterFunc(ctx, release) // a second signal has its usual effect

	working, end := context.WithCancel(context.Background())
	defer end()
	var p *tea.Program
	send := func(msg tea.Msg) { p.Send(msg) }
	w := newWorkers(working, send)
	m := newModel(c, cfg.name, w, send)
	p = tea.NewProgram(m, cfg.program(withEnd(in, func() { send(tea.Quit()) }), out)...)
	stop := context.AfterFunc(ctx, p.Quit)
	defer stop()
	w.serve(c)
	_, err := p.Run()
	cause := context.Cause(ctx)
	end()
	w.wait()
	return m, errors.Join(err, cause)
}

// getenv returns the value of a variable, as the last of its name gives it.
func getenv(environ []string, name string) (value string) {
	for _, v := range environ {
		if rest, ok := strings.CutPrefix(v, name+"="); ok {
			value = rest
		}
	}
	return value
}

// program is how Bubble Tea is to behave. Signals are Run's.
func (c *config) program(in io.Reader, out io.Writer) []tea.ProgramOption {
	opts := []tea.ProgramOption{
		tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(c.environ),
		tea.WithWindowSize(c.width, c.height), tea.WithoutSignalHandler(),
	}
	if getenv(c.environ, "NO_COLOR") != "" { // whatever it is set to, says no-color.org
		opts = append(opts, tea.WithColorProfile(colorprofile.ASCII))
	}
	return opts
}
