// Package httpjson answers requests with JSON, and logs what becomes of them. Handlers return their
// errors, which clients get with a status. Everything in it is safe for concurrent use.
package httpjson

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"

	"github.com/fbd86cad/broadcast/broadcastsse"
)

// Bad returns a Refusal with status 400, whose text names the field that is wrong.
func Bad(format string, args ...any) *broadcastsse.Refusal {
	return &broadcastsse.Refusal{Status: http.StatusBadRequest, Text: fmt.Sprintf(format, args...)}
}

// Handler either answers a request, or returns an error and leaves the answer to ServeHTTP.
type Handler func(http.ResponseWriter, *http.Request) error

// ServeHTTP answers with the error that h returns, as [broadcastsse.RefusalOf] says. Of one that is
// unexpected the client learns nothing, because it could not fix the cause, and [Log] logs it.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := h(w, r)
	if err == nil {
		return
	}
	if logged, ok := r.Context().Value(failure{}).(*error); ok {
		*logged = err
	}
	refusal := broadcastsse.RefusalOf(err)
	if refusal.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(refusal.RetryAfter.Seconds())))
	}
	Write(w, refusal.Status, map[string]string{"error": refusal.Error()})
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
