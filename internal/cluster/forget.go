package cluster

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// ErrInUse means that a node has readers in the chat.
var ErrInUse = errors.New("chat is in use")

// Forget frees the name of a chat, provided that no node has readers in it: otherwise it changes
// nothing and returns ErrInUse. It returns nil when that has its place in the order, behind the
// messages that were published before, and the engine has removed the records of the chat. It does
// not matter whether there is such a chat.
//
// First all nodes are asked for their readers, until they have answered or are considered dead.
// This takes as long as Publish may, and ErrAway means that there was no time for it. In the first
// two seconds after the engine was away, this node may not know of all others, so it waits. A
// reader that comes after its node has answered stays, and its log gets a Reset with the next chat.
//
// Its other errors are those of Publish. After an ErrUncertain the chat may be forgotten.
func (n *Node) Forget(ctx context.Context, chat string) error {
	if err := n.poll(ctx, chat); err != nil {
		return err
	}
	for {
		if err := n.chat(chat).publish(ctx, &entry{forget: true}); err != errForgotten {
			return err
		}
	}
}

// Times of a poll.
const (
	pollInterval = 100 * time.Millisecond // between two questions
	meetTime     = 2 * beatInterval       // until a node has heard of all others
)

// polls are the questions of a node that others have yet to answer.
type polls struct {
	mu   sync.Mutex
	last uint64
	open map[uint64]*poll // by number
}

// A poll asks all nodes whether they have readers in a chat. The lock of the polls guards it.
type poll struct {
	number   uint64
	answered map[string]bool // whether each has, by node
	news     chan struct{}   // has a token if there was an answer since it was taken
}

// begin begins a poll.
func (p *polls) begin() *poll {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.last++
	q := &poll{number: p.last, answered: make(map[string]bool), news: make(chan struct{}, 1)}
	if p.open == nil {
		p.open = make(map[uint64]*poll)
	}
	p.open[q.number] = q
	return q
}

// end ends a poll.
func (p *polls) end(q *poll) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.open, q.number)
}

// answer notes the answer of another node.
func (p *polls) answer(n note) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.open[n.Poll]
	if q == nil {
		return
	}
	q.answered[n.Node] = n.Used
	select {
	case q.news <- struct{}{}:
	default:
	}
}

// result reports whether one of the nodes that have answered has readers, and whether all others
// of the given nodes have answered too.
func (p *polls) result(q *poll, nodes []string) (used, complete bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, u := range q.answered {
		used = used || u
	}
	complete = true
	for _, node := range nodes {
		_, ok := q.answered[node]
		complete = complete && ok
	}
	return used, complete
}

// poll asks all nodes whether they have readers in a chat. It returns nil if none has.
func (n *Node) poll(ctx context.Context, chat string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.used(chat) {
		return ErrInUse
	}
	if d := n.config.Timeout; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, d, engine.ErrAway)
		defer cancel()
	}
	q := n.polls.begin()
	defer n.polls.end(q)
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for ask := true; ; {
		up := n.live.Load() != nil
		used, complete := n.polls.result(q, n.peers.names())
		switch {
		case n.closing.Load():
			return ErrClosed
		case used:
			return ErrInUse
		case up && complete && n.metAll():
			return nil
		case !up && n.config.Refuse:
			return engine.ErrAway
		case up && ask:
			n.mail.send("", note{Kind: notePoll, Chat: chat, Poll: q.number})
		}
		select {
		case <-q.news:
			ask = false
		case <-ticker.C:
			ask = true
		case <-n.ctx.Done():
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// metAll reports whether the node has been connected for long enough to have heard of all others.
func (n *Node) metAll() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up && time.Since(n.since) >= meetTime
}

// used reports whether this node has readers in a chat.
func (n *Node) used(name string) bool {
	c, ok := n.chats.Load(name)
	if !ok {
		return false
	}
	for _, f := range c.feeds() {
		if f.log.Used() {
			return true
		}
	}
	return false
}

// feeds returns the feed of the chat, and the one that is joining, as far as there are any.
func (c *chat) feeds() (all []*Feed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, f := range []*Feed{c.feed, c.joining} {
		if f != nil {
			all = append(all, f)
		}
	}
	return all
}

// Forgetting a chat is an end too, of which the name is free at once. Unlike another end it may
// follow one. Its record is in the order so that each message belongs either to the chat that is
// forgotten or to the next.
const forgetEnd = endMark + "-1"

// forgets is the part of a chat that forgets it. Guarded by the lock of the chat.
type forgets struct {
	wanting entries // calls of Forget; an entry leaves when it has its result
	frees   uint64  // counts the records of Forget that were applied
}

// forgetLocked answers the calls of Forget that have had their effect: a record that was applied
// since they began, and that the engine has removed, or somebody else is about to.
func (c *chat) forgetLocked() {
	if c.ended != nil && c.ended.freed && c.state != absent {
		return
	}
	for e := c.wanting.first; e != nil && e.frees < c.frees; e = c.wanting.first {
		c.wanting.remove(e)
		c.answerLocked(e, nil)
	}
}

// refuseForgetsLocked ends the wait of all calls of Forget with an error, as far as they have had
// no effect.
func (c *chat) refuseForgetsLocked(err error) {
	for e := c.wanting.first; e != nil; e = c.wanting.first {
		c.wanting.remove(e)
		c.answerLocked(e, c.failureLocked(e, err))
	}
}

// failureLocked returns what a call of Forget returns that err ends: nil if it has had its effect.
func (c *chat) failureLocked(e *entry, err error) error {
	switch {
	case e.frees < c.frees:
		return nil
	case c.forgettingLocked():
		return uncertain(err)
	}
	return err
}

// forgettingLocked reports whether a record of Forget is in flight.
func (c *chat) forgettingLocked() bool { return c.inflight != nil && c.inflight.forget }
