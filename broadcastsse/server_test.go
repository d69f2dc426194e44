package broadcastsse_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// both runs a test of streams that net/http writes, and of those that are hijacked.
func both(t *testing.T, test func(t *testing.T, hijack func(*options))) {
	t.Run("net/http", func(t *testing.T) { test(t, func(*options) {}) })
	t.Run("hijacked", func(t *testing.T) { test(t, func(o *options) { o.Hijack = true }) })
}

// Promise 82.
func TestEveryStreamOfAChatGetsItsMessagesInOrder(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, hijack)
		one, two := s.dial("1"), s.dial("2")
		s.publish("a", "b", "c\n\rid: forged\r\n\r\ndata: d")
		for _, c := range []*client{one, two} {
			assert.Equal(t, []string{"a", "b", "c\n\rid: forged\r\n\r\ndata: d"}, c.messages(3))
		}
		assert.Equal(t, "text/event-stream", one.res.Header.Get("Content-Type"))
		assert.Equal(t, "no-store", one.res.Header.Get("Cache-Control"))
		assert.Equal(t, "no", one.res.Header.Get("X-Accel-Buffering"))
		assert.Equal(t, "nosniff", one.res.Header.Get("X-Content-Type-Options"))
	})
}

func TestTheIdOfAMessageIsItsPosition(t *testing.T) {
	s := start(t, nil)
	c := s.dial("1")
	s.publish("a")
	e := c.next()
	assert.Equal(t, e.id, e.decoded(t).Position)
	assert.NotEmpty(t, e.id)
}

// Promise 82.
func TestAPayloadOfManyLinesArrivesWhole(t *testing.T) {
	s := start(t, func(o *options) {
		o.Encode = func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) { return append(dst, d.Message...), nil }
	})
	c := s.dial("1")
	s.publish("a\nb\r\nc\rd\n\ne\n", "", "\r")
	assert.Equal(t, "a\nb\nc\nd\n\ne\n", c.next().data)
	assert.Equal(t, "", c.next().data)
	assert.Equal(t, "\n", c.next().data)
}

// Promise 83.
func TestAStreamBeginsWithReadyAndATimeToRetry(t *testing.T) {
	s := start(t, func(o *options) { o.Retry = 3 * time.Second })
	seen := make(map[int]bool)
	for range 10 {
		e := s.connect("chat=c&device=1").next()
		assert.Equal(t, "ready", e.name)
		assert.NotEmpty(t, e.id, "a client that is interrupted in a quiet chat resumes from there")
		retry, err := strconv.Atoi(e.retry)
		require.NoError(t, err)
		assert.GreaterOrEqual(t, retry, 3000)
		assert.Less(t, retry, 6000)
		seen[retry] = true
	}
	assert.Greater(t, len(seen), 1, "not all at once")
}

// Promise 83.
func TestAStreamResumesAfterTheLastEventID(t *testing.T) {
	s := start(t, nil, broadcast.WithHistory(2, 0))
	c := s.dial("1")
	s.publish("a", "b")
	first, last := c.next().id, c.next().id
	_ = c.res.Body.Close()
	require.ErrorIs(t, s.reason(), broadcastsse.ErrLeft)
	s.publish("c", "d")

	for _, request := range [][]string{
		{"chat=c&device=1", "Last-Event-ID", last},
		{"chat=c&device=1&after=" + last},
		{"chat=c&device=1&after=" + first, "Last-Event-ID", last}, // the header wins
	} {
		c = s.connect(request[0], request[1:]...)
		ready := c.next()
		assert.Equal(t, "ready", ready.name)
		assert.True(t, ready.decoded(t).Recovered)
		assert.Equal(t, []string{"c", "d"}, c.messages(2))
	}

	c = s.connect("chat=c&device=1", "Last-Event-ID", first)
	reset := c.next()
	assert.Equal(t, "reset", reset.name)
	assert.EqualValues(t, 1, reset.decoded(t).Missed)
	missed := c.next()
	assert.Equal(t, "missed", missed.name)
	assert.Empty(t, missed.id, "a client that is interrupted here asks again for what is missing")
	assert.Equal(t, []string{"c", "d"}, c.messages(2))

	assert.Equal(t, "reset", s.connect("chat=c&device=1&after=nonsense").next().name)
}

