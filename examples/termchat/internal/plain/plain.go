// Package plain is the line interface of termchat, for scripts, tests and dumb terminals.
package plain

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// Run sends what it reads from in, line by line, and writes what happens to out, one line each. It
// returns, and closes chat, when in ends, after /quit, when ctx ends, or when chat is closed; only
// in the last case does it return an error, the reason. A read from in that is blocked when Run
// returns stays blocked.
func Run(ctx context.Context, chat *client.Client, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := &terminal{chat: chat, out: out, changed: make(chan struct{})}
	shown := make(chan error, 1)
	go func() {
		defer cancel()
		shown <- t.show()
	}()
	lines := readLines(ctx, in)
	for open := true; open; {
		select {
		case <-ctx.Done():
			open = false
		case line, ok := <-lines:
			open = ok && t.obey(ctx, line)
		}
	}
	_ = chat.Close() // never fails
	return <-shown
}

// maxLine is how many bytes of a line are read. A line of that length is refused, so the rest of it
// does not matter.
const maxLine = 64 << 10

// readLines sends the lines of in until in or ctx ends.
func readLines(ctx context.Context, in io.Reader) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		reader := bufio.NewReaderSize(in, maxLine)
		for {
			line, more, err := reader.ReadLine()
			text := string(line)
			for more && err == nil {
				_, more, err = reader.ReadLine()
			}
			if err != nil && text == "" {
				return
			}
			select {
			case lines <- text:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}

// terminal is where lines come from and go to.
type terminal struct {
	chat *client.Client

	mu      sync.Mutex // also: one line is written at a time
	out     io.Writer
	state   client.State
	members []string
	changed chan struct{} // closed and made anew when the state has changed
}

// show writes events until there are no more, and returns why.
func (t *terminal) show() error {
	var reason error
	for e := range t.chat.Events() {
		if e.Kind == client.StateChanged && e.State == client.Closed {
			reason = e.Err
		}
		t.note(e)
		if line := format(e); line != "" {
			t.print(line)
		}
	}
	return reason
}

// note remembers what commands ask for.
func (t *terminal) note(e client.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch e.Kind {
	case client.StateChanged:
		t.state = e.State
		close(t.changed)
		t.changed = make(chan struct{})
	case client.Members, client.Joined, client.Left:
		t.members = e.Members
	}
}

func (t *terminal) print(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = fmt.Fprintln(t.out, line) // a reader who has gone ends the program by other means
}

// format returns the line for an event. What people say begins with a name, everything else with an
// asterisk.
func format(e client.Event) string {
	switch e.Kind {
	case client.Message:
		return fmt.Sprintf("<%s> %s", e.Name, e.Text)
	case client.Joined:
		return fmt.Sprintf("* %s joined", e.Name)
	case client.Left:
		return fmt.Sprintf("* %s left", e.Name)
	case client.Members:
		return fmt.Sprintf("* in %s: %s", e.Room, strings.Join(e.Members, ", "))
	case client.Missed:
		return fmt.Sprintf("* missed %d", e.Missed)
	case client.FileShared:
		return fmt.Sprintf("* %s shared %s, %d bytes: /download %s", e.Name, e.File.Name, e.File.Size, e.File.ID)
	case client.Notice:
		return "* " + e.Text
	case client.StateChanged:
		return formatState(e)
	}
	return ""
}

func formatState(e client.Event) string {
	why := ""
	if e.Err != nil {
		why = ": " + wire.Line(e.Err.Error())
	}
	if e.State == client.Offline {
		return fmt.Sprintf("* %s%s; next attempt in %v", e.State, why, e.Retry.Round(1e6))
	}
	return fmt.Sprintf("* %s%s", e.State, why)
}

// obey handles a line of input. It returns false if Run is to end.
func (t *terminal) obey(ctx context.Context, line string) bool {
	command, rest, _ := strings.Cut(line, " ")
	rest = strings.TrimSpace(rest)
	var err error
	switch {
	case strings.TrimSpace(line) == "":
	case len(line) == maxLine:
		err = fmt.Errorf("the line has %d bytes or more; a message has %d at most", maxLine, wire.MaxText)
	case strings.HasPrefix(line, "//"):
		err = t.say(ctx, line[1:])
	case !strings.HasPrefix(line, "/"):
		err = t.say(ctx, line)
	case command == "/quit":
		return false
	case command == "/join":
		err = t.chat.Join(ctx, rest)
	case command == "/who":
		t.who()
	case command == "/upload":
		_, err = t.chat.Upload(ctx, rest, nil) // the room is told, and so are we
	case command == "/download":
		err = t.download(ctx, rest)
	case command == "/help":
		t.print(help)
	default:
		err = fmt.Errorf("no command %s; /help lists them", command)
	}
	if err != nil && ctx.Err() == nil {
		t.print("! " + wire.Line(err.Error()))
	}
	return ctx.Err() == nil
}

const help = "* /join ROOM  /who  /upload FILE  /download ID FILE  /quit  //text that begins with a slash"

// say sends a message. If there is no connection it waits for one, because a script does not check.
func (t *terminal) say(ctx context.Context, text string) error {
	for {
		t.mu.Lock()
		changed := t.changed
		t.mu.Unlock()
		err := t.chat.Send(ctx, text)
		if !errors.Is(err, client.ErrOffline) {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *terminal) who() {
	t.mu.Lock()
	members := t.members
	t.mu.Unlock()
	t.print(fmt.Sprintf("* in %s: %s", t.chat.Room(), strings.Join(members, ", ")))
}

func (t *terminal) download(ctx context.Context, args string) error {
	id, path, ok := strings.Cut(args, " ")
	if !ok {
		return errors.New("/download needs an id and the name of a new file")
	}
	if err := t.chat.Download(ctx, id, strings.TrimSpace(path), nil); err != nil {
		return err
	}
	t.print("* downloaded " + wire.Line(path))
	return nil
}
