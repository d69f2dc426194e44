package server

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/limit"
)

func TestANewcomerBeginsWithTheLastMessagesAndWhoIsThere(t *testing.T) {
	s := start(t, nil)
	for i := range replay + 5 {
		s.mustSay("ann", "general", fmt.Sprint(i))
	}
	w := s.watch("bob", "general", "")
	assert.Equal(t, []string{"ready[bob/1]", "5", "6"}, w.told(3))
	w.told(replay - 2)
	s.watch("carl", "general", "")
	s.mustSay("ann", "general", "new")
	assert.Equal(t, []string{"+carl/1", "new"}, w.told(2))
}

func TestWhoComesBackGetsWhatWasMissedOnce(t *testing.T) {
	s := start(t, func(c *Config) { c.History = 3 })
	w := s.watch("ann", "general", "")
	w.next()
	s.mustSay("bob", "general", "0")
	position := w.next().Position
	require.NoError(t, w.conn.CloseNow())
	s.mustSay("bob", "general", "1", "2")
	w = s.watch("ann", "general", position)
	assert.True(t, w.next().Recovered)
	assert.Equal(t, []string{"1", "2"}, w.told(2))
	s.mustSay("bob", "general", "3", "4")
	w = s.watch("ann", "general", position)
	f := w.next()
	assert.Equal(t, "reset", f.Event)
	assert.Equal(t, uint64(1), f.Missed)
	assert.Equal(t, []string{"missed 1", "2", "3", "4"}, w.told(4))
	w = s.watch("ann", "general", "of-nowhere")
	f = w.next()
	assert.Equal(t, "reset", f.Event)
	assert.Equal(t, []string{"ann/1"}, f.Devices)
	assert.Equal(t, []string{"2", "3", "4"}, w.told(3))
}

func TestASlowClientIsCutOffAndComesBackWithoutAGap(t *testing.T) {
	s := start(t, func(c *Config) { c.Buffer, c.History = 8, 1000 })
	w := s.watch("ann", "general", "")
	position := w.next().Position
	text := strings.Repeat("x", maxText)
	posted := 0
	exampletest.Soon(t, "the client is too slow", func() bool {
		s.mustSay("bob", "general", text)
		posted++
		return s.broker.Stats().Disconnected == 1
	})
	seen := 0
	for {
		f, err := w.read()
		if err != nil {
			assert.Equal(t, websocket.StatusTryAgainLater, websocket.CloseStatus(err))
			break
		}
		if f.Message != nil {
			seen++
			position = f.Position
		}
	}
	assert.Less(t, seen, posted)
	w = s.watch("ann", "general", position)
	assert.True(t, w.next().Recovered)
	w.told(posted - seen)
}

func TestANewerSocketOfADeviceTakesOverAndOtherDevicesStay(t *testing.T) {
	s := start(t, nil)
	old := s.watch("ann", "general", "")
	old.next()
	phone, _, err := s.dial(s.token("ann"), "general", "device=phone")
	require.NoError(t, err)
	defer phone.CloseNow()
	bob := s.watch("bob", "general", "") // whose device has the same id
	assert.Equal(t, []string{"ann/1", "ann/phone", "bob/1"}, bob.next().Devices)
	s.watch("ann", "general", "")
	assert.Equal(t, websocket.StatusCode(4001), old.code())
	s.mustSay("carl", "general", "still here")
	assert.Equal(t, []string{"still here"}, bob.told(1), "a takeover is no event")
}

