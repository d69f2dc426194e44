package broadcast

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/fbd86cad/broadcast/engine"
)

// Option configures a [Broker]; see [New].
type Option interface {
	applyBroker(*brokerConfig)
}

// A ChatOption configures a chat. Given to [New], it sets the default for all chats of the broker;
// returned by the function of [WithChat], it applies to one chat alone.
type ChatOption interface {
	Option
	applyChat(*chatConfig)
}

// SubscribeOption configures one subscription; see [Broker.Subscribe].
type SubscribeOption interface {
	applySubscription(*subscriptionConfig)
}

// A SharedOption is both a ChatOption and a SubscribeOption. Given to [New], it sets the default
// for all subscriptions of the broker; returned by the function of [WithChat], for those of one
// chat; given to [Broker.Subscribe], it applies to that subscription alone.
type SharedOption interface {
	ChatOption
	SubscribeOption
}

// WithEngine makes the broker share its chats with all brokers that use the same engine, in this
// process and on other machines. Package broadcastnats has one. Messages have one order on all of
// them, and Seq, Missed, [WithHistory], [Resume] and presence mean the same everywhere. A chat that
// one broker has forgotten goes on, unless [Broker.Forget] was called: its Seq continues, and its
// positions stay valid. TryPublish returns [ErrInvalid].
//
// [New] does not wait for the engine, and does not fail if it cannot be reached: the broker
// connects in the background, and tries again until it succeeds or is closed. [Broker.Engine] says
// whether it is connected. Close and Shutdown end the connection.
func WithEngine(e engine.Engine) Option {
	return brokerOption(func(c *brokerConfig) {
		if e == nil {
			c.problems = append(c.problems, errors.New("nil engine"))
			return
		}
		c.engine = e
	})
}

// WithCodec sets how messages are turned into bytes for the engine, and back. The default is
// package json. Both functions must be safe for concurrent use and must return: the broker calls
// unmarshal while it feeds a chat, and Close waits for it. If unmarshal returns an error, or
// panics, the message is missed: it counts as Missed of the next one.
func WithCodec[T any](
	marshal func(msg T) ([]byte, error), unmarshal func(data []byte) (T, error),
) Option {
	return brokerOption(func(c *brokerConfig) {
		if marshal == nil || unmarshal == nil {
			c.problems = append(c.problems, errors.New("nil function of a codec"))
			return
		}
		c.codec = codec[T]{marshal, unmarshal}
	})
}

// WithAway sets what Publish does while the engine cannot be reached. The default is [AwayWait].
func WithAway(a Away) Option {
	return brokerOption(func(c *brokerConfig) {
		if a > AwayRefuse {
			c.problems = append(c.problems, fmt.Errorf("unknown Away(%d)", a))
			return
		}
		c.away = a
	})
}

// WithBuffer sets how many messages a reader may be behind before its strategy acts: 1 to 1<<20,
// default 256. [Subscriber.Chan] allows one more, the message that it is offering. A buffer
// allocates nothing in advance: it is a limit on how far the reader may lag in the log of the chat,
// which all its readers share.
func WithBuffer(n int) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if n < 1 || n > maxBuffer {
			c.problems = append(c.problems, fmt.Errorf("buffer %d is not between 1 and %d", n, maxBuffer))
			return
		}
		c.buffer = n
	})
}

// WithSampling sets what happens to a message that does not fit into the full buffer of a reader.
// The default is [DropOldest]. If [WithSampler] is given too, the later of the two wins.
func WithSampling(s Sampling) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if s < DropOldest || s > Block {
			c.problems = append(c.problems, fmt.Errorf("unknown %v", s))
			return
		}
		c.sampling, c.sampler = s, nil
	})
}

