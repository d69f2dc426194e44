package httpjson

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// answer is what a handler answers to a request.
func answer(h http.Handler, method string, body io.Reader) *httptest.ResponseRecorder {
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

func TestAnErrorForTheClientIsToldWithItsStatusFieldAndWhenToComeBack(t *testing.T) {
	w := answer(refuse(Later(1500*time.Millisecond, "full")), "GET", nil)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	assert.JSONEq(t, `{"error":"full"}`, w.Body.String())
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Content-Length": "16", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
	} {
		assert.Equal(t, want, w.Header().Get(name))
	}
	w = answer(refuse(errors.Join(errors.New("while reading"), Bad("to", "no %s", "such field"))), "GET", nil)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Empty(t, w.Header().Get("Retry-After"))
	assert.JSONEq(t, `{"error":"no such field","field":"to"}`, w.Body.String())
}

func TestOfAnyOtherErrorAClientLearnsNothing(t *testing.T) {
	w := answer(refuse(os.ErrPermission), "GET", nil)
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.JSONEq(t, `{"error":"internal error"}`, w.Body.String())
}

func TestABodyThatDoesNotComeIsNotRead(t *testing.T) {
	h := Handler(func(w http.ResponseWriter, r *http.Request) error {
		_, err := ReadText(w, r, "a", 10, 10)
		return err
	})
	w := answer(h, "POST", iotest.ErrReader(os.ErrDeadlineExceeded))
	assert.Equal(t, http.StatusRequestTimeout, w.Code)
	assert.Equal(t, "close", w.Header().Get("Connection"))
	assert.Equal(t, http.StatusBadRequest, answer(h, "POST", iotest.ErrReader(io.ErrUnexpectedEOF)).Code)
	assert.Equal(t, http.StatusRequestEntityTooLarge, answer(h, "POST", strings.NewReader(`{"a":"123"}`)).Code)
	assert.Equal(t, http.StatusOK, answer(h, "POST", strings.NewReader(`{"a":"12"}`)).Code)
}

func TestHalfOfASurrogatePairIsRefusedAndAWholeOneIsNot(t *testing.T) {
	for body, want := range map[string]string{
		`{"a":"\ud83d\ude42"}`: "🙂", `{"a":"\uD83D\uDE42x"}`: "🙂x", `{"a":"\\ud800"}`: `\ud800`, `{"a":"\\\\ud800"}`: `\\ud800`,
		`{"a":"\ud7ff\ue000\u0041"}`: "\ud7ff\ue000A", `{"a":"é\n\ufffd"}`: "é\n\ufffd",
	} {
		text, err := decodeText([]byte(body), "a")
		require.NoError(t, err, body)
		assert.Equal(t, want, text)
	}
	for _, body := range []string{
		`{"a":"\ud800"}`, `{"a":"a\uDBFFb"}`, `{"a":"\udc00"}`, `{"a":"\ud83d\ud83d\ude42"}`, `{"a":"\ude42\ud83d"}`, `{"a":"\\\ud800"}`,
		`{"a":"\ud83d\u0041"}`, `{"a":"\ud83d\n"}`, `{"a":"\ud83d\\ude42"}`,
	} {
		_, err := decodeText([]byte(body), "a")
		assert.ErrorContains(t, err, "surrogate", body)
	}
}
