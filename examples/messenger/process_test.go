package main

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// process is the messenger as a process of its own.
type process struct {
	*service
	cmd    *exec.Cmd
	stdout *bufio.Reader
	stderr *bytes.Buffer
}

// launch runs the messenger on any port and waits until it says where.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0], append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Env = append(os.Environ(), asMessenger+"=1")
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p := &process{cmd: cmd, stdout: bufio.NewReader(stdout), stderr: new(bytes.Buffer)}
	cmd.Stderr = p.stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	line, err := p.stdout.ReadString('\n')
	require.NoError(t, err)
	addr, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "listening on http://")
	require.True(t, ok, "%q", line)
	client := &http.Client{Transport: &http.Transport{}, Timeout: within}
	t.Cleanup(client.CloseIdleConnections)
	p.service = &service{t: t, addr: addr, http: client}
	return p
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(s))
}

func TestTheFirstLineSaysWhereItListensAndASignalEndsItWithCode0(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p := launch(t)
			assert.True(t, strings.HasPrefix(p.addr, "127.0.0.1:"), p.addr)
			c := p.raw(1, 2)
			p.mustSay("hello", 7, 1)
			p.signal(sig)
			frames, code, _ := c.rest()
			assert.Equal(t, 1001, code)
			require.Len(t, frames, 1)
			assert.Equal(t, "hello", frames[0].Text)
			assert.NoError(t, p.cmd.Wait(), p.stderr)
			assert.Empty(t, p.stderr.String())
		})
	}
}

func TestASecondSignalForcesTheEnd(t *testing.T) {
	t.Parallel()
	p := launch(t)
	silent := p.raw(1, 2) // does not answer the closing frame, which holds up the shutdown for a CloseTimeout
	p.signal(syscall.SIGTERM)
	soon(t, "the shutdown begins", func() bool { return p.do(http.MethodGet, "/healthz", "").status == http.StatusServiceUnavailable })
	p.signal(syscall.SIGTERM)
	err := p.cmd.Wait()
	require.Error(t, err, "the shutdown was not waiting for anybody")
	status := p.cmd.ProcessState.Sys().(syscall.WaitStatus)
	assert.True(t, status.Signaled(), "%v", err)
	silent.ended()
}

func TestBadFlagsAreSaidClearlyAndEndWithCode2(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"-sampling newest", "drop-newest"},
		{"-buffer ten", "-buffer"},
		{"-buffer 0", "buffer 0"},
		{"-buffer 99999999", "buffer 99999999"},
		{"-patience -1s", "patience"},
		{"-patience 10s", "publish timeout"},
		{"-publish-timeout 1ms", "publish timeout"},
		{"-publish-timeout -1s", "publish timeout"},
		{"-nonsense", "-nonsense"},
		{"stray", "stray"},
	} {
		var stdout, stderr bytes.Buffer
		code := run(context.Background(), append(strings.Fields(tt.args), "-addr=127.0.0.1:0"), &stdout, &stderr)
		if tt.args == "stray" {
			code = run(context.Background(), strings.Fields(tt.args), &stdout, &stderr)
		}
		assert.Equal(t, exitUsage, code, tt.args)
		assert.Contains(t, stderr.String(), tt.says, tt.args)
		assert.Empty(t, stdout.String(), tt.args)
	}
}

func TestHelpIsNoErrorAndATakenPortIsOne(t *testing.T) {
	var out bytes.Buffer
	assert.Equal(t, exitOK, run(context.Background(), []string{"-h"}, &out, &out))
	assert.Contains(t, out.String(), "drop-oldest")

	ln := listen(t)
	defer ln.Close()
	assert.Equal(t, exitError, run(context.Background(), []string{"-addr", ln.Addr().String()}, &out, &out))
	assert.Contains(t, out.String(), "cannot listen")
}

func TestEachSamplingIsKnownByItsName(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for name := range samplings {
		var out bytes.Buffer
		args := []string{"-addr", "127.0.0.1:0", "-sampling", name, "-buffer", "8", "-patience", "0s", "-publish-timeout", "0s"}
		assert.Equal(t, exitOK, run(ctx, args, &out, &out), "%s: %s", name, &out)
	}
}
