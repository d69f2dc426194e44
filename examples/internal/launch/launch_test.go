package launch

import (
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func sh(script string) *exec.Cmd { return exec.Command("sh", "-c", script) }

func TestAProcessSaysWhereItListensAndHowItEnds(t *testing.T) {
	p, err := Start(sh("echo listening on http://127.0.0.1:1; echo more >&2; exit 3"), time.Minute)
	require.NoError(t, err)
	assert.Equal(t, "127.0.0.1:1", p.Addr)
	require.EqualError(t, p.Wait(time.Minute), "exit status 3")
	require.Error(t, p.Wait(time.Minute), "the same again")
	assert.Equal(t, "more\n", p.Stderr.String())
	p.Kill()
}

func TestAProcessThatDoesNotListenIsAnErrorWithItsWords(t *testing.T) {
	_, err := Start(sh("echo no port is free >&2; exit 1"), time.Minute)
	require.ErrorContains(t, err, "no port is free")
	_, err = Start(sh("echo something else; exec sleep 60"), time.Minute)
	require.ErrorContains(t, err, "something else")
	_, err = Start(sh("exec sleep 60"), time.Millisecond)
	require.Error(t, err)
	_, err = Start(exec.Command("/nonexistent"), time.Minute)
	require.Error(t, err)
}

func TestAProcessThatDoesNotEndIsKilled(t *testing.T) {
	p, err := Start(sh("echo listening on :1; exec sleep 60"), time.Minute)
	require.NoError(t, err)
	require.ErrorContains(t, p.Wait(time.Millisecond), "has not ended")
	require.True(t, p.ProcessState.Exited() || p.ProcessState.ExitCode() == -1)
}
