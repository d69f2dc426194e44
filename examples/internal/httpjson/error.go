// Package httpjson is how the examples take requests in and refuse them: handlers that return their errors, which clients get as
// JSON with a status; bodies and queries that must be exactly what they should be. Everything in it may be used from any goroutine.
package httpjson

import (
	"fmt"
	"net/http"
	"time"
)

// Error is an error that is meant for the client: a status and, as JSON, why.
type Error struct {
	Status     int           `json:"-"`
	RetryAfter time.Duration `json:"-"` // when to come back, told in whole seconds; 0: not told
	Message    string        `json:"error"`
	Field      string        `json:"field,omitempty"` // what is wrong in a body or a query, if it is one field
}

// Error implements error: it is the message.
func (e *Error) Error() string { return e.Message }

// Errorf returns an Error with a message of that format.
func Errorf(status int, format string, args ...any) *Error {
	return &Error{Status: status, Message: fmt.Sprintf(format, args...)}
}

// Bad returns the Error with status 400 for a field that is wrong.
func Bad(field, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Field: field, Message: fmt.Sprintf(format, args...)}
}

// Later returns the Error with status 503 for what may well succeed after a while.
func Later(after time.Duration, message string) *Error {
	return &Error{Status: http.StatusServiceUnavailable, RetryAfter: after, Message: message}
}
