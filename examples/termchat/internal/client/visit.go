package client

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// visit is a stay in one room, over as many connections as it takes. It belongs to the goroutine of
// run.
type visit struct {
	client *Client
	ctx    context.Context // ends when the client leaves the room
	room   string

	after   string              // the place in the room's log up to which everything was handed out; "" before the first hello
	members map[string]struct{} // who is there
	told    uint64              // what the hello said is missed, which the next message says again
	slow    bool                // the client knows that it was cut off
}

// connect connects and emits events until the connection is lost. greeted reports whether it got
// into the room.
func (v *visit) connect() (greeted bool, err error) {
	c := v.client
	s, hello, err := dial(v.ctx, c.options, v.room, v.after)
	if err != nil {
		return false, err
	}
	defer s.end()
	v.state(Online, s, nil, 0)
	v.greet(hello)
	for {
		frame, err := s.next()
		if err != nil {
			v.slow = errors.Is(err, ErrSlow)
			return true, err
		}
		if v.ctx.Err() == nil {
			v.handle(frame)
		}
	}
}

// state changes the state of the client and emits an event for that, unless the client has already
// left the room.
func (v *visit) state(state State, s *session, err error, retry time.Duration) {
	c := v.client
	c.mu.Lock()
	if v.ctx.Err() != nil {
		c.mu.Unlock()
		return
	}
	c.setLocked(state, s, err)
	c.mu.Unlock()
	v.emit(Event{Kind: StateChanged, State: state, Err: err, Retry: retry})
}

func (v *visit) emit(e Event) {
	e.Room = v.room
	v.client.emit(v.ctx, e)
}

// greet emits the events for the first frame of a connection.
func (v *visit) greet(f wire.Frame) {
	v.after = f.Pos
	v.start(f.Members)
	if f.Was != "" && !v.slow {
		v.notice("the server had cut the connection: " + f.Was)
	}
	v.told = 0
	switch f.Resumed {
	case wire.Unknown:
		v.notice("the room has begun anew; what was said in between may be lost")
	case wire.Gone:
		v.told = f.Missed
		v.emit(Event{Kind: Missed, Missed: f.Missed})
	}
}

func (v *visit) notice(text string) {
	v.emit(Event{Kind: Notice, Text: wire.Line(text), At: time.Now()})
}

// start begins with the members that the server knows.
func (v *visit) start(names []string) {
	v.members = make(map[string]struct{}, len(names))
	for _, name := range names {
		v.members[wire.Line(name)] = struct{}{}
	}
	v.emit(Event{Kind: Members, Members: slices.Sorted(maps.Keys(v.members))})
}

// handle emits the events for a frame.
func (v *visit) handle(f wire.Frame) {
	name := wire.Line(f.Name)
	if lost := f.Missed - min(f.Missed, v.told); lost > 0 {
		v.emit(Event{Kind: Missed, Missed: lost})
	}
	if f.Pos != "" {
		v.told = 0
	}
	switch f.Kind {
	case wire.KindMessage:
		v.emit(Event{Kind: Message, Name: name, Text: wire.Line(f.Text), At: f.At})
	case wire.KindFile:
		if f.File != nil {
			v.emit(Event{Kind: FileShared, Name: name, At: f.At, File: fileOf(*f.File)})
		}
	case wire.KindJoined:
		if _, there := v.members[name]; !there { // otherwise the members have told it already
			v.members[name] = struct{}{}
			v.emit(Event{Kind: Joined, Name: name, At: time.Now()})
		}
	case wire.KindLeft:
		if _, there := v.members[name]; there {
			delete(v.members, name)
			v.emit(Event{Kind: Left, Name: name, At: time.Now()})
		}
	case wire.KindMembers:
		v.start(f.Members)
	}
	if f.Pos != "" {
		v.after = f.Pos // not before it is handed out
	}
}

func fileOf(f wire.File) File {
	return File{ID: wire.Line(f.ID), Name: wire.FileName(f.Name), Size: f.Size, SHA256: wire.Line(f.SHA256)}
}
