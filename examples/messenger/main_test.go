package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// asMessenger in the environment makes the test binary the messenger itself, for the tests that need a process.
const asMessenger = "MESSENGER_TEST_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(asMessenger) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// within is how long a test waits for what must happen.
const within = 20 * time.Second

// soon fails the test unless cond becomes true.
func soon(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !cond(); {
		if time.Now().After(deadline) {
			require.FailNow(t, "has not happened: "+what)
		}
		time.Sleep(time.Millisecond)
	}
}

// service is a Server that runs on a port of its own.
type service struct {
	*Server
	t    testing.TB
	addr string
	http *http.Client
	end  context.CancelFunc // begins the shutdown
	done func() error       // waits for its end
}

// start runs a Server with the default configuration after change, on any port, until the test ends.
func start(t testing.TB, change func(*Config)) *service {
	t.Helper()
	return serve(t, newServer(t, change), listen(t))
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ln
}

func newServer(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	cfg := DefaultConfig()
	cfg.LeaveGrace = 0 // who leaves has left
	if change != nil {
		change(&cfg)
	}
	server, err := NewServer(cfg)
	require.NoError(t, err)
	return server
}

// serve runs a Server until the test ends, and wants it to end cleanly.
func serve(t testing.TB, server *Server, ln net.Listener) *service {
	t.Helper()
	s := begin(t, server, ln)
	t.Cleanup(func() {
		s.end()
		assert.NoError(t, s.done(), "the server did not end cleanly")
		assert.Empty(t, s.conns, "a socket has outlived the server") // no lock: nothing of the server is left
	})
	return s
}

// begin runs a Server until the test ends.
func begin(t testing.TB, server *Server, ln net.Listener) *service {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, ln) }()

	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	s := &service{
		Server: server, t: t, addr: ln.Addr().String(),
		http: &http.Client{Transport: transport, Timeout: within},
		end:  cancel,
		done: sync.OnceValue(func() error {
			transport.CloseIdleConnections()
			return <-ended
		}),
	}
	t.Cleanup(func() {
		cancel()
		_ = s.done()
	})
	return s
}

// answer is what came back for a request.
type answer struct {
	status int
	header http.Header
	body   string
	Error  string
	Field  string
}

// do sends a request; headers are pairs of a name and a value.
func (s *service) do(method, path, body string, headers ...string) answer {
	s.t.Helper()
	req, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.http.Do(req)
	require.NoError(s.t, err)
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	require.NoError(s.t, err)
	a := answer{status: res.StatusCode, header: res.Header, body: string(b)}
	if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") && len(b) > 0 {
		require.NoError(s.t, json.Unmarshal(b, &a), "not JSON: %s", b)
	}
	return a
}

// postBody posts a body as JSON.
func (s *service) postBody(body string) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/message", body, "Content-Type", "application/json")
}

// say posts a text and returns the answer.
func (s *service) say(text string, by, chat int) answer {
	s.t.Helper()
	body, err := json.Marshal(map[string]any{"text": text, "by": by, "chat": chat})
	require.NoError(s.t, err)
	return s.postBody(string(body))
}

// mustSay posts a text that must be accepted.
func (s *service) mustSay(text string, by, chat int) {
	s.t.Helper()
	require.Equal(s.t, http.StatusAccepted, s.say(text, by, chat).status)
}

// present returns who is in a chat, as the server tells it.
func (s *service) present(chat int) []int {
	s.t.Helper()
	var body struct{ Devices []int }
	a := s.do(http.MethodGet, fmt.Sprintf("/devices?chat=%d", chat), "")
	require.Equal(s.t, http.StatusOK, a.status)
	require.NoError(s.t, json.Unmarshal([]byte(a.body), &body))
	return body.Devices
}

// frame is one message as a socket gets it.
type frame struct {
	Text     string    `json:"text"`
	At       time.Time `json:"at"`
	By       int       `json:"by"`
	Chat     int       `json:"chat"`
	Seq      uint64    `json:"seq"`
	Missed   uint64    `json:"missed"`
	Position string    `json:"position"`
}

