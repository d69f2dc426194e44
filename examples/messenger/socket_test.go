package main

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

func TestEveryMessageReachesEveryClientOfItsChatInOneOrder(t *testing.T) {
	s := start(t, nil)
	const clients, posters, each = 20, 3, 50
	var watchers []*watcher
	for device := range clients {
		watchers = append(watchers, s.watch(1, device+1))
	}
	var posting sync.WaitGroup
	for by := range posters {
		posting.Go(func() {
			for i := range each {
				assert.Equal(t, http.StatusAccepted, s.Say(fmt.Sprint(i), by+1, 1).Status)
			}
		})
	}
	var first []frame
	for _, w := range watchers {
		var got []frame
		last := map[int]string{}
		for i := range posters * each {
			f := w.next()
			require.Equal(t, uint64(i+1), f.Seq)
			require.Zero(t, f.Missed)
			if before, ok := last[f.By]; ok {
				require.Equal(t, fmt.Sprint(atoi(t, before)+1), f.Text, "one poster's messages are out of order")
			}
			last[f.By] = f.Text
			got = append(got, f)
		}
		if first == nil {
			first = got
		}
		require.Equal(t, first, got)
	}
	posting.Wait()
}

func atoi(t testing.TB, s string) (n int) {
	_, err := fmt.Sscan(s, &n)
	require.NoError(t, err)
	return n
}

func TestAMessageReachesNoOtherChat(t *testing.T) {
	s := start(t, nil)
	one, two := s.watch(1, 1), s.watch(2, 1)
	s.MustSay("for one", 7, 1)
	s.MustSay("for two", 7, 2)
	assert.Equal(t, "for one", one.next().Text)
	f := two.next()
	assert.Equal(t, "for two", f.Text)
	assert.Equal(t, uint64(1), f.Seq, "each chat counts for itself")
}

func TestWhoIsThereIsListedByNumber(t *testing.T) {
	s := start(t, nil)
	for _, device := range []int{10, 9, 100} {
		s.watch(1, device)
	}
	leaving := s.watch(1, 1)
	s.watch(2, 5)
	assert.Equal(t, []int{1, 9, 10, 100}, s.present(1))
	require.NoError(t, leaving.conn.Close(websocket.StatusNormalClosure, ""))
	exampletest.Soon(t, "a client that closes its socket leaves", func() bool { return slices.Equal([]int{9, 10, 100}, s.present(1)) })
}

func TestTheSubscriptionExistsBeforeTheUpgradeIsAnswered(t *testing.T) {
	s := start(t, nil)
	for i := range 50 {
		c := s.raw(1, i+1) // has read the answer and nothing else
		s.MustSay("now", 7, 1)
		require.Equal(t, "now", c.next().Text)
		c.reset()
	}
}

func TestAClientWrittenFromTheRFCAloneGetsMessagesAndPongs(t *testing.T) {
	s := start(t, nil)
	c := s.raw(1, 2)
	for _, text := range []string{"short", strings.Repeat("longer than 125 bytes ", 10), strings.Repeat("x", post.MaxText)} {
		s.MustSay(text, 7, 1)
		assert.Equal(t, text, c.next().Text)
	}
	c.send(opPing, []byte("are you there?"))
	opcode, payload, err := c.frame()
	require.NoError(t, err)
	assert.Equal(t, byte(opPong), opcode)
	assert.Equal(t, "are you there?", string(payload))

	c.send(opClose, []byte{0x03, 0xe8})
	opcode, payload, err = c.frame()
	require.NoError(t, err)
	assert.Equal(t, byte(opClose), opcode)
	assert.Equal(t, []byte{0x03, 0xe8}, payload)
	c.ended()
	exampletest.Soon(t, "the client has left", func() bool { return len(s.present(1)) == 0 })
}

func TestASecondSocketOfADeviceClosesTheFirstWith4001Replaced(t *testing.T) {
	s := start(t, nil)
	old := s.watch(1, 2)
	elsewhere := s.watch(3, 2) // the same device in another chat
	s.MustSay("before", 7, 1)
	old.next()
	young := s.watch(1, 2)

	code, reason := old.closed()
	assert.Equal(t, statusReplaced, code)
	assert.Equal(t, "replaced", reason)

	s.MustSay("after", 7, 1)
	s.MustSay("there", 7, 3)
	assert.Equal(t, []string{"ready[2]", "before", "after"}, young.told(3))
	assert.Equal(t, "there", elsewhere.next().Text)
	assert.Equal(t, []int{2}, s.present(1))
}

