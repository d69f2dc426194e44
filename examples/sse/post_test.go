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
)

func TestAnAcceptedMessageIsStampedByTheServerAndReachesTheChat(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 2)
	other := s.watch(2, 2)
	a := s.postBody(`{"text":"Grüße \"<b>\" 🙂","by":7,"chat":1}`)
	require.Equal(t, http.StatusAccepted, a.status)
	assert.JSONEq(t, `{"chat":1}`, a.body)

	e := c.next()
	assert.Equal(t, "message", e.name)
	assert.NotEmpty(t, e.id)
	about, text, _ := strings.Cut(e.data, "\n")
	assert.Equal(t, `Grüße "<b>" 🙂`, text)
	assert.Regexp(t, `^{"at":"20[^"]+Z","by":7,"chat":1}$`, about)

	s.mustSay(2, "elsewhere")
	other.mustGet("elsewhere")
}

func TestAWrongMethodIsAnswered405WithAllow(t *testing.T) {
	s := start(t, nil)
	for _, tt := range []struct{ method, path, allow string }{
		{http.MethodGet, "/message", "POST"},
		{http.MethodPut, "/message", "POST"},
		{http.MethodPost, "/events?chat=1&device=1", "GET"},
		{http.MethodHead, "/events?chat=1&device=1", "GET"},
		{http.MethodDelete, "/healthz", "GET, HEAD"},
		{http.MethodPost, "/", "GET, HEAD"},
	} {
		a := s.do(tt.method, tt.path, "")
		assert.Equal(t, http.StatusMethodNotAllowed, a.status, "%s %s", tt.method, tt.path)
		assert.Equal(t, tt.allow, a.header.Get("Allow"), "%s %s", tt.method, tt.path)
	}
	assert.Equal(t, http.StatusNotFound, s.do(http.MethodGet, "/nowhere", "").status)
}

func TestAWrongContentTypeIsAnswered415(t *testing.T) {
	s := start(t, nil)
	body := `{"text":"hello","by":7,"chat":1}`
	for _, headers := range [][]string{
		{},
		{"Content-Type", "text/plain"},
		{"Content-Type", "application/x-www-form-urlencoded"},
		{"Content-Type", "application/json; charset=utf-16"},
		{"Content-Type", "application/json", "Content-Encoding", "gzip"},
	} {
		assert.Equal(t, http.StatusUnsupportedMediaType, s.do(http.MethodPost, "/message", body, headers...).status, "%v", headers)
	}
	assert.Equal(t, http.StatusAccepted, s.do(http.MethodPost, "/message", body, "Content-Type", "Application/JSON; charset=UTF-8").status)
}

func TestABodyThatIsNotExactlyOneMessageIsAnswered400NamingTheField(t *testing.T) {
	s := start(t, nil)
	const good = `{"text":"a","by":7,"chat":1}`
	for _, tt := range []struct {
		field  string
		bodies []string
	}{
		{"", []string{
			``, ` `, `null`, `7`, `"text"`, `[]`, `[` + good + `]`, `{`, `{"text"`, `{"text":`, `{"text":"a"`, `{"text":"a",`, `{7:"a"}`,
			`{"text":"a","by":7,"chat":1`, `{"text":"a","by":7,"chat":1]`, `{"text":"a" "by":7,"chat":1}`,
			"{\"text\":\"\xff\",\"by\":7,\"chat\":1}", good + good, good + ` {}`, good + ` 7`, good + `,`, good + `x`,
		}},
		{"to", []string{`{"text":"a","by":7,"chat":1,"to":2}`, `{"to":{"a":[1,2]},"text":"a"}`}},
		{"Text", []string{`{"Text":"a","by":7,"chat":1}`}},
		{"at", []string{`{"text":"a","by":7,"chat":1,"at":"2020-01-01T00:00:00Z"}`, `{"at":null,"text":"a","by":7,"chat":1}`}},
		{"seq", []string{`{"text":"a","by":7,"chat":1,"seq":1}`}},
		{"id", []string{`{"text":"a","by":7,"chat":1,"id":"x"}`}},
		{"text", []string{
			`{}`, `{"by":7,"chat":1}`, `{"text":7,"by":7,"chat":1}`, `{"text":null,"by":7,"chat":1}`, `{"text":["a"],"by":7,"chat":1}`,
			`{"text":"a","text":"b","by":7,"chat":1}`,
		}},
		{"by", []string{`{"text":"a","chat":1}`, `{"text":"a","by":"7","chat":1}`, `{"text":"a","by":null,"chat":1}`}},
		{"chat", []string{`{"text":"a","by":7}`, `{"text":"a","by":7,"chat":true}`, `{"text":"a","by":7,"chat":1.5}`, `{"text":"a","by":7,"chat":1,"chat":2}`}},
	} {
		for _, body := range tt.bodies {
			a := s.postBody(body)
			assert.Equal(t, http.StatusBadRequest, a.status, "%s", body)
			assert.Equal(t, tt.field, a.Field, "%s: %s", body, a.Error)
			assert.Contains(t, a.Error, tt.field, "%s", body)
		}
	}
	a := s.postBody(`{"` + strings.Repeat("x", 1000) + `":1}`)
	assert.Equal(t, http.StatusBadRequest, a.status)
	assert.Less(t, len(a.body), 200, "quotes all of what the client sent")
	assert.Zero(t, s.broker.Stats().Accepted)
}

