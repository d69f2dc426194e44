package server

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/internal/exampletest"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/client"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

func TestAConnectionThatIsCutAgainAndAgainLosesAndRepeatsNothing(t *testing.T) {
	s := start(t, nil)
	relay := s.relay()
	ann, bob := s.person("general", "ann"), newPerson(t, relay.addr(), "general", "bob")
	ignore(ann)
	const n = 300
	go func() {
		for i := range n {
			if i%30 == 0 {
				relay.cut()
			}
			_ = ann.Send(context.Background(), fmt.Sprint(i)) // counted below
		}
	}()
	for i, text := range bob.hears(n) {
		require.Equal(t, fmt.Sprint(i), text)
	}
}

func TestWhatWasSaidWhileTheNetworkWasDownIsHeardAfterwards(t *testing.T) {
	s := start(t, nil)
	relay := s.relay()
	ann, bob := s.person("general", "ann"), newPerson(t, relay.addr(), "general", "bob")
	relay.fail(true)
	offline := bob.state(client.Offline)
	require.Error(t, offline.Err)
	assert.Positive(t, offline.Retry)
	ann.says("one")
	ann.says("two")
	relay.fail(false)
	bob.state(client.Online)
	assert.Equal(t, []string{"ann", "bob"}, bob.until(client.Members).Members, "who is there is told anew")
	assert.Equal(t, []string{"one", "two"}, bob.hears(2))
}

func TestWhatIsNotKeptAnyMoreShowsAsANumber(t *testing.T) {
	s := start(t, func(c *Config) { c.HistoryBytes = 3 * c.MaxRooms * wire.MaxText })
	relay := s.relay()
	ann, bob := s.person("general", "ann"), newPerson(t, relay.addr(), "general", "bob")
	ann.says("heard")
	bob.hears(1)
	relay.fail(true)
	bob.state(client.Offline)
	for i := range 10 {
		ann.says(fmt.Sprint(i))
	}
	relay.fail(false)
	assert.Equal(t, uint64(7), bob.until(client.Missed, client.Message).Missed)
	assert.Equal(t, []string{"7", "8", "9"}, bob.hears(3), "and not told twice")
}

func TestAServerThatBeganAnewIsNoticedAndItsMessagesAreHeard(t *testing.T) {
	s := begin(t, context.Background(), nil)
	ann := newPerson(t, s.Addr(), "general", "ann")
	ann.says("old")
	ann.hears(1)
	require.NoError(t, s.Stop(exampletest.Deadline(t)))
	assert.ErrorIs(t, ann.state(client.Offline).Err, client.ErrStopping)

	ln, err := net.Listen("tcp", s.Addr())
	require.NoError(t, err)
	again := startOn(t, ln, nil)
	require.Equal(t, s.Addr(), again.Addr())
	ann.state(client.Online)
	assert.Contains(t, ann.until(client.Notice).Text, "begun anew")
	ann.says("new")
	assert.Equal(t, []string{"new"}, ann.hears(1))
}

func TestTheFirstFrameSaysWhatBecameOfAPosition(t *testing.T) {
	s := start(t, func(c *Config) { c.HistoryBytes = 2 * c.MaxRooms * wire.MaxText })
	ann, first := s.enter("general", "ann")
	assert.Equal(t, broadcastws.Ready, first.Event)
	assert.False(t, first.Recovered)
	places := []string{}
	for range 3 {
		ann.send("hi")
		places = append(places, ann.until("").Position)
	}
	_, all := s.enter("general", "bob", "after", first.Position)
	assert.Equal(t, broadcastws.Reset, all.Event)
	assert.Equal(t, uint64(1), all.Missed)

	bob, _ := s.enter("general", "bob", "after", places[0])
	assert.Equal(t, "hi", bob.message().Text)
	last := bob.until("").Position
	_, none := s.enter("general", "bob", "after", last)
	assert.True(t, none.Recovered)

	for _, unknown := range []string{last, "x"} {
		_, foreign := s.enter("other", "bob", "after", unknown)
		assert.Equal(t, broadcastws.Reset, foreign.Event)
		assert.Zero(t, foreign.Missed)
	}
}

// patiently makes a server that cuts off who is behind, but not who only takes long: the machine
// may be busy.
func patiently(c *Config) { c.WriteTimeout, c.PingInterval = within, time.Hour }

// flood posts big messages until stop says so.
func flood(p *person, stop func() bool) (n int) {
	p.t.Helper()
	for ; !stop(); n++ {
		require.Less(p.t, n, 5000, "nobody is cut off")
		p.says(fmt.Sprintf("%06d %s", n, big[:2000]))
	}
	return n
}

