// Package httplog logs what servers do: failures at Error, refusals at Info and counted, the rest
// at Debug. Everything in it is safe for concurrent use.
package httplog

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/fbd86cad/broadcast/examples/internal/httpjson"
)

// Handler returns a handler that gives each request an id, which its answer has in X-Request-Id,
// and logs what becomes of it. A panic is answered with 500.
func Handler(log *slog.Logger, refused *Counts, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := rand.Text()[:16]
		w.Header().Set("X-Request-Id", id)
		a := &answer{ResponseWriter: w}
		defer func() {
			log := log.With("request", id, "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr)
			p := recover()
			switch {
			case p == http.ErrAbortHandler: //nolint:errorlint // net/http compares it too
				panic(p)
			case p != nil:
				log.Error("request panicked", "err", fmt.Sprint(p), "stack", string(debug.Stack()))
				if a.status == 0 {
					httpjson.Write(a, http.StatusInternalServerError, map[string]string{"error": "internal error"})
				}
			case a.status == http.StatusInternalServerError:
				log.Error("request failed", "err", a.err)
			case a.status >= http.StatusBadRequest:
				refused.Note(log, http.StatusText(a.status))
			default:
				log.Debug("request answered", "status", a.status)
			}
		}()
		next.ServeHTTP(a, r)
	})
}

// An answer is a ResponseWriter that remembers its status.
type answer struct {
	http.ResponseWriter
	status int
	err    error // not shown to the client
}

// Failed is called by [httpjson.Handler] with an error that is not shown to the client.
func (a *answer) Failed(err error) { a.err = err }

// WriteHeader implements [http.ResponseWriter].
func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// Counts counts refusals, so that a crowd of clients does not fill the log. The zero Counts is
// ready.
type Counts struct{ kinds sync.Map } // *count by kind

type count struct {
	n     atomic.Int64 // since it was last logged; written by all who are refused
	often rate.Sometimes
}

// Note counts a refusal. The first of a kind is logged, and then one each ten seconds, with how
// many there have been.
func (c *Counts) Note(log *slog.Logger, kind string) {
	kept, _ := c.kinds.LoadOrStore(kind, &count{often: rate.Sometimes{Interval: 10 * time.Second}})
	k := kept.(*count)
	k.n.Add(1)
	due := false
	k.often.Do(func() { due = true })
	if due {
		log.Info("refused", "why", kind, "count", k.n.Swap(0))
	}
}

// ErrorLog returns the ErrorLog of an [http.Server]. Only failures to accept connections are
// warnings; the mistakes of single clients are not.
func ErrorLog(to *slog.Logger) *log.Logger { return log.New(errorLog{to}, "", 0) }

type errorLog struct{ to *slog.Logger }

// Write implements [io.Writer].
func (w errorLog) Write(line []byte) (int, error) {
	level := slog.LevelInfo
	if strings.Contains(string(line), "Accept error") {
		level = slog.LevelWarn
	}
	w.to.Log(context.Background(), level, strings.TrimSpace(string(line)))
	return len(line), nil
}
