//go:build unix

package tui

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

// terminals returns a way to open terminals that are there until the test ends.
func terminals(t *testing.T) func(width, height int, program ...string) *terminal {
	t.Helper()
	m := startTmux(t)
	return func(width, height int, program ...string) *terminal {
		t.Helper()
		return m.terminal(width, height, []string{"TERM=screen-256color", asScreen + "=", "ENV=", "NO_COLOR="}, program...)
	}
}

// modes are the terminal's, as far as tmux tells them: alternate screen, cursor, mouse, keypad.
func (x *terminal) modes() string {
	x.t.Helper()
	return x.ask("#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_flag} #{keypad_cursor_flag}")
}

// shell is a terminal with a shell in it that has told how its line discipline is.
func shell(t *testing.T) *terminal {
	x := terminals(t)(80, 24, "sh")
	x.enter("before=$(stty -g); echo rea''dy")
	x.shows("ready")
	return x
}

// clean wants everything to be as the shell had it before.
func (x *terminal) clean() {
	x.t.Helper()
	x.enter("test \"$before\" = \"$(stty -g)\" && echo sa''me")
	x.shows("ready", "same") // what was there before the full screen, too
	assert.Equal(x.t, "0 1 0 0 0", x.modes())
}

// open runs the full screen in a shell's terminal.
func (x *terminal) open() {
	x.t.Helper()
	x.enter(asScreen + "=1 " + os.Args[0] + "; echo co''de $?")
	x.shows("● online")
	assert.True(x.t, strings.HasPrefix(x.modes(), "1 0 1"), x.modes())
}

func TestLeavingLeavesTheTerminalAsItWas(t *testing.T) {
	for name, leave := range map[string]func(x *terminal){
		"quit":   func(x *terminal) { x.enter("/quit") },
		"Ctrl-C": func(x *terminal) { x.press("C-c") },
		"Ctrl-D": func(x *terminal) { x.press("C-d") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := shell(t)
			x.open()
			leave(x)
			x.shows("code 0")
			x.clean()
		})
	}
}

func TestASignalLeavesTheTerminalAsItWas(t *testing.T) {
	for name, number := range map[string]syscall.Signal{"SIGTERM": syscall.SIGTERM, "SIGINT": syscall.SIGINT, "SIGHUP": syscall.SIGHUP} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := shell(t)
			x.open()
			require.NoError(t, syscall.Kill(x.foreground(), number))
			x.shows("ended: ", "code 1")
			x.clean()
		})
	}
}

// foreground is the process that has the terminal: the full screen.
func (x *terminal) foreground() int {
	x.t.Helper()
	stat, err := os.ReadFile("/proc/" + x.ask("#{pane_pid}") + "/stat")
	if err != nil {
		x.t.Skip("needs /proc: ", err)
	}
	// After the name, in parentheses: state, parent, group, session, terminal, the group in its
	// foreground.
	_, rest, _ := strings.Cut(string(stat), ") ")
	group, err := strconv.Atoi(strings.Fields(rest)[5])
	require.NoError(x.t, err)
	return group
}

func TestALostTerminalEndsTheProgram(t *testing.T) {
	x := shell(t)
	x.open()
	pid := x.foreground()
	x.close()
	exampletest.Soon(t, "the process ends", func() bool { return syscall.Kill(pid, 0) != nil })
}

func TestSuspendingGivesTheTerminalBackForAWhile(t *testing.T) {
	x := shell(t)
	x.enter("set -m")
	x.open()
	x.press("C-z")
	x.shows("Stopped")
	assert.True(t, strings.HasPrefix(x.modes(), "0 1 0"), x.modes())
	x.enter("fg")
	x.shows("● online")
	x.enter("/quit")
	x.shows("ready")
	x.clean()
}
