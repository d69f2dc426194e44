package cluster

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fbd86cad/broadcast/engine"
)

// End ends a chat, behind the messages that this node has published before. It returns nil when the
// end has its place in the order, as Publish does for a message, and has the same errors. If the
// chat has ended already, it returns the [EndedError] with which that happened.
//
// From then on publishers on all nodes get an EndedError, and logs are told of the end. The name is
// free when idle has passed. Other nodes get the first KiB of the reason, which may be nil, as
// text.
func (n *Node) End(ctx context.Context, chat string, reason error, idle time.Duration) error {
	return n.publish(ctx, chat, &entry{end: newEnd(reason, idle)})
}

// An end is a record without messages. Its id, which no engine looks at, says that it is one:
// behind the time when it was made there are, each after an endMark, the idle time in milliseconds
// and, if there is a reason, its text.
const endMark = "!"

// mostReason is the largest number of bytes of the text of a reason.
const mostReason = 1 << 10

// An end is what End was called with.
type end struct {
	reason error
	text   string // of the reason
	idle   time.Duration
}

// forgetting is the end by Forget. Its idle time, which no other end has, marks it, and frees the
// name at once. Unlike other ends it may follow an end.
var forgetting = &end{idle: -time.Millisecond}

// forgets reports whether the entry is the end by Forget.
func (e *entry) forgets() bool { return e.end == forgetting }

func newEnd(reason error, idle time.Duration) *end {
	e := &end{reason: reason, idle: idle}
	if reason == nil {
		return e
	}
	e.text = fmt.Sprint(reason) // Error may panic, for a nil pointer
	if n := mostReason; len(e.text) > n {
		for n > mostReason-utf8.UTFMax && !utf8.RuneStart(e.text[n]) {
			n--
		}
		e.text = e.text[:n]
		e.reason = errors.New(e.text) // as on other nodes
	}
	return e
}

// encode returns the last part of the id of the record. It is empty for a message, which has no
// end.
func (e *end) encode() string {
	if e == nil {
		return ""
	}
	id := endMark + strconv.FormatInt(e.idle.Milliseconds(), 36)
	if e.reason != nil {
		id += endMark + base64.RawURLEncoding.EncodeToString([]byte(e.text))
	}
	return id
}

// An ending is what an end record says.
type ending struct {
	reason error     // nil if none was given
	until  time.Time // then the name is free
	forgot bool      // it is by Forget
}

// endingOf returns what the id of a record says, or nil if it is not an end.
func endingOf(id string) *ending {
	_, rest, ok := strings.Cut(id, endMark)
	if !ok {
		return nil
	}
	e := new(ending)
	idle, text, ok := strings.Cut(rest, endMark)
	if ok {
		reason, _ := base64.RawURLEncoding.DecodeString(text)
		e.reason = errors.New(string(reason))
	}
	n, _ := strconv.ParseInt(idle, 36, 64)
	e.forgot = n < 0
	e.until = madeAt(id).Add(time.Duration(n) * time.Millisecond)
	return e
}

// endingLocked is endingOf for a record that follows the place. The reason of an end that is in
// flight is known.
func (c *chat) endingLocked(id string) *ending {
	e := endingOf(id)
	if b := c.inflight; e != nil && b != nil && b.id == id {
		e.reason = b.entries[0].end.reason
	}
	return e
}

// newChatLocked returns those of the records that were read that belong to the newest chat of the
// name. An answer may be out of date: if a record was the first one when it was stored, what is
// before it was removed. While all records are of older epochs, such a record may follow. They are
// read again if none does. A node that knows the older chat goes on from its place instead.
func (c *chat) newChatLocked(records []engine.Record) []engine.Record {
	if !c.afresh || c.sorted {
		return records
	}
	for i, r := range slices.Backward(records) {
		if r.Prev == 0 {
			records, c.origin = records[i:], c.cursor
			break
		}
	}
	newest := records[len(records)-1].Place
	switch {
	case newest.Epoch < c.bound.Epoch:
		c.cursor = newest
		return nil
	case c.cursor != c.origin:
		c.cursor, records = c.origin, nil
	}
	c.sorted = true
	return records
}

// over reports whether the name of the chat is free.
func (e *ending) over() bool { return !time.Now().Before(e.until) }

// refuseEndedLocked refuses everything but Forget in the queue of a chat that has ended. When the name is
// free, what is there belongs to the next chat. The state is current.
func (c *chat) refuseEndedLocked() {
	switch {
	case !c.ended.over():
		c.dismissLocked(&EndedError{c.ended.reason}, (*entry).forgets)
		c.commitLocked() // an end by Forget, if there is one
	case c.inflight != nil: // such an end, which began before the name was free
		c.commitLocked()
	case c.waiting.first != nil:
		c.state, c.base = over, c.place
		c.purgeLocked()
	}
}

// purgeLocked removes the records of a chat whose name is free, unless that is being done.
func (c *chat) purgeLocked() {
	if c.purging {
		return
	}
	mark := c.base.Mark
	c.purging = c.node.begin(func() { c.purged(mark, c.node.purge(c.name, mark)) })
}

// purged handles the result of Purge. If another node was faster, and has begun the next chat, the
// append that begins an epoch shows it.
func (c *chat) purged(mark uint64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.purging = false
	switch {
	case c.state != over || c.base.Mark != mark: // out of date
	case err != nil:
		c.backOffLocked()
	default:
		c.state, c.base = absent, engine.Place{Epoch: c.base.Epoch}
	}
	c.advanceLocked()
}
