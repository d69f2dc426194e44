package main

import (
	"bytes"
	"context"
	"net/http"
	"os"
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
			assert.True(t, strings.HasPrefix(p.Addr, "127.0.0.1:"), p.Addr)
			c := (&service{Service: at}).raw(1, 2)
			at.MustSay("hello", 7, 1)
			require.NoError(t, p.Process.Signal(sig))
			frames, code, _ := c.rest()
			assert.Equal(t, 1001, code)
			require.Len(t, frames, 1)
			assert.Equal(t, "hello", frames[0].Text)
			require.NoError(t, p.Wait(within), p.Stderr)
			assert.Empty(t, p.Stderr.String())
		})
	}
}

func TestASecondSignalForcesTheEnd(t *testing.T) {
	t.Parallel()
	p, at := exampletest.Launch(t)
	silent := (&service{Service: at}).raw(1, 2) // does not answer the closing frame, which holds up the shutdown for a CloseTimeout
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	exampletest.Soon(t, "the shutdown begins", func() bool { return at.Do(http.MethodGet, "/healthz", "").Status == http.StatusServiceUnavailable })
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	err := p.Wait(within)
	require.Error(t, err, "the shutdown was not waiting for anybody")
	status := p.ProcessState.Sys().(syscall.WaitStatus)
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

	ln := exampletest.Listen(t)
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
