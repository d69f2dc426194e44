package broadcastws_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastws"
)

// request is a handshake as a browser sends it.
const request = "GET /?chat=c&device=1 HTTP/1.1\r\n" +
	"Host: example.com\r\n" +
	"Connection: keep-alive, Upgrade\r\n" +
	"Upgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"\r\n"

// raw sends a request, and returns the connection and the answer.
func (s *service) raw(request string) (net.Conn, *bufio.Reader, *http.Response) {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.http.Listener.Addr().String())
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(within)))
	_, err = conn.Write([]byte(request))
	require.NoError(s.t, err)
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, nil)
	require.NoError(s.t, err)
	return conn, r, res
}

// Promise 81.
func TestARefusedHandshakeLeavesTheConnectedDeviceAlone(t *testing.T) {
	s := start(t, func(o *options) {
		o.Hosts = []string{"example.com", "127.0.0.1"}
		o.Admit = func(r *http.Request) (broadcastws.Ticket, error) {
			switch ticket, _ := admit(r); r.Header.Get("Admit") {
			case "":
				return ticket, nil
			case "panic":
				panic("as the test wants")
			case "error":
				return ticket, errTest
			default:
				return ticket, &broadcastws.Refusal{Status: http.StatusUnauthorized, Text: "who are you?"}
			}
		}
	}, broadcast.WithMaxChats(1))
	connected := s.dial("1")
	with := func(header string) string { return strings.Replace(request, "\r\n\r\n", "\r\n"+header+"\r\n\r\n", 1) }
	without := func(header string) string {
		begin := strings.Index(request, header)
		return request[:begin] + request[begin+strings.Index(request[begin:], "\r\n")+2:]
	}
	instead := func(old, new string) string { return strings.Replace(request, old, new, 1) }
	for name, test := range map[string]struct {
		request string
		status  int
		header  string // that the answer has
	}{
		"method":          {instead("GET", "DELETE"), 405, "Allow"},
		"head":            {instead("GET", "HEAD"), 405, "Allow"},
		"host":            {instead("example.com", "evil.example"), 421, ""},
		"origin":          {with("Origin: https://evil.example"), 403, ""},
		"site":            {with("Sec-Fetch-Site: cross-site"), 403, ""},
		"old":             {instead("HTTP/1.1", "HTTP/1.0"), 426, "Upgrade"},
		"no connection":   {without("Connection"), 426, "Upgrade"},
		"no upgrade":      {without("Upgrade"), 426, "Upgrade"},
		"another upgrade": {instead("websocket\r", "h2c\r"), 426, "Upgrade"},
		"version":         {instead("13", "8"), 400, "Sec-WebSocket-Version"},
		"no version":      {without("Sec-WebSocket-Version"), 400, "Sec-WebSocket-Version"},
		"no key":          {without("Sec-WebSocket-Key"), 400, ""},
		"short key":       {instead("dGhlIHNhbXBsZSBub25jZQ==", "dGhl"), 400, ""},
		"bad key":         {instead("dGhlIHNhbXBsZSBub25jZQ==", "!"), 400, ""},
		"two keys":        {with("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), 400, ""},
		"who":             {with("Admit: no"), 401, ""},
		"error":           {with("Admit: error"), 500, ""},
		"panic":           {with("Admit: panic"), 500, ""},
		"name":            {instead("chat=c", "chat="), 400, ""},
		"limit":           {instead("chat=c", "chat=d"), 503, "Retry-After"},
	} {
		_, _, res := s.raw(test.request)
		assert.Equal(t, test.status, res.StatusCode, name)
		assert.Equal(t, "no-store", res.Header.Get("Cache-Control"), name)
		if test.header != "" {
			assert.NotEmpty(t, res.Header.Get(test.header), name)
		}
	}
	s.publish("still here")
	assert.Equal(t, []string{"still here"}, connected.messages(1))
	assert.EqualValues(t, 1, s.broker.Stats().Subscribers)
}

// Promise 90.
func TestARefusalIsSeenByTheObserverAndAnErrorInTheLog(t *testing.T) {
	var statuses []int
	var err error
	s := start(t, func(o *options) {
		o.Observe.Refused = func(status int) { statuses = append(statuses, status) }
		o.Admit = func(*http.Request) (broadcastws.Ticket, error) { return broadcastws.Ticket{}, err }
	})
	for _, err = range []error{
		&broadcastws.Refusal{Status: http.StatusTeapot, Text: "short and stout", RetryAfter: 1500 * time.Millisecond},
		fmt.Errorf("wrapped: %w", &broadcastws.Refusal{Status: http.StatusGone}),
		&broadcastws.Refusal{Status: 200}, // an answer that would look like success
		(*broadcastws.Refusal)(nil),
		errors.New("the database is away"),
	} {
		_, _, _ = s.raw(request)
	}
	assert.Equal(t, []int{418, 410, 500, 500, 500}, statuses)
	for _, want := range []string{"level=ERROR", `err="the database is away"`, "method=GET", "path=/", "remote=127.0.0.1:"} {
		assert.Contains(t, s.log.String(), want)
	}
	assert.NotContains(t, s.log.String(), "stout")

	err = &broadcastws.Refusal{Status: http.StatusTeapot, RetryAfter: 1500 * time.Millisecond}
	_, _, res := s.raw(request)
	assert.Equal(t, "2", res.Header.Get("Retry-After"), "rounded up")
}

// Promise 81.
func TestAConnectionThatCannotBeTakenOverIsRefusedBeforeTheSubscription(t *testing.T) {
	s := start(t, nil)
	connected := s.dial("1")
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.ServeHTTP(struct{ http.ResponseWriter }{w}, r) // as careless middleware does
	}))
	_, _, res := s.raw(request)
	assert.Equal(t, http.StatusNotImplemented, res.StatusCode)
	s.publish("still here")
	assert.Equal(t, []string{"still here"}, connected.messages(1))
}

