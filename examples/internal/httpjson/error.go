// Package httpjson answers requests with JSON. Handlers return their errors, which clients get with
// a status. Everything in it is safe for concurrent use.
package httpjson

import (
	"fmt"
	"net/http"
	"time"

	"github.com/fbd86cad/broadcast/broadcastsse"
)

// Error is an error that is meant for the client.
type Error struct {
	broadcastsse.Refusal
	Field string // what is wrong in a body or a query, if it is one field
}

// Unwrap returns the Refusal, so that the packages of the library that admit clients answer it.
func (e *Error) Unwrap() error { return &e.Refusal }

// Errorf returns an Error with a formatted text.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Refusal: broadcastsse.Refusal{Status: status, Text: fmt.Sprintf(format, args...)}}
}

// Bad returns an Error with status 400 that names the bad field.
func Bad(field, format string, args ...any) *Error {
	e := Errorf(http.StatusBadRequest, format, args...)
	e.Field = field
	return e
}

// Later returns an Error with status 503, for a request that may succeed after a while.
func Later(after time.Duration, text string) *Error {
	e := Errorf(http.StatusServiceUnavailable, "%s", text)
	e.RetryAfter = after
	return e
}
