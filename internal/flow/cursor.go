package flow

import (
	"sync/atomic"

	"github.com/fbd86cad/broadcast/internal/parking"
)

// A Cursor is the position of one reader in the log, and its state. The reader advances it without
// a lock while only the log and the position matter, and under the lock of the gate otherwise.
// Start sets up a cursor before its first use.
type Cursor struct {
	// word is the position of the last message that is settled (taken or missed), with flags in its
	// low bits. The reader advances it by compare-and-swap, and only while Slow is not set. Holders
	// of the lock set and clear flags atomically. So whoever sets Slow knows the position, and knows
	// that the reader must come to the lock next. For a reader with a queue of its own the position
	// is a count, and not the Seq of the last message taken: what the queue holds is not settled,
	// though later messages are, as missed.
	word atomic.Uint64

	// room is how many messages may be unsettled before the strategy acts. It is stored under the
	// lock. The reader loads it without, and may miss that it grows: publishers then wait for it
	// longer, at most for their patience.
	room atomic.Uint64

	// Spot is where the reader waits. It is nil until the first wait; the reading goroutine stores
	// it once, and those that wake the reader load it.
	Spot atomic.Pointer[parking.Spot]

	// Owner is the reader that the cursor belongs to.
	Owner any

	replayed uint64 // the messages up to it do not count against the room; guarded by the lock
	index    int32  // where in the list or heap of its state; guarded by the lock
	state    State  // guarded by the lock
	blocks   bool   // its strategy makes publishers wait
	seen     uint8  // the glimpse of it that a publisher had last; guarded by the lock
	group    uint8  // which group of the gate it belongs to; guarded by the lock
}

// The flags in a word.
const (
	// Slow means that the reader must take the lock for each read.
	Slow = 1 << iota
	// Awaited means that a publisher waits until the reader is half empty.
	Awaited
	// Waited means that a publisher waits, or has waited, for the reader, which has not been half
	// empty since. It is set together with Awaited. Only holders of the lock clear it: a reader that
	// takes something without the lock need not, because nobody asks once it has taken something.
	Waited

	flagBits = iota
	flags    = 1<<flagBits - 1
	one      = 1 << flagBits // one message further
)

// A Word is a position and its flags, as loaded at one moment.
type Word uint64

// Position returns the position in the word.
func (w Word) Position() uint64 { return uint64(w) >> flagBits }

// Slow reports whether the flag Slow is set.
func (w Word) Slow() bool { return w&Slow != 0 }

// Awaited reports whether the flag Awaited is set.
func (w Word) Awaited() bool { return w&Awaited != 0 }

// Waited reports whether the flag Waited is set.
func (w Word) Waited() bool { return w&Waited != 0 }

// Load returns the word.
func (c *Cursor) Load() Word { return Word(c.word.Load()) }

// Position returns the position of the last message that is settled.
func (c *Cursor) Position() uint64 { return c.word.Load() >> flagBits }

// glimpse returns a byte that tells whether the cursor has moved since the last glimpse, with an
// error rate of 1 in 256. It mixes the bits of the position, so that no usual size of a batch is
// invisible, as 256 would be in the low byte.
func (c *Cursor) glimpse() uint8 { return uint8(c.Position() * 0x9e3779b97f4a7c15 >> 56) }

// Room returns how many messages may be unsettled before the strategy acts.
func (c *Cursor) Room() uint64 { return c.room.Load() }

// State returns the state of the reader. The caller holds the lock.
func (c *Cursor) State() State { return c.state }

// Limit returns how far the head may run until the reader is full. The caller holds the lock.
func (c *Cursor) Limit() uint64 { return max(c.Position(), c.replayed) + c.room.Load() }

// HalfEmpty reports whether a reader with the given number of pending messages has made enough room
// for publishers that wait for it.
func (c *Cursor) HalfEmpty(pending uint64) bool { return pending <= c.room.Load()/2 }

// Set sets flags.
func (c *Cursor) Set(flag uint64) { c.word.Or(flag) }

// Clear clears flags, and reports whether any was set.
func (c *Cursor) Clear(flag uint64) bool { return c.word.And(^flag)&flag != 0 }

// MoveTo settles the messages up to a position. Slow must be set and the lock held, so that nobody
// else does.
func (c *Cursor) MoveTo(position uint64) {
	for {
		w := c.word.Load()
		if c.word.CompareAndSwap(w, position<<flagBits|w&flags) {
			return
		}
	}
}

// Advance settles n messages in one step, without the lock, if the word is still w. Only the reader
// calls it. If arrived is true, the reader has become half empty and a publisher waits for that:
// the reader must call [Gate.Arrive].
func (c *Cursor) Advance(w Word, n, head uint64) (ok, arrived bool) {
	next := uint64(w) + n*one
	arrived = w.Awaited() && c.HalfEmpty(head-next>>flagBits)
	if arrived {
		next &^= Awaited
	}
	return c.word.CompareAndSwap(uint64(w), next), arrived
}

// Lose settles n messages that the reader misses, those of a replay first.
func (c *Cursor) Lose(n uint64) {
	if c.replayed > c.Position() {
		c.replayed += n
	}
	c.MoveTo(c.Position() + n)
}
