package broadcastws_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is how long a test waits for what should come at once.
const within = 20 * time.Second

type options = broadcastws.Options[string]

// A service is a server of a broker of strings, on a real listener.
type service struct {
	t      *testing.T
	broker *broadcast.Broker[string]
	server *broadcastws.Server[string]
	http   *httptest.Server
	log    *logged
	closed chan error // what Observe.Closed was told

	devices atomic.Int64 // names given so far

	handler atomic.Pointer[http.Handler] // in place of the server; stored by tests, read by requests
}

// ServeHTTP implements [http.Handler].
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.handler.Load()).ServeHTTP(w, r)
}

// handle answers requests with h from now on.
func (s *service) handle(h http.Handler) { s.handler.Store(&h) }

// start runs a service that admits everybody to the chat and as the device that the query says.
func start(t *testing.T, change func(*options), opts ...broadcast.Option) *service {
	t.Helper()
	s := &service{t: t, log: new(logged), closed: make(chan error, 10_000)}
	var err error
	s.broker, err = broadcast.New[string](opts...)
	require.NoError(t, err)
	o := options{
		Admit:   admit,
		Observe: broadcastws.Observer{Closed: func(reason error) { s.closed <- reason }},
		Logger:  slog.New(slog.NewTextHandler(s.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	s.server, err = broadcastws.New(s.broker, o)
	require.NoError(t, err)
	s.handle(s.server)
	s.http = httptest.NewServer(s)
	t.Cleanup(s.end)
	return s
}

// admit trusts everybody.
func admit(r *http.Request) (broadcastws.Ticket, error) {
	query := r.URL.Query()
	return broadcastws.Ticket{Chat: query.Get("chat"), Device: query.Get("device")}, nil
}

// end ends the service in the order of the documentation.
func (s *service) end() {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_ = s.broker.Close()
	assert.NoError(s.t, s.server.Drain(ctx))
	s.http.Close()
}

// publish publishes to chat c.
func (s *service) publish(messages ...string) {
	s.t.Helper()
	for _, m := range messages {
		require.NoError(s.t, s.broker.Publish(context.Background(), "c", m))
	}
}

// reason returns what Observe was told about the next end.
func (s *service) reason() error {
	s.t.Helper()
	select {
	case reason := <-s.closed:
		return reason
	case <-time.After(within):
		require.Fail(s.t, "no socket has ended")
		return nil
	}
}

// url returns an address of the service.
func (s *service) url(query string) string {
	return "ws" + strings.TrimPrefix(s.http.URL, "http") + "/?" + query
}

// A client is a WebSocket of a library that is known to be right.
type client struct {
	t    *testing.T
	conn *websocket.Conn
}

// frame is a message or an event as the defaults encode them.
type frame struct {
	Event     broadcastws.Kind
	Chat      string
	Message   string
	Seq       uint64
	Position  string
	Missed    uint64
	Recovered bool
	Device    string
	Devices   []string
	Heartbeat int64
	Code      int
	Reason    string
}

// dial connects to chat c and reads the ready event.
func (s *service) dial(device string) *client {
	s.t.Helper()
	c := s.connect("chat=c&device="+device, nil)
	require.Equal(s.t, broadcastws.Ready, c.next().Event)
	return c
}

// connect connects.
func (s *service) connect(query string, o *websocket.DialOptions) *client {
	s.t.Helper()
	c, _, err := s.handshake(query, o)
	require.NoError(s.t, err)
	return c
}

func (s *service) handshake(query string, o *websocket.DialOptions) (*client, *http.Response, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	conn, res, err := websocket.Dial(ctx, s.url(query), o)
	if err != nil {
		return nil, res, err
	}
	s.t.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(-1)
	return &client{s.t, conn}, res, nil
}

// read returns the next data frame, or the error of reading.
func (c *client) read() ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	_, text, err := c.conn.Read(ctx)
	return text, err
}

// next returns the next data frame.
func (c *client) next() (f frame) {
	c.t.Helper()
	text, err := c.read()
	require.NoError(c.t, err)
	require.NoError(c.t, json.Unmarshal(text, &f), "%q", text)
	return f
}

// messages returns the next n data frames, which must be messages.
func (c *client) messages(n int) (messages []string) {
	c.t.Helper()
	for range n {
		f := c.next()
		require.Empty(c.t, f.Event, "%v", f)
		messages = append(messages, f.Message)
	}
	return messages
}

// ended reads the Ended event and the close frame.
func (c *client) ended() websocket.CloseError {
	c.t.Helper()
	f := c.next()
	require.Equal(c.t, broadcastws.Ended, f.Event)
	closed := c.closed()
	assert.Equal(c.t, f.Code, int(closed.Code))
	assert.Equal(c.t, f.Reason, closed.Reason)
	return closed
}

// closed reads until the close frame.
func (c *client) closed() (closed websocket.CloseError) {
	c.t.Helper()
	for {
		if _, err := c.read(); err != nil {
			require.ErrorAs(c.t, err, &closed)
			return closed
		}
	}
}

// status returns the status with which a handshake is refused.
func (s *service) refused(query string, o *websocket.DialOptions) int {
	s.t.Helper()
	_, res, err := s.handshake(query, o)
	require.Error(s.t, err)
	require.NotNil(s.t, res, "%v", err)
	return res.StatusCode
}

// logged is what was logged.
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

var errTest = errors.New("as the test wants")