func TestMiddlewareThatCanBeUnwrappedIsNoObstacle(t *testing.T) {
	s := start(t, nil)
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.ServeHTTP(wrapped{w}, r)
	}))
	c := s.dial("1")
	s.publish("a")
	assert.Equal(t, []string{"a"}, c.messages(1))
}

type wrapped struct{ http.ResponseWriter }

func (w wrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Promise 81.
func TestAnOriginThatIsTrustedMayConnect(t *testing.T) {
	s := start(t, func(o *options) { o.Origins = []string{"https://example.org"} })
	from := func(origin string) *websocket.DialOptions {
		return &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {origin}}}
	}
	assert.Equal(t, http.StatusForbidden, s.refused("chat=c&device=1", from("https://evil.example")))
	assert.Equal(t, broadcastws.Ready, s.connect("chat=c&device=1", from("https://example.org")).next().Event)
	assert.Equal(t, broadcastws.Ready, s.connect("chat=c&device=2", from(s.http.URL)).next().Event, "the same")
}

// Promise 81.
func TestAHostIsKnownWithAndWithoutItsPort(t *testing.T) {
	for host, status := range map[string]int{
		"name": 101, "NAME:80": 101, "with:8080": 101, "with": 421, "with:80": 421, "other": 421,
		"[::1]": 101, "[::1]:80": 101, "[::2]:80": 421, "127.0.0.1:1": 101,
	} {
		s := start(t, func(o *options) { o.Hosts = []string{"Name", "with:8080", "127.0.0.1", "[::1]"} })
		_, _, res := s.raw(strings.Replace(request, "example.com", host, 1))
		assert.Equal(t, status, res.StatusCode, host)
	}
}

func TestASubprotocolIsChosenAmongThoseOfTheServer(t *testing.T) {
	s := start(t, func(o *options) { o.Subprotocols = []string{"two", "one"} })
	c := s.connect("chat=c&device=1", &websocket.DialOptions{Subprotocols: []string{"zero", "one", "two"}})
	assert.Equal(t, "two", c.conn.Subprotocol())
}

// Promise 90.
func TestNewListsEveryBadOption(t *testing.T) {
	_, err := broadcastws.New[string](nil, options{
		Ping: -1, WriteTimeout: -1, CloseTimeout: time.Minute, Pace: -1, MaxFrame: -1, BatchBytes: -1,
		SendBuffer: -1, Replay: -1, Origins: []string{"example.com"}, Hosts: []string{"http://x"},
	})
	require.ErrorIs(t, err, broadcast.ErrInvalid)
	for _, want := range []string{
		"broker", "Admit", "Ping", "WriteTimeout", "CloseTimeout", "Pace", "MaxFrame", "BatchBytes", "SendBuffer",
		"Replay", "Origins", "Hosts",
	} {
		assert.Contains(t, err.Error(), want)
	}
}

// Promise 81.
func TestATicketIsToldOfItsEndOnce(t *testing.T) {
	var admitted, ended atomic.Int64
	s := start(t, func(o *options) {
		o.Admit = func(r *http.Request) (broadcastws.Ticket, error) {
			ticket, err := admit(r)
			if ticket.Chat == "forbidden" {
				return ticket, errTest
			}
			admitted.Add(1)
			ticket.Ended = func() { ended.Add(1) }
			return ticket, err
		}
	}, broadcast.WithMaxSubscribers(1))
	one := s.dial("one")
	require.Zero(t, ended.Load())
	require.Equal(t, http.StatusServiceUnavailable, s.refused("chat=c&device=two", nil)) // no room
	require.EqualValues(t, 1, ended.Load())
	require.Equal(t, http.StatusInternalServerError, s.refused("chat=forbidden", nil))
	require.EqualValues(t, 1, ended.Load())
	require.NoError(t, one.conn.CloseNow())
	require.ErrorIs(t, s.reason(), broadcastws.ErrLeft)
	require.Eventually(t, func() bool { return ended.Load() == 2 }, within, time.Millisecond)
	require.EqualValues(t, 2, admitted.Load())
}

// Promise 90: the goroutine is one of the server, on which a panic would end the program.
func TestAnEndedThatPanicsIsLogged(t *testing.T) {
	s := start(t, func(o *options) {
		o.Admit = func(r *http.Request) (broadcastws.Ticket, error) {
			ticket, err := admit(r)
			ticket.Ended = func() { panic("of Ended") }
			return ticket, err
		}
	}, broadcast.WithMaxSubscribers(1))
	c := s.dial("1")
	assert.Equal(t, http.StatusServiceUnavailable, s.refused("chat=c&device=2", nil)) // no room
	require.NoError(t, c.conn.CloseNow())
	require.ErrorIs(t, s.reason(), broadcastws.ErrLeft)
	require.NoError(t, s.server.Drain(context.Background()))
	assert.Equal(t, 2, strings.Count(s.log.String(), `msg="Ended failed" method=GET path=/ remote=127.0.0.1:`))
}

// A deaf response fails to hand its connection over.
type deaf struct{ *httptest.ResponseRecorder }

func (deaf) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, errTest }

// Promises 59 and 90.
func TestAHijackThatFailsIsLoggedAndCountedAsARefusal(t *testing.T) {
	s := start(t, nil)
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(request)))
	require.NoError(t, err)
	s.server.ServeHTTP(deaf{httptest.NewRecorder()}, r)
	assert.Equal(t, map[int]uint64{500: 1}, s.server.Stats().Refused)
	assert.Contains(t, s.log.String(), errTest.Error())
	assert.Zero(t, s.broker.Stats().Subscribers)
}
