package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

func TestComingsAndGoingsAreToldInOrderWithTheMessages(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 1)
	other := s.watch(2, 1)
	two := s.watch(1, 2)
	s.MustSay("a", 7, 1)
	three := s.raw(1, 3)
	s.MustSay("b", 7, 1)
	require.NoError(t, two.conn.Close(websocket.StatusNormalClosure, ""))
	exampletest.Soon(t, "2 has left", func() bool { return slices.Equal([]int{1, 3}, s.present(1)) })
	s.MustSay("c", 7, 1)
	three.reset()
	exampletest.Soon(t, "3 has left", func() bool { return slices.Equal([]int{1}, s.present(1)) })
	s.MustSay("d", 7, 1)
	assert.Equal(t, []string{"ready[1]", "+2", "a", "+3", "b", "-2", "c", "-3", "d"}, w.told(9))

	s.MustSay("elsewhere", 7, 2)
	assert.Equal(t, []string{"ready[1]", "elsewhere"}, other.told(2))
}

func TestAPresenceFrameNamesTheMessageThatItFollows(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 1)
	s.MustSay("a", 7, 1)
	s.watch(1, httpjson.MaxID)
	w.event()
	w.next()
	assert.Equal(t, event{Event: eventJoined, Chat: 1, Device: httpjson.MaxID, Seq: 1}, w.event())
}

func TestATakeoverIsNeitherComingNorGoing(t *testing.T) {
	s := start(t, nil)
	w := s.watch(1, 1)
	old := s.watch(1, 2)
	s.watch(1, 2)
	code, _ := old.closed()
	require.Equal(t, statusReplaced, code)
	s.MustSay("a", 7, 1)
	assert.Equal(t, []string{"ready[1]", "+2", "a"}, w.told(3))
}

func TestWhoComesBackWithinTheLeaveGraceHasNotLeft(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.LeaveGrace = within })
	w := s.watch(1, 1)
	for range 5 {
		c := s.raw(1, 2)
		c.reset()
		exampletest.Soon(t, "the socket is gone", func() bool { return s.broker.Stats().Subscribers == 1 })
		assert.Equal(t, []int{1, 2}, s.present(1), "it may come back")
	}
	s.MustSay("a", 7, 1)
	assert.Equal(t, []string{"ready[1]", "+2", "a"}, w.told(3))
}

func TestWhoDoesNotComeBackWithinTheLeaveGraceHasLeft(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.LeaveGrace = 100 * time.Millisecond })
	w := s.watch(1, 1)
	s.raw(1, 2).reset()
	assert.Equal(t, []string{"ready[1]", "+2", "-2"}, w.told(3))
	assert.Equal(t, []int{1}, s.present(1))
}

func TestAClientThatLostComingsAndGoingsIsToldWhoIsThere(t *testing.T) {
	t.Parallel()
	s := start(t, slowly)
	slow := s.raw(1, 1)
	s.fill(1, 1)
	for range 300 { // more than are kept
		sub, err := s.broker.Subscribe("1", "2")
		require.NoError(t, err)
		require.NoError(t, sub.Close())
	}
	sub, err := s.broker.Subscribe("1", "3")
	require.NoError(t, err)
	s.MustSay("last", 7, 1)

	present := map[int]bool{}
	for text, resyncs := "", 0; text != "last" || resyncs == 0; {
		_, payload, err := slow.frame()
		require.NoError(t, err)
		if !isEvent(t, payload) {
			text = parse[frame](t, payload).Text
			continue
		}
		switch e := parse[event](t, payload); e.Event {
		case eventJoined:
			present[e.Device] = true
		case eventLeft:
			delete(present, e.Device)
		case eventResync:
			resyncs++
			fallthrough
		case eventReady:
			clear(present)
			for _, device := range e.Devices {
				present[device] = true
			}
		}
	}
	assert.Equal(t, "map[1:true 3:true]", fmt.Sprint(present))
	require.NoError(t, sub.Close())
}

func TestAClientThatDoesNotAskForEventsGetsMessagesFromNowOn(t *testing.T) {
	s := start(t, nil)
	s.MustSay("before", 7, 1)
	c, res := s.handshake("/ws?chat=1&device=2")
	require.Equal(t, http.StatusSwitchingProtocols, res.StatusCode)
	s.watch(1, 3)
	s.MustSay("after", 7, 1)
	opcode, payload, err := c.frame()
	require.NoError(t, err)
	require.Equal(t, byte(opText), opcode)
	first := parse[frame](t, payload)
	assert.Equal(t, "after", first.Text)
	c.reset()
	s.MustSay("meanwhile", 7, 1)
	c, _ = s.handshake("/ws?chat=1&device=2&after=" + first.Position)
	_, payload, err = c.frame()
	require.NoError(t, err)
	assert.Equal(t, "meanwhile", parse[frame](t, payload).Text)
	for _, query := range []string{"events=", "events=yes", "events=1&events=1"} {
		_, res := s.handshake("/ws?chat=1&device=2&" + query)
		assert.Equal(t, http.StatusBadRequest, res.StatusCode, query)
	}
}
