package flow

import (
	"sync"
	"sync/atomic"
)

// A Gate lets publishers append to a log no faster than its readers allow. It is also the lock for
// everything that belongs to the log: only the holder of the lock may call its methods, except for
// [Gate.Arrive]. Make one with [NewGate].
//
// Up to a limit, the head of the log may advance without a look at any reader. This resembles the
// gating sequences of the LMAX Disruptor, but the readers are in a heap by when they are due, so
// that a reader with a tiny buffer does not make every publisher look at all others.
type Gate struct {
	sync.Mutex

	// awaiting is the number of readers that the leading publisher waits for: those marked Awaited,
	// and those in state Blocking. It is incremented under the lock, and decremented by whoever
	// clears the mark, which may be the reader, without the lock. Whoever brings it to 0 wakes the
	// leading publisher.
	awaiting atomic.Int32

	overtaking int32 // publishers in the middle of TryAdmit

	limit   uint64  // the head may advance to here; at most the earliest due, or head if one is full
	due     Heap    // readers in Following and Strained, by the head at which each may be full
	full    *full   // nil until a reader has no room, or a patience of its own
	waiters waiters // publishers that wait
}

// NewGate returns a gate without readers.
func NewGate() Gate { return Gate{limit: Never} }

// Open reports whether the next message may be accepted without a look at any reader.
func (g *Gate) Open(head uint64) bool { return head < g.limit && g.waiters.first == nil }

// Start sets up a cursor before its first use. The messages up to head do not count against its
// room. blocks says that its strategy makes publishers wait.
func (c *Cursor) Start(position, head, room uint64, blocks bool) {
	c.word.Store(position << flagBits)
	c.room.Store(room)
	c.replayed, c.blocks = head, blocks
}

// Join adds a reader to those that publishers look at. If patient is false, it is as if it had used
// up their patience.
func (g *Gate) Join(c *Cursor, patient bool) {
	if patient {
		g.follow(c, Following, c.Limit())
		return
	}
	c.Set(Slow)
	g.follow(c, Strained, c.Limit())
}

// Leave removes a reader: publishers neither wait for it nor look at it any more.
func (g *Gate) Leave(c *Cursor) {
	g.remove(c, Gone)
	g.leaveGroup(c)
}

// TakeOff takes a reader off the lists when its strategy acts. If it is frozen, it keeps what it
// may still take; otherwise the log does.
func (g *Gate) TakeOff(c *Cursor, frozen bool) {
	if frozen {
		g.remove(c, Frozen)
		return
	}
	g.remove(c, Off)
}

// Return puts a reader that was off the lists back. It must be half empty.
func (g *Gate) Return(c *Cursor) { g.follow(c, Following, c.Limit()) }

// Thaw puts a frozen reader back, with room up to due.
func (g *Gate) Thaw(c *Cursor, due uint64) { g.follow(c, Strained, due) }

// Progress updates the state of a reader that has taken something under the lock. pending is how
// many messages wait for it now.
func (g *Gate) Progress(c *Cursor, head, pending uint64) {
	half := c.HalfEmpty(pending)
	if half && c.Load().Waited() {
		c.Clear(Waited)
	}
	switch c.state {
	case Strained:
		if half {
			c.state = Following
		}
	case Full:
		if half {
			g.readmit(c, Following)
		}
	case Spent, Blocking:
		switch {
		case half:
			g.readmit(c, Following)
		case head < c.Limit():
			g.readmit(c, Strained)
		}
	}
}

// Trust makes publishers patient with a reader that joined without patience and has taken
// something. If it has no room, the next publisher finds it full.
func (g *Gate) Trust(c *Cursor) {
	switch c.state {
	case Strained:
		c.state = Following
	case Spent, Blocking:
		g.readmit(c, Following)
	}
	g.Nudge()
}

// Refresh updates how far the head may advance until a reader with room is full.
func (g *Gate) Refresh(c *Cursor) {
	due := c.Limit()
	g.due.Refresh(c, due)
	g.limit = min(g.limit, due)
}

// Grow gives a reader room for one more message. Call [Gate.Progress] afterwards.
func (g *Gate) Grow(c *Cursor) { c.room.Add(1) }

// Nudge makes the leading publisher look again.
func (g *Gate) Nudge() {
	if w := g.waiters.first; w != nil {
		w.working = true // until it has looked
		w.signal()
	}
}

// Arrive tells the gate that a reader has made the room that a publisher waits for, as reported by
// [Cursor.Advance]. It takes the lock if it has to wake the publisher.
func (g *Gate) Arrive() {
	if g.awaiting.Add(-1) == 0 {
		g.Lock()
		defer g.Unlock()
		g.Nudge()
	}
}

// Waiting reports whether a publisher waits.
func (g *Gate) Waiting() bool { return g.waiters.first != nil }

// Len returns the number of readers that publishers look at: all but those off the lists.
func (g *Gate) Len() int {
	n := g.due.Len()
	for list := range g.full.lists() {
		n += list.Len()
	}
	return n
}

// At returns reader i of those that publishers look at, in no particular order.
func (g *Gate) At(i int) *Cursor {
	if i < g.due.Len() {
		return g.due.entries.At(i).cursor
	}
	i -= g.due.Len()
	for list := range g.full.lists() {
		if i < list.Len() {
			return *list.At(i)
		}
		i -= list.Len()
	}
	return nil
}

// follow adds a cursor that is in no list to those with room up to due.
func (g *Gate) follow(c *Cursor, s State, due uint64) {
	c.state = s
	g.due.Add(c, due)
	g.limit = min(g.limit, due)
}

// readmit moves a full cursor that has room to those with room.
func (g *Gate) readmit(c *Cursor, s State) {
	g.remove(c, s)
	g.follow(c, s, c.Limit())
}

// fill moves a cursor to the full ones.
func (g *Gate) fill(c *Cursor, s State) {
	g.remove(c, s)
	g.makeFull()
	g.push(c)
	if s == Blocking {
		g.awaiting.Add(1)
	}
}

// push appends a full cursor to its list.
func (g *Gate) push(c *Cursor) {
	list := g.full.list(c)
	c.index = int32(list.Len())
	list.Push(c)
}

// remove removes a cursor from its heap or list, so that nobody waits for it, and sets its state.
func (g *Gate) remove(c *Cursor, s State) {
	if c.Clear(Awaited) || c.state == Blocking {
		g.arrived()
	}
	switch c.state {
	case Following, Strained:
		g.due.Remove(c)
	case Full, Spent, Blocking:
		list := g.full.list(c)
		if moved := list.Pop(); moved != c {
			*list.At(int(c.index)), moved.index = moved, c.index
		}
	}
	c.state = s
}

// arrived is Arrive for the holder of the lock.
func (g *Gate) arrived() {
	if g.awaiting.Add(-1) == 0 {
		g.Nudge()
	}
}
