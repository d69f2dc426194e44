package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestMain(m *testing.M) { exampletest.Main(m, main) }

const within = exampletest.Within

// service is a Server on a port of its own.
type service struct {
	*exampletest.Service
	*Server
}

// start runs a Server with the default configuration after change until the test ends, and wants it to end cleanly.
func start(t testing.TB, change func(*Config)) *service {
	t.Helper()
	return startOn(t, exampletest.Listen(t), change)
}

func startOn(t testing.TB, ln net.Listener, change func(*Config)) *service {
	t.Helper()
	server := newServer(t, change)
	return &service{exampletest.Serve(t, server.Serve, ln), server}
}

func newServer(t testing.TB, change func(*Config)) *Server {
	t.Helper()
	cfg := DefaultConfig()
	if change != nil {
		change(&cfg)
	}
	server, err := NewServer(cfg)
	require.NoError(t, err)
	return server
}

// say posts a text to a chat.
func (s *service) say(chat int, text string) exampletest.Answer {
	s.T.Helper()
	return s.Say(text, 7, chat)
}

// mustSay posts texts that must be accepted.
func (s *service) mustSay(chat int, texts ...string) {
	s.T.Helper()
	for _, text := range texts {
		s.MustSay(text, 7, chat)
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

// request asks for a stream; headers are lines.
func (s *service) request(query string, headers ...string) *client {
	s.T.Helper()
	c := &client{t: s.T, conn: s.Connect()}
	lines := append([]string{"GET /events?" + query + " HTTP/1.1", "Host: " + s.Addr}, headers...)
	_, err := io.WriteString(c.conn, strings.Join(lines, "\r\n")+"\r\n\r\n")
	require.NoError(s.T, err)
	c.res, err = http.ReadResponse(bufio.NewReader(c.conn), nil)
	require.NoError(s.T, err)
	c.r = bufio.NewReader(c.res.Body)
	return c
}

// open opens a stream, resuming after last if that is not empty, and returns its first event too.
func (s *service) open(query, last string) (*client, event) {
	s.T.Helper()
	var headers []string
	if last != "" {
		headers = []string{"Last-Event-ID: " + last}
	}
	c := s.request(query, headers...)
	require.Equal(s.T, http.StatusOK, c.res.StatusCode)
	return c, c.next()
}

// watch opens a stream that begins now.
func (s *service) watch(chat, device int) *client {
	s.T.Helper()
	c, first := s.open(fmt.Sprintf("chat=%d&device=%d", chat, device), "")
	require.Equal(s.T, eventReady, first.name)
	return c
}

// resume opens a stream that must continue after last.
func (s *service) resume(chat, device int, last string) *client {
	s.T.Helper()
	c, first := s.open(fmt.Sprintf("chat=%d&device=%d", chat, device), last)
	require.Equal(s.T, eventReady, first.name, first.data)
	require.True(s.T, c.notice(first).Resumed)
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
	exampletest.Ended(c.t, c.conn)
}

// kill ends the connection as a crash does. It returns what the client would say it has seen last.
func (c *client) kill() (last string) {
	c.t.Helper()
	exampletest.Reset(c.t, c.conn)
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
