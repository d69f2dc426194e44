package plain

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a server until the test ends.
func start(t *testing.T) *server.ServerHandle {
	t.Helper()
	cfg := server.DefaultConfig()
	cfg.Dir, cfg.LeaveGrace, cfg.CleanPeriod = t.TempDir(), 0, 10*time.Millisecond
	h, err := server.Start(context.Background(), exampletest.Listen(t), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, h.Stop(exampletest.Deadline(t))) })
	return h
}

// console is somebody at a keyboard.
type console struct {
	t      *testing.T
	in     *io.PipeWriter
	screen *io.PipeReader
	out    *bufio.Scanner // reads screen
	ended  chan error
	stop   context.CancelFunc
}

// join runs the line mode until the test ends.
func join(t *testing.T, addr, name string) *console {
	t.Helper()
	chat, err := client.New(client.Options{Addr: addr, Room: "general", Name: name, MinBackoff: time.Millisecond, MaxBackoff: 20 * time.Millisecond})
	require.NoError(t, err)
	in, keyboard := io.Pipe()
	screen, out := io.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	c := &console{t, keyboard, screen, bufio.NewScanner(screen), make(chan error, 1), cancel}
	go func() {
		err := Run(ctx, chat, in, out)
		_ = out.Close()
		c.ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		_ = in.Close()
		_ = screen.Close()
	})
	return c
}

func (c *console) types(line string) {
	c.t.Helper()
	_, err := io.WriteString(c.in, line+"\n")
	require.NoError(c.t, err)
}

// sees returns the next line that begins with something.
func (c *console) sees(start string) string {
	c.t.Helper()
	defer time.AfterFunc(exampletest.Within, func() { _ = c.screen.Close() }).Stop()
	var instead []string
	for c.out.Scan() {
		if strings.HasPrefix(c.out.Text(), start) {
			return c.out.Text()
		}
		instead = append(instead, c.out.Text())
	}
	require.FailNow(c.t, "has not seen "+start, "but %q", instead)
	return ""
}

// end returns how Run ended, after whatever it had to write.
func (c *console) end() error {
	c.t.Helper()
	defer time.AfterFunc(exampletest.Within, func() { _ = c.screen.Close() }).Stop()
	for c.out.Scan() {
	}
	return exampletest.Receive(c.t, "the end of Run", c.ended)
}

func TestLinesBecomeMessagesAndEventsBecomeLines(t *testing.T) {
	h := start(t)
	ann := join(t, h.Addr(), "ann")
	assert.Equal(t, "* in general: ann", ann.sees("* in"))
	bob := join(t, h.Addr(), "bob")
	bob.sees("* in")
	ann.sees("* bob joined")
	ann.types("hello \x1b[31mbob")
	assert.Equal(t, "<ann> hello ␛[31mbob", bob.sees("<"))
	bob.types("//hi ann")
	assert.Equal(t, "<bob> /hi ann", ann.sees("<bob>"))
	bob.types("/quit")
	require.NoError(t, bob.end())
	ann.sees("* bob left")
	require.NoError(t, ann.in.Close())
	require.NoError(t, ann.end(), "the end of the input is one way to leave")
}

func TestCommandsDoWhatTheySay(t *testing.T) {
	h := start(t)
	ann := join(t, h.Addr(), "ann")
	ann.sees("* in general")
	bob := join(t, h.Addr(), "bob")
	bob.sees("* in general")
	ann.sees("* bob joined")
	ann.types("/who")
	ann.sees("* in general: ann, bob")
	ann.types("/help")
	ann.sees("* /join")
	path := filepath.Join(t.TempDir(), "notes.txt")
	require.NoError(t, os.WriteFile(path, []byte("notes"), 0o600))
	ann.types("/upload " + path)
	shared := bob.sees("* ann shared notes.txt, 5 bytes: /download ")
	copied := filepath.Join(t.TempDir(), "copy")
	bob.types(shared[strings.Index(shared, "/download "):] + " " + copied)
	bob.sees("* downloaded")
	got, err := os.ReadFile(copied)
	require.NoError(t, err)
	assert.Equal(t, "notes", string(got))

	bob.types("/join other")
	bob.sees("* in other: bob")
	ann.sees("* bob left")
	bob.types("/who")
	bob.sees("* in other: bob")
}

