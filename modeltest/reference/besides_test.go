package reference_test

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/fbd86cad/broadcast"
)

// A model is a real broker and a reference broker side by side.
type model struct {
	began time.Time
	real  *broadcast.Broker[int]
	ref   *refBroker
	subs  []*modelSub
	calls []*modelCall // in flight

	// head is what the last Head returned.
	head struct {
		ref  refPosition
		real broadcast.Position
	}

	strategy refStrategy // of the broker
	exits    bool        // there is a sampler that may exit the goroutine which calls it

	messages int  // how many were made: each is another number
	steps    int  // how many operations were done
	exact    bool // the clock stands at the very moment of an event

	contextAt time.Duration // when the last context was made

	stalls  *stallLog
	logging bool
	log     []string // what was done
}

// modelSub is one subscription, the real one and that of the reference.
type modelSub struct {
	*broadcast.Subscriber[int]

	ref    *refSub
	name   string
	ch     <-chan broadcast.Delivery[int] // once Chan was called, until it is closed
	cancel context.CancelCauseFunc        // of Until's context, or nil

	offered int // how many events there were when Chan was last looked at: a Resync that it offers may be of that time,
	covered int // and then it is open which of these events are told after it

	endedAt atomic.Int64 // when Done was closed, as a Duration; 0 before

	compared bool               // its end was compared
	position broadcast.Position // the last one that was seen,
	at       uint64             // and its Seq
}

// modelCall is a call that may wait, on a goroutine of its own.
type modelCall struct {
	name   string
	want   *refCall
	cancel context.CancelFunc
	done   chan struct{}

	// What it did, written before done is closed.
	err      error
	got      broadcast.Delivery[int]
	at       time.Duration
	returned bool // false: a sampler exited its goroutine
	panicked any
}

// seen returns what a read has returned, if it has returned.
func (c *modelCall) seen() (d broadcast.Delivery[int]) {
	select {
	case <-c.done:
		return c.got
	default:
		return d
	}
}

// modelFailure ends a run at the first difference.
type modelFailure string

// fail ends the run.
func (m *model) fail(format string, args ...any) {
	panic(modelFailure(fmt.Sprintf(format, args...)))
}

// run does all operations, then closes the broker and reads what is left.
func (m *model) run(ops []op) (failure string) {
	defer func() {
		r := recover()
		m.cleanUp()
		if r == nil {
			return
		}
		f, ok := r.(modelFailure)
		if !ok {
			f = modelFailure(fmt.Sprintf("%v\n%s", r, debug.Stack()))
		}
		failure = string(f)
	}()
	for _, o := range ops {
		m.step(o)
	}
	m.step(op{kind: opClose})
	for _, s := range m.subs {
		for range s.ref.count() + 1 {
			m.tryNext(s)
		}
	}
	m.sync()
	m.compareAll()
	if len(m.calls) > 0 {
		m.fail("%s is in flight after Close", m.calls[0].name)
	}
	return ""
}

// cleanUp ends whatever a failure left behind, so that the bubble can end.
func (m *model) cleanUp() {
	for _, c := range m.calls {
		c.cancel()
	}
	for _, s := range m.subs {
		if s.cancel != nil {
			s.cancel(nil)
		}
	}
	_ = m.real.Close()
}

// tenth of a millisecond: every duration in a sequence is a multiple of it. The nanoseconds below
// are the number of the operation that began the wait, and no two kinds of wait differ by whole
// milliseconds, so that no two things that have nothing to do with each other happen at the same
// nanosecond, in an order that nobody could predict.
const tenth = 100 * time.Microsecond

// step does one operation, at a moment of its own, and compares.
func (m *model) step(o op) {
	what := &operations[o.kind]
	m.steps++
	if !m.exact || !what.instant {
		d := time.Duration(m.steps) - m.now()%tenth
		m.sleep((d + tenth) % tenth)
	}
	m.exact = false
	if m.logging {
		m.logf("--- %#v", sequence{o})
	}
	what.do(m, o.args)
	m.sync()
	m.compareAll()
}

func (m *model) now() time.Duration { return time.Since(m.began) }

func (m *model) sleep(d time.Duration) {
	time.Sleep(d)
	m.sync()
}

// logf logs what is done. The hot path asks m.logging itself.
func (m *model) logf(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%12v ", m.now())+fmt.Sprintf(format, args...))
}

// call starts a call and lets everything come to rest.
func (m *model) call(name string, cancel context.CancelFunc, f func(c *modelCall)) *modelCall {
	c := m.start(name, cancel, f)
	synctest.Wait()
	return c
}

// start calls f on a goroutine of its own: it may wait, and a sampler may exit it.
func (m *model) start(name string, cancel context.CancelFunc, f func(c *modelCall)) *modelCall {
	c := &modelCall{name: name, cancel: cancel, done: make(chan struct{})}
	if m.logging {
		m.logf("%s", name)
	}
	go func() {
		defer close(c.done)
		defer func() {
			c.at = m.now()
			c.panicked = recover()
		}()
		f(c)
		c.returned = true
	}()
	return c
}

// expect says what the reference thinks of a call, and waits until it has returned, or lets it go
// on in the background.
func (m *model) expect(c *modelCall, want *refCall, background bool) {
	c.want = want
	m.calls = append(m.calls, c)
	if !background {
		<-c.done
	}
	m.sync()
}

// do calls f, which does not wait, and reports whether it returned.
func (m *model) do(f func()) (returned bool) {
	if !m.exits {
		f()
		return true
	}
	c := m.start("", nil, func(*modelCall) { f() })
	<-c.done
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.returned
}

// sync lets everything come to rest, takes the reference to the same moment, and compares what has
// happened.
func (m *model) sync() {
	synctest.Wait()
	for _, s := range m.subs {
		if s.ref.err == nil && s.Err() == broadcast.ErrStalled {
			s.ref.stallsAt, s.ref.stallPlace = time.Duration(s.endedAt.Load()), m.stalls.placeOf(s.ref)
		}
	}
	m.ref.advance(m.now())
	m.calls = slices.DeleteFunc(m.calls, m.compareCall)
	for _, s := range m.subs {
		m.compareEnd(s)
	}
	if m.ref.broken != "" {
		m.fail("%s", m.ref.broken)
	}
	if len(m.ref.dueForCleaner()) > 0 {
		forgotten := int(m.real.Stats().ChatsCleaned) - int(m.ref.counts.ChatsCleaned)
		if err := m.ref.forget(forgotten); err != nil {
			m.fail("%v", err)
		}
	}
}
