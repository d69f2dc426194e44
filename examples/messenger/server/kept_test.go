package server

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/names"
)

func TestATextIsKeptOnceAndWithoutEscapes(t *testing.T) {
	n := newNote("ann", strings.Repeat("<", maxText), "", time.Now())
	assert.Less(t, len(n.Load().Message), maxText+100)
	name := strings.Repeat("\U0010ffff", names.Max)
	n = newNote(name, strings.Repeat(`"`, maxText), name+"\n"+strings.Repeat("k", 64), time.Now())
	assert.Less(t, len(n.Load().Message)+len(n.Load().Post), maxNote)
}

func TestTheBytesOfAllHistoriesAreBoundedAndTheOldestTextsGoFirst(t *testing.T) {
	s := start(t, func(c *Config) { c.HistoryBytes = maxBody })
	big := strings.Repeat("<", maxText)
	for chat := range 10 {
		for range 5 {
			s.mustSay("ann", fmt.Sprint("chat ", chat), big)
		}
	}
	assert.Equal(t, maxBody/maxNote, s.kept.Len())
	w := s.watch("bob", "chat 0", "")
	assert.Equal(t, []string{"ready[bob/1]", "null", "null"}, w.told(3))
	w = s.watch("bob", "chat 9", "")
	assert.Equal(t, []string{"ready[bob/1]", big, big}, w.told(3))
}

func TestChatsThatNobodyWatchesLeaveBeforeNewOnesAreRefused(t *testing.T) {
	const most = 10
	s := start(t, func(c *Config) { c.MaxChats = most })
	watched := s.watch("ann", "watched", "")
	watched.next()
	for i := range 5 * most {
		s.mustSay("bob", fmt.Sprint("chat ", i), "hello")
	}
	s.mustSay("bob", "watched", "still here")
	assert.Equal(t, []string{"still here"}, watched.told(1))
	for i := range 5 * most {
		s.watch("ann", fmt.Sprint("empty ", i), "").conn.CloseNow()
		exampletest.Soon(t, "the socket is closed", func() bool { return s.broker.Stats().Subscribers == 1 })
	}
	w := s.watch("ann", fmt.Sprint("chat ", 5*most-1), "")
	w.next()
}

func TestANewChatIsRefusedWithRetryAfterWhenAllAreWatched(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxChats = 2 })
	s.watch("ann", "one", "").next()
	s.watch("ann", "two", "").next()
	a := s.say("bob", "three", "hello")
	assert.Equal(t, http.StatusServiceUnavailable, a.Status)
	assert.NotEmpty(t, a.Header.Get("Retry-After"))
	_, res, err := s.dial(s.token("bob"), "three", "device=1")
	require.Error(t, err)
	assert.Equal(t, http.StatusServiceUnavailable, res.StatusCode)
	s.mustSay("bob", "two", "hello")
}
