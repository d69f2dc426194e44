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
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

// slowly sets up a server for clients that do not read: little fits in a connection, and nothing but the test ends one.
func slowly(c *Config) {
	c.SendBuffer = 4 << 10
	c.WriteTimeout = 2 * within
	c.DrainTimeout = 2 * within
}

// big is a text that fills buffers.
func big(i int) string { return fmt.Sprintf("%06d%s", i, strings.Repeat("x", post.MaxText-6)) }

// sayBig posts numbered big texts until a condition is true, and returns how many.
func (s *service) sayBig(what string, until func() bool) (posted int) {
	s.T.Helper()
	exampletest.Soon(s.T, what, func() bool {
		s.mustSay(1, big(posted))
		posted++
		return until()
	})
	return posted
}

func TestASlowConsumerIsToldAfterWhatItHadAndLosesNothingByComingBack(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Buffer = 4
	})
	healthy, slow := s.watch(1, 1), s.watch(1, 2)
	said := 0
	posted := s.sayBig("the slow client is disconnected", func() bool {
		healthy.mustGet(big(said))
		said++
		return s.broker.Stats().Disconnected == 1
	})
	events := slow.rest()
	farewell := events[len(events)-1]
	require.Equal(t, eventSlow, farewell.name)
	assert.Contains(t, slow.notice(farewell).Reason, "slow")
	events = events[:len(events)-1]
	assert.NotEmpty(t, events)
	slow = s.resume(1, 2, slow.last)
	for len(events) < posted {
		events = append(events, slow.next())
	}
	for i, e := range events {
		require.Equal(t, "message", e.name)
		require.Equal(t, big(i), e.text())
	}
}

func TestWhatADroppingStreamMissedIsToldBeforeTheNextMessage(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Buffer, c.Sampling = 4, broadcast.DropOldest
	})
	slow := s.watch(1, 1)
	posted := s.sayBig("the slow client misses something", func() bool { return s.broker.Stats().Missed > 0 })
	s.mustSay(1, big(posted))
	var missed uint64
	for next := 0; next <= posted; next++ {
		e := slow.next()
		if e.name == eventMissed {
			n := slow.notice(e).Missed
			require.NotZero(t, n)
			next += int(n)
			missed += n
			e = slow.next()
		}
		require.Equal(t, "message", e.name)
		require.Equal(t, big(next), e.text(), "what was told is exactly the hole")
	}
	assert.NotZero(t, missed)
	assert.Equal(t, s.broker.Stats().Missed, missed)
}

func TestAClientThatStopsReadingIsCutAfterTheWriteDeadlineWhileOthersGoOn(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.WriteTimeout = 300 * time.Millisecond
		c.Sampling = broadcast.DropOldest
	})
	healthy, stuck := s.watch(1, 1), s.watch(1, 2)
	said := 0
	s.sayBig("the stuck client is cut", func() bool {
		healthy.mustGet(big(said))
		said++
		return len(s.broker.Devices("1")) == 1
	})
	stuck.cut()
	s.mustSay(1, "after")
	healthy.mustGet("after")
}

func TestAnOverloadedChatIsAnswered503WithRetryAfterAndTheMessageIsNotAccepted(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Sampling, c.Buffer, c.PublishTimeout = broadcast.Block, 2, 100*time.Millisecond
	})
	stuck := s.watch(1, 1)
	var refused exampletest.Answer
	accepted := 0
	exampletest.Soon(t, "the chat is overloaded", func() bool {
		if refused = s.say(1, big(accepted)); refused.Status == http.StatusAccepted {
			accepted++
			return false
		}
		return true
	})
	assert.Equal(t, http.StatusServiceUnavailable, refused.Status)
	assert.NotEmpty(t, refused.Header.Get("Retry-After"))
	assert.Contains(t, refused.Error, "not accepted")
	for i := range accepted {
		stuck.mustGet(big(i))
	}
	s.mustSay(1, "after")
	stuck.mustGet("after")
}

func TestTheKernelHidesOnlyAFewMessagesFromTheBuffer(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.SendBuffer = DefaultConfig().SendBuffer
		c.WriteTimeout = 500 * time.Millisecond
		c.Buffer = 2000
	})
	stuck := s.watch(1, 1)
	for i := range s.cfg.Buffer {
		require.NoError(t, s.broker.Publish(t.Context(), "1", newMessage(post.Message{Text: big(i), By: 1, Chat: 1}, time.Now())))
	}
	exampletest.Soon(t, "the stuck client is cut", func() bool { return s.broker.Stats().Subscribers == 0 })
	assert.Less(t, s.broker.Stats().Delivered, uint64(200))
	stuck.cut()
}
