package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// A process is one that listens. Its methods may be called from any goroutine.
type process struct {
	*exec.Cmd
	stdin io.Closer // at whose end the process ends in order, even if this process was killed

	done chan struct{} // closed when it has ended
	err  error         // how; written before done is closed
}

// startProcess starts a process, and returns when it says that it listens. What it says to its
// standard error is written to out, after its name.
func startProcess(cmd *exec.Cmd, name string, out io.Writer) (*process, error) {
	p := &process{Cmd: cmd, done: make(chan struct{})}
	said, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.stdin, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	errs, logged := io.Pipe()
	cmd.Stderr = logged
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		for lines := bufio.NewScanner(errs); lines.Scan(); {
			fmt.Fprintf(out, "%s: %s\n", name, lines.Text())
		}
		_, _ = io.Copy(io.Discard, errs) // after a line that is too long
	}()
	timer := time.AfterFunc(within, func() { _ = cmd.Process.Kill() }) // which ends the line, too
	line, err := bufio.NewReader(said).ReadString('\n')
	timer.Stop()
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
		_ = logged.Close()
	}()
	if err != nil || !strings.HasPrefix(line, "listening on ") {
		p.kill()
		return nil, errors.Join(errors.New("it does not listen"), p.err)
	}
	return p, nil
}

// runs reports whether the process has not ended.
func (p *process) runs() bool {
	if p == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the process as a crash does, and returns when it has ended.
func (p *process) kill() {
	_ = p.Process.Kill() // fails only when it has ended
	<-p.done
}

// stop ends the process in order, and returns when it has ended.
func (p *process) stop() {
	_ = p.stdin.Close()
	select {
	case <-p.done:
	case <-time.After(within):
		p.kill()
	}
}
