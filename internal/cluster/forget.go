package cluster

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// ErrInUse means that a node has readers in the chat.
var ErrInUse = errors.New("chat is in use")

// Forget frees the name of a chat, whether or not the chat exists, and has the engine remove its
// records. If a node has readers in the chat, Forget returns ErrInUse and changes nothing.
//
// It blocks in three steps, each for at most as long as Publish may:
//
//  1. It asks all nodes whether they have readers, until each has answered or is considered dead. A
//     node that has been connected for less than two seconds may not know of all others, so it waits
//     for that too. If the time is over, Forget returns ErrAway, and nothing has changed.
//  2. It publishes the record that frees the name. The errors are those of Publish, except
//     EndedError: a chat that has ended can be forgotten.
//  3. It waits until all logs were told, a second at most, and until the engine has removed the
//     records. If that fails, Forget returns an ErrUncertain: the name is free, but the records stay
//     until the name is used or Forget is called again.
//
// A reader that comes to a node after that node has answered stays. Its log gets a Reset with the
// next chat.
func (n *Node) Forget(ctx context.Context, chat string) error {
	if err := n.requireUnused(ctx, chat); err != nil {
		return err
	}
	e := &entry{end: forgetting}
	if err := n.publish(ctx, chat, e); err != nil {
		return err
	}
	ctx, cancel := n.withTimeout(ctx)
	defer cancel()
	n.awaitLogs(ctx, chat, e.place)
	if err := n.remove(ctx, chat, e.place.Mark); err != nil {
		return uncertain(err)
	}
	return nil
}

// Times of Forget.
const (
	acquaintTime = 2 * beatInterval // until a node has heard of all others
	logsTime     = time.Second      // for logs to be told
)

// withTimeout returns a context that ends, with ErrAway as its cause, when Publish would.
func (n *Node) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if d := n.config.Timeout; d > 0 {
		return context.WithTimeoutCause(ctx, d, engine.ErrAway)
	}
	return context.WithCancel(ctx)
}

// endOf returns why a context of withTimeout has ended.
func endOf(ctx context.Context) error {
	if context.Cause(ctx) == engine.ErrAway {
		return engine.ErrAway
	}
	return ctx.Err()
}

// requireUnused returns nil if no node has readers in a chat, and ErrInUse if one has.
func (n *Node) requireUnused(ctx context.Context, chat string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := n.withTimeout(ctx)
	defer cancel()
	return n.poll(ctx, note{Chat: chat}, func(yes, all bool) (done bool, err error) {
		if yes {
			return true, ErrInUse
		}
		return all && n.knowsOthers(), nil
	})
}

// awaitLogs waits until the logs of a chat, on all nodes, were told what is in the order up to a
// place. After a second it gives up: a log without room may take any time, and is told when it has
// room.
func (n *Node) awaitLogs(ctx context.Context, chat string, place engine.Place) {
	ctx, cancel := context.WithTimeout(ctx, logsTime)
	defer cancel()
	_ = n.poll(ctx, note{Chat: chat, Place: &place}, func(yes, all bool) (done bool, err error) {
		return all && !yes, nil
	})
}

// remove has the engine remove the records of a chat up to a mark. It tries until it succeeds or
// ctx is done.
func (n *Node) remove(ctx context.Context, chat string, mark uint64) error {
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		removed := make(chan error, 1)
		if !n.begin(func() { removed <- n.purge(chat, mark) }) {
			return ErrClosed
		}
		select {
		case err := <-removed:
			if err == nil {
				return nil
			}
		case <-ctx.Done():
			return endOf(ctx)
		}
		select {
		case <-time.After(backoff):
		case <-n.ctx.Done():
			return ErrClosed
		case <-ctx.Done():
			return endOf(ctx)
		}
	}
}

// purge calls Purge once, unless the engine is away.
func (n *Node) purge(chat string, mark uint64) error {
	live := n.live.Load()
	if live == nil {
		return engine.ErrAway
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	return live.Purge(ctx, chat, mark)
}

// knowsOthers reports whether the node has been connected for long enough to have heard of all
// others.
func (n *Node) knowsOthers() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up && time.Since(n.since) >= acquaintTime
}

// reply returns the answer of this node to a poll: whether the chat has readers here or, if there is
// a place, whether its log has yet to be told what is in the order up to there.
func (n *Node) reply(question note) (yes bool) {
	c, ok := n.chats.Load(question.Chat)
	switch {
	case !ok:
		return false
	case question.Place != nil:
		return c.lags(*question.Place)
	}
	return c.inUse()
}

// inUse reports whether the log of the feed, or of the one that is joining, has readers.
func (c *chat) inUse() bool {
	c.mu.Lock()
	feeds := []*Feed{c.feed, c.joining}
	c.mu.Unlock() // no lock is held during a call of a Log
	return slices.ContainsFunc(feeds, func(f *Feed) bool { return f != nil && f.log.InUse() })
}

// lags reports whether the log has yet to be told what is in the order up to a place. If the record
// there seems to be missing, it makes the chat ask the engine.
func (c *chat) lags(place engine.Place) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.feed == nil:
		return false
	case !before(c.place, place):
		return !c.feed.idleLocked()
	}
	if c.state == current {
		c.askLocked()
	}
	return true
}