// Promise 88.
func TestABrowserWhoseStreamIsNotToBeResumedGivesUp(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, hijack)
		c := s.dial("1")
		s.dial("1")
		e, d := c.ended()
		assert.Equal(t, "replaced", e.id)
		assert.Equal(t, 4001, d.Code)
		require.ErrorIs(t, s.reason(), broadcast.ErrReplaced)

		c = s.dial("2")
		require.True(t, s.broker.Kick("c", "2", nil))
		e, d = c.ended()
		assert.Equal(t, "kicked", e.id)
		assert.Equal(t, 4003, d.Code)
		require.ErrorIs(t, s.reason(), broadcast.ErrKicked)

		ended := s.connect("chat=d&device=1")
		require.Equal(t, "ready", ended.next().name)
		require.NoError(t, s.broker.EndChat(context.Background(), "d", errTest))
		e, d = ended.ended()
		assert.Equal(t, "ended", e.id)
		assert.Equal(t, 1000, d.Code)
		assert.Contains(t, d.Reason, errTest.Error())
		require.ErrorIs(t, s.reason(), broadcast.ErrEnded)

		for _, id := range []string{"replaced", "kicked", "ended"} {
			for _, chat := range []string{"c", "forgotten", ""} {
				assert.Equal(t, http.StatusNoContent, s.get("chat="+chat+"&device=1", "Last-Event-ID", id).StatusCode)
			}
		}
		assert.EqualValues(t, 1, s.broker.Stats().Subscribers)
	})
}

// Promise 89.
func TestShutdownDeliversAndEndsTheStreamSoThatItMayResume(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, hijack)
		c := s.dial("1")
		s.publish("a", "b")
		require.NoError(t, s.broker.Shutdown(context.Background()))
		assert.Equal(t, []string{"a", "b"}, c.messages(2))
		e, d := c.ended()
		assert.Empty(t, e.id)
		assert.Equal(t, 1001, d.Code)
		require.ErrorIs(t, s.reason(), broadcast.ErrBrokerClosed)
		require.NoError(t, s.server.Drain(context.Background()))
		assert.Equal(t, http.StatusServiceUnavailable, s.get("chat=c&device=1").StatusCode)
	})
}

// Promise 89.
func TestDrainDeliversWhatWasAcceptedAndLeavesTheBrokerAlone(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, hijack)
		c := s.dial("1")
		s.publish("a", "b")
		require.NoError(t, s.server.Drain(context.Background()))
		assert.Equal(t, []string{"a", "b"}, c.messages(2))
		_, d := c.ended()
		assert.Equal(t, 1001, d.Code)
		require.ErrorIs(t, s.reason(), broadcastsse.ErrDrained)
		s.publish("c")
		res := s.get("chat=c&device=1")
		assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
		assert.NotEmpty(t, res.Header.Get("Retry-After"))
	})
}

func TestAClientThatLeavesEndsItsSubscription(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, hijack)
		c := s.dial("1")
		_ = c.res.Body.Close()
		require.ErrorIs(t, s.reason(), broadcastsse.ErrLeft)
		assert.Zero(t, s.broker.Stats().Subscribers)
	})
}

func TestATicketWithoutADeviceIsAnonymous(t *testing.T) {
	s := start(t, nil)
	one, two := s.dial(""), s.dial("")
	s.publish("a")
	assert.Equal(t, []string{"a"}, one.messages(1))
	assert.Equal(t, []string{"a"}, two.messages(1))
}

func TestServeDeliversASubscriptionMadeElsewhere(t *testing.T) {
	s := start(t, nil)
	served := make(chan error, 1)
	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.server.Check(w, r) {
			return
		}
		sub, err := s.broker.Subscribe("c", "made elsewhere")
		if assert.NoError(t, err) {
			served <- s.server.Serve(w, r, broadcastsse.Ticket{}, sub)
		}
	}))
	c := s.dial("1")
	s.publish("a")
	assert.Equal(t, []string{"a"}, c.messages(1))
	require.NoError(t, s.server.Drain(context.Background()))
	require.ErrorIs(t, <-served, broadcastsse.ErrDrained)
}

