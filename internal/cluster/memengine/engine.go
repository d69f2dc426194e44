// Package memengine is an engine in memory for the tests of package cluster. It fails on purpose,
// in every way in which an engine and the network to it may fail, and far more often.
package memengine

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// Faults says how often something goes wrong: each is a probability from 0 to 1.
type Faults struct {
	Drop    float64 // a record is not handed over
	Repeat  float64 // a record is handed over twice
	Reorder float64 // a record is handed over after the next one
	Stale   float64 // Heads or Read does not know the newest records
	Fail    float64 // Heads, Read, Follow or Open returns an error
	Away    float64 // Append fails with ErrAway
	Refuse  float64 // Append refuses a batch of more than one message

	LostRequest float64 // Append fails, and nothing is stored
	LostAnswer  float64 // Append fails, though the record is stored
	Late        float64 // Append fails, and the record is stored a while later
	Silence     float64 // Append does not even answer in the three cases above
}

// staleness is by how much the results of Heads and Read may be out of date.
const staleness = 100 * time.Millisecond

// errTimeout is what calls return whose request or answer is lost.
var errTimeout = errors.New("timeout")

// An Engine is what the nodes have in common. Make one with [New].
type Engine struct {
	mu      sync.Mutex
	random  *rand.Rand
	faults  Faults
	latency time.Duration // the longest way of a request, an answer, or a record
	keep    int           // records of a chat; 0: all
	chats   map[string]*chat
	stored  uint64 // records since the last restart
	starts  uint64 // restarts
	clients []*Client
	calls   Calls
	late    sync.WaitGroup
}

// Calls counts what the nodes have asked for, and what was handed to them.
type Calls struct{ Append, Follow, Heads, Read, Purge, Stored int }

// chat is what an engine knows of a chat.
type chat struct {
	kept   []stored // not trimmed
	purged []stored // what was kept before the last purge
	since  time.Time
	order  []engine.Record // everything that was ever stored
	purges int
}

type stored struct {
	engine.Record
	at time.Time
}

// New returns an engine. What goes wrong depends on the seed, and on the order of calls.
func New(seed uint64, latency time.Duration, keep int) *Engine {
	return &Engine{
		random:  rand.New(rand.NewPCG(seed, 0)),
		latency: latency,
		keep:    keep,
		chats:   make(map[string]*chat),
	}
}

// SetFaults changes what goes wrong from now on.
func (e *Engine) SetFaults(f Faults) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.faults = f
}

// Order returns everything that was ever stored in a chat, in this order.
func (e *Engine) Order(name string) []engine.Record {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.chatLocked(name).order)
}

// Kept returns the records that the engine has of a chat.
func (e *Engine) Kept(name string) (records []engine.Record) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, r := range e.chatLocked(name).kept {
		records = append(records, r.Record)
	}
	return records
}

// Calls returns the counts so far.
func (e *Engine) Calls() Calls {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.calls
}

// Purge removes all records of a chat, which an engine should never do.
func (e *Engine) Purge(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.chatLocked(name).purge()
}

func (c *chat) purge() {
	c.purged, c.kept, c.since = c.kept, nil, time.Now()
	c.purges++
}

// purge removes the records of a chat up to a mark.
func (e *Engine) purge(name string, mark uint64) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if mark%mostStarts != e.starts {
		return // the engine has restarted since
	}
	c := e.chatLocked(name)
	left := slices.DeleteFunc(slices.Clone(c.kept), func(r stored) bool { return r.Mark <= mark })
	if len(left) < len(c.kept) {
		c.purged, c.kept, c.since = c.kept, left, time.Now()
	}
}

// mostStarts bounds the number of restarts.
const mostStarts = 1 << 10

// Restart loses all records, and reconnects the clients. Marks begin anew: they differ from all
// before, but are no longer larger.
func (e *Engine) Restart() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, c := range e.chats {
		c.purge()
		c.purged = nil
	}
	e.stored = 0
	e.starts++
	for _, c := range e.clients {
		if !c.down {
			c.connectLocked(false)
			c.connectLocked(true)
		}
	}
}

// Wait waits for records that are stored late.
func (e *Engine) Wait() { e.late.Wait() }

func (e *Engine) chatLocked(name string) *chat {
	c := e.chats[name]
	if c == nil {
		c = new(chat)
		e.chats[name] = c
	}
	return c
}

// happens reports whether something that has a probability happens.
func (e *Engine) happens(probability func(Faults) float64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.random.Float64() < probability(e.faults)
}

// upTo returns a random duration.
func (e *Engine) upTo(most time.Duration) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.upToLocked(most)
}

func (e *Engine) upToLocked(most time.Duration) time.Duration {
	return time.Duration(e.random.Int64N(int64(most) + 1))
}

// store stores a record, if the client is still connected as it was and its condition holds.
func (e *Engine) store(
	c *Client, number int, purges int, name string, after engine.Place, batch [][]byte, id string,
) (engine.Place, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	chat := e.chatLocked(name)
	var last engine.Place
	if n := len(chat.kept); n > 0 {
		last = chat.kept[n-1].Place
	}
	switch {
	case c.number != number || chat.purges != purges:
		return engine.Place{}, errTimeout
	case last.Mark != after.Mark:
		return engine.Place{}, engine.ErrConflict
	}
	e.stored++
	place := engine.Place{
		Epoch: after.Epoch,
		Seq:   after.Seq + uint64(len(batch)),
		Mark:  e.stored*mostStarts + e.starts,
	}
	r := engine.Record{Place: place, Prev: after.Mark, ID: id, Batch: batch}
	chat.kept = append(chat.kept, stored{r, time.Now()})
	if e.keep > 0 && len(chat.kept) > e.keep {
		chat.kept = slices.Clone(chat.kept[len(chat.kept)-e.keep:])
	}
	chat.order = append(chat.order, r)
	for _, client := range e.clients {
		client.handLocked(delivery{chat: name, record: r})
	}
	return place, nil
}

// view returns the records of a chat that a call of Heads or Read sees.
func (e *Engine) view(name string) []stored {
	e.mu.Lock()
	defer e.mu.Unlock()
	c := e.chatLocked(name)
	if e.random.Float64() >= e.faults.Stale {
		return c.kept
	}
	at := time.Now().Add(-e.upToLocked(staleness))
	kept := c.kept
	if at.Before(c.since) {
		kept = c.purged
	}
	for n := len(kept); n > 0 && kept[n-1].at.After(at); n-- {
		kept = kept[:n-1]
	}
	return kept
}
