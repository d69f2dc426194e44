package cluster

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// orderState is what a chat knows of the newest record that the engine has. The package comment has
// the transitions.
type orderState uint8

const (
	unknown  orderState = iota // nothing: ask
	over                       // it is an end, and the name is free: remove it
	conflict                   // another node's record follows the place, and should come by itself
	behind                     // it is after the place: read the records between
	absent                     // there is none, or it is of an older epoch than the place
	current                    // it is the one at the place
)

// readSize is how many records are read in one call.
const readSize = 128

// order is the part of a chat that follows its order. Guarded by the lock of the chat.
type order struct {
	state orderState
	place engine.Place  // of the last record applied; zero before the first
	ended *ending       // what that record says, if it is an end
	seen  engine.Record // the newest one handed over, which may not have been applied; no messages
	past  engine.Place  // the last place of earlier feeds; means nothing once this one is there
	freed bool          // after past the name was free: the record there may be removed

	cursor engine.Place  // behind: records up to here were read
	bound  engine.Record // behind: one that there is; no messages
	afresh bool          // behind: the cursor began before all records
	origin engine.Place  // behind, afresh: what is after it and not after the cursor is not applied
	sorted bool          // behind, afresh: the next record belongs to the newest chat of the name
	empty  int           // how many answers in a row were without what must be there

	base    engine.Place // absent, over: of the newest record
	purging bool         // a call of Purge is running

	asked     bool  // waits for an answer of Heads
	again     bool  // that answer will be out of date
	reading   bool  // a call of Read is running
	beginning *call // begins an epoch; nil if there is none now
}

// invalidateLocked makes the chat ask for the newest record. An answer that is on its way is out of
// date.
func (c *chat) invalidateLocked() {
	c.state = unknown
	c.again = c.asked
}

// askLocked asks for the newest record, unless an answer is on its way.
func (c *chat) askLocked() {
	if !c.asked {
		c.asked = true
		c.node.asks.add(c)
	}
}

// answer handles what Heads returned.
func (c *chat) answer(head engine.Record, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	stale := c.again
	c.asked, c.again = false, false
	switch {
	case err != nil:
		c.backOffLocked()
	case !stale:
		c.compareLocked(head)
	}
	c.advanceLocked()
}

// compareLocked compares the newest record with the place. A chat whose name is free is not read,
// unless the log has yet to come to its end. An answer from before the place of an earlier feed is
// out of date, except that there may be no record at all if the name was free there.
func (c *chat) compareLocked(head engine.Record) {
	if before(head.Place, c.seen.Place) && before(c.place, c.seen.Place) {
		head = c.seen
	}
	fresh := c.place.Mark == 0
	ended := endingOf(head.ID)
	switch {
	case before(c.place, c.past) && before(head.Place, c.past) && !(c.freed && head.Mark == 0):
		c.missLocked()
	case ended != nil && (head.Epoch < c.place.Epoch || fresh && ended.over()):
		c.state, c.base = over, head.Place
	case head.Mark == 0 || head.Epoch < c.place.Epoch:
		c.state, c.base = absent, head.Place
	case !before(c.place, head.Place):
		if c.state != behind { // else the answer is out of date
			c.state = current
		}
		if c.inflight == nil {
			c.backoff = 0
		}
	case c.inflight == nil && (c.feed == nil || fresh && !c.feed.history):
		c.place, c.ended, c.state = head.Place, ended, current
		if c.feed != nil {
			c.feed.pushLocked(item{reset: true, epoch: head.Epoch, seq: head.Seq, ended: ended})
		}
	case head.Epoch == c.place.Epoch:
		c.fallBehindLocked(c.place, head)
	default:
		c.fallBehindLocked(engine.Place{}, head)
	}
}

// fallBehindLocked makes the chat read the records after cursor, at least up to bound.
func (c *chat) fallBehindLocked(cursor engine.Place, bound engine.Record) {
	bound.Batch = nil
	if c.state == behind && c.bound.Epoch == bound.Epoch {
		if before(c.bound.Place, bound.Place) {
			c.bound = bound
		}
		return
	}
	c.state, c.cursor, c.bound, c.empty = behind, cursor, bound, 0
	c.afresh, c.sorted, c.origin = cursor == engine.Place{}, false, cursor
}

// caughtUpLocked ends the state behind if the place has reached the bound, or if nobody needs the
// records before it.
func (c *chat) caughtUpLocked() {
	if c.state != behind {
		return
	}
	if c.feed == nil && c.inflight == nil && before(c.place, c.bound.Place) {
		c.place, c.ended = c.bound.Place, endingOf(c.bound.ID)
	}
	if !before(c.place, c.bound.Place) {
		c.state = current
	}
}

// before reports whether p is before q in the order of their chat.
func before(p, q engine.Place) bool {
	if p.Epoch != q.Epoch {
		return p.Epoch < q.Epoch
	}
	return p.Mark < q.Mark
}

// startOf returns the number before that of the first message.
func startOf(r *engine.Record) uint64 { return r.Seq - min(r.Seq, uint64(len(r.Batch))) }

