package main

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

func TestAnAcceptedMessageIsStampedByTheServerAndReachesTheChat(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 2)
	other := s.watch(2, 2)
	a := s.Post(`{"text":"Grüße \"<b>\" 🙂","by":7,"chat":1}`)
	require.Equal(t, http.StatusAccepted, a.Status)
	assert.JSONEq(t, `{"chat":1}`, a.Body)

	e := c.next()
	assert.Equal(t, "message", e.name)
	assert.NotEmpty(t, e.id)
	about, text, _ := strings.Cut(e.data, "\n")
	assert.Equal(t, `Grüße "<b>" 🙂`, text)
	assert.Regexp(t, `^{"at":"20[^"]+Z","by":7,"chat":1}$`, about)

	s.mustSay(2, "elsewhere")
	other.mustGet("elsewhere")
}

func TestPostMessageTakesMessagesAndNothingElse(t *testing.T) {
	s := start(t, nil)
	exampletest.Posting(t, s.Service, func() int { return int(s.broker.Stats().Accepted) })
}

func TestTheLongestTextGoesThrough(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 1)
	longest := strings.Repeat("\x01", post.MaxText) // six bytes each as JSON
	s.mustSay(1, longest)
	c.mustGet(longest)
}

func TestAWrongMethodIsAnswered405WithAllow(t *testing.T) {
	s := start(t, nil)
	for _, tt := range []struct{ method, path, allow string }{
		{http.MethodPost, "/events?chat=1&device=1", "GET"},
		{http.MethodHead, "/events?chat=1&device=1", "GET"},
		{http.MethodDelete, "/healthz", "GET, HEAD"},
		{http.MethodPost, "/", "GET, HEAD"},
	} {
		a := s.Do(tt.method, tt.path, "")
		assert.Equal(t, http.StatusMethodNotAllowed, a.Status, "%s %s", tt.method, tt.path)
		assert.Equal(t, tt.allow, a.Header.Get("Allow"), "%s %s", tt.method, tt.path)
	}
	assert.Equal(t, http.StatusNotFound, s.Do(http.MethodGet, "/nowhere", "").Status)
}

func TestABadQueryIsAnswered400NamingTheFieldAndTheLimit(t *testing.T) {
	s := start(t, nil)
	limit := fmt.Sprint(int64(httpjson.MaxID))
	for _, tt := range []struct{ query, field, says string }{
		{"", "chat", limit},
		{"device=1", "chat", limit},
		{"chat=0&device=1", "chat", limit},
		{"chat=%2B1&device=1", "chat", limit},
		{"chat=1&chat=1&device=1", "chat", "twice"},
		{"chat=1", "device", limit},
		{"chat=1&device=-1", "device", limit},
		{"chat=1&device=" + limit + "0", "device", limit},
		{"chat=1&device=1&replay=2147483648", "replay", "2147483647"},
		{"chat=1&device=1&replay=-1", "replay", "2147483647"},
		{"chat=1&device=1&replay=1&replay=2", "replay", "twice"},
		{"chat=1&device=1&lastEventId=a&lastEventId=b", "lastEventId", "twice"},
	} {
		a := s.Do(http.MethodGet, "/events?"+tt.query, "")
		assert.Equal(t, http.StatusBadRequest, a.Status, "%s", tt.query)
		assert.Equal(t, tt.field, a.Field, "%s", tt.query)
		assert.Contains(t, a.Error, tt.says, "%s", tt.query)
	}
}

func TestRequestsOfOtherSitesTakeOverNothing(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 2)
	for _, foreign := range exampletest.Foreign {
		assert.Equal(t, http.StatusForbidden, s.Do(http.MethodGet, "/events?chat=1&device=2", "", foreign...).Status, "%v", foreign)
	}
	s.mustSay(1, "hello")
	c.mustGet("hello")
	own := s.request("chat=1&device=3", "Origin: http://"+s.Addr, "Sec-Fetch-Site: same-origin")
	assert.Equal(t, http.StatusOK, own.res.StatusCode)
}

func TestWhomAuthorizeRefusesGets403(t *testing.T) {
	s := start(t, func(c *Config) {
		c.Authorize = func(_ *http.Request, chat, device httpjson.ID) error {
			if chat != 1 || device != 7 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
	})
	a := s.say(2, "hello")
	assert.Equal(t, http.StatusForbidden, a.Status)
	assert.NotContains(t, a.Error, io.ErrUnexpectedEOF.Error())
	assert.Equal(t, http.StatusForbidden, s.Do(http.MethodGet, "/events?chat=1&device=8", "").Status)
	c := s.watch(1, 7)
	s.mustSay(1, "hello")
	c.mustGet("hello")
}

func TestOverALimitIsAnswered503WithRetryAfter(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxChats, c.MaxStreams = 1, 1 })
	s.watch(1, 1)
	for _, a := range []exampletest.Answer{
		s.Do(http.MethodGet, "/events?chat=1&device=2", ""),
		s.Do(http.MethodGet, "/events?chat=2&device=1", ""),
		s.say(2, "hello"),
	} {
		assert.Equal(t, http.StatusServiceUnavailable, a.Status)
		assert.NotEmpty(t, a.Header.Get("Retry-After"))
	}
}

func TestSlowHeadersAndSlowBodiesAreCut(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.HeaderTimeout, c.BodyTimeout = 100*time.Millisecond, 200*time.Millisecond })
	for _, sent := range []string{
		"GET / HTTP/1.1\r\nHost: x\r\n",
		"POST /message HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
		"POST /message HTTP/1.1\r\nHost: x\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n{",
	} {
		conn := s.Connect()
		_, err := io.WriteString(conn, sent)
		require.NoError(t, err)
		exampletest.Ended(t, conn)
	}
}
