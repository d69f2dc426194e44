// Package tmux runs programs in terminals that are not on any screen, types into them and looks at
// what they show. The tests of the full screen are written with it, and its picture is taken with
// it.
package tmux

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ErrMissing is returned by Start where tmux is not installed.
var ErrMissing = errors.New("tmux is not installed")

// poll is how often Wait looks.
const poll = 20 * time.Millisecond

// A Server is a tmux of its own, apart from any other that runs. It is not safe for concurrent use.
type Server struct {
	dir string // of the socket
}

// Start begins a Server. Close ends it.
func Start() (*Server, error) {
	if _, err := exec.LookPath("tmux"); err != nil {
		return nil, ErrMissing
	}
	dir, err := os.MkdirTemp("", "tmux") // short: the path of a socket must be
	if err != nil {
		return nil, err
	}
	return &Server{dir}, nil
}

// Close ends all that runs in the Server's terminals.
func (s *Server) Close() error {
	_, _ = s.run("kill-server") // there may be none any more
	return os.RemoveAll(s.dir)
}

// run gives tmux a command and returns what it prints.
func (s *Server) run(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-S", filepath.Join(s.dir, "socket"), "-f", os.DevNull, "-u"}, args...)...)
	cmd.Env = append(os.Environ(), "TMUX=")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("tmux %s: %w: %s", args[0], err, &stderr)
	}
	return string(out), nil
}

// A Terminal is one that a program runs in.
type Terminal struct {
	server *Server
	id     string
}

// Open runs a program in a new terminal of a size. The variables are added to the environment.
func (s *Server) Open(width, height int, variables []string, program ...string) (*Terminal, error) {
	args := []string{"new-session", "-d", "-P", "-F", "#{pane_id}", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height)}
	for _, v := range variables {
		args = append(args, "-e", v)
	}
	id, err := s.run(append(append(args, "--"), program...)...)
	if err != nil {
		return nil, err
	}
	return &Terminal{s, strings.TrimSpace(id)}, nil
}

// Type types text as it is.
func (t *Terminal) Type(text string) error {
	_, err := t.server.run("send-keys", "-t", t.id, "-l", "--", text)
	return err
}

// Press presses keys by the names that tmux has for them: Enter, C-c, PageUp.
func (t *Terminal) Press(keys ...string) error {
	_, err := t.server.run(append([]string{"send-keys", "-t", t.id, "--"}, keys...)...)
	return err
}

// Enter types a line.
func (t *Terminal) Enter(line string) error {
	return errors.Join(t.Type(line), t.Press("Enter"))
}

// Resize changes the size.
func (t *Terminal) Resize(width, height int) error {
	_, err := t.server.run("resize-window", "-t", t.id, "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
	return err
}

// Screen returns what the terminal shows, without looks.
func (t *Terminal) Screen() (string, error) {
	return t.server.run("capture-pane", "-p", "-t", t.id)
}

// Colours returns what the terminal shows, with escape sequences for the looks.
func (t *Terminal) Colours() (string, error) {
	return t.server.run("capture-pane", "-p", "-e", "-t", t.id)
}

// Ask returns the value of one of tmux's formats, such as #{alternate_on}.
func (t *Terminal) Ask(format string) (string, error) {
	out, err := t.server.run("display-message", "-p", "-t", t.id, format)
	return strings.TrimSpace(out), err
}

// Close takes the terminal away from what runs in it.
func (t *Terminal) Close() error {
	_, err := t.server.run("kill-pane", "-t", t.id)
	return err
}

// Wait returns when all texts are on the screen, or an error with the screen once that takes longer
// than within.
func (t *Terminal) Wait(within time.Duration, texts ...string) error {
	return t.WaitFor(within, fmt.Sprintf("%q", texts), func(screen string) bool {
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				return false
			}
		}
		return true
	})
}

// WaitFor is Wait for anything that can be seen on a screen; what says it.
func (t *Terminal) WaitFor(within time.Duration, what string, seen func(screen string) bool) error {
	for deadline := time.Now().Add(within); ; time.Sleep(poll) {
		screen, err := t.Screen()
		if err != nil {
			return err
		}
		if seen(screen) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not on the screen: %s\n%s", what, screen)
		}
	}
}
