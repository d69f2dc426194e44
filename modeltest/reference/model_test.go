package reference_test

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"pgregory.net/rapid"

	"github.com/fbd86cad/broadcast"
)

// TestOperationsMatchTheReferenceBroker runs random sequences of operations against the real broker, on the fake clock of a
// bubble, and against the reference; after every step all that can be seen of both must be equal: results, deliveries, books, ends, and
// how long each call took.
func TestOperationsMatchTheReferenceBroker(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		ops := randomOperations.Draw(r, "operations")
		if failure := runOperations(t, ops); failure != "" {
			r.Log(failure)
			r.Fatal("the broker is not like the reference")
		}
	})
}

// TestRecordedOperationsMatchTheReferenceBroker runs sequences that once failed.
func TestRecordedOperationsMatchTheReferenceBroker(t *testing.T) {
	for i, ops := range recorded {
		if failure := runOperations(t, ops); failure != "" {
			t.Errorf("sequence %d: %s", i, failure)
		}
	}
}

// recorded is where a failing sequence is pasted.
var recorded = []sequence{
	// A place freed at a Block reader is used at once, although another reader has used up its patience.
	{{opBurst, 0, 0, 0, 1}, {opSubscribe, 0, 1, 1, 0}, {opSubscribe, 18, 1, 4, 0}, {opBurst, 0, 1, 0, 0}, {opGoPublish, 0, 0, 0, 0}, {opTryNext, 1, 0, 0, 0}},
	// Where no reader is full a publisher does not wait, whoever waited there before.
	{{opBurst, 0, 0, 0, 1}, {opSubscribe, 0, 3, 0, 0}, {opBurst, 0, 1, 0, 0}, {opPublish, 0, 0, 0, 0}, {opTryPublish, 0, 0, 0, 0}, {opTryNext, 0, 0, 0, 0}, {opTryPublish, 0, 0, 0, 0}},
	// Two readers whose strategies are due at the same message.
	{{opBurst, 1, 0, 0, 1}, {opSubscribe, 0, 2, 2, 0}, {opSubscribe, 18, 0, 8, 0}, {opBurst, 0, 3, 0, 0}, {opTryNext, 1, 0, 0, 0}},
	// Close of a subscription that another end left readable.
	{{opBurst, 1, 0, 0, 1}, {opSubscribe, 0, 0, 3, 0}, {opBurst, 0, 0, 0, 0}, {opCloseSubscriber, 0, 0, 0, 0}, {opTryNext, 0, 0, 0, 0}},
	// Shutdown with a done context and nothing to drain.
	{{opBurst, 0, 0, 0, 1}, {opShutdown, 9, 0, 0, 0}},
}

// sequence is a list of operations. The first one holds the options of the broker.
type sequence []op

// GoString prints a sequence so that it can be pasted into recorded.
func (ops sequence) GoString() string {
	var s strings.Builder
	s.WriteString("{\n")
	for _, o := range ops {
		fmt.Fprintf(&s, "\t{%s, %d, %d, %d, %d},\n", operations[o.kind].name, o.a, o.b, o.c, o.d)
	}
	s.WriteString("},")
	return s.String()
}

// randomOperations generates sequences of twice as many operations as -rapid.steps says, on average.
var randomOperations = rapid.Custom(func(t *rapid.T) sequence {
	ops := sequence{randomOperation.Draw(t, "options")}
	t.Repeat(map[string]func(*rapid.T){"operation": func(t *rapid.T) {
		ops = append(ops, randomOperation.Draw(t, "operation"), randomOperation.Draw(t, "operation"))
	}})
	return ops
})

var randomOperation = rapid.Custom(func(t *rapid.T) op {
	b := rapid.Byte()
	return op{rapid.SampledFrom(weightedOperations()).Draw(t, "kind"), b.Draw(t, "a"), b.Draw(t, "b"), b.Draw(t, "c"), b.Draw(t, "d")}
})

// weightedOperations lists each kind as often as its weight says, those with the largest first.
func weightedOperations() (kinds []opKind) {
	for n := 0; ; n++ {
		before := len(kinds)
		for kind, o := range operations {
			if o.weight > n {
				kinds = append(kinds, opKind(kind))
			}
		}
		if len(kinds) == before {
			return kinds
		}
	}
}

