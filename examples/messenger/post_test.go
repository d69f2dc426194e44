package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

func TestAnAcceptedMessageIsStampedByTheServerAndReachesTheChat(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 2)

	before := time.Now()
	a := s.Post(`{"text":"Grüße \"<b>\" \n🙂","by":7,"chat":1}`)
	require.Equal(t, http.StatusAccepted, a.Status)
	assert.JSONEq(t, `{"chat":1}`, a.Body)
	assert.Equal(t, "application/json", a.Header.Get("Content-Type"))

	f := w.next()
	assert.WithinRange(t, f.At, before.Add(-time.Second), time.Now())
	assert.NotEmpty(t, f.Position)
	f.At, f.Position = time.Time{}, ""
	assert.Equal(t, frame{Text: "Grüße \"<b>\" \n🙂", By: 7, Chat: 1, Seq: 1}, f)
}

func TestAMessageToAChatThatNobodyWatchesIsAccepted(t *testing.T) {
	s := start(t, nil)
	assert.Equal(t, http.StatusAccepted, s.Say("anybody?", 1, 42).Status)
	assert.Equal(t, []int{}, s.present(42))
}

func TestPostMessageTakesMessagesAndNothingElse(t *testing.T) {
	s := start(t, nil)
	exampletest.Posting(t, s.Service, func() int { return int(s.broker.Stats().Accepted) })
}

func TestTheLongestTextGoesThrough(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 1)
	longest := strings.Repeat("\x01", post.MaxText) // six bytes each as JSON
	s.MustSay(longest, 7, 1)
	assert.Equal(t, longest, w.next().Text)
}

func TestAWrongMethodIsAnswered405WithAllow(t *testing.T) {
	s := start(t, nil)
	for _, tt := range []struct{ method, path, allow string }{
		{http.MethodPost, "/ws?chat=1&device=1", "GET"},
		{http.MethodHead, "/ws?chat=1&device=1", "GET"},
		{http.MethodPost, "/stats", "GET, HEAD"},
		{http.MethodDelete, "/healthz", "GET, HEAD"},
		{http.MethodPost, "/devices?chat=1", "GET, HEAD"},
		{http.MethodPost, "/", "GET, HEAD"},
	} {
		a := s.Do(tt.method, tt.path, "")
		assert.Equal(t, http.StatusMethodNotAllowed, a.Status, "%s %s", tt.method, tt.path)
		assert.Equal(t, tt.allow, a.Header.Get("Allow"), "%s %s", tt.method, tt.path)
	}
	assert.Equal(t, http.StatusNotFound, s.Do(http.MethodGet, "/nowhere", "").Status)
}

func TestABadChatOrDeviceIsAnswered400NamingTheLimit(t *testing.T) {
	s := start(t, nil)
	limit := fmt.Sprint(int64(httpjson.MaxID))
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
		a := exampletest.Read(t, res)
		assert.Equal(t, http.StatusBadRequest, a.Status, "%s", tt.query)
		assert.Equal(t, tt.field, a.Field, "%s", tt.query)
		assert.Contains(t, a.Error, limit)
	}
	assert.Equal(t, http.StatusBadRequest, s.Do(http.MethodGet, "/devices?chat=0", "").Status)
}

func TestWhomIdentityDoesNotLetPassGets403Everywhere(t *testing.T) {
	server := newServer(t, nil)
	server.identity = func(r *http.Request, chat, _ httpjson.ID) (httpjson.ID, error) {
		if r.Header.Get("Authorization") != "me" || chat != 1 {
			return 0, errForbidden
		}
		return 7, nil
	}
	s := serve(t, server, exampletest.Listen(t))
	assert.Equal(t, http.StatusForbidden, s.Say("hello", 7, 1).Status)
	assert.Equal(t, http.StatusForbidden, s.Do(http.MethodGet, "/devices?chat=1", "").Status)
	_, res := s.handshake("/ws?chat=1&device=2")
	assert.Equal(t, http.StatusForbidden, res.StatusCode)

	c, _ := s.handshake("/ws?chat=1&device=2", "Authorization: me")
	assert.Equal(t, []string{"7"}, s.broker.Devices("1"), "identity has the last word on who it is")
	a := s.Do(http.MethodPost, "/message", `{"text":"a","by":1,"chat":1}`, "Content-Type", "application/json", "Authorization", "me")
	assert.Equal(t, http.StatusAccepted, a.Status)
	assert.Equal(t, 7, c.next().By)
}

func TestStatsAreTheBooksOfTheBroker(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 2)
	s.MustSay("a", 7, 1)
	w.next()
	a := s.Do(http.MethodGet, "/stats", "")
	assert.JSONEq(t, `{"chats":1,"subscribers":1,"accepted":1,"rejected":0,"delivered":1,"missed":0,"pending":0,"discarded":0,
		"replaced":0,"disconnected":0,"stalled":0,"chats_cleaned":0}`, a.Body)
	assert.Equal(t, http.StatusOK, s.Do(http.MethodGet, "/healthz", "").Status)
}

func TestAFrameIsBuiltFromTheSharedBytesWithoutAnEncoder(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	m, err := newMessage(post.Message{Text: `a "quoted" <text>`, By: 7, Chat: 1}, at)
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
