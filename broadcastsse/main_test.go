package broadcastsse_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// No test leaves a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within is how long a test waits for what should come at once.
const within = 20 * time.Second

type options = broadcastsse.Options[string]

// A service is a server of a broker of strings, on a real listener.
type service struct {
	t      *testing.T
	broker *broadcast.Broker[string]
	server *broadcastsse.Server[string]
	http   *httptest.Server
	log    *logged
	closed chan error // what Observe.Closed was told

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
	s := prepare(t, change, opts...)
	s.http = httptest.NewServer(s)
	t.Cleanup(s.end)
	return s
}

// prepare makes a service without its listener.
func prepare(t *testing.T, change func(*options), opts ...broadcast.Option) *service {
	t.Helper()
	s := &service{t: t, log: new(logged), closed: make(chan error, 10_000)}
	var err error
	s.broker, err = broadcast.New[string](opts...)
	require.NoError(t, err)
	o := options{
		Admit:   admit,
		Observe: broadcastsse.Observer{Closed: func(reason error) { s.closed <- reason }},
		Logger:  slog.New(slog.NewTextHandler(s.log, nil)),
	}
	if change != nil {
		change(&o)
	}
	s.server, err = broadcastsse.New(s.broker, o)
	require.NoError(t, err)
	s.handle(s.server)
	return s
}

// admit trusts everybody.
func admit(r *http.Request) (broadcastsse.Ticket, error) {
	query := r.URL.Query()
	return broadcastsse.Ticket{Chat: query.Get("chat"), Device: query.Get("device")}, nil
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
		require.Fail(s.t, "no stream has ended")
		return nil
	}
}

// A client reads a stream of events.
type client struct {
	t   *testing.T
	res *http.Response
	r   *bufio.Reader
}

// An event is what an EventSource hands out.
type event struct {
	id, name, data string
	retry          string
}

// data is the data of a message or an event as the defaults encode it.
type data struct {
	Event     broadcastsse.Kind
	Chat      string
	Message   string
	Seq       uint64
	Position  string
	Missed    uint64
	Recovered bool
	Device    string
	Code      int
	Reason    string
}

// get sends a request. Headers are pairs.
func (s *service) get(query string, headers ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequest(http.MethodGet, s.http.URL+"/?"+query, nil)
	require.NoError(s.t, err)
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := s.http.Client().Do(req)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// connect opens a stream.
func (s *service) connect(query string, headers ...string) *client {
	s.t.Helper()
	res := s.get(query, headers...)
	require.Equal(s.t, http.StatusOK, res.StatusCode)
	return &client{s.t, res, bufio.NewReader(res.Body)}
}

// dial opens a stream of chat c and reads the ready event.
func (s *service) dial(device string) *client {
	s.t.Helper()
	c := s.connect("chat=c&device=" + device)
	require.Equal(s.t, "ready", c.next().name)
	return c
}

// read returns the next event, or the error of reading.
func (c *client) read() (e event, err error) {
	var lines []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return e, err
		}
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			e.data = strings.Join(lines, "\n")
			return e, nil
		}
		switch field, value, _ := strings.Cut(line, ": "); field {
		case "id":
			e.id = value
		case "event":
			e.name = value
		case "data":
			lines = append(lines, value)
		case "retry":
			e.retry = value
		}
	}
}

// next returns the next event.
func (c *client) next() event {
	c.t.Helper()
	e, err := c.read()
	require.NoError(c.t, err)
	return e
}

// decoded returns the data of an event.
func (e event) decoded(t *testing.T) (d data) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(e.data), &d), "%q", e.data)
	return d
}

// messages returns the next n events, which must be messages.
func (c *client) messages(n int) (messages []string) {
	c.t.Helper()
	for range n {
		e := c.next()
		require.Empty(c.t, e.name)
		messages = append(messages, e.decoded(c.t).Message)
	}
	return messages
}

// ended reads the last event and the end of the answer.
func (c *client) ended() (event, data) {
	c.t.Helper()
	e := c.next()
	require.Equal(c.t, "ended", e.name)
	_, err := c.r.ReadByte()
	require.ErrorIs(c.t, err, io.EOF)
	return e, e.decoded(c.t)
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
