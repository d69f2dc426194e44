package server

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

func TestRequestsThatMakeNoSenseAreAnsweredWithWhatIsWrong(t *testing.T) {
	s := start(t, nil)
	for _, row := range []struct {
		name, method, path string
		status             int
		says               string
	}{
		{"no such page", "GET", "/nothing", 404, "no such page"},
		{"a post to a room", "POST", "/ws?room=a&name=b", 405, "POST"},
		{"getting all files", "GET", "/files", 405, "GET"},
		{"removing a file", "DELETE", "/files/x", 405, "DELETE"},
		{"no upgrade", "GET", "/ws?room=a&name=b", 426, "WebSockets"},
		{"no room", "GET", "/ws?name=b", 400, "room must be given once"},
		{"two rooms", "GET", "/ws?name=b&room=a&room=c", 400, "room must be given once"},
		{"empty name", "GET", "/ws?name=&room=a", 400, "name is empty"},
		{"long name", "GET", "/ws?room=a&name=" + strings.Repeat("a", 33), 400, "32 characters"},
		{"hostile name", "GET", "/ws?room=a&name=%1b%5b31m", 400, "cannot be shown"},
		{"hostile room", "GET", "/ws?room=%e2%80%ae&name=a", 400, "cannot be shown"},
		{"name is not UTF-8", "GET", "/ws?room=a&name=%ff", 400, "UTF-8"},
		{"bad position", "GET", "/ws?room=a&name=b&after=x", 400, "not a position"},
		{"two positions", "GET", "/ws?room=a&name=b&after=&after=", 400, "once"},
		{"no such file", "GET", "/files/" + newID(), 404, "no such file"},
		{"a path", "GET", "/files/..%2f..%2fetc%2fpasswd", 404, "no such file"},
		{"a partial file", "GET", "/files/" + partialPrefix + newID(), 404, "no such file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := s.do(row.method, row.path, nil)
			assert.Equal(t, row.status, a.Status)
			assert.Contains(t, a.Body, row.says)
			assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
			if a.Status == http.StatusMethodNotAllowed {
				assert.NotEmpty(t, a.Header.Get("Allow"))
			}
		})
	}
}

func TestPagesOfOtherSitesGetNothing(t *testing.T) {
	s := start(t, nil)
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		upload := s.do("POST", "/files?room=a&name=b", strings.NewReader("x"), header...)
		assert.Equal(t, http.StatusForbidden, upload.Status)
		socket := s.do("GET", "/ws?room=a&name=b", nil, append(header, "Connection", "Upgrade", "Upgrade", "websocket",
			"Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")...)
		assert.Equal(t, http.StatusForbidden, socket.Status, "before the upgrade")
	}
	assert.Zero(t, s.server.broker.Stats().Chats)
}

func TestFramesThatMakeNoSenseEndTheConnection(t *testing.T) {
	s := start(t, nil)
	for _, row := range []struct {
		name, frame string
		code        websocket.StatusCode
	}{
		{"no JSON", "hello", websocket.StatusPolicyViolation},
		{"no object", "[]", websocket.StatusPolicyViolation},
		{"an unknown field", `{"id":1,"text":"a","at":"2020-01-01T00:00:00Z"}`, websocket.StatusPolicyViolation},
		{"somebody else's name", `{"id":1,"text":"a","name":"bob"}`, websocket.StatusPolicyViolation},
		{"two values", `{"id":1,"text":"a"} {}`, websocket.StatusPolicyViolation},
		{"a field of another type", `{"id":1,"text":7}`, websocket.StatusPolicyViolation},
		{"a frame over the limit", strings.Repeat("x", wire.MaxFrame+1), websocket.StatusMessageTooBig},
	} {
		t.Run(row.name, func(t *testing.T) {
			c, _ := s.enter("general", "ann")
			c.send(row.frame)
			closing, _ := c.closed()
			assert.Equal(t, row.code, closing.Code)
			assert.NotEmpty(t, closing.Reason)
		})
	}
	assert.Zero(t, s.server.broker.Stats().Accepted)
}

func TestTextsOutOfBoundsAreRefusedAndTheConnectionGoesOn(t *testing.T) {
	s := start(t, nil)
	c, _ := s.enter("general", "ann")
	for text, why := range map[string]string{"": "empty", "  ": "empty", strings.Repeat("x", wire.MaxText+1): "4097 bytes"} {
		c.send(fmt.Sprintf(`{"id":1,"text":"%s"}`, text))
		assert.Contains(t, c.until(wire.KindRefused).Text, why)
	}
	c.send(fmt.Sprintf(`{"id":2,"text":"%s"}`, strings.Repeat(`\u0041`, wire.MaxText)))
	assert.Len(t, c.until(wire.KindMessage).Text, wire.MaxText, "escaped as badly as can be")
}

func TestOverTheLimitsThereIsNoRoom(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxRooms, c.MaxMembers = 1, 1 })
	s.enter("general", "ann")
	for _, who := range [][2]string{{"general", "bob"}, {"other", "ann"}} {
		_, res, err := s.dial(who[0], who[1])
		require.Error(t, err)
		assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		assert.NotEmpty(t, res.Header.Get("Retry-After"))
	}
	s.enter("general", "ann") // a takeover is never refused
}

func TestSlowHeadersAndClientsThatSayNothingAreCutOff(t *testing.T) {
	s := start(t, func(c *Config) { c.HeaderTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", s.Addr())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /ws?room=a&name=b HTTP/1.1\r\nHost")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
	_, err = io.Copy(io.Discard, conn)
	require.NoError(t, err, "the server has not ended the connection")
}

func TestADownloadIsSomethingToSaveWhateverItIs(t *testing.T) {
	s := start(t, nil)
	const page = "<script>alert(1)</script>"
	require.Equal(t, http.StatusCreated, s.post(whole("page.html", page)).Status)
	path := "/files/" + s.files()[0]
	a := s.do("GET", path, nil)
	assert.Equal(t, page, a.Body)
	assert.Equal(t, "application/octet-stream", a.Header.Get("Content-Type"))
	assert.Equal(t, `attachment; filename=page.html`, a.Header.Get("Content-Disposition"))
	assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
	assert.Contains(t, a.Header.Get("Content-Security-Policy"), "sandbox")

	head := s.do("HEAD", path, nil)
	assert.Empty(t, head.Body)
	assert.Equal(t, fmt.Sprint(len(page)), head.Header.Get("Content-Length"))
	assert.Equal(t, page[8:], s.do("GET", path, nil, "Range", "bytes=8-").Body)
}
