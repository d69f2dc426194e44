package broadcast

import (
	"errors"
	"fmt"

	"github.com/fbd86cad/broadcast/internal/names"
)

// Errors returned by this package, possibly wrapped with details. Test for them with [errors.Is].
var (
	// ErrClosed ends a subscription by its own Close. ErrBrokerClosed is an ErrClosed too.
	ErrClosed = errors.New("broadcast: closed")

	// ErrBrokerClosed means that the broker is closed or shutting down. Subscriptions that were
	// open end with it. It is an [ErrClosed].
	ErrBrokerClosed = fmt.Errorf("%w by the broker", ErrClosed)

	// ErrSlow ends a subscription with the strategy [Disconnect] when a message does not fit into
	// its buffer.
	ErrSlow = errors.New("broadcast: disconnected: too slow")

	// ErrStalled ends a subscription that had messages, or events of [WithPresence], waiting and
	// took none for its stall timeout.
	ErrStalled = errors.New("broadcast: disconnected: stalled")

	// ErrReplaced ends a subscription when its device subscribes to the chat again.
	ErrReplaced = errors.New("broadcast: replaced by a newer subscription of the same device")

	// ErrKicked ends a subscription by [Broker.Kick] without a reason. With [WithEngine], the errors
	// of readers that another broker has kicked wrap it.
	ErrKicked = errors.New("broadcast: kicked")

	// ErrEnded means that [Broker.EndChat] has ended the chat. The errors of publishers and readers
	// wrap it and the reason given to EndChat, or its text if another broker was given it.
	ErrEnded = errors.New("broadcast: chat ended")

	// ErrInUse is returned by [Broker.Forget] for a chat with readers or waiting publishers. With
	// [WithEngine], the readers of all brokers count, but not publishers.
	ErrInUse = errors.New("broadcast: chat in use")

	// ErrOverloaded refuses a message because Publish has waited for room for [WithPublishTimeout],
	// or because TryPublish would have to wait for a reader with the strategy [Block].
	ErrOverloaded = errors.New("broadcast: overloaded")

	// ErrLimit refuses a subscription beyond [WithMaxChats] or [WithMaxSubscribers], one that would
	// make too many different patiences in a chat (see [WithPatience]), and any other call that
	// would create a chat beyond WithMaxChats: [Broker.Head], [Broker.EndChat] and, with
	// [WithHistory], Publish and TryPublish. With [WithEngine], [Broker.Last] creates chats too,
	// and Publish does not.
	ErrLimit = errors.New("broadcast: limit reached")

	// ErrInvalid refuses an argument, an option, or a value that was not made by this package.
	ErrInvalid = errors.New("broadcast: invalid")
)

// A PanicError ends a subscription whose sampler panicked or called [runtime.Goexit].
type PanicError struct {
	Value any    // the value of the panic; nil if the sampler called runtime.Goexit
	Stack []byte // the stack at that moment, as by debug.Stack
}

// Error describes the panic, without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "broadcast: sampler called runtime.Goexit"
	}
	return fmt.Sprintf("broadcast: sampler panicked: %v", e.Value)
}

// Unwrap returns the value of the panic if it is an error, for [errors.Is] and [errors.As].
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// invalidf returns an ErrInvalid with details.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// endError returns the error with which EndChat ends a chat, for a reason that may be nil.
func endError(reason error) error {
	if reason == nil {
		return ErrEnded
	}
	return fmt.Errorf("%w: %w", ErrEnded, reason)
}

// limitError returns an ErrLimit that names the limit.
func limitError(what string, limit int) error {
	return fmt.Errorf("%w: %d %s", ErrLimit, limit, what)
}

// checkName returns an ErrInvalid if a name is empty, too long, or not UTF-8.
func checkName(what, name string) error {
	if problem := names.Problem(what, name); problem != "" {
		return invalidf("%s", problem)
	}
	return nil
}

// cut returns at most the first 32 bytes of text that an error message quotes.
func cut(name string) string {
	return name[:min(len(name), 32)]
}
