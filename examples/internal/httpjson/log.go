package httpjson

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/felixge/httpsnoop"
	"golang.org/x/time/rate"
)

// A Log logs what a server does: failures at Error, refusals at Info, the rest at Debug.
type Log struct {
	*slog.Logger
	refused sync.Map // *count by why
}

// A count counts refusals, so that a crowd of clients does not fill the log.
type count struct {
	n     atomic.Int64 // since it was last logged; written by all who are refused
	often rate.Sometimes
}

// Refused logs a refusal: the first of a kind, and then one each ten seconds, with how many there
// have been. The attributes are those of the one that is logged.
func (l *Log) Refused(why string, attributes ...any) {
	kept, _ := l.refused.LoadOrStore(why, &count{often: rate.Sometimes{Interval: 10 * time.Second}})
	k := kept.(*count)
	k.n.Add(1)
	k.often.Do(func() { l.With(attributes...).Info("refused", "why", why, "count", k.n.Swap(0)) })
}

// Handler returns a handler that gives each request an id, which its answer has in X-Request-Id,
// and logs what becomes of it. A panic is answered with 500.
func (l *Log) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()[:16]
		w.Header().Set("X-Request-Id", id)
		about := []any{"request", id, "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr}
		var err error // of a Handler
		r = r.WithContext(context.WithValue(r.Context(), failure{}, &err))
		var answer httpsnoop.Metrics
		defer func() {
			switch p := recover(); {
			case p == http.ErrAbortHandler: //nolint:errorlint // net/http compares it too
				panic(p)
			case p != nil:
				l.With(about...).Error("request panicked", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
				if answer.Code == 0 && answer.Written == 0 {
					Write(w, http.StatusInternalServerError, map[string]string{"error": "internal error"})
				}
			case answer.Code == http.StatusInternalServerError:
				l.With(about...).Error("request failed", "err", err)
			case answer.Code >= http.StatusBadRequest:
				l.Refused(http.StatusText(answer.Code), about...)
			default:
				l.With(about...).Debug("request answered", "status", cmp.Or(answer.Code, http.StatusOK))
			}
		}()
		answer.CaptureMetrics(w, func(w http.ResponseWriter) { next.ServeHTTP(w, r) })
	})
}

// failure is the key of the context for the error that a Handler returns.
type failure struct{}

// Write logs a line of the ErrorLog of an [http.Server]. Only failures to accept connections are
// warnings; the mistakes of single clients are not.
func (l *Log) Write(line []byte) (int, error) {
	level := slog.LevelInfo
	if bytes.Contains(line, []byte("Accept error")) {
		level = slog.LevelWarn
	}
	l.Log(context.Background(), level, string(bytes.TrimSpace(line)))
	return len(line), nil
}
