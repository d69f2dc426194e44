package stream

import (
	"fmt"

	"github.com/fbd86cad/broadcast"
)

// A Ticket says what a request may watch. Admit returns it.
type Ticket struct {
	// Chat is the name of the chat.
	Chat string

	// Device is the name of the client in the chat. A newer connection of the same device takes
	// over from an older one, so take the name from the login, not from what a client claims. Empty
	// makes it anonymous: nothing takes over, and presence does not show it.
	Device string

	// Subscribe are options of the subscription. They come after those of the server, so that they
	// win.
	Subscribe []broadcast.SubscribeOption

	// Value is yours. Who receives from a client finds it there.
	Value any

	// Ended is called once for each ticket that Admit returns without an error: when the connection
	// has ended, or did not begin. It may be nil.
	Ended func()
}

// A PanicError reports a panic in a function of the options.
type PanicError struct {
	Value any
	Stack []byte // as by debug.Stack
}

// Error describes the panic, without the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