// Promise 81.
func TestARefusedRequestLeavesTheConnectedDeviceAlone(t *testing.T) {
	s := start(t, func(o *options) {
		o.Hosts = []string{"127.0.0.1"}
		o.Admit = func(r *http.Request) (broadcastsse.Ticket, error) {
			switch ticket, _ := admit(r); r.Header.Get("Admit") {
			case "":
				return ticket, nil
			case "panic":
				panic("as the test wants")
			case "error":
				return ticket, errTest
			default:
				return ticket, &broadcastsse.Refusal{Status: http.StatusUnauthorized}
			}
		}
	}, broadcast.WithMaxChats(1))
	connected := s.dial("1")
	for name, test := range map[string]struct {
		query, header, value string
		status               int
	}{
		"host":   {"chat=c&device=1", "Host", "evil.example", 421},
		"origin": {"chat=c&device=1", "Origin", "https://evil.example", 403},
		"site":   {"chat=c&device=1", "Sec-Fetch-Site", "cross-site", 403},
		"who":    {"chat=c&device=1", "Admit", "no", 401},
		"error":  {"chat=c&device=1", "Admit", "error", 500},
		"panic":  {"chat=c&device=1", "Admit", "panic", 500},
		"name":   {"chat=&device=1", "", "", 400},
		"limit":  {"chat=d&device=1", "", "", 503},
	} {
		var headers []string
		if test.header != "" {
			headers = []string{test.header, test.value}
		}
		assert.Equal(t, test.status, s.get(test.query, headers...).StatusCode, name)
	}
	res, err := http.Post(s.http.URL+"/?chat=c&device=1", "text/plain", nil)
	require.NoError(t, err)
	_ = res.Body.Close()
	assert.Equal(t, http.StatusMethodNotAllowed, res.StatusCode)
	assert.Equal(t, "GET", res.Header.Get("Allow"))

	s.handle(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.server.ServeHTTP(struct{ http.ResponseWriter }{w}, r) // as careless middleware does
	}))
	assert.Equal(t, http.StatusNotImplemented, s.get("chat=c&device=1").StatusCode)
	s.handle(s.server)

	s.publish("still here")
	assert.Equal(t, []string{"still here"}, connected.messages(1))
	for _, want := range []string{"level=ERROR", errTest.Error(), "panic: as the test wants", "method=GET", "remote=127.0.0.1:"} {
		assert.Contains(t, s.log.String(), want)
	}
}

func TestAPageOfATrustedOriginMayRead(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, func(o *options) {
			hijack(o)
			o.Origins = []string{"https://example.org"}
		})
		res := s.get("chat=c&device=1", "Origin", "https://example.org", "Sec-Fetch-Site", "cross-site")
		assert.Equal(t, http.StatusOK, res.StatusCode)
		assert.Equal(t, "https://example.org", res.Header.Get("Access-Control-Allow-Origin"))
		assert.Equal(t, "Origin", res.Header.Get("Vary"))
		assert.Empty(t, s.get("chat=c&device=2").Header.Get("Access-Control-Allow-Origin"))
	})
}

// Promise 90.
func TestNewListsEveryBadOption(t *testing.T) {
	_, err := broadcastsse.New[string](nil, options{
		Retry: -1, Ping: -1, WriteTimeout: -1, Pace: -1, BatchBytes: -1, SendBuffer: -1, Replay: -1,
		Origins: []string{"example.com"}, Hosts: []string{"http://x"},
	})
	require.ErrorIs(t, err, broadcast.ErrInvalid)
	for _, want := range []string{
		"broker", "Admit", "Retry", "Ping", "WriteTimeout", "Pace", "BatchBytes", "SendBuffer", "Replay", "Origins", "Hosts",
	} {
		assert.Contains(t, err.Error(), want)
	}
}

