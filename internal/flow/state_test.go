package flow

import (
	"math"
	"slices"
	"testing"
	"time"
)

// event is something that happens to a reader.
type event int

const (
	look       event = iota // a publisher looks at those that may be full
	forgive                 // a publisher looks for the first time
	decide                  // a publisher looks again
	give                    // patience is over
	act                     // the strategy acts
	accept                  // a message is accepted, if it may be
	read                    // the reader takes a message
	readLocked              // the reader takes a message under the lock
	trust                   // the same for one that joined without patience
	end
	events
)

func (e event) String() string {
	return [...]string{"look", "forgive", "decide", "give up", "act", "accept", "read", "read under the lock", "read without patience", "end"}[e]
}

// change is a line of the table at State.
type change struct {
	event    event
	from, to State
}

// table is the table at State.
var table = []change{
	{look, Following, Full},
	{look, Strained, Spent},
	{look, Strained, Blocking},
	{forgive, Full, Following},
	{decide, Full, Following},
	{give, Full, Following},
	{give, Full, Strained},
	{give, Full, Spent},
	{give, Full, Blocking},
	{act, Spent, Off},
	{act, Spent, Frozen},
	{act, Spent, Gone},
	{readLocked, Full, Following},
	{readLocked, Strained, Following},
	{readLocked, Spent, Following},
	{readLocked, Blocking, Following},
	{readLocked, Off, Following},
	{readLocked, Frozen, Following},
	{readLocked, Spent, Strained},
	{readLocked, Blocking, Strained},
	{readLocked, Frozen, Strained},
	{trust, Strained, Following},
	{trust, Spent, Following},
	{trust, Blocking, Following},
	{trust, Off, Following},
	{trust, Frozen, Following},
	{end, Following, Gone},
	{end, Strained, Gone},
	{end, Full, Gone},
	{end, Spent, Gone},
	{end, Blocking, Gone},
	{end, Off, Gone},
	{end, Frozen, Gone},
}

// strategies are what becomes of a reader whose strategy acts.
var strategies = []struct {
	name   string
	blocks bool
	act    func(g *Gate, c *Cursor)
}{
	{"off", false, func(g *Gate, c *Cursor) { g.TakeOff(c, false) }},
	{"freeze", false, func(g *Gate, c *Cursor) { g.TakeOff(c, true) }},
	{"leave", false, func(g *Gate, c *Cursor) { g.Leave(c) }},
	{"block", true, nil},
}

// subject is a log with one reader.
type subject struct {
	g    Gate
	c    Cursor
	act  func(g *Gate, c *Cursor)
	head uint64
}

// lookAll looks at all readers that may be full.
func (g *Gate) lookAll(head uint64) {
	n := math.MaxInt
	g.lookSome(head, &n)
}

// decideAll is decide for all full readers that publishers are patient with.
func (g *Gate) decideAll(head uint64, one, over bool) {
	var p pass
	p.begin(head, one, time.Time{}, time.Time{})
	for c := p.next(g); c != nil; c = p.next(g) {
		g.decide(c, head, one, over)
	}
}

// happens lets an event happen, if it can, and reports whether it could.
func (x *subject) happens(e event) bool {
	g, c := &x.g, &x.c
	pending := x.head - c.Position()
	switch e {
	case look:
		g.lookAll(x.head)
	case forgive:
		g.lookAll(x.head)
		g.decideAll(x.head, true, false)
	case decide:
		g.decideAll(x.head, false, false)
	case give:
		g.decideAll(x.head, false, true)
	case act:
		if g.lookAll(x.head); g.mustWait() || g.count(listSpent) == 0 {
			return false
		}
		x.act(g, c)
	case accept:
		if g.lookAll(x.head); g.mustWait() || g.count(listSpent) > 0 || pending > 2*c.Room() {
			return false // beyond that nothing changes
		}
		g.limit = g.due.Earliest()
		x.head++
	case read:
		w := c.Load()
		if w.Slow() || pending == 0 {
			return false
		}
		if _, arrived := c.Advance(w, 1, x.head); arrived {
			g.Arrive()
		}
	case readLocked, trust:
		if c.State() == Gone || pending == 0 || e == trust && c.State().Patient() {
			return false
		}
		c.Set(Slow)
		if c.State() == Frozen {
			g.Thaw(c, x.head+c.Room())
		}
		if lost := x.head - min(x.head, c.Limit()); lost > 0 {
			c.Lose(lost)
			pending -= lost
		}
		if c.State() == Strained {
			g.Refresh(c)
		}
		c.MoveTo(c.Position() + 1)
		if c.State() == Off && (e == trust || c.HalfEmpty(pending-1)) {
			g.Return(c)
		}
		g.Progress(c, x.head, pending-1)
		if e == trust {
			g.Trust(c)
		}
		if c.State() == Following || c.State() == Full {
			c.Clear(Slow)
		}
	case end:
		if c.State() == Gone {
			return false
		}
		g.Leave(c)
	}
	return true
}

