package main

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/post"
)

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
