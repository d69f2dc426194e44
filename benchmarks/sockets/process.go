package sockets

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Usage is what a server says about itself.
type Usage struct {
	CPU      int64 // nanoseconds on a processor, in the program and in the kernel for it
	Writes   int64 // system calls that write, by the kernel's count
	Resident int64 // bytes
	Heap     int64 // bytes in use
	Open     int64 // files, most of them connections
}

// The commands of a server, one on a line of its standard input; it answers each with a line. It
// ends with its input.
const (
	CommandPublish = "publish" // so many messages, back to back
	CommandUsage   = "usage"   // answered with a Usage as JSON
	CommandTidy    = "tidy"    // collect garbage, and give free memory back
)

// Listening is what a server says first, before its address.
const Listening = "listening on "

const program = "github.com/fbd86cad/broadcast/benchmarks/sockets/server"

// Program builds the server when it is first needed. The zero Program is ready to use.
type Program struct {
	once   sync.Once
	folder string
	path   string
	err    error
}

func (p *Program) build() (path string, err error) {
	p.once.Do(func() {
		if p.folder, p.err = os.MkdirTemp("", "sockets"); p.err != nil {
			return
		}
		p.path = filepath.Join(p.folder, "server")
		out, err := exec.Command("go", "build", "-o", p.path, program).CombinedOutput()
		if err != nil {
			p.err = fmt.Errorf("go build: %w: %s", err, out)
		}
	})
	return p.path, p.err
}

// Remove removes what was built. Nothing can be started after it.
func (p *Program) Remove() {
	p.once.Do(func() { p.err = errors.New("removed") })
	if p.folder != "" {
		_ = os.RemoveAll(p.folder) // a folder for temporary files
	}
}

// Server is a running server.
type Server struct {
	Addr       string
	SecureAddr string // with TLS, if there is one

	cmd       *exec.Cmd
	commands  io.WriteCloser
	answers   *bufio.Reader
	published int64
}

// Settings are those of a server.
type Settings struct {
	Name       string  // of the contestant
	Framing    Framing // in which it answers
	Hello      []byte  // what a client says after the handshake of a WebSocket
	SendBuffer int     // about how many bytes of a connection the kernel buffers; 0: its default
	TLS        bool    // it listens with TLS as well
}

// Start starts a server, which listens on free ports of the loopback interface.
func (p *Program) Start(set Settings) (*Server, error) {
	path, err := p.build()
	if err != nil {
		return nil, err
	}
	s := &Server{cmd: exec.Command(path, "-send-buffer", strconv.Itoa(set.SendBuffer),
		"-tls="+strconv.FormatBool(set.TLS), set.Name)}
	s.cmd.Stderr = os.Stderr
	if s.commands, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	output, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	s.answers = bufio.NewReader(output)
	if s.Addr, err = s.listening(); err == nil && set.TLS {
		s.SecureAddr, err = s.listening()
	}
	if err != nil {
		s.Stop()
		return nil, fmt.Errorf("%s: %w", set.Name, err)
	}
	return s, nil
}

// listening reads where the server listens.
func (s *Server) listening() (addr string, err error) {
	line, err := s.answer()
	addr, ok := strings.CutPrefix(line, Listening)
	if err == nil && !ok {
		err = fmt.Errorf("it begins with %q", line)
	}
	return addr, err
}

// Stop ends the server, and returns when it has ended.
func (s *Server) Stop() {
	_ = s.commands.Close()
	_ = s.cmd.Process.Kill() // it has nothing to tidy up
	_ = s.cmd.Wait()
}

// Publish has the server publish so many messages, and returns the number of the last at once.
// Published must be called next.
func (s *Server) Publish(n int) (last int64, err error) {
	s.published += int64(n)
	_, err = fmt.Fprintln(s.commands, CommandPublish, n)
	return s.published, err
}

// Published returns when the server has published what it was told to.
func (s *Server) Published() error {
	_, err := s.answer()
	return err
}

// Usage asks for figures.
func (s *Server) Usage() (u Usage, err error) {
	if _, err := fmt.Fprintln(s.commands, CommandUsage); err != nil {
		return u, err
	}
	line, err := s.answer()
	if err != nil {
		return u, err
	}
	return u, json.Unmarshal([]byte(line), &u)
}

// Tidy has the server collect its garbage and give free memory back to the system.
func (s *Server) Tidy() error {
	if _, err := fmt.Fprintln(s.commands, CommandTidy); err != nil {
		return err
	}
	return s.Published()
}

func (s *Server) answer() (string, error) {
	line, err := s.answers.ReadString('\n')
	return strings.TrimSuffix(line, "\n"), err
}