func TestARefusedHandshakeReplacesNobody(t *testing.T) {
	s := start(t, nil)
	w := s.watch("ann", "general", "")
	w.next()
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Authorization", "Bearer " + s.token("ann")}
	key := append(slices.Clone(upgrade), "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
	for _, try := range []struct {
		path    string
		headers []string
		status  int
	}{
		{"general/socket?device=1", upgrade, http.StatusBadRequest}, // no key
		{"general/socket?device=1", nil, http.StatusUpgradeRequired},
		{"general/socket?device=1", append(slices.Clone(key), "Origin", "https://evil.example"), http.StatusForbidden},
		{"general/socket?device=1", append(slices.Clone(key), "Sec-Fetch-Site", "cross-site"), http.StatusForbidden},
		{"general/socket?device=1", append(slices.Clone(key), "Authorization", "Bearer x"), http.StatusUnauthorized},
		{"general/socket", key, http.StatusBadRequest},
		{"general/socket?device=", key, http.StatusBadRequest},
		{"general/socket?device=a%2Fb", key, http.StatusBadRequest},
		{"general/socket?device=" + strings.Repeat("x", 65), key, http.StatusBadRequest},
		{"%E2%80%8B/socket?device=1", key, http.StatusBadRequest},
	} {
		assert.Equal(t, try.status, s.Do(http.MethodGet, "/chats/"+try.path, "", try.headers...).Status, "%s %v", try.path, try.headers)
	}
	// Devices are texts: 0001 is not 1.
	conn, _, err := s.dial(s.token("ann"), "general", "device=0001")
	require.NoError(t, err)
	defer conn.CloseNow()
	s.mustSay("bob", "general", "still there")
	assert.Equal(t, []string{"+ann/0001", "still there"}, w.told(2))
	assert.Zero(t, s.broker.Stats().Replaced)
}

func TestOtherSitesAndOtherHostsAreRefused(t *testing.T) {
	for _, hosts := range [][]string{nil, {}} { // an empty MESSENGER_HOSTS is no list either
		s := start(t, func(c *Config) { c.Hosts = hosts })
		for _, host := range []string{"evil.example", "evil.example:8080", "127.0.0.1.evil.example", "10.0.0.1", ""} {
			conn := s.Connect()
			_, err := fmt.Fprintf(conn, "POST /login HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", host)
			require.NoError(t, err)
			answer := make([]byte, 12)
			_, err = conn.Read(answer)
			require.NoError(t, err)
			assert.Equal(t, "HTTP/1.1 421", string(answer), host)
		}
		a := s.Do(http.MethodPost, "/login", `{"name":"ann"}`, "Content-Type", "application/json", "Origin", "https://evil.example")
		assert.Equal(t, http.StatusForbidden, a.Status)
	}

	named := start(t, func(c *Config) { closed(c); c.Hosts = []string{"chat.example"} })
	assert.Equal(t, http.StatusMisdirectedRequest, named.Do(http.MethodGet, "/", "").Status)
	any := start(t, closed)
	assert.Equal(t, http.StatusOK, any.Do(http.MethodGet, "/", "").Status)
}

func TestAnAddressHasSoManyConnectionsAndHandshakes(t *testing.T) {
	s := start(t, func(c *Config) { c.Connections = 3 })
	one := s.watch("ann", "general", "")
	one.next()
	s.watch("bob", "general", "").next()
	s.Connect()
	exampletest.Ended(t, s.Connect()) // closed at once
	require.NoError(t, one.conn.CloseNow())
	exampletest.Soon(t, "there is room again", func() bool {
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = s.Addr
		leave, err := s.clients.Enter(limit.Client(r, s.cfg.Proxy))
		if err == nil {
			leave()
		}
		return err == nil
	})
	assert.Contains(t, s.logged.String(), "too many connections")

	s = start(t, func(c *Config) { c.HandshakeRate, c.Burst = 0.001, 2 })
	token := s.token("ann")
	s.watch("ann", "general", "")
	s.watch("ann", "general", "")
	_, res, err := s.dial(token, "general", "device=1")
	require.Error(t, err)
	assert.Equal(t, http.StatusTooManyRequests, res.StatusCode)
	assert.NotEmpty(t, res.Header.Get("Retry-After"))
	_, status, _ := s.login(`{"name":"ann"}`)
	assert.Equal(t, http.StatusTooManyRequests, status)
}

func TestBehindAProxyClientsAreThoseThatItNames(t *testing.T) {
	s := start(t, func(c *Config) { closed(c); c.Proxy, c.Connections = true, 1 })
	enter := func(forwarded string) error {
		r, _ := http.NewRequest(http.MethodGet, "/", nil)
		r.RemoteAddr = "127.0.0.1:1"
		r.Header.Set("X-Forwarded-For", forwarded)
		_, err := s.clients.Enter(limit.Client(r, s.cfg.Proxy))
		return err
	}
	require.NoError(t, enter("192.0.2.1"))
	require.NoError(t, enter("192.0.2.2"))
	require.Error(t, enter("192.0.2.3, 192.0.2.1"), "what the client claims counts")
	require.NoError(t, enter("2001:db8::1"))
	require.Error(t, enter("2001:db8::2"), "a network has more addresses than anybody can count")
	require.NoError(t, enter("2001:db8:0:1::1"))
}

func TestAThousandSocketsGetEverythingThatWasAcceptedBeforeTheEnd(t *testing.T) {
	s := start(t, nil)
	const sockets, chats = 1000, 10
	watchers := make([]*watcher, sockets)
	var dialing sync.WaitGroup
	token := s.token("ann")
	for d := range 8 {
		dialing.Go(func() {
			for i := d; i < sockets; i += 8 {
				conn, _, err := s.dial(token, fmt.Sprint(i%chats), fmt.Sprint("device=", i))
				if assert.NoError(t, err) {
					watchers[i] = &watcher{t, conn}
				}
			}
		})
	}
	dialing.Wait()
	require.NotContains(t, watchers, (*watcher)(nil))

	got := make([]int, sockets)
	var reading sync.WaitGroup
	for i, w := range watchers {
		reading.Go(func() {
			for {
				f, err := w.read()
				if err != nil {
					assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
					return
				}
				if f.Message != nil {
					got[i]++
				}
			}
		})
	}
	accepted := make([]int, chats)
	var posting sync.WaitGroup
	for chat := range chats {
		posting.Go(func() {
			for {
				r, _ := http.NewRequest(http.MethodPost, fmt.Sprintf("http://%s/chats/%d/messages", s.Addr, chat), strings.NewReader(`{"text":"hello"}`))
				r.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}
				res, err := s.HTTP.Do(r)
				if err != nil { // the server has ended
					return
				}
				if exampletest.Read(t, res).Status != http.StatusAccepted {
					return
				}
				accepted[chat]++
			}
		})
	}
	exampletest.Soon(t, "posts are accepted", func() bool { return s.broker.Stats().Accepted > 5*chats })
	s.End()
	reading.Wait()
	posting.Wait()
	require.NoError(t, s.Done())
	for i := range got {
		require.Equal(t, accepted[i%chats], got[i], i)
	}
}