// stored handles a record that the session has handed over.
func (c *chat) stored(r engine.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.feed == nil {
		return
	}
	if before(c.seen.Place, r.Place) {
		c.seen = r
		c.seen.Batch = nil
	}
	switch {
	case c.place.Mark == 0:
		return // it will be read
	case r.Epoch != c.place.Epoch:
		if c.state == current || c.state == conflict || c.state == absent && c.beginning == nil {
			c.invalidateLocked()
		}
	case r.Mark <= c.place.Mark:
		return // it was applied
	case r.Prev == c.place.Mark && !c.feed.overfullLocked():
		c.applyLocked(r)
		if c.state == conflict {
			c.state, c.retryAt = current, time.Time{}
		}
	case c.state == current || c.state == conflict || c.state == behind:
		if c.state != behind {
			c.node.counters.gaps.Add(1)
		}
		c.fallBehindLocked(c.place, r)
	}
	c.advanceLocked()
}

// readLocked reads the next records, unless that is being done or the feed has enough to do.
func (c *chat) readLocked() {
	if c.reading || c.feed != nil && c.feed.overfullLocked() {
		return
	}
	session, after := c.connection, c.cursor
	c.reading = c.node.begin(func() {
		ctx, cancel := context.WithTimeout(c.node.ctx, callTimeout)
		defer cancel()
		records, err := session.Read(ctx, c.name, after, readSize)
		c.read(after, records, err)
	})
}

// read handles what Read returned.
func (c *chat) read(after engine.Place, records []engine.Record, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reading = false
	switch {
	case c.state != behind || c.cursor != after: // out of date
	case err != nil:
		c.backOffLocked()
	case len(records) == 0:
		c.missLocked()
	default:
		c.backoff, c.empty = 0, 0
		c.node.counters.fetched.Add(uint64(len(records)))
		for _, r := range c.newChatLocked(records) {
			if !c.readOneLocked(r) {
				break
			}
		}
		c.caughtUpLocked()
	}
	c.advanceLocked()
}

// mostEmpty is after how many such answers in a row the chat believes the next one.
const mostEmpty = 4

// missLocked handles an answer without what must be there. Either it was out of date, or the engine
// has lost its memory.
func (c *chat) missLocked() {
	c.empty++
	c.backOffLocked()
	if c.empty == mostEmpty {
		c.seen, c.past = engine.Record{}, engine.Place{} // they need not exist any more
		c.invalidateLocked()
	}
}

// readOneLocked applies a record that was read. It returns false if it and those after it must be
// read again.
func (c *chat) readOneLocked(r engine.Record) bool {
	if c.feed != nil && c.feed.overfullLocked() {
		return false
	}
	if r.Epoch > c.place.Epoch && r.Prev != c.place.Mark && !c.afresh {
		// The engine has lost its memory, and its marks may have begun anew: there may be records
		// of the new epoch with smaller ones.
		c.state = unknown
		c.fallBehindLocked(engine.Place{}, r)
		return false
	}
	c.cursor = r.Place
	if before(c.place, r.Place) {
		c.applyLocked(r)
	}
	return true
}

// applyLocked moves the place to a record after it. Records between the two are lost.
func (c *chat) applyLocked(r engine.Record) {
	place, start := c.place, startOf(&r)
	follows := r.Epoch == place.Epoch && r.Prev == place.Mark
	ended := c.endingLocked(r.ID)
	it := item{epoch: r.Epoch, seq: start, batch: r.Batch, made: madeAt(r.ID), ended: ended}
	switch {
	case r.Epoch != place.Epoch:
		it.reset = true
		if place.Epoch != 0 && c.ended == nil {
			c.node.counters.resets.Add(1)
		}
	case start > place.Seq:
		it.hole = start - place.Seq
		c.node.counters.lost.Add(it.hole)
	}
	c.place, c.ended = r.Place, ended
	if c.cursor == place {
		c.cursor = r.Place
	}
	c.settleLocked(r, follows)
	if c.feed != nil {
		c.feed.pushLocked(it)
	}
	c.caughtUpLocked()
}

// beginLocked begins an epoch, with a record without messages. So nodes agree on the epoch of a
// chat in which nothing has been published, and before each message there is a record whose mark no
// other has: what follows that record decides whether the message was stored.
func (c *chat) beginLocked() {
	if c.beginning != nil {
		return
	}
	after := engine.Place{Epoch: newEpoch(max(c.place.Epoch, c.base.Epoch)), Mark: c.base.Mark}
	c.beginning = c.callLocked(nil, after, c.node.newID(), nil)
}

// begunLocked handles the result of the call in beginLocked. After a conflict, either another node
// was faster, or there is no epoch to begin, because the answer of Heads was out of date.
func (c *chat) begunLocked(r engine.Record, err error) {
	c.beginning = nil
	switch {
	case err != nil:
		c.backOffLocked()
		c.invalidateLocked()
	case c.state == absent && before(c.place, r.Place):
		c.state = current
		c.applyLocked(r)
	default:
		c.invalidateLocked()
	}
}

// newEpoch returns an epoch after the given one. It consists of the time and a random number, so
// that nodes that do not know of each other choose different ones, and later ones are larger.
func newEpoch(after uint64) uint64 {
	const randomBits = 22
	now := uint64(time.Now().UnixMilli())<<randomBits | rand.Uint64N(1<<randomBits)
	return max(now, after+1)
}
