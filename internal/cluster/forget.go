package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// ErrInUse means that a node has readers in the chat.
var ErrInUse = errors.New("chat is in use")

// Forget frees the name of a chat, whether or not there is one, and has the engine remove its
// records. If a node has readers in the chat, Forget changes nothing and returns ErrInUse.
//
// First it asks all nodes for their readers. It waits until each has answered or is considered
// dead, and returns ErrAway if there is no time for that. In the first two seconds after the engine
// was away, this node may not know of all others, so it waits too. Then it ends the chat, as End
// does and with the same errors. Last it waits until all logs were told, a second at most, and the
// engine has removed the records. Each of the three takes at most as long as Publish may. If there
// is no time for the removal, it returns an ErrUncertain: the chat is forgotten, but its records
// stay until somebody wants the name, or Forget is called again.
//
// A reader that comes to another node after that has answered stays, and its log gets a Reset with
// the next chat.
func (n *Node) Forget(ctx context.Context, chat string) error {
	if err := n.settleUse(ctx, chat); err != nil {
		return err
	}
	e := &entry{end: forgetting}
	if err := n.publish(ctx, chat, e); err != nil {
		return err
	}
	ctx, cancel := n.limit(ctx)
	defer cancel()
	n.awaitOthers(ctx, chat, e.place)
	if err := n.remove(ctx, chat, e.place.Mark); err != nil {
		return uncertain(err)
	}
	return nil
}

// Times of Forget.
const (
	meetTime   = 2 * beatInterval // until a node has heard of all others
	othersTime = time.Second      // for others to apply the record of Forget
)

// limit returns a context that ends, with ErrAway as its cause, when Publish would.
func (n *Node) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if d := n.config.Timeout; d > 0 {
		return context.WithTimeoutCause(ctx, d, engine.ErrAway)
	}
	return context.WithCancel(ctx)
}

// settleUse returns nil if no node has readers in a chat.
func (n *Node) settleUse(ctx context.Context, chat string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if n.holds(chat, nil) {
		return ErrInUse
	}
	ctx, cancel := n.limit(ctx)
	defer cancel()
	return n.poll(ctx, note{Chat: chat}, func(yes, all bool) (done bool, err error) {
		if yes {
			return true, ErrInUse
		}
		return all && n.metAll(), nil
	})
}

// awaitOthers waits until all nodes that follow a chat have come to a place.
func (n *Node) awaitOthers(ctx context.Context, chat string, place engine.Place) {
	ctx, cancel := context.WithTimeout(ctx, othersTime)
	defer cancel()
	_ = n.poll(ctx, note{Chat: chat, Place: &place}, func(yes, all bool) (done bool, err error) {
		return all && !yes && !n.holds(chat, &place), nil
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
			return context.Cause(ctx)
		}
		select {
		case <-time.After(backoff):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// purge is one call of Purge.
func (n *Node) purge(chat string, mark uint64) error {
	live := n.live.Load()
	if live == nil {
		return engine.ErrAway
	}
	ctx, cancel := context.WithTimeout(n.ctx, callTimeout)
	defer cancel()
	return live.Purge(ctx, chat, mark)
}

// metAll reports whether the node has been connected for long enough to have heard of all others.
func (n *Node) metAll() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.up && time.Since(n.since) >= meetTime
}

// holds reports whether a chat has readers on this node or, if place is not nil, a log that has yet
// to be told what is in the order up to there.
func (n *Node) holds(name string, place *engine.Place) bool {
	c, ok := n.chats.Load(name)
	if !ok {
		return false
	}
	if place != nil {
		return c.behind(*place)
	}
	for _, f := range c.feeds() {
		if f.log.Used() {
			return true
		}
	}
	return false
}

// behind reports whether the log has yet to be told what is in the order up to a place. If the
// record at the place is missing, the chat asks for it.
func (c *chat) behind(place engine.Place) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.feed == nil {
		return false
	}
	if before(c.place, place) {
		if c.state == current {
			c.askLocked()
		}
		return true
	}
	return !c.feed.idleLocked()
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
