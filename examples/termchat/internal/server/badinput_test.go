package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// handshake are the headers that ask for a WebSocket.
var handshake = []string{
	"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==",
}

func TestRequestsThatMakeNoSenseAreAnsweredWithWhatIsWrong(t *testing.T) {
	s := start(t, nil)
	for _, row := range []struct {
		name, method, path string
		status             int
		says               string
	}{
		{"no such page", "GET", "/nothing", 404, "not found"},
		{"a post to a room", "POST", "/rooms/a/socket?name=b", 405, "Not Allowed"},
		{"getting all files", "GET", "/rooms/a/files", 405, "Not Allowed"},
		{"removing a file", "DELETE", "/rooms/a/files/x", 405, "Not Allowed"},
		{"no name", "GET", "/rooms/a/socket", 400, "name must be"},
		{"two names", "GET", "/rooms/a/socket?name=b&name=c", 400, "name is given twice"},
		{"long name", "GET", "/rooms/a/socket?name=" + strings.Repeat("a", 41), 400, "40 characters"},
		{"hostile name", "GET", "/rooms/a/socket?name=%1b%5b31m", 400, "can be seen"},
		{"hostile room", "GET", "/rooms/%e2%80%ae/socket?name=a", 400, "can be seen"},
		{"name is not UTF-8", "GET", "/rooms/a/socket?name=%ff", 400, "can be seen"},
		{"no such file", "GET", "/rooms/a/files/" + newID() + "?name=b", 404, "no such file"},
		{"a path", "GET", "/rooms/a/files/..%2f..%2fetc%2fpasswd?name=b", 404, "no such file"},
		{"a partial file", "GET", "/rooms/a/files/" + partialPrefix + newID() + "?name=b", 404, "no such file"},
	} {
		t.Run(row.name, func(t *testing.T) {
			a := s.do(row.method, row.path, nil, handshake...)
			assert.Equal(t, row.status, a.Status)
			assert.Contains(t, a.Body, row.says)
			assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
			assert.NotEmpty(t, a.Header.Get("X-Request-Id"))
			if a.Status == http.StatusMethodNotAllowed {
				assert.NotEmpty(t, a.Header.Get("Allow"))
			}
		})
	}
	assert.Equal(t, http.StatusUpgradeRequired, s.do("GET", "/rooms/a/socket?name=b", nil).Status)
}

func TestPagesOfOtherSitesGetNothing(t *testing.T) {
	s := start(t, nil)
	for _, header := range [][]string{{"Origin", "https://evil.example"}, {"Sec-Fetch-Site", "cross-site"}} {
		upload := s.do("POST", "/rooms/a/files?name=b", strings.NewReader("x"), header...)
		assert.Equal(t, http.StatusForbidden, upload.Status)
		socket := s.do("GET", "/rooms/a/socket?name=b", nil, append(header, handshake...)...)
		assert.Equal(t, http.StatusForbidden, socket.Status, "before the upgrade")
	}
	req, err := http.NewRequest(http.MethodGet, "http://"+s.Addr()+"/rooms/a/socket?name=b", nil)
	require.NoError(t, err)
	req.Host = "evil.example"
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	require.NoError(t, err)
	assert.Equal(t, http.StatusMisdirectedRequest, exampletest.Read(t, res).Status, "a name that it has given to this address")
	assert.Zero(t, s.server.broker.Stats().Chats)
}

func TestARefusedHandshakeReplacesNobody(t *testing.T) {
	s := start(t, nil)
	ann, _ := s.enter("general", "ann")
	for i := 0; i < len(handshake); i += 2 {
		without := slices.Delete(slices.Clone(handshake), i, i+2)
		a := s.do("GET", "/rooms/general/socket?name=ann", nil, without...)
		assert.GreaterOrEqual(t, a.Status, 400)
	}
	ann.send("still here")
	assert.Equal(t, "still here", ann.message().Text)
}

