package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast/broadcastws"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// visit is a stay in one room, over as many connections as it takes. It belongs to the goroutine of
// run.
type visit struct {
	client *Client
	ctx    context.Context // ends when the client leaves the room
	room   string

	after   string   // the position up to which everything was handed out; "" before the first connection
	members []string // who is there, sorted; events share it, so it is replaced and not changed
}

// longWait is how long events may wait to be read. After a longer wait, slowness may be why the
// server cuts the connection.
const longWait = time.Second

// connect connects and emits events until the connection is lost. greeted reports whether it got
// into the room.
func (v *visit) connect() (greeted bool, err error) {
	c := v.client
	s, first, err := dial(v.ctx, c.options, v.room, v.after)
	if err != nil {
		return false, err
	}
	defer s.end()
	v.state(Online, s, nil, 0)
	v.greet(first)
	slow := time.Duration(0) // how long an event has waited since the last heartbeat
	for {
		frame, err := s.next(v.ctx)
		if errors.Is(err, errLost) && slow > longWait {
			// The server cannot send a reason after half a frame, but slowness explains it.
			err = fmt.Errorf("%w: %w: nothing was read for %v", err, ErrSlow, slow.Round(time.Second/10))
		}
		if err != nil {
			return true, err
		}
		began := time.Now()
		v.handle(frame)
		slow = max(slow, time.Since(began))
		if frame.Event == broadcastws.Heartbeat {
			slow = 0
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
	v.after = f.Position
	v.start(f.Devices)
	if f.Event == broadcastws.Reset && f.Missed == 0 {
		v.emit(Event{Kind: Notice, Text: "the room has begun anew; what was said in between may be lost", At: time.Now()})
	}
}

// start begins with the members that the server knows.
func (v *visit) start(names []string) {
	v.members = make([]string, len(names))
	for i, name := range names {
		v.members[i] = wire.Line(name)
	}
	slices.Sort(v.members)
	v.emit(Event{Kind: Members, Members: v.members})
}

// handle emits the events for a frame.
func (v *visit) handle(f wire.Frame) {
	name := wire.Line(f.Device)
	i, there := slices.BinarySearch(v.members, name)
	switch {
	case f.Message != nil && f.Message.File != nil:
		m := f.Message
		v.emit(Event{Kind: FileShared, Name: wire.Line(m.Name), At: m.At, File: fileOf(*m.File)})
	case f.Message != nil:
		m := f.Message
		v.emit(Event{Kind: Message, Name: wire.Line(m.Name), Text: wire.Line(m.Text), At: m.At})
	case f.Event == broadcastws.Missed:
		v.emit(Event{Kind: Missed, Missed: f.Missed})
	case f.Event == broadcastws.Joined && !there: // otherwise the members have told it already
		v.members = slices.Insert(slices.Clone(v.members), i, name)
		v.emit(Event{Kind: Joined, Name: name, At: time.Now(), Members: v.members})
	case f.Event == broadcastws.Left && there:
		v.members = slices.Delete(slices.Clone(v.members), i, i+1)
		v.emit(Event{Kind: Left, Name: name, At: time.Now(), Members: v.members})
	case f.Event == broadcastws.Resync:
		v.start(f.Devices)
	}
	if f.Message != nil {
		v.after = f.Position // not before it is handed out
	}
}

func fileOf(f wire.File) File {
	return File{ID: wire.Line(f.ID), Name: wire.FileName(f.Name), Size: f.Size, SHA256: wire.Line(f.SHA256)}
}
