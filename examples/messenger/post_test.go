package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

func TestAnAcceptedMessageIsStampedByTheServerAndReachesTheChat(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 2)

	before := time.Now()
	a := s.postBody(`{"text":"Grüße \"<b>\" \n🙂","by":7,"chat":1}`)
	require.Equal(t, http.StatusAccepted, a.status)
	assert.JSONEq(t, `{"chat":1}`, a.body)
	assert.Equal(t, "application/json", a.header.Get("Content-Type"))

	f := w.next()
	assert.WithinRange(t, f.At, before.Add(-time.Second), time.Now())
	assert.NotEmpty(t, f.Position)
	f.At, f.Position = time.Time{}, ""
	assert.Equal(t, frame{Text: "Grüße \"<b>\" \n🙂", By: 7, Chat: 1, Seq: 1}, f)
}

func TestAMessageToAChatThatNobodyWatchesIsAccepted(t *testing.T) {
	s := start(t, nil)
	assert.Equal(t, http.StatusAccepted, s.say("anybody?", 1, 42).status)
	assert.Equal(t, []int{}, s.present(42))
}

func TestAWrongMethodIsAnswered405WithAllow(t *testing.T) {
	s := start(t, nil)
	for _, tt := range []struct{ method, path, allow string }{
		{http.MethodGet, "/message", "POST"},
		{http.MethodPut, "/message", "POST"},
		{http.MethodPost, "/ws?chat=1&device=1", "GET"},
		{http.MethodHead, "/ws?chat=1&device=1", "GET"},
		{http.MethodPost, "/stats", "GET, HEAD"},
		{http.MethodDelete, "/healthz", "GET, HEAD"},
		{http.MethodPost, "/devices?chat=1", "GET, HEAD"},
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
		{"Content-Type", "application/json/x"},
		{"Content-Type", "application/json", "Content-Encoding", "gzip"},
	} {
		assert.Equal(t, http.StatusUnsupportedMediaType, s.do(http.MethodPost, "/message", body, headers...).status, "%v", headers)
	}
	assert.Equal(t, http.StatusAccepted, s.do(http.MethodPost, "/message", body, "Content-Type", "Application/JSON; charset=UTF-8").status)
}

// refusals posts bodies and expects a 400 that names the field.
func refusals(t *testing.T, s *service, field string, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		a := s.postBody(body)
		assert.Equal(t, http.StatusBadRequest, a.status, "%s", body)
		assert.Equal(t, field, a.Field, "%s: %s", body, a.Error)
		assert.Contains(t, a.Error, field, "%s", body)
	}
	assert.Zero(t, s.broker.Stats().Accepted)
}

func TestWrongJSONIsAnswered400(t *testing.T) {
	s := start(t, nil)
	refusals(
		t, s, "",
		``, ` `, `null`, `7`, `"text"`, `[]`, `[{"text":"a","by":7,"chat":1}]`, `{`, `{"text"`, `{"text":`, `{"text":"a"`, `{"text":"a",`,
		`{"text":"a","by":7,"chat":1`, `{"text":"a","by":7,"chat":1]`, `{"text":"a" "by":7,"chat":1}`, `{7:"a"}`,
		"{\"text\":\"\xff\",\"by\":7,\"chat\":1}",
	)
}

func TestTwoValuesAreAnswered400(t *testing.T) {
	s := start(t, nil)
	one := `{"text":"a","by":7,"chat":1}`
	refusals(t, s, "", one+one, one+` {}`, one+` 7`, one+`,`, one+`x`)
	refusals(t, s, "text", `{"text":"a","text":"b","by":7,"chat":1}`)
	refusals(t, s, "chat", `{"text":"a","by":7,"chat":1,"chat":2}`)
}

