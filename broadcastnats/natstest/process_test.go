//go:build unix

package natstest

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastnats"
)

// A process is a server in a process of its own.
type process struct {
	t       testing.TB
	program string
	port    int
	store   string
	args    []string // besides
	command *exec.Cmd
}

// startProcess builds the server, and starts it. The test stops it.
func startProcess(t *testing.T) *process {
	t.Helper()
	p := &process{t: t, program: buildServer(t), store: t.TempDir(), port: freePorts(t, 1)[0]}
	p.start()
	t.Cleanup(p.kill)
	return p
}

// buildServer returns the file of the program.
func buildServer(t testing.TB) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "nats-server")
	out, err := exec.Command("go", "build", "-o", program, "github.com/nats-io/nats-server/v2").CombinedOutput()
	require.NoError(t, err, string(out))
	return program
}

func (p *process) start() {
	p.command = exec.Command(p.program, append([]string{
		"--jetstream", "--addr", "127.0.0.1", "--port", fmt.Sprint(p.port), "--store_dir", p.store,
	}, p.args...)...)
	require.NoError(p.t, p.command.Start())
	eventually(p.t, "the server", func() bool {
		c, err := net.Dial("tcp", p.address())
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	})
}

func (p *process) address() string { return fmt.Sprintf("127.0.0.1:%d", p.port) }

func (p *process) signal(s syscall.Signal) { require.NoError(p.t, p.command.Process.Signal(s)) }

func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	_ = p.command.Wait() // it was killed
}

func TestNothingIsLostWhenTheProcessOfAServerIsKilledOrStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a server, and waits until clients give up on one")
	}
	p := startProcess(t)
	w := startWorld(t, broadcastnats.Options{Records: all}, p.address())
	for range 3 {
		p.kill()
		eventually(t, "down", func() bool { return !w.nodes[0].Stats().Up })
		p.start()
		w.progress()
		p.signal(syscall.SIGSTOP)
		for _, n := range w.nodes {
			eventually(t, "down", func() bool { return !n.Stats().Up })
		}
		p.signal(syscall.SIGCONT)
		w.progress()
	}
	w.checkAll()
}

// While the server is stopped, nodes close at once.
func TestNodesCloseWhileTheServerIsStopped(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds a server")
	}
	p := startProcess(t)
	session, _ := open(t, broadcastnats.Options{URL: "nats://" + p.address()})
	p.signal(syscall.SIGSTOP)
	ctx, cancel := context.WithTimeout(t.Context(), settle)
	defer cancel()
	require.NoError(t, session.Close(ctx))
	require.NoError(t, ctx.Err())
}
