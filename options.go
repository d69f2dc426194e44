package broadcast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Option configures a [Broker]; see [New].
type Option interface {
	applyBroker(*brokerConfig)
}

// SubscribeOption configures one subscription; see [Broker.Subscribe].
type SubscribeOption interface {
	applySubscription(*subscriptionConfig)
}

// SharedOption is both: given to [New] it is the default of every subscription of that broker, given to
// [Broker.Subscribe] it is for that subscription alone.
type SharedOption interface {
	Option
	SubscribeOption
}

// WithBuffer sets how many messages a reader may be behind before its strategy acts: 1 to 1<<20, default 256. Nothing is
// allocated in advance: a buffer is a permission to lag in the chat's shared log.
func WithBuffer(n int) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if n < 1 || n > maxBuffer {
			c.problems = append(c.problems, fmt.Errorf("buffer %d is not between 1 and %d", n, maxBuffer))
			return
		}
		c.buffer = n
	})
}

// WithSampling sets what happens to a message that does not fit a reader's full buffer; default [DropOldest].
// Of WithSampling and [WithSampler] the later one wins.
func WithSampling(s Sampling) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if s < DropOldest || s > Block {
			c.problems = append(c.problems, fmt.Errorf("unknown %v", s))
			return
		}
		c.sampling, c.sampler = s, nil
	})
}

// WithSampler sets a strategy of your own: sample is given a full backlog and the message that does not fit it and answers
// which one goes: an index of the backlog, or backlog.Len() for the new message.
//
// It is called in the order of the messages, under a lock of its own subscription, on a goroutine that reads or publishes,
// and at the latest when the subscription is read. It must answer quickly, must not keep the backlog, and must call nothing
// of the broker. What comes while it has not answered for a further buffer of messages is missed without asking it. If it panics or
// exits its goroutine, the subscription ends with a [PanicError]; if its answer is no index, with an [ErrInvalid] that says so. The
// message type must be the broker's. Of WithSampling and WithSampler the later one wins.
func WithSampler[T any](sample func(backlog Backlog[T], next T) int) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if sample == nil {
			c.problems = append(c.problems, errors.New("nil sampler"))
			return
		}
		c.sampler = sample
	})
}

// WithStallTimeout ends a subscription with [ErrStalled] when messages are waiting for it and it takes none for d (and up to
// one [WithCleanInterval] longer). Being full is not being stalled, and neither is being quiet. 0 is never. The default
// is 2 minutes for [Block], never for the others.
func WithStallTimeout(d time.Duration) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("stall timeout", d))
			return
		}
		c.stallTimeout = &d
	})
}

// WithPatience sets how long publishers wait for a reader with a full buffer before its strategy acts; default 10 ms. 0 is not at
// all, which also overruns readers that are healthy and merely waiting for a processor. Publishers of a chat
// wait for a reader once: it is not waited for again until its buffer has been half empty. A [Block] reader is
// waited for as long as [WithPublishTimeout] says. The idea of a bounded stall is from nats-server.
func WithPatience(d time.Duration) Option {
	return brokerOption(func(c *brokerConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("patience", d))
			return
		}
		c.patience = d
	})
}

// WithPublishTimeout sets the longest wait of one [Broker.Publish], after which it returns [ErrOverloaded]; default 5 s. 0 is no
// limit but that of its context. Any other value must be longer than the patience.
func WithPublishTimeout(d time.Duration) Option {
	return brokerOption(func(c *brokerConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("publish timeout", d))
			return
		}
		c.publishTimeout = d
	})
}

// WithCleanInterval sets how late cleaners may be: what is due (a stalled reader, a chat to forget) is done between its time and d
// later; default 1 minute; above 0. Nothing runs while nothing can become due.
func WithCleanInterval(d time.Duration) Option {
	return brokerOption(func(c *brokerConfig) {
		if d <= 0 {
			c.problems = append(c.problems, fmt.Errorf("clean interval %v is not above 0", d))
			return
		}
		c.cleanInterval = d
	})
}

// WithChatIdle sets how long a chat is remembered, and its Seq goes on, after its last reader has gone; default 5 minutes.
func WithChatIdle(d time.Duration) Option {
	return brokerOption(func(c *brokerConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("chat idle time", d))
			return
		}
		c.chatIdle = d
	})
}

