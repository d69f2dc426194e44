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

// ServeHTTP answers with the error that h returns. An error that is no [Error] is nothing that a client could understand or mend: it
// learns no more than 500.
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

// Only returns a Handler that is h for some methods. All others get 405 and are told which.
func Only(h Handler, methods ...string) Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		if !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			return Errorf(http.StatusMethodNotAllowed, "method %s is not allowed here", r.Method)
		}
		return h(w, r)
	}
}

// Refuse returns a Handler that only ever returns err.
func Refuse(err error) Handler {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

// Write answers with v as JSON, which nobody may keep. It blocks as long as the connection does.
func Write(w http.ResponseWriter, status int, v any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has gone
}
