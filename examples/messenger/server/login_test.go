package server

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/token"
)

func (s *service) login(body string, headers ...string) (identity, int, *http.Cookie) {
	s.T.Helper()
	a := s.Do(http.MethodPost, "/login", body, append([]string{"Content-Type", "application/json"}, headers...)...)
	var who identity
	require.NoError(s.T, json.Unmarshal([]byte(a.Body), &who), "%s", a.Body)
	cookies := (&http.Response{Header: a.Header}).Cookies()
	if len(cookies) == 0 {
		return who, a.Status, nil
	}
	return who, a.Status, cookies[0]
}

func TestWithoutASecretAnybodyComesInUnderANameOfTheirChoice(t *testing.T) {
	s := start(t, nil)
	who, status, cookie := s.login(`{"name":"ann"}`)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, "ann", who.Name)
	assert.True(t, who.Open)
	assert.True(t, cookie.HttpOnly)
	assert.Equal(t, http.SameSiteStrictMode, cookie.SameSite)
	assert.False(t, cookie.Secure)

	w := s.watch("bob", "general", "")
	for _, headers := range [][]string{{"Authorization", "Bearer " + who.Token}, {"Cookie", cookie.Name + "=" + cookie.Value}} {
		a := s.Do(http.MethodPost, "/chats/general/messages", `{"text":"hello"}`, append(headers, "Content-Type", "application/json")...)
		require.Equal(t, http.StatusAccepted, a.Status, "%s", a.Body)
	}
	w.next()
	for range 2 {
		assert.Equal(t, "ann", w.next().Message.By)
	}
}

func TestWithASecretOnlyThoseComeInWhoHaveAToken(t *testing.T) {
	s := start(t, closed)
	_, status, _ := s.login(`{"name":"ann"}`)
	assert.Equal(t, http.StatusBadRequest, status, "a name is no token")
	_, status, cookie := s.login(`{"token":"` + s.token("ann") + `x"}`)
	assert.Equal(t, http.StatusUnauthorized, status)
	assert.Nil(t, cookie)
	who, status, cookie := s.login(`{"token":"` + s.token("ann") + `"}`)
	require.Equal(t, http.StatusOK, status)
	assert.Equal(t, "ann", who.Name)
	assert.False(t, who.Open)
	assert.Contains(t, s.Do(http.MethodGet, "/login", "", "Cookie", cookie.Name+"="+cookie.Value).Body, `"name":"ann"`)
	assert.Contains(t, s.Do(http.MethodGet, "/login", "").Body, `"name":""`)

	a := s.Do(http.MethodPost, "/logout", "", "Cookie", cookie.Name+"="+cookie.Value)
	assert.Equal(t, http.StatusNoContent, a.Status)
	assert.Contains(t, a.Header.Get("Set-Cookie"), "Max-Age=0")
}

func TestStrangersNeitherPostNorWatchNorSeeStats(t *testing.T) {
	s := start(t, func(c *Config) { closed(c); c.Operators = []string{"root"} })
	other := start(t, func(c *Config) { c.Secret = token.Key(strings.Repeat("another secret ", 4)) })
	claimed := func(text string) string { // with the signature of ann
		signed, err := base64.RawURLEncoding.DecodeString(s.token("ann"))
		require.NoError(t, err)
		return base64.RawURLEncoding.EncodeToString(append(signed[:sha256.Size:sha256.Size], text...))
	}
	anybody, err := token.Key("").Issue("ann", time.Hour)
	require.NoError(t, err)
	for name, token := range map[string]string{
		"none":                 "",
		"of another secret":    other.token("ann"),
		"that is too old":      s.tokenFor("ann", -time.Second),
		"with another name":    claimed(fmt.Sprint(time.Now().Add(time.Hour).Unix(), " bob")),
		"with a longer life":   claimed("9999999999 ann"),
		"with an empty secret": anybody,
		"that is no token":     "ann",
		"that is cut":          s.token("ann")[1:],
	} {
		bearer := []string{"Content-Type", "application/json", "Authorization", "Bearer " + token}
		assert.Equal(t, http.StatusUnauthorized, s.Do(http.MethodPost, "/chats/general/messages", `{"text":"a"}`, bearer...).Status, name)
		assert.Equal(t, http.StatusUnauthorized, s.Do(http.MethodGet, "/debug/broadcast", "", bearer...).Status, name)
		_, res, err := s.dial(token, "general", "device=1")
		require.Error(t, err, name)
		assert.Equal(t, http.StatusUnauthorized, res.StatusCode, name)
	}
	assert.Zero(t, s.broker.Stats().Accepted)
	a := s.Do(http.MethodGet, "/debug/broadcast?format=json", "", "Authorization", "Bearer "+s.token("root"))
	assert.Equal(t, http.StatusOK, a.Status)
	assert.Contains(t, a.Body, `"Accepted": 0`)
}

