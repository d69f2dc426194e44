package broadcast

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// The errors that this package returns, alone or wrapped with details. Compare with [errors.Is].
var (
	// ErrClosed says that the broker is closed or shutting down, or that the subscription was closed.
	ErrClosed = errors.New("broadcast: closed")

	// ErrSlow ends a subscription with the strategy [Disconnect] that a message did not fit.
	ErrSlow = errors.New("broadcast: disconnected: too slow")

	// ErrStalled ends a subscription that had messages waiting and took none for its stall timeout.
	ErrStalled = errors.New("broadcast: disconnected: stalled")

	// ErrReplaced ends a subscription whose chat and device were subscribed anew.
	ErrReplaced = errors.New("broadcast: replaced by a newer subscription of the same device")

	// ErrOverloaded refuses a message because a reader that must not miss any has no room for it.
	ErrOverloaded = errors.New("broadcast: overloaded")

	// ErrLimit refuses a subscription over [WithMaxChats] or [WithMaxSubscribers].
	ErrLimit = errors.New("broadcast: limit reached")

	// ErrInvalid refuses an argument, an option, or a value that was not made by this package.
	ErrInvalid = errors.New("broadcast: invalid")
)

// PanicError ends a subscription whose sampler panicked or called [runtime.Goexit].
type PanicError struct {
	Value any    // what the sampler panicked with; nil if it called runtime.Goexit
	Stack []byte // the stack at that moment, as by debug.Stack
}

// Error returns the panic's value as text, without the stack.
func (e *PanicError) Error() string {
	if e.Value == nil {
		return "broadcast: sampler called runtime.Goexit"
	}
	return fmt.Sprintf("broadcast: sampler panicked: %v", e.Value)
}

// Unwrap returns the panic's value if it is an error, so that [errors.Is] and [errors.As] see it.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// invalidf returns an ErrInvalid with details.
func invalidf(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// limitError returns an ErrLimit that names the limit.
func limitError(what string, limit int) error {
	return fmt.Errorf("%w: %d %s", ErrLimit, limit, what)
}

// maxName is the longest name of a chat or a device, in bytes.
const maxName = 256

// checkName returns an ErrInvalid that quotes the start of a name which is empty, too long, or not UTF-8.
func checkName(what, name string) error {
	switch {
	case name == "":
		return invalidf("%s %q is empty", what, name)
	case len(name) > maxName:
		return invalidf("%s %q… has %d bytes, more than %d", what, cut(name), len(name), maxName)
	case !utf8.ValidString(name):
		return invalidf("%s %q is not UTF-8", what, cut(name))
	}
	return nil
}

// cut returns at most the first 32 bytes of a name, for an error message.
func cut(name string) string {
	return name[:min(len(name), 32)]
}
