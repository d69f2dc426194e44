// Picture takes the picture of termchat that its README shows: a server and four people in real
// terminals, one of which is written as SVG. From the root of the repository:
//
//	go run ./examples/termchat/internal/picture -o examples/termchat/termchat.svg
//
// It needs tmux. Only the times, the identifier of the file and how far the upload has come differ
// from one picture to the next.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "termchat.svg", "`file` to write")
	flag.Parse()
	if err := take(*out); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

// take sets the scene and writes its picture.
func take(path string) (err error) {
	s, err := newScene()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	screen, err := s.play()
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(draw(parse(screen), "termchat — #general")), 0o644)
}
