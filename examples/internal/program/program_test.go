package program

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, name) }

const secret = "0123456789abcdef0123456789abcdef"

// name is a program of that name, which has the settings of all servers.
func name() {
	s := new(Settings)
	s.Parse("name", os.Args[1:], s)
	ln, url, err := s.Listen()
	if err != nil {
		panic(err)
	}
	fmt.Println(url, s.Secret)
	s.Log.Info("hello")
	s.Log.Debug("detail")
	_ = ln.Close()
}

// run runs it on any port, and returns its exit code and what it writes.
func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exampletest.Command(append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		require.ErrorAs(t, err, new(*exec.ExitError))
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestTheFlagsSetTheLog(t *testing.T) {
	for format, want := range map[string]string{"text": "msg=hello", "json": `"msg":"hello"`} {
		code, _, log := run(t, "-log-format", format)
		assert.Zero(t, code, log)
		assert.Contains(t, log, want)
		assert.NotContains(t, log, "detail")
	}
	_, _, log := run(t, "-v")
	assert.Contains(t, log, "msg=detail")
}

func TestTheHelpDoesNotShowTheSecret(t *testing.T) {
	t.Setenv("NAME_SECRET", secret)
	_, stdout, _ := run(t)
	assert.Contains(t, stdout, secret)
	code, stdout, help := run(t, "-h")
	assert.Zero(t, code)
	assert.Contains(t, help, "NAME_SECRET")
	assert.NotContains(t, stdout+help, secret)
}

func TestWithoutASecretOnlyALoopbackAddressIsAllowed(t *testing.T) {
	for addr, local := range map[string]bool{"127.0.0.1:0": true, "localhost:0": true, ":0": false, "0.0.0.0:0": false} {
		code, stdout, stderr := run(t, "-addr", addr)
		if !local {
			assert.Equal(t, 2, code, addr)
			assert.Contains(t, stderr, "error: others can reach this address", addr)
			code, stdout, stderr = run(t, "-addr", addr, "-secret", secret)
		}
		assert.Zero(t, code, "%s: %s", addr, stderr)
		assert.Contains(t, stdout, "http://", addr)
	}
}
