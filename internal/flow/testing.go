package flow

import "fmt"

// Leftovers returns what a gate holds beyond the given number of readers that have room. Tests use
// it to check that nothing is left over.
func (g *Gate) Leftovers(readers int) (left []string) {
	check := func(what string, n int) {
		if n != 0 {
			left = append(left, fmt.Sprintf("%d %s", n, what))
		}
	}
	check("readers awaited", int(g.awaiting.Load()))
	waiting := 0
	for w := g.waiters.first; w != nil; w = w.next {
		waiting++
	}
	check("publishers waiting", waiting)
	for list := range g.full.lists() {
		check("full readers", list.Len())
	}
	if g.full != nil {
		check("patiences that no reader has", len(g.full.groups)-1-min(readers, len(g.full.groups)-1))
	}
	check("readers with room beyond those that there are", g.due.Len()-readers)
	return left
}

// Deafening calls f while waiting publisher i cannot be woken, and reports whether somebody tried.
// Tests use it to check what happens between a wakeup and the look that follows, and who is woken.
func (g *Gate) Deafening(i int, f func()) (woken bool) {
	g.Lock()
	w := g.waiters.first
	for range i {
		w = w.next
	}
	hears := w.ready
	w.ready = make(chan struct{}, 1)
	g.Unlock()
	f()
	g.Lock()
	defer g.Unlock()
	woken = len(w.ready) > 0
	w.ready = hears
	if woken {
		w.signal()
	}
	return woken
}

// HidingFull calls f while the full cursors are hidden, except for the last n of each list: looking
// at a hidden one panics. Meanwhile no reader may become full or make room. Tests use it to check
// which cursors a call visits.
func (g *Gate) HidingFull(n int, f func()) {
	g.Lock()
	hidden := make(map[**Cursor]*Cursor)
	for list := range g.full.lists() {
		for i := range list.Len() - n {
			at := list.At(i)
			hidden[at], *at = *at, nil
		}
	}
	g.Unlock()
	returned := false
	defer func() {
		if returned { // else f panicked with the lock held
			g.Lock()
		}
		for at, c := range hidden {
			*at = c
		}
		g.Unlock()
	}()
	f()
	returned = true
}
