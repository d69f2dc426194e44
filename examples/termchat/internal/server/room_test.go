package server

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

func TestEverybodyInARoomHearsWhatIsSaidThereInTheSameOrder(t *testing.T) {
	s := start(t, nil)
	ann, bob, other := s.person("general", "ann"), s.person("general", "bob"), s.person("other", "carl")
	for i := range 20 {
		ann.says(fmt.Sprint("ann ", i))
		bob.says(fmt.Sprint("bob ", i))
	}
	heard := ann.hears(40)
	assert.Equal(t, heard, bob.hears(40))
	assert.Equal(t, []string{"ann 0", "bob 0", "ann 1"}, heard[:3])

	other.says("alone")
	assert.Equal(t, []string{"alone"}, other.hears(1))
}

func TestAMessageCarriesWhoWroteItAndWhenAsTheServerKnowsIt(t *testing.T) {
	s := start(t, nil)
	ann, _ := s.enter("general", "ann")
	before := time.Now().Add(-time.Second)
	ann.send("hi")
	f := ann.until("")
	assert.Equal(t, "ann", f.Message.Name)
	assert.Equal(t, "hi", f.Message.Text)
	assert.WithinRange(t, f.Message.At, before, time.Now().Add(time.Second))
	assert.NotEmpty(t, f.Position)
}

func TestEachPostIsAnsweredInTurn(t *testing.T) {
	s := start(t, nil)
	ann, _ := s.enter("general", "ann")
	for _, text := range []string{"hi", " ", "ho", "\u200b"} {
		ann.send(text)
	}
	var answers []broadcastws.Kind
	for len(answers) < 4 {
		if f := ann.next(); f.Event == wire.Accepted || f.Event == wire.Refused {
			answers = append(answers, f.Event)
			assert.Equal(t, f.Event == wire.Refused, strings.Contains(f.Reason, "empty"))
		}
	}
	assert.Equal(t, []broadcastws.Kind{wire.Accepted, wire.Refused, wire.Accepted, wire.Refused}, answers)
}

func TestComingsAndGoingsAreToldInOrderWithTheMessages(t *testing.T) {
	s := start(t, nil)
	ann := s.person("general", "ann")
	assert.Equal(t, []string{"ann"}, ann.until(client.Members).Members)

	bob := s.person("general", "bob")
	assert.Equal(t, []string{"ann", "bob"}, bob.until(client.Members).Members)
	bob.says("hello")
	require.NoError(t, bob.Close())
	exampletest.Soon(t, "bob has left", func() bool { return len(s.server.broker.Devices("general")) == 1 })
	ann.says("bye")

	kinds := []client.EventKind{}
	for range 4 {
		e := ann.until(client.Joined, client.Message, client.Left)
		kinds = append(kinds, e.Kind)
	}
	assert.Equal(t, []client.EventKind{client.Joined, client.Message, client.Left, client.Message}, kinds)
}

func TestWhoComesBackWithinTheGraceHasNotLeft(t *testing.T) {
	s := start(t, func(c *Config) { c.LeaveGrace = within })
	ann := s.person("general", "ann")
	relay := s.relay()
	bob := newPerson(t, relay.addr(), "general", "bob")
	assert.Equal(t, "bob", ann.until(client.Joined).Name)
	for range 3 {
		relay.cut()
		bob.state(client.Offline)
		bob.state(client.Online)
	}
	bob.says("still here")
	e := ann.until(client.Message, client.Joined, client.Left)
	assert.Equal(t, client.Message, e.Kind, "a reconnection is not told")
}

func TestWhoComesGetsTheLastMessagesAndThenTheNewOnes(t *testing.T) {
	s := start(t, func(c *Config) { c.Replay = 3 })
	ann := s.person("general", "ann")
	for i := range 5 {
		ann.says(fmt.Sprint(i))
	}
	bob := s.person("general", "bob")
	ann.says("5")
	assert.Equal(t, []string{"2", "3", "4", "5"}, bob.hears(4))
}

func TestWhoChangesRoomsHearsTheNewOneOnly(t *testing.T) {
	s := start(t, nil)
	ann, bob := s.person("general", "ann"), s.person("other", "bob")
	bob.says("before")
	require.NoError(t, ann.Join(context.Background(), "other"))
	assert.Equal(t, "other", ann.Room())
	assert.Equal(t, "ann", bob.until(client.Joined).Name)
	assert.Equal(t, []string{"before"}, ann.hears(1), "with what was said before")
	ann.says("after")
	assert.Equal(t, []string{"after"}, bob.hears(1))
	exampletest.Soon(t, "the first room is empty", func() bool { return len(s.server.broker.Chats()) == 1 })
}

func TestARoomThatCannotExistIsNotJoined(t *testing.T) {
	s := start(t, nil)
	ann := s.person("general", "ann")
	require.Error(t, ann.Join(context.Background(), ""))
	require.Error(t, ann.Join(context.Background(), "a\x1bb"))
	assert.Equal(t, "general", ann.Room())
	ann.says("still here")
	assert.Equal(t, []string{"still here"}, ann.hears(1))
}

func TestAnEmptyRoomIsForgottenWithItsHistory(t *testing.T) {
	s := start(t, func(c *Config) { c.HistoryAge, c.RoomIdle = time.Millisecond, time.Millisecond })
	ann := s.person("general", "ann")
	ann.says("soon forgotten")
	require.NoError(t, ann.Close())
	exampletest.Soon(t, "the room is gone", func() bool { return s.server.broker.Stats().Chats == 0 })
}

func TestTheLaterOfTwoWithOneNameReplacesTheEarlierForGood(t *testing.T) {
	s := start(t, nil)
	watcher := s.person("general", "watcher")
	first := s.person("general", "ann")
	assert.Equal(t, "ann", watcher.until(client.Joined).Name)
	second := s.person("general", "ann")

	end := first.state(client.Closed)
	require.ErrorIs(t, end.Err, client.ErrReplaced)
	_, more := first.next()
	assert.False(t, more, "the first does not come back")
	require.ErrorIs(t, first.Send(context.Background(), "hello"), client.ErrReplaced)
	require.ErrorIs(t, first.Join(context.Background(), "other"), client.ErrReplaced)

	second.says("I am ann")
	e := watcher.until(client.Joined, client.Left, client.Message)
	assert.Equal(t, client.Message, e.Kind, "a takeover is neither a leave nor a join")
	assert.Equal(t, uint64(1), s.server.broker.Stats().Replaced)
}

func TestTheReplacedOneIsClosedWith4001(t *testing.T) {
	s := start(t, nil)
	first, _ := s.enter("general", "ann")
	s.enter("general", "ann")
	closing, _ := first.closed()
	assert.Equal(t, wire.StatusReplaced, closing.Code)
	assert.Contains(t, closing.Reason, "replaced")
}

func TestTheBytesOfAllHistoriesAreBounded(t *testing.T) {
	s := start(t, func(c *Config) { c.MaxRooms, c.HistoryBytes = 10, 10*3*wire.MaxText })
	ann, _ := s.enter("general", "ann")
	for i := range 5 {
		ann.send(fmt.Sprint(i))
		ann.message()
	}
	bob, _ := s.enter("general", "bob")
	assert.Equal(t, "2", bob.message().Text, "the room keeps more than its share")
}