func TestWhatCannotBeDoneIsSaidAndTheChatGoesOn(t *testing.T) {
	h := start(t)
	ann := join(t, h.Addr(), "ann")
	ann.sees("* in")
	for line, says := range map[string]string{
		"/nothing":                 "! no command /nothing",
		"/join":                    "! room must be a name",
		"/upload /nonexistent":     "! open /nonexistent",
		"/download x":              "! /download needs",
		"/download x /dev/null/x":  "! download refused: no such file",
		strings.Repeat("x", 5000):  "! text has 5000 bytes",
		strings.Repeat("x", 3<<20): "! the line has 65536 bytes or more",
		"   ":                      "",
	} {
		ann.types(line)
		if says != "" {
			ann.sees(says)
		}
	}
	ann.types("still here")
	ann.sees("<ann> still here")
}

func TestALineWithoutAnEndAtTheEndIsALine(t *testing.T) {
	h := start(t)
	ann, bob := join(t, h.Addr(), "ann"), join(t, h.Addr(), "bob")
	bob.sees("* in")
	_, err := io.WriteString(ann.in, "one\r\n\ntwo")
	require.NoError(t, err)
	require.NoError(t, ann.in.Close())
	require.NoError(t, ann.end())
	assert.Equal(t, "<ann> one", bob.sees("<"))
	assert.Equal(t, "<ann> two", bob.sees("<"))
}

func TestLinesWaitForAConnection(t *testing.T) {
	h := start(t)
	require.NoError(t, h.Stop(exampletest.Deadline(t)))
	ann := join(t, h.Addr(), "ann")
	ann.types("early")
	ann.sees("* offline")
	cfg := server.DefaultConfig()
	cfg.Dir = t.TempDir()
	ln, err := net.Listen("tcp", h.Addr())
	require.NoError(t, err)
	again, err := server.Start(context.Background(), ln, cfg)
	require.NoError(t, err)
	defer func() { assert.NoError(t, again.Stop(exampletest.Deadline(t))) }()
	ann.sees("<ann> early")
	ann.types("/quit")
	require.NoError(t, ann.end())
}

func TestTheEndOfTheContextIsTheEnd(t *testing.T) {
	h := start(t)
	ann := join(t, h.Addr(), "ann")
	ann.sees("* in")
	ann.stop()
	require.NoError(t, ann.end())
}

func TestWhoIsReplacedIsToldAndLeavesWithThatReason(t *testing.T) {
	h := start(t)
	ann := join(t, h.Addr(), "ann")
	ann.sees("* in")
	join(t, h.Addr(), "ann").sees("* in")
	ann.sees("* closed: replaced")
	require.ErrorIs(t, ann.end(), client.ErrReplaced)
}

func TestEachEventIsOneLine(t *testing.T) {
	for line, e := range map[string]client.Event{
		"<ann> hi":                               {Kind: client.Message, Name: "ann", Text: "hi"},
		"* ann joined":                           {Kind: client.Joined, Name: "ann"},
		"* ann left":                             {Kind: client.Left, Name: "ann"},
		"* in r: a, b":                           {Kind: client.Members, Room: "r", Members: []string{"a", "b"}},
		"* missed 7":                             {Kind: client.Missed, Missed: 7},
		"* news":                                 {Kind: client.Notice, Text: "news"},
		"* online":                               {Kind: client.StateChanged, State: client.Online},
		"* closed: ␛x":                           {Kind: client.StateChanged, State: client.Closed, Err: errors.New("\x1bx")},
		"* ann shared f, 3 bytes: /download id":  {Kind: client.FileShared, Name: "ann", File: client.File{ID: "id", Name: "f", Size: 3}},
		"* offline: why; next attempt in 1.235s": {Kind: client.StateChanged, State: client.Offline, Err: errors.New("why"), Retry: 1234567890},
		"":                                       {Kind: 99},
	} {
		assert.Equal(t, line, format(e))
	}
}