// wrong says in what the gate and the reader disagree.
func (x *subject) wrong() string {
	g, c := &x.g, &x.c
	watched := c.state == Following || c.state == Strained
	full := c.state == Full || c.state == Spent || c.state == Blocking
	waited, in := 0, 0
	if c.Load().Awaited() || c.state == Blocking {
		waited = 1
	}
	for list := range g.full.lists() {
		if n := list.Len(); n > 0 && g.full.list(c) == list {
			in += n
		}
	}
	switch {
	case c.state == Gone && g.full != nil && len(g.full.groups) > 1:
		return "a patience is left of a reader that has gone"
	case c.Load().Awaited() && c.state != Full:
		return "publishers wait for a reader that is not full"
	case int(g.awaiting.Load()) != waited:
		return "awaiting is wrong"
	case watched != (g.due.Len() == 1), full != (in == 1):
		return "in a list where it does not belong"
	case watched && g.limit > c.Limit():
		return "the head may pass a reader"
	case watched && x.head > c.Limit():
		return "a reader has more than its room"
	case !c.state.Patient() && c.state != Gone && !c.Load().Slow():
		return "a reader without patience may move without the lock"
	}
	return ""
}

// snapshot is all of a subject that decides what happens next.
type snapshot struct {
	state               State
	word, room          uint64 // relative to the head,
	limit, due          uint64 // too
	flags               uint64
	waited              int32
	inFull, inFullBlock bool
}

func (x *subject) snapshot() snapshot {
	return snapshot{
		x.c.state, x.head - x.c.Position(), x.c.Limit() - x.head, min(x.g.limit-x.head, Never/2), min(x.g.due.Earliest()-x.head, Never/2), x.c.word.Load() & flags,
		x.g.awaiting.Load(), x.g.lastFull((*group).others) != nil, x.g.lastFull((*group).blocking) != nil,
	}
}

// All that can happen, in any order, for each strategy and a few sizes of the buffer, with and
// without a patience of its own: each event changes the state as the table says or not at all, the
// gate and the reader agree after each, and everything in the table is reached.
func TestAReaderChangesItsStateAsTheTableSays(t *testing.T) {
	reached := make(map[change]bool)
	for _, strategy := range strategies {
		for i := range uint64(6) {
			room, own := 1+i/2, i%2 > 0
			// play plays a sequence from the beginning, with a replay of one message.
			play := func(sequence []event) *subject {
				x := &subject{g: NewGate(), act: strategy.act, head: 1}
				x.c.Start(0, 1, room, strategy.blocks)
				if own && !x.g.SetPatience(&x.c, time.Second) {
					t.Fatal("too many patiences")
				}
				x.g.Join(&x.c, true)
				for _, e := range sequence {
					x.happens(e)
				}
				return x
			}
			seen := map[snapshot]bool{}
			for todo := [][]event{nil}; len(todo) > 0; todo = todo[1:] {
				for e := range events {
					x := play(todo[0])
					from := x.c.state
					if !x.happens(e) {
						continue
					}
					sequence := append(slices.Clone(todo[0]), e)
					if to := x.c.state; to != from {
						c := change{e, from, to}
						if !slices.Contains(table, c) && !inTwo(c) {
							t.Fatalf("%s, room %d: %v: %v → %v is not in the table", strategy.name, room, sequence, from, to)
						}
						reached[c] = true
					}
					if wrong := x.wrong(); wrong != "" {
						t.Fatalf("%s, room %d: %v: %v, %s", strategy.name, room, sequence, x.c.state, wrong)
					}
					if s := x.snapshot(); !seen[s] && x.c.state != Gone {
						seen[s] = true
						todo = append(todo, sequence)
					}
				}
			}
		}
	}
	for _, c := range table {
		if !reached[c] {
			t.Errorf("never reached: %v: %v → %v", c.event, c.from, c.to)
		}
	}
}

// inTwo reports whether an event that begins with a look makes a change in two steps of the table,
// or that of the look alone.
func inTwo(c change) bool {
	if c.event != act && c.event != accept && c.event != forgive {
		return false
	}
	return slices.ContainsFunc(table, func(first change) bool {
		return first.event == look && first.from == c.from &&
			(first.to == c.to || slices.Contains(table, change{c.event, first.to, c.to}))
	})
}

// Promise 14: a reader that takes batches of 256 moves too.
func TestAGlimpseShowsThatACursorHasMovedByABatch(t *testing.T) {
	var c Cursor
	for position := range uint64(1000) {
		for batch := uint64(1); batch <= 1<<20; batch *= 2 {
			c.word.Store(position * one)
			before := c.glimpse()
			c.word.Store((position + batch) * one)
			if c.glimpse() == before {
				t.Fatalf("from %d to %d", position, position+batch)
			}
		}
	}
}
