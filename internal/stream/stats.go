package stream

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
)

// Stats holds the counters of a server since it was made.
type Stats struct {
	Transport string // "websocket" or "sse"

	Connections int               // connections that are open now
	Opened      uint64            // connections that have begun to deliver
	Closed      map[string]uint64 // connections that have ended, by reason; has all reasons
	Refused     map[int]uint64    // requests answered with an error, by status; has those above 0

	Batches     uint64 // batches written
	Frames      uint64 // messages and events in these
	Bytes       uint64 // bytes in these, before TLS
	ShortWrites uint64 // batches that a connection did not take at once
	ShortBytes  uint64 // bytes that were left over
}

// The reasons of Stats.Closed, each with a place in the counters.
var reasons = [...]string{
	reasonDrained, reasonEnded, reasonFailed, reasonKicked, reasonLeft, reasonOverloaded,
	reasonReplaced, reasonSilent, reasonSlow, reasonTimeout, reasonViolation,
}

const (
	minStatus = http.StatusBadRequest // of a refusal
	maxStatus = 599
)

// counters are the counters of a server. The goroutines of connections add to them, after the event
// that they count, and Stats reads them. They order nothing but opened and closed: a connection is
// counted in opened before it is counted in closed, and Stats reads them in reverse.
type counters struct {
	opened  atomic.Uint64
	closed  [len(reasons)]atomic.Uint64
	refused [maxStatus - minStatus + 1]atomic.Uint64
	written [8]written
}

// written counts batches. There are several, each with a cache line of its own, so that connections
// that write at the same time do not slow each other down.
type written struct {
	batches, frames, bytes, shortWrites, shortBytes atomic.Uint64

	_ [24]byte
}

func (c *counters) anyWritten() *written { return &c.written[rand.Uint32()%uint32(len(c.written))] }

func (c *counters) addRefused(status int) { c.refused[status-minStatus].Add(1) }

func (c *counters) addClosed(reason error) {
	word, _, _ := classify(reason)
	c.closed[slices.Index(reasons[:], word)].Add(1)
}

func (c *counters) addBatch(frames, bytes int) {
	w := c.anyWritten()
	w.batches.Add(1)
	w.frames.Add(uint64(frames))
	w.bytes.Add(uint64(bytes))
}

func (c *counters) addShort(bytes int) {
	w := c.anyWritten()
	w.shortWrites.Add(1)
	w.shortBytes.Add(uint64(bytes))
}

// Stats returns the counters of the server. It does not block.
func (c *Core[T]) Stats() Stats {
	s := Stats{
		Transport: c.Transport,
		Closed:    make(map[string]uint64, len(reasons)), Refused: make(map[int]uint64),
	}
	var closed uint64
	for i, reason := range reasons {
		n := c.counters.closed[i].Load()
		s.Closed[reason] = n
		closed += n
	}
	s.Opened = c.counters.opened.Load()
	s.Connections = int(s.Opened - closed)
	for i := range c.counters.refused {
		if n := c.counters.refused[i].Load(); n > 0 {
			s.Refused[minStatus+i] = n
		}
	}
	for i := range c.counters.written {
		w := &c.counters.written[i]
		s.Batches += w.batches.Load()
		s.Frames += w.frames.Load()
		s.Bytes += w.bytes.Load()
		s.ShortWrites += w.shortWrites.Load()
		s.ShortBytes += w.shortBytes.Load()
	}
	return s
}

// Totals returns the counters of some servers, added up for each transport and ordered by it.
func Totals(servers []interface{ Stats() Stats }) (totals []Stats) {
	for _, server := range servers {
		s := server.Stats()
		i, found := slices.BinarySearchFunc(totals, s, func(a, b Stats) int {
			return strings.Compare(a.Transport, b.Transport)
		})
		if found {
			totals[i].add(s)
		} else {
			totals = slices.Insert(totals, i, s)
		}
	}
	return totals
}

func (s *Stats) add(other Stats) {
	s.Connections += other.Connections
	s.Opened += other.Opened
	s.Closed = sum(s.Closed, other.Closed)
	s.Refused = sum(s.Refused, other.Refused)
	s.Batches += other.Batches
	s.Frames += other.Frames
	s.Bytes += other.Bytes
	s.ShortWrites += other.ShortWrites
	s.ShortBytes += other.ShortBytes
}

// sum adds the counts of a second map to those of the first, which may be nil, and returns them.
func sum[K comparable](counts, more map[K]uint64) map[K]uint64 {
	if counts == nil {
		return more
	}
	for k, n := range more {
		counts[k] += n
	}
	return counts
}
