//go:build unix

package tui

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/launch"
)

// place is a termchat with a server that runs.
type place struct {
	t       *testing.T
	dir     string // of the program, the uploads, the people
	program string
	addr    string
	server  *launch.Process
}

// newPlace builds termchat and starts a server on any port.
func newPlace(t *testing.T) *place {
	t.Helper()
	dir := t.TempDir()
	program, err := launch.Build(dir, "termchat")
	require.NoError(t, err)
	p := &place{t: t, dir: dir, program: program, addr: "127.0.0.1:0"}
	p.serve()
	return p
}

// serve starts the server, where it was before if it was.
func (p *place) serve() {
	p.t.Helper()
	server, err := launch.Start(exec.Command(p.program, "serve", "-addr", p.addr, "-dir", filepath.Join(p.dir, "uploads")), within)
	require.NoError(p.t, err)
	p.t.Cleanup(server.Kill)
	p.server, p.addr = server, server.Addr
}

// join has somebody join in a shell's terminal.
func (p *place) join(x *terminal, name string) {
	x.t.Helper()
	x.enter("cd " + p.dir + "; before=$(stty -g); echo rea''dy")
	x.shows("ready")
	x.enter(p.program + " join -addr " + p.addr + " -name " + name + "; echo co''de $?")
	x.shows("#general", "● online", name)
}

func TestTwoPeopleChatInRealTerminals(t *testing.T) {
	open := terminals(t)
	p := newPlace(t)
	ann, bob := open(100, 24, "sh"), open(100, 24, "sh")
	p.join(ann, "ann")
	p.join(bob, "bob")

	t.Run("both see what is typed and who is here", func(t *testing.T) {
		ann.shows("→ bob joined", "2 here")
		ann.enter("hello, bob")
		bob.shows("ann │ hello, bob", "2 here")
		bob.enter("/he")
		bob.shows("/he: no such command")
		bob.enter("hello, ann")
		ann.shows("bob │ hello, ann")
	})
	t.Run("rooms are switched", func(t *testing.T) {
		bob.enter("/join other")
		bob.shows("#other", "— other —", "1 here")
		ann.enter("is bob still here?")
		ann.shows("is bob still here?")
		bob.enter("a quiet room")
		bob.shows("bob │ a quiet room")
		bob.enter("/join general")
		bob.shows("#general", "is bob still here?") // told by the room's history
	})
	t.Run("a file is uploaded and downloaded", func(t *testing.T) {
		content := strings.Repeat("a line of the report\n", 100_000)
		require.NoError(t, os.WriteFile(filepath.Join(p.dir, "report.txt"), []byte(content), 0o600))
		ann.enter("/upload report.txt")
		ann.shows("uploaded report.txt as")
		bob.shows("ann │ report.txt (2.1 MB)  /download ")
		bob.enter("/download " + p.id(bob) + " copy of it.txt")
		bob.shows("saved as copy of it.txt")
		got, err := os.ReadFile(filepath.Join(p.dir, "copy of it.txt"))
		require.NoError(t, err)
		assert.Equal(t, content, string(got))
		bob.enter("/upload missing")
		bob.shows("no such file")
	})
	t.Run("the size changes", func(t *testing.T) {
		bob.resize(50, 12)
		bob.becomes("no members", func(screen string) bool {
			return strings.Contains(screen, "#general") && !strings.Contains(screen, "2 here")
		})
		bob.resize(3, 1)
		bob.resize(120, 30)
		bob.shows("2 here", "#general", "hello, ann")
	})
	t.Run("the server is killed and comes back", func(t *testing.T) {
		p.server.Kill()
		ann.shows("offline")
		bob.shows("offline")
		bob.enter("can anybody hear me?")
		bob.shows("not connected; the message was not sent")
		p.serve()
		ann.shows("connected again", "● online", "the room has begun anew")
		bob.shows("connected again", "● online")
		ann.enter("here we are again")
		bob.shows("ann │ here we are again")
	})
	t.Run("leaving leaves the terminal as it was", func(t *testing.T) {
		bob.enter("/quit")
		bob.shows("code 0")
		bob.clean()
		ann.shows("← bob left")
		ann.press("C-c")
		ann.shows("code 0")
		ann.clean()
	})
}

// id is that of the last file on a screen.
func (p *place) id(x *terminal) string {
	p.t.Helper()
	screen := x.screen()
	i := strings.LastIndex(screen, ")  /download ")
	require.Positive(p.t, i, screen)
	return strings.Fields(screen[i+len(")  /download "):])[0]
}
