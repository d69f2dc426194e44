// Package launch runs the examples as processes of their own, as people run them. Only tests and
// the command that takes the screenshot of messenger import it.
package launch

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Build builds the example of that name into a directory and returns the path of the program. It
// blocks until it is built.
func Build(dir, example string) (program string, err error) {
	program = filepath.Join(dir, example)
	out, err := exec.Command("go", "build", "-o", program, "github.com/fbd86cad/broadcast/examples/"+example).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return program, nil
}

// Process is a server that says on its first line where it listens. All methods may be called from
// any goroutine.
type Process struct {
	*exec.Cmd
	Addr   string        // where it listens
	Stderr *bytes.Buffer // to be read when the process has ended

	done chan struct{} // closed when the process has ended
	err  error         // how; written before done is closed
}

// Start starts a command and returns when it listens; or an error, with what the command says, when
// it ends or takes longer than within. Nothing of it runs then.
func Start(cmd *exec.Cmd, within time.Duration) (*Process, error) {
	p := &Process{Cmd: cmd, Stderr: new(bytes.Buffer), done: make(chan struct{})}
	cmd.Stderr = p.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	timer := time.AfterFunc(within, func() { _ = cmd.Process.Kill() }) // which ends the line, too
	defer timer.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if err != nil || !ok {
		_ = cmd.Process.Kill()
		return nil, errors.Join(fmt.Errorf("its first line is %q", line), err, cmd.Wait(), errors.New(p.Stderr.String()))
	}
	p.Addr = strings.TrimPrefix(addr, "http://")
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Wait returns when the process has ended, and how: nil with code 0. One that takes longer than
// within is killed.
func (p *Process) Wait(within time.Duration) error {
	select {
	case <-p.done:
		return p.err
	case <-time.After(within):
		p.Kill()
		return errors.Join(fmt.Errorf("it has not ended within %v", within), p.err)
	}
}

// Kill ends the process as a crash does, unless it has ended, and returns when it has.
func (p *Process) Kill() {
	_ = p.Process.Kill() // fails only when it has ended
	<-p.done
}