// Promise 90.
func TestAnObserverThatPanicsEndsNothing(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		s := start(t, func(o *options) {
			hijack(o)
			closed := o.Observe.Closed
			o.Observe = broadcastsse.Observer{
				Opened:  func() { panic("of Opened") },
				Refused: func(int) { panic("of Refused") },
				Batch:   func(int, int) { panic("of Batch") },
				Closed: func(reason error) {
					closed(reason)
					panic("of Closed")
				},
			}
		})
		c := s.dial("1")
		assert.Equal(t, http.StatusBadRequest, s.get("chat=").StatusCode)
		s.publish("a")
		assert.Equal(t, []string{"a"}, c.messages(1))
		require.NoError(t, s.server.Drain(context.Background()))
		_, d := c.ended()
		assert.Equal(t, 1001, d.Code)
		require.ErrorIs(t, s.reason(), broadcastsse.ErrDrained)
		for _, want := range []string{"Opened", "Refused", "Batch", "Closed", "method=GET path=/ remote=127.0.0.1:"} {
			assert.Contains(t, s.log.String(), want)
		}
	})
}

// Promise 81.
func TestATicketIsToldOfItsEndOnce(t *testing.T) {
	both(t, func(t *testing.T, hijack func(*options)) {
		var ended atomic.Int64
		s := start(t, func(o *options) {
			hijack(o)
			o.Admit = func(r *http.Request) (broadcastsse.Ticket, error) {
				ticket, err := admit(r)
				if ticket.Chat == "forbidden" {
					return ticket, errTest
				}
				ticket.Ended = func() { ended.Add(1) }
				return ticket, err
			}
		}, broadcast.WithMaxSubscribers(1))
		c := s.dial("1")
		require.Zero(t, ended.Load())
		require.Equal(t, http.StatusServiceUnavailable, s.get("chat=c&device=2").StatusCode, "no room")
		require.EqualValues(t, 1, ended.Load())
		require.Equal(t, http.StatusBadRequest, s.get("chat=&device=2").StatusCode, "no name")
		require.EqualValues(t, 2, ended.Load())
		require.Equal(t, http.StatusInternalServerError, s.get("chat=forbidden").StatusCode)
		require.EqualValues(t, 2, ended.Load())
		_ = c.res.Body.Close()
		require.ErrorIs(t, s.reason(), broadcastsse.ErrLeft)
		require.NoError(t, s.server.Drain(context.Background()))
		require.EqualValues(t, 3, ended.Load())
	})
}

// Promise 90: what is wrong with a name may be the client's fault, with an option only the
// service's.
func TestABadOptionOfATicketIsAnsweredWith500AndLogged(t *testing.T) {
	s := start(t, func(o *options) {
		o.Admit = func(r *http.Request) (broadcastsse.Ticket, error) {
			ticket, err := admit(r)
			ticket.Subscribe = []broadcast.SubscribeOption{broadcast.WithBuffer(-1)}
			return ticket, err
		}
	})
	for _, query := range []string{"chat=", "chat=c&device=%ff", "chat=" + strings.Repeat("x", 257)} {
		assert.Equal(t, http.StatusBadRequest, s.get(query).StatusCode, query)
	}
	assert.Empty(t, s.log.String())
	res := s.get("chat=c&device=1")
	assert.Equal(t, http.StatusInternalServerError, res.StatusCode)
	assert.Contains(t, s.log.String(), "level=ERROR")
	assert.Contains(t, s.log.String(), "buffer -1")
	body, err := io.ReadAll(res.Body)
	require.NoError(t, err)
	assert.Equal(t, "Internal Server Error\n", string(body))
}

