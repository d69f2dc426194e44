package server

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/token"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// service is a Server that runs on a port of its own, and what it has logged.
type service struct {
	*exampletest.Service
	*Server
	logged *logged
}

// start runs a Server with the default configuration after change, on any port, until the test
// ends, and wants it to end cleanly.
func start(t testing.TB, change func(*Config)) *service {
	t.Helper()
	return startOn(t, exampletest.Listen(t), change)
}

func startOn(t testing.TB, ln net.Listener, change func(*Config)) *service {
	t.Helper()
	s := newService(t, change)
	s.Service = exampletest.Serve(t, s.Serve, ln)
	return s
}

// newService returns a service that does not run yet, in which clients may be as fast as they like.
func newService(t testing.TB, change func(*Config)) *service {
	t.Helper()
	out := new(logged)
	cfg := DefaultConfig()
	cfg.LeaveGrace = 0 // who leaves has left
	cfg.PostRate, cfg.HandshakeRate, cfg.Burst, cfg.Connections = 1e6, 1e6, 1e6, 1e6
	cfg.Log = slog.New(slog.NewJSONHandler(out, nil))
	if change != nil {
		change(&cfg)
	}
	server, err := New(cfg)
	require.NoError(t, err)
	return &service{nil, server, out}
}

// closed makes a server one for those who have a token.
func closed(c *Config) { c.Secret = "a secret of the tests, of 32 bytes or more" }

// token returns a token, as the server hands it out.
func (s *service) token(name string) string {
	s.T.Helper()
	return s.tokenFor(name, token.Age)
}

func (s *service) tokenFor(name string, age time.Duration) string {
	s.T.Helper()
	token, err := s.key.Issue(name, age)
	require.NoError(s.T, err)
	return token
}

// post posts a body, with more headers.
func (s *service) postBody(by, chat, body string, headers ...string) exampletest.Answer {
	s.T.Helper()
	headers = append([]string{"Authorization", "Bearer " + s.token(by), "Content-Type", "application/json"}, headers...)
	return s.Do(http.MethodPost, "/chats/"+url.PathEscape(chat)+"/messages", body, headers...)
}

// say posts a text.
func (s *service) say(by, chat, text string, headers ...string) exampletest.Answer {
	s.T.Helper()
	body, err := json.Marshal(map[string]string{"text": text})
	require.NoError(s.T, err)
	return s.postBody(by, chat, string(body), headers...)
}

// mustSay posts texts that must be accepted.
func (s *service) mustSay(by, chat string, texts ...string) {
	s.T.Helper()
	for _, text := range texts {
		a := s.say(by, chat, text)
		require.Equal(s.T, http.StatusAccepted, a.Status, "%s", a.Body)
	}
}

// frame is what a socket gets.
type frame struct {
	Event     string
	Seq       uint64
	Position  string
	Recovered bool
	Missed    uint64
	Device    string
	Devices   []string
	Message   *struct {
		By, Text string
		At       time.Time
	}
}

// watcher is a WebSocket client.
type watcher struct {
	t    testing.TB
	conn *websocket.Conn
}

// dial asks for a WebSocket.
func (s *service) dial(token, chat, query string) (*websocket.Conn, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), exampletest.Within)
	defer cancel()
	address := fmt.Sprintf("ws://%s/chats/%s/socket?%s", s.Addr, url.PathEscape(chat), query)
	return websocket.Dial(ctx, address, &websocket.DialOptions{
		HTTPClient: s.HTTP, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
}

// watch opens a WebSocket, as the first device of somebody.
func (s *service) watch(name, chat, after string) *watcher {
	s.T.Helper()
	conn, _, err := s.dial(s.token(name), chat, "device=1&after="+after)
	require.NoError(s.T, err)
	s.T.Cleanup(func() { _ = conn.CloseNow() })
	return &watcher{s.T, conn}
}

// read returns the next frame, or the error that ended the socket.
func (w *watcher) read() (f frame, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), exampletest.Within)
	defer cancel()
	_, text, err := w.conn.Read(ctx)
	if err == nil {
		require.NoError(w.t, json.Unmarshal(text, &f), "%s", text)
	}
	return f, err
}

// next returns the next frame, which must come.
func (w *watcher) next() frame {
	w.t.Helper()
	f, err := w.read()
	require.NoError(w.t, err)
	return f
}

// told returns the next n frames in short: texts as they are, +ann and -ann, and other events with
// what they say.
func (w *watcher) told(n int) (all []string) {
	w.t.Helper()
	for range n {
		switch f := w.next(); f.Event {
		case "":
			if f.Message == nil {
				all = append(all, "null")
				continue
			}
			all = append(all, f.Message.Text)
		case "joined":
			all = append(all, "+"+f.Device)
		case "left":
			all = append(all, "-"+f.Device)
		case "missed":
			all = append(all, fmt.Sprint("missed ", f.Missed))
		default:
			all = append(all, fmt.Sprint(f.Event, f.Devices))
		}
	}
	return all
}

// code returns the code with which the socket is closed, which must come soon.
func (w *watcher) code() websocket.StatusCode {
	w.t.Helper()
	for {
		if _, err := w.read(); err != nil {
			assert.NotErrorIs(w.t, err, context.DeadlineExceeded)
			return websocket.CloseStatus(err)
		}
	}
}

// logged is what was logged, as JSON.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
