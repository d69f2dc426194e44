// Package httpjson reads and refuses the requests of the examples. Handlers return their errors,
// which clients get as JSON with a status. Everything in it is safe for concurrent use.
package httpjson

import (
	"fmt"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast/broadcastsse"
)

// Error is an error that is meant for the client: a status and, as JSON, the reason.
type Error struct {
	Status     int           `json:"-"`
	RetryAfter time.Duration `json:"-"` // when to come back, told in whole seconds; 0: not told
	Message    string        `json:"error"`
	Field      string        `json:"field,omitempty"` // what is wrong in a body or a query, if it is one field
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// As makes the error a refusal for [errors.As], so that the packages of the library that admit
// clients answer it.
func (e *Error) As(target any) bool {
	refusal, ok := target.(**broadcastsse.Refusal)
	if ok {
		*refusal = &broadcastsse.Refusal{Status: e.Status, Text: e.Message, RetryAfter: e.RetryAfter}
	}
	return ok
}

// Errorf returns an Error with a formatted message.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Bad returns an Error with status 400 that names the bad field.
func Bad(field, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Later returns an Error with status 503, for a request that may succeed after a while.
func Later(after time.Duration, message string) *Error {
	return &Error{Status: http.StatusServiceUnavailable, RetryAfter: after, Message: message}
}