// event is a frame that is no message.
type event struct {
	Event     string `json:"event"`
	Chat      int    `json:"chat"`
	Device    int    `json:"device"`
	Seq       uint64 `json:"seq"`
	Recovered bool   `json:"recovered"`
	Missed    uint64 `json:"missed"`
	Position  string `json:"position"`
	Devices   []int  `json:"devices"`
}

// isEvent tells what kind of frame this is, as any client can.
func isEvent(t testing.TB, payload []byte) bool {
	t.Helper()
	var kind struct{ Event *string }
	require.NoError(t, json.Unmarshal(payload, &kind), "%s", payload)
	return kind.Event != nil
}

func parse[F frame | event](t testing.TB, payload []byte) (f F) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(payload))
	dec.DisallowUnknownFields()
	require.NoError(t, dec.Decode(&f), "%s", payload)
	return f
}

// watcher is a WebSocket client made with the library that the server uses too.
type watcher struct {
	t    testing.TB
	conn *websocket.Conn
}

func (s *service) watch(chat, device int) *watcher {
	s.t.Helper()
	return s.resume(chat, device, "")
}

// resume is watch from a position on.
func (s *service) resume(chat, device int, after string) *watcher {
	s.t.Helper()
	conn, _, err := s.dial(chat, device, "&events=1&after="+after)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	return &watcher{t: s.t, conn: conn}
}

// dial opens a WebSocket; more is added to the query.
func (s *service) dial(chat, device int, more string) (*websocket.Conn, *http.Response, error) {
	url := "ws://" + s.addr + "/ws?chat=" + strconv.Itoa(chat) + "&device=" + strconv.Itoa(device) + more
	return websocket.Dial(context.Background(), url, &websocket.DialOptions{HTTPClient: s.http})
}

// payload returns the next frame of any kind, or the error that ended the socket.
func (w *watcher) payload() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	kind, payload, err := w.conn.Read(ctx)
	if err == nil {
		assert.Equal(w.t, websocket.MessageText, kind)
	}
	return payload, err
}

// read returns the next message, or the error that ended the socket.
func (w *watcher) read() (frame, error) {
	for {
		payload, err := w.payload()
		if err != nil {
			return frame{}, err
		}
		if !isEvent(w.t, payload) {
			return parse[frame](w.t, payload), nil
		}
	}
}

// event returns the next frame, which must be an event.
func (w *watcher) event() event {
	w.t.Helper()
	payload, err := w.payload()
	require.NoError(w.t, err)
	require.True(w.t, isEvent(w.t, payload), "%s", payload)
	return parse[event](w.t, payload)
}

// told returns the next n frames as text: messages as they are, comings and goings as +2 and -2, the others as their name and
// who is there.
func (w *watcher) told(n int) (all []string) {
	w.t.Helper()
	for range n {
		payload, err := w.payload()
		require.NoError(w.t, err, "after %q", all)
		if !isEvent(w.t, payload) {
			all = append(all, parse[frame](w.t, payload).Text)
			continue
		}
		switch e := parse[event](w.t, payload); e.Event {
		case eventJoined:
			all = append(all, fmt.Sprintf("+%d", e.Device))
		case eventLeft:
			all = append(all, fmt.Sprintf("-%d", e.Device))
		default:
			all = append(all, fmt.Sprint(e.Event, e.Devices))
		}
	}
	return all
}

// next returns the next message, which must come.
func (w *watcher) next() frame {
	w.t.Helper()
	f, err := w.read()
	require.NoError(w.t, err)
	return f
}

// closed returns how the socket was closed, which must happen next.
func (w *watcher) closed() (websocket.StatusCode, string) {
	w.t.Helper()
	f, err := w.read()
	require.Error(w.t, err, "got %+v instead of a closing frame", f)
	closing, ok := errors.AsType[websocket.CloseError](err)
	require.True(w.t, ok, "%v", err)
	return closing.Code, closing.Reason
}
