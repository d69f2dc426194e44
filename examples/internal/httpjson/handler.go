package httpjson

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Handler either answers a request, or returns an error and leaves the answer to ServeHTTP.
type Handler func(http.ResponseWriter, *http.Request) error

// ServeHTTP answers with the error that h returns. If that is not an [Error], the client gets a
// bare 500, because it could neither understand nor fix the cause.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	told, ok := errors.AsType[*Error](err)
	if !ok {
		told = Errorf(http.StatusInternalServerError, "internal error")
	}
	if told.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(told.RetryAfter.Seconds())))
	}
	Write(w, told.Status, told)
}

// Only returns a Handler that calls h for some methods. All others get 405 and a list of those.
func Only(h Handler, methods ...string) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return Errorf(http.StatusMethodNotAllowed, "method %s is not allowed here", r.Method)
		}
		return h(w, r)
	}
}

// Refuse returns a Handler that always returns err.
func Refuse(err error) Handler {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

// Write answers with v as JSON, which must not be cached. It blocks as long as the connection does.
func Write(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has gone
}
