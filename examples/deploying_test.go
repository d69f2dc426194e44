//go:build unix

// Package examples tests what docs/deploying.md shows.
package examples

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/launch"
	"github.com/fbd86cad/broadcast/internal/racedetector"
)

const secret = "0123456789abcdef0123456789abcdef"

// build returns the program of an example, which is built once.
func build(t *testing.T, example string) string {
	t.Helper()
	program := filepath.Join(programs, example)
	if _, err := os.Stat(program); err != nil {
		_, err = launch.Build(programs, example)
		require.NoError(t, err)
	}
	return program
}

var programs string // the folder with the programs; set by TestMain

func TestMain(m *testing.M) {
	var err error
	if programs, err = os.MkdirTemp("", "examples"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

// snippets returns the blocks of docs/deploying.md in a language.
func snippets(t *testing.T, language string) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../docs/deploying.md")
	require.NoError(t, err)
	for _, match := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
		all = append(all, match[1])
	}
	require.NotEmpty(t, all, language)
	return all
}

// with returns a text with parts replaced: pairs of old and new. The old ones must be there.
func with(t *testing.T, text string, parts ...string) string {
	t.Helper()
	for i := 0; i < len(parts); i += 2 {
		require.Contains(t, text, parts[i])
		text = strings.ReplaceAll(text, parts[i], parts[i+1])
	}
	return text
}

// needs skips a test where a command is not installed, but fails it in CI, which installs all.
func needs(t *testing.T, command string) {
	t.Helper()
	if _, err := exec.LookPath(command); err != nil {
		require.Empty(t, os.Getenv("CI"), "%s is not installed", command)
		t.Skip(command, "is not installed")
	}
}

// write writes a file into a folder and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// run runs a command until the test ends.
func run(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails only when it has ended
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(out.String())
		}
	})
}

// free returns an address on which nobody listens.
func free(t *testing.T) string {
	t.Helper()
	ln := exampletest.Listen(t)
	defer ln.Close()
	return ln.Addr().String()
}

// behind runs an example behind the proxy that start starts for its address. It returns the URL of
// the proxy.
func behind(t *testing.T, start func(t *testing.T, backend string) string, example string, args ...string) string {
	t.Helper()
	backend := free(t)
	cmd := exec.Command(build(t, example), append([]string{"-addr", backend}, args...)...)
	cmd.Env = append(os.Environ(), "MESSENGER_SECRET="+secret)
	run(t, cmd)
	url := start(t, backend)
	exampletest.Soon(t, "the proxy and the service are ready", func() bool {
		res, err := client.Get(url + "/readyz")
		if err != nil {
			return false
		}
		_ = res.Body.Close()
		return res.StatusCode == http.StatusOK
	})
	return url
}

// client trusts the certificates of the tests, and speaks HTTP/2.
var client = &http.Client{Transport: &http.Transport{
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true,
}}

// nginx runs nginx with the snippet, and returns its URL.
func nginx(t *testing.T, backend string) string {
	needs(t, "nginx")
	dir := t.TempDir()
	crt, key := certificate(t, dir)
	addr := free(t)
	server := with(t, snippets(t, "nginx")[0], "443", addr, "127.0.0.1:8080", backend,
		"/etc/ssl/chat.example.com.crt", crt, "/etc/ssl/chat.example.com.key", key)
	var temp strings.Builder
	for _, what := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		temp.WriteString(what + "_temp_path " + dir + "/" + what + ";\n")
	}
	config := write(t, dir, "nginx.conf", "daemon off; pid "+dir+"/pid; error_log stderr; events {}\n"+
		"http { access_log off;\n"+temp.String()+server+"}\n")
	run(t, exec.Command("nginx", "-c", config))
	return "https://" + addr
}

// caddy runs Caddy with the snippet, and returns its URL.
func caddy(t *testing.T, backend string) string {
	needs(t, "caddy")
	dir := t.TempDir()
	_, port, err := net.SplitHostPort(free(t))
	require.NoError(t, err)
	site := with(t, snippets(t, "caddyfile")[0], "chat.example.com {", "localhost:"+port+" {\n\ttls internal",
		"127.0.0.1:8080", backend)
	config := write(t, dir, "Caddyfile", "{\n\tadmin off\n\tskip_install_trust\n\tauto_https disable_redirects\n}\n"+site)
	cmd := exec.Command("caddy", "run", "--config", config, "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	run(t, cmd)
	return "https://localhost:" + port
}

// certificate writes a certificate for tests, and its key.
func certificate(t *testing.T, dir string) (crt, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	text, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	encode := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return write(t, dir, "crt", encode("CERTIFICATE", der)), write(t, dir, "key", encode("PRIVATE KEY", text))
}

func TestBehindAProxy(t *testing.T) {
	for name, start := range map[string]func(*testing.T, string) string{"nginx": nginx, "caddy": caddy} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(client.CloseIdleConnections)
			t.Run("WebSockets", func(t *testing.T) { testSockets(t, start) })
			t.Run("events", func(t *testing.T) { testEvents(t, start) })
		})
	}
}

