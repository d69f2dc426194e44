package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

const within = exampletest.Within

// service is a Server that runs on a port of its own.
type service struct {
	*exampletest.Service
	*Server
}

// start runs a Server with the default configuration after change, on any port, until the test ends, and wants it to end cleanly.
func start(t testing.TB, change func(*Config)) *service {
	t.Helper()
	return serve(t, newServer(t, change), exampletest.Listen(t))
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
	t.Cleanup(func() { assert.Zero(t, server.conns.Len(), "a socket has outlived the server") })
	return &service{exampletest.Serve(t, server.Serve, ln), server}
}

// present returns who is in a chat, as the server tells it.
func (s *service) present(chat int) []int {
	s.T.Helper()
	var body struct{ Devices []int }
	a := s.Do(http.MethodGet, fmt.Sprintf("/devices?chat=%d", chat), "")
	require.Equal(s.T, http.StatusOK, a.Status)
	require.NoError(s.T, json.Unmarshal([]byte(a.Body), &body))
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
	s.T.Helper()
	return s.resume(chat, device, "")
}

// resume is watch from a position on.
func (s *service) resume(chat, device int, after string) *watcher {
	s.T.Helper()
	conn, _, err := s.dial(chat, device, "&events=1&after="+after)
	require.NoError(s.T, err)
	s.T.Cleanup(func() { _ = conn.CloseNow() })
	return &watcher{t: s.T, conn: conn}
}

// dial opens a WebSocket; more is added to the query.
func (s *service) dial(chat, device int, more string) (*websocket.Conn, *http.Response, error) {
	url := "ws://" + s.Addr + "/ws?chat=" + strconv.Itoa(chat) + "&device=" + strconv.Itoa(device) + more
	return websocket.Dial(context.Background(), url, &websocket.DialOptions{HTTPClient: s.HTTP})
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
