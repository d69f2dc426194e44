package main

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
)

func TestTheFirstFrameSaysWhereTheSocketBeginsAndWhoIsThere(t *testing.T) {
	s := start(t, nil)
	s.watch(1, 10)
	e := s.watch(1, 9).event()
	assert.NotEmpty(t, e.Position)
	e.Position = ""
	assert.Equal(t, event{Event: eventReady, Chat: 1, Devices: []int{9, 10}}, e)
}

func TestANewcomerBeginsWithTheLastMessages(t *testing.T) {
	s := start(t, func(c *Config) { c.Replay = 3 })
	for i := range 5 {
		s.MustSay(fmt.Sprint(i), 7, 1)
	}
	w := s.watch(1, 2)
	s.MustSay("live", 7, 1)
	assert.Equal(t, []string{"ready[2]", "2", "3", "4", "live"}, w.told(5))
}

func TestWithoutHistoryANewcomerBeginsNow(t *testing.T) {
	s := start(t, func(c *Config) { c.History = 0 })
	s.MustSay("before", 7, 1)
	w := s.watch(1, 2)
	s.MustSay("live", 7, 1)
	assert.Equal(t, []string{"ready[2]", "live"}, w.told(2))
}

func TestAMessageThatIsTooOldIsNotKept(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.HistoryAge = 50 * time.Millisecond })
	s.MustSay("old", 7, 1)
	tries := 0
	exampletest.Soon(t, "the message is too old", func() bool {
		time.Sleep(2 * s.cfg.HistoryAge)
		w := s.watch(1, 2)
		tries++
		s.MustSay(fmt.Sprint(tries), 7, 1)
		texts := w.told(2)
		_ = w.conn.CloseNow()
		return slices.Equal([]string{"ready[2]", fmt.Sprint(tries)}, texts)
	})
}

func TestASocketThatBrokeResumesWithoutLossAndWithoutRepetition(t *testing.T) {
	const messages = 300
	s := start(t, func(c *Config) { c.History, c.Replay = messages, messages }) // the posts may be ahead of the first connection
	var posting sync.WaitGroup
	posting.Go(func() {
		for i := range messages {
			assert.Equal(t, http.StatusAccepted, s.Say(fmt.Sprint(i), 7, 1).Status)
		}
	})
	position := ""
	for got, connection := 0, 0; got < messages; connection++ {
		c := s.rawAfter(1, 2, position)
		e := c.ready()
		require.Equal(t, connection > 0, e.Recovered)
		require.Zero(t, e.Missed)
		position = e.Position // the connection may break before there is any message
		for range min(connection%3*7, messages-got) {
			f := c.next()
			require.Equal(t, fmt.Sprint(got), f.Text)
			require.Equal(t, uint64(got+1), f.Seq)
			require.Zero(t, f.Missed)
			position = f.Position
			got++
		}
		c.reset()
	}
	posting.Wait()
}

func TestASlowClientThatIsDisconnectedResumesWithoutLoss(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) {
		slowly(c)
		c.Sampling, c.Buffer = broadcast.Disconnect, 4
	})
	slow := s.raw(1, 2)
	posted := 0
	exampletest.Soon(t, "the slow client is disconnected", func() bool {
		s.MustSay(big, 7, 1)
		posted++
		return s.broker.Stats().Disconnected == 1
	})
	s.MustSay("meanwhile", 7, 1)
	frames, code, _ := slow.rest()
	require.Equal(t, 1013, code)
	last := frames[len(frames)-1]
	require.Less(t, last.Seq, uint64(posted))

	w := s.resume(1, 2, last.Position)
	assert.True(t, w.event().Recovered)
	for seq := last.Seq + 1; seq <= uint64(posted+1); seq++ {
		f := w.next()
		require.Equal(t, seq, f.Seq)
		require.Zero(t, f.Missed)
	}
}

func TestWhatIsNotKeptIsCountedWhenASocketResumes(t *testing.T) {
	s := start(t, func(c *Config) { c.History = 3 })
	c := s.raw(1, 2)
	s.MustSay("0", 7, 1)
	position := c.next().Position
	c.reset()
	for i := range 10 {
		s.MustSay(fmt.Sprint(i+1), 7, 1)
	}
	for range 2 { // the first connection breaks before it has read any message
		w := s.resume(1, 2, position)
		e := w.event()
		assert.False(t, e.Recovered)
		assert.Equal(t, uint64(7), e.Missed)
		assert.Equal(t, position, e.Position)
		f := w.next()
		assert.Equal(t, "8", f.Text)
		assert.Equal(t, uint64(9), f.Seq)
		assert.Equal(t, uint64(7), f.Missed)
		assert.Equal(t, []string{"9", "10"}, w.told(2))
	}
}

func TestAPositionOfAnotherServerRunOrChatIsNotRecoveredAndBeginsAsANewcomer(t *testing.T) {
	old := start(t, nil)
	w := old.watch(1, 2)
	old.MustSay("old", 7, 1)
	position := w.next().Position

	s := start(t, nil)
	for _, chat := range []int{1, 2} {
		s.MustSay("new", 7, chat)
		w := s.resume(chat, 2, position)
		e := w.event()
		assert.False(t, e.Recovered, "the new server cannot know what was missed")
		assert.NotEqual(t, position, e.Position)
		assert.Equal(t, []string{"new"}, w.told(1))

		w = s.resume(chat, 2, e.Position)
		assert.True(t, w.event().Recovered)
		assert.Equal(t, []string{"new"}, w.told(1))
	}
}

func TestABadPositionIsAnswered400BeforeTheUpgradeAndReplacesNobody(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 2)
	s.MustSay("hello", 7, 1)
	good := w.next().Position
	for _, query := range []string{"after=7", "after=x-", "after=-", "after=%00", "after=" + good + "&after=" + good, "after=" + good + "0000000000000"} {
		_, res := s.handshake("/ws?chat=1&device=2&" + query)
		a := exampletest.Read(t, res)
		assert.Equal(t, http.StatusBadRequest, a.Status, query)
		assert.Equal(t, "after", a.Field, query)
		assert.Contains(t, a.Error, "after", query)
	}
	assert.Zero(t, s.broker.Stats().Replaced)
	_, res := s.handshake("/ws?chat=1&device=2&after=") // of a client that has none yet
	assert.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
}
