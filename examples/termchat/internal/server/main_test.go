package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const within = exampletest.Within

// service is a server that runs on a port of its own, with a directory of its own.
type service struct {
	*ServerHandle
	t   testing.TB
	dir string
}

// start runs a server with the default configuration after change until the test ends, and wants it
// to end cleanly.
func start(t testing.TB, change func(*Config)) *service {
	t.Helper()
	return startOn(t, exampletest.Listen(t), change)
}

func startOn(t testing.TB, ln net.Listener, change func(*Config)) *service {
	t.Helper()
	s := beginOn(t, context.Background(), ln, change)
	t.Cleanup(func() {
		assert.NoError(t, s.Stop(exampletest.Deadline(t)), "the server did not end cleanly")
		assert.Zero(t, s.server.broker.Stats().Subscribers, "a socket has outlived the server")
	})
	return s
}

// begin runs a server until ctx ends.
func begin(t testing.TB, ctx context.Context, change func(*Config)) *service {
	t.Helper()
	return beginOn(t, ctx, exampletest.Listen(t), change)
}

func beginOn(t testing.TB, ctx context.Context, ln net.Listener, change func(*Config)) *service {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Dir = t.TempDir()
	cfg.LeaveGrace, cfg.CleanPeriod = 0, 10*time.Millisecond
	if change != nil {
		change(&cfg)
	}
	h, err := Start(ctx, ln, cfg)
	require.NoError(t, err)
	return &service{h, t, cfg.Dir}
}

// files returns the names of what is in the server's directory.
func (s *service) files() []string {
	s.t.Helper()
	entries, err := os.ReadDir(s.dir)
	require.NoError(s.t, err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

// do sends a request over a connection of its own; headers are pairs of a name and a value.
func (s *service) do(method, path string, body io.Reader, headers ...string) exampletest.Answer {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, ExpectContinueTimeout: within}, Timeout: within}
	return exampletest.Do(s.t, client, method, "http://"+s.Addr()+path, body, headers...)
}

// socketClient is a bare WebSocket in a room.
type socketClient struct {
	t    testing.TB
	conn *websocket.Conn
	tcp  *net.TCPConn
}

// dial opens a bare WebSocket; more are further parameters, in pairs.
func (s *service) dial(room, name string, more ...string) (*socketClient, *http.Response, error) {
	query := url.Values{"name": {name}}
	for i := 0; i < len(more); i += 2 {
		query.Set(more[i], more[i+1])
	}
	c := &socketClient{t: s.t}
	transport := &http.Transport{DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		if err == nil {
			c.tcp = conn.(*net.TCPConn)
			err = c.tcp.SetReadBuffer(16 << 10) // what it does not read soon blocks the server
		}
		return conn, err
	}}
	defer transport.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, "ws://"+s.Addr()+"/rooms/"+url.PathEscape(room)+"/socket?"+query.Encode(),
		&websocket.DialOptions{HTTPClient: &http.Client{Transport: transport}})
	if err != nil {
		return nil, res, err
	}
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	c.conn = conn
	return c, res, nil
}

// enter is dial that must succeed; it also returns the first frame.
func (s *service) enter(room, name string, more ...string) (*socketClient, wire.Frame) {
	s.t.Helper()
	c, _, err := s.dial(room, name, more...)
	require.NoError(s.t, err)
	first := c.next()
	require.Contains(s.t, []broadcastws.Kind{broadcastws.Ready, broadcastws.Reset}, first.Event)
	return c, first
}

func (c *socketClient) read() (f wire.Frame, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, b, err := c.conn.Read(ctx)
	if err == nil {
		require.NoError(c.t, json.Unmarshal(b, &f), "%s", b)
	}
	return f, err
}

// next returns the next frame, which must come.
func (c *socketClient) next() wire.Frame {
	c.t.Helper()
	f, err := c.read()
	require.NoError(c.t, err)
	return f
}

// until returns the next frame of a kind; none is that of messages.
func (c *socketClient) until(kind broadcastws.Kind) wire.Frame {
	c.t.Helper()
	for {
		if f := c.next(); f.Event == kind {
			return f
		}
	}
}

// message returns the next message.
func (c *socketClient) message() wire.Message {
	c.t.Helper()
	return *c.until("").Message
}

// closed reads up to the end and returns how the socket was closed, and the frames before that.
func (c *socketClient) closed() (websocket.CloseError, []wire.Frame) {
	c.t.Helper()
	for frames := []wire.Frame{}; ; {
		f, err := c.read()
		if err == nil {
			frames = append(frames, f)
			continue
		}
		closing, ok := errors.AsType[websocket.CloseError](err)
		require.True(c.t, ok, "%v", err)
		return closing, frames
	}
}

// send sends a text, which need not be one.
func (c *socketClient) send(text string) {
	c.t.Helper()
	require.NoError(c.t, c.conn.Write(context.Background(), websocket.MessageText, []byte(text)))
}

// person is a client whose events are looked at.
type person struct {
	*client.Client
	t testing.TB
}

// person makes a client that comes back fast, until the test ends.
func (s *service) person(room, name string) *person {
	s.t.Helper()
	return newPerson(s.t, s.Addr(), room, name)
}

func newPerson(t testing.TB, addr, room, name string) *person {
	t.Helper()
	c, err := client.New(client.Options{Addr: addr, Room: room, Name: name, MinBackoff: 5 * time.Millisecond, MaxBackoff: 50 * time.Millisecond})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	p := &person{c, t}
	p.state(client.Online)
	return p
}

// next returns the next event, which must come; ok is false after the last one.
func (p *person) next() (e client.Event, ok bool) {
	p.t.Helper()
	select {
	case e, ok = <-p.Events():
		return e, ok
	case <-time.After(within):
		require.FailNow(p.t, "no event has come")
		return e, false
	}
}

// until returns the next event of one of some kinds.
func (p *person) until(kinds ...client.EventKind) client.Event {
	p.t.Helper()
	for {
		e, ok := p.next()
		require.True(p.t, ok, "there are no more events")
		if slices.Contains(kinds, e.Kind) {
			return e
		}
	}
}

// state returns the event that says that the state is reached.
func (p *person) state(state client.State) client.Event {
	p.t.Helper()
	for {
		if e := p.until(client.StateChanged); e.State == state {
			return e
		}
	}
}

// hears returns the texts of the next n messages.
func (p *person) hears(n int) []string {
	p.t.Helper()
	texts := []string{}
	for range n {
		e := p.until(client.Message, client.Missed)
		require.Equal(p.t, client.Message, e.Kind, "missed %d", e.Missed)
		texts = append(texts, e.Text)
	}
	return texts
}

// says sends a message, which must be accepted.
func (p *person) says(text string) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(p.t, p.Send(ctx, text))
}

// big is a long message: a few of them fill what the kernel buffers.
var big = strings.Repeat("x", wire.MaxText-8)
