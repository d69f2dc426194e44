package main

import (
	"bytes"
	"os"

	"golang.org/x/term"
)

// Keys that a terminal no longer turns into signals.
const (
	ctrlC = 3
	ctrlD = 4
)

// A terminal hands over keys as they are pressed, if the standard input is a terminal, or else the
// bytes of the standard input. It is safe for concurrent use.
type terminal struct {
	keys chan byte // nothing comes after the end of the input
	old  *term.State
}

func openTerminal() *terminal {
	t := &terminal{keys: make(chan byte)}
	if old, err := term.MakeRaw(int(os.Stdin.Fd())); err == nil {
		t.old = old
	}
	go func() {
		for key := make([]byte, 1); ; {
			n, err := os.Stdin.Read(key)
			if n == 1 {
				t.keys <- key[0]
			}
			if err != nil {
				return
			}
		}
	}()
	return t
}

// Write writes lines. A terminal whose keys come as they are pressed does not return to the left by
// itself.
func (t *terminal) Write(text []byte) (int, error) {
	if t.old == nil {
		return os.Stdout.Write(text)
	}
	_, err := os.Stdout.Write(bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n")))
	return len(text), err
}

// close makes the terminal what it was.
func (t *terminal) close() {
	if t.old != nil {
		_ = term.Restore(int(os.Stdin.Fd()), t.old)
	}
}