// WithSampler sets a strategy of your own. When a message does not fit, sample is called with the
// backlog and that message, and returns which one to drop: an index into the backlog, or
// backlog.Len() for the new message. If [WithSampling] is given too, the later of the two wins. T
// must be the message type of the broker.
//
// Calls for a subscription are made one at a time, in the order of the messages, on a goroutine
// that publishes to the chat or reads the subscription. A publisher calls sample as soon as a
// message does not fit, but a single Publish makes at most 16 such calls for all readers together.
// The next Publish, or the next read of the subscription, makes the rest. Of the messages that
// sample has not seen yet, one further buffer is kept; older ones are missed without a call.
//
// The sampler must return quickly, must not keep the backlog, and must not call the broker. If it
// panics or calls [runtime.Goexit], the subscription ends with a [PanicError]; if it returns
// anything but a valid index, with an [ErrInvalid].
//
// Each call adds to the cost of a Publish: beside one reader that never reads, with a buffer of
// 5000 and a sampler that looks at all of it, each Publish takes 50 µs.
//
// WithSampler cannot keep the newest value of each key, because a message that is missed without a
// call may be that value. Keep the values in a map instead, and publish which keys have changed.
func WithSampler[T any](sample func(backlog Backlog[T], next T) int) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if sample == nil {
			c.problems = append(c.problems, errors.New("nil sampler"))
			return
		}
		c.sampler = sample
	})
}

// WithStallTimeout ends a subscription with [ErrStalled] when messages, or events of
// [WithPresence], have been waiting for it and it has taken none for d. The end may come up to one
// [WithCleanInterval] later. A reader that is full but still reads is not stalled, and neither is
// one for which nothing waits. 0 disables the timeout. The default is 2 minutes with [Block], and 0
// otherwise.
func WithStallTimeout(d time.Duration) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("stall timeout", d))
			return
		}
		c.stallTimeout = &d
	})
}

// WithPatience sets how long publishers wait for a reader with a full buffer before its strategy
// acts; the default is 10 ms. It must be shorter than [WithPublishTimeout], unless that is 0. For
// all readers that are full at the same message, patience begins at the same time, so publishers
// wait at most for the longest one. The open subscriptions of a chat may have at most 255 different
// patiences besides the default; beyond that, Subscribe returns [ErrLimit].
//
// Publishers of a chat wait once, and not again for that reader until its buffer has been half
// empty. If readers make progress as soon as the publisher yields the CPU, the wait starts again,
// up to one second in all. For a [Block] reader publishers wait as long as [WithPublishTimeout]
// allows. [Broker.TryPublish] never waits. The idea of a bounded stall comes from nats-server.
//
// With 0 publishers do not wait, and a healthy reader that merely waits for a CPU may lose
// messages. Use 0 for readers that may lose messages: readers of tickers, with tiny buffers, or
// that need only the latest value. The buffer of a slow reader that keeps reading becomes half
// empty again and again (with a buffer of 1, after each message), and publishers wait each time. A
// ticker that publishes every 20 ms, beside one reader with a buffer of 1 that takes 25 ms for a
// message, waits 5 ms in each Publish on average; with 0 it never waits.
func WithPatience(d time.Duration) SharedOption {
	return sharedOption(func(c *subscriptionConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("patience", d))
			return
		}
		c.patience = d
	})
}

// WithPublishTimeout limits how long one [Broker.Publish] may wait before it returns
// [ErrOverloaded]; the default is 5 s. 0 means that only its context limits it. Any other value
// must be longer than every patience.
//
// With [WithEngine] it also limits how long Publish, [Broker.Subscribe], [Broker.Head] and
// [Broker.Last] wait for the engine before they return [ErrAway].
func WithPublishTimeout(d time.Duration) Option {
	return brokerOption(func(c *brokerConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("publish timeout", d))
			return
		}
		c.publishTimeout = d
	})
}

// WithCleanInterval sets how late the cleaner may be: a stalled reader, an idle chat, or expired
// history is dealt with between the time it is due and d later. The default is 1 minute; d must be
// above 0. In a quiet chat, d is also how long messages stay in memory after all readers have taken
// them. Nothing runs while nothing can become due.
func WithCleanInterval(d time.Duration) Option {
	return brokerOption(func(c *brokerConfig) {
		if d <= 0 {
			c.problems = append(c.problems, fmt.Errorf("clean interval %v is not above 0", d))
			return
		}
		c.cleanInterval = d
	})
}