func TestFramesThatAreNoTextEndTheConnection(t *testing.T) {
	s := start(t, nil)
	for frame, code := range map[string]websocket.StatusCode{
		"a\xffb":                             websocket.StatusInvalidFramePayloadData,
		strings.Repeat("x", wire.MaxFrame+1): websocket.StatusMessageTooBig,
	} {
		c, _ := s.enter("general", "ann")
		c.send(frame)
		closing, _ := c.closed()
		assert.Equal(t, code, closing.Code)
	}
	assert.Zero(t, s.server.broker.Stats().Accepted)
}

// A frame is the text itself. There is no JSON in it that could be read in two ways.
func TestATextArrivesAsItWasSent(t *testing.T) {
	s := start(t, nil)
	c, _ := s.enter("general", "ann")
	for _, text := range []string{`{"id":1,"text":"a","text":"b"}`, `{"TEXT":"a"}`, `"a\ud800b"`, "hello", "a\x00b", `<&>"`} {
		c.send(text)
		assert.Equal(t, text, c.message().Text)
	}
}

func TestTextsOutOfBoundsAreRefusedAndTheConnectionGoesOn(t *testing.T) {
	s := start(t, nil)
	c, _ := s.enter("general", "ann")
	for text, why := range map[string]string{
		"": "empty", "  ": "empty", strings.Repeat("x", wire.MaxText+1): "4097 bytes",
		"\u034f": "empty", "\u3164 \u2800": "empty", "\ufe0f\u180b": "empty", "\U0001d159\uffa0\u115f\u1160": "empty",
	} {
		c.send(text)
		assert.Contains(t, c.until(wire.Refused).Reason, why, "%+q", text)
	}
	require.NoError(t, c.conn.Write(context.Background(), websocket.MessageBinary, []byte("a\xffb")))
	assert.Contains(t, c.until(wire.Refused).Reason, "UTF-8")
	c.send(strings.Repeat("<", wire.MaxText))
	assert.Len(t, c.message().Text, wire.MaxText)
}

func TestNamesThatLookAlikeAreOneAndInvisibleOnesAreRefused(t *testing.T) {
	s := start(t, nil)
	for _, name := range []string{
		"ann\u034f", "ann\ufe0e", "ann\ufe0f", "ann\U000e0100", "ann\u180b", "ann\u17b4", "\u3164", "\uffa0", "\u115f", "\u1160",
		"\u2800", "\U0001d159", "a\u200db", "a\u202eb", "ann> ok. <bob", ">", "..", "a" + strings.Repeat("\u0301", 9),
	} {
		_, res, err := s.dial("general", name)
		require.Error(t, err, "%+q", name)
		assert.Equal(t, http.StatusBadRequest, res.StatusCode, "%+q", name)
	}
	composed, _ := s.enter("caf\u00e9", "\u00e9ric")
	_, first := s.enter("cafe\u0301", "e\u0301ric")
	assert.Equal(t, []string{"\u00e9ric"}, first.Devices, "one room, one name")
	closing, _ := composed.closed()
	assert.Equal(t, wire.StatusReplaced, closing.Code)
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
	_, err = io.WriteString(conn, "GET /rooms/a/socket?name=b HTTP/1.1\r\nHost")
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(within)))
	_, err = io.Copy(io.Discard, conn)
	require.NoError(t, err, "the server has not ended the connection")
}

func TestADownloadIsSomethingToSaveWhateverItIs(t *testing.T) {
	s := start(t, nil)
	const page = "<script>alert(1)</script>"
	require.Equal(t, http.StatusCreated, s.post(whole("page.html", page)).Status)
	a := s.get(s.id())
	assert.Equal(t, page, a.Body)
	assert.Equal(t, "application/octet-stream", a.Header.Get("Content-Type"))
	assert.Equal(t, `attachment; filename=page.html`, a.Header.Get("Content-Disposition"))
	assert.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
	assert.Contains(t, a.Header.Get("Content-Security-Policy"), "sandbox")

	head := s.do("HEAD", "/rooms/general/files/"+s.id()+"?name=ann", nil)
	assert.Empty(t, head.Body)
	assert.Equal(t, fmt.Sprint(len(page)), head.Header.Get("Content-Length"))
	assert.Equal(t, page[8:], s.get(s.id(), "Range", "bytes=8-").Body)
}
