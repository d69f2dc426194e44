package tui

import (
	"io"
	"os"

	"github.com/charmbracelet/x/term"
)

// withEnd returns in, calling ended once it cannot be read any more: a closed input, a terminal
// that has gone away. A file stays a file, so that its terminal can be told how to behave.
func withEnd(in io.Reader, ended func()) io.Reader {
	if f, ok := in.(*os.File); ok {
		return endingFile{f, ended}
	}
	return endingReader{in, ended}
}

type endingReader struct {
	io.Reader
	ended func()
}

func (r endingReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if err != nil {
		r.ended()
	}
	return n, err
}

type endingFile struct {
	*os.File
	ended func()
}

func (f endingFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	if err != nil {
		f.ended()
	}
	return n, err
}

// drawable reports whether there can be a full screen: files must be terminals, and not dumb ones.
// Readers and writers that are no files are believed to know what they do.
func drawable(in io.Reader, out io.Writer, name string) bool {
	for _, end := range []any{in, out} {
		if f, ok := end.(*os.File); ok && !term.IsTerminal(f.Fd()) {
			return false
		}
	}
	return name != "" && name != "dumb"
}
