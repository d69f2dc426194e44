// Picture takes the picture of the messenger's page that its README shows: a messenger and three
// people in a real browser, one of whom is away for a while. From the root of the repository:
//
//	go run ./examples/messenger/internal/picture -o examples/messenger/messenger.png
//
// It needs Chromium. Only the times differ from one picture to the next.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/fbd86cad/broadcast/examples/internal/browser"
	"github.com/fbd86cad/broadcast/examples/internal/launch"
)

func main() {
	out := flag.String("o", "messenger.png", "`file` to write")
	flag.Parse()
	if err := take(*out); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

// within is how long anything may take.
const within = time.Minute

// take sets the scene and writes its picture.
func take(path string) (err error) {
	b, err := browser.Start()
	if err != nil {
		return err
	}
	defer b.Close()
	dir, err := os.MkdirTemp("", "picture")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	program, err := launch.Build(dir, "messenger")
	if err != nil {
		return err
	}
	server, err := launch.Start(exec.Command(program, "-addr", "127.0.0.1:0", "-history", "3"), within)
	if err != nil {
		return err
	}
	defer server.Kill()
	png, err := play(b, server.Addr)
	if err != nil {
		return err
	}
	return os.WriteFile(path, png, 0o644)
}
