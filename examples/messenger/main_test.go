package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

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
		{"-operators ann,\u200b", "operator"},
		{"-token-for \u200b -secret " + secret, "name"},
	} {
		var stdout, stderr bytes.Buffer
		assert.Equal(t, 2, run(context.Background(), strings.Fields(tt.args), &stdout, &stderr), tt.args)
		assert.Contains(t, stderr.String(), tt.says, tt.args)
		assert.Empty(t, stdout.String(), tt.args)
	}
}

func TestWhatCannotBeDoneEndsWithCode1(t *testing.T) {
	var out bytes.Buffer
	ln := exampletest.Listen(t)
	defer ln.Close()
	assert.Equal(t, 1, run(context.Background(), []string{"-addr", ln.Addr().String()}, &out, &out))
	assert.Contains(t, out.String(), "address already in use")
	assert.Equal(t, 1, run(context.Background(), []string{"-addr", "127.0.0.1:0", "-tls-cert", "absent", "-tls-key", "absent"}, &out, &out))
	assert.Contains(t, out.String(), "absent")
	assert.Equal(t, 0, run(context.Background(), []string{"-h"}, &out, &out))
}

func TestTheEnvironmentSetsFlagsAndFlagsWin(t *testing.T) {
	t.Setenv("MESSENGER_MAX_CHATS", "many")
	t.Setenv("MESSENGER_BUFFER", "0")
	var out bytes.Buffer
	assert.Equal(t, 2, run(context.Background(), []string{"-buffer", "7", "-addr", "127.0.0.1:0"}, &out, &out))
	assert.Contains(t, out.String(), "MESSENGER_MAX_CHATS")
	t.Setenv("MESSENGER_MAX_CHATS", "10")
	t.Setenv("MESSENGER_POST_RATE", "0")
	out.Reset()
	assert.Equal(t, 2, run(context.Background(), []string{"-buffer", "7", "-addr", "127.0.0.1:0"}, &out, &out))
	assert.Contains(t, out.String(), "rates")
	assert.NotContains(t, out.String(), "buffer 0")
	t.Setenv("MESSENGER_SECRET", "") // not the same as none
	out.Reset()
	assert.Equal(t, 2, run(context.Background(), []string{"-addr", "127.0.0.1:0"}, &out, &out))
	assert.Contains(t, out.String(), "32 bytes")
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
	t.Setenv("MESSENGER_SECRET", secret)
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var out, errs bytes.Buffer
	require.Equal(t, 0, run(ended, []string{"-addr", "0.0.0.0:0"}, &out, &errs), errs.String())
	assert.NotContains(t, out.String(), "anybody")
	out.Reset()
	require.Equal(t, 0, run(ended, []string{"-token-for", "ann"}, &out, &errs), errs.String())
	p, at := exampletest.Launch(t)
	a := at.Do(http.MethodPost, "/login", `{"token":"`+strings.TrimSpace(out.String())+`"}`, "Content-Type", "application/json")
	assert.Equal(t, http.StatusOK, a.Status)
	assert.Contains(t, a.Body, `"name":"ann"`)
	p.Kill()
}
