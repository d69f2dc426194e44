package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// A runner runs jobs. The log of each is a chat with the job's name.
type runner struct {
	ctx     context.Context // of the jobs
	end     context.CancelFunc
	broker  *broadcast.Broker[string]
	command []string
	slots   chan struct{} // has an element for each job that runs

	mu      sync.Mutex
	stopped bool
	running sync.WaitGroup
}

// start answers a request with the address of the log of a new job.
func (r *runner) start(w http.ResponseWriter, request *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	job := rand.Text()
	err := r.broker.Publish(r.ctx, job, "$ "+strings.Join(r.command, " "))
	if r.stopped {
		err = broadcast.ErrClosed
	}
	if err != nil { // or too many logs are kept
		broadcastsse.RefusalOf(err).ServeHTTP(w, request)
		return
	}
	r.running.Go(func() { r.run(job) })
	w.Header().Set("Location", "/jobs/"+job)
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "/jobs/%s\n", job)
}

// stop refuses new jobs, ends the running ones, and waits for them.
func (r *runner) stop(context.Context) error {
	r.mu.Lock()
	r.stopped = true
	r.mu.Unlock()
	r.end() // ctx has not ended if the listener has failed
	r.running.Wait()
	return nil
}

// run runs a job and ends its log with the result: nil, or the error.
func (r *runner) run(job string) {
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-r.ctx.Done():
	}
	err := r.output(job)
	_ = r.broker.EndChat(context.Background(), job, err) // the broker is open until stop returns
}

// output runs the command of a job and publishes its output line by line.
func (r *runner) output(job string) error {
	cmd := exec.CommandContext(r.ctx, r.command[0], r.command[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return err
	}
	for lines := bufio.NewReader(output); ; {
		line, _, err := lines.ReadLine() // of a long line, one piece after the other
		if err != nil {
			return cmd.Wait()
		}
		text := strings.ToValidUTF8(string(line), "\uFFFD")
		_ = r.broker.Publish(context.Background(), job, text) // the log has not ended, nor the broker
	}
}