// WithChat configures chats by name: the options that f returns for the name of a chat override
// those given to [New]. If WithChat is given twice, the later one wins. A nil f is an [ErrInvalid].
//
// Subscribe, Publish, TryPublish, [Broker.Head] and [Broker.EndChat] call f when no chat of that
// name exists. The options stay in force for as long as the chat exists. f is called on the
// goroutine of the caller, with no lock held, often and possibly from several goroutines at once.
// So it must be fast, safe for concurrent use, and return the same options for the same name. If an
// option is invalid, the call returns an ErrInvalid that lists every problem, and does nothing
// else. If f panics, the call panics; the message of Publish counts as rejected.
func WithChat(f func(chat string) []ChatOption) Option {
	return brokerOption(func(c *brokerConfig) {
		if f == nil {
			c.problems = append(c.problems, errors.New("nil function for chats"))
			return
		}
		c.perChat = f
	})
}

// WithChatIdle sets how long a chat is remembered after its last reader has gone, or after
// [Broker.EndChat]; the default is 5 minutes. While a chat is remembered, its Seq continues.
func WithChatIdle(d time.Duration) ChatOption {
	return chatOption(func(c *chatConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("chat idle time", d))
			return
		}
		c.idle = d
	})
}

// WithHistory keeps the last n messages of a chat, 0 to 1<<20, for [Replay] and [Resume].
// Messages older than age are dropped; an age of 0 keeps them whatever their age. The default is no
// history.
//
// With a history, Publish creates a chat that does not exist, up to [WithMaxChats], and a chat is
// not forgotten while it keeps messages: with an age of 0, not until the broker ends. Messages that
// have expired and that all readers have taken are released from memory within one
// [WithCleanInterval]. An age takes 8 more bytes for each message kept.
//
// With [WithEngine], Publish does not create a chat on its broker: Subscribe, [Broker.Head] and
// [Broker.Last] do, and then get the history from the engine. The broker receives the messages of a
// chat until it forgets it, so give the history an age if there are many chats. The age of a
// message counts from when it was published, by the clock of that machine.
func WithHistory(n int, age time.Duration) ChatOption {
	return chatOption(func(c *chatConfig) {
		if n < 0 || n > maxBuffer {
			c.problems = append(c.problems,
				fmt.Errorf("history of %d is not between 0 and %d", n, maxBuffer))
		}
		if age < 0 {
			c.problems = append(c.problems, negative("age of the history", age))
		}
		c.historySize, c.historyAge = n, age
	})
}

// WithLeaveGrace sets how long a device that has left still counts as present. If it comes back
// within d, it counts as never having left: other readers are told neither that it left nor that it
// joined. The default is 0.
func WithLeaveGrace(d time.Duration) ChatOption {
	return chatOption(func(c *chatConfig) {
		if d < 0 {
			c.problems = append(c.problems, negative("leave grace", d))
			return
		}
		c.leaveGrace = d
	})
}

// WithMaxChats limits the number of chats in memory. Beyond it, Subscribe and [Broker.Head] return
// [ErrLimit]; with [WithHistory], so do Publish and TryPublish to a chat that does not exist yet.
// 0, the default, means no limit.
func WithMaxChats(n int) Option {
	return brokerOption(func(c *brokerConfig) {
		if n < 0 {
			c.problems = append(c.problems, fmt.Errorf("limit of %d chats is negative", n))
			return
		}
		c.maxChats = n
	})
}

// WithMaxSubscribers limits the number of subscribers of each chat. Beyond it, Subscribe returns
// [ErrLimit], except for a device that takes over its own subscription. 0, the default, means no
// limit.
func WithMaxSubscribers(n int) ChatOption {
	return chatOption(func(c *chatConfig) {
		if n < 0 {
			c.problems = append(c.problems, fmt.Errorf("limit of %d subscribers is negative", n))
			return
		}
		c.maxSubscribers = n
	})
}

