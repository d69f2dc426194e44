package stream

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// counting returns a core that counts calls of Encode.
func counting(t *testing.T, opts ...broadcast.Option) (*Core[string], *atomic.Int64) {
	t.Helper()
	var encoded atomic.Int64
	c := newCore(t, func(c *Config[string]) {
		encode := c.Encode
		c.Encode = func(dst []byte, d broadcast.Delivery[string]) ([]byte, error) {
			encoded.Add(1)
			return encode(dst, d)
		}
	}, opts...)
	return c, &encoded
}

// Promise 82.
func TestAMessageIsEncodedOnceForAllConnectionsOfItsChat(t *testing.T) {
	c, encoded := counting(t)
	var outlets []*Outlet[string]
	for i := range 30 {
		outlets = append(outlets, outlet(t, c, fmt.Sprint(i), discard{}))
	}
	for i := range 200 {
		publish(t, c, fmt.Sprint(i))
	}
	for _, o := range outlets { // each is 200 messages behind those before it
		o.deliver(t)
	}
	assert.EqualValues(t, 200, encoded.Load())
}

// Promise 82.
func TestAConnectionThatLagsTakesNoFramesFromTheOthers(t *testing.T) {
	c, encoded := counting(t, broadcast.WithBuffer(1<<12))
	lagging, ahead := outlet(t, c, "1", discard{}), outlet(t, c, "2", discard{})
	for range 1000 {
		publish(t, c, "x")
	}
	ahead.deliver(t)
	lagging.deliver(t) // encodes what the ring has no room for
	before := encoded.Load()
	late := outlet(t, c, "3", discard{})
	publish(t, c, "y")
	late.deliver(t)
	lagging.deliver(t)
	ahead.deliver(t)
	assert.EqualValues(t, 1, encoded.Load()-before)
	assert.LessOrEqual(t, before, int64(2000-64), "the last are shared")
}

func TestTheRingFitsTheNumberOfConnections(t *testing.T) {
	var c cache
	f := c.join("c")
	assert.Nil(t, f.ring.Load(), "one alone shares with nobody")
	length := func() int { return len(f.ring.Load().slots) }
	joined := 1
	for _, step := range []struct{ connections, length int }{
		{2, 64}, {3, 128}, {4, 128}, {5, 256}, {30, 1024}, {1000, 1024}, {8, 1024}, {4, 128}, {3, 128}, {2, 128},
	} {
		for ; joined < step.connections; joined++ {
			require.Same(t, f, c.join("c"))
		}
		for ; joined > step.connections; joined-- {
			c.leave("c", f)
		}
		assert.Equal(t, step.length, length(), "%d", step.connections)
	}
	c.leave("c", f)
	assert.Nil(t, f.ring.Load())
	c.leave("c", f)
	assert.Empty(t, c.chats)
}

// Promise 82.
func TestFramesOfAnEarlierLogOfTheChatAreNotMistaken(t *testing.T) {
	c, encoded := counting(t)
	var old, young shelf
	before := outlet(t, c, "1", &old)
	publish(t, c, "a", "b", "c")
	other := newCore(t, nil) // whose chat has another log
	o := outlet(t, other, "2", &young)
	outlet(t, other, "3", discard{})
	outlet(t, c, "4", discard{})
	o.frames = before.frames
	before.deliver(t)
	publish(t, other, "x", "y")
	o.deliver(t)
	publish(t, other, "z")
	o.deliver(t)
	assert.Equal(t, []string{"[a][b][c]"}, old.sent)
	assert.Equal(t, []string{"[x][y]", "[z]"}, young.sent)
	assert.EqualValues(t, 3, encoded.Load())
}