// WithHistory keeps the last n messages of every chat for [Replay] and [Resume], 0 to 1<<20, if they are at most age old;
// an age of 0 is any age. The default is none. With a history a Publish makes the chat if there is none, which
// [WithMaxChats] limits, and a chat with messages kept is not forgotten: with any age not before the broker ends.
func WithHistory(n int, age time.Duration) Option {
	return brokerOption(func(c *brokerConfig) {
		if n < 0 || n > maxBuffer {
			c.problems = append(c.problems, fmt.Errorf("history of %d is not between 0 and %d", n, maxBuffer))
		}
		if age < 0 {
			c.problems = append(c.problems, negative("age of the history", age))
		}
		c.historySize, c.historyAge = n, age
	})
}

// WithLeaveGrace sets how long a device that has gone counts as present: one that comes back within d never left, so that a
// reconnection is not told. The default is 0.
func WithLeaveGrace(d time.Duration) Option {
	return brokerOption(func(c *brokerConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("leave grace", d))
			return
		}
		c.leaveGrace = d
	})
}

// WithMaxChats limits how many chats the broker holds; over it, Subscribe returns [ErrLimit]. 0, the default, is no limit.
func WithMaxChats(n int) Option {
	return brokerOption(func(c *brokerConfig) {
		if n < 0 {
			c.problems = append(c.problems, fmt.Errorf("limit of %d chats is negative", n))
			return
		}
		c.maxChats = n
	})
}

// WithMaxSubscribers limits how many subscribers a chat holds; over it, Subscribe returns [ErrLimit], except for a device
// that takes over its own subscription. 0, the default, is no limit.
func WithMaxSubscribers(n int) Option {
	return brokerOption(func(c *brokerConfig) {
		if n < 0 {
			c.problems = append(c.problems, fmt.Errorf("limit of %d subscribers is negative", n))
			return
		}
		c.maxSubscribers = n
	})
}

// WithLogger sets where events go, with the chat and the device as attributes. What a client alone can cause is logged at
// [slog.LevelDebug]; what cleaners found, once per run, at [slog.LevelWarn]. nil, the default, logs nothing. The handler is
// called with no lock held, on the goroutine that caused the event or on one that Close does not wait for.
func WithLogger(l *slog.Logger) Option {
	return brokerOption(func(c *brokerConfig) { c.logger = l })
}

// Until ends the subscription when ctx does, with [context.Cause] as the reason; what was buffered is gone then. A ctx that
// is done already makes Subscribe return its error. A context that is not of package context costs a goroutine; see
// [context.AfterFunc].
func Until(ctx context.Context) SubscribeOption {
	return subscribeOption(func(c *subscriptionConfig) {
		if ctx == nil {
			c.problems = append(c.problems, errors.New("nil context for Until"))
			return
		}
		c.until = ctx
	})
}

// Replay begins the subscription with the last n messages that [WithHistory] has kept, or as many as there are; then comes
// what is published, without a gap and without a duplicate. Replayed messages do not count against the buffer. Together
// with [Resume] it is for the case that the position is none or of another log.
func Replay(n int) SubscribeOption {
	return subscribeOption(func(c *subscriptionConfig) {
		if n < 0 || n > maxBuffer {
			c.problems = append(c.problems, fmt.Errorf("replay of %d is not between 0 and %d", n, maxBuffer))
			return
		}
		c.replay = n
	})
}

// Resume begins the subscription after a position, as [Delivery.Position] or [Subscriber.Position] gave it, so that nothing
// published since is missed. What [WithHistory] has not kept shows as Missed of the first delivery. If the position is of
// another log, or not reached yet, the subscription begins now. [Subscriber.Recovered] says whether all was there. The zero
// position is no resume.
func Resume(p Position) SubscribeOption {
	return subscribeOption(func(c *subscriptionConfig) { c.resume = p })
}

// WithPresence also delivers who comes and goes: [Joined] and [Left], in one order with the messages, of all devices of the
// chat but its own. A takeover is neither, and Close and Shutdown of the broker tell nobody. At most max(buffer, 256) of
// them wait; a reader that lost some gets one [Resync]. What has not been told at an end of the subscription is not told any
// more, but for Shutdown. To know who is present, call [Broker.Devices] after Subscribe and go on from there; what was told
// twice does no harm.
func WithPresence() SubscribeOption {
	return subscribeOption(func(c *subscriptionConfig) { c.presence = true })
}

func negative(what string, d time.Duration) error {
	return fmt.Errorf("%s %v is negative", what, d)
}
