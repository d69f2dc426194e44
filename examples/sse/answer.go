package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// problem is an error that a client is told of, as JSON.
type problem struct {
	status  int
	retry   time.Duration // for Retry-After; 0: not said
	Message string        `json:"error"`
	Field   string        `json:"field,omitempty"` // which one is wrong, if it is one
}

func (p *problem) Error() string { return p.Message }

// bad is the answer to a field, in a body or in a query, that is wrong.
func bad(field, format string, args ...any) error {
	return &problem{status: http.StatusBadRequest, Field: field, Message: fmt.Sprintf(format, args...)}
}

var (
	errForeign   = &problem{status: http.StatusForbidden, Message: "request comes from another site"}
	errForbidden = &problem{status: http.StatusForbidden, Message: "not allowed"}
	errNotFound  = &problem{status: http.StatusNotFound, Message: "no such page"}
	errDraining  = &problem{status: http.StatusServiceUnavailable, retry: 5 * time.Second, Message: "the server is shutting down"}
	errLimit     = &problem{status: http.StatusServiceUnavailable, retry: 5 * time.Second, Message: "too many chats, or too many streams of this one"}
	errBusy      = &problem{status: http.StatusServiceUnavailable, retry: time.Second, Message: "the chat is overloaded; the message was not accepted"}
)

// handler is an [http.Handler] that may return an error instead of answering.
type handler func(http.ResponseWriter, *http.Request) error

// ServeHTTP implements [http.Handler].
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	p, ok := errors.AsType[*problem](err)
	if !ok { // nothing that the client could understand or mend
		p = &problem{status: http.StatusInternalServerError, Message: "internal error"}
	}
	if p.retry > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(p.retry.Seconds())))
	}
	writeJSON(w, p.status, p)
}

// refusing answers with an error, always.
func refusing(err error) handler {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

// notAllowed answers a method for which the path has no handler.
func notAllowed(allow string) handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Allow", allow)
		return &problem{status: http.StatusMethodNotAllowed, Message: "only " + allow + " is allowed here"}
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has gone
}
