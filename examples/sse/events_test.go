package main

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestAStreamIsNeitherCachedNorBufferedAndSaysHowToComeBack(t *testing.T) {
	s := start(t, func(c *Config) { c.Retry = 3 * time.Second })
	c := s.watch(1, 2)
	assert.Equal(t, "text/event-stream", c.res.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", c.res.Header.Get("Cache-Control"))
	assert.Equal(t, "no", c.res.Header.Get("X-Accel-Buffering"))
	assert.Equal(t, "nosniff", c.res.Header.Get("X-Content-Type-Options"))
	retry, err := strconv.Atoi(c.retry)
	require.NoError(t, err)
	assert.GreaterOrEqual(t, retry, 3000)
	assert.Less(t, retry, 6000)
	assert.NotEmpty(t, c.last, "a client that has seen no message cannot resume")
}

func TestEveryLineOfATextIsOneDataLineWhicheverWayItEnds(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 2)
	for text, want := range map[string]string{
		"a\nb":                          "a\nb",
		"a\rb":                          "a\nb",
		"a\r\nb":                        "a\nb",
		"\n\na\r\r\n\nb\n":              "\n\na\n\n\nb\n",
		" a\n  b":                       " a\n  b",
		":a\nid: 1\nevent: x\nretry: 1": ":a\nid: 1\nevent: x\nretry: 1",
		"a\n\nevent: replaced\nid: replaced\ndata: {}\n\n": "a\n\nevent: replaced\nid: replaced\ndata: {}\n\n",
		"a\u2028b\u0085c\x00":                              "a\u2028b\u0085c\x00", // these end no line
	} {
		s.mustSay(1, text)
		c.mustGet(want)
		assert.NotEqual(t, idReplaced, c.last)
	}
}

func TestAQuietStreamGetsHeartbeatsAndOutlivesTheServersTimeouts(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		c.Heartbeat = 20 * time.Millisecond
		c.BodyTimeout, c.PublishTimeout, c.WriteTimeout = 200*time.Millisecond, 50*time.Millisecond, 200*time.Millisecond
	})
	c := s.watch(1, 2)
	for range 30 { // longer than all three together
		line, err := c.r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, ":\n", line)
		_, err = c.r.ReadString('\n')
		require.NoError(t, err)
	}
	s.mustSay(1, "hello")
	c.mustGet("hello")
}

func TestAClientThatLeavesIsNotPresentAnyMore(t *testing.T) {
	s := start(t, nil)
	gone, stays := s.watch(1, 2), s.watch(1, 3)
	gone.kill()
	exampletest.Soon(t, "the client has left", func() bool { return len(s.broker.Devices("1")) == 1 })
	s.mustSay(1, "hello")
	stays.mustGet("hello")
}

func TestReplayBeginsWithTheLastMessagesAndGoesOnWithLiveOnes(t *testing.T) {
	s := start(t, func(c *Config) { c.History = 6 })
	s.mustSay(1, texts(0, 5)...)
	c, first := s.open("chat=1&device=2&replay=3", "")
	assert.Equal(t, eventReady, first.name)
	c.mustGet(texts(2, 3)...)
	s.mustSay(1, "live")
	c.mustGet("live")
	few, first := s.open("chat=1&device=3&replay=2147483647", "")
	assert.Equal(t, eventReady, first.name, "nobody lost what never was")
	few.mustGet(texts(0, 5)...)
}

func TestAKilledStreamResumesExactly(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 2)
	s.mustSay(1, texts(0, 3)...)
	c.mustGet(texts(0, 2)...)
	last := c.kill()
	s.mustSay(1, texts(3, 4)...)
	c = s.resume(1, 2, last)
	c.mustGet(texts(2, 5)...)
	s.mustSay(1, "live")
	c.mustGet("live")
}

func TestAStreamKilledBeforeItsFirstMessageResumesToo(t *testing.T) {
	s := start(t, nil)
	s.mustSay(1, "before")
	last := s.watch(1, 2).kill()
	s.mustSay(1, "meanwhile")
	c := s.resume(1, 2, last)
	c.mustGet("meanwhile")
}

func TestTheHeaderOfAReconnectionCountsMoreThanTheQueryOfTheFirst(t *testing.T) {
	s := start(t, nil)
	c := s.watch(1, 2)
	early := c.last
	s.mustSay(1, texts(0, 3)...)
	c.mustGet(texts(0, 2)...)
	late := c.kill()

	query := "chat=1&device=2&replay=1&lastEventId=" + early
	c, first := s.open(query, "")
	assert.True(t, c.notice(first).Resumed)
	c.mustGet(texts(0, 3)...)
	c, first = s.open(query, late)
	assert.True(t, c.notice(first).Resumed)
	c.mustGet(texts(2, 1)...)
}

