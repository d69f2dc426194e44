package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// Limits of one batch.
const (
	mostMessages = 256
	mostBytes    = 256 << 10 // a single message may be larger
)

// commit is the part of a chat that publishes (group commit). Guarded by the lock of the chat.
//
// Messages wait in a queue while a batch is in flight, and then go together in the next one. There
// is at most one batch in flight.
type commit struct {
	waiting  entries
	inflight *batch // nil if there is none
	single   bool   // the next batch has one message, because the engine refused a larger one
}

// A batch is an attempt to store messages just after a place. Whatever record comes to follow that
// place decides about it: its own record, which may be seen before its call ends, or another one.
// In the latter case the condition of the append can never hold again, and the messages go back to
// the queue.
//
// While it is not known what follows the place, it is safe to append the batch again: all attempts
// have the same condition, so at most one of them is stored.
type batch struct {
	id      string
	after   engine.Place
	entries []*entry

	call      *call // nil if there is none now
	uncertain bool  // an earlier call may have stored it
	passed    bool  // the place has moved past after, and what followed it is lost
}

// publish publishes an entry, as Node.Publish does.
func (c *chat) publish(ctx context.Context, e *entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done := ctx.Done()
	if err := c.enqueue(e); err != nil {
		return err
	}
	var timeout <-chan time.Time
	if d := c.node.config.Timeout; d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		timeout = timer.C
	}
	select {
	case err := <-e.result:
		return err
	case <-timeout:
		return c.withdraw(e, nil)
	case <-done:
		return c.withdraw(e, ctx.Err())
	}
}

// enqueue adds an entry to the queue.
func (c *chat) enqueue(e *entry) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.forgotten {
		return errForgotten
	}
	e.result = make(chan error, 1)
	c.node.messages.Enter()
	c.waiting.push(e)
	c.used = true
	if c.checkAt.IsZero() {
		c.checkAt = time.Now().Add(checkInterval)
		c.scheduleLocked()
	}
	if c.ended != nil && c.feed == nil && c.state == current {
		c.invalidateLocked() // without a feed, nobody tells this node if the chat was forgotten
	}
	c.advanceLocked()
	return nil
}

// withdraw ends the wait of a publisher. The cause is nil if its timeout is over.
func (c *chat) withdraw(e *entry, cause error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case err := <-e.result:
		return err
	default:
	}
	if cause == nil {
		cause = engine.ErrAway
		if c.connection != nil && (c.backoff == 0 || c.heldLocked()) {
			cause = ErrTimeout
		}
	}
	c.node.messages.Leave()
	if c.waiting.remove(e) {
		return cause
	}
	e.left = true
	c.node.counters.uncertain.Add(1)
	return uncertain(cause)
}

func uncertain(cause error) error { return fmt.Errorf("%w: %w", ErrUncertain, cause) }

// commitLocked appends the next batch, or once more the one of which nothing is known. The state is
// current.
func (c *chat) commitLocked() {
	switch b := c.inflight; {
	case b == nil:
		c.inflight = c.nextBatchLocked()
	case b.call != nil:
		return
	case b.abandoned():
		c.inflight = nil
		c.advanceLocked()
		return
	}
	if c.inflight != nil {
		c.appendLocked(c.inflight)
	}
}

// nextBatchLocked takes a batch from the queue. It returns nil if there is nothing to publish, and
// while the feed has something to do: a reader that holds back the feed holds back publishers. An
// end is alone in its batch, but calls of Forget in a row have one record.
func (c *chat) nextBatchLocked() *batch {
	if c.waiting.first == nil || c.joining != nil || c.heldLocked() {
		return nil
	}
	b := &batch{id: c.node.newID() + c.waiting.first.end.encode(), after: c.place}
	most, bytes := mostMessages, 0
	if c.single {
		most = 1
	}
	for len(b.entries) < most {
		e := c.waiting.first
		if e == nil || len(b.entries) > 0 && (bytes+len(e.message) > mostBytes || e.end != b.entries[0].end) {
			break
		}
		c.waiting.remove(e)
		b.entries = append(b.entries, e)
		bytes += len(e.message)
	}
	return b
}

// heldLocked reports whether the feed holds back publishers.
func (c *chat) heldLocked() bool { return c.feed != nil && !c.feed.idleLocked() }

// appendLocked starts a call of Append.
func (c *chat) appendLocked(b *batch) {
	messages := make([][]byte, 0, len(b.entries))
	for _, e := range b.entries {
		if e.end == nil {
			messages = append(messages, e.message)
		}
	}
	b.call = c.callLocked(b, b.after, b.id, messages)
}

// appendedLocked handles the result of a call.
func (c *chat) appendedLocked(b *batch, r engine.Record, err error) {
	b.call = nil
	if c.inflight != b { // the record that follows was applied
		return
	}
	switch {
	case err == nil && b.passed:
		c.acceptLocked(b, r.Place)
	case err == nil:
		c.backoff, c.single = 0, false
		c.applyLocked(r)
	case errors.Is(err, engine.ErrConflict):
		c.node.counters.conflicts.Add(1)
		c.conflictLocked()
		c.requeueLocked(b)
	case errors.Is(err, engine.ErrAway):
		c.backOffLocked()
		c.requeueLocked(b)
	case errors.Is(err, engine.ErrRefused):
		c.backOffLocked()
		c.refusedLocked(b, err)
	default:
		b.uncertain = true
		c.backOffLocked()
		c.invalidateLocked()
		if b.passed {
			c.giveUpLocked(b)
		}
	}
}

