package tui

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	tea "charm.land/bubbletea/v2"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
)

// A command can be typed after a slash.
type command struct {
	name, args, help string
	run              func(m *model, args string) tea.Cmd
}

// commands lists all commands, in the order in which /help shows them.
func commands() []command {
	return []command{
		{"join", "ROOM", "go to another room", (*model).join},
		{"who", "", "who is here", (*model).who},
		{"upload", "FILE", "share a file with the room", (*model).upload},
		{"download", "ID [PATH]", "fetch a shared file", (*model).download},
		{"cancel", "", "stop a transfer (or Esc)", (*model).stop},
		{"help", "", "this list", (*model).help},
		{"quit", "", "leave (or Ctrl-C)", (*model).quit},
	}
}

// command executes a line that begins with a slash.
func (m *model) command(line string) tea.Cmd {
	name, args, _ := strings.Cut(strings.TrimPrefix(line, "/"), " ")
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		m.say(failed, "/"+name+": no such command; /help lists them, and // begins a message with a slash")
		return nil
	}
	return all[i].run(m, strings.TrimSpace(args))
}

// sendLine sends a message. It appears when it comes back, in its place among the others.
func (m *model) sendLine(text string) {
	m.inTurn(strconv.Quote(text), func(ctx context.Context) error { return m.chat.Send(ctx, text) })
}

// inTurn runs f after everything that was typed before. what names it in the error, if f fails.
func (m *model) inTurn(what string, f func(context.Context) error) {
	if !m.work.queue(func(ctx context.Context) tea.Msg { return doneMsg{what, f(ctx)} }) {
		m.say(failed, what+": too much is waiting to be sent")
	}
}

func (m *model) join(room string) tea.Cmd {
	if room == "" {
		m.say(failed, "/join ROOM: which room?")
		return nil
	}
	m.inTurn("/join "+room, func(ctx context.Context) error { return m.chat.Join(ctx, room) })
	return nil
}

func (m *model) who(string) tea.Cmd {
	m.say(aside, fmt.Sprintf("%d here: %s", len(m.members), strings.Join(m.members, ", ")))
	return nil
}

func (m *model) help(string) tea.Cmd {
	for _, c := range commands() {
		m.say(aside, fmt.Sprintf("%-20s %s", "/"+c.name+" "+c.args, c.help))
	}
	m.say(aside, "Tab completes. Up and Down: what was typed before. PgUp, PgDn, wheel: scroll; Esc: back to the end.")
	m.say(aside, "Text is selected with the mouse while Shift is held.")
	return nil
}

func (m *model) quit(string) tea.Cmd { return tea.Quit }

func (m *model) stop(string) tea.Cmd {
	if m.moving == nil {
		m.say(aside, "no transfer to stop")
		return nil
	}
	m.moving.cancel()
	return nil
}

func (m *model) upload(path string) tea.Cmd {
	if path = expand(path); path == "" {
		m.say(failed, "/upload FILE: which file?")
		return nil
	}
	m.move("upload", filepath.Base(path), func(ctx context.Context, progress func(done, total int64)) (client.File, error) {
		return m.chat.Upload(ctx, path, progress)
	})
	return nil
}

func (m *model) download(args string) tea.Cmd {
	id, path, _ := strings.Cut(args, " ")
	if id == "" {
		m.say(failed, "/download ID [PATH]: which file?")
		return nil
	}
	if path = expand(strings.TrimSpace(path)); path == "" {
		path = m.nameOf(id)
	}
	m.move("download", path, func(ctx context.Context, progress func(done, total int64)) (client.File, error) {
		return client.File{ID: id, Name: path}, m.chat.Download(ctx, id, path, progress)
	})
	return nil
}

// nameOf returns where a download goes by default: a name in the working directory, never hidden
// and never outside of it, whatever name the file was shared under.
func (m *model) nameOf(id string) string {
	name := id
	for _, f := range m.files {
		if f.ID == id {
			name = f.Name
		}
	}
	name = strings.TrimLeft(filepath.Base(strings.ReplaceAll(name, `\`, "/")), "./")
	if name == "" {
		return "download"
	}
	return name
}

// expand removes the quotes that terminals put around the path of a dropped file, and replaces a
// leading tilde by the home directory.
func expand(path string) string {
	if n := len(path); n >= 2 && (path[0] == '\'' || path[0] == '"') && path[n-1] == path[0] {
		path = path[1 : n-1]
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}
