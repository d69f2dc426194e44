package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// fast are the settings for clients that may do as much as they like.
var fast = strings.Fields("-addr 127.0.0.1:0 -post-rate 1e6 -handshake-rate 1e6 -burst 1000000 -buffer 10000 -history 10000")

// A demo is the program that runs three nodes, as a process.
type demo struct {
	*exec.Cmd
	t     *testing.T
	keys  io.Writer
	said  *said
	seen  int // of what it has said, by sees
	nodes []*exampletest.Service
	wait  func() error // until its end, which must come soon
}

// startDemo starts the program, which the test ends.
func startDemo(t *testing.T) *demo {
	t.Helper()
	d := &demo{Cmd: exampletest.Command(fast...), t: t, said: new(said)}
	d.Stdout, d.Stderr = d.said, d.said
	var err error
	d.keys, err = d.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, d.Start())
	ended := make(chan error, 1)
	d.wait = sync.OnceValue(func() error { return exampletest.Receive(t, "the end", ended) })
	go func() { ended <- d.Cmd.Wait() }()
	t.Cleanup(func() {
		_ = d.Process.Kill() // and the nodes see the end of their inputs
		_ = d.wait()
	})
	d.sees("q quits")
	for i, line := range strings.Split(d.said.String(), "\n")[:nodes] {
		addr, ok := strings.CutPrefix(line, fmt.Sprintf("node %d: http://", i+1))
		require.True(t, ok, line)
		d.nodes = append(d.nodes, exampletest.At(t, addr))
	}
	return d
}

// press presses keys.
func (d *demo) press(keys string) {
	d.t.Helper()
	_, err := io.WriteString(d.keys, keys)
	require.NoError(d.t, err)
}

// sees waits until the program has said something, and forgets everything up to it.
func (d *demo) sees(text string) {
	d.t.Helper()
	exampletest.Soon(d.t, text, func() bool {
		said := d.said.String()
		_, after, ok := strings.Cut(said[d.seen:], text)
		if ok {
			d.seen = len(said) - len(after)
		}
		return ok
	}, d.said.String)
}

// said is what a program has said.
type said struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// listens reports whether somebody listens at an address.
func listens(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

// login returns the token of a name.
func login(s *exampletest.Service, name string) string {
	s.T.Helper()
	a := s.Do(http.MethodPost, "/login", fmt.Sprintf(`{"name":%q}`, name), "Content-Type", "application/json")
	require.Equal(s.T, http.StatusOK, a.Status, "%s", a.Body)
	var who struct{ Token string }
	require.NoError(s.T, json.Unmarshal([]byte(a.Body), &who))
	return who.Token
}

func post(s *exampletest.Service, token, text string) int {
	s.T.Helper()
	return s.Do(http.MethodPost, "/chats/general/messages", fmt.Sprintf(`{"text":%q}`, text),
		"Content-Type", "application/json", "Authorization", "Bearer "+token).Status
}

func TestADigitKillsANodeAndStartsItAgain(t *testing.T) {
	d := startDemo(t)
	token := login(d.nodes[0], "ann")
	for range 2 {
		d.press("2")
		d.sees("node 2 has ended: signal: killed")
		require.False(t, listens(d.nodes[1].Addr))
		assert.Equal(t, http.StatusAccepted, post(d.nodes[0], token, "without it"))
		d.press("2")
		d.sees("node 2 listens again")
		assert.Equal(t, http.StatusAccepted, post(d.nodes[1], token, "with a login of node 1"))
	}
}

func TestTheProgramEndsInOrderWithItsNodes(t *testing.T) {
	for name, end := range map[string]func(d *demo){
		"q":       func(d *demo) { d.press("q") },
		"ctrl-C":  func(d *demo) { d.press("\x03") },
		"SIGTERM": func(d *demo) { require.NoError(d.t, d.Process.Signal(syscall.SIGTERM)) },
	} {
		t.Run(name, func(t *testing.T) {
			d := startDemo(t)
			end(d)
			require.NoError(t, d.wait(), d.said)
			for _, n := range d.nodes {
				assert.False(t, listens(n.Addr))
			}
		})
	}
}

func TestNodesEndWhenTheProgramIsKilled(t *testing.T) {
	d := startDemo(t)
	require.NoError(t, d.Process.Kill())
	for _, n := range d.nodes {
		exampletest.Soon(t, "the end of a node", func() bool { return !listens(n.Addr) })
	}
}

const secret = "0123456789abcdef0123456789abcdef"

func TestNodesOfOneEngineShareChats(t *testing.T) {
	nats, err := startNATS()
	require.NoError(t, err)
	t.Cleanup(nats.stop)
	t.Setenv("CLUSTER_ENGINE", nats.ClientURL())
	t.Setenv("CLUSTER_SECRET", secret)
	token, err := exampletest.Command("-token-for", "ann").Output()
	require.NoError(t, err)
	_, one := exampletest.Launch(t)
	_, other := exampletest.Launch(t)
	ann := strings.TrimSpace(string(token))
	w := watch(t, other, ann, "")
	w.next()
	require.Equal(t, http.StatusAccepted, post(one, ann, "hello"))
	assert.Equal(t, "hello", w.next().Message.Text)
}

func TestBadSettingsAreSaidClearlyAndEndWithCode2(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"-engine nats://localhost -replicas 9", "Replicas"},
		{"-engine nats://localhost -buffer 0", "buffer 0"},
		{"-engine nats://localhost -nodes localhost:8080", "origin"},
		{"-key short", "32 bytes"},
		{"-secret short", "32 bytes"},
	} {
		cmd := exampletest.Command(strings.Fields(tt.args)...)
		out, err := cmd.CombinedOutput()
		require.Error(t, err, tt.args)
		assert.Equal(t, 2, cmd.ProcessState.ExitCode(), tt.args)
		assert.Contains(t, string(out), tt.says, tt.args)
	}
}

func TestANodeThatCannotStartEndsTheProgramWithItsReason(t *testing.T) {
	for _, tt := range []struct{ args, says string }{
		{"-addr 127.0.0.1:0 -buffer 0", "node 1: error: broadcast: invalid: buffer 0"},
		{"-addr nowhere", "missing port"},
	} {
		cmd := exampletest.Command(strings.Fields(tt.args)...)
		timer := time.AfterFunc(exampletest.Within, func() { _ = cmd.Process.Kill() })
		out, err := cmd.CombinedOutput()
		timer.Stop()
		require.Error(t, err, tt.args)
		assert.Equal(t, 1, cmd.ProcessState.ExitCode(), tt.args)
		assert.Contains(t, string(out), tt.says)
	}
}
