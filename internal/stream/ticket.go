package stream

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

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

// A Refusal is an error that says how to answer a request.
type Refusal struct {
	Status     int           // of the answer, from 400 to 599
	Text       string        // the body, for people; what Status says if empty
	RetryAfter time.Duration // when the client may try again; 0: unknown
}

// Error returns the text.
func (r *Refusal) Error() string {
	switch {
	case r == nil:
		return "nil *Refusal" // an error nevertheless
	case r.Text == "":
		return http.StatusText(r.Status)
	}
	return r.Text
}

// retryAfter is how long clients refused by a limit or a shutdown are asked to wait.
const retryAfter = 5 * time.Second

// refusalOf returns how to answer a request that failed with err. It returns nil if err is
// unexpected.
func refusalOf(err error) *Refusal {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal) && refusal.answers():
		return refusal
	case errors.Is(err, broadcast.ErrLimit):
		return errFull
	case errors.Is(err, broadcast.ErrAway):
		return errAway
	case errors.Is(err, broadcast.ErrClosed):
		return errDraining
	case errors.Is(err, broadcast.ErrInvalid):
		return &Refusal{http.StatusBadRequest, err.Error(), 0}
	}
	return nil
}

// answers reports whether a refusal can be an answer.
func (r *Refusal) answers() bool { return r != nil && r.Status >= minStatus && r.Status <= maxStatus }

// The answers to requests that are refused because of the state of the server.
var (
	errDraining = &Refusal{503, "the server is shutting down", retryAfter}
	errFull     = &Refusal{503, "there is no room for another one", retryAfter}
	errAway     = &Refusal{503, "the messages cannot be reached now", retryAfter}
)

// write answers a request.
func (r *Refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((r.RetryAfter+time.Second-1)/time.Second)))
	}
	http.Error(w, r.Error(), r.Status)
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
