package broadcast

import (
	"context"
	"time"

	"github.com/fbd86cad/broadcast/internal/cluster"
)

// catchUpTimeout is how long a subscription waits for its chat to catch up: with the messages that
// its broker has published, and with the position to resume from, which another broker gave.
const catchUpTimeout = time.Second

// A feed connects a chat with its engine: the messages of the chat come from there, in an order
// that all brokers share, and with the numbers of that order. The broker's connection is a
// [cluster.Node]; each broker is one node of the engine. This file has what the rest of the chat
// uses of the feed, feeder.go what the node calls, and elsewhere.go the devices on other nodes. The
// chat's lock guards it, except the fields that never change.
//
// Nobody subscribes before the feed is ready, so each reader begins with a number of the order.
type feed[T any] struct {
	chat *chat[T]
	node *cluster.Feed

	left  context.Context // done when the chat is forgotten
	leave context.CancelFunc
	ready chan struct{} // closed when the log has what the engine had when the chat was made
	begun bool          // Reset has been called, so messages have numbers
	ahead bool          // the log has the message that the node offers next: it waited for room
	grown chan struct{} // closed, and set to nil, at the next message or mark; nil if nobody waits

	reporting bool      // an error is being logged
	made      time.Time // when the latest message was published

	elsewhere map[string]struct{} // the devices that have a subscription on other nodes
	tickets   map[string]uint64   // of the devices with a subscription here; each names that one
	away      int                 // how many devices are in elsewhere and have none here
}

// joinNode gives a new chat a feed if its broker has an engine. The node then begins to call it.
func (c *chat[T]) joinNode(b *Broker[T]) {
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
	f.node = node.Join(c.name, feeder[T]{f, b}, c.config.historySize > 0)
}

// leaveNodeLocked ends the feed of a chat that is forgotten. Those who wait for it return.
func (c *chat[T]) leaveNodeLocked() {
	if f := c.feed; f != nil {
		f.node.Leave()
		f.leave()
	}
}

// awaitOrder waits until the feed is ready, and then, for catchUpTimeout at most, until the log has
// caught up. It returns errForgotten if the chat is forgotten meanwhile, and ctx.Err() if ctx is
// done.
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
			return ctx.Err() // nil if it was only soon that ended
		}
	}
	return nil
}

// caughtUp returns a channel that is closed when the chat has what the broker has published in it,
// or nil if it has that already or there is no engine.
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

// growth returns a channel that is closed at the next message or mark if the position is after the
// last message. Otherwise, for a position of another epoch, and in a chat that has ended, it
// returns nil.
func (f *feed[T]) growth(position Position) <-chan struct{} {
	c := f.chat
	c.gate.Lock()
	defer c.gate.Unlock()
	last := c.positionIn(c.numbers.Tail(), c.log.Head())
	if position.epoch != last.epoch || position.seq <= last.seq || c.closed != nil {
		return nil
	}
	if f.grown == nil {
		f.grown = make(chan struct{})
	}
	return f.grown
}

// stopGrowing wakes those who wait for growth: the chat has ended.
func (f *feed[T]) stopGrowing() {
	f.chat.gate.Lock()
	defer f.chat.gate.Unlock()
	f.growLocked()
}

// growLocked wakes those who wait for growth: the log has another message or mark.
func (f *feed[T]) growLocked() {
	if f.grown != nil {
		close(f.grown)
		f.grown = nil
	}
}
