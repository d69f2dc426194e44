package flow

import (
	"iter"

	"github.com/fbd86cad/broadcast/internal/chunks"
)

// full holds the cursors that had no room when a publisher last looked. Those that publishers still
// wait for are in the lists of their groups. Those that are out of patience are in lists of their
// own, so that a publisher that looks again need not visit them.
type full struct {
	out    [lists]chunks.List[*Cursor]
	groups []group // by Cursor.group; the first is of the readers without a patience of their own
	window
	waits Waits
}

// The lists of cursors that are out of patience.
const (
	listSpent = iota
	listBlocking
	lists = iota
)

// makeFull makes the lists of full cursors if there are none.
func (g *Gate) makeFull() *full {
	if g.full == nil {
		g.full = &full{groups: make([]group, 1)}
	}
	return g.full
}

// list returns the list that a full cursor belongs to.
func (f *full) list(c *Cursor) *chunks.List[*Cursor] {
	switch {
	case c.state == Spent:
		return &f.out[listSpent]
	case c.state == Blocking:
		return &f.out[listBlocking]
	case c.blocks:
		return f.groups[c.group].blocking()
	}
	return f.groups[c.group].others()
}

// lists yields all lists.
func (f *full) lists() iter.Seq[*chunks.List[*Cursor]] {
	return func(yield func(*chunks.List[*Cursor]) bool) {
		if f == nil {
			return
		}
		for i := range f.out {
			if !yield(&f.out[i]) {
				return
			}
		}
		for i := range f.groups {
			if r := &f.groups[i]; !yield(r.blocking()) || !yield(r.others()) {
				return
			}
		}
	}
}

// count returns the number of cursors in a list of those that are out of patience.
func (g *Gate) count(list int) int {
	if g.full == nil {
		return 0
	}
	return g.full.out[list].Len()
}

// last returns the last cursor in such a list, which must not be empty.
func (g *Gate) last(list int) *Cursor { return *g.full.out[list].At(g.count(list) - 1) }

// lastFull returns a cursor of the given list of any group, or nil if there is none.
func (g *Gate) lastFull(list func(*group) *chunks.List[*Cursor]) *Cursor {
	if g.full == nil {
		return nil
	}
	for i := range g.full.groups {
		if l := list(&g.full.groups[i]); l.Len() > 0 {
			return *l.At(l.Len() - 1)
		}
	}
	return nil
}

// blocks reports whether a reader whose strategy blocks is full.
func (g *Gate) blocks() bool {
	return g.count(listBlocking) > 0 || g.lastFull((*group).blocking) != nil
}

// mustWait reports whether publishers must wait for full readers.
func (g *Gate) mustWait() bool { return g.blocks() || g.lastFull((*group).others) != nil }