// testSockets checks WebSockets, the Host header, and what the service learns about its clients.
func testSockets(t *testing.T, start func(*testing.T, string) string) {
	url := behind(t, start, "messenger", "-proxy", "-handshake-rate", "0.001", "-burst", "5")
	token := tokenOf(t, "ann")
	login := func(asIf string) *http.Response {
		req, err := http.NewRequest(http.MethodPost, url+"/login", strings.NewReader(`{"token":"`+token+`"}`))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Forwarded-For", asIf)
		res, err := client.Do(req)
		require.NoError(t, err)
		_ = res.Body.Close()
		return res
	}
	res := login("192.0.2.1")
	require.Equal(t, http.StatusOK, res.StatusCode)
	assert.Equal(t, 2, res.ProtoMajor)
	require.NotEmpty(t, res.Cookies())
	assert.True(t, res.Cookies()[0].Secure, "the service knows that it is HTTPS")

	dial := func(origin string) (*websocket.Conn, *http.Response, error) {
		plain := client.Transport.(*http.Transport).Clone() // a WebSocket needs HTTP/1.1
		plain.ForceAttemptHTTP2, plain.TLSClientConfig.NextProtos = false, nil
		return websocket.Dial(exampletest.Deadline(t), url+"/chats/general/socket?device=1", &websocket.DialOptions{
			HTTPClient: &http.Client{Transport: plain},
			HTTPHeader: http.Header{"Authorization": {"Bearer " + token}, "Origin": {origin}},
		})
	}
	conn, _, err := dial(url)
	require.NoError(t, err)
	defer conn.CloseNow()
	_, res, err = dial("https://evil.example")
	require.Error(t, err)
	assert.Equal(t, http.StatusForbidden, res.StatusCode, "the service knows its own host")

	req, err := http.NewRequest(http.MethodPost, url+"/chats/general/messages", strings.NewReader(`{"text":"hello"}`))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	require.Equal(t, http.StatusAccepted, exampletest.Read(t, must(client.Do(req))(t)).Status)
	for text := ""; !strings.Contains(text, `"hello"`); {
		_, frame, err := conn.Read(exampletest.Deadline(t))
		require.NoError(t, err)
		text = string(frame)
	}

	// Four logins and the socket that reached Admit use up the burst of the address.
	for range 3 {
		assert.Equal(t, http.StatusOK, login("192.0.2.2").StatusCode)
	}
	assert.Equal(t, http.StatusTooManyRequests, login("192.0.2.3").StatusCode, "a client may be who it says")
}

// tokenOf returns a token with which a user logs in.
func tokenOf(t *testing.T, name string) string {
	t.Helper()
	cmd := exec.Command(build(t, "messenger"), "-token-for", name)
	cmd.Env = append(os.Environ(), "MESSENGER_SECRET="+secret)
	out, err := cmd.Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// must returns a function that requires that there is no error, and returns the value.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return v
	}
}

// testEvents checks that events arrive at once: the job does not end before its first line has
// arrived.
func testEvents(t *testing.T, start func(*testing.T, string) string) {
	seen := filepath.Join(t.TempDir(), "seen")
	url := behind(t, start, "joblog", "sh", "-c", "echo one; while [ ! -e "+seen+" ]; do sleep 0.1; done; echo two")
	res := must(client.Post(url+"/jobs", "", nil))(t)
	_ = res.Body.Close()
	require.Equal(t, http.StatusCreated, res.StatusCode)
	req, err := http.NewRequestWithContext(exampletest.Deadline(t), http.MethodGet, url+res.Header.Get("Location"), nil)
	require.NoError(t, err)
	res = must(client.Do(req))(t)
	defer res.Body.Close()
	assert.Equal(t, 2, res.ProtoMajor)
	var lines []string
	for events := bufio.NewScanner(res.Body); events.Scan(); {
		data, ok := strings.CutPrefix(events.Text(), "data: ")
		if !ok {
			continue
		}
		var event struct{ Message string }
		require.NoError(t, json.Unmarshal([]byte(data), &event))
		if lines = append(lines, event.Message); event.Message == "one" {
			write(t, filepath.Dir(seen), "seen", "")
		}
	}
	assert.Contains(t, lines, "two", "the first line has not come through")
}

// units returns the socket and the service of the page.
func units(t *testing.T) (socket, service string) {
	t.Helper()
	all := snippets(t, "ini")
	require.Len(t, all, 2)
	return all[0], all[1]
}

