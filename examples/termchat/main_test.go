package main

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

// process is a termchat that runs.
type process struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
	err *bytes.Buffer
}

// termchat starts a process, which is killed when the test ends if it has not ended by then.
func termchat(t *testing.T, args ...string) *process {
	t.Helper()
	cmd := exampletest.Command(args...)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	p := &process{t, cmd, in, bufio.NewScanner(out), &bytes.Buffer{}}
	cmd.Stderr = p.err
	require.NoError(t, cmd.Start())
	timer := time.AfterFunc(2*exampletest.Within, func() { _ = cmd.Process.Kill() }) // which ends what waits for it
	t.Cleanup(func() {
		timer.Stop()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return p
}

// sees returns the next line that begins with something, without that.
func (p *process) sees(start string) string {
	p.t.Helper()
	var instead []string
	for p.out.Scan() {
		if rest, ok := strings.CutPrefix(p.out.Text(), start); ok {
			return rest
		}
		instead = append(instead, p.out.Text())
	}
	_ = p.cmd.Wait() // its output has ended, so what it says is complete
	require.FailNow(p.t, "has not seen "+start, "but %q, %s", instead, p.err)
	return ""
}

func (p *process) types(line string) {
	p.t.Helper()
	_, err := io.WriteString(p.in, line+"\n")
	require.NoError(p.t, err)
}

// ends returns the exit code.
func (p *process) ends() int {
	p.t.Helper()
	for p.out.Scan() {
	}
	_ = p.cmd.Wait() // the code says it
	return p.cmd.ProcessState.ExitCode()
}

func serve(t *testing.T) (server *process, addr string) {
	t.Helper()
	server = termchat(t, "serve", "-addr", "127.0.0.1:0", "-dir", t.TempDir())
	return server, server.sees("listening on ")
}

func TestTwoPeopleChatShareAFileAndTheServerIsStopped(t *testing.T) {
	server, addr := serve(t)
	ann := termchat(t, "join", "-addr", addr, "-name", "ann", "-plain")
	ann.sees("* in general: ann")
	bob := termchat(t, "join", "-addr", addr, "-room", "general", "-name", "bob", "-plain")
	ann.sees("* bob joined")
	ann.types("hello")
	bob.sees("<ann> hello")

	path := filepath.Join(t.TempDir(), "notes.txt")
	require.NoError(t, os.WriteFile(path, []byte("notes"), 0o600))
	upload := termchat(t, "upload", "-addr", addr, "-name", "carl", path)
	id := upload.sees("")
	assert.Zero(t, upload.ends())
	bob.sees("* carl shared notes.txt, 5 bytes: /download " + id)
	copied := filepath.Join(t.TempDir(), "copy")
	download := termchat(t, "download", "-addr", addr, "-name", "ann", "-o", copied, id)
	assert.Equal(t, copied, download.sees(""))
	assert.Zero(t, download.ends())
	got, err := os.ReadFile(copied)
	require.NoError(t, err)
	assert.Equal(t, "notes", string(got))

	require.NoError(t, server.cmd.Process.Signal(syscall.SIGTERM))
	ann.sees("* offline: the server is stopping")
	assert.Zero(t, server.ends())
	require.NoError(t, bob.in.Close())
	assert.Zero(t, bob.ends(), "the end of the input")
	require.NoError(t, ann.cmd.Process.Signal(syscall.SIGINT))
	assert.Zero(t, ann.ends(), "Ctrl-C")
}

func TestOverTLSWithATokenOnlyThoseWithATokenComeIn(t *testing.T) {
	t.Setenv("TERMCHAT_SECRET", strings.Repeat("secret ", 5))
	cert, key := certificate(t)
	server := termchat(t, "serve", "-addr", "127.0.0.1:0", "-dir", t.TempDir(), "-tls-cert", cert, "-tls-key", key)
	addr := server.sees("listening on ")
	issue := termchat(t, "serve", "-token-for", "ann")
	token := issue.sees("")
	require.Zero(t, issue.ends())

	ann := termchat(t, "join", "-addr", addr, "-tls-ca", cert, "-token", token, "-plain")
	ann.sees("* in general: ann")
	ann.types("hello")
	ann.sees("<ann> hello")
	path := filepath.Join(t.TempDir(), "notes.txt")
	require.NoError(t, os.WriteFile(path, []byte("notes"), 0o600))
	t.Setenv("TERMCHAT_TOKEN", token)
	upload := termchat(t, "upload", "-addr", addr, "-tls-ca", cert, path)
	id := upload.sees("")
	require.Zero(t, upload.ends(), upload.err)
	ann.sees("* ann shared notes.txt")
	copied := filepath.Join(t.TempDir(), "copy")
	require.Zero(t, termchat(t, "download", "-addr", addr, "-tls-ca", cert, "-o", copied, id).ends())

	for says, args := range map[string][]string{
		"another name": {"-tls-ca", cert, "-name", "bob"},
		"token":        {"-tls-ca", cert, "-name", "bob", "-token", ""},
	} {
		bob := termchat(t, append([]string{"join", "-addr", addr, "-plain"}, args...)...)
		assert.Equal(t, exitError, bob.ends())
		assert.Contains(t, bob.err.String(), says)
	}
	stranger := termchat(t, "join", "-addr", addr, "-tls", "-plain")
	stranger.sees("* offline: ") // the certificate is not one to trust
}

// certificate makes a certificate for this machine, and returns its files.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(t.TempDir(), "cert.pem"), filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}), 0o600))
	return certFile, keyFile
}

func TestWhatIsWrongIsSaidWithoutAStackAndWithACode(t *testing.T) {
	server, addr := serve(t)
	for _, row := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitUsage, "usage"},
		{[]string{"help"}, exitOK, "usage"},
		{[]string{"dance"}, exitUsage, "usage"},
		{[]string{"serve", "-h"}, exitOK, "-dir"},
		{[]string{"serve", "more"}, exitUsage, "more"},
		{[]string{"serve", "-addr", addr}, exitError, "in use"},
		{[]string{"join", "-port", "1"}, exitUsage, "-port"},
		{[]string{"join", "-name", "", "-plain"}, exitError, "name must be"},
		{[]string{"join", "-addr", addr, "-name", "ann"}, exitError, "try -plain"},
		{[]string{"join", "-name", "ann", "more"}, exitUsage, "more"},
		{[]string{"upload", "-h"}, exitOK, "termchat upload "},
		{[]string{"upload", "-addr", addr, "-name", "ann"}, exitUsage, "FILE is required"},
		{[]string{"download", "-addr", addr, "-name", "ann"}, exitUsage, "ID is required"},
		{[]string{"upload", "-addr", addr, "-name", "ann", "/nonexistent"}, exitError, "no such file"},
		{[]string{"upload", "-addr", "127.0.0.1:1", "-name", "ann", os.Args[0]}, exitError, "refused"},
		{[]string{"download", "-addr", addr, "../../x"}, exitError, "not an id"},
		{[]string{"download", "-addr", addr, "-name", "ann", "x"}, exitError, "no such file"},
		{[]string{"serve", "-addr", ":0"}, exitUsage, "secret"},
		{[]string{"serve", "-secret", "short"}, exitUsage, "32 bytes"},
		{[]string{"serve", "-token-for", "ann"}, exitUsage, "-secret"},
		{[]string{"join", "-name", "ann", "-tls-ca", os.Args[0]}, exitError, "no certificate"},
	} {
		t.Run(strings.Join(row.args, " "), func(t *testing.T) {
			p := termchat(t, row.args...)
			assert.Equal(t, row.code, p.ends())
			said := p.err.String()
			if _, err, ok := strings.Cut(said, "\nerror: "); ok { // what comes before it is the usage
				said = err
			}
			assert.Contains(t, said, row.says)
			assert.NotContains(t, said, "goroutine")
		})
	}
	require.NoError(t, server.cmd.Process.Signal(syscall.SIGINT))
	assert.Zero(t, server.ends())
}