// Promise 89.
func TestAnAdmitThatHangsHoldsUpNoDrainAndIsRefusedAfterIt(t *testing.T) {
	asked, answer := make(chan struct{}), make(chan struct{})
	var ended atomic.Int64
	s := start(t, func(o *options) {
		o.Admit = func(r *http.Request) (broadcastsse.Ticket, error) {
			close(asked)
			<-answer
			ticket, err := admit(r)
			ticket.Ended = func() { ended.Add(1) }
			return ticket, err
		}
	})
	status := make(chan int, 1)
	go func() { status <- s.get("chat=c&device=1").StatusCode }()
	<-asked
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	require.NoError(t, s.server.Drain(ctx))
	close(answer)
	assert.Equal(t, http.StatusServiceUnavailable, <-status)
	assert.EqualValues(t, 1, ended.Load())
	assert.Zero(t, s.broker.Stats().Subscribers)
}

// Promise 82.
func TestWhatIsNotUTF8IsNotSent(t *testing.T) {
	s := start(t, func(o *options) {
		o.Encode = func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) { return append(dst, d.Message...), nil }
		o.Event = func(dst []byte, e broadcastsse.Event) []byte {
			if e.Kind == broadcastsse.Missed {
				return append(dst, 0xff)
			}
			return broadcastsse.AppendEvent(dst, e)
		}
	})
	c := s.dial("1")
	s.publish("a\xff", "b")
	missed := c.next()
	assert.Equal(t, "missed", missed.name)
	assert.EqualValues(t, 1, missed.decoded(t).Missed, "in JSON, in place of what Event has returned")
	assert.Equal(t, "b", c.next().data)
	assert.Contains(t, s.log.String(), "Encode failed")
	assert.Contains(t, s.log.String(), "Event failed")
}

// An EventSource gives up after a status other than 200.
//
// Promise 88.
func TestAnEventSourceThatIsRefusedForNowIsAskedToReturn(t *testing.T) {
	var statuses []int
	s := start(t, func(o *options) {
		o.Origins = []string{"https://example.org"}
		o.Observe.Refused = func(status int) { statuses = append(statuses, status) }
		o.Admit = func(r *http.Request) (broadcastsse.Ticket, error) {
			switch ticket, err := admit(r); ticket.Chat {
			case "later":
				return ticket, &broadcastsse.Refusal{Status: 429, Text: "slowly,\n\ndata: please", RetryAfter: time.Second}
			case "soon":
				return ticket, &broadcastsse.Refusal{Status: 429, RetryAfter: time.Microsecond}
			case "never":
				return ticket, &broadcastsse.Refusal{Status: 403}
			default:
				return ticket, err
			}
		}
	}, broadcast.WithMaxChats(1))
	s.dial("1")
	asks := func(chat string) (retry int, rest string) {
		res := s.get("chat="+chat, "Accept", "text/event-stream", "Origin", "https://example.org")
		require.Equal(t, http.StatusOK, res.StatusCode)
		assert.Equal(t, "text/event-stream", res.Header.Get("Content-Type"))
		assert.Equal(t, "https://example.org", res.Header.Get("Access-Control-Allow-Origin"))
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		first, rest, _ := strings.Cut(string(body), "\n")
		retry, err = strconv.Atoi(strings.TrimPrefix(first, "retry: "))
		require.NoError(t, err)
		return retry, rest
	}
	retry, rest := asks("later")
	assert.GreaterOrEqual(t, retry, 1000)
	assert.Less(t, retry, 2000)
	assert.Equal(t, ": slowly,\n: \n: data: please\n\n", rest)
	retry, _ = asks("soon")
	assert.GreaterOrEqual(t, retry, 1000)
	_, rest = asks("full")
	assert.Equal(t, ": there is no room for another one\n\n", rest)
	assert.Equal(t, 403, s.get("chat=never", "Accept", "text/event-stream").StatusCode)
	assert.Equal(t, 429, s.get("chat=later").StatusCode, "somebody else")
	require.NoError(t, s.server.Drain(context.Background()))
	retry, rest = asks("c")
	assert.GreaterOrEqual(t, retry, 5000)
	assert.Equal(t, ": the server is shutting down\n\n", rest)
	assert.Equal(t, 503, s.get("chat=c").StatusCode)
	assert.Equal(t, []int{429, 429, 503, 403, 429, 503, 503}, statuses)
}
