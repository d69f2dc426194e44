package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/launch"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/tmux"
)

const (
	width, height = 96, 18
	within        = 30 * time.Second
)

// scene is a directory with termchat built in it, a server that runs, and terminals.
type scene struct {
	dir, program string
	server       *launch.Process
	tmux         *tmux.Server
}

// newScene builds termchat and starts its server.
func newScene() (*scene, error) {
	terminals, err := tmux.Start()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "picture")
	if err != nil {
		return nil, errors.Join(err, terminals.Close())
	}
	s := &scene{dir: dir, tmux: terminals}
	s.program, err = launch.Build(dir, "termchat")
	if err == nil {
		err = errors.Join(s.files(), s.serve())
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

// files makes what is uploaded. The large one has no content on the disk: it is to be on its way
// for a while.
func (s *scene) files() error {
	return errors.Join(
		os.WriteFile(filepath.Join(s.dir, "floorplan.pdf"), make([]byte, 1_834_211), 0o600),
		os.WriteFile(filepath.Join(s.dir, "demo.mp4"), nil, 0o600),
		os.Truncate(filepath.Join(s.dir, "demo.mp4"), 512<<20),
	)
}

func (s *scene) serve() (err error) {
	s.server, err = launch.Start(exec.Command(s.program, "serve", "-addr", "127.0.0.1:0", "-dir", filepath.Join(s.dir, "uploads")), within)
	return err
}

// close ends all of it.
func (s *scene) close() error {
	err := s.tmux.Close()
	if s.server != nil {
		s.server.Kill()
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// join has somebody come in.
func (s *scene) join(name string) (*tmux.Terminal, error) {
	command := fmt.Sprintf("cd %s && exec ./termchat join -addr %s -name %s", s.dir, s.server.Addr, name)
	t, err := s.tmux.Open(width, height, []string{"NO_COLOR="}, "sh", "-c", command)
	if err != nil {
		return nil, err
	}
	return t, t.Wait(within, "● online")
}

// script is who enters what, and what is on ann's screen then.
var script = [...]struct{ name, line, shown string }{
	{"bob", "morning! did anybody look at the new office?", "new office?"},
	{"dora", "yes, yesterday. it is bright, and the kitchen is huge", "is huge"},
	{"ann", "then we need a plan of who sits where before everything is in boxes", "in boxes"},
	{"dora", "/upload floorplan.pdf", "floorplan.pdf (1.8 MB)"},
	{"carl", "I take any desk that is far from the printer. the last one beeped at me for three years, and I still hear it in my sleep", "three years"},
	{"bob", "ann: is the demo still on for today?", "for today?"},
	{"ann", "at two. here is the recording of the last one", "last one"},
}

// play has them talk, and returns ann's screen with its looks while she uploads something.
func (s *scene) play() (string, error) {
	people := make(map[string]*tmux.Terminal)
	for _, name := range []string{"ann", "bob", "dora", "carl"} {
		t, err := s.join(name)
		if err != nil {
			return "", err
		}
		people[name] = t
		if err := people["ann"].Wait(within, fmt.Sprintf("%d here", len(people))); err != nil {
			return "", err
		}
	}
	for _, does := range script {
		if err := people[does.name].Enter(does.line); err != nil {
			return "", err
		}
		if err := people["ann"].Wait(within, does.shown); err != nil {
			return "", err
		}
	}
	return s.last(people["ann"], people["carl"])
}

// halfWay is a progress bar in the middle of its way.
var halfWay = regexp.MustCompile(`demo\.mp4 .* [4-8]\d%`)

// last is the end of the play: carl leaves, and ann uploads a large file and types meanwhile.
func (s *scene) last(ann, carl *tmux.Terminal) (string, error) {
	if err := errors.Join(carl.Enter("/quit"), ann.Wait(within, "carl left")); err != nil {
		return "", err
	}
	if err := errors.Join(ann.Enter("/upload demo.mp4"), ann.Type("mind the first minute, it")); err != nil {
		return "", err
	}
	if err := ann.WaitFor(within, "half of an upload", halfWay.MatchString); err != nil {
		return "", err
	}
	screen, err := ann.Colours()
	return screen, errors.Join(err, ann.Press("Escape"), ann.Wait(within, "cancelled"))
}
