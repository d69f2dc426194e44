package httpjson

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
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

func TestAnErrorForTheClientIsToldWithItsStatusFieldAndWhenToComeBack(t *testing.T) {
	w := answer(Refuse(Later(1500*time.Millisecond, "full")), "GET", nil)
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Equal(t, "1", w.Header().Get("Retry-After"))
	assert.JSONEq(t, `{"error":"full"}`, w.Body.String())
	for name, want := range map[string]string{"Content-Type": "application/json", "Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
		assert.Equal(t, want, w.Header().Get(name))
	}
	w = answer(Refuse(errors.Join(errors.New("while reading"), Bad("to", "no %s", "such field"))), "GET", nil)
	assert.Equal(t, http.StatusBadRequest, w.Code)
	assert.Empty(t, w.Header().Get("Retry-After"))
	assert.JSONEq(t, `{"error":"no such field","field":"to"}`, w.Body.String())
}

func TestOfAnyOtherErrorAClientLearnsNothing(t *testing.T) {
	w := answer(Refuse(os.ErrPermission), "GET", nil)
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.JSONEq(t, `{"error":"internal error"}`, w.Body.String())
}

func TestOnlySomeMethodsAreAllowed(t *testing.T) {
	h := Only(func(w http.ResponseWriter, _ *http.Request) error { Write(w, http.StatusTeapot, 7); return nil }, "GET", "HEAD")
	assert.Equal(t, http.StatusTeapot, answer(h, "HEAD", nil).Code)
	w := answer(h, "POST", nil)
	assert.Equal(t, http.StatusMethodNotAllowed, w.Code)
	assert.Equal(t, "GET, HEAD", w.Header().Get("Allow"))
	assert.Contains(t, w.Body.String(), "POST")
}

func TestABodyThatDoesNotComeIsNotRead(t *testing.T) {
	h := Handler(func(w http.ResponseWriter, r *http.Request) error { _, err := ReadBody(w, r, 10); return err })
	w := answer(h, "POST", iotest.ErrReader(os.ErrDeadlineExceeded))
	assert.Equal(t, http.StatusRequestTimeout, w.Code)
	assert.Equal(t, "close", w.Header().Get("Connection"))
	assert.Equal(t, http.StatusBadRequest, answer(h, "POST", iotest.ErrReader(io.ErrUnexpectedEOF)).Code)
	assert.Equal(t, http.StatusRequestEntityTooLarge, answer(h, "POST", strings.NewReader("12345678901")).Code)
	assert.Equal(t, http.StatusOK, answer(h, "POST", strings.NewReader("1234567890")).Code)
}

func TestAFieldThatMayBeMissingIsNone(t *testing.T) {
	o, err := DecodeObject([]byte(`{}`), nil)
	require.NoError(t, err)
	_, err = o.Text("text", 10)
	assert.EqualError(t, err, "text must be a string")
	_, err = o.ID("by")
	assert.ErrorContains(t, err, "by must be")
}

func TestAQueryGivesEachFieldOnce(t *testing.T) {
	query, err := url.ParseQuery("a=1&b=1&b=2&c=9007199254740991&d=+1&e=9007199254740992&f=0")
	require.NoError(t, err)
	for field, want := range map[string]ID{"a": 1, "b": 0, "c": MaxID, "d": 0, "e": 0, "f": 0, "g": 0} {
		id, err := QueryID(query, field)
		assert.Equal(t, want, id, field)
		if want == 0 {
			assert.ErrorContains(t, err, "9007199254740991")
			told, _ := errors.AsType[*Error](err)
			assert.Equal(t, field, told.Field)
		}
	}
	value, err := Query(query, "a")
	assert.Equal(t, "1", value)
	require.NoError(t, err)
	value, err = Query(query, "g")
	assert.Empty(t, value)
	require.NoError(t, err)
	_, err = Query(query, "b")
	assert.EqualError(t, err, "b is given twice")
}