// WithLogger sets the logger for events of the broker; chat and device are attributes. Events that
// a single client can cause are logged at [slog.LevelDebug]; readers that run out of patience (see
// [WithPatience]) and readers that have caught up, at [slog.LevelInfo], of which one call of
// Publish names at most 16; the number of stalled readers that the cleaner has ended, at
// [slog.LevelWarn]. The default, nil, logs nothing. The handler is called without any lock held, on
// the goroutine that caused the event or on one that Close does not wait for. It may call the
// broker, Close included.
func WithLogger(l *slog.Logger) Option {
	return brokerOption(func(c *brokerConfig) { c.logger = l })
}

// Until ends the subscription when ctx ends, with [context.Cause] of ctx as the reason. The end is
// asynchronous: it comes shortly after that of ctx, and discards what is buffered by then. If ctx
// is already done, Subscribe returns its error. Of two Until options, the later one wins.
//
// Subscriptions with the same ctx share one call of [context.AfterFunc], and one goroutine ends
// them all. A ctx that is not of package context and has no AfterFunc method costs a goroutine
// while any of its subscriptions is open. The methods of ctx, and the function that stops its
// AfterFunc, may call the broker, Close included. If one of them hangs, it holds up only the caller
// that subscribes with ctx or ends its last subscription; if Err or Value hangs while the broker
// asks for the cause, the subscriptions stay open.
func Until(ctx context.Context) SubscribeOption {
	return subscribeOption(func(c *subscriptionConfig) {
		if ctx == nil {
			c.problems = append(c.problems, errors.New("nil context for Until"))
			return
		}
		c.until = ctx
	})
}

// Replay begins the subscription with the last n messages kept by [WithHistory], or as many as
// there are. Newly published messages follow without a gap or a duplicate. Replayed messages do not
// count against the buffer; but when [DropOldest] acts, it drops the rest of the replay at once and
// keeps only the newest messages that fit into the buffer. Together with [Resume], Replay applies
// if the position is the zero value, belongs to another log, or has not been reached yet.
func Replay(n int) SubscribeOption {
	return subscribeOption(func(c *subscriptionConfig) {
		if n < 0 || n > maxBuffer {
			c.problems = append(c.problems, fmt.Errorf("replay of %d is not between 0 and %d", n, maxBuffer))
			return
		}
		c.replay = n
	})
}

// Resume begins the subscription just after a position that [Delivery.Position] or
// [Subscriber.Position] returned, so that nothing published since is missed. Messages that
// [WithHistory] no longer keeps show up as Missed of the first delivery. If the position belongs to
// another log, or has not been reached yet, the subscription begins now, or as [Replay] says.
// [Subscriber.Recovered] reports whether everything was available. The zero Position has no effect.
func Resume(p Position) SubscribeOption {
	return subscribeOption(func(c *subscriptionConfig) { c.resume = p })
}

// WithPresence also delivers presence events: [Joined] and [Left], for all devices of the chat but
// the reader's own, in one order with the messages. A takeover causes no event, and neither do
// Close and Shutdown of the broker. At most max(buffer, 256) events wait for a reader, where buffer
// is the largest of those in the chat that follow presence; a reader that has lost some gets one
// [Resync]. [Broker.Shutdown] waits until readers have taken the earlier events, as it does for
// messages. Any other end of the subscription discards the events that wait.
//
// A waiting reader is woken for each event. If more than 256 readers of a chat follow presence,
// they are woken for events less often: n readers at most once in n times 10 µs, and at most once a
// second while there are so many events that each reader would get a Resync. A message wakes them
// at once.
//
// To learn who is present, call [Broker.Devices] after Subscribe and apply the events that follow.
// An event that Devices already reflects does no harm.
func WithPresence() SubscribeOption {
	return subscribeOption(func(c *subscriptionConfig) { c.presence = true })
}

func negative(what string, d time.Duration) error {
	return fmt.Errorf("%s %v is negative", what, d)
}