func TestOperatorsAndNobodyElseSeeTheDebugPage(t *testing.T) {
	s := start(t, func(c *Config) { closed(c); c.Operators = []string{"root", " Ops  Team "} })
	s.watch("ann", "secret plans", "").next()
	see := func(headers ...string) (int, string) {
		a := s.Do(http.MethodGet, "/debug/broadcast", "", headers...)
		return a.Status, a.Body
	}
	as := func(name string) []string { return []string{"Authorization", "Bearer " + s.token(name)} }
	for name, headers := range map[string][]string{
		"nobody": nil, "a user": as("ann"), "a name that begins like an operator's": as("root2"),
	} {
		status, body := see(headers...)
		assert.Contains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, status, name)
		assert.NotContains(t, body, "secret plans", name)
	}
	for _, name := range []string{"root", "Ops Team"} {
		status, body := see(as(name)...)
		require.Equal(t, http.StatusOK, status, name)
		for _, text := range []string{"secret plans", "websocket"} {
			assert.Contains(t, body, text)
		}
	}
	_, status, cookie := s.login(`{"token":"` + s.token("root") + `"}`)
	require.Equal(t, http.StatusOK, status)
	status, body := see("Cookie", cookie.Name+"="+cookie.Value)
	assert.Equal(t, http.StatusOK, status, body)
	a := s.Do(http.MethodGet, "/debug/broadcast?format=json&chat=secret+plans", "", as("root")...)
	assert.Contains(t, a.Body, `"Device": "ann/1"`)

	s = start(t, closed)
	a = s.Do(http.MethodGet, "/debug/broadcast", "", as("root")...)
	assert.Equal(t, http.StatusNotFound, a.Status, "without operators there is no page")
}

func TestAPageSendsItsTokenAsASubprotocol(t *testing.T) {
	s := start(t, closed)
	conn, res, err := websocket.Dial(t.Context(), "ws://"+s.Addr+"/chats/general/socket?device=1", &websocket.DialOptions{
		HTTPClient: s.HTTP, Subprotocols: []string{"messenger", "bearer." + s.token("ann")},
	})
	require.NoError(t, err)
	defer conn.CloseNow()
	assert.Equal(t, "messenger", res.Header.Get("Sec-WebSocket-Protocol"), "the token comes back")
	w := &watcher{t, conn}
	assert.Equal(t, []string{"ann/1"}, w.next().Devices)
}

func TestTheCookieIsSecureWhereTheConnectionIs(t *testing.T) {
	s := start(t, func(c *Config) { closed(c); c.Proxy = true })
	for proto, secure := range map[string]bool{"http": false, "https": true} {
		_, _, cookie := s.login(`{"token":"`+s.token("ann")+`"}`, "X-Forwarded-Proto", proto)
		assert.Equal(t, secure, cookie.Secure, proto)
	}
}

func TestAConfigurationThatLetsStrangersInOrHasNoLimitsIsRefused(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"32 bytes": func(c *Config) { c.Secret = "short" },
		"proxy":    func(c *Config) { c.Proxy = true },
		"rates":    func(c *Config) { c.PostRate = 0 },
		"operator": func(c *Config) { c.Operators = []string{"ann", "\u200b"} },
		"65536":    func(c *Config) { c.HistoryBytes = 100 },
		"age":      func(c *Config) { c.HistoryAge = 0 },
		"timeout":  func(c *Config) { c.BodyTimeout = 0 },
		"buffer":   func(c *Config) { c.Buffer = 0 },
		"Ping":     func(c *Config) { c.Ping = -1 },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		_, err := New(cfg)
		require.ErrorContains(t, err, says)
	}
}

func TestWhatTheClientSendsByItselfWinsOverTheCookie(t *testing.T) {
	for want, headers := range map[string]map[string]string{
		"":       {"Authorization": "Basic x"},
		"cookie": {"Cookie": "messenger=cookie", "Sec-WebSocket-Protocol": "chat"},
		"offer":  {"Cookie": "messenger=cookie", "Sec-WebSocket-Protocol": "chat, bearer.offer"},
		"bearer": {"Cookie": "messenger=cookie", "Sec-WebSocket-Protocol": "bearer.offer", "Authorization": "Bearer bearer"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		for name, value := range headers {
			r.Header.Set(name, value)
		}
		assert.Equal(t, want, tokenOf(r))
	}
}
