package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// process is the server as a process of its own.
type process struct {
	*service
	cmd    *exec.Cmd
	stderr *bytes.Buffer
}

// launch runs the server on any port and waits until it says where.
func launch(t *testing.T) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-addr", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), asServer+"=1")
	p := &process{cmd: cmd, stderr: new(bytes.Buffer)}
	cmd.Stderr = p.stderr
	line, err := startAndKill(t, cmd).ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "listening on http://")
	require.True(t, ok, "%q", line)
	client := &http.Client{Transport: &http.Transport{}, Timeout: within}
	t.Cleanup(client.CloseIdleConnections)
	p.service = &service{t: t, addr: addr, http: client}
	return p
}

// startAndKill starts a command that is killed with the test, unless it was waited for before, and returns its standard output.
func startAndKill(t *testing.T, cmd *exec.Cmd) *bufio.Reader {
	t.Helper()
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return bufio.NewReader(stdout)
}

func TestTheFirstLineSaysWhereItListensAndASignalEndsItWithCode0(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p := launch(t)
			c := p.watch(1, 2)
			p.mustSay(1, "hello")
			require.NoError(t, p.cmd.Process.Signal(sig))
			c.mustGet("hello")
			assert.Equal(t, eventShutdown, c.next().name)
			assert.NoError(t, p.cmd.Wait(), p.stderr)
			assert.Empty(t, p.stderr.String())
		})
	}
}

func TestCurlReceivesMessagesAsTheyComeAndResumesWithAHeader(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl is installed")
	}
	t.Parallel()
	p := launch(t)
	url := "http://" + p.addr + "/events?chat=1&device=2"
	curl := func(args ...string) (*client, *exec.Cmd) {
		cmd := exec.Command(path, append(args, "--no-buffer", "--silent", "--show-error", "--noproxy", "*", url)...)
		return &client{t: t, r: startAndKill(t, cmd)}, cmd
	}
	c, cmd := curl()
	require.Equal(t, eventReady, c.next().name)
	p.mustSay(1, "one\nmore line", "two", "three")
	c.mustGet("one\nmore line", "two")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	p.mustSay(1, "four")

	c, cmd = curl("--header", "Last-Event-ID: "+c.last)
	require.Equal(t, eventReady, c.next().name)
	c.mustGet("three", "four")
	p.mustSay(1, "five")
	c.mustGet("five")
	require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, eventShutdown, c.next().name)
	assert.Empty(t, c.rest())
	assert.NoError(t, cmd.Wait(), "curl says that the response did not end regularly")
	assert.NoError(t, p.cmd.Wait(), p.stderr)
}

func TestBadFlagsAreSaidClearlyAndEndWithCode2(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"-addr 127.0.0.1:0 -buffer 0", "buffer 0"},
		{"-addr 127.0.0.1:0 -buffer ten", "-buffer"},
		{"-addr 127.0.0.1:0 -history -1", "history"},
		{"-addr 127.0.0.1:0 -history-age -1s", "history"},
		{"-addr 127.0.0.1:0 -heartbeat 0s", "heartbeat"},
		{"-nonsense", "-nonsense"},
		{"stray", "stray"},
	} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, 2, run(context.Background(), strings.Fields(tt.args), &stdout, &stderr), tt.args)
		assert.Contains(t, stderr.String(), tt.says, tt.args)
		assert.Empty(t, stdout.String(), tt.args)
	}
}

func TestHelpIsNoErrorAndATakenPortIsOne(t *testing.T) {
	var out bytes.Buffer
	assert.Equal(t, 0, run(context.Background(), []string{"-h"}, io.Discard, &out))
	assert.Contains(t, out.String(), "-history")

	taken := start(t, nil)
	assert.Equal(t, 1, run(context.Background(), []string{"-addr", taken.addr}, io.Discard, &out))
	assert.Contains(t, out.String(), "cannot listen")
}
