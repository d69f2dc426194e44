package httpjson

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

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
		a := &answer{ResponseWriter: w}
		defer func() {
			switch p := recover(); {
			case p == http.ErrAbortHandler: //nolint:errorlint // net/http compares it too
				panic(p)
			case p != nil:
				l.With(about...).Error("request panicked", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
				if a.status == 0 {
					Write(a, errInternal.Status, map[string]string{"error": errInternal.Text})
				}
			case a.status == http.StatusInternalServerError:
				l.With(about...).Error("request failed", "err", a.err)
			case a.status >= http.StatusBadRequest:
				l.Refused(http.StatusText(a.status), about...)
			default:
				l.With(about...).Debug("request answered", "status", a.status)
			}
		}()
		next.ServeHTTP(a, r)
	})
}

// An answer is a ResponseWriter that remembers its status, and the error that led to it.
type answer struct {
	http.ResponseWriter
	status int
	err    error
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

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
