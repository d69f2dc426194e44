package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestTheFirstLineSaysWhereItListensAndASignalEndsItWithCode0(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p, at := exampletest.Launch(t)
			c := (&service{Service: at}).watch(1, 2)
			at.MustSay("hello", 7, 1)
			require.NoError(t, p.Process.Signal(sig))
			c.mustGet("hello")
			assert.Equal(t, eventShutdown, c.next().name)
			require.NoError(t, p.Wait(within), p.Stderr)
			assert.Empty(t, p.Stderr.String())
		})
	}
}

func TestCurlReceivesMessagesAsTheyComeAndResumesWithAHeader(t *testing.T) {
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("no curl is installed")
	}
	t.Parallel()
	p, at := exampletest.Launch(t)
	s := &service{Service: at}
	ctx, kill := context.WithTimeout(context.Background(), within)
	defer kill()
	url := "http://" + p.Addr + "/events?chat=1&device=2"
	curl := func(args ...string) (*client, *exec.Cmd) {
		cmd := exec.CommandContext(ctx, path, append(args, "--no-buffer", "--silent", "--show-error", "--noproxy", "*", url)...)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		return &client{t: t, r: bufio.NewReader(stdout)}, cmd
	}
	c, cmd := curl()
	require.Equal(t, eventReady, c.next().name)
	s.mustSay(1, "one\nmore line", "two", "three")
	c.mustGet("one\nmore line", "two")
	require.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait() // it was killed
	s.mustSay(1, "four")

	c, cmd = curl("--header", "Last-Event-ID: "+c.last)
	require.Equal(t, eventReady, c.next().name)
	c.mustGet("three", "four")
	s.mustSay(1, "five")
	c.mustGet("five")
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	assert.Equal(t, eventShutdown, c.next().name)
	assert.Empty(t, c.rest())
	assert.NoError(t, cmd.Wait(), "curl says that the response did not end regularly")
	assert.NoError(t, p.Wait(within), p.Stderr)
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
	assert.Equal(t, 1, run(context.Background(), []string{"-addr", taken.Addr}, io.Discard, &out))
	assert.Contains(t, out.String(), "cannot listen")
}
