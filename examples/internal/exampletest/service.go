package exampletest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Answer is what came back for a request.
type Answer struct {
	Status int         `json:"-"`
	Header http.Header `json:"-"`
	Body   string      `json:"-"`
	Error  string      // of a JSON body
}

// Do sends a request; headers are pairs of a name and a value.
func Do(t testing.TB, client *http.Client, method, url string, body io.Reader, headers ...string) Answer {
	t.Helper()
	req, err := http.NewRequest(method, url, body)
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := client.Do(req)
	require.NoError(t, err)
	return Read(t, res)
}

// Read returns a response as an Answer.
func Read(t testing.TB, res *http.Response) Answer {
	t.Helper()
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	a := Answer{Status: res.StatusCode, Header: res.Header, Body: string(b)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") && len(b) > 0 {
		require.NoError(t, json.Unmarshal(b, &a), "not JSON: %s", b)
	}
	return a
}

// Service is a server at an address.
type Service struct {
	T    testing.TB
	Addr string
	HTTP *http.Client
	End  context.CancelFunc // begins the shutdown
	Done func() error       // waits for its end
}

// At returns the Service of a server that somebody else runs: End and Done are nil.
func At(t testing.TB, addr string) *Service {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: Within}
	t.Cleanup(client.CloseIdleConnections)
	return &Service{T: t, Addr: addr, HTTP: client}
}

// Listen listens on any port.
func Listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

// Begin runs a server until the test ends, however it ends.
func Begin(t testing.TB, serve func(context.Context, net.Listener) error, ln net.Listener) *Service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, ln) }()
	s := At(t, ln.Addr().String())
	s.End = cancel
	s.Done = sync.OnceValue(func() error {
		s.HTTP.CloseIdleConnections()
		select {
		case err := <-ended:
			return err
		case <-time.After(3 * Within): // longer than a shutdown that cuts what is left
			return errors.New("the server does not end")
		}
	})
	t.Cleanup(func() {
		cancel()
		_ = s.Done()
	})
	return s
}

// Serve is Begin, and wants the server to end cleanly.
func Serve(t testing.TB, serve func(context.Context, net.Listener) error, ln net.Listener) *Service {
	t.Helper()
	s := Begin(t, serve, ln)
	t.Cleanup(func() {
		s.End()
		assert.NoError(t, s.Done(), "the server did not end cleanly")
	})
	return s
}

// Do sends a request; headers are pairs of a name and a value.
func (s *Service) Do(method, path, body string, headers ...string) Answer {
	s.T.Helper()
	return Do(s.T, s.HTTP, method, "http://"+s.Addr+path, strings.NewReader(body), headers...)
}

// Connect opens a connection and sends nothing. Little fits into its buffer: what it does not read
// soon blocks the server.
func (s *Service) Connect() *net.TCPConn {
	s.T.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	require.NoError(s.T, err)
	s.T.Cleanup(func() { _ = conn.Close() })
	tcp := conn.(*net.TCPConn)
	require.NoError(s.T, tcp.SetReadBuffer(32<<10))
	require.NoError(s.T, tcp.SetDeadline(time.Now().Add(Within)))
	return tcp
}

// Ended waits until the server has ended a connection, with or without what was still in it.
func Ended(t testing.TB, conn io.Reader) {
	t.Helper()
	_, err := io.Copy(io.Discard, conn)
	if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
		require.NoError(t, err, "the server has not ended the connection")
	}
}
