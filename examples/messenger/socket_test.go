package main

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
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

func TestAPostMayWaitLongerForRoomThanItsBodyMayTake(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Sampling, c.Buffer, c.PublishTimeout = broadcast.Block, 1, within
		c.HeaderTimeout, c.BodyTimeout = within, 100*time.Millisecond
	})
	stuck := s.raw(1, 1)
	var waited atomic.Bool
	posted := make(chan struct{})
	go func() {
		defer close(posted)
		for !waited.Load() {
			assert.Equal(t, http.StatusAccepted, s.Say(big, 7, 1).Status)
		}
	}()
	exampletest.Soon(t, "a post waits for long", func() bool { return s.broker.Stats().Pending > 0 && s.quietFor(4*s.cfg.BodyTimeout) })
	waited.Store(true)
	reading := make(chan struct{})
	go func() {
		defer close(reading)
		_, _ = io.Copy(io.Discard, stuck.conn)
	}()
	exampletest.Receive(t, "the end of the posts", posted)
	stuck.reset()
	exampletest.Receive(t, "the end of the connection", reading)
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

// slowly sets up a server for clients that do not read: little fits in a socket, and nothing but the test ends one.
func slowly(c *Config) {
	c.SendBuffer = 4 << 10
	c.WriteTimeout = 2 * within
	c.StallTimeout = 0
	c.DrainTimeout = 2 * within
	c.CleanInterval = 50 * time.Millisecond
}

// big is a text that fills buffers.
var big = strings.Repeat("x", post.MaxText)

// fill posts until a client that does not read is stuck, with at least pending messages waiting for it.
func (s *service) fill(chat, pending int) (posted int) {
	s.T.Helper()
	stuck := func() bool {
		before := s.broker.Stats()
		if before.Pending < uint64(pending) {
			return false
		}
		time.Sleep(50 * time.Millisecond) // long for one frame to a client that reads
		return s.broker.Stats().Delivered == before.Delivered
	}
	exampletest.Soon(s.T, "a client that does not read is stuck", func() bool {
		s.MustSay(big, 7, chat)
		posted++
		return stuck()
	})
	return posted
}

// quietFor tells whether nothing is accepted for d.
func (s *service) quietFor(d time.Duration) bool {
	accepted := s.broker.Stats().Accepted
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if s.broker.Stats().Accepted != accepted {
			return false
		}
	}
	return true
}

func TestAClientThatStopsReadingIsCutAfterTheWriteDeadlineWhileOthersGoOn(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.WriteTimeout = 300 * time.Millisecond
	})
	healthy := s.watch(1, 1)
	stuck := s.raw(1, 2)
	next := uint64(1)
	exampletest.Soon(t, "the stuck client is cut", func() bool {
		s.MustSay(big, 7, 1)
		f := healthy.next()
		require.Equal(t, next, f.Seq)
		require.Zero(t, f.Missed)
		next++
		return slices.Equal([]int{1}, s.present(1))
	})
	_, err := io.Copy(io.Discard, stuck.r)
	require.ErrorIs(t, err, syscall.ECONNRESET, "the end comes when the kernel has got rid of the rest")
	s.MustSay("after", 7, 1)
	assert.Equal(t, "after", healthy.next().Text)
}

func TestTheKernelHidesOnlyAFewMessagesFromTheBuffer(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.SendBuffer = DefaultConfig().SendBuffer
		c.Buffer = 2000
	})
	stuck := s.raw(1, 1)
	msg, err := newMessage(post.Message{Text: big, By: 1, Chat: 1}, time.Now())
	require.NoError(t, err)
	for range s.cfg.Buffer {
		require.NoError(t, s.broker.Publish(t.Context(), "1", msg))
	}
	s.fill(1, 1)
	assert.Less(t, s.broker.Stats().Delivered, uint64(200))
	stuck.reset()
}

func TestWhatASlowClientMissedIsSaidInTheNextFrame(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Buffer, c.Patience = 4, 0
	})
	slow := s.raw(1, 1)
	posted := 0
	exampletest.Soon(t, "the slow client misses something", func() bool {
		s.MustSay(big, 7, 1)
		posted++
		return s.broker.Stats().Missed > 0
	})
	s.MustSay("last", 7, 1)
	var seq, missed uint64
	for text := ""; text != "last"; {
		f := slow.next()
		require.Equal(t, seq+f.Missed+1, f.Seq, "Missed is exactly the hole in Seq")
		seq, text = f.Seq, f.Text
		missed += f.Missed
	}
	assert.Equal(t, uint64(posted+1), seq)
	assert.Equal(t, s.broker.Stats().Missed, missed)
	assert.NotZero(t, missed)
}

func TestASlowConsumerIsClosedWith1013AfterWhatItHad(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Sampling, c.Buffer = broadcast.Disconnect, 4
	})
	healthy := s.watch(1, 1)
	slow := s.raw(1, 2)
	exampletest.Soon(t, "the slow client is disconnected", func() bool {
		s.MustSay(big, 7, 1)
		healthy.next()
		return s.broker.Stats().Disconnected == 1
	})
	frames, code, reason := slow.rest()
	assert.Equal(t, 1013, code)
	assert.Contains(t, reason, "too slow")
	for i, f := range frames {
		require.Equal(t, uint64(i+1), f.Seq)
	}
	assert.NotEmpty(t, frames)
}

func TestAStalledReaderIsClosedWith1013AfterWhatItHad(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.StallTimeout = 200 * time.Millisecond
	})
	stalled := s.raw(1, 2)
	exampletest.Soon(t, "the stall is noticed", func() bool {
		s.MustSay(big, 7, 1)
		return s.broker.Stats().Stalled == 1
	})
	frames, code, reason := stalled.rest()
	assert.Equal(t, 1013, code)
	assert.Contains(t, reason, "too slow")
	assert.NotEmpty(t, frames)
}

func TestAnOverloadedChatIsAnswered503WithRetryAfterAndTheMessageIsNotAccepted(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Sampling, c.Buffer, c.PublishTimeout = broadcast.Block, 2, 100*time.Millisecond
	})
	stuck := s.raw(1, 1)
	other := s.watch(2, 1)
	var refused exampletest.Answer
	accepted := 0
	exampletest.Soon(t, "the chat is overloaded", func() bool {
		refused = s.Say(big, 7, 1)
		accepted++
		return refused.Status != http.StatusAccepted
	})
	assert.Equal(t, http.StatusServiceUnavailable, refused.Status)
	assert.NotEmpty(t, refused.Header.Get("Retry-After"))
	assert.Contains(t, refused.Error, "not accepted")
	s.MustSay("elsewhere", 7, 2)
	assert.Equal(t, "elsewhere", other.next().Text, "another chat is not concerned")

	seq := uint64(0)
	for range accepted - 1 {
		f := stuck.next()
		require.Equal(t, seq+1, f.Seq)
		seq = f.Seq
	}
	s.MustSay("after", 7, 1)
	f := stuck.next()
	assert.Equal(t, "after", f.Text, "what was refused was delivered")
	assert.Equal(t, seq+1, f.Seq)
	assert.Equal(t, uint64(1), s.broker.Stats().Rejected)
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
