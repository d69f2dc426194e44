package stream

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/internal/racedetector"
)

// Promise 82.
func TestABatchIsOneWriteOf64Frames(t *testing.T) {
	c := newCore(t, nil)
	var s shelf
	o := outlet(t, c, "1", &s)
	for range 100 {
		publish(t, c, "x")
	}
	o.deliver(t)
	assert.Equal(t, []string{strings.Repeat("[x]", 64), strings.Repeat("[x]", 36)}, s.sent)
}

// Promise 82.
func TestABatchEndsWithTheFrameThatFillsIt(t *testing.T) {
	c := newCore(t, func(c *Config[string]) { c.BatchBytes = 10 })
	var s shelf
	o := outlet(t, c, "1", &s)
	publish(t, c, "12345", "1", "2", "3", "a long one that does not fit", "4")
	o.deliver(t)
	assert.Equal(t, []string{"[12345][1]", "[2][3][a long one that does not fit]", "[4]"}, s.sent)
}

// Promise 83.
func TestMissedStandsBeforeTheMessageAndCountsWhatCannotBeEncoded(t *testing.T) {
	c := newCore(t, func(c *Config[string]) {
		c.Event = func(dst []byte, e Event) []byte { return fmt.Append(dst, e.Kind, e.Missed) }
		c.Encode = func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) {
			if d.Message == "bad" {
				panic("as the test wants")
			}
			assert.Zero(t, d.Missed)
			return append(dst, d.Message...), nil
		}
	}, broadcast.WithBuffer(2), broadcast.WithPatience(0))
	var s, other shelf
	o := outlet(t, c, "1", &s)
	publish(t, c, "a", "b", "bad", "d")
	o.deliver(t)
	assert.Equal(t, []string{"(missed3)[d]"}, s.sent)

	p := outlet(t, c, "2", &other)
	publish(t, c, "a", "b", "bad", "d")
	o.deliver(t)
	p.deliver(t)
	assert.Equal(t, []string{"(missed3)[d]"}, s.sent[1:])
	assert.Equal(t, []string{"(missed3)[d]"}, other.sent)
}

func TestDeliveringAllocatesNothingForMessagesThatAreEncoded(t *testing.T) {
	c := newCore(t, nil)
	const runs, messages = 10, 30
	outlets := make([]*Outlet[string], 1+1+runs)
	for i := range outlets {
		outlets[i] = outlet(t, c, fmt.Sprint(i), discard{})
	}
	for range messages {
		publish(t, c, strings.Repeat("x", 100))
	}
	outlets[0].deliver(t) // and encodes them
	waiting := outlets[1:]
	take := func() { // the first run is not counted, and fills the pools
		waiting[0].deliver(t)
		waiting = waiting[1:]
	}
	most := 0.0
	if racedetector.Enabled { // a pool then forgets at random
		most = messages - 1 // if all forget everything, it is half of that
	}
	assert.LessOrEqual(t, testing.AllocsPerRun(runs, take), most)
	assert.Empty(t, waiting)
}

type discard struct{}

func (discard) Cut() {}

func (discard) Send(b *Batch) error {
	b.Release()
	return nil
}

// Promise 90: a slice that a function of the options returns is its own, if it is not what it was
// given.
func TestWhatTheOptionsReturnIsNotWrittenTo(t *testing.T) {
	cached := []byte("cached")
	sink := new(shelf)
	core := newCore(t, func(c *Config[string]) {
		c.Encode = func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) {
			if d.Message == "cached" {
				return cached, nil
			}
			return append(dst, d.Message...), nil
		}
		c.Event = func([]byte, Event) []byte { return []byte("!") }
	}, broadcast.WithBuffer(3), broadcast.WithPatience(0))
	o := outlet(t, core, "1", sink)
	publish(t, core, "lost", "cached", "cached", "other")
	o.deliver(t)
	require.NoError(t, o.beat())
	assert.Equal(t, []string{"(!)[cached][cached][other]", "!(!)"}, sink.sent)
	assert.Equal(t, "cached", string(cached))
}

// Promise 84.
func TestAConnectionThatWaitsForItsClientHoldsNoMessages(t *testing.T) {
	c := newCore(t, nil)
	var next taken[string]
	c.taken.New = func() any { return &next }
	writes := 0
	o := outlet(t, c, "1", sinkFunc(func() {
		writes++
		assert.Zero(t, next)
	}))
	publish(t, c, "a", "b", "c")
	o.deliver(t)
	assert.Equal(t, 1, writes)
}

// A sinkFunc is a sink that calls a function in place of a write.
type sinkFunc func()

func (sinkFunc) Cut() {}

func (f sinkFunc) Send(b *Batch) error {
	b.Release()
	f()
	return nil
}