func TestAnUnknownOrMissingFieldOrAWrongTypeIsAnswered400NamingTheField(t *testing.T) {
	s := start(t, nil)
	refusals(t, s, "to", `{"text":"a","by":7,"chat":1,"to":2}`, `{"to":{"a":[1,2]},"text":"a"}`)
	refusals(t, s, "Text", `{"Text":"a","by":7,"chat":1}`)
	refusals(
		t, s, "text", `{}`, `{"by":7,"chat":1}`, `{"text":7,"by":7,"chat":1}`, `{"text":null,"by":7,"chat":1}`,
		`{"text":["a"],"by":7,"chat":1}`,
	)
	refusals(t, s, "by", `{"text":"a","chat":1}`, `{"text":"a","by":"7","chat":1}`, `{"text":"a","by":null,"chat":1}`)
	refusals(t, s, "chat", `{"text":"a","by":7}`, `{"text":"a","by":7,"chat":true}`, `{"text":"a","by":7,"chat":1.5}`)
	long := strings.Repeat("x", 1000)
	a := s.postBody(`{"` + long + `":1}`)
	assert.Equal(t, http.StatusBadRequest, a.status)
	assert.Less(t, len(a.body), 200, "quotes all of what the client sent")
}

func TestAClientThatSendsAtOrSeqIsRefusedNamingTheField(t *testing.T) {
	s := start(t, nil)
	refusals(t, s, "at", `{"text":"a","by":7,"chat":1,"at":"2020-01-01T00:00:00Z"}`, `{"at":null,"text":"a","by":7,"chat":1}`)
	refusals(t, s, "seq", `{"text":"a","by":7,"chat":1,"seq":1}`)
	refusals(t, s, "missed", `{"text":"a","by":7,"chat":1,"missed":0}`)
}

func TestEmptyOrOverlongTextIsAnswered400NamingTheLimit(t *testing.T) {
	s := start(t, nil)
	for _, text := range []string{"", " \n\t", strings.Repeat("x", maxText+1), strings.Repeat("é", maxText/2) + "x"} {
		a := s.say(text, 7, 1)
		assert.Equal(t, http.StatusBadRequest, a.status)
		assert.Equal(t, "text", a.Field)
		assert.Contains(t, a.Error, fmt.Sprint(maxText))
	}
	w := s.watch(1, 1)
	longest := strings.Repeat("\x01", maxText) // six bytes each as JSON
	s.mustSay(longest, 7, 1)
	assert.Equal(t, longest, w.next().Text)
}

func TestABadChatOrDeviceIsAnswered400NamingTheLimit(t *testing.T) {
	s := start(t, nil)
	limit := fmt.Sprint(int64(maxID))
	for _, bad := range []string{"0", "-1", "9007199254740992", "1e300", "1e3", "1.0", "99999999999999999999"} {
		for _, field := range []string{"by", "chat"} {
			other := map[string]string{"by": "chat", "chat": "by"}[field]
			a := s.postBody(fmt.Sprintf(`{"text":"a","%s":%s,"%s":1}`, field, bad, other))
			assert.Equal(t, http.StatusBadRequest, a.status, "%s %s", field, bad)
			assert.Equal(t, field, a.Field, "%s", bad)
			assert.Contains(t, a.Error, limit)
		}
	}
	for _, tt := range []struct{ query, field string }{
		{"", "chat"},
		{"device=1", "chat"},
		{"chat=0&device=1", "chat"},
		{"chat=x&device=1", "chat"},
		{"chat=%2B1&device=1", "chat"},
		{"chat=1&chat=1&device=1", "chat"},
		{"chat=1", "device"},
		{"chat=1&device=", "device"},
		{"chat=1&device=-1", "device"},
		{"chat=1&device=" + limit + "0", "device"},
	} {
		_, res := s.handshake("/ws?" + tt.query)
		assert.Equal(t, http.StatusBadRequest, res.StatusCode, "%s", tt.query)
		var a answer
		require.NoError(t, json.NewDecoder(res.Body).Decode(&a))
		assert.Equal(t, tt.field, a.Field, "%s", tt.query)
		assert.Contains(t, a.Error, limit)
	}
	assert.Equal(t, http.StatusBadRequest, s.do(http.MethodGet, "/devices?chat=0", "").status)
	assert.Equal(t, http.StatusAccepted, s.postBody(fmt.Sprintf(`{"text":"a","by":%s,"chat":%s}`, limit, limit)).status)
}

