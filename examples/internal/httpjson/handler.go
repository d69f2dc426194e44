package httpjson

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Handler either answers a request, or returns an error and leaves the answer to ServeHTTP.
type Handler func(http.ResponseWriter, *http.Request) error

// ServeHTTP answers with the error that h returns. If that is not an [Error], the client gets a
// bare 500, because it could neither understand nor fix the cause, and the error goes to the method
// Failed of w, if it has one.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	told, ok := errors.AsType[*Error](err)
	if !ok {
		if w, ok := w.(interface{ Failed(error) }); ok {
			w.Failed(err)
		}
		told = Errorf(http.StatusInternalServerError, "internal error")
	}
	if told.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(told.RetryAfter.Seconds())))
	}
	Write(w, told.Status, struct {
		Error string `json:"error"`
		Field string `json:"field,omitempty"`
	}{told.Text, told.Field})
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