func TestHoweverOftenAStreamIsKilledNothingIsLostAndNothingComesTwice(t *testing.T) {
	const messages, clients = 300, 4
	s := start(t, nil)
	watching, seen := make([]*client, clients), make([]int, clients)
	for i := range watching {
		watching[i] = s.watch(1, i+1)
	}
	var posting sync.WaitGroup
	posting.Go(func() {
		for _, text := range texts(0, messages) {
			assert.Equal(t, http.StatusAccepted, s.say(1, text).Status)
		}
	})
	for range messages {
		for i, c := range watching {
			take := min(rand.IntN(30), messages-seen[i])
			c.mustGet(texts(seen[i], take)...)
			seen[i] += take
			if seen[i] < messages {
				watching[i] = s.resume(1, i+1, c.kill())
			}
		}
	}
	posting.Wait()
	s.mustSay(1, "the end")
	for i, c := range watching {
		require.Equal(t, messages, seen[i])
		c.mustGet("the end")
	}
}

func TestMessagesThatAreNotKeptAnyMoreAreToldByAReset(t *testing.T) {
	s := start(t, func(c *Config) { c.History = 3 })
	c := s.watch(1, 2)
	s.mustSay(1, "seen")
	c.mustGet("seen")
	last := c.kill()
	s.mustSay(1, texts(0, 10)...)
	c, first := s.open("chat=1&device=2", last)
	require.Equal(t, eventReset, first.name)
	assert.Equal(t, uint64(7), c.notice(first).Missed)
	c.mustGet(texts(7, 3)...) // and no event tells of the seven again
	s.mustSay(1, "live")
	c.mustGet("live")
	s.resume(1, 2, c.kill())
}

func TestMessagesThatHaveExpiredAreToldAtOnceAndOnce(t *testing.T) {
	s := start(t, func(c *Config) { c.HistoryAge = time.Millisecond })
	c := s.watch(1, 2)
	last := c.kill()
	s.mustSay(1, texts(0, 2)...)
	var first event
	exampletest.Soon(t, "both have expired", func() bool {
		c, first = s.open("chat=1&device=2", last)
		return c.notice(first).Missed == 2
	})
	require.Equal(t, eventReset, first.name)
	last = c.kill() // before any message: who comes back now is told the same again
	c, first = s.open("chat=1&device=2", last)
	require.Equal(t, eventReset, first.name)
	assert.Equal(t, uint64(2), c.notice(first).Missed)
	s.mustSay(1, "live")
	c.mustGet("live")
}

func TestALastEventIDThatCannotBeResumedIsAnsweredByAResetAndAllThatIsKept(t *testing.T) {
	s := start(t, nil)
	s.mustSay(1, texts(0, 3)...)
	elsewhere := s.watch(2, 2)
	own := s.watch(1, 9)
	epoch, _, _ := strings.Cut(own.last, "-")
	const foreign, malformed = "forgotten", "none of this server"
	for last, reason := range map[string]string{
		elsewhere.last:                  foreign, // of another chat
		"1z141z4-0":                     foreign, // of a log before
		epoch + "-zzz":                  foreign, // of the future
		"17":                            malformed,
		"-":                             malformed,
		"<script>":                      malformed,
		strings.Repeat("x", 4000):       malformed,
		strings.ToUpper(epoch) + "-1":   malformed,
		epoch + "-zzzzzzzzzzzzzzzzzzzz": malformed,
	} {
		c, first := s.open("chat=1&device=2", last)
		require.Equal(t, eventReset, first.name, last)
		assert.Contains(t, c.notice(first).Reason, reason, last)
		assert.Zero(t, c.notice(first).Missed, last)
		c.mustGet(texts(0, 3)...)
		s.resume(1, 2, c.kill())
	}
	c, first := s.open("chat=1&device=2&lastEventId=nonsense", "")
	require.Equal(t, eventReset, first.name)
	c.mustGet(texts(0, 3)...)
}

func TestAResumeAfterARestartIsToldByAReset(t *testing.T) {
	one := start(t, nil)
	c := one.watch(1, 2)
	one.mustSay(1, "before")
	c.mustGet("before")
	two := start(t, nil)
	two.mustSay(1, "after")
	c, first := two.open("chat=1&device=2", c.last)
	require.Equal(t, eventReset, first.name)
	c.mustGet("after")
}

func TestAReplacedStreamIsToldAndItsReconnectionIsAnswered204(t *testing.T) {
	s := start(t, nil)
	old := s.watch(1, 2)
	newer := s.watch(1, 2)
	events := old.rest()
	require.Len(t, events, 1)
	assert.Equal(t, eventReplaced, events[0].name)
	assert.Equal(t, idReplaced, old.last)

	for _, c := range []*client{
		s.request("chat=1&device=2", "Last-Event-ID: "+old.last), // as an EventSource does by itself
		s.request("chat=1&device=2&lastEventId=" + old.last),
	} {
		assert.Equal(t, http.StatusNoContent, c.res.StatusCode)
		c.kill()
	}
	s.mustSay(1, "hello")
	newer.mustGet("hello")
	assert.Equal(t, uint64(1), s.broker.Stats().Replaced)
}