func TestTheUnitsAreValid(t *testing.T) {
	needs(t, "systemd-analyze")
	socket, service := units(t)
	dir := t.TempDir()
	program := write(t, dir, "messenger", "")
	require.NoError(t, os.Chmod(program, 0o700))
	files := []string{
		write(t, dir, "messenger.socket", socket),
		write(t, dir, "messenger.service", with(t, service, "/usr/local/bin/messenger", program)),
	}
	out, err := exec.Command("systemd-analyze", append([]string{"verify", "--man=no"}, files...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	assert.NotContains(t, string(out), "messenger", "a warning")
}

// Under systemd the socket survives a restart, and a client that connects in between is answered.
func TestAClientThatComesDuringARestartUnderSystemdWaits(t *testing.T) {
	socket, service := units(t)
	listen := regexp.MustCompile(`(?m)^ListenStream=(.*)$`).FindStringSubmatch(socket)
	require.Equal(t, "127.0.0.1:8080", listen[1], "which is where the proxies look")
	line := regexp.MustCompile(`(?m)^ExecStart=(.*)$`).FindStringSubmatch(service)
	program := build(t, "messenger")
	ln := exampletest.Listen(t).(*net.TCPListener)
	file, err := ln.File()
	require.NoError(t, err)
	defer file.Close()
	addr := ln.Addr().String()
	require.NoError(t, ln.Close()) // what remains is the file, as in systemd
	start := func() *launch.Process {
		cmd := exec.Command(program, strings.Fields(line[1])[1:]...)
		cmd.Env, cmd.ExtraFiles = append(os.Environ(), "MESSENGER_SECRET="+secret), []*os.File{file}
		p, err := launch.Start(cmd, exampletest.Within)
		require.NoError(t, err)
		t.Cleanup(p.Kill)
		return p
	}
	s := exampletest.At(t, addr)
	p := start()
	require.Equal(t, http.StatusOK, s.Do(http.MethodGet, "/readyz", "").Status)
	s.HTTP.CloseIdleConnections()
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait(exampletest.Within))
	conn := s.Connect()
	_, err = io.WriteString(conn, "GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
	require.NoError(t, err)
	start()
	answer, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, answer, "200")
}

// An instruction of a Dockerfile.
var instruction = regexp.MustCompile(`(?m)^([A-Z]+) (.*)$`)

func TestTheContainerBuildsRunsAndStops(t *testing.T) {
	if testing.Short() || racedetector.Enabled {
		t.Skip("it takes long to build everything anew")
	}
	text := snippets(t, "dockerfile")[0]
	has := make(map[string][]string)
	for _, match := range instruction.FindAllStringSubmatch(text, -1) {
		has[match[1]] = append(has[match[1]], match[2])
	}
	module, err := os.ReadFile("../go.mod")
	require.NoError(t, err)
	version := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	require.Equal(t, []string{"golang:" + string(version[1]) + " AS build", "scratch"}, has["FROM"])
	require.Equal(t, []string{". .", "--from=build /messenger /messenger"}, has["COPY"])
	require.Equal(t, []string{"65532:65532"}, has["USER"])

	// What RUN does in a folder with only the committed files.
	root := t.TempDir()
	source := filepath.Join(root, "src")
	checkout := exec.Command("git", "checkout-index", "--all", "--prefix="+source+"/")
	checkout.Dir = ".."
	out, err := checkout.CombinedOutput()
	require.NoError(t, err, "%s", out)
	program := filepath.Join(root, "messenger")
	require.Len(t, has["RUN"], 1)
	compile := exec.Command("sh", "-c", with(t, has["RUN"][0], "-o /messenger", "-o "+program))
	compile.Dir = source
	compile.Env = append(os.Environ(), "GOWORK=") // as if nobody had set it
	out, err = compile.CombinedOutput()
	require.NoError(t, err, "%s", out)

	// What ENTRYPOINT does in an empty root, as far as a test may do that.
	var entry []string
	require.NoError(t, json.Unmarshal([]byte(has["ENTRYPOINT"][0]), &entry))
	require.Equal(t, "/messenger", entry[0])
	require.Equal(t, ":"+has["EXPOSE"][0], entry[len(entry)-1])
	entry[len(entry)-1] = ":0"
	cmd := exec.Command(program, entry[1:]...)
	if os.Getuid() == 0 {
		empty := filepath.Join(root, "empty")
		require.NoError(t, os.Mkdir(empty, 0o755))
		require.NoError(t, os.Chmod(root, 0o755))
		require.NoError(t, os.Rename(program, filepath.Join(empty, "messenger")))
		cmd = exec.Command("/messenger", entry[1:]...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: empty, Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	}
	cmd.Env = []string{"MESSENGER_SECRET=" + secret}
	p, err := launch.Start(cmd, exampletest.Within)
	require.NoError(t, err)
	defer p.Kill()
	_, port, err := net.SplitHostPort(p.Addr)
	require.NoError(t, err)
	s := exampletest.At(t, "127.0.0.1:"+port)
	assert.Equal(t, http.StatusOK, s.Do(http.MethodGet, "/healthz", "").Status)
	assert.Equal(t, http.StatusOK, s.Do(http.MethodGet, "/readyz", "").Status)
	s.HTTP.CloseIdleConnections()
	require.NoError(t, p.Process.Signal(syscall.SIGTERM))
	require.NoError(t, p.Wait(exampletest.Within), p.Stderr)

	if exec.Command("docker", "info").Run() == nil {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
		defer cancel()
		image := exec.CommandContext(ctx, "docker", "build", "--quiet", "--file", "-", source)
		image.Stdin = strings.NewReader(text)
		out, err = image.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
}
