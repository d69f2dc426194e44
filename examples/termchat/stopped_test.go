//go:build unix

package main

import (
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestAClientThatIsStoppedAndContinuedResumes(t *testing.T) {
	_, addr := serve(t)
	ann := termchat(t, "join", "-addr", addr, "-name", "ann", "-plain")
	bob := termchat(t, "join", "-addr", addr, "-name", "bob", "-plain")
	bob.sees("* in general")
	require.NoError(t, bob.cmd.Process.Signal(syscall.SIGSTOP))
	const n = 400
	go func() {
		for range n {
			_, _ = io.WriteString(ann.in, strings.Repeat("x", 1000)+"\n")
		}
		_, _ = io.WriteString(ann.in, "last\n")
	}()
	heard := 0
	for ann.sees("<ann> ") != "last" {
		heard++
	}
	require.Equal(t, n, heard)
	require.NoError(t, bob.cmd.Process.Signal(syscall.SIGCONT))
	for heard = 0; bob.sees("<ann> ") != "last"; heard++ {
	}
	assert.Equal(t, n, heard, "cut off in between or not")
}
