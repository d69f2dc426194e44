package broadcast

import (
	"context"
	"time"
)

// EndChat ends one chat, such as the log of a job that has finished. From then on Publish to the
// chat returns an error that wraps [ErrEnded] and, unless it is nil, reason; so do calls of Publish
// that are waiting. Readers end with the same error when they have taken the remaining messages;
// readers that have taken everything end at once.
//
// From then on no device is present in the chat: [Broker.Devices] is empty, and readers with
// [WithPresence] get no further events, not even [Left].
//
// The chat is remembered for [WithChatIdle], whatever its history. A reader that subscribes in that
// time begins as its options say, such as with [Replay] or [Resume], takes what is kept, and ends
// in the same way. Then the name is free for a new chat. Readers that have not taken everything by
// then end, and keep what fits their buffer; the oldest messages of a longer replay are missed.
//
// EndChat does not wait for readers, and does not block. It creates the chat if it does not exist,
// so that a stream may end before its first reader subscribes. The first call returns nil. Later
// calls change nothing and return the error with which the first call ended the chat. Other errors
// are [ErrInvalid] for a bad argument, [ErrBrokerClosed], ctx.Err() if ctx is done, and [ErrLimit]
// beyond [WithMaxChats], checked in this order.
//
// With [WithEngine], EndChat ends the chat on all brokers after the same message. Like Publish, it
// waits until the engine has stored the end, behind what this broker has published before, and also
// returns the other errors of Publish; after [ErrUncertain] the chat may end, now or later. It
// returns before all readers are told, and does not make the chat on its broker. What others get
// wraps an error with the first KiB of the text of reason; on this broker it may be reason itself.
// WithChatIdle is that of this broker. In that time a reader may subscribe to the chat, and ends,
// on any broker.
func (b *Broker[T]) EndChat(ctx context.Context, chat string, reason error) error {
	if err := b.check(ctx, chat); err != nil {
		return err
	}
	if b.node != nil {
		return b.endChatInEngine(ctx, chat, reason)
	}
	end := endError(reason)
	for {
		c, err := b.chatOf(chat)
		if err != nil {
			return err
		}
		ended, err := c.conclude(end, time.Now())
		switch err {
		case nil:
			b.signalEnd(ended...)
			c.dropGraces()
			b.runEndHooks(ended...)
			return nil
		case errForgotten:
			continue
		default:
			return err
		}
	}
}

// endChatInEngine is EndChat for a broker with an engine. The feed of the chat, if it has one, then
// learns of the end as that of any other broker does.
func (b *Broker[T]) endChatInEngine(ctx context.Context, chat string, reason error) error {
	config, err := b.configOf(chat)
	if err != nil {
		return err
	}
	return engineError(b.node.End(ctx, chat, reason, config.idle))
}

// Forget frees the name of a chat and releases its history at once. Otherwise this happens when the
// chat has been idle for [WithChatIdle] and its history has expired. A later chat of the same name
// is a different one: its Seq starts from 1, and it cannot resume positions of this one.
//
// If the chat has readers, including those that drain after [Broker.EndChat], or waiting
// publishers, Forget changes nothing and returns [ErrInUse]. Devices within their leave grace do
// not count, see [WithLeaveGrace]. Forgetting a chat that does not exist is not an error.
//
// Without an engine, Forget does not block. Its other errors are [ErrInvalid] for a bad argument,
// [ErrBrokerClosed], and ctx.Err() if ctx is done, checked in this order.
//
// With [WithEngine], Forget frees the name on all brokers and removes the chat from the engine,
// even if this broker does not know the chat. Readers on all brokers count; waiting publishers do
// not, and their messages are part of either the old chat or the next. Forget blocks until each
// broker has answered or is considered dead, then until the engine has stored the end of the chat,
// and then until it has removed the rest: for each of the three at most [WithPublishTimeout]. A
// broker that has just connected also waits for two seconds, to learn of the others. Forget returns
// ErrInUse, [ErrAway] if a broker has not answered, or an error of Publish other than [ErrEnded].
// After [ErrUncertain] the chat may be forgotten: call Forget again. A reader that subscribes on
// any broker while Forget blocks may stay; it gets the next chat, after a [Delivery.Reset].
func (b *Broker[T]) Forget(ctx context.Context, chat string) error {
	if err := b.check(ctx, chat); err != nil {
		return err
	}
	if b.node != nil {
		return b.forgetInEngine(ctx, chat)
	}
	c, ok := b.chats.Load(chat)
	if !ok {
		return nil
	}
	return b.forgetNow(c, c.awaitedLocked)
}

// forgetInEngine is Forget for a broker with an engine.
func (b *Broker[T]) forgetInEngine(ctx context.Context, chat string) error {
	c, ok := b.chats.Load(chat) // now: later there may be the next chat of the name
	if err := b.node.Forget(ctx, chat); err != nil {
		return engineError(err)
	}
	if ok {
		_ = b.forgetNow(c, nil) // unless its feed has done so, or readers keep it
	}
	return nil
}
