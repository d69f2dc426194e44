package stream

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// Promise 59.
func TestEachEndIsCountedUnderOneWordAndAllWordsAreThere(t *testing.T) {
	core := newCore(t, nil)
	want := make(map[string]uint64)
	for word, all := range map[string][]error{
		"drained":    {ErrDrained, broadcast.ErrBrokerClosed, broadcast.ErrClosed},
		"ended":      {broadcast.ErrEnded, fmt.Errorf("%w: %w", broadcast.ErrEnded, errors.New("over"))},
		"failed":     {errors.New("anything else"), nil},
		"kicked":     {fmt.Errorf("%w: spam", broadcast.ErrKicked)},
		"left":       {fmt.Errorf("%w: %w", ErrLeft, broadcast.ErrClosed)},
		"overloaded": {broadcast.ErrOverloaded},
		"replaced":   {broadcast.ErrReplaced},
		"silent":     {ErrSilent},
		"slow":       {broadcast.ErrSlow, broadcast.ErrStalled},
		"timeout":    {ErrTimeout},
		"violation":  {&CodeError{Code: 1009}, &Refusal{Status: 403}},
	} {
		for _, reason := range all {
			core.TellOpened(About{})
			core.TellClosed(About{}, reason)
		}
		want[word] = uint64(len(all))
	}
	assert.Equal(t, want, core.Stats().Closed)
	assert.Zero(t, core.Stats().Connections)
	empty := newCore(t, nil).Stats().Closed
	assert.Equal(t, slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(empty)))
}

// Promise 59.
func TestEachBatchIsCountedWithItsFramesAndBytes(t *testing.T) {
	c := newCore(t, func(c *Config[string]) { c.Transport = "test" })
	var s shelf
	o := outlet(t, c, "1", &s)
	for range 100 {
		publish(t, c, "x")
	}
	o.deliver(t)
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	c.ShortOf(request)(10)
	told := 0
	c.Observe.Short = func(bytes int) { told += bytes }
	c.ShortOf(request)(20)
	assert.Equal(t, 20, told)
	stats := c.Stats()
	assert.Equal(t, []uint64{2, 100, 300, 2, 30},
		[]uint64{stats.Batches, stats.Frames, stats.Bytes, stats.ShortWrites, stats.ShortBytes})
	assert.Equal(t, "test", stats.Transport)
}

type fixed Stats

func (f fixed) Stats() Stats {
	f.Closed, f.Refused = maps.Clone(f.Closed), maps.Clone(f.Refused)
	return Stats(f)
}

// Promise 59.
func TestServersOfOneTransportAreAddedUp(t *testing.T) {
	one := fixed{
		Transport: "websocket", Connections: 1, Opened: 2, Closed: map[string]uint64{"left": 3, "slow": 4},
		Refused: map[int]uint64{403: 5}, Batches: 6, Frames: 7, Bytes: 8, ShortWrites: 9, ShortBytes: 10,
	}
	two := fixed{
		Transport: "websocket", Connections: 10, Opened: 20, Closed: map[string]uint64{"left": 30, "slow": 40},
		Refused: map[int]uint64{403: 50, 503: 1}, Batches: 60, Frames: 70, Bytes: 80, ShortWrites: 90, ShortBytes: 100,
	}
	bare := fixed{Transport: "websocket"} // whose maps are nil
	sse := fixed{Transport: "sse", Connections: 1000}
	totals := Totals([]interface{ Stats() Stats }{bare, one, sse, two})
	require.Equal(t, []Stats{Stats(sse), {
		Transport: "websocket", Connections: 11, Opened: 22, Closed: map[string]uint64{"left": 33, "slow": 44},
		Refused: map[int]uint64{403: 55, 503: 1}, Batches: 66, Frames: 77, Bytes: 88, ShortWrites: 99, ShortBytes: 110,
	}}, totals)
}
