package server

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// answerTo is what a handler answers to a body.
func answerTo(h http.Handler, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/", body)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestABodyThatDoesNotComeIsNotRead(t *testing.T) {
	h := httpjson.Handler(func(w http.ResponseWriter, r *http.Request) error {
		_, err := readText(w, r, "a")
		return err
	})
	w := answerTo(h, iotest.ErrReader(os.ErrDeadlineExceeded))
	assert.Equal(t, http.StatusRequestTimeout, w.Code)
	assert.Equal(t, "close", w.Header().Get("Connection"))
	assert.Equal(t, http.StatusBadRequest, answerTo(h, iotest.ErrReader(io.ErrUnexpectedEOF)).Code)
	assert.Equal(t, http.StatusRequestEntityTooLarge, answerTo(h, strings.NewReader(strings.Repeat(" ", maxBody)+`{"a":"1"}`)).Code)
	assert.Equal(t, http.StatusOK, answerTo(h, strings.NewReader(`{"a":"12"}`)).Code)
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
		assert.ErrorContains(t, err, "UTF-8", body)
	}
}

func TestALongFieldOfAClientIsNotRepeatedWhole(t *testing.T) {
	_, err := decodeText([]byte(`{"`+strings.Repeat("x", 1000)+`":"a"}`), "a")
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 100)
}
