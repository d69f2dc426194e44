package stream

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/fbd86cad/broadcast"
)

// A Refusal is an error that says how to answer a request.
type Refusal struct {
	Status     int           // of the answer, from 400 to 599
	Text       string        // the body, for people; what Status says if empty
	RetryAfter time.Duration // when the client may try again; 0: unknown
}

// Error returns the text.
func (r *Refusal) Error() string {
	switch {
	case r == nil:
		return "nil *Refusal" // an error nevertheless
	case r.Text == "":
		return http.StatusText(r.Status)
	}
	return r.Text
}

// ServeHTTP answers a request with the status and the text. The answer must not be cached.
func (r *Refusal) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	if r.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((r.RetryAfter+time.Second-1)/time.Second)))
	}
	http.Error(w, r.Error(), r.Status)
}

// RefusalOf returns how to answer a request that failed with err: nil if err is nil, and status 500
// if it is unexpected.
func RefusalOf(err error) *Refusal {
	refusal := refusalOf(err)
	switch {
	case err == nil || refusal != nil:
		return refusal
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return unavailable("the request took too long")
	}
	return &Refusal{Status: http.StatusInternalServerError, Text: internalError}
}

// refusalOf returns how to answer a request that failed with err, or nil if err is unexpected. So is
// the end of a context: it may be that of a call that Admit made.
func refusalOf(err error) *Refusal {
	var refusal *Refusal
	switch {
	case errors.As(err, &refusal) && refusal.answers():
		return refusal
	case errors.Is(err, broadcast.ErrEnded): // may wrap any of those below, as its reason
		return &Refusal{Status: http.StatusGone, Text: "the chat has ended"}
	case errors.Is(err, broadcast.ErrUncertain): // may wrap any of those below
		text := "it is not known whether the message was accepted"
		return &Refusal{Status: http.StatusGatewayTimeout, Text: text}
	case errors.Is(err, broadcast.ErrLimit):
		return unavailable("there is no room for another one")
	case errors.Is(err, broadcast.ErrOverloaded):
		return unavailable("there are too many messages at the moment")
	case errors.Is(err, broadcast.ErrAway):
		return unavailable("the messages cannot be reached now")
	case errors.Is(err, broadcast.ErrClosed):
		return unavailable(draining)
	case errors.Is(err, broadcast.ErrInvalid):
		return &Refusal{Status: http.StatusBadRequest, Text: err.Error()}
	}
	return nil
}

// answers reports whether a refusal can be an answer.
func (r *Refusal) answers() bool { return r != nil && r.Status >= minStatus && r.Status <= maxStatus }

// unavailable returns a refusal for now.
func unavailable(text string) *Refusal {
	return &Refusal{http.StatusServiceUnavailable, text, 5 * time.Second}
}

const draining = "the server is shutting down"

var errDraining = unavailable(draining)