// ignore reads the events of somebody in the background, for whom a flood is too much to look at.
func ignore(p *person) {
	go func() {
		for range p.Events() {
		}
	}()
}

func TestAClientThatDoesNotReadIsCutOffWith1013AndCostsTheOthersNothing(t *testing.T) {
	s := start(t, patiently)
	ann := s.person("general", "ann")
	ignore(ann)
	stuck, first := s.enter("general", "bob")
	n := flood(ann, func() bool { return s.server.broker.Stats().Disconnected > 0 })

	closing, frames := stuck.closed() // it reads again within the deadline of a write
	assert.Equal(t, websocket.StatusTryAgainLater, closing.Code)
	assert.Contains(t, closing.Reason, "too slow")
	require.NotEmpty(t, frames)
	place := first.Position
	got := 0
	for _, f := range frames {
		if f.Message != nil {
			require.Equal(t, fmt.Sprintf("%06d", got), f.Message.Text[:6])
			place = f.Position
			got++
		}
	}
	assert.GreaterOrEqual(t, got, 256, "what was buffered is delivered before the end")
	back, first := s.enter("general", "bob", "after", place)
	require.True(t, first.Recovered)
	for ; got < n; got++ {
		require.Equal(t, fmt.Sprintf("%06d", got), back.message().Text[:6])
	}
}

// Whether the server can tell bob depends on how much of a frame the kernel took.
func TestAClientThatIsCutOffInAWriteKnowsThatItWasSlow(t *testing.T) {
	s := start(t, func(c *Config) { c.WriteTimeout = 300 * time.Millisecond })
	ann, bob := s.person("general", "ann"), s.person("general", "bob") // whose events are not read from here on
	ignore(ann)
	flood(ann, func() bool { return len(s.server.broker.Devices("general")) == 1 })
	time.Sleep(2 * time.Second) // on the real clock: until what is on its way to bob has timed out
	require.ErrorIs(t, bob.state(client.Offline).Err, client.ErrSlow)
	bob.state(client.Online)
}

func TestASlowClientComesBackByItselfWithNothingLost(t *testing.T) {
	s := start(t, func(c *Config) {
		patiently(c)
		c.MaxRooms, c.HistoryBytes = 1, 10_000*wire.MaxText
	})
	ann, bob := s.person("general", "ann"), s.person("general", "bob")
	ignore(ann)
	n := flood(ann, func() bool { return s.server.broker.Stats().Disconnected > 0 }) // bob's events are not read meanwhile
	told := false
	for i := 0; i < n; {
		switch e := bob.until(client.Message, client.Missed, client.StateChanged); e.Kind {
		case client.Message:
			require.Equal(t, fmt.Sprintf("%06d", i), e.Text[:6])
			i++
		case client.Missed:
			require.Fail(t, "missed", "%d after %d", e.Missed, i)
		case client.StateChanged:
			if e.State == client.Offline {
				told = told || assert.ErrorIs(t, e.Err, client.ErrSlow)
			}
		}
	}
	if !told { // it may have got everything before the end of its connection
		assert.ErrorIs(t, bob.state(client.Offline).Err, client.ErrSlow)
	}
}

func TestAClientThatAnswersNoPingIsCutOff(t *testing.T) {
	s := start(t, func(c *Config) {
		c.PingInterval, c.WriteTimeout, c.CloseTimeout = 20*time.Millisecond, 20*time.Millisecond, 20*time.Millisecond
	})
	stopped, _ := s.enter("general", "bob") // pings are answered while somebody reads
	exampletest.Soon(t, "bob is cut off", func() bool { return len(s.server.broker.Devices("general")) == 0 })
	var err error
	for err == nil {
		_, err = stopped.read()
	}
	require.Equal(t, websocket.StatusCode(-1), websocket.CloseStatus(err), "whoever has stopped is not told")
}

func TestAClientThatHearsNothingFromTheServerComesBack(t *testing.T) {
	s := start(t, func(c *Config) { c.PingInterval = time.Hour })
	c, err := client.New(client.Options{
		Addr: s.Addr(), Room: "general", Name: "ann",
		MinBackoff: time.Millisecond, Idle: 50 * time.Millisecond,
	})
	require.NoError(t, err)
	defer c.Close()
	ann := &person{c, t}
	ann.state(client.Online)
	require.Error(t, ann.state(client.Offline).Err)
	ann.state(client.Online)
}
