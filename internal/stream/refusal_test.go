package stream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast"
)

// answerTo returns the answer to a request that failed.
func answerTo(err error) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	RefusalOf(err).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	return w
}

// Promise 81: a client may come back when the engine can be reached again, or there is room.
func TestEachErrorOfTheBrokerHasItsAnswer(t *testing.T) {
	uncertain := func(reason error) error { return fmt.Errorf("%w: %w", broadcast.ErrUncertain, reason) }
	ended := func(reason error) error { return fmt.Errorf("%w: %w", broadcast.ErrEnded, reason) }
	for err, want := range map[error]int{
		broadcast.ErrLimit:                   http.StatusServiceUnavailable,
		broadcast.ErrOverloaded:              http.StatusServiceUnavailable,
		broadcast.ErrClosed:                  http.StatusServiceUnavailable,
		broadcast.ErrBrokerClosed:            http.StatusServiceUnavailable,
		broadcast.ErrAway:                    http.StatusServiceUnavailable,
		context.Canceled:                     http.StatusServiceUnavailable,
		context.DeadlineExceeded:             http.StatusServiceUnavailable,
		broadcast.ErrUncertain:               http.StatusGatewayTimeout,
		uncertain(broadcast.ErrClosed):       http.StatusGatewayTimeout,
		uncertain(broadcast.ErrAway):         http.StatusGatewayTimeout,
		uncertain(context.Canceled):          http.StatusGatewayTimeout,
		broadcast.ErrEnded:                   http.StatusGone,
		ended(broadcast.ErrLimit):            http.StatusGone,
		ended(broadcast.ErrUncertain):        http.StatusGone,
		broadcast.ErrInvalid:                 http.StatusBadRequest,
		&Refusal{Status: http.StatusTeapot}:  http.StatusTeapot,
		ended(&Refusal{Status: 418}):         http.StatusTeapot,
		&Refusal{Status: http.StatusOK}:      http.StatusInternalServerError, // is no answer to an error
		(*Refusal)(nil):                      http.StatusInternalServerError,
		os.ErrPermission:                     http.StatusInternalServerError,
		&PanicError{Value: os.ErrPermission}: http.StatusInternalServerError,
	} {
		for _, err := range []error{err, fmt.Errorf("publish: %w", err), errors.Join(err, errors.New("x"))} {
			w := answerTo(err)
			assert.Equal(t, want, w.Code, err)
			assert.Equal(t, want == http.StatusServiceUnavailable, w.Header().Get("Retry-After") != "", err)
			assert.Equal(t, "no-store", w.Header().Get("Cache-Control"), err)
			assert.NotContains(t, w.Body.String(), "permission", err)
		}
	}
	assert.Nil(t, RefusalOf(nil))
	assert.Contains(t, answerTo(fmt.Errorf("%w: name", broadcast.ErrInvalid)).Body.String(), "name")
}

func TestARefusalMayBeChanged(t *testing.T) {
	for _, err := range []error{broadcast.ErrLimit, broadcast.ErrClosed, broadcast.ErrEnded, broadcast.ErrUncertain, os.ErrPermission} {
		before := *RefusalOf(err)
		*RefusalOf(err) = Refusal{}
		assert.Equal(t, before, *RefusalOf(err))
	}
}

// Promise 81.
func TestARefusalSaysWhenToComeBackInWholeSeconds(t *testing.T) {
	refusal := &Refusal{Status: http.StatusTooManyRequests, RetryAfter: 1001 * time.Millisecond}
	w := answerTo(refusal)
	require.Equal(t, "2", w.Header().Get("Retry-After"))
	require.Equal(t, "Too Many Requests", strings.TrimSpace(w.Body.String()))
	refusal.Text = "too fast"
	require.Equal(t, "too fast", strings.TrimSpace(answerTo(refusal).Body.String()))
}

// Promise 90: for all that is known, the deadline is that of a call that Admit has made.
func TestADeadlineThatAdmitHasMissedIsUnexpected(t *testing.T) {
	require.Nil(t, refusalOf(context.DeadlineExceeded))
	require.Nil(t, refusalOf(context.Canceled))
}