func TestAForeignOriginIsAnswered403BeforeTheUpgradeAndReplacesNobody(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 2)
	for _, line := range []string{
		"Origin: https://evil.example", "Origin: null", "Origin: http://" + s.Addr + ".evil.example", "Origin: :",
		"Sec-Fetch-Site: cross-site",
	} {
		_, res := s.handshake("/ws?chat=1&device=2", line)
		assert.Equal(t, http.StatusForbidden, res.StatusCode, line)
	}
	_, res := s.handshake("/ws?chat=1&device=3", "Origin: http://"+s.Addr)
	assert.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)

	s.MustSay("still there", 7, 1)
	assert.Equal(t, "still there", w.next().Text)
	assert.Zero(t, s.broker.Stats().Replaced)
}

func TestARequestThatIsNoHandshakeReplacesNobody(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 2)
	// What an image or a link on any page can make a browser send: no Origin, no upgrade.
	a := s.Do(http.MethodGet, "/ws?chat=1&device=2", "")
	assert.Equal(t, http.StatusUpgradeRequired, a.Status)
	assert.Equal(t, "websocket", a.Header.Get("Upgrade"))
	a = s.Do(http.MethodGet, "/ws?chat=1&device=2", "", "Connection", "upgrade", "Upgrade", "h2c")
	assert.Equal(t, http.StatusUpgradeRequired, a.Status)

	s.MustSay("still there", 7, 1)
	assert.Equal(t, "still there", w.next().Text)
	assert.Zero(t, s.broker.Stats().Replaced)
}

func TestAFailedHandshakeLeavesNoSubscription(t *testing.T) {
	s := start(t, nil)
	a := s.Do(http.MethodGet, "/ws?chat=1&device=2", "", "Connection", "upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "12")
	assert.Equal(t, http.StatusBadRequest, a.Status)
	assert.Empty(t, s.present(1))
}

func TestOverALimitASocketOrAPostIsAnswered503WithRetryAfter(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxChats, c.MaxSubscribers = 1, 1 })
	w := s.watch(1, 1)
	for _, path := range []string{"/ws?chat=1&device=2", "/ws?chat=2&device=1"} {
		_, res := s.handshake(path)
		assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode, path)
		assert.NotEmpty(t, res.Header.Get("Retry-After"), path)
	}
	a := s.Say("hello", 7, 2) // would make a chat, to keep its history
	assert.Equal(t, http.StatusServiceUnavailable, a.Status)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	assert.Contains(t, a.Error, "not accepted")
	young := s.watch(1, 1) // a takeover is never refused
	code, _ := w.closed()
	assert.Equal(t, statusReplaced, code)
	s.MustSay("hello", 7, 1)
	young.next()
}

func TestAFrameOverTheLimitIsAnswered1009(t *testing.T) {
	s := start(t, nil)
	c := s.raw(1, 2)
	c.send(opText, make([]byte, maxFrame+1))
	_, code, _ := c.rest()
	assert.Equal(t, 1009, code)
	c.ended()
}

func TestAFrameThatNeverEndsIsGivenUp(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.CloseTimeout = 100 * time.Millisecond })
	c := s.raw(1, 2)
	c.ready()
	// The header of a frame of a gigabyte, and a little more than the server reads of it.
	_, err := c.conn.Write(append([]byte{0x81, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 1, 2, 3, 4}, make([]byte, maxFrame+1000)...))
	require.NoError(t, err)
	_, payload, err := c.frame()
	require.NoError(t, err)
	assert.Equal(t, []byte{0x03, 0xf1}, payload[:2]) // 1009
	c.ended()
	exampletest.Soon(t, "the client has left", func() bool { return len(s.present(1)) == 0 })
}

func TestASocketOnlySends(t *testing.T) {
	s := start(t, nil)
	c := s.raw(1, 2)
	c.send(opText, []byte("hello"))
	_, code, reason := c.rest()
	assert.Equal(t, 1008, code)
	assert.Contains(t, reason, "POST /message")
	c.ended()
	assert.Empty(t, s.present(1))
}

