package tui

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

// asScreen in the environment makes the test binary a full screen on a chat in which nothing
// happens.
const asScreen = "TERMCHAT_TEST_SCREEN"

func screenProcess() {
	chat := newFake()
	chat.events <- state(client.Online)
	if err := Run(context.Background(), chat, os.Stdin, os.Stdout, "ann"); err != nil {
		os.Stderr.WriteString("ended: " + err.Error() + "\n")
		os.Exit(1)
	}
}

// output is what was written to the terminal.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

// running is a Run on a pipe.
type running struct {
	t    *testing.T
	chat *fake
	keys *io.PipeWriter
	out  output
	stop context.CancelFunc
	done chan error
	last *model // valid after end
}

func begin(t *testing.T, environ ...string) *running {
	t.Helper()
	in, keys := io.Pipe()
	ctx, stop := context.WithCancel(context.Background())
	r := &running{t: t, chat: newFake(), keys: keys, stop: stop, done: make(chan error, 1)}
	cfg := config{name: "ann", environ: append([]string{"TERM=xterm-256color"}, environ...), width: 80, height: 24}
	go func() {
		var err error
		r.last, err = run(ctx, r.chat, in, &r.out, cfg)
		r.done <- err
	}()
	t.Cleanup(func() { stop(); keys.Close() })
	return r
}

func (r *running) types(text string) {
	_, err := io.WriteString(r.keys, text)
	require.NoError(r.t, err)
}

func (r *running) soon(text string) {
	r.t.Helper()
	exampletest.Soon(r.t, text, func() bool { return strings.Contains(ansi.Strip(r.out.String()), text) }, r.out.String)
}

// end waits for Run to return.
func (r *running) end() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.keys.Close()
		return err
	case <-time.After(within):
		require.FailNow(r.t, "Run has not returned")
		return nil
	}
}

// restored wants the terminal to be as it was.
func (r *running) restored() {
	r.t.Helper()
	out := r.out.String()
	for on, off := range map[string]string{
		"\x1b[?1049h": "\x1b[?1049l", // alternate screen
		"\x1b[?1002h": "\x1b[?1002l", // mouse
		"\x1b[?2004h": "\x1b[?2004l", // bracketed paste
		"\x1b[?25l":   "\x1b[?25h",   // cursor
	} {
		assert.Contains(r.t, out, on)
		assert.Greater(r.t, strings.LastIndex(out, off), strings.LastIndex(out, on), "%q", off)
	}
}

func TestWhatHappensIsShownAndWhatIsTypedIsSentUntilQuit(t *testing.T) {
	r := begin(t)
	r.chat.events <- state(client.Online)
	r.chat.events <- message("bob", "hello")
	r.soon("hello")
	r.types("hi\r")
	exampletest.Soon(t, "it is sent", func() bool { return len(r.chat.was()) == 1 }, r.out.String)
	r.types("/quit\r")
	require.NoError(t, r.end())
	r.restored()
	assert.Equal(t, []string{"send hi"}, r.chat.was())
	assert.Equal(t, client.Online, r.last.state)
	assert.Equal(t, "hello", r.last.log.entries[0].text)
}

func TestTypedLinesAreSentInOrder(t *testing.T) {
	r := begin(t)
	var want []string
	for _, c := range "abcdefghijklmnopqrstuvwxyz" {
		r.types(string(c) + "\r")
		want = append(want, "send "+string(c))
	}
	exampletest.Soon(t, "all are sent", func() bool { return len(r.chat.was()) == len(want) }, r.out.String)
	assert.Equal(t, want, r.chat.was())
	r.types("\x03")
	require.NoError(t, r.end())
}

func TestCtrlCClosedInputAndContextLeaveTheTerminalAsItWas(t *testing.T) {
	t.Run("Ctrl-C", func(t *testing.T) {
		r := begin(t)
		r.soon("connecting")
		r.types("\x03")
		require.NoError(t, r.end())
		r.restored()
	})
	t.Run("closed input", func(t *testing.T) {
		r := begin(t)
		r.soon("connecting")
		r.keys.Close()
		require.NoError(t, r.end())
		r.restored()
	})
	t.Run("lost terminal", func(t *testing.T) {
		r := begin(t)
		r.soon("connecting")
		r.keys.CloseWithError(errors.New("input/output error"))
		_ = r.end()
		r.restored()
	})
	t.Run("context", func(t *testing.T) {
		r := begin(t)
		r.soon("connecting")
		r.stop()
		require.ErrorIs(t, r.end(), context.Canceled)
		r.restored()
	})
	t.Run("context before the start", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		in, w := io.Pipe()
		defer w.Close()
		_, err := run(ctx, newFake(), in, new(output), config{environ: []string{"TERM=xterm"}, width: 80, height: 24})
		require.ErrorIs(t, err, context.Canceled)
	})
}

func TestRunCancelsATransferAndWaitsForIt(t *testing.T) {
	r := begin(t)
	r.chat.hold = make(chan struct{})
	r.types("/upload big\r")
	r.soon("↑ big")
	r.types("/quit\r")
	require.NoError(t, r.end())
}

func TestTheEndOfTheChatDoesNotEndRun(t *testing.T) {
	r := begin(t)
	r.chat.events <- client.Event{Kind: client.StateChanged, State: client.Closed, Err: errAny}
	close(r.chat.events)
	r.soon("the chat is over")
	r.types("/quit\r")
	require.NoError(t, r.end())
	assert.Equal(t, client.Closed, r.last.state)
}

func TestTheCountdownGoesOnByItself(t *testing.T) {
	r := begin(t)
	r.chat.events <- client.Event{Kind: client.StateChanged, State: client.Offline, Retry: 2 * time.Second}
	r.soon("again in 2 s")
	r.soon("trying again")
	r.types("\x03")
	require.NoError(t, r.end())
}

func TestNoColorIsRespectedWhateverItIsSetTo(t *testing.T) {
	for _, value := range []string{"1", "yes", "0"} {
		r := begin(t, "NO_COLOR="+value, "COLORTERM=truecolor")
		r.chat.events <- message("bob", "hello")
		r.soon("hello")
		r.types("\x03")
		require.NoError(t, r.end())
		assert.NotRegexp(t, `\x1b\[[0-9;]*(3[0-9]|4[0-9])[0-9;]*m`, r.out.String())
	}
}

func TestThereIsNoFullScreenWithoutATerminalThatCanDraw(t *testing.T) {
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	in, w := io.Pipe()
	defer w.Close()
	var out output
	for _, term := range []string{"", "dumb"} {
		_, err := run(context.Background(), newFake(), in, &out, config{environ: []string{"TERM=" + term}})
		require.ErrorIs(t, err, ErrNoTerminal)
	}
	_, err = run(context.Background(), newFake(), null, &out, config{environ: []string{"TERM=xterm"}})
	require.ErrorIs(t, err, ErrNoTerminal)
	assert.Empty(t, out.String())
}

func TestEventsComeManyAtOnce(t *testing.T) {
	events := make(chan client.Event, 2*maxBatch)
	for range 2 * maxBatch {
		events <- message("bob", "x")
	}
	batch := gather(<-events, events)
	assert.Len(t, batch, maxBatch)
	assert.Len(t, events, maxBatch)
	close(events)
	assert.Len(t, gather(client.Event{}, events), maxBatch)
	assert.Len(t, gather(client.Event{}, events), 2)
	assert.Len(t, gather(client.Event{}, events), 1)
}
