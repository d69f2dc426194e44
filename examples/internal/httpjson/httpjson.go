// Package httpjson answers requests with JSON, and logs what becomes of them. Handlers return their
// errors, which clients get with a status. Everything in it is safe for concurrent use.
package httpjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
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

// Later returns an Error for a request that may succeed after a while.
func Later(status int, after time.Duration, text string) *Error {
	return &Error{Refusal: broadcastsse.Refusal{Status: status, Text: text, RetryAfter: after}}
}

// Handler either answers a request, or returns an error and leaves the answer to ServeHTTP.
type Handler func(http.ResponseWriter, *http.Request) error

// ServeHTTP answers with the error that h returns. If that is not an [Error], the client gets a
// bare 500, because it could neither understand nor fix the cause, and [Log] logs it.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	told, ok := errors.AsType[*Error](err)
	if a, logged := w.(*answer); logged {
		a.err = err
	}
	if !ok {
		told = errInternal
	}
	told.answer(w)
}

var errInternal = Errorf(http.StatusInternalServerError, "internal error")

func (e *Error) answer(w http.ResponseWriter) {
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(e.RetryAfter.Seconds())))
	}
	Write(w, e.Status, struct {
		Error string `json:"error"`
		Field string `json:"field,omitempty"`
	}{e.Text, e.Field})
}

// Write answers with v as JSON, which must not be cached. It blocks as long as the connection does.
func Write(w http.ResponseWriter, status int, v any) {
	body, _ := json.Marshal(v) // what the examples answer with can be marshalled
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_, _ = w.Write(body) // fails only when the client has gone
}