func TestAHalfOpenConnectionIsCutAfterThePingTimeout(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.PingInterval, c.PingTimeout = 50*time.Millisecond, time.Second })
	healthy := s.watch(1, 1)
	got := make(chan frame, 1)
	go func() {
		defer close(got)
		if f, err := healthy.read(); err == nil { // answers pings meanwhile
			got <- f
		}
	}()
	silent := s.raw(1, 2) // answers none
	silent.ended()
	exampletest.Soon(t, "the silent client has left", func() bool { return slices.Equal([]int{1}, s.present(1)) })
	s.MustSay("are you there?", 7, 1)
	assert.Equal(t, "are you there?", exampletest.Receive(t, "the message", got).Text)
}

func TestSlowHeadersAreCut(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.HeaderTimeout, c.BodyTimeout = 100*time.Millisecond, 2*within })
	c := s.connect()
	_, err := c.conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n"))
	require.NoError(t, err)
	c.ended()
}

func TestSlowBodiesAreCutAlsoThoseThatNobodyWants(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.BodyTimeout = 100 * time.Millisecond })
	for _, kind := range []string{"application/json", "text/plain"} {
		c := s.connect()
		_, err := fmt.Fprintf(c.conn, "POST /message HTTP/1.1\r\nHost: x\r\nContent-Type: %s\r\nContent-Length: 100\r\n\r\n{", kind)
		require.NoError(t, err)
		c.ended()
	}
}

func TestAClientThatResetsItsConnectionDisturbsNobody(t *testing.T) {
	s := start(t, nil)
	one, two := s.watch(1, 1), s.watch(1, 2)
	crashing := s.raw(1, 3)
	const messages = 200
	var posting sync.WaitGroup
	posting.Go(func() {
		for i := range messages {
			assert.Equal(t, http.StatusAccepted, s.Say(fmt.Sprint(i), 7, 1).Status)
		}
	})
	for range 20 {
		crashing.next()
	}
	crashing.reset()
	for _, w := range []*watcher{one, two} {
		for i := range messages {
			f := w.next()
			require.Equal(t, fmt.Sprint(i), f.Text)
			require.Zero(t, f.Missed)
		}
	}
	posting.Wait()
	exampletest.Soon(t, "the crashed client has left", func() bool { return slices.Equal([]int{1, 2}, s.present(1)) })
}

func TestAThousandSocketsGetEverythingAndAreClosedWith1001(t *testing.T) {
	s := start(t, nil)
	const sockets, messages = 1000, 20
	watchers := make([]*watcher, sockets)
	var dialing sync.WaitGroup
	for d := range 8 {
		dialing.Go(func() {
			for i := d; i < sockets; i += 8 {
				conn, _, err := s.dial(1, i+1, "")
				if assert.NoError(t, err) {
					watchers[i] = &watcher{t: t, conn: conn}
				}
			}
		})
	}
	dialing.Wait()
	require.NotContains(t, watchers, (*watcher)(nil))

	var reading sync.WaitGroup
	for _, w := range watchers {
		reading.Go(func() {
			for i := range messages {
				f, err := w.read()
				if !assert.NoError(t, err) || !assert.Equal(t, fmt.Sprint(i), f.Text) || !assert.Zero(t, f.Missed) {
					return
				}
			}
			_, err := w.read()
			assert.Equal(t, websocket.StatusGoingAway, websocket.CloseStatus(err))
		})
	}
	for i := range messages {
		s.MustSay(fmt.Sprint(i), 7, 1)
	}
	s.End()
	require.NoError(t, s.Done())
	reading.Wait()
	assert.Equal(t, uint64(sockets*messages), s.broker.Stats().Delivered)
}

func TestIDsAsLargeAsJavaScriptHoldsThemPassThrough(t *testing.T) {
	s := start(t, nil)
	const largest = httpjson.MaxID
	require.Equal(t, float64(largest), math.Trunc(float64(largest)))
	w := s.watch(largest, largest)
	s.MustSay("far out", largest, largest)
	f := w.next()
	assert.Equal(t, largest, f.By)
	assert.Equal(t, largest, f.Chat)
	assert.Equal(t, []int{largest}, s.present(largest))
}
