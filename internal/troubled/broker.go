// Package troubled makes a broker to which an engine has done all that the figures of
// [broadcast.EngineStats] count. The packages that show these figures are tested with it.
package troubled

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/cluster/memengine"
)

// What has happened to the broker. The numbers differ, so that a figure in the place of another is
// noticed.
const (
	Peers      = 2
	ChatResets = 3 // of chat 7
	AllResets  = 4 // of all chats with subscribers
	Resets     = 5 // of all chats, also of one that the broker has only published to
	Gaps       = 6
	Conflicts  = 7
	Uncertain  = 8
	Lost       = 9

	// Fetched counts the two records of each gap, those that are left of the gap in which others
	// are lost, and the record of each conflict.
	Fetched = 2*(Gaps-1) + keep + Conflicts
)

// keep is how many records of a chat the engine keeps.
const keep = 4

// Broker returns the broker, and a function that cuts its connection with the engine. The broker is
// closed when the test ends. Broker must be called in a bubble of testing/synctest; it and cut let
// time pass there.
func Broker(t testing.TB) (b *broadcast.Broker[int], cut func()) {
	t.Helper()
	e := memengine.New(1, time.Millisecond, keep)
	client := e.Client()
	s := &system{t: t, engine: e, broker: start(t, client)}
	s.other = start(t, e.Client())
	start(t, e.Client())
	s.reset()
	s.skip(Gaps - 1)
	s.lose()
	s.conflict()
	s.leaveUncertain()
	return s.broker, func() {
		client.Cut()
		settle()
	}
}

// start returns a broker of an engine.
func start(t testing.TB, client *memengine.Client) *broadcast.Broker[int] {
	t.Helper()
	b, err := broadcast.New[int](broadcast.WithEngine(client))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// A system is a broker to which something is done.
type system struct {
	t      testing.TB
	engine *memengine.Engine
	broker *broadcast.Broker[int]
	other  *broadcast.Broker[int]
}

// settle waits until all has been handed over, and the checks that follow a reconnection are over.
func settle() { time.Sleep(time.Second) }

// publish publishes some messages.
func (s *system) publish(b *broadcast.Broker[int], chat string, n int) {
	s.t.Helper()
	for i := range n {
		if err := b.Publish(s.t.Context(), chat, i); err != nil {
			s.t.Fatal(err)
		}
	}
}

// unseen has the other broker publish some messages to chat 7 that the engine does not hand over.
func (s *system) unseen(n int) {
	s.t.Helper()
	s.engine.SetFaults(memengine.Faults{Drop: 1})
	s.publish(s.other, "7", n)
	s.engine.SetFaults(memengine.Faults{})
}

// subscribe subscribes to a chat.
func (s *system) subscribe(chat string) {
	s.t.Helper()
	if _, err := s.broker.Subscribe(chat, "device"); err != nil {
		s.t.Fatal(err)
	}
}

// reset has the engine lose its memory of chat 7 three times, and of two other chats once.
func (s *system) reset() {
	s.t.Helper()
	s.subscribe("7")
	for i := range ChatResets {
		if i == ChatResets-1 {
			s.subscribe("8")
			s.publish(s.broker, "9", 1)
		}
		s.publish(s.broker, "7", 1)
		settle()
		s.engine.Restart()
		settle()
	}
	s.publish(s.broker, "9", 1)
}

// skip makes some gaps.
func (s *system) skip(n int) {
	s.t.Helper()
	for range n {
		s.unseen(1)
		s.publish(s.other, "7", 1)
		settle()
	}
}

// lose makes a gap that is larger than what the engine keeps.
func (s *system) lose() {
	s.t.Helper()
	s.unseen(Lost + keep - 1)
	s.publish(s.other, "7", 1)
	settle()
}

// conflict has the broker publish after messages of another that it does not know of.
func (s *system) conflict() {
	s.t.Helper()
	for range Conflicts {
		s.unseen(1)
		s.publish(s.broker, "7", 1)
		settle()
	}
}

// leaveUncertain has the broker publish messages to whose records the engine gives no answer.
func (s *system) leaveUncertain() {
	s.t.Helper()
	for i := range Uncertain {
		chat := fmt.Sprint("uncertain ", i)
		s.publish(s.broker, chat, 1)
		s.engine.SetFaults(memengine.Faults{LostRequest: 1, Silence: 1})
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Millisecond)
		if err := s.broker.Publish(ctx, chat, 0); !errors.Is(err, broadcast.ErrUncertain) {
			s.t.Fatal(err)
		}
		cancel()
		s.engine.SetFaults(memengine.Faults{})
	}
	time.Sleep(10 * time.Second) // for calls without an answer
}
