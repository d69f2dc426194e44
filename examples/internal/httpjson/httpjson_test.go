package httpjson

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fbd86cad/broadcast"
	"github.com/fbd86cad/broadcast/broadcastsse"
)

// answerTo is what a handler answers to a request.
func answerTo(h http.Handler, method string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "/", body)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// refuse returns a handler that fails.
func refuse(err error) Handler {
	return func(http.ResponseWriter, *http.Request) error { return err }
}

var full = broadcastsse.Refusal{Status: http.StatusServiceUnavailable, Text: "full", RetryAfter: 1500 * time.Millisecond}

func TestAnErrorForTheClientIsToldWithItsStatusFieldAndWhenToComeBack(t *testing.T) {
	w := answerTo(refuse(&full), "GET", nil)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	assert.JSONEq(t, `{"error":"full"}`, w.Body.String())
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Content-Length": "16", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		assert.Equal(t, want, w.Header().Get(name))
	}
	w = answerTo(refuse(errors.Join(errors.New("while reading"), Bad("no %s", "such field"))), "GET", nil)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Empty(t, w.Header().Get("Retry-After"))
	assert.JSONEq(t, `{"error":"no such field"}`, w.Body.String())
}

func TestWhatTheBrokerCannotTakeIsAnswered503(t *testing.T) {
	for _, err := range []error{broadcast.ErrOverloaded, broadcast.ErrLimit, broadcast.ErrClosed, broadcast.ErrBrokerClosed} {
		w := answerTo(refuse(fmt.Errorf("publishing: %w", err)), "GET", nil)
		assert.Equal(t, http.StatusServiceUnavailable, w.Code, err)
		assert.Equal(t, "5", w.Header().Get("Retry-After"), err)
	}
}

func TestOfAnyOtherErrorAClientLearnsNothing(t *testing.T) {
	w := answerTo(refuse(os.ErrPermission), "GET", nil)
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.JSONEq(t, `{"error":"internal error"}`, w.Body.String())
}

func TestWhatTheBrokerCannotAcceptIsToldApartFromWhatItMayHaveAccepted(t *testing.T) {
	for err, status := range map[error]int{
		broadcast.ErrLimit: http.StatusServiceUnavailable,
		broadcast.ErrAway:  http.StatusServiceUnavailable,
		fmt.Errorf("%w: %w", broadcast.ErrUncertain, broadcast.ErrAway): http.StatusGatewayTimeout,
	} {
		w := answerTo(refuse(err), "POST", nil)
		assert.Equal(t, status, w.Code, err)
		assert.Equal(t, status == http.StatusServiceUnavailable, w.Header().Get("Retry-After") != "", err)
	}
}