func TestDuringTheEndNewClientsAreAnswered503(t *testing.T) {
	s := start(t, func(c *Config) { c.DrainTimeout = 2 * exampletest.Within })
	// A body that does not arrive holds up the end.
	conn := s.Connect()
	_, err := fmt.Fprint(conn, "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{")
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, s.Do(http.MethodGet, "/readyz", "").Status)
	require.Equal(t, http.StatusOK, s.Do(http.MethodGet, "/healthz", "").Status)
	require.NoError(t, s.broker.Shutdown(t.Context()))
	require.NoError(t, s.sockets.Drain(t.Context()))
	for path, status := range map[string]int{"/readyz": 503, "/healthz": 200} {
		assert.Equal(t, status, s.Do(http.MethodGet, path, "").Status, path)
	}
	a := s.say("ann", "general", "too late")
	assert.Equal(t, http.StatusServiceUnavailable, a.Status)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	_, res, err := s.dial(s.token("ann"), "general", "device=1")
	require.Error(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	assert.NotEmpty(t, res.Header.Get("Retry-After"))
	require.NoError(t, conn.Close())
}

func TestThatNobodyCanConnectIsWarnedOf(t *testing.T) {
	s := newService(t, nil)
	service := exampletest.Begin(t, s.Serve, &exhausted{Listener: exampletest.Listen(t), fails: 2})
	exampletest.Soon(t, "the service answers", func() bool { return service.Do(http.MethodGet, "/healthz", "").Status == http.StatusOK })
	assert.Contains(t, s.logged.String(), `"level":"WARN","msg":"http: Accept error: too many open files`)
}

// exhausted is a listener that cannot accept some connections.
type exhausted struct {
	net.Listener
	fails int
}

func (l *exhausted) Accept() (net.Conn, error) {
	if l.fails--; l.fails >= 0 {
		return nil, tooMany{}
	}
	return l.Listener.Accept()
}

type tooMany struct{}

func (tooMany) Error() string   { return "too many open files" }
func (tooMany) Timeout() bool   { return false }
func (tooMany) Temporary() bool { return true }
