package broadcast

import (
	"context"
	"time"

	"github.com/fbd86cad/broadcast/internal/cluster"
)

// catchUpTimeout is how long a subscription waits for its chat to catch up: with what the broker has
// published itself, and with the position to resume from, which another broker has handed out.
const catchUpTimeout = time.Second

// A feed is how a chat takes part in the order that an engine keeps. This file has the part of it
// that the rest of the chat uses; feeder.go has what the engine's node calls. The chat's lock guards
// it.
//
// Nobody subscribes before the feed is ready. So all readers begin within the numbers of the order.
type feed[T any] struct {
	chat *chat[T]
	node *cluster.Feed

	left  context.Context // done when the chat is forgotten
	leave context.CancelFunc
	ready chan struct{} // closed when the log has what the engine had when the chat was made
	begun bool          // the numbers have begun
	ahead bool          // the log has the message that the node offers next: it waited for room
	grown chan struct{} // closed, and set to nil, at the next message; nil if nobody waits for it

	reporting bool // an error is being logged

	elsewhere map[string]struct{} // the devices that other nodes have
	tickets   map[string]uint64   // of the devices that are here; they name subscriptions
	away      int                 // how many of those elsewhere are not here too
}

// joinNode makes a new chat take part in the order of its engine, if the broker has one.
func (c *chat[T]) joinNode() {
	node := c.shared.node
	if node == nil {
		return
	}
	f := &feed[T]{
		chat: c, ready: make(chan struct{}), elsewhere: make(map[string]struct{}),
		tickets: make(map[string]uint64),
	}
	f.left, f.leave = context.WithCancel(context.Background())
	c.gate.Lock()
	defer c.gate.Unlock()
	c.feed = f
	f.node = node.Join(c.name, feeder[T]{f}, c.config.historySize > 0)
}

// leaveNodeLocked ends what joinNode began.
func (c *chat[T]) leaveNodeLocked() {
	if f := c.feed; f != nil {
		f.node.Leave()
		f.leave()
	}
}

// awaitOrder waits until somebody can subscribe: the feed is ready and, if that comes soon, the log
// has caught up. It returns errForgotten if the chat is forgotten meanwhile.
func (f *feed[T]) awaitOrder(ctx context.Context, resume Position) error {
	select {
	case <-f.ready:
	case <-f.left.Done():
		return errForgotten
	case <-ctx.Done():
		return ctx.Err()
	}
	soon, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	for behind := f.node.Drained(); behind != nil; behind = f.growth(resume) {
		select {
		case <-behind:
		case <-f.left.Done():
			return errForgotten
		case <-soon.Done():
			return ctx.Err() // nil if only the log has not caught up
		}
	}
	return nil
}

// caughtUp returns a channel that is closed when the chat has what the broker has published in it. It
// returns nil if it has that already.
func (c *chat[T]) caughtUp() <-chan struct{} {
	if c.feed == nil {
		return nil
	}
	drained := c.feed.node.Drained()
	select {
	case <-drained:
		return nil
	default:
		return drained
	}
}

// growth returns a channel that is closed at the next message, if a position is after the last
// one. Otherwise it returns nil.
func (f *feed[T]) growth(position Position) <-chan struct{} {
	c := f.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	last := c.positionIn(c.numbers.Tail(), c.log.Head())
	if position.epoch != last.epoch || position.seq <= last.seq {
		return nil
	}
	if f.grown == nil {
		f.grown = make(chan struct{})
	}
	return f.grown
}

// growLocked tells those who wait that the log has another message.
func (f *feed[T]) growLocked() {
	if f.grown != nil {
		close(f.grown)
		f.grown = nil
	}
}
