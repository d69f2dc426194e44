package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// asServer in the environment makes the test binary the server itself, for the tests that need a process.
const asServer = "SSE_TEST_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(asServer) != "" {
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

// service is a Server on a port of its own.
type service struct {
	*Server
	t    testing.TB
	addr string
	http *http.Client
	end  context.CancelFunc // begins the shutdown
	done func() error       // waits for its end
}

// start runs a Server with the default configuration after change until the test ends, and wants it to end cleanly.
func start(t testing.TB, change func(*Config)) *service {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return startOn(t, ln, change)
}

func startOn(t testing.TB, ln net.Listener, change func(*Config)) *service {
	t.Helper()
	s := begin(t, ln, change)
	t.Cleanup(func() {
		s.end()
		assert.NoError(t, s.done(), "the server did not end cleanly")
	})
	return s
}

// begin runs a Server until the test ends, however it ends.
func begin(t testing.TB, ln net.Listener, change func(*Config)) *service {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	server, err := NewServer(cfg)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, ln) }()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	s := &service{
		Server: server, t: t, addr: ln.Addr().String(), end: cancel,
		http: &http.Client{Transport: transport, Timeout: within},
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

func (s *service) postBody(body string) answer {
	s.t.Helper()
	return s.do(http.MethodPost, "/message", body, "Content-Type", "application/json")
}

// say posts a text to a chat.
func (s *service) say(chat int, text string) answer {
	s.t.Helper()
	return s.postBody(toJSON(map[string]any{"text": text, "by": 7, "chat": chat}))
}

// mustSay posts texts that must be accepted.
func (s *service) mustSay(chat int, texts ...string) {
	s.t.Helper()
	for _, text := range texts {
		require.Equal(s.t, http.StatusAccepted, s.say(chat, text).status)
	}
}

// client is a client of event streams made from the specification alone. It reads when it is asked to, and nothing else.
type client struct {
	t       testing.TB
	conn    *net.TCPConn
	res     *http.Response
	r       *bufio.Reader
	last    string // the last event id
	retry   string
	silence int // heartbeats
}

// event is one event as the specification says that it is dispatched.
type event struct{ name, data, id string }

// text returns the text of a message.
func (e event) text() string {
	_, text, _ := strings.Cut(e.data, "\n")
	return text
}

// notice returns the data of an event that is no message.
func (c *client) notice(e event) notice {
	c.t.Helper()
	var n notice
	require.NoError(c.t, json.Unmarshal([]byte(e.data), &n), "%q", e.data)
	return n
}

// connect opens a connection and sends nothing. Little fits into its buffer: what it does not read soon blocks the server.
func (s *service) connect() *net.TCPConn {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = conn.Close() })
	tcp := conn.(*net.TCPConn)
	require.NoError(s.t, tcp.SetReadBuffer(32<<10))
	require.NoError(s.t, tcp.SetDeadline(time.Now().Add(within)))
	return tcp
}

// request asks for a stream; headers are lines.
func (s *service) request(query string, headers ...string) *client {
	s.t.Helper()
	c := &client{t: s.t, conn: s.connect()}
	lines := append([]string{"GET /events?" + query + " HTTP/1.1", "Host: " + s.addr}, headers...)
	_, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	require.NoError(s.t, err)
	c.res, err = http.ReadResponse(bufio.NewReader(c.conn), nil)
	require.NoError(s.t, err)
	c.r = bufio.NewReader(c.res.Body)
	return c
}

// open opens a stream, resuming after last if that is not empty, and returns its first event too.
func (s *service) open(query, last string) (*client, event) {
	s.t.Helper()
	var headers []string
	if last != "" {
		headers = []string{"Last-Event-ID: " + last}
	}
	c := s.request(query, headers...)
	require.Equal(s.t, http.StatusOK, c.res.StatusCode)
	return c, c.next()
}

// watch opens a stream that begins now.
func (s *service) watch(chat, device int) *client {
	s.t.Helper()
	c, first := s.open(fmt.Sprintf("chat=%d&device=%d", chat, device), "")
	require.Equal(s.t, eventReady, first.name)
	return c
}

// resume opens a stream that must continue after last.
func (s *service) resume(chat, device int, last string) *client {
	s.t.Helper()
	c, first := s.open(fmt.Sprintf("chat=%d&device=%d", chat, device), last)
	require.Equal(s.t, eventReady, first.name, first.data)
	require.True(s.t, c.notice(first).Resumed)
	return c
}

// read returns the next event, or the error that ended the stream.
func (c *client) read() (event, error) {
	e := event{name: "message"}
	var data []string
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return event{}, err // an event that is not whole is none
		}
		line = strings.TrimSuffix(line, "\n")
		require.NotContains(c.t, line, "\r", "a CR ends a line too")
		if line == "" {
			if data != nil {
				e.data, e.id = strings.Join(data, "\n"), c.last
				return e, nil
			}
			e.name = "message"
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "":
			c.silence++
		case "event":
			e.name = value
		case "data":
			data = append(data, value)
		case "id":
			c.last = value
		case "retry":
			c.retry = value
		default:
			require.FailNow(c.t, "an unknown field", "%q", line)
		}
	}
}

// next returns the next event, which must come.
func (c *client) next() event {
	c.t.Helper()
	e, err := c.read()
	require.NoError(c.t, err)
	return e
}

// mustGet reads messages with these texts, and no other events.
func (c *client) mustGet(texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		e := c.next()
		require.Equal(c.t, "message", e.name, e.data)
		require.Equal(c.t, text, e.text())
	}
}

// rest returns all events up to the regular end of the stream.
func (c *client) rest() (events []event) {
	c.t.Helper()
	for {
		e, err := c.read()
		if err == io.EOF {
			return events
		}
		require.NoError(c.t, err)
		events = append(events, e)
	}
}

// cut waits until the connection is closed, with or without what was still in it.
func (c *client) cut() {
	c.t.Helper()
	_, err := io.Copy(io.Discard, c.conn)
	if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
		require.NoError(c.t, err, "the server has not ended the connection")
	}
}

// kill ends the connection as a crash does: with a TCP reset. It returns what the client would say it has seen last.
func (c *client) kill() (last string) {
	c.t.Helper()
	require.NoError(c.t, c.conn.SetLinger(0))
	require.NoError(c.t, c.conn.Close())
	return c.last
}

// texts returns n different texts.
func texts(from, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprint("message ", from+i)
	}
	return all
}
