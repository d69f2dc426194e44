package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// refusal is an error that is meant for the client: an HTTP status, the field that is wrong if it is one, and why.
type refusal struct {
	status     int
	retryAfter time.Duration // when to come back; 0: not said
	Text       string        `json:"error"`
	Field      string        `json:"field,omitempty"`
}

func (r *refusal) Error() string { return r.Text }

func refuse(status int, field, format string, args ...any) *refusal {
	return &refusal{status: status, Field: field, Text: fmt.Sprintf(format, args...)}
}

// later is a refusal of what may well succeed after a while.
func later(after time.Duration, text string) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, retryAfter: after, Text: text}
}

var (
	errForeign      = refuse(http.StatusForbidden, "", "request comes from another site")
	errShuttingDown = later(5*time.Second, "the server is shutting down")
)

// only is [answering] for some methods. All others get 405.
func only(h func(http.ResponseWriter, *http.Request) error, methods ...string) http.Handler {
	return answering(func(w http.ResponseWriter, r *http.Request) error {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return refuse(http.StatusMethodNotAllowed, "", "method %s is not allowed here", r.Method)
		}
		return h(w, r)
	})
}

// answering makes a handler of h, which either answers or returns an error and leaves the answer to answering.
func answering(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err == nil {
			return
		}
		refused, ok := errors.AsType[*refusal](err)
		if !ok { // nothing that the client could understand or mend
			refused = refuse(http.StatusInternalServerError, "", "internal error")
		}
		if refused.retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(refused.retryAfter.Seconds())))
		}
		writeJSON(w, refused.status, refused)
	})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has gone
}
