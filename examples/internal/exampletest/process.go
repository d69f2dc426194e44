package exampletest

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/launch"
)

// asProgram in the environment makes a test binary the program itself, for the tests that need a
// process.
const asProgram = "EXAMPLE_TEST_PROCESS"

// Main runs the tests of a program, which must leave no goroutine; or its main, for [Command].
func Main(m *testing.M, main func()) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// Command returns the program that is tested with [Main] as a process that has not started.
func Command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	return cmd
}

// Launch runs that program on any port, and returns when it listens. It is killed with the test.
func Launch(t testing.TB, args ...string) (*launch.Process, *Service) {
	t.Helper()
	p, err := launch.Start(Command(append([]string{"-addr", "127.0.0.1:0"}, args...)...), Within)
	require.NoError(t, err)
	t.Cleanup(p.Kill)
	return p, At(t, p.Addr)
}