// runOperations runs a sequence in a bubble and returns the first difference from the reference, with a log of what was done.
func runOperations(t *testing.T, ops []op) (failure string) {
	t.Helper()
	var m *model
	defer func() {
		// A bubble in which everything is blocked for ever panics.
		if r := recover(); r != nil {
			failure = fmt.Sprint(r)
		}
		if failure != "" && m != nil {
			failure = strings.Join(m.log, "\n") + "\n" + failure
		}
	}()
	synctest.Test(t, func(*testing.T) {
		m = newModel(ops[0])
		failure = m.run(ops[1:])
	})
	return failure
}

// A model is a real broker and a reference broker side by side.
type model struct {
	began time.Time
	real  *broadcast.Broker[int]
	ref   *refBroker
	subs  []*modelSub
	calls []*modelCall // in flight

	defaults refSub // what the options of the broker say about subscriptions
	exits    bool   // there was a sampler that may exit the goroutine of a publisher

	messages int      // how many were made: each is another number
	steps    int      // how many operations were done
	exact    bool     // the clock stands at the very moment of an event
	log      []string // what was done
}

// modelSub is one subscription, the real one and that of the reference.
type modelSub struct {
	*broadcast.Subscriber[int]

	ref    *refSub
	name   string
	ch     <-chan broadcast.Delivery[int] // once Chan was called, until it is closed
	cancel context.CancelCauseFunc        // of Until's context, or nil

	// Written when Done is closed, read when everything is at rest.
	ended   bool
	endedAt time.Duration
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

// seen returns the message that a read has returned, if it has returned.
func (c *modelCall) seen() int {
	select {
	case <-c.done:
		return c.got.Message
	default:
		return 0
	}
}

// orStop ends a run at the first assertion that fails.
var orStop modelAsserts

type modelAsserts struct{}

type modelFailure string

func (modelAsserts) Errorf(format string, args ...any) {
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
			m.sync()
		}
	}
	m.compareBooks()
	assert.Empty(orStop, m.calls, "calls in flight after Close")
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

// tenth of a millisecond: every duration in a sequence is a multiple of it. The nanoseconds below are the number of the
// operation that began the wait, and no two kinds of wait differ by whole milliseconds, so that no two things that
// have nothing to do with each other happen at the same nanosecond, in an order that nobody could predict.
const tenth = 100 * time.Microsecond

// step does one operation, at a moment of its own, and compares.
func (m *model) step(o op) {
	what := operations[o.kind]
	m.steps++
	if !m.exact || !what.instant {
		d := time.Duration(m.steps) - m.now()%tenth
		m.sleep((d + tenth) % tenth)
	}
	m.exact = false
	m.logf("--- %s %d %d %d %d", what.name, o.a, o.b, o.c, o.d)
	what.do(m, o)
	m.sync()
	m.compareBooks()
}

func (m *model) now() time.Duration { return time.Since(m.began) }

func (m *model) sleep(d time.Duration) {
	time.Sleep(d)
	m.sync()
}

func (m *model) logf(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf("%12v ", m.now())+fmt.Sprintf(format, args...))
}