// conflictLocked notes that a record of another node follows the place. If the chat is followed,
// the record comes by itself.
func (c *chat) conflictLocked() {
	switch {
	case c.state != current:
	case c.feed == nil:
		c.invalidateLocked()
	default:
		c.state = conflict
		c.retryAt = time.Now().Add(conflictWait)
		c.scheduleLocked()
	}
}

// refusedLocked handles a batch that the engine never stores. If it has several messages, each is
// tried alone.
func (c *chat) refusedLocked(b *batch, err error) {
	switch {
	case b.uncertain:
		c.giveUpLocked(b)
	case len(b.entries) > 1:
		c.single = true
		c.requeueLocked(b)
	default:
		c.single = false
		c.finishLocked(b, err)
	}
}

// settleLocked decides about the batch in flight when a record is applied. follows says that
// nothing was lost between the place and the record.
func (c *chat) settleLocked(r engine.Record, follows bool) {
	switch b := c.inflight; {
	case b == nil:
	case r.ID == b.id:
		c.acceptLocked(b, r.Place)
	case follows && !b.passed:
		b.uncertain = false
		c.requeueLocked(b)
	default:
		b.passed = true
		if b.call == nil {
			c.giveUpLocked(b)
		}
	}
}

// acceptLocked ends a batch that was stored.
func (c *chat) acceptLocked(b *batch, place engine.Place) {
	for _, e := range b.entries {
		e.place = place
	}
	c.finishLocked(b, nil)
}

// finishLocked ends a batch and sends its publishers the result.
func (c *chat) finishLocked(b *batch, err error) {
	c.inflight = nil
	for _, e := range b.entries {
		c.answerLocked(e, err)
	}
}

// requeueLocked ends a batch that its last call has not stored: its messages go back to the front
// of the queue. If an earlier call may have stored it, it stays in flight.
func (c *chat) requeueLocked(b *batch) {
	if b.uncertain {
		if b.passed {
			c.giveUpLocked(b)
		}
		return
	}
	c.inflight = nil
	for _, e := range slices.Backward(b.entries) {
		if !e.left {
			c.waiting.pushFront(e)
		}
	}
}

// giveUpLocked ends a batch of which nobody will ever know whether it was stored.
func (c *chat) giveUpLocked(b *batch) {
	c.endLocked(b, fmt.Errorf("%w: the engine has lost the records that would tell", ErrUncertain))
}

// endLocked ends a batch of which it is not known whether it was stored.
func (c *chat) endLocked(b *batch, err error) {
	for _, e := range b.entries {
		if !e.left {
			c.node.counters.uncertain.Add(1)
		}
	}
	c.finishLocked(b, err)
}

// refuseLocked empties the queue when the node is closing, and while the engine is away if Config
// says so.
func (c *chat) refuseLocked() {
	switch {
	case c.node.closing.Load():
		c.dismissLocked(ErrClosed, nil)
	case c.connection == nil && c.node.config.Refuse:
		c.dismissLocked(engine.ErrAway, nil)
	}
}

// dismissLocked ends the wait of everybody in the queue, except for those for whom keep returns
// true. keep may be nil.
func (c *chat) dismissLocked(err error, keep func(*entry) bool) {
	var next *entry
	for e := c.waiting.first; e != nil; e = next {
		next = e.next
		if keep == nil || !keep(e) {
			c.waiting.remove(e)
			c.answerLocked(e, err)
		}
	}
}

// answerLocked sends a publisher its result.
func (c *chat) answerLocked(e *entry, err error) {
	if !e.left {
		e.result <- err
		c.node.messages.Leave()
	}
}

// endWaitsLocked ends the wait of all publishers.
func (c *chat) endWaitsLocked(err error) {
	c.dismissLocked(err, nil)
	if c.inflight != nil {
		c.endLocked(c.inflight, uncertain(err))
	}
}

// abandoned reports whether no publisher waits for the batch any more.
func (b *batch) abandoned() bool {
	return !slices.ContainsFunc(b.entries, func(e *entry) bool { return !e.left })
}

// An entry is a message or an end, with the publisher that waits for its result.
type entry struct {
	message []byte
	end     *end         // nil for a message
	place   engine.Place // of its record; written before a nil result is sent, read after it
	result  chan error   // buffered: each entry gets one result
	left    bool         // the publisher was told ErrUncertain

	queued     bool
	next, prev *entry
}

// entries is a queue of entries, as a linked list.
type entries struct{ first, last *entry }

func (q *entries) push(e *entry) {
	e.queued, e.prev = true, q.last
	if q.last == nil {
		q.first = e
	} else {
		q.last.next = e
	}
	q.last = e
}

func (q *entries) pushFront(e *entry) {
	e.queued, e.next = true, q.first
	if q.first == nil {
		q.last = e
	} else {
		q.first.prev = e
	}
	q.first = e
}

// remove removes an entry. It returns false if it is not in the queue.
func (q *entries) remove(e *entry) bool {
	if !e.queued {
		return false
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.first = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		q.last = e.prev
	}
	e.queued, e.next, e.prev = false, nil, nil
	return true
}
