package tui

import (
	"context"
	"errors"
	"io"
	"os"
	"os/signal"
	"syscall"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/colorprofile"
	uv "github.com/charmbracelet/ultraviolet"
)

// ErrNoTerminal is why there is no full screen: input or output are no terminal, or $TERM says that
// it cannot draw.
var ErrNoTerminal = errors.New("no terminal that can show a full screen")

// config is what Run takes from the process; tests give others.
type config struct {
	name          string
	environ       []string // TERM, NO_COLOR and what else describes a terminal
	width, height int      // of what is not a terminal
}

// Run shows a chat on the terminal that in and out are, until the user leaves, in ends, ctx ends,
// or SIGINT, SIGTERM or SIGHUP arrives (a second signal has its usual effect). name is the user's,
// for the status line. Run returns nil if the user has left or in has ended, and otherwise why. It
// cancels and waits for whatever it has started, a transfer too, and leaves the terminal as it was:
// the alternate screen left, the cursor shown, the modes restored. It does not close c.
//
// The one thing that can outlive Run is Bubble Tea's reader of in: while a read that cannot be
// interrupted lasts, and in the moment in which more keys come in one go with the one that has
// ended Run, half a second is waited for it, and no longer.
//
// The chat's end does not end Run: what has been said and why it is over can be read until the user
// leaves.
func Run(ctx context.Context, c Chat, in io.Reader, out io.Writer, name string) error {
	_, err := run(ctx, c, in, out, config{name: name, environ: os.Environ(), width: 80, height: 24})
	return err
}

// run is Run, and returns what was on the screen at last.
func run(ctx context.Context, c Chat, in io.Reader, out io.Writer, cfg config) (*model, error) {
	if !drawable(in, out, uv.Environ(cfg.environ).Getenv("TERM")) {
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

// program is how Bubble Tea is to behave. Signals are Run's.
func (c *config) program(in io.Reader, out io.Writer) []tea.ProgramOption {
	opts := []tea.ProgramOption{
		tea.WithInput(in), tea.WithOutput(out), tea.WithEnvironment(c.environ),
		tea.WithWindowSize(c.width, c.height), tea.WithoutSignalHandler(),
	}
	if uv.Environ(c.environ).Getenv("NO_COLOR") != "" { // whatever it is set to, says no-color.org
		opts = append(opts, tea.WithColorProfile(colorprofile.ASCII))
	}
	return opts
}
