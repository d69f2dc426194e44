package modeltest_test

import (
	"fmt"
	"slices"

	"github.com/fbd86cad/broadcast"
)

// This file says again, as plainly as can be, what a subscription gets of its chat where nothing
// waits and nothing overlaps.

// policy is what happens to a message that does not fit.
type policy int

// The policies whose outcome is certain, which are the strategies of those names, and an own
// sampler.
const (
	oldest = policy(broadcast.DropOldest)
	newest = policy(broadcast.DropNewest)
	cut    = policy(broadcast.Disconnect)
	refuse = policy(broadcast.Block)
	middle = policy(broadcast.Block + 1)
)

var policies = []policy{oldest, newest, cut, refuse, middle}

func (p policy) String() string {
	if p == middle {
		return "WithSampler"
	}
	return broadcast.Sampling(p).String()
}

func (p policy) option() broadcast.SharedOption {
	if p == middle {
		return broadcast.WithSampler(func(backlog broadcast.Backlog[int], _ int) int { return backlog.Len() / 2 })
	}
	return broadcast.WithSampling(broadcast.Sampling(p))
}

// oracle is a chat: the messages that were accepted, message i at Seq i+1, and its readers.
type oracle struct {
	log     []int
	readers []*oracleReader
}

// oracleReader is one subscription.
type oracleReader struct {
	chat   *oracle
	policy policy
	buffer int
	queue  []int // Seqs that wait, oldest first
	owed   int   // how many messages of a replay may wait beside those that fit the buffer
	last   int   // Seq of the last delivery
	ended  error
	books  broadcast.SubscriberStats
}

// join adds a reader that begins after a Seq, at which it joins or from which it has missed all up
// to start.
func (o *oracle) join(p policy, buffer, after, start int) *oracleReader {
	r := &oracleReader{chat: o, policy: p, buffer: buffer, last: after}
	for seq := start + 1; seq <= len(o.log); seq++ {
		r.queue = append(r.queue, seq)
	}
	r.owed = len(r.queue)
	r.books = broadcast.SubscriberStats{
		Joined: uint64(after), Head: uint64(len(o.log)), Missed: uint64(start - after), Pending: uint64(len(r.queue)),
	}
	o.readers = append(o.readers, r)
	return r
}

func (r *oracleReader) full() bool { return r.ended == nil && len(r.queue) == r.buffer+r.owed }

// publish accepts a message, or reports that a reader refuses it.
func (o *oracle) publish(message int) bool {
	for _, r := range o.readers {
		if r.full() && r.policy == refuse {
			return false
		}
	}
	o.log = append(o.log, message)
	for _, r := range o.readers {
		r.accept(len(o.log))
	}
	return true
}

// accept gives a message to one reader.
func (r *oracleReader) accept(seq int) {
	full := r.full()
	if full && r.policy == cut {
		r.ended = broadcast.ErrSlow
	}
	if r.ended != nil {
		return
	}
	before := len(r.queue) + 1
	r.queue = append(r.queue, seq)
	if full {
		switch r.policy {
		case oldest:
			r.queue = r.queue[len(r.queue)-r.buffer:]
			r.owed = 0
		case newest:
			r.queue = r.queue[:len(r.queue)-1]
		case middle:
			r.queue = slices.Delete(r.queue, (len(r.queue)-1)/2, (len(r.queue)-1)/2+1)
		}
	}
	r.books.Head++
	r.books.Missed += uint64(before - len(r.queue))
	r.books.Pending = uint64(len(r.queue))
}

// close ends the subscription, with what waits.
func (r *oracleReader) close() {
	if r.ended == nil {
		r.ended = broadcast.ErrClosed
	}
	r.books.Pending, r.books.Discarded = 0, r.books.Pending
}

// take returns what the next delivery must be, if there is one.
func (r *oracleReader) take() (taken taken, ok bool) {
	if len(r.queue) == 0 {
		return taken, false
	}
	seq := r.queue[0]
	taken.seq, taken.missed, taken.message = seq, seq-r.last-1, r.chat.log[seq-1]
	r.queue = r.queue[1:]
	r.owed = max(0, r.owed-1)
	r.last = seq
	r.books.Delivered++
	r.books.Pending--
	return taken, true
}

// taken is what a delivery says.
type taken struct{ seq, missed, message int }

func (t taken) String() string {
	return fmt.Sprintf("message %d with Seq %d and Missed %d", t.message, t.seq, t.missed)
}
