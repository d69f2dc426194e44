package httpjson

import (
	"bytes"
	"errors"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// serve calls a handler and returns its answer, and what was logged.
func serve(log *Log, h Handler) (*httptest.ResponseRecorder, string) {
	var out bytes.Buffer
	log.Logger = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo}))
	w := httptest.NewRecorder()
	log.Handler(h).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/path", nil))
	return w, out.String()
}

func TestAPanicIsAnsweredWith500AndLoggedAtErrorWithTheIDOfTheRequest(t *testing.T) {
	w, log := serve(new(Log), func(http.ResponseWriter, *http.Request) error { panic("a bug") })
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.NotContains(t, w.Body.String(), "a bug")
	assert.Contains(t, log, "level=ERROR")
	assert.Contains(t, log, "a bug")
	assert.Contains(t, log, "log_test.go", "where it was")
	assert.Contains(t, log, "request="+w.Header().Get("X-Request-Id"))
	assert.Contains(t, log, "path=/path")
}

func TestAnErrorThatNobodyIntendedIsLoggedAtErrorAndNotTold(t *testing.T) {
	w, log := serve(new(Log), func(http.ResponseWriter, *http.Request) error { return errors.New("disk full") })
	assert.Equal(t, http.StatusInternalServerError, w.Code)
	assert.NotContains(t, w.Body.String(), "disk full")
	assert.Contains(t, log, "level=ERROR")
	assert.Contains(t, log, "disk full")
}

func TestRefusalsAreLoggedAtInfoWithTheirCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused Log
		refuse := func() string {
			_, log := serve(&refused, func(http.ResponseWriter, *http.Request) error { return Bad("no") })
			return log
		}
		assert.Contains(t, refuse(), "count=1")
		for range 41 {
			assert.Empty(t, refuse(), "a crowd fills the log")
		}
		time.Sleep(10 * time.Second)
		log := refuse()
		assert.Contains(t, log, "count=42")
		assert.Contains(t, log, "level=INFO")
		_, log = serve(&refused, func(http.ResponseWriter, *http.Request) error {
			return &full
		})
		assert.Contains(t, log, "count=1", "of another kind")
	})
}

func TestWhatWasAnsweredIsNotLoggedUnlessAsked(t *testing.T) {
	w, log := serve(new(Log), func(w http.ResponseWriter, _ *http.Request) error { w.WriteHeader(http.StatusOK); return nil })
	assert.Empty(t, log)
	assert.NotEmpty(t, w.Header().Get("X-Request-Id"))
}

func TestAPanicAfterTheAnswerHasBegunIsLoggedAndAddsNothing(t *testing.T) {
	w, log := serve(new(Log), func(w http.ResponseWriter, _ *http.Request) error {
		_, _ = w.Write([]byte("half"))
		panic("a bug")
	})
	assert.Equal(t, http.StatusOK, w.Code)
	assert.Equal(t, "half", w.Body.String())
	assert.Contains(t, log, "level=ERROR")
}

func TestAHandlerMayCutTheConnection(t *testing.T) {
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() {
		serve(new(Log), func(http.ResponseWriter, *http.Request) error { panic(http.ErrAbortHandler) })
	})
}

func TestOnlyAnAcceptErrorIsAWarning(t *testing.T) {
	var out bytes.Buffer
	log := log.New(&Log{Logger: slog.New(slog.NewTextHandler(&out, nil))}, "", 0)
	log.Println("http: Accept error: too many open files; retrying in 5ms")
	log.Println("http: TLS handshake error from 192.0.2.1:1: EOF")
	assert.Contains(t, out.String(), `level=WARN msg="http: Accept`)
	assert.Contains(t, out.String(), `level=INFO msg="http: TLS`)
}
