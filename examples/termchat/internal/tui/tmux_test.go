//go:build unix

package tui

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tmux is a separate tmux server, in which programs run in terminals that nobody sees. Any failure
// fails the test.
type tmux struct {
	t   *testing.T
	dir string // of its socket
}

// startTmux starts a tmux that ends with the test, or skips the test if tmux is not installed.
func startTmux(t *testing.T) *tmux {
	t.Helper()
	if testing.Short() {
		t.Skip("a real terminal takes a while")
	}
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Skip("needs a terminal: ", err)
	}
	dir, err := os.MkdirTemp("", "tmux") // short: the path of a socket must be
	require.NoError(t, err)
	m := &tmux{t, dir}
	t.Cleanup(func() {
		_ = m.command("kill-server").Run() // there may be none any more
		assert.NoError(t, os.RemoveAll(dir))
	})
	return m
}

func (m *tmux) command(args ...string) *exec.Cmd {
	cmd := exec.Command("tmux", append([]string{"-S", filepath.Join(m.dir, "socket"), "-f", os.DevNull, "-u"}, args...)...)
	cmd.Env = append(os.Environ(), "TMUX=")
	return cmd
}

// run gives tmux a command and returns what it prints.
func (m *tmux) run(args ...string) string {
	m.t.Helper()
	out, err := m.command(args...).CombinedOutput()
	require.NoError(m.t, err, "tmux %s: %s", args[0], out)
	return string(out)
}

// terminal is a real one that a program runs in.
type terminal struct {
	*tmux
	id string
}

// terminal runs a program in a new terminal of a size. The variables are added to the environment.
func (m *tmux) terminal(width, height int, variables []string, program ...string) *terminal {
	m.t.Helper()
	args := []string{"new-session", "-d", "-P", "-F", "#{pane_id}", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height)}
	for _, v := range variables {
		args = append(args, "-e", v)
	}
	return &terminal{m, strings.TrimSpace(m.run(append(append(args, "--"), program...)...))}
}

// enter types a line.
func (x *terminal) enter(line string) {
	x.t.Helper()
	x.run("send-keys", "-t", x.id, "-l", "--", line)
	x.press("Enter")
}

// press presses keys by the names that tmux has for them: Enter, C-c, PageUp.
func (x *terminal) press(keys ...string) {
	x.t.Helper()
	x.run(append([]string{"send-keys", "-t", x.id, "--"}, keys...)...)
}

func (x *terminal) resize(width, height int) {
	x.t.Helper()
	x.run("resize-window", "-t", x.id, "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
}

// screen returns what the terminal shows, without looks.
func (x *terminal) screen() string { x.t.Helper(); return x.run("capture-pane", "-p", "-t", x.id) }

// ask returns the value of one of tmux's formats, such as #{alternate_on}.
func (x *terminal) ask(format string) string {
	x.t.Helper()
	return strings.TrimSpace(x.run("display-message", "-p", "-t", x.id, format))
}

// close closes the terminal while the program is still running.
func (x *terminal) close() { x.t.Helper(); x.run("kill-pane", "-t", x.id) }

// shows waits until all texts are on the screen.
func (x *terminal) shows(texts ...string) {
	x.t.Helper()
	x.becomes(strings.Join(texts, ", "), func(screen string) bool {
		return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(screen, text) })
	})
}

// becomes waits for a screen.
func (x *terminal) becomes(what string, seen func(screen string) bool) {
	x.t.Helper()
	for deadline := time.Now().Add(within); !seen(x.screen()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			require.FailNow(x.t, "not on the screen: "+what, x.screen())
		}
	}
}
