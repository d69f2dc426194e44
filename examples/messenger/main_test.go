package main

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

const secret = "0123456789abcdef0123456789abcdef"

func TestTheFirstLineSaysWhereItListensAndASignalEndsItWithCode0(t *testing.T) {
	for _, sig := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p, at := exampletest.Launch(t)
			assert.True(t, strings.HasPrefix(p.Addr, "127.0.0.1:"), p.Addr)
			a := at.Do(http.MethodPost, "/login", `{"name":"ann"}`, "Content-Type", "application/json")
			assert.Equal(t, http.StatusOK, a.Status, "%s", a.Body)
			require.NoError(t, p.Process.Signal(sig))
			require.NoError(t, p.Wait(exampletest.Within), p.Stderr)
			assert.Empty(t, p.Stderr.String())
		})
	}
}

func TestASecondSignalForcesTheEnd(t *testing.T) {
	t.Parallel()
	p, at := exampletest.Launch(t)
	conn := at.Connect() // whose request does not arrive, which holds up the end
	_, err := io.WriteString(conn, "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, at.Do(http.MethodGet, "/readyz", "").Status)
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	exampletest.Soon(t, "the end begins", func() bool {
		c, err := net.Dial("tcp", at.Addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	err = p.Wait(exampletest.Within)
	require.Error(t, err, "the end did not wait")
	assert.True(t, p.ProcessState.Sys().(syscall.WaitStatus).Signaled(), "%v", err)
}

// ends runs the program until it ends by itself, and returns its exit code and what it says.
func ends(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := exampletest.Command(args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(exampletest.Within, func() { _ = cmd.Process.Kill() })
	defer timer.Stop()
	_ = cmd.Wait() // the code says it
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

// refused runs the program with bad settings, and returns the error, which follows the usage.
func refused(t *testing.T, args ...string) string {
	t.Helper()
	code, stdout, stderr := ends(t, args...)
	assert.Equal(t, 2, code, args)
	assert.Empty(t, stdout, args)
	_, err, ok := strings.Cut(stderr, "\nerror: ")
	assert.True(t, ok, stderr)
	return err
}

func TestBadSettingsAreSaidClearlyAndEndWithCode2(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"-buffer ten", "-buffer"},
		{"-buffer 0", "buffer 0"},
		{"-nonsense", "-nonsense"},
		{"stray", "stray"},
		{"-log-format xml", "xml"},
		{"-secret short", "32 bytes"},
		{"-addr 0.0.0.0:0", "set a secret"},
		{"-proxy", "secret"},
		{"-token-for ann", "-secret"},
		{"-operators ann \u200b", "operator"},
		{"-token-for \u200b -secret " + secret, "name"},
	} {
		assert.Contains(t, refused(t, strings.Fields(tt.args)...), tt.says, tt.args)
	}
}

func TestWhatCannotBeDoneEndsWithCode1(t *testing.T) {
	ln := exampletest.Listen(t)
	defer ln.Close()
	code, _, stderr := ends(t, "-addr", ln.Addr().String())
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "address already in use")
	code, _, stderr = ends(t, "-addr", "127.0.0.1:0", "-tls-cert", "absent", "-tls-key", "absent")
	assert.Equal(t, 1, code)
	assert.Contains(t, stderr, "absent")
	code, _, _ = ends(t, "-h")
	assert.Equal(t, 0, code)
}

func TestTheEnvironmentSetsFlagsAndFlagsWin(t *testing.T) {
	t.Setenv("MESSENGER_MAX_CHATS", "many")
	t.Setenv("MESSENGER_BUFFER", "0")
	assert.Contains(t, refused(t, "-buffer", "7", "-addr", "127.0.0.1:0"), "MESSENGER_MAX_CHATS")
	t.Setenv("MESSENGER_MAX_CHATS", "10")
	t.Setenv("MESSENGER_POST_RATE", "0")
	err := refused(t, "-buffer", "7", "-addr", "127.0.0.1:0")
	assert.Contains(t, err, "rates")
	assert.NotContains(t, err, "buffer 0")
	t.Setenv("MESSENGER_SECRET", "") // not the same as none
	assert.Contains(t, refused(t, "-addr", "127.0.0.1:0"), "32 bytes")
}

func TestOperatorsAreSetByTheEnvironmentToo(t *testing.T) {
	t.Setenv("MESSENGER_OPERATORS", "ann,bob")
	p, at := exampletest.Launch(t)
	defer p.Kill()
	login := func(name string) string {
		a := at.Do(http.MethodPost, "/login", `{"name":"`+name+`"}`, "Content-Type", "application/json")
		require.Equal(t, http.StatusOK, a.Status)
		return strings.Split(strings.Split(a.Body, `"token":"`)[1], `"`)[0]
	}
	for name, status := range map[string]int{"bob": http.StatusOK, "carl": http.StatusForbidden} {
		a := at.Do(http.MethodGet, "/debug/broadcast", "", "Authorization", "Bearer "+login(name))
		assert.Equal(t, status, a.Status, name)
	}
}

func TestASecretOpensOtherAddressesAndPrintsTokens(t *testing.T) {
	// says returns what the program says after it has begun to listen.
	says := func(addr string) string {
		cmd := exampletest.Command("-addr", addr)
		pipe, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		timer := time.AfterFunc(exampletest.Within, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		stdout := bufio.NewReader(pipe)
		line, err := stdout.ReadString('\n')
		require.NoError(t, err)
		require.Contains(t, line, "listening on")
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		rest, err := io.ReadAll(stdout)
		require.NoError(t, err)
		require.NoError(t, cmd.Wait())
		return string(rest)
	}
	assert.Contains(t, says("127.0.0.1:0"), "anybody")
	t.Setenv("MESSENGER_SECRET", secret)
	assert.NotContains(t, says("0.0.0.0:0"), "anybody")
	code, token, stderr := ends(t, "-token-for", "ann")
	require.Equal(t, 0, code, stderr)
	p, at := exampletest.Launch(t)
	a := at.Do(http.MethodPost, "/login", `{"token":"`+strings.TrimSpace(token)+`"}`, "Content-Type", "application/json")
	assert.Equal(t, http.StatusOK, a.Status)
	assert.Contains(t, a.Body, `"name":"ann"`)
	p.Kill()
}