func TestABodyOver64KiBIsAnswered413(t *testing.T) {
	s := start(t, nil)
	body := func(size int) string {
		const rest = `{"text":"a","by":7,"chat":1}`
		return rest + strings.Repeat(" ", size-len(rest))
	}
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.postBody(body(maxBody+1)).status)
	assert.Equal(t, http.StatusRequestEntityTooLarge, s.postBody(body(10*maxBody)).status)
	assert.Equal(t, http.StatusAccepted, s.postBody(body(maxBody)).status)
}

func TestACrossSiteBrowserPostIsAnswered403(t *testing.T) {
	s := start(t, nil)
	body := `{"text":"hello","by":7,"chat":1}`
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Sec-Fetch-Site", "same-site"},
		{"Origin", "https://evil.example"},
		{"Origin", "null"},
	} {
		a := s.do(http.MethodPost, "/message", body, append(headers, "Content-Type", "application/json")...)
		assert.Equal(t, http.StatusForbidden, a.status, "%v", headers)
		assert.NotEmpty(t, a.Error)
	}
	assert.Zero(t, s.broker.Stats().Accepted)
	for _, headers := range [][]string{{"Sec-Fetch-Site", "same-origin"}, {"Origin", "http://" + s.addr}} {
		a := s.do(http.MethodPost, "/message", body, append(headers, "Content-Type", "application/json")...)
		assert.Equal(t, http.StatusAccepted, a.status, "%v", headers)
	}
}

func TestWhomIdentityDoesNotLetPassGets403Everywhere(t *testing.T) {
	server := newServer(t, nil)
	server.identity = func(r *http.Request, chat, _ id) (id, error) {
		if r.Header.Get("Authorization") != "me" || chat != 1 {
			return 0, errForbidden
		}
		return 7, nil
	}
	s := serve(t, server, listen(t))
	assert.Equal(t, http.StatusForbidden, s.say("hello", 7, 1).status)
	assert.Equal(t, http.StatusForbidden, s.do(http.MethodGet, "/devices?chat=1", "").status)
	_, res := s.handshake("/ws?chat=1&device=2")
	assert.Equal(t, http.StatusForbidden, res.StatusCode)

	c, _ := s.handshake("/ws?chat=1&device=2", "Authorization: me")
	assert.Equal(t, []string{"7"}, s.broker.Devices("1"), "identity has the last word on who it is")
	a := s.do(http.MethodPost, "/message", `{"text":"a","by":1,"chat":1}`, "Content-Type", "application/json", "Authorization", "me")
	assert.Equal(t, http.StatusAccepted, a.status)
	assert.Equal(t, 7, c.next().By)
}

func TestStatsAreTheBooksOfTheBroker(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 2)
	s.mustSay("a", 7, 1)
	w.next()
	a := s.do(http.MethodGet, "/stats", "")
	assert.JSONEq(t, `{"chats":1,"subscribers":1,"accepted":1,"rejected":0,"delivered":1,"missed":0,"pending":0,"discarded":0,
		"replaced":0,"disconnected":0,"stalled":0,"chats_cleaned":0}`, a.body)
	assert.Equal(t, http.StatusOK, s.do(http.MethodGet, "/healthz", "").status)
}

func TestAFrameIsBuiltFromTheSharedBytesWithoutAnEncoder(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	m, err := newMessage(post{Text: `a "quoted" <text>`, By: 7, Chat: 1}, at)
	require.NoError(t, err)
	d := broadcast.Delivery[message]{Message: m, Seq: 3, Missed: 2}
	assert.Equal(t, frame{`a "quoted" <text>`, at, 7, 1, 3, 2, d.Position().String()}, parse[frame](t, appendMessage(nil, d)))

	buffer := make([]byte, 0, 1024)
	position := testing.AllocsPerRun(100, func() { _ = d.Position().String() })
	assert.Equal(t, position, testing.AllocsPerRun(100, func() { appendMessage(buffer, d) }), "only the position is new for each socket")

	d = broadcast.Delivery[message]{Chat: "1", Device: "2", Seq: 3, Kind: broadcast.Joined}
	assert.Equal(t, event{Event: "joined", Chat: 1, Device: 2, Seq: 3}, parse[event](t, appendPresence(nil, eventJoined, d)))
	assert.Zero(t, testing.AllocsPerRun(100, func() { appendPresence(buffer, eventJoined, d) }))
}