func TestEmptyOrOverlongTextIsAnswered400NamingTheLimit(t *testing.T) {
	s := start(t, nil)
	for _, text := range []string{"", " \n\t", strings.Repeat("x", maxText+1), strings.Repeat("é", maxText/2) + "x"} {
		a := s.say(1, text)
		assert.Equal(t, http.StatusBadRequest, a.status)
		assert.Equal(t, "text", a.Field)
		assert.Contains(t, a.Error, fmt.Sprint(maxText))
	}
	c := s.watch(1, 1)
	longest := strings.Repeat("\x01", maxText) // six bytes each as JSON
	s.mustSay(1, longest)
	c.mustGet(longest)
}

func TestABadChatOrDeviceIsAnswered400NamingTheLimit(t *testing.T) {
	s := start(t, nil)
	limit := fmt.Sprint(int64(maxID))
	for _, bad := range []string{"0", "-1", "9007199254740992", "1e300", "1e3", "1.0", "99999999999999999999"} {
		for field, other := range map[string]string{"by": "chat", "chat": "by"} {
			a := s.postBody(fmt.Sprintf(`{"text":"a","%s":%s,"%s":1}`, field, bad, other))
			assert.Equal(t, http.StatusBadRequest, a.status, "%s %s", field, bad)
			assert.Equal(t, field, a.Field, "%s", bad)
			assert.Contains(t, a.Error, limit)
		}
	}
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
		a := s.do(http.MethodGet, "/events?"+tt.query, "")
		assert.Equal(t, http.StatusBadRequest, a.status, "%s", tt.query)
		assert.Equal(t, tt.field, a.Field, "%s", tt.query)
		assert.Contains(t, a.Error, tt.says, "%s", tt.query)
	}
	assert.Equal(t, http.StatusAccepted, s.postBody(fmt.Sprintf(`{"text":"a","by":%s,"chat":%s}`, limit, limit)).status)
}

func TestABodyOver64KiBIsAnswered413(t *testing.T) {
	s := start(t, nil)
	body := func(size int) string {
		const rest = `{"text":"a","by":7,"chat":1}`
		return rest + strings.Repeat(" ", size-len(rest))
	}
	a := s.postBody(body(maxBody + 1))
	assert.Equal(t, http.StatusRequestEntityTooLarge, a.status)
	assert.Contains(t, a.Error, "65536")
	assert.Equal(t, http.StatusAccepted, s.postBody(body(maxBody)).status)
}

func TestRequestsOfOtherSitesAreAnswered403AndTakeOverNothing(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 2)
	body := `{"text":"hello","by":7,"chat":1}`
	for _, foreign := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		a := s.do(http.MethodPost, "/message", body, append(foreign, "Content-Type", "application/json")...)
		assert.Equal(t, http.StatusForbidden, a.status, "%v", foreign)
		assert.NotEmpty(t, a.Error)
		assert.Equal(t, http.StatusForbidden, s.do(http.MethodGet, "/events?chat=1&device=2", "", foreign...).status, "%v", foreign)
	}
	a := s.do(http.MethodPost, "/message", body, "Origin", "http://"+s.addr, "Content-Type", "application/json")
	assert.Equal(t, http.StatusAccepted, a.status)
	c.mustGet("hello")
	own := s.request("chat=1&device=3", "Origin: http://"+s.addr, "Sec-Fetch-Site: same-origin")
	assert.Equal(t, http.StatusOK, own.res.StatusCode)
}

func TestWhomAuthorizeRefusesGets403(t *testing.T) {
	s := start(t, func(c *Config) {
		c.Authorize = func(_ *http.Request, chat, device id) error {
			if chat != 1 || device != 7 {
				return io.ErrUnexpectedEOF
			}
			return nil
		}
	})
	a := s.say(2, "hello")
	assert.Equal(t, http.StatusForbidden, a.status)
	assert.NotContains(t, a.Error, io.ErrUnexpectedEOF.Error())
	assert.Equal(t, http.StatusForbidden, s.do(http.MethodGet, "/events?chat=1&device=8", "").status)
	c := s.watch(1, 7)
	s.mustSay(1, "hello")
	c.mustGet("hello")
}

func TestOverALimitIsAnswered503WithRetryAfter(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxChats, c.MaxStreams = 1, 1 })
	s.watch(1, 1)
	for _, a := range []answer{
		s.do(http.MethodGet, "/events?chat=1&device=2", ""),
		s.do(http.MethodGet, "/events?chat=2&device=1", ""),
		s.say(2, "hello"),
	} {
		assert.Equal(t, http.StatusServiceUnavailable, a.status)
		assert.NotEmpty(t, a.header.Get("Retry-After"))
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
		c := &client{t: t, conn: s.connect()}
		_, err := io.WriteString(c.conn, sent)
		require.NoError(t, err)
		c.cut()
	}
}