// start calls f on a goroutine of its own: a sampler may exit it.
func (m *model) start(name string, cancel context.CancelFunc, f func(c *modelCall)) *modelCall {
	c := &modelCall{name: name, cancel: cancel, done: make(chan struct{})}
	if name != "" {
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

// call starts a call and lets everything come to rest.
func (m *model) call(name string, cancel context.CancelFunc, f func(c *modelCall)) *modelCall {
	c := m.start(name, cancel, f)
	synctest.Wait()
	return c
}

// expect says what the reference thinks of a call, and waits until it has returned, or lets it go on in the background.
func (m *model) expect(c *modelCall, want *refCall, background bool) {
	c.want = want
	m.calls = append(m.calls, c)
	if !background {
		<-c.done
	}
	m.sync()
}

// do calls f and reports whether it returned.
func (m *model) do(f func()) (returned bool) {
	c := m.start("", nil, func(*modelCall) { f() })
	<-c.done
	if c.panicked != nil {
		panic(c.panicked)
	}
	return c.returned
}

// sync lets everything come to rest, takes the reference to the same moment, and compares what has happened.
func (m *model) sync() {
	synctest.Wait()
	for _, s := range m.subs {
		if s.ref.err == nil && errors.Is(s.Err(), broadcast.ErrStalled) {
			s.ref.stallsAt = s.endedAt
		}
	}
	m.ref.advance(m.now())
	m.calls = slices.DeleteFunc(m.calls, m.compareCall)
	for _, s := range m.subs {
		m.compareEnd(s)
	}
	assert.Empty(orStop, m.ref.broken)
	forgotten := int(m.real.Stats().ChatsCleaned) - int(m.ref.counts.ChatsCleaned)
	assert.NoError(orStop, m.ref.forget(forgotten))
	for _, chat := range modelChats {
		assert.ElementsMatch(orStop, m.ref.devices(chat), m.real.Devices(chat), "devices of %s", chat)
	}
}

// compareCall reports whether a call has returned, as it should have.
func (m *model) compareCall(c *modelCall) bool {
	select {
	case <-c.done:
	default:
		assert.False(orStop, c.want.done, "%s has not returned %v at %v", c.name, c.want.err, c.want.at)
		return false
	}
	if c.panicked != nil {
		panic(c.panicked)
	}
	if !c.returned {
		// A sampler exited the goroutine of the publisher that called it, which is after the message was accepted.
		assert.True(orStop, m.exits && c.want.done && c.want.err == nil && c.want.msg > 0, "%s exited", c.name)
		assert.Equal(orStop, c.want.at, c.at, "when %s exited", c.name)
		return true
	}
	m.logf("%s returned %v, %v", c.name, c.got, c.err)
	assert.True(orStop, c.want.done, "%s returned %v at %v", c.name, c.err, c.at)
	m.compareError(c.want.err, c.err, c.name)
	assert.Equal(orStop, c.want.at, c.at, "when %s returned", c.name)
	assert.Equal(orStop, c.want.got, visible(c.got), "%s", c.name)
	return true
}

// visible returns what can be predicted of a delivery: not its epoch, which is random.
func visible(d broadcast.Delivery[int]) broadcast.Delivery[int] {
	return broadcast.Delivery[int]{Chat: d.Chat, Seq: d.Seq, Missed: d.Missed, Kind: d.Kind, Device: d.Device, Message: d.Message}
}

func (m *model) compareError(want, got error, of string) {
	if want == errModelExit || want == errModelPanic {
		var failed *broadcast.PanicError
		assert.ErrorAs(orStop, got, &failed, "%s", of)
		assert.Equal(orStop, want == errModelExit, failed.Value == nil, "%s: %v", of, failed.Value)
		assert.NotEmpty(orStop, failed.Stack, "%s", of)
	}
	switch want {
	case nil:
		assert.NoError(orStop, got, "%s", of)
	case errModelExit:
	default:
		assert.ErrorIs(orStop, got, want, "%s", of)
	}
}

// compareEnd compares whether, why and when a subscription has ended.
func (m *model) compareEnd(s *modelSub) {
	if s.ref.err == nil {
		_, last := m.ref.stallsBetween(s.ref)
		assert.LessOrEqual(orStop, m.now(), last, "%s should have stalled", s.name)
	}
	m.compareError(s.ref.err, s.Err(), s.name)
	assert.Equal(orStop, s.ref.err != nil, s.ended, "%s: Done", s.name)
	if !s.ended {
		return
	}
	assert.Equal(orStop, s.ref.endedAt, s.endedAt, "%s: when it ended", s.name)
	if s.ch != nil {
		select {
		case d, ok := <-s.ch:
			assert.False(orStop, ok, "%s ended, Chan gave %v", s.name, d)
		default:
			assert.Fail(orStop, "Chan is not closed", s.name)
		}
		s.ch = nil
	}
}

// compareBooks compares all books.
func (m *model) compareBooks() {
	for _, s := range m.subs {
		m.compareBook(s)
	}
	got := m.real.Stats()
	assert.Equal(orStop, m.ref.stats(), got, "the books of the broker")
	chats := []string{}
	for _, chat := range modelChats {
		if len(m.ref.devices(chat)) > 0 {
			chats = append(chats, chat)
		}
	}
	assert.Equal(orStop, chats, append([]string{}, m.real.Chats()...), "chats")
}

// compareBook compares the books of one subscription.
func (m *model) compareBook(s *modelSub) {
	got, r := s.Stats(), s.ref
	if r.failed != nil && got.Head > r.head {
		// Its sampler was called when the message had been accepted: more publishers may have been let in at the same moment.
		assert.LessOrEqual(orStop, got.Head, r.chat.head, "%s", s.name)
		r.missed += got.Head - r.head
		r.head = got.Head
	}
	assert.Equal(orStop, r.stats(), got, "the books of %s", s.name)
}
