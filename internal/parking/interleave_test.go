//go:build race

package parking

import (
	"strings"
	"testing"
)

// interleave runs actors in every order of their atomic operations in which one of them is
// interrupted at most so many times, and fails the test if all that are left wait for something
// that never comes. scenario makes the actors of one run.
//
// Of two actors one goes on while the other stands still, so that what they do is as in a program
// for one processor. Most races need few interruptions, which come at the worst moment: here at
// each.
func interleave(t *testing.T, interruptions int, scenario func() []*actor) {
	t.Helper()
	defer func() { stepHook = nil }()
	var plan []int // which of the actors that may goes on, decision by decision; 0 beyond its end
	for {
		r := run{actors: scenario(), plan: plan, interruptions: interruptions}
		r.play()
		if r.stuck() {
			t.Fatalf("somebody waits for ever after %s", strings.Join(r.order, " "))
		}
		if plan = r.next(); plan == nil {
			return
		}
	}
}

// actor is a goroutine that goes on only when it is told to.
type actor struct {
	name  string
	act   func(a *actor)
	goOn  chan struct{}
	stood chan struct{}
	ready func() bool // what it waits for is there; nil if it waits for nothing
	done  bool
}

func newActor(name string, act func(a *actor)) *actor {
	return &actor{name: name, act: act, goOn: make(chan struct{}), stood: make(chan struct{})}
}

// stand lets others go on.
func (a *actor) stand() {
	a.stood <- struct{}{}
	<-a.goOn
}

// await lets others go on until something is there.
func (a *actor) await(ready func() bool) {
	a.ready = ready
	a.stand()
	a.ready = nil
}

func (a *actor) runnable() bool { return !a.done && (a.ready == nil || a.ready()) }

// run is one order of steps.
type run struct {
	actors        []*actor
	plan          []int
	interruptions int // that are left

	taken, options []int // what was decided, of how many
	order          []string
}

// play lets the actors act to their ends, or until they all wait.
func (r *run) play() {
	var current *actor
	stepHook = func() { current.stand() }
	for _, a := range r.actors {
		go func() {
			<-a.goOn
			a.act(a)
			a.done = true
			a.stood <- struct{}{}
		}()
	}
	for {
		candidates := r.candidates(current)
		if len(candidates) == 0 {
			stepHook = nil
			return
		}
		choice := 0
		if n := len(r.taken); n < len(r.plan) {
			choice = r.plan[n]
		}
		r.taken, r.options = append(r.taken, choice), append(r.options, len(candidates))
		if current != nil && current.runnable() && candidates[choice] != current {
			r.interruptions--
		}
		current = candidates[choice]
		r.order = append(r.order, current.name)
		current.goOn <- struct{}{}
		<-current.stood
	}
}

// candidates returns who may go on: first whoever just did.
func (r *run) candidates(current *actor) (all []*actor) {
	if current != nil && current.runnable() {
		all = append(all, current)
		if r.interruptions == 0 {
			return all
		}
	}
	for _, a := range r.actors {
		if a != current && a.runnable() {
			all = append(all, a)
		}
	}
	return all
}

// stuck reports whether somebody waits for ever.
func (r *run) stuck() bool {
	for _, a := range r.actors {
		if !a.done {
			return true
		}
	}
	return false
}

// next returns the plan of the next run, nil after the last one.
func (r *run) next() []int {
	for i := len(r.taken) - 1; i >= 0; i-- {
		if r.taken[i]+1 < r.options[i] {
			return append(r.taken[:i:i], r.taken[i]+1)
		}
	}
	return nil
}

// counter is what waiters wait for: a number that others raise.
type counter int

// waits is a waiter that has seen so much, and waits until it has seen more.
func (c *counter) waits(a *actor, s *Spot, seen, last counter) {
	for seen < last {
		step()
		if *c != seen {
			seen = *c
			continue
		}
		s.Park()
		step()
		if *c == seen {
			a.await(func() bool { return len(s.wake) > 0 })
			<-s.wake
		}
	}
}

// raises is somebody who raises the number and wakes whoever waits for that.
func (c *counter) raises(wake func()) {
	*c++
	wake()
}

// spotOutside returns a spot behind the first row.
func spotOutside(l *Lot) *Spot { return newSpots(l, few+1)[few] }

func TestNoOrderOfParkingAndWakingLosesAWakeUp(t *testing.T) {
	interleave(t, 3, func() []*actor {
		var l Lot
		var number counter
		s := spotOutside(&l)
		return []*actor{
			newActor("A", func(a *actor) { number.waits(a, s, 0, 2) }),
			newActor("w", func(*actor) { number.raises(l.WakeAll) }),
			newActor("v", func(*actor) { number.raises(l.WakeAll) }),
		}
	})
}

// A row comes during a round, which finds its bit in the section only with the row itself.
func TestNoOrderOfRoundsAndNewRowsLosesAWakeUp(t *testing.T) {
	interleave(t, 2, func() []*actor {
		var l Lot
		var number counter
		early := spotOutside(&l)
		early.row.taken, early.row.section.room = ^uint64(0), 0
		early.Park() // so that a round visits the section
		return []*actor{
			newActor("A", func(a *actor) { number.waits(a, l.NewSpot(), 0, 2) }),
			newActor("w", func(*actor) { number.raises(l.WakeAll) }),
			newActor("v", func(*actor) { number.raises(l.WakeAll) }),
		}
	})
}

// crowdedLot returns a lot in which the next spot needs a new section.
func crowdedLot() (l *Lot, s *Spot) {
	l = new(Lot)
	s = spotOutside(l)
	s.row.section.used, s.row.section.room = ^uint64(0), 0
	return l, s
}

// A worker begins a round while one more comes, for whom there is no room yet.
func TestNoOrderOfRoundsAndWakingLosesAWakeUp(t *testing.T) {
	interleave(t, 1, func() []*actor {
		var d Distributor
		var number counter
		l, early := crowdedLot()
		wake := func() { d.WakeLater(l) }
		early.Park()
		number.raises(wake)
		over := false
		return []*actor{
			newActor("worker", func(a *actor) {
				for {
					a.await(func() bool { return over || d.Len() > 0 })
					if d.Len() == 0 {
						return
					}
					for i, _ := d.pop(); i.do(); {
					}
				}
			}),
			newActor("A", func(a *actor) { number.waits(a, early, 0, 2) }),
			newActor("B", func(a *actor) { number.waits(a, l.NewSpot(), 1, 2) }),
			newActor("w", func(*actor) { number.raises(wake); over = true }),
		}
	})
}
