package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/examples/termchat/internal/wire"
)

// refusal is an error that is meant for the client: an HTTP status and why.
type refusal struct {
	status     int
	retryAfter time.Duration // when to come back; 0: not said
	text       string
}

func (r *refusal) Error() string { return r.text }

func refuse(status int, format string, args ...any) *refusal {
	return &refusal{status: status, text: fmt.Sprintf(format, args...)}
}

// later is a refusal of what may well succeed after a while.
func later(after time.Duration, text string) *refusal {
	return &refusal{status: http.StatusServiceUnavailable, retryAfter: after, text: text}
}

var (
	errForeign  = refuse(http.StatusForbidden, "request comes from another site")
	errStopping = later(2*time.Second, "the server is stopping")
	errCrowded  = later(5*time.Second, "too many rooms, or too many people in this one")
)

// roomRefusal returns what a client is told when the broker did not take its subscription or its message.
func roomRefusal(err error) error {
	switch {
	case errors.Is(err, broadcast.ErrLimit):
		return errCrowded
	case errors.Is(err, broadcast.ErrOverloaded):
		return later(time.Second, "the room is overloaded; the message was not accepted")
	case errors.Is(err, broadcast.ErrClosed):
		return errStopping
	}
	return err
}

// only makes a handler of h for some methods. h either answers or returns an error and leaves the answer to only.
func only(h func(http.ResponseWriter, *http.Request) error, methods ...string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := error(nil)
		if slices.Contains(methods, r.Method) {
			err = h(w, r)
		} else {
			w.Header().Set("Allow", strings.Join(methods, ", "))
			err = refuse(http.StatusMethodNotAllowed, "method %s is not allowed here", r.Method)
		}
		if err != nil {
			answerError(w, err)
		}
	})
}

func answerError(w http.ResponseWriter, err error) {
	refused, ok := errors.AsType[*refusal](err)
	if !ok { // nothing that the client could understand or mend
		refused = refuse(http.StatusInternalServerError, "internal error")
	}
	if refused.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(refused.retryAfter.Seconds())))
	}
	writeJSON(w, refused.status, wire.Refusal{Error: refused.text})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // fails only when the client has gone
}

// once returns the value of a query that must be given exactly once.
func once(query url.Values, key string) (string, error) {
	if values := query[key]; len(values) == 1 {
		return values[0], nil
	}
	return "", refuse(http.StatusBadRequest, "%s must be given once", key)
}

// claim returns the room and the name that a query gives, or what is wrong with them.
func claim(query url.Values) (room, name string, err error) {
	if room, err = once(query, "room"); err != nil {
		return "", "", err
	}
	if name, err = once(query, "name"); err != nil {
		return "", "", err
	}
	if err := errors.Join(wire.CheckName("room", room), wire.CheckName("name", name)); err != nil {
		return "", "", refuse(http.StatusBadRequest, "%s", strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return room, name, nil
}
